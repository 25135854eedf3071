//! From the start of a controller's process to right answers, with many routes.
//!
//! Called by [`super`]. Invariant: a refused connection is no answer; any answer but the right one
//! is counted as wrong.

use super::report::Restart;
use super::served::wait_for_all;
use super::stage::Stage;

/// So many routes stand for all.
const SAMPLE: usize = 20;

/// Stops and starts the process, if it is ours.
pub(crate) fn measure(stage: &mut Stage<'_>) -> anyhow::Result<Option<Restart>> {
    eprintln!("a restart");
    let routes = stage.others();
    let Some(begun) = stage.restart()? else { return Ok(None) };
    let (served, wrong) = wait_for_all(stage.sample(SAMPLE, routes), stage.args.limit())?;
    Ok(Some(Restart { routes, served_s: (served - begun).as_secs_f64(), wrong_answers: wrong }))
}
