//! The Lease against a scripted API server.
