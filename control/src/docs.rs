//! The documentation pages that are made from the code: metrics, reason codes, limits, flags.
//!
//! Tests hold `docs/*.md` equal to these texts; nothing else calls this. Prose that is not derived
//! stands here too, so that a page is written in one place only.

use std::fmt::Write as _;

use clap::{Arg, Command, CommandFactory};
use proxy::fault::Fault;

use crate::cli::Cli;
use crate::limits;
use crate::metrics::{BUCKETS, SERIES_MAX, catalog};
use crate::translate::FEATURES;

/// Every generated page: its file name under `docs/` and its text.
#[must_use]
pub fn pages() -> [(&'static str, String); 4] {
    [
        ("metrics.md", metrics()),
        ("reason-codes.md", reason_codes()),
        ("limits.md", limits_page()),
        ("configuration.md", configuration()),
    ]
}

fn metrics() -> String {
    let mut out = String::from(
        "# Metrics\n\n\
         `GET /metrics` on the admin port answers in the text format of Prometheus. Counters grow \
         from the start of the process. A label value appears with its first event.\n\n\
         | metric | type | labels | meaning |\n|---|---|---|---|\n",
    );
    for entry in catalog::ALL {
        let labels: Vec<String> = entry.labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = labels.join(", ");
        let _ = writeln!(
            out,
            "| `{}` | {} | {labels} | {} |",
            entry.name,
            entry.kind.name(),
            entry.help
        );
    }
    let bounds: Vec<String> = BUCKETS.iter().map(ToString::to_string).collect();
    let _ = write!(
        out,
        "\nDuration buckets (seconds): {}. They are cut from the HDR histograms that `/histograms` \
         gives in full, with a precision of three digits.\n\n\
         With up to 8 shards a scrape has at most {SERIES_MAX} series, whatever the number of \
         listeners, routes and backends.\n",
        bounds.join(", ")
    );
    out
}

fn reason_codes() -> String {
    let mut out = String::from(
        "# Reason codes\n\n\
         Every answer that the gateway itself makes, and every exchange that it ends early, has one \
         of these codes. The same code stands in the access log, in `ringway_faults_total`, and, \
         with `--debug-header`, in the response field `x-ringway-reason`.\n\n\
         | code | status | meaning |\n|---|---|---|\n",
    );
    for fault in Fault::ALL {
        let status = match fault {
            Fault::Malformed(_) => "400, 405, 414, 417, 431, 501 or 505".to_owned(),
            Fault::Redirect(_) => "301, 302, 303, 307 or 308".to_owned(),
            other => other.status().map_or_else(|| "none".to_owned(), |status| status.to_string()),
        };
        let _ = writeln!(out, "| `{}` | {status} | {} |", fault.code(), fault.meaning());
    }
    out
}

fn limits_page() -> String {
    let mut out = String::from(
        "# Limits\n\n\
         What `ringway limits` prints. They hold with zero configuration; those with a flag can be \
         changed.\n\n\
         | limit | value | beyond | flag |\n|---|---|---|---|\n",
    );
    for limit in limits::all() {
        let flag = limit.flag.map_or_else(String::new, |flag| format!("`{flag}`"));
        let _ = writeln!(out, "| `{}` | {} | {} | {flag} |", limit.name, limit.value, limit.beyond);
    }
    out
}

fn configuration() -> String {
    let mut out = String::from(
        "# Configuration\n\n\
         What is served stands in Gateway API YAML, as `kubectl apply` takes it; how it is served \
         stands in flags. Every flag of `run` and `demo` can be given in the environment instead; \
         the flag wins.\n",
    );
    let mut cli = Cli::command();
    cli.build();
    for command in cli.get_subcommands().filter(|command| command.get_name() != "help") {
        command_section(&mut out, command);
    }
    out.push_str(
        "\n## Exit status\n\n\
         | status | meaning |\n|---|---|\n\
         | 0 | drained, or did what was asked |\n\
         | 1 | bad input |\n\
         | 2 | wrong usage |\n\
         | 3 | could not start, or lost a shard; the message names the remedy |\n\
         \n## Signals\n\n\
         | signal | meaning |\n|---|---|\n\
         | SIGTERM, SIGINT | drain, at most for `--drain-timeout`; a second one ends at once |\n\
         | SIGHUP | read everything again and reopen the access log |\n",
    );
    gateway_api(&mut out);
    out
}

fn gateway_api(out: &mut String) {
    out.push_str(GATEWAY_API);
    out.push_str("\nFeatures of the conformance suite that every GatewayClass of ours claims:\n\n");
    for name in FEATURES {
        let _ = writeln!(out, "- `{name}`");
    }
}

/// What of the API is served, and what is said to the rest.
const GATEWAY_API: &str = r#"
## Gateway API

Version 1.7 (1.5 and 1.6 too). Everything that is not served is told by a condition of the object that
asks for it, by `ringway check` with file and line, and under `/status`; nothing is left out silently.

| kind | served |
|---|---|
| GatewayClass | whole, but `parametersRef` (Accepted=False, InvalidParameters) |
| Gateway, ListenerSet | listeners with protocol HTTP, HTTPS, TLS (Passthrough and Terminate), TCP and UDP; HTTP, or HTTPS and TLS, several per port by hostname; `filters` with ExternalAuth; `allowedRoutes` and `allowedListeners` by Same, All, Selector and None; certificates of clients of HTTPS listeners (`spec.tls.frontend`) and towards backends (`spec.tls.backend`) |
| HTTPRoute, GRPCRoute | whole, but what the next tables name; where both claim a host of a listener, the older has it |
| TLSRoute, TCPRoute, UDPRoute | whole; the oldest route of a TCP or UDP listener has all its traffic |
| ReferenceGrant | from routes to Service, from Gateway and ListenerSet to Secret and, for ExternalAuth, to Service, from Gateway to ConfigMap |
| Service, EndpointSlice, Secret, ConfigMap, ClusterTrustBundle, Namespace | as far as the others refer to them; of a ConfigMap its key `ca.crt` alone |
| BackendTLSPolicy | whole, but `options`; for the Services that HTTPRoutes, TLSRoutes and TCPRoutes lead to, mirrors too. What a policy protects is never spoken to in the clear: where it cannot be obeyed the answer is 500, or the connection is closed |

| what | where | what happens |
|---|---|---|
| other protocols | listener | Accepted=False, UnsupportedProtocol; other listeners serve |
| `tls.mode: Passthrough` with HTTPS, filter ExtensionRef | listener | Accepted=False, UnsupportedValue |
| filters that are wrong in themselves, or stand at a listener without HTTP | listener | Accepted=False, InvalidListenerFilter |
| a filter's server that does not exist or may not be asked | listener | ResolvedRefs=False, InvalidListenerFilterRef or RefNotPermitted; all its requests answer 500 |
| `infrastructure.parametersRef` | Gateway | Accepted=False, InvalidParameters |
| address types other than IPAddress | Gateway | Accepted=False, UnsupportedAddress |
| `routability` other than `Cluster` | address | AddressesAssigned=False, PartiallyAssigned or NotAssigned; other addresses serve |
| filter ExtensionRef, `sessionPersistence` | rule | the route is refused: Accepted=False, UnsupportedValue |
| RequestRedirect, CORS and ExternalAuth on a backend | rule | the same; move the filter to the rule |
| header edits of `Host`, `Connection`, `Content-Length` and what else frames a message | filter | the same; URLRewrite changes the host |
| a match that no request can meet, a wrong regular expression | rule | the rule is dropped, PartiallyInvalid=True; the route is refused if no rule is left |
| more than one rule in a TLSRoute, TCPRoute or UDPRoute of an older version | route | Accepted=False, UnsupportedValue |
| backends other than Services | backendRef | ResolvedRefs=False, InvalidKind; its share answers 500, or is closed where there is no HTTP |
| `appProtocol` other than `http`, `kubernetes.io/h2c`, `kubernetes.io/ws`; `https` and `kubernetes.io/wss` without a BackendTLSPolicy | backendRef of an HTTPRoute | ResolvedRefs=False, UnsupportedProtocol; its share answers 500 |

The PROXY protocol, for which the API has no field, stands in annotations:

| annotation | of | value | meaning |
|---|---|---|---|
| `ringway.dev/proxy-protocol-from` | Gateway | networks with commas, as `10.0.0.0/8, 192.0.2.7` | connections from there to its TCP ports, and to those of its ListenerSets, must begin with a header of version 1 or 2, which names the client; others begin without |
| `ringway.dev/proxy-protocol-from.443` | Gateway | the same; empty for nobody | instead, for port 443 |
| `ringway.dev/proxy-protocol` | Service | `v1` or `v2` | connections to its TCP ports begin with a header of this version; each is one client's, so that HTTP/1.1 opens one for every request |

What cannot be read closes the listeners that it is said of (Accepted=False, UnsupportedValue), or the share of the
Service (ResolvedRefs=False, UnsupportedProtocol). Gateways that share a port must say the same of it (ProtocolConflict).

Where the API leaves a choice: a route's retries wait 25 ms at first unless `backoff` says otherwise and
cover connection errors always; a timeout of `0s` is none; of two routes on one listener the one with the
more specific hostname goes first, and what it does not match passes on to the other; conflicting
listeners of one Gateway or ListenerSet are all refused, a ListenerSet loses to its Gateway and to older
ListenerSets.
"#;

fn command_section(out: &mut String, command: &Command) {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let _ = write!(out, "\n## ringway {}\n\n{about}.\n", command.get_name());
    let args: Vec<&Arg> = command.get_arguments().filter(|arg| arg.get_id() != "help").collect();
    if args.is_empty() {
        return;
    }
    out.push_str("\n| argument | environment | default | meaning |\n|---|---|---|---|\n");
    for arg in args {
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} |",
            arg_name(arg),
            arg.get_env().map_or_else(String::new, |env| format!("`{}`", env.to_string_lossy())),
            default(arg),
            meaning(arg),
        );
    }
}

fn arg_name(arg: &Arg) -> String {
    let takes_value = arg.get_action().takes_values();
    let value = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
    let value = value.unwrap_or_default().replace('|', "\\|");
    match arg.get_long() {
        Some(long) if takes_value => format!("--{long} {value}"),
        Some(long) => format!("--{long}"),
        None => format!("{value}…"),
    }
}

fn default(arg: &Arg) -> String {
    let defaults = arg.get_default_values();
    if defaults.is_empty() || !arg.get_action().takes_values() {
        return String::new();
    }
    let words: Vec<_> = defaults.iter().map(|value| value.to_string_lossy()).collect();
    format!("`{}`", words.join(","))
}

fn meaning(arg: &Arg) -> String {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let values = arg.get_possible_values();
    if values.is_empty() || !arg.get_action().takes_values() {
        return help.replace('|', "\\|");
    }
    let words = values.iter().map(|value| match value.get_help() {
        Some(help) => format!("`{}`: {help}", value.get_name()),
        None => format!("`{}`", value.get_name()),
    });
    format!("{help}; {}", words.collect::<Vec<_>>().join("; "))
}
