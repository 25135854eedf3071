//! The timing loop of the benchmarks of engines: prints figures and judges none.
//!
//! The fastest of several rounds is printed, since anything slower was disturbed.

use std::time::Instant;

/// Calls in a round.
pub(crate) const CALLS: u32 = 20_000;
const ROUNDS: usize = 15;

/// Prints the time of one call; the call answers whether it worked.
#[allow(clippy::disallowed_methods, reason = "a benchmark measures time")]
pub(crate) fn time(name: &str, mut call: impl FnMut() -> bool) {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..CALLS {
            assert!(call(), "{name} failed");
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(CALLS));
    }
    println!("{name:<60} {best:>8.1} ns");
}
