//! The CORS filter: origins, methods and header names that the data plane can compare and send.

use std::sync::Arc;

use proxy::http::field::is_token;
use proxy::ir;

use super::Fault;
use super::filter::lower;
use super::status::Reason;
use crate::api::Cors;

/// Translates the filter at `field`.
pub(super) fn translate(spec: &Cors, field: &str) -> Result<ir::Cors, Fault> {
    let names = |list: &[Arc<str>], name: &str| {
        checked(list, &format!("{field}.{name}"), "a header name", is_token)
    };
    let methods = format!("{field}.allowMethods");
    let origins = format!("{field}.allowOrigins");
    let max_age = u32::try_from(spec.max_age).ok().filter(|age| *age > 0).ok_or_else(|| {
        let field = format!("{field}.maxAge");
        let message = format!("{field} is not a positive number of seconds");
        Fault::new(Reason::UnsupportedValue, field, message)
    })?;
    let origin = "an origin, as https://*.example.com or https://example.com:8443";
    let allow_origins = checked(&spec.allow_origins, &origins, origin, is_origin)?;
    Ok(ir::Cors {
        allow_origins: allow_origins.iter().map(lower).collect(),
        allow_credentials: spec.allow_credentials,
        allow_methods: checked(&spec.allow_methods, &methods, "a method", is_token)?,
        allow_headers: names(&spec.allow_headers, "allowHeaders")?,
        expose_headers: names(&spec.expose_headers, "exposeHeaders")?,
        max_age,
    })
}

/// The list if `fits` says so of all, and `*` stands alone.
fn checked(
    list: &[Arc<str>],
    field: &str,
    what: &str,
    fits: impl Fn(&str) -> bool,
) -> Result<Vec<Arc<str>>, Fault> {
    for (index, text) in list.iter().enumerate() {
        let message = if !fits(text) {
            format!("{field}[{index}] is not {what}")
        } else if &**text == "*" && list.len() > 1 {
            format!("{field}[{index}] is \"*\", which stands alone or not at all")
        } else {
            continue;
        };
        return Err(Fault::new(Reason::UnsupportedValue, format!("{field}[{index}]"), message));
    }
    Ok(list.to_vec())
}

/// Whether the text is `*`, or a scheme, a host that may be or begin with `*`, and perhaps a port.
pub(crate) fn is_origin(text: &str) -> bool {
    if text == "*" {
        return true;
    }
    let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else {
        return false;
    };
    let (host, port) = rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port)));
    let name = host.strip_prefix("*.").unwrap_or(host);
    let label = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let port_fits = port.is_none_or(|port| {
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    port_fits && (host == "*" || name.split('.').all(label))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_those_of_the_api() {
        for good in [
            "*",
            "https://*",
            "http://a.example",
            "https://*.example.com:8443",
            "https://A.example",
            "http://localhost:80",
        ] {
            assert!(is_origin(good), "{good}");
        }
        for bad in [
            "",
            "null",
            "a.example",
            "ftp://a.example",
            "https://",
            "https://a.example/",
            "https://a.example:0",
            "https://a.example:+1",
            "https://a.*.example",
            "https://a..example",
            "https://a.example\r\n",
        ] {
            assert!(!is_origin(bad), "{bad:?}");
        }
    }

    #[test]
    fn what_is_not_a_token_names_its_place() {
        let plain = Cors::default();
        let list = |text: &str| vec!["x-fine".into(), text.into()];
        for (spec, field) in [
            (Cors { allow_headers: list("a b"), ..plain.clone() }, "cors.allowHeaders[1]"),
            (Cors { expose_headers: list("a\r\nb"), ..plain.clone() }, "cors.exposeHeaders[1]"),
            (Cors { allow_methods: list("*"), ..plain.clone() }, "cors.allowMethods[1]"),
            (Cors { allow_origins: vec!["x".into()], ..plain.clone() }, "cors.allowOrigins[0]"),
            (Cors { max_age: 0, ..plain }, "cors.maxAge"),
        ] {
            assert_eq!(translate(&spec, "cors").unwrap_err().field, field);
        }
    }
}
