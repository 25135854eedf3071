//! What the end-to-end tests share: the real binary, small backends, real clients.
//!
//! Blocking sockets and threads on purpose: the code under test is the only clever part. Waiting is
//! always for a fact (a line, an epoch, an answer), bounded by [`PATIENCE`]; no sleep hides a race.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

pub(crate) mod backend;
pub(crate) mod bed;
pub(crate) mod client;
pub(crate) mod gateway;
pub(crate) mod kube;
pub(crate) mod load;
pub(crate) mod peer;

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The longest wait for anything that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `test` on every runtime that is asked for: `RINGWAY_TEST_RUNTIME`, or monoio and epoll.
pub(crate) fn each_runtime(test: impl Fn(&str)) {
    let asked = std::env::var("RINGWAY_TEST_RUNTIME").unwrap_or_else(|_| "monoio epoll".to_owned());
    for runtime in asked.split_whitespace() {
        if runtime != "epoll"
            && runtime != "auto"
            && let Err(error) = uring()
        {
            eprintln!("NOT RUN on {runtime}: {error}");
            continue;
        }
        eprintln!("on {runtime}:");
        test(runtime);
    }
}

/// Whether io_uring is usable here; asked once, for the ring that asks interrupts other threads.
pub(crate) fn uring() -> Result<(), String> {
    static USABLE: OnceLock<Result<(), String>> = OnceLock::new();
    let ask = || runtime::probe::uring().map(drop).map_err(|error| error.to_string());
    USABLE.get_or_init(ask).clone()
}

/// Waits until `found` gives something.
pub(crate) fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let limit = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(Instant::now() < limit, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A port that is free now, below those that the kernel gives to outgoing connections.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = 10_000 + u16::try_from(std::process::id() % 220).unwrap() * 100;
    for _ in 0..2_000 {
        let port = base + NEXT.fetch_add(1, Ordering::Relaxed) % 2_000;
        // 0.0.0.0 conflicts with a listener on any address.
        if TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port from {base} on");
}

/// An own directory, removed on drop.
pub(crate) struct Dir(PathBuf);

impl Dir {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ringway-e2e-{}-{n}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Replaces a file in one step, as editors and `kubectl` volumes do.
    pub(crate) fn rename_into_place(&self, name: &str, text: &str) {
        let new = self.join(&format!(".{name}.new"));
        fs::write(&new, text).unwrap();
        fs::rename(new, self.join(name)).unwrap();
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A GatewayClass and the Gateway `default/web` with these listeners (indented YAML items).
pub(crate) fn gateway_yaml(listeners: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {{ name: ringway }}\n\
         spec: {{ controllerName: ringway.dev/gateway-controller }}\n---\n\
         apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\n\
         metadata: {{ name: web, namespace: default }}\n\
         spec:\n  gatewayClassName: ringway\n  listeners:\n{listeners}---\n"
    )
}

/// One plain listener.
pub(crate) fn http_listener(name: &str, port: u16) -> String {
    format!("    - {{ name: {name}, protocol: HTTP, port: {port} }}\n")
}

/// One TLS listener with the Secret `secret`.
pub(crate) fn https_listener(name: &str, port: u16, host: &str, secret: &str) -> String {
    format!(
        "    - name: {name}\n      protocol: HTTPS\n      port: {port}\n      hostname: \"{host}\"\n\
         \x20     tls: {{ certificateRefs: [{{ name: {secret} }}] }}\n"
    )
}

/// A Service with these endpoints (`ADDRESS:PORT,…`).
pub(crate) fn service_yaml(name: &str, endpoints: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  namespace: default\n  \
         annotations: {{ ringway.dev/endpoints: \"{endpoints}\" }}\nspec: {{ ports: [{{ port: 80 }}] }}\n---\n"
    )
}

/// A route at the Gateway's listener `section` (all, if empty): each rule is a path prefix and what
/// stands below it (`backendRefs` or `filters`, as flow YAML).
pub(crate) fn route_yaml(name: &str, section: &str, rules: &[(&str, &str)]) -> String {
    let section =
        if section.is_empty() { String::new() } else { format!(", sectionName: {section}") };
    let mut out = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
         metadata: {{ name: {name}, namespace: default }}\n\
         spec:\n  parentRefs: [{{ name: web{section} }}]\n  rules:\n"
    );
    for (path, rest) in rules {
        write!(
            out,
            "    - matches: [{{ path: {{ type: PathPrefix, value: {path} }} }}]\n      {rest}\n"
        )
        .unwrap();
    }
    out + "---\n"
}

/// `backendRefs` of one Service.
pub(crate) fn to(service: &str) -> String {
    format!("backendRefs: [{{ name: {service}, port: 80 }}]")
}

/// One plain listener on `port`, every path to the backend `v1` at `endpoint`.
pub(crate) fn simple_yaml(port: u16, endpoint: impl ToString) -> String {
    gateway_yaml(&http_listener("http", port))
        + &route_yaml("all", "", &[("/", &to("v1"))])
        + &service_yaml("v1", &endpoint.to_string())
}

/// A fresh certificate for `name`: the Secret as YAML, and the certificate as PEM.
pub(crate) fn certificate(secret: &str, name: &str) -> (String, String) {
    use base64::Engine as _;
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let yaml = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{ name: {secret}, namespace: default }}\n\
         type: kubernetes.io/tls\ndata:\n  tls.crt: {}\n  tls.key: {}\n---\n",
        encode(&cert),
        encode(&key)
    );
    (yaml, cert)
}
