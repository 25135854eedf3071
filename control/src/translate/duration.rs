//! Durations as the Gateway API writes them (GEP-2257), and the time limits and retries of a rule.

use std::time::Duration;

use proxy::ir;
use proxy::limits::RETRY_ATTEMPTS_MAX;

use super::Fault;
use super::status::Reason;
use crate::api::{Retry, Timeouts};

/// Reads a duration: up to four numbers of at most five digits, each with `h`, `m`, `s` or `ms`.
fn parse(text: &str) -> Option<Duration> {
    let (mut rest, mut total) = (text, Duration::ZERO);
    for _ in 0..PARTS_MAX {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest.get(..digits).filter(|_| digits <= DIGITS_MAX)?.parse().ok()?;
        rest = &rest[digits..];
        let (milliseconds, after) = UNITS
            .iter()
            .find_map(|(unit, milliseconds)| Some((milliseconds, rest.strip_prefix(*unit)?)))?;
        total += Duration::from_millis(number * milliseconds);
        rest = after;
        if rest.is_empty() {
            return Some(total);
        }
    }
    None
}

/// Whether the text is a duration.
pub(crate) fn is_duration(text: &str) -> bool {
    parse(text).is_some()
}

fn read(text: &str, field: &str) -> Result<Duration, Fault> {
    parse(text).ok_or_else(|| {
        let message = format!("{field} is not a duration: write whole h, m, s and ms, as 1m30s");
        Fault::new(Reason::UnsupportedValue, field, message)
    })
}

/// Translates the time limits at `field`; zero is no limit.
pub(super) fn timeouts(spec: &Timeouts, field: &str) -> Result<ir::Timeouts, Fault> {
    let one = |text: Option<&str>, name: &str| -> Result<Option<Duration>, Fault> {
        let value = text.map(|text| read(text, &format!("{field}.{name}"))).transpose()?;
        Ok(value.filter(|value| !value.is_zero()))
    };
    let request = one(spec.request.as_deref(), "request")?;
    let backend_request = one(spec.backend_request.as_deref(), "backendRequest")?;
    if let (Some(request), Some(backend)) = (request, backend_request)
        && backend > request
    {
        let field = format!("{field}.backendRequest");
        let message = format!("{field} is longer than request, which holds it: shorten it");
        return Err(Fault::new(Reason::UnsupportedValue, field, message));
    }
    Ok(ir::Timeouts { request, backend_request })
}

/// Translates the retries at `field`.
pub(super) fn retry(spec: &Retry, field: &str) -> Result<ir::Retry, Fault> {
    let refuse = |name: String, what: &str| {
        let field = format!("{field}.{name}");
        let message = format!("{field} {what}");
        Fault::new(Reason::UnsupportedValue, field, message)
    };
    let mut codes = Vec::with_capacity(spec.codes.len());
    for (index, code) in spec.codes.iter().enumerate() {
        let known = u16::try_from(*code).ok().filter(|code| (400..=599).contains(code));
        codes.push(
            known.ok_or_else(|| refuse(format!("codes[{index}]"), "is not from 400 to 599"))?,
        );
    }
    codes.sort_unstable();
    codes.dedup();
    let attempts = u32::try_from(spec.attempts).ok().filter(|n| *n <= RETRY_ATTEMPTS_MAX);
    let attempts = attempts.ok_or_else(|| {
        refuse("attempts".to_owned(), &format!("is not a number from 0 to {RETRY_ATTEMPTS_MAX}"))
    })?;
    let backoff = match &spec.backoff {
        Some(text) => read(text, &format!("{field}.backoff"))?,
        None => DEFAULT_BACKOFF,
    };
    Ok(ir::Retry { codes, attempts, backoff })
}

/// Numbers in one duration.
const PARTS_MAX: usize = 4;
/// Digits of one number.
const DIGITS_MAX: usize = 5;
/// Units in milliseconds; what begins like another stands before it.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("ms", 1), ("m", 60_000), ("s", 1000)];
/// Where the route names no `backoff`.
const DEFAULT_BACKOFF: Duration = Duration::from_millis(25);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_gep_2257_says() {
        for (text, milliseconds) in
            [("0s", 0), ("500ms", 500), ("10s", 10_000), ("1h30m", 5_400_000), ("1m1s1ms", 61_001)]
        {
            assert_eq!(parse(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        assert!(parse("99999h99999h99999h99999h").is_some());
        for bad in ["", "1", "s", "1.5s", "-1s", "1d", "123456s", "1h2m3s4ms5s", "1s ", "ä"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn zero_is_no_limit_and_a_try_is_no_longer_than_its_request() {
        let spec = |request: &str, backend: &str| Timeouts {
            request: Some(request.into()),
            backend_request: Some(backend.into()),
        };
        let limits = timeouts(&spec("0s", "2s"), "timeouts").unwrap();
        assert_eq!((limits.request, limits.backend_request), (None, Some(Duration::from_secs(2))));
        let refused = timeouts(&spec("1s", "2s"), "timeouts").unwrap_err();
        assert_eq!(refused.field, "timeouts.backendRequest");
        assert_eq!(timeouts(&spec("x", "2s"), "timeouts").unwrap_err().field, "timeouts.request");
    }

    #[test]
    fn retries_have_the_defaults_of_the_api() {
        let found = retry(&Retry::default(), "retry").unwrap();
        assert_eq!((found.codes, found.attempts), (vec![], 1));
        let spec = Retry { codes: vec![503, 500, 503], attempts: 0, backoff: Some("1s".into()) };
        let found = retry(&spec, "retry").unwrap();
        assert_eq!((found.codes, found.attempts), (vec![500, 503], 0));
        assert_eq!(found.backoff, Duration::from_secs(1));
    }

    #[test]
    fn a_retry_that_cannot_be_obeyed_names_its_field() {
        let plain = Retry::default();
        for (spec, field) in [
            (Retry { codes: vec![500, 200], ..plain.clone() }, "retry.codes[1]"),
            (Retry { attempts: -1, ..plain.clone() }, "retry.attempts"),
            (Retry { attempts: 101, ..plain.clone() }, "retry.attempts"),
            (Retry { backoff: Some("soon".into()), ..plain }, "retry.backoff"),
        ] {
            assert_eq!(retry(&spec, "retry").unwrap_err().field, field);
        }
    }
}
