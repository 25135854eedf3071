//! The seam between where configuration comes from and the loop that publishes it.
//!
//! A [`Source`] watches something (files here, a cluster in [`crate::kube`]), and on demand gives
//! everything it knows as one [`Built`]: the IR, the statuses that belong to it, and what is wrong.
//! The controller is the only caller.
//! Invariant: [`Source::changed`] may be dropped and called again without losing a change.

use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proxy::ir::Ir;

use crate::check::Mistake;
use crate::files::{Files, OpenError, Stamp};
use crate::resolve::Resolver;
use crate::store::Store;
use crate::translate::status::{ConditionStatus, ConditionType, GatewayStatus};
use crate::translate::{self, Addressing, Cache, Problem, Statuses, Translation};

/// Where configuration comes from.
pub trait Source {
    /// Waits until [`Self::build`] may give something new.
    fn changed(&mut self) -> impl Future<Output = ()>;
    /// Looks at everything again, so that the next build misses nothing.
    fn reread(&mut self);
    /// Translates everything known now. Total: what is wrong stands in [`Built::problems`]. `None`
    /// while not everything is known yet: nothing is ever served from a part of the configuration.
    fn build(&mut self) -> Option<Built>;
    /// What is missing while [`Self::build`] gives nothing.
    fn awaits(&self) -> Option<String> {
        None
    }
}

/// One translated state of the source.
#[derive(Debug, Default)]
pub struct Built {
    /// What the data plane shall do.
    pub ir: Ir,
    /// Conditions of every object, shown once every shard runs `ir`.
    pub statuses: Arc<Statuses>,
    /// Everything that is wrong, each as one line with `file:line:column`.
    pub problems: Vec<String>,
    /// How many Gateways of our class are valid.
    pub gateways: usize,
}

/// Configuration from YAML files.
#[derive(Debug)]
pub struct FileSource {
    files: Files,
    store: Store,
    translator: Translator,
    places: Places,
}

/// From a store to what it means, with what both sources need beside it: names resolved in the
/// background, and the work of earlier translations.
#[derive(Debug)]
pub(crate) struct Translator {
    cache: Cache,
    resolver: Option<Resolver>,
}

impl Translator {
    /// Must be called on a tokio runtime.
    pub(crate) fn new() -> Self {
        let resolver = Resolver::new().inspect_err(|error| {
            tracing::warn!("names of backends will not be resolved: {error}");
        });
        Self { cache: Cache::default(), resolver: resolver.ok() }
    }

    /// Waits until a resolved name may have other addresses. May be dropped and called again.
    pub(crate) async fn changed(&mut self) {
        match &mut self.resolver {
            Some(resolver) => resolver.changed().await,
            None => std::future::pending().await,
        }
    }

    /// Translates what `store` holds, with the addresses that are known now.
    pub(crate) fn translate(&mut self, store: &mut Store) -> Translation {
        if let Some(resolver) = &mut self.resolver {
            resolver.update(&store.snapshot());
            store.set_resolved(resolver.answers());
        }
        translate::translate(&store.snapshot(), &mut self.cache)
    }
}

impl Built {
    /// What a translation gives to the loop, with these lines for what is wrong.
    pub(crate) fn new(ir: Ir, statuses: Statuses, problems: Vec<String>) -> Self {
        let gateways = statuses.gateways.values().filter(|gateway| accepted(gateway)).count();
        Self { ir, statuses: Arc::new(statuses), problems, gateways }
    }
}

impl FileSource {
    /// Reads all files below `paths`, for Gateways of `class` at addresses of `addressing`. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// A path does not exist or cannot be read.
    pub fn open(paths: &[PathBuf], class: &str, addressing: Addressing) -> Result<Self, OpenError> {
        let files = Files::open(paths)?;
        let store = Store::new(Some(class.into()), host_addresses());
        let store = store.with_addressing(addressing, None);
        Ok(Self { files, store, translator: Translator::new(), places: Places::default() })
    }
}

impl Source for FileSource {
    async fn changed(&mut self) {
        tokio::select! {
            () = self.files.changed() => {}
            () = self.translator.changed() => {}
        }
    }

    fn reread(&mut self) {
        self.files.reread();
    }

    fn build(&mut self) -> Option<Built> {
        self.files.apply(&mut self.store);
        let Translation { ir, statuses, problems } = self.translator.translate(&mut self.store);
        let mistakes = self.files.problems();
        let lines = mistakes.iter().map(line);
        let refused = self.places.lines(&self.files, problems);
        Some(Built::new(ir, statuses, lines.chain(refused).collect()))
    }
}

/// The lines of the problems of the last build with the file each was found in, so that a file is
/// read again for positions only when it changed.
#[derive(Debug, Default)]
struct Places(HashMap<Problem, (Option<Holder>, String)>);

/// The file that holds an object, as it was read.
type Holder = (Arc<Path>, Stamp);

impl Places {
    fn lines(&mut self, files: &Files, problems: Vec<Problem>) -> Vec<String> {
        let mut before = std::mem::take(&mut self.0);
        let mut locator = files.locator();
        let mut lines = Vec::with_capacity(problems.len());
        for problem in problems {
            let holder = files.holder(problem.kind, &problem.object);
            let known = before.remove(&problem).filter(|(file, _)| *file == holder);
            let line = known.map_or_else(
                || {
                    let place = holder.as_ref().map(|(file, _)| {
                        let at =
                            locator.locate(file, problem.kind, &problem.object, &problem.field);
                        format!("{}:{}:{}: ", file.display(), at.line, at.column)
                    });
                    format!("{}{}", place.unwrap_or_default(), problem_line(&problem))
                },
                |(_, line)| line,
            );
            lines.push(line.clone());
            self.0.insert(problem, (holder, line));
        }
        lines
    }
}

/// Whether a Gateway is valid.
fn accepted(gateway: &GatewayStatus) -> bool {
    let mut conditions = gateway.conditions.iter();
    conditions.any(|condition| {
        condition.kind == ConditionType::Accepted && condition.status == ConditionStatus::True
    })
}

/// A problem of an object, without the place of its text.
pub(crate) fn problem_line(problem: &Problem) -> String {
    let Problem { kind, object, field, message, .. } = problem;
    // Messages of conditions name the field themselves.
    let field = if message.starts_with(field) { String::new() } else { format!("{field}: ") };
    format!("{} {object}: {field}{message}", kind.as_str())
}

fn line(mistake: &Mistake) -> String {
    let Mistake { file, at, object, field, what } = mistake;
    let mut line = format!("{}:{}:{}", file.display(), at.line, at.column);
    for part in [object, field, what] {
        if !part.is_empty() {
            line.push_str(": ");
            line.push_str(part);
        }
    }
    line.push_str("; its last good version, if any, stays");
    line
}

/// The address that this host would use towards others, and loopback where it has none. A UDP
/// socket that connects sends nothing.
pub(crate) fn host_addresses() -> Arc<[IpAddr]> {
    let towards = [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")];
    let own = towards.iter().filter_map(|(from, to)| {
        let socket = UdpSocket::bind(from).ok()?;
        socket.connect(to).ok()?;
        Some(socket.local_addr().ok()?.ip())
    });
    let mut own: Vec<IpAddr> = own.collect();
    if own.is_empty() {
        own.push(IpAddr::from([127, 0, 0, 1]));
    }
    own.into()
}
