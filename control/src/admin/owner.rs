//! Which process holds a TCP port, as far as `/proc` tells.
//!
//! Only for error messages: it scans `/proc` and may find nothing (another user's process, another
//! network namespace). Called when binding failed.

use std::fs;
use std::path::Path;

/// The listening owner of `port`: `name (pid 123)`.
#[must_use]
pub fn of_port(port: u16) -> Option<String> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listening(&table, port))
        .collect();
    let sockets: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let processes = fs::read_dir("/proc").ok()?;
    processes.filter_map(Result::ok).find_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        let path = process.path();
        if !holds(&path, &sockets) {
            return None;
        }
        let name = fs::read_to_string(path.join("comm")).ok()?;
        Some(format!("{} (pid {pid})", name.trim()))
    })
}

fn holds(process: &Path, sockets: &[String]) -> bool {
    let Ok(entries) = fs::read_dir(process.join("fd")) else { return false };
    entries.filter_map(Result::ok).any(|entry| {
        fs::read_link(entry.path())
            .is_ok_and(|target| sockets.iter().any(|s| target.as_os_str() == s.as_str()))
    })
}

/// Inodes of the sockets of a `/proc/net/tcp` table that listen (state 0A) on `port`.
fn listening(table: &str, port: u16) -> Vec<String> {
    let suffix = format!(":{port:04X}");
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
            (local.ends_with(&suffix) && *state == "0A").then(|| (*inode).to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_of_this_process_is_traced_to_it() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let owner = of_port(listener.local_addr().unwrap().port()).unwrap();
        assert!(owner.ends_with(&format!("(pid {})", std::process::id())), "{owner}");
    }

    #[test]
    fn only_listening_sockets_count() {
        let table = "h\n 0: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 0 0 42 1\n \
                     1: 0100007F:1F90 0100007F:AAAA 01 0:0 0:0 0 0 0 43 1\n";
        assert_eq!(listening(table, 8080), ["42"]);
        assert!(listening(table, 80).is_empty());
    }
}
