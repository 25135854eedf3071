//! `ringway demo`: the quickstart on free ports, with backends of its own, in a directory to edit.
//!
//! It prepares files and backends and says which `curl` lines to try; `main.rs` serves the directory
//! exactly as `run` would. Each printed command starts with two spaces and `curl`. Invariant: the
//! YAML is that of `k8s/examples/quickstart`, with nothing but its ports replaced.

pub mod backends;
mod lines;

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use thiserror::Error;

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
    http: u16,
    https: u16,
}

impl Demo {
    /// Starts the backends and writes the files.
    ///
    /// # Errors
    /// No ports, or no place for the files.
    pub fn prepare() -> Result<Self, Error> {
        let backends = backends::start().map_err(Error::Ports)?;
        let (http, https) = free_ports().map_err(Error::Ports)?;
        let directory = std::env::temp_dir().join(format!("ringway-demo-{}", std::process::id()));
        let write = |path: &Path, text: &[u8]| {
            fs::write(path, text).map_err(|source| Error::Write { path: path.into(), source })
        };
        fs::create_dir(&directory)
            .map_err(|source| Error::Write { path: directory.clone(), source })?;
        let demo = Self { directory, http, https };
        for (name, text) in FILES {
            let text = localise(text, http, https, &backends);
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
        lines::text(&self.directory, &self.certificate(), self.http, self.https, admin)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            tracing::warn!("{} is left behind: {error}", self.directory.display());
        }
    }
}

/// Replaces the quickstart's ports.
fn localise(text: &str, http: u16, https: u16, backends: &[SocketAddr; 3]) -> String {
    let mut text = text.replace("8443", "{https}").replace("8080", "{http}");
    for (port, backend) in [9001, 9002, 9003].iter().zip(backends) {
        text = text.replace(&format!("127.0.0.1:{port}"), &backend.to_string());
    }
    text.replace("{https}", &https.to_string()).replace("{http}", &http.to_string())
}

/// Two ports that are free now; the kernel does not give them again soon.
fn free_ports() -> io::Result<(u16, u16)> {
    let http = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let https = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    Ok((http.local_addr()?.port(), https.local_addr()?.port()))
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
        assert!(gateway.contains(&format!("port: {}", demo.http)));
        assert!(gateway.contains(&format!("port: {}", demo.https)));
        assert!(!read("services.yaml").contains("127.0.0.1:900"));
        assert!(read(CERTIFICATE).starts_with("-----BEGIN CERTIFICATE-----"));
        let directory = demo.directory().to_owned();
        drop(demo);
        assert!(!directory.exists());
    }

    #[test]
    fn every_printed_command_starts_with_curl() {
        let demo = Demo::prepare().unwrap();
        let text = demo.lines(Some(([127, 0, 0, 1], 19000).into()));
        assert!(text.lines().filter(|line| line.starts_with("  curl ")).count() >= 15);
        assert!(!text.contains("8080") && !text.contains("8443"));
    }
}
