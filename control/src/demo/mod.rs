//! `ringway demo`: the quickstart on free ports, with backends of its own, in a directory to edit.
//!
//! It prepares files and backends and says which lines to try; `main.rs` serves the directory
//! exactly as `run` would. Each printed command starts with two spaces. Invariant: the YAML is that of
//! `k8s/examples/quickstart`, with nothing but its ports replaced.

pub mod backends;
mod dns;
mod grpc;
mod lines;
mod protobuf;
mod reflection;
mod websocket;

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use thiserror::Error;

use self::backends::Addresses;

const FILES: [(&str, &str); 4] = [
    ("gateway.yaml", include_str!("../../../k8s/examples/quickstart/gateway.yaml")),
    ("routes.yaml", include_str!("../../../k8s/examples/quickstart/routes.yaml")),
    ("services.yaml", include_str!("../../../k8s/examples/quickstart/services.yaml")),
    ("secret.yaml", include_str!("../../../k8s/examples/quickstart/secret.yaml")),
];
/// The certificate of the quickstart, as PEM, beside the YAML.
const CERTIFICATE: &str = "certificate.pem";

/// Why there can be no demo.
#[derive(Debug, Error)]
pub enum Error {
    /// A file could not be written.
    #[error("cannot write {}: {source}; choose another place with TMPDIR", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No free port on loopback.
    #[error("cannot find free ports on 127.0.0.1: {0}")]
    Ports(io::Error),
}

/// A prepared demo. Its directory is removed when it is dropped.
#[derive(Debug)]
pub struct Demo {
    directory: PathBuf,
    ports: Ports,
}

/// The ports of the Gateway's listeners.
#[derive(Clone, Copy, Debug)]
struct Ports {
    http: u16,
    https: u16,
    tcp: u16,
    udp: u16,
}

impl Demo {
    /// Starts the backends and writes the files.
    ///
    /// # Errors
    /// No ports, or no place for the files.
    pub fn prepare() -> Result<Self, Error> {
        let backends = backends::start().map_err(Error::Ports)?;
        let ports = free_ports().map_err(Error::Ports)?;
        let directory = std::env::temp_dir().join(format!("ringway-demo-{}", std::process::id()));
        let write = |path: &Path, text: &[u8]| {
            fs::write(path, text).map_err(|source| Error::Write { path: path.into(), source })
        };
        fs::create_dir(&directory)
            .map_err(|source| Error::Write { path: directory.clone(), source })?;
        let demo = Self { directory, ports };
        for (name, text) in FILES {
            let text = localise(text, &ports, &backends);
            write(&demo.directory.join(name), text.as_bytes())?;
        }
        write(&demo.certificate(), &certificate_pem())?;
        Ok(demo)
    }

    /// Where the YAML is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn certificate(&self) -> PathBuf {
        self.directory.join(CERTIFICATE)
    }

    /// What to try, in groups, each with what to expect.
    #[must_use]
    pub fn lines(&self, admin: Option<SocketAddr>) -> String {
        lines::text(&self.directory, &self.certificate(), &self.ports, admin)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            tracing::warn!("{} is left behind: {error}", self.directory.display());
        }
    }
}

/// Replaces the quickstart's ports: all at once, as a new one may look like another old one.
fn localise(text: &str, ports: &Ports, backends: &Addresses) -> String {
    let replacements = [
        ("127.0.0.1:9001", backends.v1.to_string()),
        ("127.0.0.1:9002", backends.v2.to_string()),
        ("127.0.0.1:9003", backends.flaky.to_string()),
        ("127.0.0.1:9004", backends.grpc.to_string()),
        ("127.0.0.1:9005", backends.tcp.to_string()),
        ("127.0.0.1:9006", backends.udp.to_string()),
        ("8080", ports.http.to_string()),
        ("8443", ports.https.to_string()),
        ("8081", ports.tcp.to_string()),
        ("8053", ports.udp.to_string()),
    ];
    let mut text = text.to_owned();
    for (i, (old, _)) in replacements.iter().enumerate() {
        text = text.replace(old, &format!("{{{i}}}"));
    }
    for (i, (_, new)) in replacements.iter().enumerate() {
        text = text.replace(&format!("{{{i}}}"), new);
    }
    text
}

/// Ports that are free now; the kernel does not give them again soon.
fn free_ports() -> io::Result<Ports> {
    let any = (Ipv4Addr::UNSPECIFIED, 0);
    let [http, https, tcp] =
        [TcpListener::bind(any)?, TcpListener::bind(any)?, TcpListener::bind(any)?];
    Ok(Ports {
        http: http.local_addr()?.port(),
        https: https.local_addr()?.port(),
        tcp: tcp.local_addr()?.port(),
        udp: UdpSocket::bind(any)?.local_addr()?.port(),
    })
}

/// The public certificate out of the quickstart's Secret.
fn certificate_pem() -> Vec<u8> {
    let (_, secret) = FILES[3];
    let line = secret.lines().find_map(|line| line.trim().strip_prefix("tls.crt:"));
    let text = line.expect("the quickstart's Secret has a certificate").trim();
    base64::engine::general_purpose::STANDARD.decode(text).expect("it is base64")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_writes_the_quickstart_with_its_own_ports_and_cleans_up() {
        let demo = Demo::prepare().unwrap();
        let read = |name: &str| fs::read_to_string(demo.directory().join(name)).unwrap();
        let gateway = read("gateway.yaml");
        let Ports { http, https, tcp, udp } = demo.ports;
        for port in [http, https, tcp, udp] {
            assert!(gateway.contains(&format!("port: {port}\n")));
        }
        assert!(!read("services.yaml").contains("127.0.0.1:900"));
        assert_eq!(read("secret.yaml"), FILES[3].1);
        assert!(read(CERTIFICATE).starts_with("-----BEGIN CERTIFICATE-----"));
        let directory = demo.directory().to_owned();
        drop(demo);
        assert!(!directory.exists());
    }

    #[test]
    fn every_printed_command_is_of_a_tool_that_people_have_and_names_our_ports() {
        let demo = Demo::prepare().unwrap();
        let text = demo.lines(Some(([127, 0, 0, 1], 19000).into()));
        let commands: Vec<&str> = text.lines().filter(|line| line.starts_with("  ")).collect();
        assert!(commands.len() >= 30);
        for command in commands {
            let tool = command.split_whitespace().next().unwrap();
            assert!(["bash", "curl", "dig", "grpcurl", "printf"].contains(&tool), "{command}");
        }
        assert!(
            !["8080", "8443", "8081", "8053"]
                .iter()
                .any(|port| { text.contains(&format!(":{port}")) })
        );
    }
}
