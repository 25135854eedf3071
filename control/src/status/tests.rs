//! The writer against a scripted API server.
