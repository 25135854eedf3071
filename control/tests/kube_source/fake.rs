//! A scripted API server, for what a real one cannot do on demand.
//!
//! It keeps objects as JSON, serves lists and watches of them over HTTP/1.1 on loopback, and does
//! wrong exactly what a test tells it to. Not an API server: nothing is checked or defaulted.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use control::kube::{Access, KubeSource, Options, connect};
use control::source::{Built, Source};
use hyper::body::{Body, Bytes, Frame};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What is done wrong to one request of a kind.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Answers this status.
    Status(u16),
    /// Answers a watch and then nothing.
    Silence,
    /// Answers a page but says it is not the last, and fails the next with 500.
    SecondPage,
}

#[derive(Default)]
struct Kind {
    objects: BTreeMap<String, String>,
    /// Events since the start, by version.
    events: Vec<(u64, String)>,
    watches: Vec<UnboundedSender<Bytes>>,
    /// Watches that nothing is ever sent to.
    silent: Vec<UnboundedSender<Bytes>>,
    faults: VecDeque<Fault>,
    /// Every watch ends after what there is to say at once.
    ends_watches: bool,
    missing: bool,
    /// Watches from before this version are answered 410.
    oldest: u64,
    /// The only object, and how it is asked for by name.
    whole: Option<String>,
}

#[derive(Default)]
struct State {
    kinds: HashMap<String, Kind>,
    version: u64,
    no_streaming: bool,
    /// Every new connection is closed at once.
    away: bool,
    requests: Vec<String>,
}

/// The server.
#[derive(Clone)]
pub(crate) struct Fake {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
}

impl Fake {
    /// Starts one with a class, a Gateway, a Service with an endpoint, and `routes` routes.
    pub(crate) async fn start(routes: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let fake = Self { state: Arc::default(), address };
        let serving = fake.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                if serving.state().away {
                    continue;
                }
                let fake = serving.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let answer = fake.answer(&request);
                        async move { Ok::<_, Infallible>(answer) }
                    });
                    drop(
                        http1::Builder::new().serve_connection(TokioIo::new(stream), service).await,
                    );
                });
            }
        });
        fake.put("gatewayclasses", "c", r#"{"controllerName":"ringway.dev/gateway-controller"}"#);
        let listeners = r#"[{"name":"http","port":80,"protocol":"HTTP"}]"#;
        let gateway = format!(r#"{{"gatewayClassName":"c","listeners":{listeners}}}"#);
        fake.put("gateways", "g", &gateway);
        fake.put("services", "s", r#"{"ports":[{"port":80}]}"#);
        for route in 0..routes {
            fake.put_route(&format!("r{route}"), "s");
        }
        fake
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// A source that watches this server.
    pub(crate) async fn source(&self, options: Options) -> KubeSource {
        let file = std::env::temp_dir().join(format!(
            "ringway-fake-{}-{}",
            std::process::id(),
            self.address.port()
        ));
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             clusters: [{{name: c, cluster: {{server: 'http://{}'}}}}]\n\
             contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
             users: [{{name: u, user: {{}}}}]\n",
            self.address
        );
        std::fs::write(&file, text).unwrap();
        let access = Access { kubeconfig: Some(file.clone()), context: None };
        let client = connect(&access).await.unwrap();
        std::fs::remove_file(file).unwrap();
        KubeSource::start(&client, options)
    }

    pub(crate) fn put(&self, plural: &str, name: &str, spec: &str) {
        self.put_with(plural, name, spec, "{}");
    }

    /// Adds or replaces an object of the namespace `a` and tells those who watch.
    pub(crate) fn put_with(&self, plural: &str, name: &str, spec: &str, status: &str) {
        let mut state = self.state();
        state.version += 1;
        let version = state.version;
        let text = format!(
            r#"{{"metadata":{{"name":"{name}","namespace":"a","uid":"{name}","generation":1,"resourceVersion":"{version}","managedFields":[{{"manager":"x"}}]}},"spec":{spec},"status":{status}}}"#
        );
        let kind = state.kinds.entry(plural.to_owned()).or_default();
        kind.objects.insert(name.to_owned(), text.clone());
        kind.tell(version, "MODIFIED", &text);
    }

    pub(crate) fn put_route(&self, name: &str, service: &str) {
        let spec = format!(
            r#"{{"parentRefs":[{{"name":"g"}}],"rules":[{{"backendRefs":[{{"name":"{service}","port":80}}]}}]}}"#
        );
        self.put("httproutes", name, &spec);
    }

    pub(crate) fn delete(&self, plural: &str, name: &str) {
        let mut state = self.state();
        state.version += 1;
        let version = state.version;
        let kind = state.kinds.get_mut(plural).unwrap();
        let text = kind.objects.remove(name).unwrap();
        kind.tell(version, "DELETED", &text);
    }

    /// Takes objects away without telling anybody, as if an answer had come from a half-filled cache.
    pub(crate) fn hide(&self, plural: &str, keep: usize) -> BTreeMap<String, String> {
        let mut state = self.state();
        let kind = state.kinds.get_mut(plural).unwrap();
        let all = kind.objects.clone();
        kind.objects = all.clone().into_iter().take(keep).collect();
        all
    }

    pub(crate) fn show(&self, plural: &str, objects: BTreeMap<String, String>) {
        self.state().kinds.get_mut(plural).unwrap().objects = objects;
    }

    pub(crate) fn fail(&self, plural: &str, faults: &[Fault]) {
        let mut state = self.state();
        state.kinds.entry(plural.to_owned()).or_default().faults.extend(faults.iter().cloned());
    }

    pub(crate) fn set_missing(&self, plural: &str, missing: bool) {
        self.state().kinds.entry(plural.to_owned()).or_default().missing = missing;
    }

    /// Answers every request whose path ends with `name` so.
    pub(crate) fn set_whole(&self, name: &str, text: &str) {
        self.state().kinds.entry(name.to_owned()).or_default().whole = Some(text.to_owned());
    }

    pub(crate) fn set_away(&self, away: bool) {
        let mut state = self.state();
        state.away = away;
        state.kinds.values_mut().for_each(|kind| kind.watches.clear());
    }

    pub(crate) fn set_ends_watches(&self, plural: &str) {
        self.state().kinds.entry(plural.to_owned()).or_default().ends_watches = true;
    }

    pub(crate) fn set_no_streaming(&self) {
        self.state().no_streaming = true;
    }

    /// Bytes to all who watch a kind.
    pub(crate) fn send(&self, plural: &str, text: &str) {
        let mut state = self.state();
        let kind = state.kinds.get_mut(plural).unwrap();
        kind.watches.retain(|to| to.send(Bytes::from(text.to_owned())).is_ok());
    }

    /// Ends all watches of a kind; with `forget` none can be resumed.
    pub(crate) fn cut(&self, plural: &str, forget: bool) {
        let mut state = self.state();
        let version = state.version;
        let kind = state.kinds.get_mut(plural).unwrap();
        kind.watches.clear();
        if forget {
            kind.oldest = version + 1;
            kind.events.clear();
        }
    }

    /// How a kind was asked for, each time.
    pub(crate) fn requests(&self, plural: &str) -> Vec<String> {
        let path = format!("/{plural}?");
        let state = self.state();
        state.requests.iter().filter(|uri| uri.contains(&path)).cloned().collect()
    }

    /// How often a path that ends with `name` was asked for.
    pub(crate) fn asked(&self, name: &str) -> usize {
        self.state().requests.iter().filter(|uri| uri.ends_with(name)).count()
    }

    fn answer(&self, request: &Request<hyper::body::Incoming>) -> Response<Stream> {
        let uri = request.uri().to_string();
        let mut state = self.state();
        state.requests.push(uri.clone());
        let plural = request.uri().path().rsplit('/').next().unwrap().to_owned();
        let query: HashMap<&str, &str> = uri
            .split_once('?')
            .map_or("", |(_, query)| query)
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .collect();
        let (version, no_streaming) = (state.version, state.no_streaming);
        let kind = state.kinds.entry(plural).or_default();
        if kind.missing {
            return refuse(404);
        }
        if query.contains_key("sendInitialEvents") && no_streaming {
            return refuse(422);
        }
        if let Some(text) = &kind.whole {
            return Response::new(Stream::Whole(Some(text.clone().into())));
        }
        let fault = kind.faults.pop_front();
        if let Some(Fault::Status(code)) = fault {
            return refuse(code);
        }
        if !query.contains_key("watch") {
            return kind.page(version, &query, fault.is_some());
        }
        let (to, stream) = unbounded_channel();
        if fault.is_some() {
            kind.silent.push(to);
            return Response::new(Stream::Open(stream));
        }
        match query.get("resourceVersion").and_then(|text| text.parse::<u64>().ok()) {
            Some(from) if from < kind.oldest => return refuse(410),
            Some(from) => kind.replay(&to, from),
            None => kind.list(&to, version),
        }
        if !kind.ends_watches {
            kind.watches.push(to);
        }
        Response::new(Stream::Open(stream))
    }
}

impl Kind {
    fn tell(&mut self, version: u64, event: &str, object: &str) {
        let line = format!("{{\"type\":\"{event}\",\"object\":{object}}}\n");
        self.watches.retain(|to| to.send(Bytes::from(line.clone())).is_ok());
        self.events.push((version, line));
    }

    fn replay(&self, to: &UnboundedSender<Bytes>, from: u64) {
        for (_, line) in self.events.iter().filter(|(version, _)| *version > from) {
            to.send(Bytes::from(line.clone())).unwrap();
        }
    }

    fn list(&self, to: &UnboundedSender<Bytes>, version: u64) {
        let objects = self.objects.values();
        let mut text: String =
            objects.map(|object| format!("{{\"type\":\"ADDED\",\"object\":{object}}}\n")).collect();
        text.push_str(&bookmark(version, true));
        to.send(Bytes::from(text)).unwrap();
    }

    /// A page of at most two objects.
    fn page(&mut self, version: u64, query: &HashMap<&str, &str>, fails: bool) -> Response<Stream> {
        let start: usize = query.get("continue").map_or(0, |text| text.parse().unwrap());
        let all: Vec<_> = self.objects.values().cloned().collect();
        let end = (start + 2).min(all.len());
        let next = if end < all.len() || fails { end.to_string() } else { String::new() };
        if fails {
            self.faults.push_front(Fault::Status(500));
        }
        let text = format!(
            r#"{{"metadata":{{"resourceVersion":"{version}","continue":"{next}"}},"items":[{}]}}"#,
            all[start..end].join(",")
        );
        Response::new(Stream::Whole(Some(text.into())))
    }
}

pub(crate) fn bookmark(version: u64, ends_list: bool) -> String {
    let annotations =
        if ends_list { r#","annotations":{"k8s.io/initial-events-end":"true"}"# } else { "" };
    format!(
        "{{\"type\":\"BOOKMARK\",\"object\":{{\"metadata\":{{\"resourceVersion\":\"{version}\"{annotations}}}}}}}\n"
    )
}

fn refuse(code: u16) -> Response<Stream> {
    let text = format!(r#"{{"kind":"Status","code":{code},"message":"as the test wants"}}"#);
    let mut answer = Response::new(Stream::Whole(Some(text.into())));
    *answer.status_mut() = code.try_into().unwrap();
    answer
}

/// A body.
enum Stream {
    Whole(Option<Bytes>),
    Open(UnboundedReceiver<Bytes>),
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Whole(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Self::Open(from) => {
                from.poll_recv(context).map(|text| text.map(|text| Ok(Frame::data(text))))
            }
        }
    }
}

/// The next thing that is built.
pub(crate) async fn next(source: &mut KubeSource) -> Built {
    loop {
        source.changed().await;
        if let Some(built) = source.build() {
            return built;
        }
    }
}

/// Builds until `wanted` holds.
pub(crate) async fn until(source: &mut KubeSource, wanted: impl Fn(&Built) -> bool) -> Built {
    loop {
        let built = next(source).await;
        if wanted(&built) {
            return built;
        }
    }
}
