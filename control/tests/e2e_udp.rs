//! UDP at the real binary: beside HTTP on one port number, across a reload, and where a port is taken.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod e2e_support;

use std::net::{SocketAddr, UdpSocket};

use e2e_support::backend::Backend;
use e2e_support::client::Conn;
use e2e_support::gateway::Gateway;
use e2e_support::{
    Dir, PATIENCE, each_runtime, free_port, gateway_yaml, http_listener, route_yaml, service_yaml,
    to, wait_for,
};

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// The next datagram and its source.
fn next(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut block = [0; 2048];
    loop {
        match socket.recv_from(&mut block) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            other => {
                let (n, from) = other.unwrap();
                return (block[..n].to_vec(), from);
            }
        }
    }
}

/// Sends to `to` and back from `backend`; says how the backend saw it come.
fn exchange(client: &UdpSocket, to: &str, backend: &UdpSocket) -> SocketAddr {
    // It takes answers from there only.
    client.connect(to).unwrap();
    client.send(b"question").unwrap();
    let (bytes, from) = next(backend);
    assert_eq!(bytes, b"question");
    backend.send_to(b"answer", from).unwrap();
    assert_eq!(next(client).0, b"answer");
    from
}

fn udp_listener(port: u16) -> String {
    format!("    - {{ name: udp, protocol: UDP, port: {port} }}\n")
}

fn udp_route(backend: &UdpSocket) -> String {
    let endpoint = backend.local_addr().unwrap();
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: UDPRoute\n\
         metadata: {{ name: dns, namespace: default }}\n\
         spec:\n  parentRefs: [{{ name: web, sectionName: udp }}]\n  \
         rules: [{{ backendRefs: [{{ name: dns, port: 53 }}] }}]\n---\n\
         apiVersion: v1\nkind: Service\nmetadata:\n  name: dns\n  namespace: default\n  \
         annotations: {{ ringway.dev/endpoints: \"{endpoint}\" }}\n\
         spec: {{ ports: [{{ port: 53, protocol: UDP }}] }}\n---\n"
    )
}

#[test]
fn udp_and_http_share_a_port_number_and_a_reload_moves_the_next_datagram() {
    each_runtime(|runtime| {
        let (dir, port) = (Dir::new(), free_port());
        let (one, other, http) = (socket(), socket(), Backend::start("v1"));
        let both = gateway_yaml(&(http_listener("http", port) + &udp_listener(port)))
            + &route_yaml("all", "http", &[("/", &to("v1"))])
            + &service_yaml("v1", &http.address.to_string());
        dir.write("gateway.yaml", &both);
        dir.write("route.yaml", &udp_route(&one));
        let gateway = Gateway::start(runtime, dir.path(), &["--shards", "2"]);
        for scheme in ["http", "udp"] {
            let listener = format!("{scheme}://*:{port}");
            assert!(gateway.ready.contains(&listener), "{}", gateway.ready);
        }
        let client = socket();
        let first = exchange(&client, &format!("127.0.0.1:{port}"), &one);
        let second = exchange(&client, &format!("127.0.0.2:{port}"), &one);
        assert_ne!(first, second, "a session by each address");
        assert_eq!(Conn::open(&format!("127.0.0.1:{port}")).get("/").status(), 200);
        // A change that is none for UDP leaves the session where it is.
        gateway.changing(|| {
            drop(dir.write("more.yaml", &route_yaml("more", "http", &[("/b", &to("v1"))])))
        });
        assert_eq!(exchange(&client, &format!("127.0.0.1:{port}"), &one), first);
        gateway.changing(|| drop(dir.write("route.yaml", &udp_route(&other))));
        exchange(&client, &format!("127.0.0.1:{port}"), &other);
        gateway.wait_metric(r#"ringway_udp_datagrams_total{direction="to_backend"} 4"#);
        gateway.wait_metric(r#"ringway_udp_datagrams_total{direction="to_client"} 4"#);
        gateway.wait_metric(r#"ringway_udp_bytes_total{direction="to_client"} 24"#);
    });
}

#[test]
fn a_udp_port_that_is_taken_is_told_with_its_holder_and_served_once_it_is_free() {
    each_runtime(|runtime| {
        let (dir, port) = (Dir::new(), free_port());
        let backend = socket();
        let holder = UdpSocket::bind(("0.0.0.0", port)).unwrap();
        dir.write("all.yaml", &(gateway_yaml(&udp_listener(port)) + &udp_route(&backend)));
        let gateway = Gateway::start(runtime, dir.path(), &[]);
        let told = format!("cannot listen on UDP [::]:{port}");
        gateway.wait_log(&told);
        assert!(gateway.log().contains(&format!("(pid {})", std::process::id())));
        let objects = || gateway.status()["objects"]["gateways"].clone();
        let condition = || objects()["default/web"]["listeners"][0].to_string();
        assert!(condition().contains(&told), "{}", condition());
        drop(holder);
        wait_for("the port", || (!condition().contains(&told)).then_some(()));
        exchange(&socket(), &format!("127.0.0.1:{port}"), &backend);
    });
}
