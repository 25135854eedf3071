//! Matches of GRPCRoutes: a gRPC call is a request for `/service/method`.
//!
//! The lookup table ranks exact paths, then prefixes by length, then expressions, then what matches
//! every call, which is the order that the API asks for, across all routes: characters of the service,
//! then of the method, then header matches. An expression is ranked behind every service that is
//! named, whatever its length.

use std::sync::Arc;

use proxy::ir;

use super::status::Reason;
use super::{Fault, matching};
use crate::api::{GrpcMatch, MethodMatch, MethodMatchType};

/// Translates the matches at `field` (`spec.rules[0].matches`); none means every call.
pub(super) fn matches(matches: &[GrpcMatch], field: &str) -> Result<Vec<ir::Match>, Fault> {
    let everything = [GrpcMatch::default()];
    let matches = if matches.is_empty() { &everything[..] } else { matches };
    let each = matches.iter().enumerate();
    each.map(|(index, spec)| one(spec, &format!("{field}[{index}]"))).collect()
}

fn one(spec: &GrpcMatch, field: &str) -> Result<ir::Match, Fault> {
    let headers = matching::headers(&spec.headers, field)?;
    let method = spec.method.as_ref();
    let path = match method {
        Some(method) => path(method, &format!("{field}.method"))?,
        None => None,
    };
    let path = path.unwrap_or_else(|| ir::PathMatch::Prefix("/".into()));
    Ok(ir::Match { path, method: None, headers, query: Vec::new() })
}

fn parts(spec: &MethodMatch) -> (Option<&Arc<str>>, Option<&Arc<str>>) {
    let given = |part: &'_ Option<Arc<str>>| part.as_ref().is_some_and(|part| !part.is_empty());
    let service = spec.service.as_ref().filter(|_| given(&spec.service));
    let method = spec.method.as_ref().filter(|_| given(&spec.method));
    (service, method)
}

fn path(spec: &MethodMatch, field: &str) -> Result<Option<ir::PathMatch>, Fault> {
    let (service, method) = parts(spec);
    let place = |name: &str| format!("{field}.{name}");
    match &spec.kind {
        MethodMatchType::Exact => {
            for (name, part) in [("service", service), ("method", method)] {
                if let Some(part) = part.filter(|part| !is_name(part)) {
                    let message = format!(
                        "{} {part:?} is not a name: use letters, digits, \"_\" and \".\"",
                        place(name)
                    );
                    return Err(Fault::new(Reason::UnsupportedValue, place(name), message));
                }
            }
            Ok(match (service, method) {
                (Some(service), Some(method)) => {
                    Some(ir::PathMatch::Exact(format!("/{service}/{method}").into()))
                }
                (Some(service), None) => Some(ir::PathMatch::Prefix(format!("/{service}").into())),
                (None, Some(method)) => {
                    let method = method.replace('.', "\\.");
                    Some(ir::PathMatch::Regex(format!("/{ELEMENT}/{method}").into()))
                }
                (None, None) => None,
            })
        }
        MethodMatchType::RegularExpression => {
            for (name, part) in [("service", service), ("method", method)] {
                if let Some(part) = part {
                    matching::pattern(part, &place(name))?;
                }
            }
            let group = |part: Option<&Arc<str>>| {
                part.map_or_else(|| ELEMENT.to_owned(), |part| format!("(?:{part})"))
            };
            let any = service.or(method).is_some();
            let path = format!("/{}/{}", group(service), group(method));
            Ok(any.then(|| ir::PathMatch::Regex(path.into())))
        }
        MethodMatchType::Unknown(kind) => {
            let message = format!("{field}.type {kind} is not supported");
            Err(Fault::new(Reason::UnsupportedValue, place("type"), message))
        }
    }
}

/// Names of services and methods in Protocol Buffers: identifiers, joined by dots.
fn is_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'))
}

/// One element of a path, whatever it is.
const ELEMENT: &str = "[^/]+";

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(json: &str) -> Result<ir::Match, Fault> {
        one(&serde_json::from_str(json).unwrap(), "m")
    }

    #[test]
    fn a_call_is_matched_by_the_path_that_it_has() {
        use ir::PathMatch::{Exact, Prefix, Regex};
        for (spec, path) in [
            (r#"{"method": {"service": "a.B", "method": "C"}}"#, Exact("/a.B/C".into())),
            (r#"{"method": {"service": "a.B"}}"#, Prefix("/a.B".into())),
            (r#"{"method": {"service": "a.B", "method": ""}}"#, Prefix("/a.B".into())),
            (r#"{"method": {"method": "C"}}"#, Regex("/[^/]+/C".into())),
            (r#"{"method": {}}"#, Prefix("/".into())),
            (r"{}", Prefix("/".into())),
            (
                r#"{"method": {"type": "RegularExpression", "service": "a|b", "method": "C.*"}}"#,
                Regex("/(?:a|b)/(?:C.*)".into()),
            ),
            (
                r#"{"method": {"type": "RegularExpression", "method": "C.*"}}"#,
                Regex("/[^/]+/(?:C.*)".into()),
            ),
        ] {
            assert_eq!(translated(spec).unwrap().path, path, "{spec}");
        }
    }

    #[test]
    fn what_no_call_can_be_is_refused_with_its_place() {
        for (spec, place) in [
            (r#"{"method": {"service": "a/b"}}"#, "m.method.service"),
            (r#"{"method": {"service": "a", "method": "b c"}}"#, "m.method.method"),
            (r#"{"method": {"type": "RegularExpression", "method": "("}}"#, "m.method.method"),
            (r#"{"method": {"type": "Newer", "method": "a"}}"#, "m.method.type"),
            (
                r#"{"headers": [{"name": "a", "type": "RegularExpression", "value": "("}]}"#,
                "m.headers[0].value",
            ),
        ] {
            assert_eq!(translated(spec).unwrap_err().field, place, "{spec}");
        }
    }
}
