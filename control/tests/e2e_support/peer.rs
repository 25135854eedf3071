//! Programs of others that a test runs: built by the script `control/tests/peers`, which says where.

use std::path::Path;
use std::process::Command;

/// A command that runs the peer `name`.
pub(crate) fn command(name: &str) -> Command {
    let tools = std::env::var("RINGWAY_TEST_PEERS").expect("started by control/tests/peers");
    Command::new(Path::new(&tools).join(name))
}
