//! Many datagrams by one system call: recvmmsg(2), sendmmsg(2), and UDP_SEGMENT where it fits.
//!
//! A batch owns its memory; the kernel touches it only while a call of ours lasts. Used by
//! [`super::Bound`] and [`super::Connected`]. Invariant: every datagram keeps its bounds, whatever
//! call it travels in.

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::Sent;
use super::address::{CONTROL_BYTES, Control, NAME_BYTES, Name};

/// Datagrams in a batch.
pub const BATCH_MAX: usize = 64;
/// The longest datagram: what the length field of UDP can say.
pub const DATAGRAM_BYTES_MAX: usize = 65_535;
/// From one datagram's bytes to the next: a cache line more than a power of two, so that the
/// beginnings of all do not compete for the same lines.
const STRIDE: usize = 65_536 + 64;
/// Datagrams up to this long are sent as segments of one (bytes): they fit in any usual MTU.
const SEGMENT_BYTES_MAX: usize = 1400;
/// All segments of one together stay below the longest IP packet (bytes).
const SEGMENTS_BYTES_MAX: usize = 64_000;

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
    slots: Box<[Slot]>,
    len: usize,
    names: Box<[Name]>,
    controls: Box<[Control]>,
    iovecs: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    len: usize,
    peer: SocketAddr,
    local: IpAddr,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.slots[..self.len]).finish()
    }
}

impl Default for Batch {
    fn default() -> Self {
        let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let slot = Slot { len: 0, peer: SocketAddr::new(nowhere, 0), local: nowhere };
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

    /// How many there are.
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

    /// The datagram at `place`.
    #[must_use]
    pub fn bytes(&self, place: usize) -> &[u8] {
        &self.bytes[place * STRIDE..][..self.slots[place].len]
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

    /// Receives up to `max` datagrams without waiting.
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
            if names != Names::None {
                slot.peer = self.names[at].get();
                let told = self.controls[at].destination(header.msg_hdr.msg_controllen);
                slot.local = told.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            }
        }
        self.len += received;
        Ok(received)
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
                header.msg_hdr.msg_control = self.controls[at].0.as_mut_ptr().cast();
                header.msg_hdr.msg_controllen = CONTROL_BYTES;
            }
            self.headers[at] = header;
        }
    }

    /// Sends the datagrams at `places` without waiting, in this order. `segments` says whether
    /// equal ones in a row may go as one; it is cleared when that does not work.
    pub(super) fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        places: &[u16],
        names: Names,
        segments: &Cell<bool>,
    ) -> Sent {
        let mut sent = Sent::default();
        let mut rest = places;
        let mut again = false;
        while !rest.is_empty() {
            let count = self.prepare(rest, names, segments.get());
            let (taken, error) = self.push(socket, count);
            for header in &self.headers[..taken] {
                let (now, later) = rest.split_at(header.msg_hdr.msg_iovlen);
                sent.datagrams += now.len() as u32;
                sent.bytes += now.iter().map(|&at| self.slots[at as usize].len as u64).sum::<u64>();
                rest = later;
                again = false;
            }
            let Some(error) = error else { continue };
            let segmented = self.headers[taken].msg_hdr.msg_iovlen > 1;
            match judge(&error, names) {
                // It may be news of an earlier datagram: once more.
                Verdict::Datagram if !again => again = true,
                Verdict::Datagram if segmented => segments.set(false),
                Verdict::Datagram => {
                    sent.lost += 1;
                    rest = &rest[1..];
                    again = false;
                }
                Verdict::Full => {
                    sent.lost += rest.len() as u32;
                    return sent;
                }
                Verdict::Over => {
                    sent.error = Some(error);
                    return sent;
                }
            }
        }
        sent
    }

    /// Sends the first `count` messages; says how many went, and why not the next one if it was
    /// the first.
    fn push(&mut self, socket: BorrowedFd<'_>, count: usize) -> (usize, Option<io::Error>) {
        let wanted = libc::c_uint::try_from(count).expect("BATCH_MAX is small");
        let headers = self.headers.as_mut_ptr();
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: `headers` has at least `wanted` entries, and `prepare` pointed each at memory of
        // this batch with its length; the kernel reads it during the call and keeps no pointer
        // (no zero-copy flag is set).
        let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers, wanted, flags) };
        match usize::try_from(sent) {
            Ok(sent) => (sent, None),
            Err(_) => (0, Some(io::Error::last_os_error())),
        }
    }

    /// Fills in one message for each datagram of `places`, or for each run of equal ones; says how
    /// many messages.
    fn prepare(&mut self, places: &[u16], names: Names, segments: bool) -> usize {
        let v6 = names == Names::V6;
        let mut rest = places;
        let (mut iovec, mut count) = (0, 0);
        while let Some(&first) = rest.first() {
            let run = if segments { self.run(rest, names) } else { 1 };
            let (now, later) = rest.split_at(run);
            rest = later;
            let mut header = no_header();
            header.msg_hdr.msg_iov = ptr::from_mut(&mut self.iovecs[iovec]);
            header.msg_hdr.msg_iovlen = run;
            for &place in now {
                let base = self.bytes[place as usize * STRIDE..].as_mut_ptr().cast();
                let iov_len = self.slots[place as usize].len;
                self.iovecs[iovec] = libc::iovec { iov_base: base, iov_len };
                iovec += 1;
            }
            let slot = self.slots[first as usize];
            let mut controls = 0;
            if names != Names::None {
                let length = self.names[count].put(slot.peer, v6);
                header.msg_hdr.msg_name = self.names[count].0.as_mut_ptr().cast();
                header.msg_hdr.msg_namelen = length as libc::socklen_t;
                if !slot.local.is_unspecified() {
                    controls = self.controls[count].put_source(controls, slot.local, v6);
                }
            }
            if run > 1 {
                let size = u16::try_from(slot.len).expect("segments are short");
                controls = self.controls[count].put_segment(controls, size);
            }
            if controls > 0 {
                header.msg_hdr.msg_control = self.controls[count].0.as_mut_ptr().cast();
                header.msg_hdr.msg_controllen = controls;
            }
            self.headers[count] = header;
            count += 1;
        }
        count
    }

    /// How many datagrams from the first on can go as segments of one: equally long, the last
    /// perhaps shorter, and all between the same addresses.
    fn run(&self, places: &[u16], names: Names) -> usize {
        let slot = |place: u16| &self.slots[place as usize];
        let first = slot(places[0]);
        if first.len == 0 || first.len > SEGMENT_BYTES_MAX {
            return 1;
        }
        let mut run = 1;
        for &place in &places[1..] {
            let next = slot(place);
            let same =
                names == Names::None || (next.peer == first.peer && next.local == first.local);
            let fits = next.len > 0 && (run + 1) * first.len <= SEGMENTS_BYTES_MAX;
            if !same || !fits || next.len > first.len {
                break;
            }
            run += 1;
            if next.len < first.len {
                break;
            }
        }
        run
    }
}

/// What a failed sending says.
enum Verdict {
    /// This datagram cannot be sent.
    Datagram,
    /// Nothing can be sent now.
    Full,
    /// Nothing can be sent any more.
    Over,
}

fn judge(error: &io::Error, names: Names) -> Verdict {
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => Verdict::Full,
        Some(
            libc::EMSGSIZE
            | libc::EINVAL
            | libc::EIO
            | libc::EPERM
            | libc::EINTR
            | libc::EOPNOTSUPP,
        ) => Verdict::Datagram,
        _ if names == Names::None => Verdict::Over,
        _ => Verdict::Datagram,
    }
}

/// Nothing there, a signal, or news of a smaller MTU, which later datagrams heed.
fn none_if_passing(error: io::Error) -> io::Result<usize> {
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EINTR | libc::EMSGSIZE) => Ok(0),
        _ => Err(error),
    }
}

fn no_header() -> libc::mmsghdr {
    // SAFETY: a plain C structure of integers and pointers, for which zeroes are "nothing".
    unsafe { MaybeUninit::zeroed().assume_init() }
}
