//! Many datagrams in hand at once, and how they arrive: recvmmsg(2), with UDP_GRO.
//!
//! A batch owns its memory; the kernel touches it only while a call of ours lasts. A place in it has
//! one datagram, or a train: equally long ones (the last perhaps shorter) that the kernel brought
//! through its layers as one, and that leave as one. `send` is the other half. Used by
//! [`super::Bound`] and [`super::Connected`]. Invariant: every datagram keeps its bounds, whatever
//! call it travels in.

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::address::{CONTROL_BYTES, Control, NAME_BYTES, Name};

/// Places in a batch.
pub const BATCH_MAX: usize = 64;
/// The longest datagram: what the length field of UDP can say.
pub const DATAGRAM_BYTES_MAX: usize = 65_535;
/// From one datagram's bytes to the next: a cache line more than a power of two, so that the
/// beginnings of all do not compete for the same lines.
const STRIDE: usize = 65_536 + 64;

/// Which addresses a socket's messages carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// None: the socket is connected.
    None,
    /// Those of IPv4.
    V4,
    /// Those of IPv6, with IPv4 ones mapped.
    V6,
}

/// Datagrams received together and to be sent on.
pub struct Batch {
    bytes: Box<[u8]>,
    pub(super) slots: Box<[Slot]>,
    len: usize,
    pub(super) names: Box<[Name]>,
    pub(super) controls: Box<[Control]>,
    pub(super) iovecs: Box<[libc::iovec]>,
    pub(super) headers: Box<[libc::mmsghdr]>,
}

/// What is at a place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) len: usize,
    /// The length of each datagram but the last; all of `len` where there is only one.
    pub(super) step: usize,
    /// Where what is still to be sent begins: behind 0 only where sending broke off in a train.
    pub(super) from: usize,
    pub(super) peer: SocketAddr,
    pub(super) local: IpAddr,
}

impl Slot {
    /// How many datagrams `bytes` bytes of it are.
    pub(super) fn datagrams(&self, bytes: usize) -> usize {
        if bytes <= self.step { 1 } else { bytes.div_ceil(self.step) }
    }
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.slots[..self.len]).finish()
    }
}

impl Default for Batch {
    fn default() -> Self {
        let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let peer = SocketAddr::new(nowhere, 0);
        let slot = Slot { len: 0, step: 0, from: 0, peer, local: nowhere };
        let iovec = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        Self {
            // Zeroed pages of the kernel: memory is used only as far as datagrams reach.
            bytes: vec![0; BATCH_MAX * STRIDE].into(),
            slots: [slot; BATCH_MAX].into(),
            len: 0,
            names: [Name::EMPTY; BATCH_MAX].into(),
            controls: [Control::EMPTY; BATCH_MAX].into(),
            iovecs: [iovec; BATCH_MAX].into(),
            headers: [no_header(); BATCH_MAX].into(),
        }
    }
}

impl Batch {
    /// Forgets all datagrams.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// How many places are taken.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether no more can be received.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len == BATCH_MAX
    }

    /// What is at `place`: a datagram, or those of a train in a row.
    #[must_use]
    pub fn bytes(&self, place: usize) -> &[u8] {
        &self.bytes[place * STRIDE..][..self.slots[place].len]
    }

    /// The datagrams at `place`, one by one.
    pub fn datagrams(&self, place: usize) -> impl Iterator<Item = &[u8]> {
        let slot = self.slots[place];
        let bytes = self.bytes(place);
        let count = slot.datagrams(slot.len);
        (0..count).map(move |at| &bytes[at * slot.step..slot.len.min((at + 1) * slot.step)])
    }

    /// How many datagrams at `place` are not sent yet, or all of them once all are.
    #[must_use]
    pub fn count(&self, place: usize) -> usize {
        let slot = self.slots[place];
        slot.datagrams(slot.len - slot.from)
    }

    /// Who sent it, or is to get it.
    #[must_use]
    pub fn peer(&self, place: usize) -> SocketAddr {
        self.slots[place].peer
    }

    /// The address of this host that it was sent to, or is to leave from.
    #[must_use]
    pub fn local(&self, place: usize) -> IpAddr {
        self.slots[place].local
    }

    /// Says who is to get it, and the address it is to leave from.
    pub fn address(&mut self, place: usize, peer: SocketAddr, local: IpAddr) {
        let slot = &mut self.slots[place];
        (slot.peer, slot.local) = (peer, local);
    }

    /// Takes what arrived into up to `max` places, without waiting; says how many.
    pub(super) fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        max: usize,
        names: Names,
    ) -> io::Result<usize> {
        let count = max.min(BATCH_MAX - self.len);
        self.lay_out(count, names);
        let flags = libc::MSG_DONTWAIT;
        let headers = self.headers.as_mut_ptr();
        let wanted = libc::c_uint::try_from(count).expect("BATCH_MAX is small");
        // SAFETY: `headers` has at least `wanted` entries, and `lay_out` pointed each at its own
        // slice of `bytes`, `names` and `controls` with their lengths; the kernel writes within
        // them during the call and keeps no pointer. No timeout is passed.
        let received =
            unsafe { libc::recvmmsg(socket.as_raw_fd(), headers, wanted, flags, ptr::null_mut()) };
        let Ok(received) = usize::try_from(received) else {
            return none_if_passing(io::Error::last_os_error());
        };
        for at in 0..received {
            let header = &self.headers[at];
            let slot = &mut self.slots[self.len + at];
            slot.len = header.msg_len as usize;
            let told = self.controls[at].told(header.msg_hdr.msg_controllen);
            slot.step = told.step.filter(|step| (1..slot.len).contains(step)).unwrap_or(slot.len);
            slot.from = 0;
            if names != Names::None {
                slot.peer = self.names[at].get();
                slot.local = told.destination.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            }
        }
        self.len += received;
        Ok(received)
    }

    /// Byte `from` of what is at `place`.
    pub(super) fn at(&mut self, place: usize, from: usize) -> *mut u8 {
        self.bytes[place * STRIDE + from..].as_mut_ptr()
    }

    /// Points the first `count` headers at the free places.
    fn lay_out(&mut self, count: usize, names: Names) {
        let free = self.bytes[self.len * STRIDE..].chunks_exact_mut(STRIDE);
        for (at, bytes) in free.take(count).enumerate() {
            let iovec = &mut self.iovecs[at];
            *iovec = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: STRIDE };
            let mut header = no_header();
            header.msg_hdr.msg_iov = ptr::from_mut(iovec);
            header.msg_hdr.msg_iovlen = 1;
            if names != Names::None {
                header.msg_hdr.msg_name = self.names[at].0.as_mut_ptr().cast();
                header.msg_hdr.msg_namelen = NAME_BYTES as libc::socklen_t;
            }
            header.msg_hdr.msg_control = self.controls[at].0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = CONTROL_BYTES;
            self.headers[at] = header;
        }
    }
}

/// Nothing there, a signal, or news of a smaller MTU, which later datagrams heed.
fn none_if_passing(error: io::Error) -> io::Result<usize> {
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EINTR | libc::EMSGSIZE) => Ok(0),
        _ => Err(error),
    }
}

pub(super) fn no_header() -> libc::mmsghdr {
    // SAFETY: a plain C structure of integers and pointers, for which zeroes are "nothing".
    unsafe { MaybeUninit::zeroed().assume_init() }
}
