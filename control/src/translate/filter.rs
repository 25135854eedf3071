//! Filters of rules and backends. What is not supported is refused by name, never left out.

use std::sync::Arc;

use proxy::filter::header::is_reserved;
use proxy::http::field::{is_token, is_value};
use proxy::ir;

use super::status::Reason;
use super::{Fault, cors, external_auth, hostname};
use crate::api::{
    BackendRef, Filter, FilterType, HeaderModifier, HeaderValue, Mirror, PathModifier,
    PathModifierType, Redirect, Rewrite,
};

/// Finds where a filter's `backendRef` at a field leads, and what is spoken there if the filter says.
pub(super) type Follow<'f> =
    &'f mut dyn FnMut(&BackendRef, &str, Option<ir::BackendProtocol>) -> ir::Target;

/// Translates the filters at `field` (`spec.rules[0].filters`). References are followed even where
/// something else is refused.
pub(super) fn translate(
    filters: &[Filter],
    field: &str,
    follow: Follow<'_>,
) -> Result<Vec<ir::Filter>, Fault> {
    let each = filters.iter().enumerate();
    let all: Vec<_> =
        each.map(|(index, filter)| one(filter, &format!("{field}[{index}]"), follow)).collect();
    let has = |kind: FilterType| filters.iter().any(|filter| filter.kind == kind);
    if has(FilterType::RequestRedirect) && has(FilterType::UrlRewrite) {
        let message =
            format!("{field} holds both RequestRedirect and URLRewrite: keep one of them");
        return Err(Fault::new(Reason::IncompatibleFilters, field, message));
    }
    all.into_iter().collect()
}

fn one(filter: &Filter, field: &str, follow: Follow<'_>) -> Result<ir::Filter, Fault> {
    let missing = |name: &str| {
        let message = format!("{field} is of type {} but has no {name}", filter.kind.as_str());
        Fault::new(Reason::UnsupportedValue, field, message)
    };
    match &filter.kind {
        FilterType::RequestHeaderModifier => {
            let modifier = filter.request_header_modifier.as_ref();
            let modifier = modifier.ok_or_else(|| missing("requestHeaderModifier"))?;
            let field = format!("{field}.requestHeaderModifier");
            headers(modifier, &field).map(ir::Filter::RequestHeaderModifier)
        }
        FilterType::ResponseHeaderModifier => {
            let modifier = filter.response_header_modifier.as_ref();
            let modifier = modifier.ok_or_else(|| missing("responseHeaderModifier"))?;
            let field = format!("{field}.responseHeaderModifier");
            headers(modifier, &field).map(ir::Filter::ResponseHeaderModifier)
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
        FilterType::RequestMirror => {
            let spec = filter.request_mirror.as_ref().ok_or_else(|| missing("requestMirror"))?;
            mirror(spec, &format!("{field}.requestMirror"), follow).map(ir::Filter::RequestMirror)
        }
        FilterType::Cors => {
            let spec = filter.cors.as_ref().ok_or_else(|| missing("cors"))?;
            cors::translate(spec, &format!("{field}.cors")).map(ir::Filter::Cors)
        }
        FilterType::ExternalAuth => {
            let spec = filter.external_auth.as_ref().ok_or_else(|| missing("externalAuth"))?;
            let auth = external_auth::translate(spec, &format!("{field}.externalAuth"), follow);
            auth.map(ir::Filter::ExternalAuth)
        }
        FilterType::Unknown(kind) => {
            let message = format!("{field}: filter {kind} is not supported: remove it");
            Err(Fault::new(Reason::UnsupportedValue, format!("{field}.type"), message))
        }
    }
}

pub(super) fn unsupported(field: String, what: impl std::fmt::Display) -> Fault {
    let message = format!("{field} {what}");
    Fault::new(Reason::UnsupportedValue, field, message)
}

fn headers(modifier: &HeaderModifier, field: &str) -> Result<ir::HeaderModifier, Fault> {
    let pairs = |values: &[HeaderValue], list: &str| {
        let each = values.iter().enumerate().map(|(index, header)| {
            let field = format!("{field}.{list}[{index}]");
            let name = header_name(&header.name, format!("{field}.name"))?;
            if !is_value(&header.value) {
                let what = "holds a control character, which no header may have";
                return Err(unsupported(format!("{field}.value"), what));
            }
            Ok((name, Arc::clone(&header.value)))
        });
        each.collect::<Result<Vec<_>, _>>()
    };
    let removed = modifier.remove.iter().enumerate();
    Ok(ir::HeaderModifier {
        set: pairs(&modifier.set, "set")?,
        add: pairs(&modifier.add, "add")?,
        remove: removed
            .map(|(index, name)| header_name(name, format!("{field}.remove[{index}]")))
            .collect::<Result<_, _>>()?,
    })
}

fn header_name(name: &Arc<str>, field: String) -> Result<Arc<str>, Fault> {
    let name = lower(name);
    if !is_token(&name) {
        Err(unsupported(field, "is not a header name"))
    } else if is_reserved(name.as_bytes()) {
        let what = format!("is {name}, which only the gateway itself may write: remove it");
        Err(unsupported(field, what))
    } else {
        Ok(name)
    }
}

fn redirect(spec: &Redirect, field: &str) -> Result<ir::Redirect, Fault> {
    let scheme = spec.scheme.as_ref().map(lower);
    if let Some(scheme) = scheme.as_ref().filter(|scheme| !matches!(&***scheme, "http" | "https")) {
        let what = format!("{scheme} is not supported: use http or https");
        return Err(unsupported(format!("{field}.scheme"), what));
    }
    let status = spec.status_code.unwrap_or(DEFAULT_REDIRECT_STATUS);
    if !matches!(status, 301 | 302 | 303 | 307 | 308) {
        let what = format!("{status} is not supported: use 301, 302, 303, 307 or 308");
        return Err(unsupported(format!("{field}.statusCode"), what));
    }
    if spec.port == Some(0) {
        return Err(unsupported(format!("{field}.port"), "is 0: use 1 to 65535"));
    }
    Ok(ir::Redirect {
        scheme,
        hostname: host(spec.hostname.as_ref(), field)?,
        path: path(spec.path.as_ref(), field)?,
        port: spec.port,
        status,
    })
}

fn rewrite(spec: &Rewrite, field: &str) -> Result<ir::Rewrite, Fault> {
    Ok(ir::Rewrite {
        hostname: host(spec.hostname.as_ref(), field)?,
        path: path(spec.path.as_ref(), field)?,
    })
}

/// A host to send clients or requests to; it stands in a header, so it must be a plain name.
fn host(name: Option<&Arc<str>>, field: &str) -> Result<Option<Arc<str>>, Fault> {
    let Some(name) = name.map(lower) else { return Ok(None) };
    if hostname::is_name(&name) {
        return Ok(Some(name));
    }
    let what = "is not a DNS name: use one without wildcard and port";
    Err(unsupported(format!("{field}.hostname"), what))
}

fn mirror(spec: &Mirror, field: &str, follow: Follow<'_>) -> Result<ir::Mirror, Fault> {
    let target = follow(&spec.backend_ref, &format!("{field}.backendRef"), None);
    let (numerator, denominator) = match (spec.percent, &spec.fraction) {
        (None, None) => (1, 1),
        (Some(percent), None) => (percent, 100),
        (None, Some(fraction)) => (fraction.numerator, fraction.denominator),
        (Some(_), Some(_)) => {
            return Err(unsupported(format!("{field}.fraction"), "stands beside percent: use one"));
        }
    };
    let share = |part: i64| u32::try_from(part).ok();
    match (share(numerator), share(denominator)) {
        (Some(numerator), Some(denominator)) if denominator > 0 && numerator <= denominator => {
            Ok(ir::Mirror { target, numerator, denominator })
        }
        _ => {
            let name = if spec.percent.is_some() { "percent" } else { "fraction" };
            let what = "is not a share: use 0 to 100 percent, or a fraction from 0 to 1";
            Err(unsupported(format!("{field}.{name}"), what))
        }
    }
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
            absolute(value, format!("{field}.path.replaceFullPath"))?;
            Ok(Some(ir::PathModifier::ReplaceFullPath(Arc::clone(value))))
        }
        PathModifierType::ReplacePrefixMatch => {
            let value = spec.replace_prefix_match.as_ref().ok_or_else(|| {
                refuse("replacePrefixMatch", format!("{field}.path has no replacePrefixMatch"))
            })?;
            if !value.is_empty() {
                absolute(value, format!("{field}.path.replacePrefixMatch"))?;
            }
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

fn absolute(path: &str, field: String) -> Result<(), Fault> {
    if !path.starts_with('/') {
        return Err(unsupported(field, "does not begin with \"/\""));
    }
    if path.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(unsupported(field, "holds a control character, which no path may have"));
    }
    Ok(())
}

/// The text in lower case.
pub(super) fn lower(text: &Arc<str>) -> Arc<str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        text.to_ascii_lowercase().into()
    } else {
        Arc::clone(text)
    }
}

/// The API's default.
const DEFAULT_REDIRECT_STATUS: u16 = 302;

#[cfg(test)]
mod tests {
    use super::*;

    /// The field that is refused in a filter, given as the API writes it.
    fn refused(json: &str) -> Option<String> {
        let filter: Filter = serde_json::from_str(json).unwrap();
        let mut follow = |_: &BackendRef, _: &str, _| ir::Target::Backend("default/b:80".into());
        translate(&[filter], "filters", &mut follow).err().map(|fault| fault.field)
    }

    fn modifier(list: &str) -> String {
        format!(r#"{{"type": "RequestHeaderModifier", "requestHeaderModifier": {{{list}}}}}"#)
    }

    #[test]
    fn headers_that_cannot_be_written_are_refused_with_their_place() {
        for (list, place) in [
            (r#""set": [{"name": "x", "value": "a\r\nb: c"}]"#, "set[0].value"),
            (r#""add": [{"name": "x", "value": "a\u0000"}]"#, "add[0].value"),
            (r#""set": [{"name": "x y", "value": "a"}]"#, "set[0].name"),
            (r#""set": [{"name": "", "value": "a"}]"#, "set[0].name"),
            (r#""add": [{"name": "Content-Length", "value": "1"}]"#, "add[0].name"),
            (r#""remove": ["x-fine", "Transfer-Encoding"]"#, "remove[1]"),
            (r#""remove": ["a:b"]"#, "remove[0]"),
        ] {
            let expected = format!("filters[0].requestHeaderModifier.{place}");
            assert_eq!(refused(&modifier(list)), Some(expected), "{list}");
        }
        let fine = r#""set": [{"name": "X-Fine", "value": "a\tb ü"}], "remove": ["y"]"#;
        assert_eq!(refused(&modifier(fine)), None);
    }

    #[test]
    fn redirects_and_rewrites_go_to_names_ports_and_whole_paths_only() {
        for (kind, name, list, place) in [
            ("RequestRedirect", "requestRedirect", r#""hostname": "*.b.c""#, "hostname"),
            ("RequestRedirect", "requestRedirect", r#""hostname": "b.c:80""#, "hostname"),
            ("RequestRedirect", "requestRedirect", r#""hostname": "b.c\r\nx""#, "hostname"),
            ("RequestRedirect", "requestRedirect", r#""port": 0"#, "port"),
            ("RequestRedirect", "requestRedirect", r#""scheme": "ftp""#, "scheme"),
            ("RequestRedirect", "requestRedirect", r#""statusCode": 304"#, "statusCode"),
            (
                "URLRewrite",
                "urlRewrite",
                r#""path": {"type": "ReplaceFullPath", "replaceFullPath": "b"}"#,
                "path.replaceFullPath",
            ),
            (
                "URLRewrite",
                "urlRewrite",
                r#""path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "b"}"#,
                "path.replacePrefixMatch",
            ),
            ("URLRewrite", "urlRewrite", r#""hostname": """#, "hostname"),
        ] {
            let json = format!(r#"{{"type": "{kind}", "{name}": {{{list}}}}}"#);
            assert_eq!(refused(&json), Some(format!("filters[0].{name}.{place}")), "{list}");
        }
        for status in [301, 302, 303, 307, 308] {
            let json = format!(
                r#"{{"type": "RequestRedirect", "requestRedirect": {{"statusCode": {status}}}}}"#
            );
            assert_eq!(refused(&json), None);
        }
    }

    #[test]
    fn a_redirect_and_a_rewrite_do_not_go_together() {
        let filters: Vec<Filter> = serde_json::from_str(
            r#"[{"type": "URLRewrite", "urlRewrite": {}}, {"type": "RequestRedirect", "requestRedirect": {}}]"#,
        )
        .unwrap();
        let mut follow = |_: &BackendRef, _: &str, _| ir::Target::Backend("default/b:80".into());
        let fault = translate(&filters, "filters", &mut follow).unwrap_err();
        assert_eq!(fault.reason, Reason::IncompatibleFilters);
    }

    #[test]
    fn an_unknown_filter_and_one_without_its_content_are_refused() {
        for (json, field) in [
            (r#"{"type": "Newer"}"#, "filters[0].type"),
            (r#"{"type": "CORS"}"#, "filters[0]"),
            (r#"{"type": "RequestMirror"}"#, "filters[0]"),
        ] {
            assert_eq!(refused(json).as_deref(), Some(field), "{json}");
        }
    }

    #[test]
    fn a_mirror_takes_a_share_of_all_requests() {
        let share = |rest: &str| {
            let json = format!(
                r#"{{"type": "RequestMirror", "requestMirror": {{"backendRef": {{"name": "b"}}{rest}}}}}"#
            );
            let filter: Filter = serde_json::from_str(&json).unwrap();
            let mut follow =
                |_: &BackendRef, _: &str, _| ir::Target::Backend("default/b:80".into());
            match translate(&[filter], "filters", &mut follow).ok()?.remove(0) {
                ir::Filter::RequestMirror(mirror) => Some((mirror.numerator, mirror.denominator)),
                _ => None,
            }
        };
        assert_eq!(share(""), Some((1, 1)));
        assert_eq!(share(r#", "percent": 0"#), Some((0, 100)));
        assert_eq!(share(r#", "fraction": {"numerator": 7}"#), Some((7, 100)));
        assert_eq!(share(r#", "fraction": {"numerator": 5, "denominator": 10}"#), Some((5, 10)));
        for bad in [
            r#", "percent": 101"#,
            r#", "percent": -1"#,
            r#", "percent": 1, "fraction": {"numerator": 1}"#,
            r#", "fraction": {"numerator": 2, "denominator": 1}"#,
            r#", "fraction": {"numerator": 0, "denominator": 0}"#,
        ] {
            assert_eq!(share(bad), None, "{bad}");
        }
    }
}
