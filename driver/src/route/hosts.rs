//! The hosts of one channel. Users choose them, so there may be many, and not all are remembered.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::breaker::State;
use super::gate::Share;
use super::host::{Crowd, Host};

const MAX_HOSTS: usize = 4096;

pub struct Hosts {
    known: Mutex<HashMap<String, Arc<Host>>>,
    share: Arc<Share>,
    /// Messages that may wait for their second try at each.
    second_tries: u32,
    crowd: Arc<Crowd>,
}

/// How many hosts' breakers are in each state.
#[derive(Debug, Default, PartialEq)]
pub struct Breakers {
    pub closed: usize,
    pub open: usize,
    pub half_open: usize,
}

impl Hosts {
    pub fn new(share: Arc<Share>, second_tries: u32, crowd: Arc<Crowd>) -> Self {
        Self { known: Mutex::default(), share, second_tries, crowd }
    }

    /// Where there are too many, those are forgotten that are not in use: first those with no failure to remember.
    pub fn get(&self, name: &str) -> Arc<Host> {
        let mut known = self.known.lock();
        if let Some(host) = known.get(name) {
            return host.clone();
        }
        let in_use = |host: &Arc<Host>| Arc::strong_count(host) > 1;
        if known.len() >= MAX_HOSTS {
            known.retain(|_, host| in_use(host) || !host.is_unremarkable());
        }
        if known.len() >= MAX_HOSTS {
            known.retain(|_, host| in_use(host));
        }
        let host = Arc::new(Host::new(self.share.clone(), self.second_tries, self.crowd.clone()));
        known.insert(name.to_owned(), host.clone());
        host
    }

    /// Hosts whose breaker is not closed, each with the time at which one may try it.
    pub fn open(&self) -> Vec<(String, Instant)> {
        let known = self.known.lock();
        known.iter().filter_map(|(name, host)| Some((name.clone(), host.open_until()?))).collect()
    }

    pub fn breakers(&self) -> Breakers {
        let mut breakers = Breakers::default();
        for host in self.known.lock().values() {
            match host.state() {
                State::Closed => breakers.closed += 1,
                State::Open => breakers.open += 1,
                State::HalfOpen => breakers.half_open += 1,
            }
        }
        breakers
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::breaker::Health;
    use super::*;
    use crate::config;

    const SETTINGS: config::Breaker = config::Breaker {
        failures: 1,
        pause: Duration::from_secs(60),
        max_pause: Duration::from_secs(60),
    };

    fn no_hosts() -> Hosts {
        Hosts::new(Share::new(1, 1), 1, Crowd::new(1))
    }

    fn fail(hosts: &Hosts, name: &str) {
        assert!(hosts.get(name).admit(&SETTINGS).unwrap().record(Health::Dead));
    }

    #[test]
    fn many_hosts_are_forgotten_but_not_those_in_use_or_with_failures() {
        let hosts = no_hosts();
        let in_use = hosts.get("in use");
        fail(&hosts, "failed");
        for number in 0..2 * MAX_HOSTS {
            hosts.get(&number.to_string());
        }
        assert!(hosts.known.lock().len() <= MAX_HOSTS);
        assert!(Arc::ptr_eq(&in_use, &hosts.get("in use")));
        assert!(hosts.get("failed").refusal(&SETTINGS).is_some());
        assert_eq!(hosts.breakers().open, 1);
    }

    #[test]
    fn many_hosts_that_fail_are_bounded_too() {
        let hosts = no_hosts();
        for number in 0..2 * MAX_HOSTS {
            fail(&hosts, &number.to_string());
        }
        assert!(hosts.known.lock().len() <= MAX_HOSTS);
    }
}
