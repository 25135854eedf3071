//! What a shard counts of datagrams. Plain numbers, part of its reports.

/// Increments since the last report, over all UDP ports of a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Datagrams {
    /// Datagrams sent, in the order of [`Direction::ALL`].
    pub datagrams: [u64; Direction::ALL.len()],
    /// Bytes in them, likewise.
    pub bytes: [u64; Direction::ALL.len()],
    /// Datagrams dropped, in the order of [`Dropped::ALL`].
    pub dropped: [u64; Dropped::ALL.len()],
    /// Sessions that began.
    pub opened: u64,
    /// Sessions that made room for others.
    pub evicted: u64,
    /// Sessions whose endpoint was found gone.
    pub failed: u64,
}

/// Which way a datagram went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From a client to an endpoint.
    ToBackend,
    /// From an endpoint to a client.
    ToClient,
}

/// Why a datagram was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// No route is attached to the listener.
    NoRoute,
    /// The route names no usable backend.
    BackendInvalid,
    /// The backend has no ready endpoint.
    NoEndpoints,
    /// The endpoint cannot be reached.
    ConnectFailed,
    /// There is no room for another session, nor any to make.
    Full,
    /// It comes from a UDP listener of this gateway, or would go to one.
    Loop,
    /// Its source port is 0, which nothing can be sent to.
    SourcePort,
    /// This shard or its buffers were behind: the kernel had no room for it when it arrived.
    Overrun,
    /// The kernel did not take it: its buffers are full, or it is too long for the way.
    Unsent,
}

impl Direction {
    /// Both, in order.
    pub const ALL: [Self; 2] = [Self::ToBackend, Self::ToClient];

    /// Its name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ToBackend => "to_backend",
            Self::ToClient => "to_client",
        }
    }
}

impl Dropped {
    /// All of them, in order.
    pub const ALL: [Self; 9] = [
        Self::NoRoute,
        Self::BackendInvalid,
        Self::NoEndpoints,
        Self::ConnectFailed,
        Self::Full,
        Self::Loop,
        Self::SourcePort,
        Self::Overrun,
        Self::Unsent,
    ];

    /// Its name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoRoute => "no_route",
            Self::BackendInvalid => "backend_invalid",
            Self::NoEndpoints => "no_endpoints",
            Self::ConnectFailed => "connect_failed",
            Self::Full => "full",
            Self::Loop => "loop",
            Self::SourcePort => "source_port",
            Self::Overrun => "overrun",
            Self::Unsent => "unsent",
        }
    }
}

impl Datagrams {
    /// Adds what came since.
    pub fn add(&mut self, more: &Self) {
        let add = |sums: &mut [u64], more: &[u64]| {
            sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        };
        add(&mut self.datagrams, &more.datagrams);
        add(&mut self.bytes, &more.bytes);
        add(&mut self.dropped, &more.dropped);
        self.opened += more.opened;
        self.evicted += more.evicted;
        self.failed += more.failed;
    }
}
