//! Sockets before a backend takes them: opening a listener, options, limits, who holds a port.
//!
//! Nothing here waits. The backends call it, and control uses it to explain a port in use.

mod owner;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::buf::Buf;

pub use self::owner::owner_of;

/// The longest queue of connections that the kernel completed and we have not accepted; the kernel
/// cuts it to `net.core.somaxconn`.
pub const BACKLOG_MAX: i32 = 65_535;
/// The shortest queue we ask for where the kernel does not tell its limit.
const BACKLOG_DEFAULT: i32 = 4096;
/// A connection that is silent for so long is probed.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(45);
/// Time between two probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Unanswered probes that end a connection.
const KEEPALIVE_PROBES: u32 = 3;

/// `nlmsghdr`.
const NETLINK_HEADER_BYTES: u32 = 16;
/// `rtmsg`.
const ROUTE_HEADER_BYTES: u32 = 12;
/// Where a route's type stands in an answer.
const ROUTE_TYPE_AT: usize = 16 + 7;

/// Whether an address to listen on must be one of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// It must: any other is an error.
    Here,
    /// It need not (IP_FREEBIND): the node answers for it with a route only, or takes it over from
    /// another node.
    Anywhere,
}

/// What a port number is one of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// Connections.
    #[default]
    Tcp,
    /// Datagrams.
    Udp,
}

impl Transport {
    /// Its name in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

/// Opens a non-blocking listening socket that may share its address with others of this user
/// (SO_REUSEPORT). `[::]` takes IPv4 too, and becomes `0.0.0.0` where
/// there is no IPv6.
///
/// # Errors
/// As the kernel says (`AddrInUse`, `AddrNotAvailable`, `PermissionDenied`).
pub fn listen(address: SocketAddr, home: Home) -> io::Result<TcpListener> {
    let socket = bound(Transport::Tcp, address, home, true)?;
    socket.listen(backlog())?;
    Ok(socket.into())
}

/// Opens a non-blocking datagram socket, shared and dual as in [`listen`].
pub(crate) fn bind_datagram(address: SocketAddr, home: Home) -> io::Result<Socket> {
    bound(Transport::Udp, address, home, true)
}

/// Whether `address` is free of any socket, including those that would share it: what a process
/// asks once before its shards open their listeners.
///
/// # Errors
/// `AddrInUse` when somebody listens there, and whatever else binding says.
pub fn check_free(transport: Transport, address: SocketAddr) -> io::Result<()> {
    bound(transport, address, Home::Anywhere, false).map(drop)
}

/// Whether `ip` is an address of this host: the kernel's routes say so.
///
/// # Errors
/// The kernel cannot be asked.
pub fn is_local(ip: IpAddr) -> io::Result<bool> {
    let (family, octets): (u8, Vec<u8>) = match ip {
        IpAddr::V4(ip) => (libc::AF_INET as u8, ip.octets().into()),
        IpAddr::V6(ip) => (libc::AF_INET6 as u8, ip.octets().into()),
    };
    let attribute = u16::try_from(4 + octets.len()).expect("an address is short");
    let length = u32::from(attribute) + NETLINK_HEADER_BYTES + ROUTE_HEADER_BYTES;
    let mut question = Vec::with_capacity(64);
    // nlmsghdr: length, type, flags, sequence, port.
    question.extend_from_slice(&length.to_ne_bytes());
    question.extend_from_slice(&libc::RTM_GETROUTE.to_ne_bytes());
    question.extend_from_slice(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
    question.extend_from_slice(&[0; 8]);
    // rtmsg: family, length of the destination in bits, and nothing else.
    question.extend_from_slice(&[family, 8 * octets.len() as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    question.extend_from_slice(&attribute.to_ne_bytes());
    question.extend_from_slice(&libc::RTA_DST.to_ne_bytes());
    question.extend_from_slice(&octets);
    let socket = Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW.cloexec(), None)?;
    socket.set_nonblocking(true)?; // the kernel answers before `send` returns
    socket.send(&question)?;
    let mut answer = [0; 512];
    let received = io::Read::read(&mut &socket, &mut answer)?;
    let kind = u16::from_ne_bytes([answer[4], answer[5]]);
    // An error is "no route".
    Ok(received > ROUTE_TYPE_AT
        && kind == libc::RTM_NEWROUTE
        && answer[ROUTE_TYPE_AT] == libc::RTN_LOCAL)
}

/// A socket bound to `address`; `[::]` becomes `0.0.0.0` where there is no IPv6.
fn bound(
    transport: Transport,
    address: SocketAddr,
    home: Home,
    shared: bool,
) -> io::Result<Socket> {
    match bound_exactly(transport, address, home, shared) {
        Err(error) if is_any_v6(address) && is_without_v6(&error) => {
            let any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
            bound_exactly(transport, any, home, shared)
        }
        other => other,
    }
}

fn bound_exactly(
    transport: Transport,
    address: SocketAddr,
    home: Home,
    shared: bool,
) -> io::Result<Socket> {
    let (kind, protocol) = match transport {
        Transport::Tcp => (Type::STREAM, Protocol::TCP),
        Transport::Udp => (Type::DGRAM, Protocol::UDP),
    };
    let kind = kind.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if is_any_v6(address) {
        socket.set_only_v6(false)?;
    }
    match transport {
        Transport::Tcp => socket.set_reuse_address(true)?,
        // For UDP it would let others take our datagrams.
        Transport::Udp => {}
    }
    socket.set_reuse_port(shared)?;
    if home == Home::Anywhere {
        allow_absent(&socket, address.ip())?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Lets `socket` bind an address that this host does not have (yet).
fn allow_absent(socket: &Socket, ip: IpAddr) -> io::Result<()> {
    match ip {
        ip if ip.is_unspecified() => Ok(()),
        IpAddr::V4(_) => socket.set_freebind_v4(true),
        IpAddr::V6(_) => socket.set_freebind_v6(true),
    }
}

fn is_any_v6(address: SocketAddr) -> bool {
    matches!(address.ip(), IpAddr::V6(ip) if ip.is_unspecified())
}

fn is_without_v6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

/// As long as the kernel permits: a burst waits in the queue instead of being dropped.
fn backlog() -> i32 {
    std::fs::read_to_string("/proc/sys/net/core/somaxconn")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(BACKLOG_DEFAULT)
        .min(BACKLOG_MAX)
}

/// What every connection has: TCP_NODELAY, and keep-alive probes, so that a peer that vanished without
/// a word is noticed within a minute or so even where nothing is being sent.
pub(crate) fn set_options(socket: SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)
}

/// Accepts one connection if one waits: non-blocking, closed on exec, TCP_NODELAY.
pub(crate) fn accept(listener: BorrowedFd<'_>) -> io::Result<(TcpStream, SocketAddr)> {
    let (socket, address) =
        SockRef::from(&listener).accept4(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK)?;
    // A peer that is already gone may refuse the options; its connection ends by itself.
    let _ = set_options(SockRef::from(&socket));
    let address =
        address.as_socket().ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))?;
    Ok((socket.into(), canonical(address)))
}

/// An IPv4 address that arrived on an IPv6 socket, as itself.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Whether an idle connection has been closed by its peer, or has bytes that nobody asked for.
pub(crate) fn is_stale(socket: BorrowedFd<'_>) -> bool {
    let mut byte = 0u8;
    // SAFETY: the pointer is good for the one byte we ask for, and the call does not keep it.
    let n = unsafe {
        libc::recv(
            socket.as_raw_fd(),
            std::ptr::from_mut(&mut byte).cast(),
            1,
            libc::MSG_PEEK | libc::MSG_DONTWAIT,
        )
    };
    n >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::WouldBlock
}

/// Sends FIN.
pub(crate) fn finish(socket: BorrowedFd<'_>) {
    // SAFETY: shutdown takes no pointers and `socket` is open. A connection that is already gone
    // answers an error that says nothing new.
    unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_WR) };
}

/// Receives what is there into `buf` without waiting; also tells whether the block was filled, so
/// that there may be more.
pub(crate) fn receive(socket: BorrowedFd<'_>, mut buf: Buf) -> io::Result<(Buf, bool)> {
    let room = buf.room();
    let size = room.len();
    // SAFETY: the pointer is good for `size` bytes, and the call does not keep it.
    let n = unsafe {
        libc::recv(socket.as_raw_fd(), room.as_mut_ptr().cast(), size, libc::MSG_DONTWAIT)
    };
    let n = usize::try_from(n).map_err(|_| io::Error::last_os_error())?;
    buf.set_filled(n);
    Ok((buf, n == size))
}

/// A socket on its way to `address`: non-blocking, TCP_NODELAY, writable once it is connected or
/// has failed.
pub(crate) fn connecting(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    set_options(SockRef::from(&socket))?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

/// Raises the soft limit of open files to the hard one and returns it.
///
/// # Errors
/// As the kernel says.
pub fn raise_nofile() -> io::Result<u64> {
    raise(libc::RLIMIT_NOFILE)
}

/// Raises the soft limit of locked memory to the hard one and returns it.
///
/// # Errors
/// As the kernel says.
pub fn raise_memlock() -> io::Result<u64> {
    raise(libc::RLIMIT_MEMLOCK)
}

fn raise(resource: libc::__rlimit_resource_t) -> io::Result<u64> {
    let (soft, hard) = limits(resource)?;
    if soft < hard {
        let raised = libc::rlimit { rlim_cur: hard, rlim_max: hard };
        // SAFETY: the pointer is good for the call, which does not keep it.
        if unsafe { libc::setrlimit(resource, &raw const raised) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(hard)
}

/// The soft and the hard limit of `resource`.
pub(crate) fn limits(resource: libc::__rlimit_resource_t) -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is good for the call, which does not keep it.
    if unsafe { libc::getrlimit(resource, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((limit.rlim_cur, limit.rlim_max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_routes_say_which_addresses_are_this_hosts() {
        for (ip, local) in [("127.0.0.1", true), ("127.9.8.7", true), ("::1", true)] {
            let ip: IpAddr = ip.parse().unwrap();
            // A host without IPv6 has no such address.
            assert_eq!(is_local(ip).unwrap(), local || ip.is_ipv6(), "{ip}");
        }
        for ip in ["192.0.2.1", "2001:db8::1", "255.255.255.255"] {
            assert!(!is_local(ip.parse().unwrap()).unwrap(), "{ip}");
        }
    }

    #[test]
    fn a_port_is_free_for_one_transport_whatever_the_other_does() {
        let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = datagrams.local_addr().unwrap();
        let error = check_free(Transport::Udp, address).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        check_free(Transport::Tcp, address).unwrap();
    }

    #[test]
    fn an_address_that_this_host_does_not_have_is_listened_on_only_if_it_may_be_anywhere() {
        for address in ["192.0.2.1:0", "[2001:db8::1]:0"] {
            match listen(address.parse().unwrap(), Home::Anywhere) {
                Ok(listener) => assert_ne!(listener.local_addr().unwrap().port(), 0, "{address}"),
                Err(error) => assert!(is_without_v6(&error) && address.starts_with('['), "{error}"),
            }
            let error = listen(address.parse().unwrap(), Home::Here).unwrap_err();
            assert!(is_without_v6(&error), "{error}");
        }
    }
}
