//! Matches of rules.

use std::sync::Arc;

use proxy::ir;
use regex_automata::meta::{Config, Regex};

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
    let mut headers: Vec<ir::ValueMatch> = Vec::new();
    for (index, header) in spec.headers.iter().enumerate() {
        let HeaderMatch { kind, name, value } = header;
        let name: Arc<str> = name.to_ascii_lowercase().into();
        // "If multiple entries specify equivalent header names, only the first entry with an
        // equivalent name MUST be considered for a match."
        if !headers.iter().any(|known| known.name == name) {
            let value = condition(kind, value, &format!("{field}.headers[{index}]"))?;
            headers.push(ir::ValueMatch { name, value });
        }
    }
    let mut query: Vec<ir::ValueMatch> = Vec::new();
    for (index, parameter) in spec.query_params.iter().enumerate() {
        let QueryMatch { kind, name, value } = parameter;
        if !query.iter().any(|known| known.name == *name) {
            let value = condition(kind, value, &format!("{field}.queryParams[{index}]"))?;
            query.push(ir::ValueMatch { name: Arc::clone(name), value });
        }
    }
    let path = path(&spec.path, &format!("{field}.path"))?;
    Ok(ir::Match { path, method: spec.method.clone(), headers, query })
}

fn path(spec: &PathMatch, field: &str) -> Result<ir::PathMatch, Fault> {
    let value = Arc::clone(&spec.value);
    match &spec.kind {
        PathMatchType::Exact => Ok(ir::PathMatch::Exact(value)),
        PathMatchType::PathPrefix => Ok(ir::PathMatch::Prefix(value)),
        PathMatchType::RegularExpression => {
            pattern(&value, field)?;
            Ok(ir::PathMatch::Regex(value))
        }
        PathMatchType::Unknown(kind) => Err(unsupported(kind, field)),
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
            pattern(value, field)?;
            Ok(ir::ValueCondition::Regex(Arc::clone(value)))
        }
        ValueMatchType::Unknown(kind) => Err(unsupported(kind, field)),
    }
}

fn unsupported(kind: &str, field: &str) -> Fault {
    let message = format!("{field}.type {kind} is not supported");
    Fault::new(Reason::UnsupportedValue, format!("{field}.type"), message)
}

fn pattern(pattern: &str, field: &str) -> Result<(), Fault> {
    check_pattern(pattern).map_err(|why| {
        let message = format!("{field}.value is not a regular expression: {why}");
        Fault::new(Reason::UnsupportedValue, format!("{field}.value"), message)
    })
}

/// Whether the data plane can compile the pattern.
pub(crate) fn check_pattern(pattern: &str) -> Result<(), String> {
    let limits = Config::new().nfa_size_limit(Some(PATTERN_BYTES_MAX));
    let built = Regex::builder().configure(limits).build(pattern);
    built.map(|_| ()).map_err(|error| match error.syntax_error() {
        // The last line of a syntax error says what is wrong; those above draw it.
        Some(syntax) => {
            let text = syntax.to_string();
            let last = text.lines().last().unwrap_or_default();
            last.trim_start_matches("error: ").to_owned()
        }
        None => "it is too large".to_owned(),
    })
}

/// Memory of one compiled pattern.
const PATTERN_BYTES_MAX: usize = 1 << 20;
