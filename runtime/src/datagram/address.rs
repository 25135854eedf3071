//! Addresses and control messages of datagrams, as the kernel lays them out in memory.
//!
//! Plain bytes in and out, so that nothing here is `unsafe`. Used by `batch` only. The layouts are
//! those of the Linux ABI: `sockaddr_in`, `sockaddr_in6`, `cmsghdr`, `in_pktinfo`, `in6_pktinfo`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Room for either kind of socket address.
pub(super) const NAME_BYTES: usize = 28;
/// `sockaddr_in`.
const NAME_V4_BYTES: usize = 16;
/// Room for the control messages of one datagram.
pub(super) const CONTROL_BYTES: usize = 64;
/// `cmsghdr`: length, level, type.
const HEADER_BYTES: usize = size_of::<usize>() + 2 * size_of::<libc::c_int>();

/// A socket address.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(super) struct Name(pub(super) [u8; NAME_BYTES]);

/// Control messages.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(super) struct Control(pub(super) [u8; CONTROL_BYTES]);

impl Name {
    pub(super) const EMPTY: Self = Self([0; NAME_BYTES]);

    /// `address` for an IPv4 socket; says how long it is.
    fn put_v4(&mut self, ip: Ipv4Addr, port: u16) -> usize {
        self.put_start(libc::AF_INET, port);
        self.0[4..8].copy_from_slice(&ip.octets());
        NAME_V4_BYTES
    }

    fn put_v6(&mut self, address: SocketAddr) -> usize {
        let (ip, flow, scope) = match address {
            SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), 0, 0),
            SocketAddr::V6(v6) => (*v6.ip(), v6.flowinfo(), v6.scope_id()),
        };
        self.put_start(libc::AF_INET6, address.port());
        self.0[4..8].copy_from_slice(&flow.to_ne_bytes());
        self.0[8..24].copy_from_slice(&ip.octets());
        self.0[24..28].copy_from_slice(&scope.to_ne_bytes());
        NAME_BYTES
    }

    fn put_start(&mut self, family: libc::c_int, port: u16) {
        self.0 = [0; NAME_BYTES];
        let family = libc::sa_family_t::try_from(family).expect("families are small numbers");
        self.0[..2].copy_from_slice(&family.to_ne_bytes());
        self.0[2..4].copy_from_slice(&port.to_be_bytes());
    }

    /// `address` for a socket of the family that `v6` says; the length that the kernel is told.
    /// An IPv6 address on an IPv4 socket cannot be: it came from that socket.
    pub(super) fn put(&mut self, address: SocketAddr, v6: bool) -> usize {
        match address {
            SocketAddr::V4(v4) if !v6 => self.put_v4(*v4.ip(), v4.port()),
            SocketAddr::V4(_) | SocketAddr::V6(_) => self.put_v6(address),
        }
    }

    /// The address that the kernel wrote; an IPv4 one on an IPv6 socket as itself.
    pub(super) fn get(&self) -> SocketAddr {
        let word = |at: usize| u32::from_ne_bytes(array(&self.0[at..]));
        let port = u16::from_be_bytes(array(&self.0[2..]));
        let family = libc::sa_family_t::from_ne_bytes(array(&self.0));
        if libc::c_int::from(family) == libc::AF_INET {
            return SocketAddr::new(Ipv4Addr::from(array::<4>(&self.0[4..])).into(), port);
        }
        let ip = Ipv6Addr::from(array::<16>(&self.0[8..]));
        match ip.to_ipv4_mapped() {
            Some(v4) => SocketAddr::new(v4.into(), port),
            None => SocketAddrV6::new(ip, port, word(4), word(24)).into(),
        }
    }
}

impl Control {
    pub(super) const EMPTY: Self = Self([0; CONTROL_BYTES]);

    /// Says that a datagram leaves from `local`, behind `at` bytes of control messages; where it ends.
    pub(super) fn put_source(&mut self, at: usize, local: IpAddr, v6: bool) -> usize {
        match local {
            IpAddr::V4(ip) if !v6 => {
                // Interface (any), source, destination (not looked at).
                let mut info = [0; 12];
                info[4..8].copy_from_slice(&ip.octets());
                self.put(at, libc::IPPROTO_IP, libc::IP_PKTINFO, &info)
            }
            IpAddr::V4(_) | IpAddr::V6(_) => {
                let ip = match local {
                    IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                    IpAddr::V6(ip) => ip,
                };
                let mut info = [0; 20];
                info[..16].copy_from_slice(&ip.octets());
                self.put(at, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info)
            }
        }
    }

    /// Says that the bytes are datagrams of `size` bytes each, the last as long as what is left.
    pub(super) fn put_segment(&mut self, at: usize, size: u16) -> usize {
        self.put(at, libc::SOL_UDP, libc::UDP_SEGMENT, &size.to_ne_bytes())
    }

    fn put(&mut self, at: usize, level: libc::c_int, kind: libc::c_int, data: &[u8]) -> usize {
        let length = HEADER_BYTES + data.len();
        let end = at + align(length);
        let message = &mut self.0[at..end];
        message.fill(0);
        let word = size_of::<usize>();
        message[..word].copy_from_slice(&length.to_ne_bytes());
        message[word..word + 4].copy_from_slice(&level.to_ne_bytes());
        message[word + 4..HEADER_BYTES].copy_from_slice(&kind.to_ne_bytes());
        message[HEADER_BYTES..length].copy_from_slice(data);
        end
    }

    /// What the first `length` bytes say, which the kernel wrote.
    pub(super) fn told(&self, length: usize) -> Told {
        let mut told = Told::default();
        let mut rest = &self.0[..length.min(CONTROL_BYTES)];
        while rest.len() >= HEADER_BYTES {
            let word = size_of::<usize>();
            let long = usize::from_ne_bytes(array(rest));
            let level = libc::c_int::from_ne_bytes(array(&rest[word..]));
            let kind = libc::c_int::from_ne_bytes(array(&rest[word + 4..]));
            let Some(data) = rest.get(HEADER_BYTES..long) else { break };
            match (level, kind) {
                // The second field: the local address, also where the first was a broadcast.
                (libc::IPPROTO_IP, libc::IP_PKTINFO) if data.len() >= 8 => {
                    told.destination = Some(Ipv4Addr::from(array::<4>(&data[4..])).into());
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) if data.len() >= 16 => {
                    let ip = Ipv6Addr::from(array::<16>(data));
                    told.destination = Some(IpAddr::V6(ip).to_canonical());
                }
                (libc::SOL_UDP, libc::UDP_GRO) if data.len() >= 4 => {
                    told.step = usize::try_from(libc::c_int::from_ne_bytes(array(data))).ok();
                }
                _ => {}
            }
            rest = rest.get(align(long)..).unwrap_or_default();
        }
        told
    }
}

/// What control messages say of what arrived.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    /// The address that it was sent to.
    pub(super) destination: Option<IpAddr>,
    /// It is several datagrams of this length each, but for the last.
    pub(super) step: Option<usize>,
}

fn align(length: usize) -> usize {
    length.next_multiple_of(size_of::<usize>())
}

/// The first `N` bytes.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[..N]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back_as_they_were_put() {
        for text in ["192.0.2.1:53", "[2001:db8::1]:53", "[fe80::1%3]:65535"] {
            let address: SocketAddr = text.parse().unwrap();
            let mut name = Name::EMPTY;
            assert_eq!(name.put(address, true), NAME_BYTES);
            assert_eq!(name.get(), address);
            if address.is_ipv4() {
                assert_eq!(name.put(address, false), NAME_V4_BYTES);
                assert_eq!(name.get(), address);
            }
        }
    }

    #[test]
    fn a_source_comes_back_as_destination_also_behind_another_message() {
        for (text, v6) in [("192.0.2.1", false), ("192.0.2.1", true), ("2001:db8::1", true)] {
            let local: IpAddr = text.parse().unwrap();
            let mut control = Control::EMPTY;
            let end = control.put_source(0, local, v6);
            assert_eq!(control.told(end).destination, Some(local));
            let segment = control.put_segment(0, 1200);
            let end = control.put_source(segment, local, v6);
            assert!(end <= CONTROL_BYTES);
            assert_eq!(control.told(end).destination, Some(local));
            assert_eq!(control.told(segment).destination, None);
            assert_eq!(control.told(end - 8).destination, None, "cut off");
        }
    }

    #[test]
    fn the_length_of_segments_is_read_before_and_behind_a_destination() {
        let local: IpAddr = "2001:db8::1".parse().unwrap();
        let step = 1200i32.to_ne_bytes();
        for first in [true, false] {
            let mut control = Control::EMPTY;
            let put =
                |control: &mut Control, at| control.put(at, libc::SOL_UDP, libc::UDP_GRO, &step);
            let at = if first { put(&mut control, 0) } else { 0 };
            let at = control.put_source(at, local, true);
            let end = if first { at } else { put(&mut control, at) };
            assert!(end <= CONTROL_BYTES, "both fit");
            let told = control.told(end);
            assert_eq!((told.destination, told.step), (Some(local), Some(1200)));
        }
    }
}
