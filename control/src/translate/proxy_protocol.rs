//! The PROXY protocol: who speaks it to a Gateway, and which backends we speak it to.
//!
//! The Gateway API has no field for it, so annotations say it: [`FROM_ANNOTATION`] on a Gateway, for its
//! ListenerSets too, and [`TO_ANNOTATION`] on a Service. Invariant: a value that cannot be read closes
//! what it is said of, since a connection must not be taken for what it is not.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use proxy::ir::{ProxySources, ProxyVersion};

use super::Fault;
use super::status::Reason;
use crate::api::{Gateway, Meta};

/// Of a Gateway: the networks that begin their connections with a PROXY protocol header. With `.PORT`
/// behind it, of one port alone, instead.
pub(crate) const FROM_ANNOTATION: &str = "ringway.dev/proxy-protocol-from";
/// Of a Service: the version of the header that connections to it begin with.
pub(crate) const TO_ANNOTATION: &str = "ringway.dev/proxy-protocol";
/// Networks of one annotation.
const NETWORKS_MAX: usize = 64;

/// Who speaks the PROXY protocol on the ports of a Gateway.
#[derive(Debug, Default)]
pub(super) struct Proxies {
    base: Option<Said>,
    by_port: BTreeMap<u16, Said>,
    /// Annotations that name no port.
    pub strays: Vec<Fault>,
}

type Said = Result<Option<Arc<ProxySources>>, Fault>;

impl Proxies {
    /// Reads the annotations of a Gateway.
    pub(super) fn of(object: &Gateway) -> Self {
        let mut proxies = Self::default();
        for (key, text) in &object.metadata.annotations {
            let Some(rest) = key.strip_prefix(FROM_ANNOTATION) else { continue };
            let field = field(key);
            let said = sources(text).map(|sources| sources.map(Arc::new)).map_err(|why| {
                Fault::new(Reason::UnsupportedValue, &*field, format!("{field}: {why}"))
            });
            match (rest, port(rest)) {
                ("", _) => proxies.base = Some(said),
                (_, Some(port)) => {
                    proxies.by_port.insert(port, said);
                }
                (_, None) => {
                    let message = format!("{field} names no port: write {FROM_ANNOTATION}.443");
                    proxies.strays.push(Fault::new(Reason::UnsupportedValue, field, message));
                }
            }
        }
        proxies
    }

    /// Who does on a port; the fault closes it.
    pub(super) fn at(&self, port: u16) -> Said {
        self.by_port.get(&port).or(self.base.as_ref()).cloned().unwrap_or(Ok(None))
    }
}

/// The version that a Service is spoken to in.
pub(super) fn version(service: &Meta) -> Result<Option<ProxyVersion>, String> {
    let Some(text) = service.annotations.get(TO_ANNOTATION) else { return Ok(None) };
    read_version(text).map(Some)
}

/// The path of an annotation.
pub(crate) fn field(key: &str) -> String {
    format!("metadata.annotations.{key}")
}

/// The port that the end of a key names, as `.443`.
pub(crate) fn port(end: &str) -> Option<u16> {
    end.strip_prefix('.')?.parse().ok().filter(|port| *port > 0)
}

/// Reads the annotation of a Service.
pub(crate) fn read_version(text: &str) -> Result<ProxyVersion, String> {
    match text.trim() {
        "v1" => Ok(ProxyVersion::V1),
        "v2" => Ok(ProxyVersion::V2),
        other => Err(format!("found {other:?}, allowed: v1, v2")),
    }
}

/// Reads networks, addresses alone too; none means nobody.
pub(crate) fn sources(text: &str) -> Result<Option<ProxySources>, String> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let networks: Vec<_> = entries.map(network).collect::<Result<_, _>>()?;
    if networks.len() > NETWORKS_MAX {
        return Err(format!("found {} networks, allowed: {NETWORKS_MAX}", networks.len()));
    }
    Ok((!networks.is_empty()).then_some(ProxySources(networks)))
}

fn network(text: &str) -> Result<(IpAddr, u8), String> {
    let wrong =
        || format!("found {text:?}, allowed: networks such as 10.0.0.0/8 or fd00::/8, with commas");
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let length = length.map_or(Ok(bits), str::parse).map_err(|_| wrong())?;
    if length > bits {
        return Err(wrong());
    }
    let start = start(address, length);
    if start != address {
        return Err(format!(
            "found {text:?}, which is not the start of its network: write {start}/{length}"
        ));
    }
    Ok((address, length))
}

/// The first address of the network.
fn start(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            IpAddr::from((u32::from(ip) & mask).to_be_bytes())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            IpAddr::from((u128::from(ip) & mask).to_be_bytes())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_addresses_are_read_and_none_means_nobody() {
        let read = |text| sources(text).unwrap().map(|sources| sources.0);
        let network = |ip: &str, length| (ip.parse::<IpAddr>().unwrap(), length);
        let expected = vec![network("10.0.0.0", 8), network("fd00::", 8), network("192.0.2.7", 32)];
        assert_eq!(read("10.0.0.0/8, fd00::/8,192.0.2.7"), Some(expected));
        assert_eq!(read("0.0.0.0/0,::/0"), Some(vec![network("0.0.0.0", 0), network("::", 0)]));
        assert_eq!(read(""), None);
        assert_eq!(read(" , "), None);
    }

    #[test]
    fn what_is_no_network_is_refused_with_advice() {
        for bad in ["x", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/-1", "fd00::/129", "10.0.0.0/8;"] {
            assert!(sources(bad).unwrap_err().starts_with("found"), "{bad}");
        }
        assert!(sources("10.1.0.0/8").unwrap_err().ends_with("write 10.0.0.0/8"));
        assert!(sources(&vec!["::1"; NETWORKS_MAX + 1].join(",")).is_err());
    }

    #[test]
    fn a_key_ends_with_a_port_or_says_of_all() {
        assert_eq!(port(".443"), Some(443));
        for bad in ["", "443", ".0", ".65536", ".http", "-x"] {
            assert_eq!(port(bad), None, "{bad}");
        }
        assert_eq!(read_version("v1"), Ok(ProxyVersion::V1));
        assert!(read_version("V2").is_err() && read_version("").is_err());
    }
}
