//! The hosts of one channel. Users choose them, so there may be many, and not all are remembered.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::breaker::State;
use super::host::Host;

const MAX_HOSTS: usize = 4096;

pub struct Hosts {
    known: Mutex<HashMap<String, Arc<Host>>>,
    /// Places of each.
    places: u32,
    /// Messages that may wait for each while it ends nothing.
    waiting_bound: u32,
}

/// How many hosts' breakers are in each state.
#[derive(Debug, Default, PartialEq)]
pub struct Breakers {
    pub closed: usize,
    pub open: usize,
    pub half_open: usize,
}

impl Hosts {
    pub fn new(places: u32, waiting_bound: u32) -> Self {
        Self { known: Mutex::default(), places, waiting_bound }
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
        let host = Arc::new(Host::new(self.places, self.waiting_bound));
        known.insert(name.to_owned(), host.clone());
        host
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

    fn fail(hosts: &Hosts, name: &str) {
        assert!(hosts.get(name).admit(&SETTINGS).unwrap().record(Health::Dead));
    }

    #[test]
    fn many_hosts_are_forgotten_but_not_those_in_use_or_with_failures() {
        let hosts = Hosts::new(1, 1);
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
        let hosts = Hosts::new(1, 1);
        for number in 0..2 * MAX_HOSTS {
            fail(&hosts, &number.to_string());
        }
        assert!(hosts.known.lock().len() <= MAX_HOSTS);
    }
}
