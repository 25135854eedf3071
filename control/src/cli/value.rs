//! Values of flags, each with an error that says what is allowed.
//!
//! Parsing only; whether a core exists or an address is free is found out later.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use runtime::cores::{self, CoreId, ListError};

use crate::translate::Addressing;

/// Where the admin pages are unless told otherwise.
pub const ADMIN_DEFAULT: &str = "127.0.0.1:19000";
/// Shards of one process.
pub const SHARDS_MAX: u16 = 1024;
/// Longest time that a flag takes.
pub const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);

/// `--admin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admin {
    /// No admin pages.
    Off,
    /// Here.
    At(SocketAddr),
}

/// `--cores`: logical CPU numbers, in the order of the shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cores(pub Vec<CoreId>);

impl FromStr for Admin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let address = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
        address.as_deref().unwrap_or(text).parse().map(Self::At).map_err(|_| {
            format!("expected ADDRESS:PORT such as {ADMIN_DEFAULT} or [::1]:19000, or `off`")
        })
    }
}

impl FromStr for Cores {
    type Err = ListError;

    fn from_str(text: &str) -> Result<Self, ListError> {
        cores::parse(text).map(Self)
    }
}

impl FromStr for Addressing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("pool:")) {
            ("host", _) => Ok(Self::Host),
            ("service", _) => Ok(Self::Service),
            (_, Some(networks)) => networks.parse().map(Self::Pool),
            (_, None) => {
                Err("expected `host`, `service`, or `pool:` and networks such as pool:10.0.0.0/24"
                    .to_owned())
            }
        }
    }
}

/// A time such as `500ms`, `10s`, `1.5s`, `2m` or `1h`.
///
/// # Errors
/// Says what is allowed.
pub fn duration(text: &str) -> Result<Duration, String> {
    let allowed = "expected a number with a unit: 500ms, 10s, 2m or 1h";
    let split = text.find(|c: char| c.is_ascii_alphabetic()).ok_or(allowed)?;
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("unknown unit `{unit}`; {allowed}")),
    };
    let number: f64 = number.parse().map_err(|_| allowed)?;
    let time = Duration::try_from_secs_f64(number * seconds).map_err(|_| allowed)?;
    if time < Duration::from_millis(1) || time > DURATION_MAX {
        return Err("expected a time between 1ms and 24h".to_owned());
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_lists_of_numbers_and_ranges_in_the_order_given() {
        assert_eq!("8,2-4".parse(), Ok(Cores([8, 2, 3, 4].map(CoreId).into())));
        for text in ["", "5-2", "1,0-2", "0-99999999", "a"] {
            assert!(text.parse::<Cores>().is_err(), "{text}");
        }
    }

    #[test]
    fn times_need_a_unit_and_have_bounds() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for text in ["", "10", "s", "-1s", "0s", "25h", "1d", "NaNs", "infs", "1e400s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_come_from_the_host_a_pool_or_services() {
        assert_eq!("host".parse(), Ok(Addressing::Host));
        assert_eq!("service".parse(), Ok(Addressing::Service));
        let pool = Addressing::Pool("10.0.0.0/24,fd00::/64".parse().unwrap());
        assert_eq!("pool:10.0.0.0/24,fd00::/64".parse(), Ok(pool));
        for text in ["", "pool", "pool:", "pool:10.0.0.0/8,", "hosts"] {
            assert!(text.parse::<Addressing>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_admin_address_is_an_address_or_off() {
        assert_eq!("off".parse(), Ok(Admin::Off));
        assert_eq!("localhost:1".parse(), Ok(Admin::At(([127, 0, 0, 1], 1).into())));
        assert!("19000".parse::<Admin>().unwrap_err().contains("127.0.0.1:19000"));
    }
}
