//! Connections that a client keeps, one for each address that its URLs name.
//!
//! Called by the protocols that carry one request at a time. Invariant: whoever waits on a connection
//! can be ended by the engine.

use runtime::Runtime;

use crate::load::client::Run;
use crate::load::engine::Failed;
use crate::load::link::Link;

/// The connections of one client.
pub(crate) struct Kept<R: Runtime> {
    index: usize,
    /// What the client shares with the others.
    pub(crate) run: Run,
    /// By URL; those of one address share the first one's.
    links: Vec<Option<Link<R>>>,
}

impl<R: Runtime> Kept<R> {
    /// None is open.
    pub(crate) fn new(index: usize, run: Run) -> Self {
        let links = run.orders.targets.iter().map(|_| None).collect();
        Self { index, run, links }
    }

    /// Opens the connection of a URL, unless it is open.
    pub(crate) async fn link(&mut self, target: usize) -> Result<&mut Link<R>, Failed> {
        let place = self.place(target);
        if self.links[place].is_none() {
            self.links[place] = Some(connect::<R>(&self.run, target).await?);
        }
        let link = self.links[place].as_mut().expect("it was opened just now");
        if let Some((_, abort)) = &mut self.run.engine.borrow_mut().slots[self.index].running {
            *abort = Some(link.abort_handle());
        }
        Ok(link)
    }

    /// Closes the connection of a URL.
    pub(crate) fn close(&mut self, target: usize) {
        let place = self.place(target);
        self.links[place] = None;
    }

    fn place(&self, target: usize) -> usize {
        let targets = &self.run.orders.targets;
        let wanted = (targets[target].address, &targets[target].tls);
        targets.iter().position(|other| (other.address, &other.tls) == wanted).unwrap_or(target)
    }
}

/// Opens a connection to where a URL leads, and counts it.
pub(crate) async fn connect<R: Runtime>(run: &Run, target: usize) -> Result<Link<R>, Failed> {
    let Run { orders, engine } = run;
    let to = &orders.targets[target];
    let tls = orders.tls.as_ref().zip(to.tls.as_deref());
    engine.borrow_mut().record.connections += 1;
    Link::connect(to.address, tls).await.map_err(|(kind, error)| (kind, error.to_string()))
}
