//! A namespace of a real cluster with a served route, for tests that then break something.

use std::path::Path;

use super::backend::Backend;
use super::gateway::Gateway;
use super::kube::{self, NODE, Namespace};
use super::{Dir, client, wait_for};

/// The port of the Gateway `web`.
pub(crate) const PORT: u16 = 8088;
/// Its one listener.
pub(crate) const HTTP: &str = "    - { name: http, protocol: HTTP, port: 8088 }\n";

/// A namespace with the served route `first` from `/` to the Service `one`, a backend of this process.
pub(crate) struct Bed {
    pub(crate) namespace: Namespace,
    pub(crate) dir: Dir,
    pub(crate) address: String,
    pub(crate) gateway: Gateway,
}

impl Bed {
    pub(crate) fn new(name: &str) -> Self {
        kube::class();
        let (namespace, dir) = (Namespace::new(name), Dir::new());
        let backend = Backend::start_on(NODE, "one");
        namespace.service("one", &[backend.address]);
        namespace.gateway(HTTP);
        namespace.route("first", "/", "one");
        let gateway = namespace.serve("a", &dir.join("a"), &[]);
        let address = namespace.programmed("web", PORT);
        namespace.wait_route("first", "Accepted", "True", "Accepted");
        assert_eq!(status(&address, "/"), 200, "accepted is served");
        Self { namespace, dir, address, gateway }
    }

    pub(crate) fn get(&self, path: &str) -> u16 {
        status(&self.address, path)
    }

    pub(crate) fn wait_served(&self, path: &str) {
        wait_for(path, || (self.get(path) == 200).then_some(()));
    }

    /// Ends the gateway as the machine's failure would, and starts it again.
    pub(crate) fn restart(&mut self, snapshot: &Path) {
        kill_hard(&mut self.gateway);
        self.gateway = self.namespace.serve("a", snapshot, &[]);
    }
}

/// What `GET path` is answered with.
pub(crate) fn status(address: &str, path: &str) -> u16 {
    let request = format!("GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
    client::status(&client::exchange(address, request.as_bytes()))
}

/// Ends a process as the machine's failure would.
pub(crate) fn kill_hard(gateway: &mut Gateway) {
    gateway.signal("-KILL");
    gateway.end();
}
