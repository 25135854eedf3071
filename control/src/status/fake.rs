//! A small API server for tests: it keeps objects, guards writes by version, and fails when told to.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, Once};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;

#[derive(Default)]
pub(crate) struct Inner {
    /// By path.
    pub objects: BTreeMap<String, Value>,
    /// Method and path of every request.
    pub log: Vec<String>,
    /// What the next requests are answered with; 0 is as it should be.
    pub faults: VecDeque<u16>,
    /// Writes of what is at this path are answered with this.
    pub refused: Option<(String, u16)>,
    /// Every request is cut.
    pub is_away: bool,
    version: u64,
}

/// The server.
#[derive(Clone, Default)]
pub(crate) struct Fake(Arc<Mutex<Inner>>);

impl Fake {
    /// Starts it, and a client of it.
    pub(crate) async fn start() -> (Self, kube::Client) {
        static TLS: Once = Once::new();
        TLS.call_once(|| drop(rustls::crypto::aws_lc_rs::default_provider().install_default()));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let fake = Self::default();
        let server = fake.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let server = server.clone();
                tokio::spawn(async move {
                    let service = hyper::service::service_fn(move |request| {
                        let server = server.clone();
                        async move { server.answer(request).await }
                    });
                    let io = hyper_util::rt::TokioIo::new(stream);
                    // A cut connection is what tests ask for.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(io, service)
                        .await;
                });
            }
        });
        let config = kube::Config::new(url.parse().unwrap());
        (fake, kube::Client::try_from(config).unwrap())
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// Stores an object, as somebody else would; gives it a new version.
    pub(crate) fn put(&self, path: &str, mut object: Value) -> u64 {
        let mut inner = self.lock();
        inner.version += 1;
        object["metadata"]["resourceVersion"] = json!(inner.version.to_string());
        inner.objects.insert(path.to_owned(), object);
        inner.version
    }

    pub(crate) fn object(&self, path: &str) -> Value {
        self.lock().objects[path].clone()
    }

    /// How many requests of `method` there were.
    pub(crate) fn count(&self, method: &str) -> usize {
        self.lock().log.iter().filter(|line| line.starts_with(method)).count()
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, std::io::Error> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let path = parts.uri.path().to_owned();
        let mut inner = self.lock();
        inner.log.push(format!("{} {path}", parts.method));
        if inner.is_away {
            return Err(std::io::Error::other("away"));
        }
        let refused = inner.refused.as_ref().filter(|(at, _)| path.starts_with(at.as_str()));
        let refused = refused.filter(|_| parts.method != Method::GET).map(|(_, code)| *code);
        let (code, answer) = match refused.or_else(|| inner.faults.pop_front()) {
            Some(code) if code != 0 => (code, None),
            _ => inner.serve(&parts.method, &path, serde_json::from_slice(&body).ok()),
        };
        let failure = || {
            json!({"kind": "Status", "status": "Failure", "code": code,
                                "message": format!("scripted {code}"), "reason": reason(code)})
        };
        let text = answer.unwrap_or_else(failure).to_string();
        let response = Response::builder().status(code).body(Full::new(Bytes::from(text)));
        Ok(response.unwrap())
    }
}

impl Inner {
    fn serve(&mut self, method: &Method, path: &str, body: Option<Value>) -> (u16, Option<Value>) {
        let path = path.strip_suffix("/status").unwrap_or(path);
        let known = self.objects.get(path).cloned();
        let body = body.unwrap_or_default();
        let (path, object) = match (method.as_str(), known) {
            ("GET", None) if path.ends_with('s') => {
                return (200, Some(json!({"metadata": {}, "items": self.list(path)})));
            }
            ("GET", None) => return (404, None),
            ("GET", known) => return (200, known),
            ("POST", _) => {
                let name = body["metadata"]["name"].as_str().unwrap();
                (format!("{path}/{name}"), body)
            }
            ("PATCH" | "PUT", Some(known)) => {
                let wanted = &body["metadata"]["resourceVersion"];
                if !wanted.is_null() && *wanted != known["metadata"]["resourceVersion"] {
                    return (409, None);
                }
                let mut object = if method == "PUT" { json!({}) } else { known };
                merge(&mut object, body);
                (path.to_owned(), object)
            }
            // A server-side apply creates.
            ("PATCH", None) if body["kind"].is_string() => (path.to_owned(), body),
            _ => return (404, None),
        };
        if method == "POST" && self.objects.contains_key(&path) {
            return (409, None);
        }
        let mut object = object;
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(path, object.clone());
        (200, Some(object))
    }

    fn list(&self, path: &str) -> Vec<Value> {
        let plural = path.rsplit('/').next().unwrap();
        let of = |key: &&String| key.split('/').rev().nth(1) == Some(plural);
        self.objects.keys().filter(of).map(|key| self.objects[key].clone()).collect()
    }
}

fn reason(code: u16) -> &'static str {
    match code {
        404 => "NotFound",
        409 => "Conflict",
        _ => "Scripted",
    }
}

fn merge(object: &mut Value, patch: Value) {
    match (object, patch) {
        (Value::Object(fields), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    fields.remove(&key);
                } else {
                    merge(fields.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (object, patch) => *object = patch,
    }
}

/// Waits until `done`, at most ten seconds.
pub(crate) async fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if done() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}
