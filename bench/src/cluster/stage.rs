//! One controller with everything around it: its process, our namespaces, the Gateway, backends.
//!
//! Called by [`super`] and lent to the measuring files. Invariant: the namespaces and the process of
//! a stage end with it, also when it ends by an error.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::api::Api;
use super::objects::{self, GATEWAY, Kind, VERSION};
use super::report::Memory;
use super::served::{Question, Served};
use super::{ClusterArgs, Controller};
use crate::compare::start_backend;
use crate::process::{self, Process, TempDir, cpu};

/// The route whose changes are timed.
const EDITED: (&str, &str) = ("edited", "edited.bench.example");

/// One controller under measurement.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    pub(crate) args: &'a ClusterArgs,
    pub(crate) api: &'a Api,
    pub(crate) gateway: SocketAddr,
    pub(crate) directory: TempDir,
    controller: &'a Controller,
    process: Option<Process>,
    version: u64,
    others: usize,
    spaces: Namespaces<'a>,
    _backends: Vec<Process>,
}

/// The stage's namespaces: for what belongs to the gateway, and for what does not.
#[derive(Debug)]
struct Namespaces<'a> {
    api: &'a Api,
    /// The class, if it was made here.
    class: Option<&'a str>,
    gateway: String,
    unrelated: String,
}

impl Drop for Namespaces<'_> {
    fn drop(&mut self) {
        let class = self.class.map(|name| (Kind::GatewayClass, name));
        let spaces = [&self.gateway, &self.unrelated].map(|name| (Kind::Namespace, name.as_str()));
        for (kind, name) in spaces.into_iter().chain(class) {
            if let Err(error) = self.api.delete(kind, "", name) {
                eprintln!("note: it stays in the cluster: {error:#}");
            }
        }
    }
}

impl<'a> Stage<'a> {
    /// Makes everything and waits until the first route is served.
    pub(crate) fn set_up(
        args: &'a ClusterArgs,
        api: &'a Api,
        controller: &'a Controller,
    ) -> anyhow::Result<Self> {
        let directory = TempDir::new(&format!("cluster-{}", controller.name))?;
        let stem = format!("bench-{}-{}", controller.name, std::process::id());
        let (unrelated, gateway) = (format!("{stem}-unrelated"), stem);
        let mut spaces = Namespaces { api, class: None, gateway, unrelated };
        for name in [&spaces.gateway, &spaces.unrelated] {
            api.create(Kind::Namespace, objects::namespace(name))?;
        }
        if api.get(Kind::GatewayClass, "", &controller.class)?.is_none() {
            let class = objects::class(&controller.class, &controller.controller);
            api.create(Kind::GatewayClass, class)?;
            spaces.class = Some(&controller.class);
        }
        let backends = start_backends(args, api, &spaces.gateway, directory.path())?;
        for (kind, object) in objects::unrelated(&spaces.unrelated) {
            api.create(kind, object)?;
        }
        let process = start(controller, directory.path())?;
        let gateway = objects::gateway(&spaces.gateway, &controller.class, args.port);
        api.create(Kind::Gateway, gateway)?;
        let address =
            programmed(args, api, &spaces.gateway).with_context(|| last_words(process.as_ref()))?;
        let mut stage = Self {
            args,
            api,
            gateway: SocketAddr::new(address, args.port),
            directory,
            controller,
            process,
            version: 0,
            others: 0,
            spaces,
            _backends: backends,
        };
        stage.create_edited()?;
        Ok(stage)
    }

    fn create_edited(&mut self) -> anyhow::Result<()> {
        let rules = vec![objects::rule("/", &[(VERSION, "0")], "a")];
        let route = objects::route(self.namespace(), EDITED.0, EDITED.1, rules);
        self.api.create(Kind::HttpRoute, route)?;
        let question = self.question(EDITED.1, "0");
        super::served::wait_for_all(vec![question], self.args.limit())?;
        Ok(())
    }

    /// Where the gateway's objects are.
    pub(crate) fn namespace(&self) -> &str {
        &self.spaces.gateway
    }

    /// Where objects are that no gateway is interested in.
    pub(crate) fn unrelated(&self) -> &str {
        &self.spaces.unrelated
    }

    /// What to ask for to see whether `host` is served as `wanted`.
    pub(crate) fn question(&self, host: &str, wanted: &str) -> Question {
        let (host, wanted) = (host.to_owned(), wanted.to_owned());
        Question { gateway: self.gateway, host, path: "/", wanted }
    }

    /// Questions to some of the other routes, the last one among them.
    pub(crate) fn sample(&self, count: usize, of: usize) -> Vec<Question> {
        let step = of.div_ceil(count.max(1)).max(1);
        let indices = (0..of).rev().step_by(step);
        let one = |index| {
            let (name, host) = objects::other(index);
            self.question(&host, &name)
        };
        indices.map(one).collect()
    }

    /// Writes a new version of the edited route; returns when it was sent and when served.
    pub(crate) fn edit(&mut self) -> anyhow::Result<(Instant, Served)> {
        self.version += 1;
        let version = self.version.to_string();
        let rules = json!([objects::rule("/", &[(VERSION, &version)], "a")]);
        let asks = self.question(EDITED.1, &version).start(self.args.limit())?;
        let sent = Instant::now();
        let change = json!({"spec": {"rules": rules}});
        let patched = self.api.patch(Kind::HttpRoute, (self.namespace(), EDITED.0), &change);
        let served = asks.join().map_err(|_| anyhow::anyhow!("the asking thread panicked"))?;
        patched?;
        Ok((sent, served?))
    }

    /// How many other routes there are.
    pub(crate) fn others(&self) -> usize {
        self.others
    }

    /// The burst made the others.
    pub(crate) fn made_others(&mut self, count: usize) {
        self.others = count;
    }

    /// Makes or deletes other routes until there are `wanted`, and waits until that has settled.
    pub(crate) fn have_others(&mut self, wanted: usize) -> anyhow::Result<()> {
        if wanted == self.others {
            return Ok(());
        }
        eprintln!("{} other routes", wanted);
        let namespace = self.namespace().to_owned();
        if wanted > self.others {
            let new = (self.others..wanted).map(|n| objects::other_route(&namespace, n)).collect();
            self.api.create_all(Kind::HttpRoute, new)?;
        } else {
            let old = (wanted..self.others).map(|n| objects::other(n).0).collect();
            self.api.delete_all(Kind::HttpRoute, &namespace, old)?;
        }
        self.others = wanted;
        super::served::wait_for_all(self.sample(20, wanted), self.args.limit())?;
        self.edit()?;
        process::pause(SETTLE)
    }

    /// The controller's process, if known.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid).or(self.args.pid)
    }

    /// Resident memory after a moment of quiet.
    pub(crate) fn memory(&self, routes: usize) -> anyhow::Result<Option<Memory>> {
        process::pause(SETTLE)?;
        let Some(pid) = self.pid() else { return Ok(None) };
        let mib = cpu::resident(pid)? as f64 / 1_048_576.0;
        Ok(Some(Memory { routes, mib }))
    }

    /// Ends the controller's process and starts it again; returns when. Nothing when it is not ours.
    pub(crate) fn restart(&mut self) -> anyhow::Result<Option<Instant>> {
        if self.process.take().is_none() {
            return Ok(None);
        }
        let begun = Instant::now();
        self.process = start(self.controller, self.directory.path())?;
        Ok(Some(begun))
    }

    /// Deletes everything and waits until it is gone, so that it does not burden what follows.
    pub(crate) fn tear_down(self) -> anyhow::Result<()> {
        let api = self.api;
        let names = [self.spaces.gateway.clone(), self.spaces.unrelated.clone()];
        let end = Instant::now() + self.args.limit();
        drop(self);
        for name in &names {
            while api.get(Kind::Namespace, "", name)?.is_some() {
                process::check_interrupt()?;
                ensure!(Instant::now() < end, "namespace {name} is not gone in time");
                thread::sleep(Duration::from_millis(500));
            }
        }
        Ok(())
    }
}

fn start(controller: &Controller, directory: &Path) -> anyhow::Result<Option<Process>> {
    let Some(command) = &controller.command else { return Ok(None) };
    let arguments = ["-c".to_owned(), format!("exec {command}")];
    let shell = Path::new("/bin/sh");
    Process::start(&controller.name, shell, &arguments, None, directory).map(Some)
}

/// The end of what the controller printed.
fn last_words(process: Option<&Process>) -> String {
    let Some(process) = process else { return "the controller runs elsewhere".to_owned() };
    let output = process.output();
    let lines: Vec<_> = output.lines().rev().take(LAST_LINES).collect();
    format!("it printed:\n{}", lines.into_iter().rev().collect::<Vec<_>>().join("\n"))
}

/// Two backends, `a` and `b`, with their Services.
fn start_backends(
    args: &ClusterArgs,
    api: &Api,
    namespace: &str,
    directory: &Path,
) -> anyhow::Result<Vec<Process>> {
    let address = match args.backend_address {
        Some(address) => address.to_string(),
        None => node_address(api)?,
    };
    let ports = process::free_ports::<2>()?;
    let mut backends = Vec::new();
    for (name, port) in ["a", "b"].into_iter().zip(ports) {
        let arguments = ["--address", &address, "--name", name, "--echo", VERSION];
        backends.push(start_backend(port, None, &arguments, directory)?);
        for (kind, object) in objects::service(namespace, name, (&address, port)) {
            api.create(kind, object)?;
        }
    }
    Ok(backends)
}

fn node_address(api: &Api) -> anyhow::Result<String> {
    let (nodes, _) = api.list(Kind::Node, "")?;
    let addresses = nodes.iter().filter_map(|node| node["status"]["addresses"].as_array());
    let internal = addresses.flatten().find(|address| address["type"] == "InternalIP");
    let internal = internal.and_then(|address| address["address"].as_str());
    internal.map(str::to_owned).context("no Node has an InternalIP: give --backend-address")
}

/// Waits until the Gateway is programmed, and returns its address.
fn programmed(args: &ClusterArgs, api: &Api, namespace: &str) -> anyhow::Result<IpAddr> {
    let end = Instant::now() + args.limit().min(PROGRAMMED_MAX);
    loop {
        process::check_interrupt()?;
        let gateway = api.get(Kind::Gateway, namespace, GATEWAY)?.unwrap_or(Value::Null);
        let address = gateway["status"]["addresses"][0]["value"].as_str();
        if objects::holds(&gateway["status"], "Programmed")
            && let Some(address) = address.and_then(|address| address.parse().ok())
        {
            return Ok(address);
        }
        ensure!(
            Instant::now() < end,
            "the Gateway is not programmed with an IP address; its status: {}",
            gateway["status"]
        );
        thread::sleep(Duration::from_millis(50));
    }
}

/// What a controller still has to do after a change of many routes is over by then, or shows.
const SETTLE: Duration = Duration::from_secs(3);
const LAST_LINES: usize = 20;
const PROGRAMMED_MAX: Duration = Duration::from_secs(60);
