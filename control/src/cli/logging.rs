//! Log lines of the control thread: plain text on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::run::LogLevel;

/// Starts logging; the first call counts.
pub fn start(level: LogLevel) {
    let level = match level {
        LogLevel::Off => "off",
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        // Ours; what the client of the API server does for each request is for `trace`.
        LogLevel::Debug => "debug,hyper_util=info,rustls=info,tower=info",
        LogLevel::Trace => "trace",
    };
    let started = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .with_env_filter(EnvFilter::new(level))
        .try_init();
    if let Err(error) = started {
        tracing::debug!("logging was already started: {error}");
    }
}
