//! The filter `ExternalAuth` (GEP-1494), of rules and of listeners.

use std::sync::Arc;

use proxy::http::field::is_token;
use proxy::{ir, limits};

use super::filter::{Follow, lower, unsupported};
use super::{Fault, matching};
use crate::api::{AuthProtocol, ExternalAuth, HttpAuth};

/// Translates the filter at `field`. A server that may not be asked lets nothing pass, so a broken
/// reference is no fault of the filter.
pub(super) fn translate(
    spec: &ExternalAuth,
    field: &str,
    follow: Follow<'_>,
) -> Result<ir::ExternalAuth, Fault> {
    let protocol = protocol(spec, field);
    let http = match &protocol {
        Ok(ir::AuthProtocol::Grpc { .. }) => ir::BackendProtocol::Http2,
        Ok(ir::AuthProtocol::Http { .. }) | Err(_) => ir::BackendProtocol::Http1,
    };
    let target = follow(&spec.backend_ref, &format!("{field}.backendRef"), Some(http));
    let body_bytes_max = spec.forward_body.as_ref().map_or(0, |forward| forward.max_size);
    let body_bytes_max = u32::try_from(body_bytes_max)
        .ok()
        .filter(|size| *size as usize <= limits::AUTH_BODY_BYTES_MAX)
        .ok_or_else(|| {
            let what = format!("{body_bytes_max} is not 0 to {}", limits::AUTH_BODY_BYTES_MAX);
            unsupported(format!("{field}.forwardBody.maxSize"), what)
        })?;
    Ok(ir::ExternalAuth { target, protocol: protocol?, body_bytes_max })
}

fn protocol(spec: &ExternalAuth, field: &str) -> Result<ir::AuthProtocol, Fault> {
    match &spec.protocol {
        AuthProtocol::Grpc => {
            let allowed = spec.grpc.as_ref().map_or(&[][..], |grpc| &grpc.allowed_headers);
            let allowed_headers = names(allowed, &format!("{field}.grpc.allowedHeaders"))?;
            Ok(ir::AuthProtocol::Grpc { allowed_headers })
        }
        AuthProtocol::Http => {
            let nothing = HttpAuth::default();
            let http = spec.http.as_ref().unwrap_or(&nothing);
            let field = format!("{field}.http");
            let answers = &http.allowed_response_headers;
            Ok(ir::AuthProtocol::Http {
                path: prefix(&http.path, &format!("{field}.path"))?,
                allowed_headers: names(&http.allowed_headers, &format!("{field}.allowedHeaders"))?,
                allowed_response_headers: names(
                    answers,
                    &format!("{field}.allowedResponseHeaders"),
                )?,
            })
        }
        AuthProtocol::Unknown(other) => {
            let what = format!("{other} is not supported: use HTTP or GRPC");
            Err(unsupported(format!("{field}.protocol"), what))
        }
    }
}

/// Header names in lower case.
fn names(names: &[Arc<str>], field: &str) -> Result<Vec<Arc<str>>, Fault> {
    let each = names.iter().enumerate().map(|(index, name)| {
        let name = lower(name);
        match is_token(&name) {
            true => Ok(name),
            false => Err(unsupported(format!("{field}[{index}]"), "is not a header name")),
        }
    });
    each.collect()
}

/// A prefix of paths in the one form that requests have, without its trailing slash.
fn prefix(path: &Arc<str>, field: &str) -> Result<Arc<str>, Fault> {
    if path.is_empty() {
        return Ok("".into());
    }
    let whole = if path.starts_with('/') { Arc::clone(path) } else { format!("/{path}").into() };
    let form = matching::canonical(&whole, field)?;
    Ok(form.trim_end_matches('/').into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::BackendRef;

    fn translated(json: &str) -> Result<ir::ExternalAuth, Fault> {
        let mut follow = |_: &BackendRef, _: &str, speaks: Option<ir::BackendProtocol>| {
            ir::Target::Backend(format!("{:?}", speaks.unwrap()).into())
        };
        translate(&serde_json::from_str(json).unwrap(), "f", &mut follow)
    }

    #[test]
    fn a_server_is_asked_in_the_protocol_that_the_filter_names() {
        let grpc = r#"{"protocol": "GRPC", "backendRef": {"name": "a"},
            "grpc": {"allowedHeaders": ["X-User"]}, "forwardBody": {"maxSize": 10}}"#;
        let grpc = translated(grpc).unwrap();
        assert_eq!(grpc.target, ir::Target::Backend("Http2".into()));
        assert_eq!(grpc.body_bytes_max, 10);
        let allowed_headers = vec!["x-user".into()];
        assert_eq!(grpc.protocol, ir::AuthProtocol::Grpc { allowed_headers });
        for (written, meant) in [("", ""), ("/check/", "/check"), ("check", "/check"), ("/", "")] {
            let http = format!(
                r#"{{"protocol": "HTTP", "backendRef": {{"name": "a"}}, "http": {{"path": "{written}"}}}}"#
            );
            let http = translated(&http).unwrap();
            assert_eq!(http.target, ir::Target::Backend("Http1".into()));
            let ir::AuthProtocol::Http { path, .. } = http.protocol else { panic!("{written}") };
            assert_eq!(&*path, meant);
        }
    }

    #[test]
    fn what_no_request_can_have_is_refused_with_its_place() {
        for (rest, place) in [
            (r#""protocol": "SOAP""#, "f.protocol"),
            (r#""protocol": "HTTP", "http": {"path": "/a/%zz"}"#, "f.http.path"),
            (
                r#""protocol": "HTTP", "http": {"allowedHeaders": ["a b"]}"#,
                "f.http.allowedHeaders[0]",
            ),
            (
                r#""protocol": "HTTP", "http": {"allowedResponseHeaders": [":a"]}"#,
                "f.http.allowedResponseHeaders[0]",
            ),
            (r#""protocol": "GRPC", "grpc": {"allowedHeaders": [""]}"#, "f.grpc.allowedHeaders[0]"),
            (r#""protocol": "GRPC", "forwardBody": {"maxSize": -1}"#, "f.forwardBody.maxSize"),
            (
                r#""protocol": "GRPC", "forwardBody": {"maxSize": 2147483647}"#,
                "f.forwardBody.maxSize",
            ),
        ] {
            let json = format!(r#"{{"backendRef": {{"name": "a"}}, {rest}}}"#);
            assert_eq!(translated(&json).unwrap_err().field, place, "{rest}");
        }
    }
}
