//! Server reflection of the demo's gRPC backend: so that `grpcurl` needs no `.proto` file.
//!
//! The two files that it describes are written here, as descriptors. `grpc.rs` calls [`answer`] for
//! each message of a stream. Invariant: it describes what `grpc.rs` serves, and nothing else.
//!
//! <https://github.com/grpc/grpc/blob/master/src/proto/grpc/reflection/v1/reflection.proto>

use super::grpc::{Answer, ECHO, HEALTH, INVALID_ARGUMENT, NOT_FOUND, UNIMPLEMENTED};
use super::protobuf::{bytes, fields, small};

/// Types of fields in descriptors.
const TYPE_STRING: u8 = 9;
const TYPE_ENUM: u8 = 14;

/// One ServerReflectionRequest in, one ServerReflectionResponse out.
pub(super) fn answer(request: &[u8]) -> Answer {
    let fields = fields(request).ok_or(INVALID_ARGUMENT)?;
    let text = |value| String::from_utf8_lossy(value).into_owned();
    let reply = match fields.iter().find(|(number, _)| *number >= 3) {
        Some((3, name)) => file(|file| text(name) == file.name),
        Some((4, symbol)) => file(|file| file.defines(&text(symbol))),
        Some((7, _)) => {
            let services = FILES.map(|file| bytes(1, &bytes(1, file.service.as_bytes())));
            bytes(6, &services.concat())
        }
        _ => error(UNIMPLEMENTED, "the demo reflects files, symbols and services"),
    };
    Ok([bytes(2, request), reply].concat())
}

fn file(wanted: impl Fn(&File) -> bool) -> Vec<u8> {
    match FILES.iter().find(|file| wanted(file)) {
        Some(file) => bytes(4, &bytes(1, &file.descriptor())),
        None => error(NOT_FOUND, "the demo has no such file or symbol"),
    }
}

fn error(code: u8, message: &str) -> Vec<u8> {
    bytes(7, &[small(1, code), bytes(2, message.as_bytes())].concat())
}

/// A `.proto` file with one service of one unary method.
struct File {
    name: &'static str,
    service: &'static str,
    method: &'static str,
    /// The names of its request and response.
    types: [&'static str; 2],
    messages: fn() -> Vec<u8>,
}

const FILES: [File; 2] = [
    File {
        name: "grpc/health/v1/health.proto",
        service: HEALTH,
        method: "Check",
        types: ["HealthCheckRequest", "HealthCheckResponse"],
        messages: health_messages,
    },
    File {
        name: "demo.proto",
        service: ECHO,
        method: "Say",
        types: ["Text", "Text"],
        messages: || message("Text", &field("text", TYPE_STRING, "")),
    },
];

impl File {
    fn package(&self) -> &str {
        self.service.rsplit_once('.').map_or("", |(package, _)| package)
    }

    fn defines(&self, symbol: &str) -> bool {
        let whole = |name: &str| format!("{}.{name}", self.package());
        symbol == self.service
            || symbol == format!("{}.{}", self.service, self.method)
            || self.types.iter().any(|name| symbol == whole(name))
    }

    /// A FileDescriptorProto.
    fn descriptor(&self) -> Vec<u8> {
        let typed = |number, name| bytes(number, format!(".{}.{name}", self.package()).as_bytes());
        let [request, response] = self.types;
        let method = [bytes(1, self.method.as_bytes()), typed(2, request), typed(3, response)];
        let name = self.service.rsplit('.').next().unwrap_or(self.service);
        let service = [bytes(1, name.as_bytes()), bytes(2, &method.concat())];
        [
            bytes(1, self.name.as_bytes()),
            bytes(2, self.package().as_bytes()),
            (self.messages)(),
            bytes(6, &service.concat()),
            bytes(12, b"proto3"),
        ]
        .concat()
    }
}

fn health_messages() -> Vec<u8> {
    let values = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
    let value = |(name, number): (&&str, u8)| {
        bytes(2, &[bytes(1, name.as_bytes()), small(2, number)].concat())
    };
    let values: Vec<u8> = values.iter().zip(0..).flat_map(value).collect();
    let status = [bytes(1, b"ServingStatus"), values].concat();
    let of = ".grpc.health.v1.HealthCheckResponse.ServingStatus";
    let response = [field("status", TYPE_ENUM, of), bytes(4, &status)].concat();
    let request = field("service", TYPE_STRING, "");
    [message("HealthCheckRequest", &request), message("HealthCheckResponse", &response)].concat()
}

/// A DescriptorProto in its file.
fn message(name: &str, content: &[u8]) -> Vec<u8> {
    bytes(4, &[bytes(1, name.as_bytes()), content.to_vec()].concat())
}

/// Field 1 of a message, optional.
fn field(name: &str, type_: u8, of: &str) -> Vec<u8> {
    let mut field = [bytes(1, name.as_bytes()), small(3, 1), small(4, 1), small(5, type_)].concat();
    if !of.is_empty() {
        field.extend(bytes(6, of.as_bytes()));
    }
    bytes(2, &field)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(answer: &[u8], text: &str) -> bool {
        answer.windows(text.len()).any(|part| part == text.as_bytes())
    }

    #[test]
    fn services_are_listed_and_files_are_found_by_name_and_by_symbol() {
        let list = answer(&bytes(7, b"*")).unwrap();
        assert!(holds(&list, "grpc.health.v1.Health") && holds(&list, "demo.Echo"));
        for request in [
            bytes(3, b"grpc/health/v1/health.proto"),
            bytes(4, b"grpc.health.v1.Health"),
            bytes(4, b"grpc.health.v1.Health.Check"),
            bytes(4, b"grpc.health.v1.HealthCheckResponse"),
        ] {
            assert!(holds(&answer(&request).unwrap(), "SERVICE_UNKNOWN"));
        }
        assert!(holds(&answer(&bytes(4, b"demo.Text")).unwrap(), ".demo.Text"));
    }

    #[test]
    fn what_is_not_there_is_an_error_within_the_answer_and_no_protobuf_ends_the_call() {
        assert!(holds(&answer(&bytes(4, b"demo.Nothing")).unwrap(), "no such"));
        assert!(holds(&answer(&bytes(6, b"demo.Text")).unwrap(), "the demo reflects"));
        assert_eq!(answer(&[0xff]), Err(INVALID_ARGUMENT));
    }
}
