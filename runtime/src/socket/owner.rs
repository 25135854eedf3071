//! Who listens on a port, as far as this user may see.
//!
//! It reads the kernel's socket tables for the socket's inode and then every process's descriptors
//! for that inode. Only for an error message: what it sees may be over by the time it is read.

use std::fs;
use std::path::Path;

use super::Transport;

/// `st` of a listening socket in `/proc/net/tcp`.
const LISTEN: &str = "0A";
/// `st` of a socket in `/proc/net/udp` that takes datagrams from anybody.
const UNCONNECTED: &str = "07";

/// The process that listens on `port` in this network namespace, such as `nginx (pid 123)`;
/// `None` when nobody does or it may not be seen.
#[must_use]
pub fn owner_of(transport: Transport, port: u16) -> Option<String> {
    let (tables, state) = match transport {
        Transport::Tcp => (["/proc/net/tcp", "/proc/net/tcp6"], LISTEN),
        Transport::Udp => (["/proc/net/udp", "/proc/net/udp6"], UNCONNECTED),
    };
    let inodes: Vec<String> = tables
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|table| listeners(&table, port, state))
        .collect();
    if inodes.is_empty() {
        return None;
    }
    let links: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        holds(&entry.path().join("fd"), &links).then_some(())?;
        let name = fs::read_to_string(entry.path().join("comm")).ok()?;
        Some(format!("{} (pid {pid})", name.trim()))
    })
}

fn holds(descriptors: &Path, links: &[String]) -> bool {
    let Ok(entries) = fs::read_dir(descriptors) else { return false };
    entries.flatten().any(|entry| {
        fs::read_link(entry.path())
            .is_ok_and(|link| links.iter().any(|wanted| link.as_os_str() == wanted.as_str()))
    })
}

/// The inodes of the sockets in `table` that listen on `port`.
fn listeners(table: &str, port: u16, state: &str) -> Vec<String> {
    table.lines().skip(1).filter_map(|line| listener(line, port, state)).collect()
}

fn listener(line: &str, port: u16, wanted: &str) -> Option<String> {
    let mut fields = line.split_ascii_whitespace();
    let local = fields.nth(1)?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?;
    let (_, local_port) = local.rsplit_once(':')?;
    let matches = state == wanted && u16::from_str_radix(local_port, 16) == Ok(port);
    matches.then(|| inode.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 0
   1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 4243 1 0
   2: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4244 1 0
  broken
";

    #[test]
    fn only_listening_sockets_of_the_port_count() {
        assert_eq!(listeners(TABLE, 8080, LISTEN), ["4242"]);
        assert_eq!(listeners(TABLE, 80, LISTEN), ["4244"]);
        assert!(listeners(TABLE, 443, LISTEN).is_empty());
    }

    #[test]
    fn a_listener_of_this_process_is_found_by_its_pid_on_both_families() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = std::net::TcpListener::bind(address).unwrap();
            let ours = format!("(pid {})", std::process::id());
            let owner = owner_of(Transport::Tcp, listener.local_addr().unwrap().port()).unwrap();
            assert!(owner.ends_with(&ours), "{owner}");
            let datagrams = std::net::UdpSocket::bind(address).unwrap();
            let owner = owner_of(Transport::Udp, datagrams.local_addr().unwrap().port()).unwrap();
            assert!(owner.ends_with(&ours), "{owner}");
        }
    }

    #[test]
    fn nobody_owns_a_free_port() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        assert_eq!(owner_of(Transport::Tcp, port), None);
    }
}
