//! The servers to try, in the order written.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::values::{bad, ParamError, Values};

/// Where Debian's libpq looks for a socket; `localhost` in a password file stands for it.
const SOCKET_DIR: &str = "/var/run/postgresql";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    Socket(PathBuf),
    /// Resolved at each attempt, so that a changed name is noticed.
    Name(String),
    /// `name` is what the certificate is checked against.
    Ip {
        name: String,
        ip: IpAddr,
    },
}

/// One server to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) address: Address,
    pub(super) port: u16,
}

impl Target {
    fn new(host: &str, addr: &str, port: u16) -> Result<Target, ParamError> {
        let address = match (host, addr) {
            ("", "") => Address::Socket(PathBuf::from(SOCKET_DIR)),
            (dir, "") if dir.starts_with('/') => Address::Socket(PathBuf::from(dir)),
            (name, "") if name.starts_with('@') => {
                return Err(ParamError::Unsupported("host=@… (abstract socket)".to_owned()));
            }
            (name, "") => Address::Name(name.to_owned()),
            (name, addr) => {
                let ip = addr.parse().map_err(|_| bad("hostaddr", addr, "an IP address"))?;
                Address::Ip { name: if name.is_empty() { addr } else { name }.to_owned(), ip }
            }
        };
        Ok(Target { address, port })
    }

    pub(super) fn list(values: &Values) -> Result<Vec<Target>, ParamError> {
        let split = |keyword| values.get(keyword).map(|v| v.split(',').map(str::trim).collect());
        let hosts: Option<Vec<&str>> = split("host");
        let addrs: Option<Vec<&str>> = split("hostaddr");
        let ports: Vec<&str> = split("port").unwrap_or_default();
        let count = addrs.as_ref().or(hosts.as_ref()).map_or(1, Vec::len);
        let conflict = |what, n| {
            Err(ParamError::Conflict(format!("the number of {what} ({n}) is not {count}")))
        };
        match (&hosts, ports.len()) {
            (Some(hosts), _) if hosts.len() != count => return conflict("hosts", hosts.len()),
            (_, n) if n > 1 && n != count => return conflict("ports", n),
            _ => {}
        }
        (0..count)
            .map(|i| {
                let port = match ports.get(i).or(ports.first()).copied().unwrap_or("") {
                    "" => 5432,
                    text => text
                        .parse()
                        .ok()
                        .filter(|port| *port > 0)
                        .ok_or_else(|| bad("port", text, "a number from 1 to 65535"))?,
                };
                Target::new(nth(&hosts, i), nth(&addrs, i), port)
            })
            .collect()
    }

    /// The host as libpq looks it up in a password file.
    pub(super) fn passfile_host(&self) -> String {
        match &self.address {
            Address::Socket(dir) if dir == Path::new(SOCKET_DIR) => "localhost".to_owned(),
            Address::Socket(dir) => dir.display().to_string(),
            Address::Name(name) | Address::Ip { name, .. } => name.clone(),
        }
    }
}

fn nth<'a>(list: &Option<Vec<&'a str>>, i: usize) -> &'a str {
    list.as_ref().and_then(|list| list.get(i)).copied().unwrap_or("")
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Socket(dir) => write!(f, "{}/.s.PGSQL.{}", dir.display(), self.port),
            Address::Name(name) | Address::Ip { name, .. } if name.contains(':') => {
                write!(f, "[{name}]:{}", self.port)
            }
            Address::Name(name) | Address::Ip { name, .. } => write!(f, "{name}:{}", self.port),
        }
    }
}
