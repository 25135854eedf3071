//! TLS at the real binary: versions, SNI, authority, ALPN, resumption, and what is not TLS.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod e2e_support;

use e2e_support::backend::Backend;
use e2e_support::client::{self, Conn};
use e2e_support::gateway::Gateway;
use e2e_support::{
    Dir, certificate, each_runtime, free_port, gateway_yaml, http_listener, https_listener,
    route_yaml, service_yaml, to,
};

/// Two HTTPS listeners on one port, a plain one on another.
struct World {
    dir: Dir,
    port: u16,
    plain: u16,
    v1: Backend,
    gateway: Gateway,
}

impl World {
    fn start(runtime: &str) -> Self {
        let (dir, port, plain) = (Dir::new(), free_port(), free_port());
        let (v1, v2) = (Backend::start("v1"), Backend::start("v2"));
        let (shop, shop_pem) = certificate("shop-tls", "shop.test");
        let (api, api_pem) = certificate("api-tls", "api.test");
        dir.write("shop.pem", &shop_pem);
        dir.write("api.pem", &api_pem);
        let listeners = https_listener("shop", port, "shop.test", "shop-tls")
            + &https_listener("api", port, "api.test", "api-tls")
            + &http_listener("plain", plain);
        let text = gateway_yaml(&listeners)
            + &route_yaml("shop", "shop", &[("/", &to("v1"))])
            + &route_yaml("api", "api", &[("/", &to("v2"))])
            + &service_yaml("v1", &v1.address.to_string())
            + &service_yaml("v2", &v2.address.to_string());
        dir.write("all.yaml", &(text + &shop + &api));
        let gateway = Gateway::start(runtime, dir.path(), &[]);
        Self { dir, port, plain, v1, gateway }
    }

    fn curl(&self, host: &str, more: &[&str]) -> (String, String, Option<i32>) {
        let resolve = format!("{host}:{}:127.0.0.1", self.port);
        let pem = self.dir.join(&format!("{}.pem", host.split('.').next().unwrap()));
        let url = format!("https://{host}:{}/", self.port);
        let common = ["--cacert", pem.to_str().unwrap(), "--resolve", &resolve, &url];
        client::try_curl(&[more, &common].concat())
    }

    fn ok(&self, host: &str, more: &[&str]) -> String {
        let (out, error, code) = self.curl(host, more);
        assert_eq!(code, Some(0), "{host} {more:?}: {error}");
        out
    }

    fn s_client(&self, more: &[&str], input: &str) -> Option<String> {
        let address = format!("127.0.0.1:{}", self.port);
        client::s_client(
            &[&["-connect", &address, "-servername", "shop.test"], more].concat(),
            input,
        )
    }
}

#[test]
fn tls_1_2_and_1_3_are_spoken_and_older_versions_are_not() {
    each_runtime(|runtime| {
        let world = World::start(runtime);
        for version in [&["--tlsv1.2", "--tls-max", "1.2"][..], &["--tlsv1.3"]] {
            let out = world.ok("shop.test", version);
            assert_eq!(client::status(&out), 200, "{version:?}");
            assert!(out.contains(r#""x-forwarded-proto":"https""#), "{out}");
        }
        // OpenSSL's own policy must let the client ask at all.
        let old = ["--tlsv1.0", "--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0"];
        assert_eq!(world.curl("shop.test", &old).2, Some(35));
    });
}

#[test]
fn sni_chooses_certificate_and_listener_and_an_unknown_name_gets_neither() {
    each_runtime(|runtime| {
        let world = World::start(runtime);
        assert!(world.ok("shop.test", &[]).contains(r#""version":"v1""#));
        assert!(world.ok("api.test", &[]).contains(r#""version":"v2""#));
        assert_eq!(world.curl("other.test", &["-k"]).2, Some(35));
        let url = format!("https://127.0.0.1:{}/", world.port);
        assert_eq!(client::try_curl(&["-k", &url]).2, Some(35));
        world.gateway.wait_metric(r#"ringway_faults_total{reason="tls_handshake"} 2"#);
    });
}

#[test]
fn the_host_of_another_listener_is_421_and_one_that_nobody_claims_is_404() {
    each_runtime(|runtime| {
        let world = World::start(runtime);
        let answer = world.ok("shop.test", &["-H", "host: api.test"]);
        assert_eq!(client::status(&answer), 421, "{answer}");
        let answer = world.ok("shop.test", &["-H", "host: nobody.test"]);
        assert_eq!(client::status(&answer), 404, "{answer}");
        assert_eq!(world.v1.count(), 0);
        // The same connection goes on with its own host.
        let resolve = format!("shop.test:{}:127.0.0.1", world.port);
        let url = format!("https://shop.test:{}/", world.port);
        let out = client::curl(&[
            "-k",
            "--resolve",
            &resolve,
            "-H",
            "host: api.test",
            &url,
            "--next",
            "-sSik",
            "--resolve",
            &resolve,
            "-w",
            "connects=%{num_connects}",
            &url,
        ]);
        assert!(out.contains("HTTP/2 421 ") && out.contains("HTTP/2 200 "), "{out}");
        assert!(out.ends_with("connects=0"), "{out}");
    });
}

#[test]
fn plain_http_on_a_tls_port_is_closed_and_tls_on_a_plain_port_is_400() {
    each_runtime(|runtime| {
        let world = World::start(runtime);
        let tls = format!("127.0.0.1:{}", world.port);
        let answer = client::exchange(&tls, b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
        // A TLS alert (type 21) or a plain 400: never an answer of a backend.
        assert!(
            answer.is_empty() || answer.starts_with('\u{15}') || answer.contains(" 400 "),
            "{answer:?}"
        );
        let plain = format!("127.0.0.1:{}", world.plain);
        // The start of a real ClientHello, with line ends nowhere.
        let mut hello = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
        hello.extend((0..=255).cycle().filter(|byte| *byte != 10).take(506));
        let answer = client::exchange(&plain, &hello);
        assert_eq!(client::status(&answer), 400, "{answer:?}");
        let url = format!("https://127.0.0.1:{}/", world.plain);
        assert_eq!(client::try_curl(&["-k", &url]).2, Some(35));
        assert_eq!(world.v1.count(), 0);
        assert_eq!(Conn::open(&plain).get("/").status(), 404, "and the port goes on");
    });
}

#[test]
fn alpn_agrees_to_http_2_before_http_1_and_refuses_what_nobody_speaks() {
    each_runtime(|runtime| {
        let world = World::start(runtime);
        for (offered, told) in [
            ("h3", "no application protocol"),
            ("h2", "ALPN protocol: h2"),
            ("http/1.1,h2", "ALPN protocol: h2"),
            ("http/1.1", "ALPN protocol: http/1.1"),
        ] {
            let Some(out) = world.s_client(&["-alpn", offered], "") else { return };
            assert!(out.contains(told), "{offered}: {out}");
        }
        let out = world.ok("shop.test", &["--http2"]);
        assert!(out.starts_with("HTTP/2 200 "), "{out}");
        let out = world.ok("shop.test", &["--http1.1"]);
        assert!(out.starts_with("HTTP/1.1 200 "), "{out}");
    });
}

#[test]
fn a_session_is_resumed_at_its_own_listener_only() {
    each_runtime(|runtime| {
        let world = World::start(runtime);
        let session = world.dir.join("session.pem");
        let session = session.to_str().unwrap();
        let get = "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n";
        for version in ["-tls1_2", "-tls1_3"] {
            let common = [version, "-ign_eof"];
            let Some(out) = world.s_client(&[&common[..], &["-sess_out", session]].concat(), get)
            else {
                return;
            };
            assert!(out.contains("\nNew, TLSv1") && out.contains("HTTP/1.1 200 "), "{out}");
            let resume = [&common[..], &["-sess_in", session]].concat();
            let out = world.s_client(&resume, get).unwrap();
            assert!(out.contains("\nReused, TLSv1") && out.contains("HTTP/1.1 200 "), "{out}");
            let other = get.replace("shop.test", "api.test");
            let address = format!("127.0.0.1:{}", world.port);
            let at_other = ["-connect", &address, "-servername", "api.test"];
            let out = client::s_client(&[&at_other[..], &resume].concat(), &other).unwrap();
            assert!(!out.contains("\nReused, "), "{out}");
            assert!(out.contains("HTTP/1.1 200 ") && out.contains(r#""version":"v2""#), "{out}");
        }
    });
}
