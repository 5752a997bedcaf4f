//! Which addresses a request may go to. Users choose the URLs of recipients, and this machine reaches what they do not:
//! its own services, its network, the cloud's metadata.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use url::Host;

use crate::config::ConfigError;

const fn v4(a: u8, b: u8, c: u8, d: u8, bits: u8) -> Ipv4Net {
    Ipv4Net::new_assert(std::net::Ipv4Addr::new(a, b, c, d), bits)
}

const fn v6(a: u16, b: u16, bits: u8) -> Ipv6Net {
    Ipv6Net::new_assert(std::net::Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), bits)
}

/// IANA's special purposes (RFC 6890 and its registry), and one public address that is none.
const REFUSED_V4: &[Ipv4Net] = &[
    v4(0, 0, 0, 0, 8),        // "this network"
    v4(10, 0, 0, 0, 8),       // private
    v4(100, 64, 0, 0, 10),    // shared by a carrier's customers
    v4(127, 0, 0, 0, 8),      // loopback
    v4(168, 63, 129, 16, 32), // Azure's own services, seen from its machines
    v4(169, 254, 0, 0, 16),   // link-local, metadata
    v4(172, 16, 0, 0, 12),    // private
    v4(192, 0, 0, 0, 24),     // protocol assignments; Oracle's metadata
    v4(192, 0, 2, 0, 24),     // documentation
    v4(192, 88, 99, 0, 24),   // 6to4 relays
    v4(192, 168, 0, 0, 16),   // private
    v4(198, 18, 0, 0, 15),    // benchmarks
    v4(198, 51, 100, 0, 24),  // documentation
    v4(203, 0, 113, 0, 24),   // documentation
    v4(224, 0, 0, 0, 4),      // multicast
    v4(240, 0, 0, 0, 4),      // reserved, broadcast
];
/// All that is global. Outside are loopback, mapped and compatible IPv4, NAT64, unique local, link-local, multicast …
const GLOBAL_V6: Ipv6Net = v6(0x2000, 0, 3);
const REFUSED_V6: &[Ipv6Net] = &[
    v6(0x2001, 0, 23),     // protocol assignments: Teredo, benchmarks, ORCHID
    v6(0x2001, 0xdb8, 32), // documentation
    v6(0x2002, 0, 16),     // 6to4
    v6(0x3fff, 0, 20),     // documentation
];

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !REFUSED_V4.iter().any(|net| net.contains(&address)),
        IpAddr::V6(address) => {
            GLOBAL_V6.contains(&address) && !REFUSED_V6.iter().any(|net| net.contains(&address))
        }
    }
}

/// The operator's exceptions.
#[derive(Debug)]
pub struct Guard {
    nets: Vec<IpNet>,
    hosts: HashSet<String>,
}

impl Guard {
    pub fn new(allowed: &[String]) -> Result<Self, ConfigError> {
        let mut guard = Self { nets: Vec::new(), hosts: HashSet::new() };
        for text in allowed {
            if let Ok(net) = text.parse() {
                guard.nets.push(net);
            } else if let Ok(address) = text.parse::<IpAddr>() {
                guard.nets.push(address.into());
            } else if let (false, Ok(Host::Domain(host))) = (text.contains('/'), Host::parse(text))
            {
                guard.hosts.insert(without_dot(&host).to_owned());
            } else {
                return Err(ConfigError::BadValue {
                    name: "http.allow_addresses".into(),
                    value: text.clone(),
                    reason: "it is a network such as 10.1.0.0/16, an address or a host's name"
                        .into(),
                });
            }
        }
        Ok(guard)
    }

    /// Whether a connection may be made to an address that `host` stands for.
    pub fn permits(&self, host: &str, address: IpAddr) -> bool {
        let canonical = address.to_canonical();
        is_public(address)
            || self.nets.iter().any(|net| net.contains(&canonical) || net.contains(&address))
            || self.hosts.contains(without_dot(&host.to_ascii_lowercase()))
    }
}

/// One at a name's end says only that it is a whole one.
fn without_dot(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(guard: &Guard, address: &str) -> bool {
        guard.permits("example.com", address.parse().unwrap())
    }

    #[test]
    fn only_public_addresses_are_called() {
        let guard = Guard::new(&[]).unwrap();
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.254",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::ffff:0:8.8.8.8",
            "64:ff9b::7f00:1",
            "64:ff9b:1::a00:1",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!permits(&guard, address), "{address}");
        }
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "223.255.255.255",
            "2001:4860:4860::8888",
            "2606:4700::1111",
            "2a00:1450::1",
            "2001:200::1",
        ] {
            assert!(permits(&guard, address), "{address}");
        }
    }

    #[test]
    fn what_the_operator_allows_is_a_network_an_address_or_a_name() {
        let allowed = ["10.1.0.0/16", "127.0.0.1", "fd00::/8", "Hooks.internal", "bücher.internal"]
            .map(String::from);
        let guard = Guard::new(&allowed).unwrap();
        for address in ["10.1.2.3", "127.0.0.1", "::ffff:10.1.2.3", "fd12::1"] {
            assert!(permits(&guard, address), "{address}");
        }
        for address in ["10.2.0.1", "127.0.0.2", "::1", "64:ff9b::a01:203"] {
            assert!(!permits(&guard, address), "{address}");
        }
        assert!(guard.permits("hooks.internal", "10.9.9.9".parse().unwrap()));
        assert!(guard.permits("hooks.internal.", "10.9.9.9".parse().unwrap()));
        assert!(guard.permits("xn--bcher-kva.internal", "10.9.9.9".parse().unwrap()));
        assert!(!guard.permits("x.hooks.internal", "10.9.9.9".parse().unwrap()));
        for bad in ["10.1.0.0/33", "", "a b", "http://x/", "0x7f.1", "[::1]"] {
            assert!(Guard::new(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
