//! From the write of one route to its effect, with other routes around it.
//!
//! Called by [`super`]. Time counts from before the request to the API server is sent, so it holds
//! the server's own part. Invariant: an edit starts after the one before is served everywhere.

use std::time::Duration;

use super::report::{Edits, Spread};
use super::stage::Stage;
use crate::process;

/// Times `--edits` edits.
pub(crate) fn measure(stage: &mut Stage<'_>) -> anyhow::Result<Edits> {
    let (mut first, mut all, mut wrong) = (Vec::new(), Vec::new(), 0);
    for _ in 0..stage.args.edits {
        let (sent, served) = stage.edit()?;
        first.push((served.first - sent).as_secs_f64() * 1e3);
        all.push((served.all - sent).as_secs_f64() * 1e3);
        wrong += served.wrong;
        process::pause(BETWEEN)?;
    }
    let routes = stage.others();
    Ok(Edits { routes, first_ms: Spread::of(first), all_ms: Spread::of(all), wrong })
}

/// Between two edits.
const BETWEEN: Duration = Duration::from_millis(50);
