//! A real cluster, through `kubectl`: these tests run inside a cluster of `k8s/cluster`, which puts
//! `kubectl`, `cluster` and KUBECONFIG in their environment.
//!
//! Each test has a namespace of its own, removed when it ends. Gateways take addresses of the
//! cluster's pool, backends listen on the node's address, since the API refuses loopback endpoints.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::gateway::{Gateway, ringway};
use super::wait_for;

/// The address of the cluster's one node.
pub(crate) const NODE: &str = "10.244.0.1";
/// What our GatewayClass names.
pub(crate) const CONTROLLER: &str = "ringway.dev/gateway-controller";
/// Addresses for Gateways.
pub(crate) const POOL: &str = "10.245.0.0/24";

/// Runs a tool of the cluster; standard output, standard error and whether it succeeded.
fn run(program: &str, args: &[&str], input: &str) -> (String, String, bool) {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}; run these tests with `cluster exec`"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr), output.status.success())
}

/// `kubectl`, which must succeed; its standard output.
pub(crate) fn kubectl(args: &[&str]) -> String {
    let (out, error, good) = run("kubectl", args, "");
    assert!(good, "kubectl {args:?}: {error}");
    out
}

/// `kubectl`, which may fail.
pub(crate) fn try_kubectl(args: &[&str]) -> Result<String, String> {
    let (out, error, good) = run("kubectl", args, "");
    if good { Ok(out) } else { Err(error) }
}

/// Creates or changes what the YAML says.
pub(crate) fn apply(yaml: &str) {
    let (_, error, good) = run("kubectl", &["apply", "--server-side", "-f", "-"], yaml);
    assert!(good, "kubectl apply: {error}\n{yaml}");
}

/// The same, whoever else had a say in the object's fields.
pub(crate) fn apply_forced(yaml: &str) {
    let args = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
    let (_, error, good) = run("kubectl", &args, yaml);
    assert!(good, "kubectl apply: {error}");
}

/// `cluster COMMAND`, such as `kill apiserver`.
pub(crate) fn cluster(args: &[&str]) {
    let (_, error, good) = run("cluster", args, "");
    assert!(good, "cluster {args:?}: {error}");
}

/// The GatewayClass that all tests use.
pub(crate) fn class() {
    apply(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: { name: ringway }\n\
         spec: { controllerName: ringway.dev/gateway-controller }\n",
    );
}

/// A namespace that ends with its test.
pub(crate) struct Namespace(String);

impl Namespace {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("{name}-{}", std::process::id());
        kubectl(&["create", "namespace", &name]);
        Self(name)
    }

    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    /// Applies YAML whose objects stand in this namespace.
    pub(crate) fn apply(&self, yaml: &str) {
        self.try_apply(yaml).unwrap_or_else(|error| panic!("kubectl apply: {error}\n{yaml}"));
    }

    /// The same, which the API server may refuse.
    pub(crate) fn try_apply(&self, yaml: &str) -> Result<(), String> {
        let args = ["apply", "--server-side", "--namespace", &self.0, "-f", "-"];
        let (_, error, good) = run("kubectl", &args, yaml);
        if good { Ok(()) } else { Err(error) }
    }

    /// An object, if it exists.
    pub(crate) fn get(&self, kind: &str, name: &str) -> Option<Value> {
        let args = ["get", kind, name, "--namespace", &self.0, "-o", "json"];
        let text = try_kubectl(&args).ok()?;
        Some(serde_json::from_str(&text).expect("kubectl prints JSON"))
    }

    pub(crate) fn kubectl(&self, args: &[&str]) -> String {
        kubectl(&[args, &["--namespace", &self.0]].concat())
    }

    /// The Gateway `web` with these listeners (indented YAML items).
    pub(crate) fn gateway(&self, listeners: &str) {
        self.apply(&format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{ name: web }}\n\
             spec:\n  gatewayClassName: ringway\n  listeners:\n{listeners}"
        ));
    }

    /// Waits until a Gateway takes traffic; `address:port` of a listener on `port`.
    pub(crate) fn programmed(&self, gateway: &str, port: u16) -> String {
        self.wait_condition("gateway", gateway, "Programmed", "True", "Programmed");
        let gateway = self.get("gateway", gateway).unwrap();
        let address = gateway["status"]["addresses"][0]["value"].as_str();
        format!("{}:{port}", address.expect("a Gateway that is programmed has an address"))
    }

    /// Waits until the condition of an object's newest generation is so.
    pub(crate) fn wait_condition(
        &self,
        kind: &str,
        name: &str,
        condition: &str,
        status: &str,
        reason: &str,
    ) {
        wait_for(&format!("{kind} {name}: {condition}={status}/{reason}"), || {
            let object = self.get(kind, name)?;
            let found = condition_of(&object, &object["status"], condition)?;
            (found == (status.to_owned(), reason.to_owned())).then_some(())
        });
    }

    /// A Service without selector on port 80, and an EndpointSlice with these endpoints.
    pub(crate) fn service(&self, name: &str, endpoints: &[SocketAddr]) {
        let port = endpoints.first().map_or(80, SocketAddr::port);
        let addresses: Vec<_> = endpoints
            .iter()
            .map(|endpoint| format!("{{ addresses: [{}] }}", endpoint.ip()))
            .collect();
        self.apply(&format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{ name: {name} }}\n\
             spec: {{ ports: [{{ name: http, port: 80 }}] }}\n---\n\
             apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{ name: {name}-1, labels: {{ kubernetes.io/service-name: {name} }} }}\n\
             addressType: IPv4\nports: [{{ name: http, port: {port} }}]\nendpoints: [{}]\n",
            addresses.join(", ")
        ));
    }

    /// The route `name` at the Gateway `web`: everything below `prefix` to `service`.
    pub(crate) fn route(&self, name: &str, prefix: &str, service: &str) {
        self.apply(&format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{ name: {name} }}\n\
             spec:\n  parentRefs: [{{ name: web }}]\n  rules:\n\
             \x20 - matches: [{{ path: {{ type: PathPrefix, value: {prefix} }} }}]\n\
             \x20   backendRefs: [{{ name: {service}, port: 80 }}]\n"
        ));
    }

    /// The condition of the route's one parent of ours: status and reason.
    pub(crate) fn route_condition(&self, name: &str, condition: &str) -> Option<(String, String)> {
        let route = self.get("httproute", name)?;
        let parents = route["status"]["parents"].as_array()?;
        let ours = parents.iter().find(|parent| parent["controllerName"] == CONTROLLER)?;
        condition_of(&route, ours, condition)
    }

    /// Waits until the condition of the route's one parent is so.
    pub(crate) fn wait_route(&self, name: &str, condition: &str, status: &str, reason: &str) {
        wait_for(&format!("{name}: {condition}={status}/{reason}"), || {
            let found = self.route_condition(name, condition)?;
            (found == (status.to_owned(), reason.to_owned())).then_some(())
        });
    }

    /// A replica named `replica` with addresses of the pool that keeps its snapshot in `snapshot`
    /// (a folder, or `off`), once it is ready.
    pub(crate) fn serve(&self, replica: &str, snapshot: &Path, more: &[&str]) -> Gateway {
        self.serve_at(&format!("pool:{POOL}"), replica, snapshot, more)
    }

    /// The same with another `--addresses`.
    pub(crate) fn serve_at(
        &self,
        addresses: &str,
        replica: &str,
        snapshot: &Path,
        more: &[&str],
    ) -> Gateway {
        let mut command = ringway(&["run", "--kube", "--addresses", addresses]);
        command.arg("--snapshot").arg(snapshot).args(["--shards", "2"]).args(more);
        command.env("RINGWAY_POD_NAMESPACE", &self.0).env("RINGWAY_POD_NAME", replica);
        Gateway::spawn(command)
    }
}

/// Status and reason of a condition that `holder` has for the newest generation of `object`.
fn condition_of(object: &Value, holder: &Value, condition: &str) -> Option<(String, String)> {
    let found = holder["conditions"].as_array()?.iter().find(|one| {
        one["type"] == condition && one["observedGeneration"] == object["metadata"]["generation"]
    })?;
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    Some((text("status"), text("reason")))
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Gateways go before the next test starts: every gateway process serves all there are.
        let _ = try_kubectl(&["delete", "gateways,httproutes", "--all", "--namespace", &self.0]);
        let _ = try_kubectl(&["delete", "namespace", &self.0, "--wait=false"]);
    }
}
