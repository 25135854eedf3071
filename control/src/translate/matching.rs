//! Matches of rules.

use std::sync::Arc;

use proxy::http::path;
use proxy::ir;
use proxy::table::regex;

use super::Fault;
use super::status::Reason;
use crate::api::{HeaderMatch, Match, PathMatch, PathMatchType, QueryMatch, ValueMatchType};

/// Translates the matches at `field` (`spec.rules[0].matches`); none means every path.
pub(super) fn translate(matches: &[Match], field: &str) -> Result<Vec<ir::Match>, Fault> {
    if matches.is_empty() {
        return Ok(vec![one(&Match::default(), field)?]);
    }
    let each = matches.iter().enumerate();
    each.map(|(index, spec)| one(spec, &format!("{field}[{index}]"))).collect()
}

fn one(spec: &Match, field: &str) -> Result<ir::Match, Fault> {
    let headers = headers(&spec.headers, field)?;
    let mut query: Vec<ir::ValueMatch> = Vec::new();
    for (index, parameter) in spec.query_params.iter().enumerate() {
        let QueryMatch { kind, name, value } = parameter;
        if !query.iter().any(|known| known.name == *name) {
            let value = condition(kind, value, &format!("{field}.queryParams[{index}]"))?;
            query.push(ir::ValueMatch { name: Arc::clone(name), value });
        }
    }
    let path = path_match(&spec.path, &format!("{field}.path"))?;
    Ok(ir::Match { path, method: spec.method.clone(), headers, query })
}

/// Translates the header matches of the match at `field`.
pub(super) fn headers(specs: &[HeaderMatch], field: &str) -> Result<Vec<ir::ValueMatch>, Fault> {
    let mut headers: Vec<ir::ValueMatch> = Vec::new();
    for (index, header) in specs.iter().enumerate() {
        let HeaderMatch { kind, name, value } = header;
        let name: Arc<str> = name.to_ascii_lowercase().into();
        // "If multiple entries specify equivalent header names, only the first entry with an
        // equivalent name MUST be considered for a match."
        if !headers.iter().any(|known| known.name == name) {
            let value = condition(kind, value, &format!("{field}.headers[{index}]"))?;
            headers.push(ir::ValueMatch { name, value });
        }
    }
    Ok(headers)
}

fn path_match(spec: &PathMatch, field: &str) -> Result<ir::PathMatch, Fault> {
    let value = || canonical(&spec.value, &format!("{field}.value"));
    match &spec.kind {
        PathMatchType::Exact => value().map(ir::PathMatch::Exact),
        PathMatchType::PathPrefix => value().map(ir::PathMatch::Prefix),
        PathMatchType::RegularExpression => {
            pattern(&spec.value, &format!("{field}.value"))?;
            Ok(ir::PathMatch::Regex(Arc::clone(&spec.value)))
        }
        PathMatchType::Unknown(kind) => Err(unsupported(kind, field)),
    }
}

/// The path at `field` in the form that requests have, by which alone they are matched and forwarded.
pub(super) fn canonical(value: &Arc<str>, field: &str) -> Result<Arc<str>, Fault> {
    let refused = |why: &dyn std::fmt::Display| {
        let message = format!("{field} is not a path that a request can have: {why}");
        Fault::new(Reason::UnsupportedValue, field, message)
    };
    let mut form = Vec::new();
    match path::canonical(value.as_bytes(), &mut form).map_err(|why| refused(&why))? {
        path::Canonical::AsWritten => Ok(Arc::clone(value)),
        path::Canonical::Appended => {
            String::from_utf8(form).map(Into::into).map_err(|why| refused(&why))
        }
    }
}

fn condition(
    kind: &ValueMatchType,
    value: &Arc<str>,
    field: &str,
) -> Result<ir::ValueCondition, Fault> {
    match kind {
        ValueMatchType::Exact => Ok(ir::ValueCondition::Exact(Arc::clone(value))),
        ValueMatchType::RegularExpression => {
            pattern(value, &format!("{field}.value"))?;
            Ok(ir::ValueCondition::Regex(Arc::clone(value)))
        }
        ValueMatchType::Unknown(kind) => Err(unsupported(kind, field)),
    }
}

fn unsupported(kind: &str, field: &str) -> Fault {
    let message = format!("{field}.type {kind} is not supported");
    Fault::new(Reason::UnsupportedValue, format!("{field}.type"), message)
}

/// Whether the text at `field` is a regular expression.
pub(super) fn pattern(pattern: &str, field: &str) -> Result<(), Fault> {
    regex::check(pattern).map_err(|why| {
        let message = format!("{field} is not a regular expression: {why}");
        Fault::new(Reason::UnsupportedValue, field, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(value: &str) -> Result<ir::PathMatch, Fault> {
        let spec = PathMatch { kind: PathMatchType::PathPrefix, value: value.into() };
        path_match(&spec, "path")
    }

    #[test]
    fn paths_of_rules_are_brought_into_the_form_that_requests_have() {
        for (written, meant) in
            [("/%7Euser", "/~user"), ("/a%2fb", "/a%2Fb"), ("/a//b/", "/a/b/"), ("/", "/")]
        {
            assert_eq!(translated(written), Ok(ir::PathMatch::Prefix(meant.into())), "{written}");
        }
    }

    #[test]
    fn a_path_that_no_request_can_have_is_refused() {
        for value in ["/a%zz", "/a\\b", "/ä", "a"] {
            assert_eq!(translated(value).unwrap_err().field, "path.value", "{value}");
        }
    }
}
