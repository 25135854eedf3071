//! How a batch leaves: sendmmsg(2), with UDP_SEGMENT where it fits.
//!
//! Equally long datagrams in a row between the same addresses go through the kernel as one, whether
//! they arrived so or not; where that does not work they go one by one. Used by [`super::Bound`] and
//! [`super::Connected`]. Invariant: what was not taken is still in the batch, to be sent elsewhere.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::Sent;
use super::batch::{BATCH_MAX, Batch, Names, no_header};

/// Datagrams up to this long are sent as segments of one (bytes): they fit in any usual MTU.
const SEGMENT_BYTES_MAX: usize = 1400;
/// All segments of one together stay below the longest IP packet (bytes).
const SEGMENTS_BYTES_MAX: usize = 64_000;
/// Segments of one: no kernel takes fewer.
const SEGMENTS_MAX: usize = 64;

impl Batch {
    /// Sends what is at `places` without waiting, in this order. `segments` says whether equal ones
    /// in a row may go as one; it is cleared when that does not work.
    pub(super) fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        places: &[u16],
        names: Names,
        segments: &Cell<bool>,
    ) -> Sent {
        let mut sent = Sent::default();
        let mut again = false;
        while sent.places < places.len() {
            let count = self.prepare(&places[sent.places..], names, segments.get());
            let (taken, error) = self.push(socket, count);
            if taken > 0 {
                self.taken(taken, places, &mut sent);
                again = false;
            }
            let Some(error) = error else { continue };
            match judge(&error, names) {
                // It may be news of an earlier datagram: once more.
                Verdict::Datagram if !again => again = true,
                Verdict::Datagram if self.is_segmented(places[sent.places]) => segments.set(false),
                Verdict::Datagram => {
                    self.skip(places, &mut sent);
                    again = false;
                }
                Verdict::Full => {
                    while sent.places < places.len() {
                        self.skip(places, &mut sent);
                    }
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

    /// The kernel took the first `messages` messages.
    fn taken(&mut self, messages: usize, places: &[u16], sent: &mut Sent) {
        let pieces = self.headers[..messages].iter().map(|one| one.msg_hdr.msg_iovlen).sum();
        for piece in 0..pieces {
            let bytes = self.iovecs[piece].iov_len;
            sent.bytes += bytes as u64;
            sent.datagrams += self.pass(bytes, places, sent);
        }
    }

    /// Gives up the next datagram.
    fn skip(&mut self, places: &[u16], sent: &mut Sent) {
        let slot = self.slots[places[sent.places] as usize];
        sent.lost += self.pass(slot.step.min(slot.len - slot.from), places, sent);
    }

    /// The next `bytes` bytes are done with; says how many datagrams they are.
    fn pass(&mut self, bytes: usize, places: &[u16], sent: &mut Sent) -> u32 {
        let slot = &mut self.slots[places[sent.places] as usize];
        slot.from += bytes;
        if slot.from == slot.len {
            slot.from = 0;
            sent.places += 1;
        }
        slot.datagrams(bytes) as u32
    }

    /// Whether the first message, which begins at `place`, has several datagrams.
    fn is_segmented(&self, place: u16) -> bool {
        let first = &self.headers[0].msg_hdr;
        first.msg_iovlen > 1 || self.iovecs[0].iov_len > self.slots[place as usize].step
    }

    /// Fills in one message for each datagram of `places`, or for each run of equal ones, as far as
    /// there is room; says how many messages.
    fn prepare(&mut self, places: &[u16], names: Names, segments: bool) -> usize {
        let (mut rest, mut from) = (places, self.slots[places[0] as usize].from);
        let (mut iovec, mut count) = (0, 0);
        while !rest.is_empty() && iovec < BATCH_MAX {
            let within = &rest[..rest.len().min(BATCH_MAX - iovec)];
            let run = self.run(within, from, names, segments);
            let mut header = no_header();
            header.msg_hdr.msg_iov = ptr::from_mut(&mut self.iovecs[iovec]);
            header.msg_hdr.msg_iovlen = run.pieces;
            for (at, &place) in rest[..run.pieces].iter().enumerate() {
                let (from, iov_len) =
                    if at == 0 { (from, run.first) } else { (0, self.slots[place as usize].len) };
                let iov_base = self.at(place as usize, from).cast();
                self.iovecs[iovec] = libc::iovec { iov_base, iov_len };
                iovec += 1;
            }
            self.headers[count] = header;
            self.describe(count, rest[0], run.bytes, names);
            count += 1;
            from += run.first;
            if run.pieces > 1 || from == self.slots[rest[0] as usize].len {
                (rest, from) = (&rest[run.pieces..], 0);
            }
        }
        count
    }

    /// Fills in the addresses of a message, which are those of the first `place` in it, and says
    /// where its `bytes` bytes are cut.
    fn describe(&mut self, message: usize, place: u16, bytes: usize, names: Names) {
        let v6 = names == Names::V6;
        let slot = self.slots[place as usize];
        let header = &mut self.headers[message].msg_hdr;
        let mut controls = 0;
        if names != Names::None {
            let length = self.names[message].put(slot.peer, v6);
            header.msg_name = self.names[message].0.as_mut_ptr().cast();
            header.msg_namelen = length as libc::socklen_t;
            if !slot.local.is_unspecified() {
                controls = self.controls[message].put_source(controls, slot.local, v6);
            }
        }
        if bytes > slot.step {
            let size = u16::try_from(slot.step).expect("segments are short");
            controls = self.controls[message].put_segment(controls, size);
        }
        if controls > 0 {
            header.msg_control = self.controls[message].0.as_mut_ptr().cast();
            header.msg_controllen = controls;
        }
    }

    /// What can go as one from byte `from` of the first place on: equally long datagrams, the last
    /// perhaps shorter, and all between the same addresses.
    fn run(&self, places: &[u16], from: usize, names: Names, segments: bool) -> Run {
        let slot = |place: u16| &self.slots[place as usize];
        let first = slot(places[0]);
        let (step, left) = (first.step, first.len - from);
        if !segments || step == 0 || step > SEGMENT_BYTES_MAX {
            let bytes = left.min(step);
            return Run { pieces: 1, first: bytes, bytes };
        }
        let most = SEGMENTS_MAX.min(SEGMENTS_BYTES_MAX / step) * step;
        let mut run = Run { pieces: 1, first: left.min(most), bytes: left.min(most) };
        for &place in &places[1..] {
            let next = slot(place);
            let same =
                names == Names::None || (next.peer == first.peer && next.local == first.local);
            let fits =
                next.step == step || (next.step == next.len && (1..step).contains(&next.len));
            let whole = next.from == 0 && run.bytes.is_multiple_of(step);
            if !same || !fits || !whole || run.bytes + next.len > most {
                break;
            }
            run.pieces += 1;
            run.bytes += next.len;
        }
        run
    }
}

/// One message: of how many places it has something.
struct Run {
    pieces: usize,
    /// Bytes of the first of them, which may begin or end within a train.
    first: usize,
    /// Bytes of all.
    bytes: usize,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datagram::address::Control;
    use crate::datagram::batch::Slot;

    /// The messages that places of these lengths and steps become: bytes, and how they are cut.
    fn messages(slots: &[(usize, usize)], from: usize, segments: bool) -> Vec<(usize, usize)> {
        let mut batch = Batch::default();
        for (at, &(len, step)) in slots.iter().enumerate() {
            batch.slots[at] = Slot { len, step, ..batch.slots[at] };
        }
        batch.slots[0].from = from;
        let places: Vec<u16> = (0..slots.len() as u16).collect();
        let mut sent = Sent::default();
        let mut messages = Vec::new();
        while sent.places < places.len() {
            let rest = &places[sent.places..];
            let count = batch.prepare(rest, Names::None, segments);
            let mut iovec = 0;
            for header in &batch.headers[..count] {
                let pieces = &batch.iovecs[iovec..][..header.msg_hdr.msg_iovlen];
                iovec += pieces.len();
                let bytes = pieces.iter().map(|piece| piece.iov_len).sum();
                messages.push((bytes, header.msg_hdr.msg_controllen));
            }
            batch.taken(count, &places, &mut sent);
        }
        assert_eq!(sent.bytes as usize, slots.iter().map(|slot| slot.0).sum::<usize>() - from);
        assert!(batch.slots.iter().all(|slot| slot.from == 0));
        messages
    }

    #[test]
    fn what_is_equally_long_goes_as_one_as_far_as_the_kernel_takes_it() {
        let cut = { Control::EMPTY }.put_segment(0, 1);
        let one = |bytes| (bytes, 0);
        let many = |bytes| (bytes, cut);
        // Lengths and steps, where to begin; as one; one by one.
        type Case<'c> = (&'c [(usize, usize)], usize, &'c [(usize, usize)], &'c [usize]);
        let cases: &[Case] = &[
            (&[(0, 0), (0, 0)], 0, &[one(0), one(0)], &[0, 0]),
            (&[(9, 9), (9, 9), (5, 5), (5, 5)], 0, &[many(23), one(5)], &[9, 9, 5, 5]),
            (&[(5, 5), (9, 9)], 0, &[one(5), one(9)], &[5, 9]),
            // Trains: whole, with a shorter end, behind and before others, of other lengths.
            (&[(30, 10)], 0, &[many(30)], &[10, 10, 10]),
            (&[(25, 10), (10, 10)], 0, &[many(25), one(10)], &[10, 10, 5, 10]),
            (&[(10, 10), (25, 10)], 0, &[many(35)], &[10, 10, 10, 5]),
            (&[(30, 10), (8, 8), (8, 8)], 0, &[many(38), one(8)], &[10, 10, 10, 8, 8]),
            (&[(30, 10), (16, 8)], 0, &[many(30), many(16)], &[10, 10, 10, 8, 8]),
            (&[(30, 10), (0, 0)], 0, &[many(30), one(0)], &[10, 10, 10, 0]),
            // Broken off before.
            (&[(30, 10), (10, 10)], 10, &[many(30)], &[10, 10, 10]),
            (&[(25, 10), (10, 10)], 20, &[one(5), one(10)], &[5, 10]),
            // Too long for segments; too long together; too many.
            (&[(3000, 1500)], 0, &[one(1500), one(1500)], &[1500, 1500]),
            (&[(63_000, 1400), (2800, 1400)], 0, &[many(63_000), many(2800)], &[1400; 47]),
            (&[(100, 1)], 0, &[many(64), many(36)], &[1; 100]),
        ];
        for (slots, from, together, apart) in cases {
            assert_eq!(messages(slots, *from, true), *together, "{slots:?}");
            let alone: Vec<_> = apart.iter().map(|&bytes| one(bytes)).collect();
            assert_eq!(messages(slots, *from, false), alone, "{slots:?}");
        }
    }

    #[test]
    fn a_datagram_that_is_given_up_is_one_of_its_train() {
        let mut batch = Batch::default();
        batch.slots[3] = Slot { len: 25, step: 10, ..batch.slots[3] };
        let mut sent = Sent::default();
        for (places, left) in [(0, 2), (0, 1), (1, 3)] {
            batch.skip(&[3], &mut sent);
            assert_eq!((sent.places, batch.count(3)), (places, left));
        }
        assert_eq!((sent.lost, sent.datagrams), (3, 0));
    }
}
