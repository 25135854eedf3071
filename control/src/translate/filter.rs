//! Filters of rules and backends. What is not supported is refused by name, never left out.

use std::sync::Arc;

use proxy::ir;

use super::Fault;
use super::status::Reason;
use crate::api::{
    Filter, FilterType, HeaderModifier, HeaderValue, PathModifier, PathModifierType, Redirect,
    Rewrite,
};

/// Translates the filters at `field` (`spec.rules[0].filters`).
pub(super) fn translate(filters: &[Filter], field: &str) -> Result<Vec<ir::Filter>, Fault> {
    let has = |kind: FilterType| filters.iter().any(|filter| filter.kind == kind);
    if has(FilterType::RequestRedirect) && has(FilterType::UrlRewrite) {
        let message =
            format!("{field} holds both RequestRedirect and URLRewrite: keep one of them");
        return Err(Fault::new(Reason::IncompatibleFilters, field, message));
    }
    let each = filters.iter().enumerate();
    each.map(|(index, filter)| one(filter, &format!("{field}[{index}]"))).collect()
}

fn one(filter: &Filter, field: &str) -> Result<ir::Filter, Fault> {
    let missing = |name: &str| {
        let message = format!("{field} is of type {} but has no {name}", filter.kind.as_str());
        Fault::new(Reason::UnsupportedValue, field, message)
    };
    match &filter.kind {
        FilterType::RequestHeaderModifier => {
            let modifier = filter.request_header_modifier.as_ref();
            let modifier = modifier.ok_or_else(|| missing("requestHeaderModifier"))?;
            Ok(ir::Filter::RequestHeaderModifier(headers(modifier)))
        }
        FilterType::ResponseHeaderModifier => {
            let modifier = filter.response_header_modifier.as_ref();
            let modifier = modifier.ok_or_else(|| missing("responseHeaderModifier"))?;
            Ok(ir::Filter::ResponseHeaderModifier(headers(modifier)))
        }
        FilterType::RequestRedirect => {
            let spec =
                filter.request_redirect.as_ref().ok_or_else(|| missing("requestRedirect"))?;
            redirect(spec, &format!("{field}.requestRedirect")).map(ir::Filter::RequestRedirect)
        }
        FilterType::UrlRewrite => {
            let spec = filter.url_rewrite.as_ref().ok_or_else(|| missing("urlRewrite"))?;
            rewrite(spec, &format!("{field}.urlRewrite")).map(ir::Filter::UrlRewrite)
        }
        FilterType::Unknown(kind) => {
            let message = format!("{field}: filter {kind} is not supported: remove it");
            Err(Fault::new(Reason::UnsupportedValue, format!("{field}.type"), message))
        }
    }
}

fn headers(modifier: &HeaderModifier) -> ir::HeaderModifier {
    let pairs = |values: &[HeaderValue]| {
        values.iter().map(|header| (lower(&header.name), Arc::clone(&header.value))).collect()
    };
    ir::HeaderModifier {
        set: pairs(&modifier.set),
        add: pairs(&modifier.add),
        remove: modifier.remove.iter().map(lower).collect(),
    }
}

fn redirect(spec: &Redirect, field: &str) -> Result<ir::Redirect, Fault> {
    let scheme = spec.scheme.as_ref().map(lower);
    if let Some(scheme) = scheme.as_ref().filter(|scheme| !matches!(&***scheme, "http" | "https")) {
        let message = format!("{field}.scheme {scheme} is not supported: use http or https");
        return Err(Fault::new(Reason::UnsupportedValue, format!("{field}.scheme"), message));
    }
    let status = spec.status_code.unwrap_or(DEFAULT_REDIRECT_STATUS);
    if !matches!(status, 301 | 302 | 303 | 307 | 308) {
        let message =
            format!("{field}.statusCode {status} is not supported: use 301, 302, 303, 307 or 308");
        return Err(Fault::new(Reason::UnsupportedValue, format!("{field}.statusCode"), message));
    }
    Ok(ir::Redirect {
        scheme,
        hostname: spec.hostname.as_ref().map(lower),
        path: path(spec.path.as_ref(), field)?,
        port: spec.port,
        status,
    })
}

fn rewrite(spec: &Rewrite, field: &str) -> Result<ir::Rewrite, Fault> {
    Ok(ir::Rewrite {
        hostname: spec.hostname.as_ref().map(lower),
        path: path(spec.path.as_ref(), field)?,
    })
}

fn path(spec: Option<&PathModifier>, field: &str) -> Result<Option<ir::PathModifier>, Fault> {
    let Some(spec) = spec else { return Ok(None) };
    let refuse = |name: &str, message: String| {
        Fault::new(Reason::UnsupportedValue, format!("{field}.path.{name}"), message)
    };
    match &spec.kind {
        PathModifierType::ReplaceFullPath => {
            let value = spec.replace_full_path.as_ref().ok_or_else(|| {
                refuse("replaceFullPath", format!("{field}.path has no replaceFullPath"))
            })?;
            Ok(Some(ir::PathModifier::ReplaceFullPath(Arc::clone(value))))
        }
        PathModifierType::ReplacePrefixMatch => {
            let value = spec.replace_prefix_match.as_ref().ok_or_else(|| {
                refuse("replacePrefixMatch", format!("{field}.path has no replacePrefixMatch"))
            })?;
            Ok(Some(ir::PathModifier::ReplacePrefixMatch(Arc::clone(value))))
        }
        PathModifierType::Unknown(kind) => {
            let message = format!(
                "{field}.path.type {kind} is not supported: use ReplaceFullPath or ReplacePrefixMatch"
            );
            Err(refuse("type", message))
        }
    }
}

fn lower(text: &Arc<str>) -> Arc<str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        text.to_ascii_lowercase().into()
    } else {
        Arc::clone(text)
    }
}

/// The API's default.
const DEFAULT_REDIRECT_STATUS: u16 = 302;
