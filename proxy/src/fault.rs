//! Why the gateway itself answered: stub.
