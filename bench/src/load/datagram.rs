//! Datagrams, each of which comes back as it was sent: many at once from one socket.
//!
//! A [`Hub`] owns the sockets of a run, waits for all of them and hands answers out by the sequence
//! number that every datagram begins with. Called by `load::run`. Invariant: an answer to a datagram
//! that was given up counts for nothing.

use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::rc::Rc;

use runtime::Runtime;
use rustix::event::Timespec;
use rustix::event::epoll;

use crate::load::client::{Exchange, Run};
use crate::load::engine::{Delivered, Failed};
use crate::load::record::Failure;

/// Bytes of a datagram that tell it from others: slot and number.
pub(crate) const SEQUENCE: usize = 16;
/// The longest datagram.
const DATAGRAM_MAX: usize = 65_535;
/// Datagrams taken from one socket before another has its turn.
const TURN: usize = 32;

/// The sockets of a run.
pub(crate) struct Hub {
    run: Run,
    sockets: Vec<UdpSocket>,
    /// By slot: the number of its current datagram, and its URL.
    current: RefCell<Vec<(u64, usize)>>,
}

impl Hub {
    /// Opens `connections` sockets towards the first URL for `slots` slots.
    pub(crate) fn new(run: Run, connections: usize, slots: usize) -> io::Result<Rc<Self>> {
        let to = run.orders.targets[0].address;
        let sockets = (0..connections).map(|_| socket(to)).collect::<io::Result<Vec<_>>>()?;
        run.engine.borrow_mut().record.connections += connections as u64;
        Ok(Rc::new(Self { run, sockets, current: RefCell::new(vec![(0, 0); slots]) }))
    }

    /// Receives for all sockets.
    pub(crate) async fn receive<R: Runtime>(self: Rc<Self>) -> anyhow::Result<()> {
        let watch = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (index, socket) in self.sockets.iter().enumerate() {
            epoll::add(
                &watch,
                socket,
                epoll::EventData::new_u64(index as u64),
                epoll::EventFlags::IN,
            )?;
        }
        let mut events = Vec::with_capacity(64);
        let mut block = vec![0; DATAGRAM_MAX];
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        loop {
            R::readable(watch.as_fd()).await?;
            events.clear();
            epoll::wait(&watch, rustix::buffer::spare_capacity(&mut events), Some(&none))?;
            for event in &events {
                let socket = &self.sockets[event.data.u64() as usize];
                for _ in 0..TURN {
                    match socket.recv(&mut block) {
                        Ok(length) => self.arrived(&block[..length]),
                        // An ICMP error: the datagram it is about runs into its time-out.
                        Err(_) => break,
                    }
                }
            }
        }
    }

    fn arrived(&self, bytes: &[u8]) {
        let Some((slot, number)) = sequence(bytes) else { return };
        let Some(&(current, target)) = self.current.borrow().get(slot) else { return };
        if current != number {
            return;
        }
        let right = bytes[SEQUENCE..] == self.run.orders.targets[target].bytes[SEQUENCE..];
        let answer = match right {
            true => Ok(bytes.len() as u64),
            false => Err((Failure::Malformed, "not the bytes that were sent".to_owned())),
        };
        self.run.engine.borrow_mut().deliver(slot, answer);
    }
}

fn sequence(bytes: &[u8]) -> Option<(usize, u64)> {
    let (slot, rest) = bytes.split_first_chunk()?;
    let (number, _) = rest.split_first_chunk()?;
    Some((usize::try_from(u64::from_be_bytes(*slot)).ok()?, u64::from_be_bytes(*number)))
}

fn socket(to: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(to)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A client with one datagram at a time of a socket.
pub(crate) struct Datagrams {
    index: usize,
    hub: Rc<Hub>,
    socket: usize,
    block: Vec<u8>,
    number: u64,
}

impl Datagrams {
    /// The client of slot `index`, on the socket of this number.
    pub(crate) fn new(index: usize, hub: Rc<Hub>, socket: usize) -> Self {
        Self { index, hub, socket, block: Vec::new(), number: 0 }
    }
}

impl Exchange for Datagrams {
    async fn open(&mut self) {}

    async fn exchange(&mut self, target: usize) -> Result<u64, Failed> {
        self.number += 1;
        self.hub.current.borrow_mut()[self.index] = (self.number, target);
        self.block.clear();
        self.block.extend_from_slice(&(self.index as u64).to_be_bytes());
        self.block.extend_from_slice(&self.number.to_be_bytes());
        self.block.extend_from_slice(&self.hub.run.orders.targets[target].bytes[SEQUENCE..]);
        let sent = self.hub.sockets[self.socket].send(&self.block);
        sent.map_err(|error| (Failure::Closed, error.to_string()))?;
        Delivered { engine: &self.hub.run.engine, index: self.index }.await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_says_whose_it_is() {
        let bytes = [7_u64.to_be_bytes(), 9_u64.to_be_bytes()].concat();
        assert_eq!(sequence(&bytes), Some((7, 9)));
        assert_eq!(sequence(&bytes[..15]), None);
    }
}
