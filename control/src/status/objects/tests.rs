//! The objects of Gateways against a scripted API server.
