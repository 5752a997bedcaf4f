//! Who asks, from where, and what they may do.

use std::net::IpAddr;
use std::time::Instant;

use axum::http::{header, HeaderMap};
use serde::Serialize;

use super::csrf::Signer;
use super::session::{id_of, Sessions};
use crate::config::Desk as Settings;

/// Of a name: it goes into the log of actions.
const MAX_NAME: usize = 100;
/// Who acts where nobody is asked.
const ANYBODY: &str = "local";

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Operator,
    ReadOnly,
}

#[derive(Clone, Debug)]
pub struct Person {
    pub name: String,
    pub role: Role,
    /// The id of the sign-in, where there was one here.
    pub session: Option<String>,
}

impl Person {
    pub fn may_act(&self) -> bool {
        self.role == Role::Operator
    }

    /// What the forms of this person's pages are signed for.
    pub fn mark(&self) -> String {
        format!("{}\n{}", self.session.as_deref().unwrap_or_default(), self.name)
    }
}

/// Where a request is from, as the proxy says if there is one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Client {
    pub address: IpAddr,
    /// The browser speaks TLS, with the proxy.
    pub secure: bool,
}

pub struct Access {
    settings: Settings,
    pub signer: Signer,
    pub sessions: Sessions,
}

impl Access {
    pub fn new(settings: Settings) -> Self {
        let sessions = Sessions::new(settings.session);
        Self { settings, signer: Signer::new(), sessions }
    }

    pub fn has_tokens(&self) -> bool {
        self.settings.has_tokens()
    }

    fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.settings.trusted_proxies.iter().any(|network| network.contains(&peer))
    }

    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Client {
        let direct = Client { address: peer.to_canonical(), secure: false };
        if !self.trusts(peer) {
            return direct;
        }
        let last = |name: &str| {
            let value = headers.get_all(name).into_iter().next_back()?.to_str().ok()?;
            Some(value.rsplit(',').next()?.trim().to_owned())
        };
        let address = last("x-forwarded-for").and_then(|text| text.parse().ok());
        Client {
            address: address.unwrap_or(direct.address),
            secure: last("x-forwarded-proto").is_some_and(|text| text == "https"),
        }
    }

    /// None: must sign in first.
    pub fn person(
        &self,
        peer: IpAddr,
        secure: bool,
        headers: &HeaderMap,
        now: Instant,
    ) -> Option<Person> {
        if !self.settings.authenticates() {
            return Some(Person { name: ANYBODY.into(), role: Role::Operator, session: None });
        }
        if let Some(person) = self.named_by_proxy(peer, headers) {
            return Some(person);
        }
        let id = id_of(headers, secure)?;
        let session = self.sessions.find(id, now)?;
        Some(Person { name: session.name, role: session.role, session: Some(id.to_owned()) })
    }

    fn named_by_proxy(&self, peer: IpAddr, headers: &HeaderMap) -> Option<Person> {
        if self.settings.proxy_header.is_empty() || !self.trusts(peer) {
            return None;
        }
        let mut given = headers.get_all(&self.settings.proxy_header).into_iter();
        let name = person_name(std::str::from_utf8(given.next()?.as_bytes()).ok()?)?;
        if given.next().is_some() {
            return None; // one of the two is not the proxy's
        }
        let acts = self.settings.operators.iter().any(|known| known == "*" || *known == name);
        let role = if acts { Role::Operator } else { Role::ReadOnly };
        Some(Person { name, role, session: None })
    }

    /// What a token allows.
    pub fn role_of(&self, token: &str) -> Option<Role> {
        let fits = |known: &str| !known.is_empty() & self.signer.same(known, token);
        let operator = fits(self.settings.operator_token.expose());
        let read_only = fits(self.settings.read_only_token.expose());
        match (operator, read_only) {
            (true, _) => Some(Role::Operator),
            (false, true) => Some(Role::ReadOnly),
            (false, false) => None,
        }
    }

    /// A page of another site may have its own name resolved to this machine, and would then be the desk's own site for
    /// the browser; it cannot do so with an address or with a name of ours.
    pub fn knows_host(&self, headers: &HeaderMap) -> bool {
        let Some(host) = headers.get(header::HOST).and_then(|value| value.to_str().ok()) else {
            return false;
        };
        let Ok(authority) = host.parse::<http::uri::Authority>() else { return false };
        let name = authority.host();
        name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.settings.hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
    }
}

/// A browser says which site a form is on; a program need not.
pub fn same_site(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let site = origin.to_str().ok().and_then(|text| text.split_once("://")).map(|(_, site)| site);
    site.is_some() && site == headers.get(header::HOST).and_then(|host| host.to_str().ok())
}

/// None where it is no name.
pub fn person_name(text: &str) -> Option<String> {
    let name = text.trim();
    let fits =
        !name.is_empty() && name.chars().count() <= MAX_NAME && !name.chars().any(char::is_control);
    fits.then(|| name.to_owned())
}
