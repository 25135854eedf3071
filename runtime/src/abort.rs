//! Ends a connection from elsewhere on the same thread.

/// A weak handle on a connection.
#[derive(Clone, Debug)]
pub struct Abort {}

impl Abort {
    /// Shuts both directions down; does nothing when the connection is gone.
    pub fn abort(&self) {
        todo!()
    }
}
