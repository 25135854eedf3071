//! A pool of addresses: the networks of `--addresses pool:…`.
//!
//! Arithmetic on addresses only; who has which is up to [`super::address`].

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Networks of one pool.
const NETWORKS_MAX: usize = 64;

/// Networks in the order in which their addresses are given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool(Vec<Network>);

/// An IPv4 or IPv6 network; both as the low bits of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    first: u128,
    /// Bits after the prefix.
    host_bits: u32,
    is_v4: bool,
}

impl Pool {
    /// Whether `ip` may be given to a Gateway.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let (number, is_v4) = number(ip);
        self.0.iter().any(|network| {
            let (first, last) = network.usable();
            network.is_v4 == is_v4 && (first..=last).contains(&number)
        })
    }

    /// All addresses that may be given out, the lowest of the first network first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.0.iter().flat_map(|network| {
            let (first, last) = network.usable();
            (first..=last).map(|number| network.address(number))
        })
    }
}

impl Network {
    /// Without the network's own address, and for IPv4 without the broadcast address.
    fn usable(&self) -> (u128, u128) {
        let size = 1u128.checked_shl(self.host_bits).map_or(u128::MAX, |size| size - 1);
        let last = self.first | size;
        match (self.host_bits, self.is_v4) {
            (0 | 1, _) => (self.first, last),
            (_, true) => (self.first + 1, last - 1),
            (_, false) => (self.first + 1, last),
        }
    }

    fn address(&self, number: u128) -> IpAddr {
        if self.is_v4 {
            let number = u32::try_from(number).expect("an IPv4 network holds IPv4 addresses");
            Ipv4Addr::from(number).into()
        } else {
            Ipv6Addr::from(number).into()
        }
    }
}

fn number(ip: IpAddr) -> (u128, bool) {
    match ip {
        IpAddr::V4(ip) => (u32::from(ip).into(), true),
        IpAddr::V6(ip) => (ip.into(), false),
    }
}

impl FromStr for Pool {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let networks: Vec<Network> = text.split(',').map(str::parse).collect::<Result<_, _>>()?;
        if networks.len() > NETWORKS_MAX {
            return Err(format!("a pool has at most {NETWORKS_MAX} networks"));
        }
        Ok(Self(networks))
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = "expected a network such as 10.0.0.0/24 or fd00:1::/64";
        let wrong = || format!("`{text}` is not a network: {allowed}");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let ip: IpAddr = address.parse().map_err(|_| wrong())?;
        let (first, is_v4) = number(ip);
        let bits: u32 = if is_v4 { 32 } else { 128 };
        let prefix: u32 = match prefix {
            Some(prefix) => prefix.parse().map_err(|_| wrong())?,
            None => bits,
        };
        let host_bits = bits.checked_sub(prefix).filter(|_| prefix > 0).ok_or_else(wrong)?;
        let network = Self { first: first >> host_bits << host_bits, host_bits, is_v4 };
        if network.first != first {
            return Err(format!("`{text}` is not the start of its network: write {network}"));
        }
        Ok(network)
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, network) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(f, "{separator}{network}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = if self.is_v4 { 32 } else { 128 };
        write!(f, "{}/{}", self.address(self.first), bits - self.host_bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<String> {
        text.parse::<Pool>().unwrap().addresses().take(9).map(|ip| ip.to_string()).collect()
    }

    #[test]
    fn network_and_broadcast_addresses_are_never_given_out() {
        assert_eq!(all("10.0.0.0/30"), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(all("10.0.0.0/31"), ["10.0.0.0", "10.0.0.1"]);
        assert_eq!(all("10.0.0.9"), ["10.0.0.9"]);
        let pool: Pool = "10.0.0.0/24,fd00::/64".parse().unwrap();
        for (ip, inside) in [
            ("10.0.0.0", false),
            ("10.0.0.1", true),
            ("10.0.0.255", false),
            ("10.0.1.1", false),
            ("fd00::", false),
            ("fd00::ffff", true),
            ("fd00:0:0:1::1", false),
            ("::ffff:10.0.0.1", false),
        ] {
            assert_eq!(pool.contains(ip.parse().unwrap()), inside, "{ip}");
        }
    }

    #[test]
    fn networks_are_used_in_order_and_large_ones_cost_nothing() {
        assert_eq!(all("10.0.0.8/32,fd00::/126"), ["10.0.0.8", "fd00::1", "fd00::2", "fd00::3"]);
        assert_eq!(all("fd00::/8")[..2], ["fd00::1", "fd00::2"]);
    }

    #[test]
    fn what_is_no_network_is_refused_with_advice() {
        for text in ["", "10.0.0.0/33", "10.0.0/24", "x", "10.0.0.0/24,", "0.0.0.0/0", "::/129"] {
            assert!(text.parse::<Pool>().is_err(), "{text}");
        }
        let error = "10.0.0.5/24".parse::<Pool>().unwrap_err();
        assert!(error.ends_with("write 10.0.0.0/24"), "{error}");
        let many = vec!["10.0.0.1"; NETWORKS_MAX + 1].join(",");
        assert!(many.parse::<Pool>().is_err());
        assert_eq!(
            "10.0.0.0/24,fd00::/64".parse::<Pool>().unwrap().to_string(),
            "10.0.0.0/24,fd00::/64"
        );
    }
}
