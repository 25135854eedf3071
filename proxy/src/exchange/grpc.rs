//! What gRPC clients are told when we answer ourselves: a status of theirs in the head of a response
//! without body ("Trailers-Only").
//!
//! The mapping is gRPC's own, <https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>,
//! with the codes that a proxy's timeout stands for. It reads no messages. Only `response` calls it.

use crate::fault::Fault;
use crate::http::{HeadWriter, RequestHead};

/// Whether a request is a gRPC call: by its content type, which gRPC-Web does not share.
pub(super) fn is_call(head: &RequestHead) -> bool {
    let mut fields = head.end_to_end();
    let content = fields.find(|(name, _, _)| *name == b"content-type");
    content.is_some_and(|(_, value, _)| {
        let (start, rest) = value.split_at_checked(TYPE.len()).unwrap_or((value, b""));
        start.eq_ignore_ascii_case(TYPE) && matches!(rest.first(), None | Some(b'+' | b';'))
    })
}

/// Writes what tells `status` of HTTP, which came about by `fault`.
pub(super) fn write_status(status: u16, fault: Fault, out: &mut impl HeadWriter) {
    out.field(b"content-type", TYPE);
    out.field(b"grpc-status", itoa::Buffer::new().format(code(fault, status)).as_bytes());
    out.field(b"grpc-message", fault.meaning().as_bytes());
}

fn code(fault: Fault, status: u16) -> u8 {
    match (fault, status) {
        // Nobody else's status says so little.
        (Fault::AuthDenied(_), status) if status != 401 => PERMISSION_DENIED,
        // What GRPCRoute asks for: no part of it is a fault of the call.
        (Fault::BackendInvalid, _) => UNAVAILABLE,
        // The call itself has not begun, so its deadline has nothing to do with it.
        (Fault::AuthTimeout | Fault::ConnectTimeout, _) => UNAVAILABLE,
        (Fault::AuthBodyTooLarge | Fault::HeadTooLarge(_), _) => RESOURCE_EXHAUSTED,
        (_, status) => code_of(status),
    }
}

fn code_of(status: u16) -> u8 {
    match status {
        400 | 500 => INTERNAL,
        401 => UNAUTHENTICATED,
        403 => PERMISSION_DENIED,
        404 => UNIMPLEMENTED,
        408 | 504 => DEADLINE_EXCEEDED,
        429 | 502 | 503 => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

const TYPE: &[u8] = b"application/grpc";
const UNKNOWN: u8 = 2;
const DEADLINE_EXCEEDED: u8 = 4;
const PERMISSION_DENIED: u8 = 7;
const RESOURCE_EXHAUSTED: u8 = 8;
const UNIMPLEMENTED: u8 = 12;
const INTERNAL: u8 = 13;
const UNAVAILABLE: u8 = 14;
const UNAUTHENTICATED: u8 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_we_answer_ends_with_the_status_that_says_whether_to_try_again() {
        let found: Vec<_> = Fault::ALL
            .iter()
            .filter_map(|&fault| fault.status().map(|status| (fault, code(fault, status))))
            .filter(|(fault, _)| !matches!(fault, Fault::Preflight | Fault::Redirect(_)))
            .map(|(fault, code)| (fault.code(), code))
            .collect();
        let wanted = [
            ("auth_body_too_large", RESOURCE_EXHAUSTED),
            ("auth_denied", PERMISSION_DENIED),
            ("auth_failed", UNAVAILABLE),
            ("auth_invalid", INTERNAL),
            ("auth_timeout", UNAVAILABLE),
            ("backend_invalid", UNAVAILABLE),
            ("backend_timeout", DEADLINE_EXCEEDED),
            ("body_too_slow", DEADLINE_EXCEEDED),
            ("connect_failed", UNAVAILABLE),
            ("connect_timeout", UNAVAILABLE),
            ("head_too_large", RESOURCE_EXHAUSTED),
            ("header_timeout", DEADLINE_EXCEEDED),
            ("host_unclaimed", UNIMPLEMENTED),
            ("malformed_request", INTERNAL),
            ("misdirected", UNKNOWN),
            ("no_endpoints", UNAVAILABLE),
            ("no_route", UNIMPLEMENTED),
            ("request_timeout", DEADLINE_EXCEEDED),
            ("upstream_malformed", UNAVAILABLE),
            ("upstream_reset", UNAVAILABLE),
            ("upstream_tls", UNAVAILABLE),
            ("websocket_unsupported", UNAVAILABLE),
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn every_reason_can_stand_in_a_message() {
        for fault in Fault::ALL {
            let plain = |byte| matches!(byte, b' '..=b'~') && byte != b'%';
            assert!(fault.meaning().bytes().all(plain), "{fault:?}");
        }
    }
}
