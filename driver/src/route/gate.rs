//! Places at one host: its share of the channel's places, which are shared among the hosts that are busy. So hosts that
//! hang, however many, leave room for the others.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

/// What the hosts of one channel share.
pub struct Share {
    /// Of the channel.
    places: u32,
    /// Of one host, however few are busy.
    most: u32,
    busy_hosts: AtomicU32,
}

impl Share {
    pub fn new(places: u32, most: u32) -> Arc<Self> {
        Arc::new(Self { places, most, busy_hosts: AtomicU32::new(0) })
    }

    pub fn of_each(&self) -> u32 {
        let busy = self.busy_hosts.load(Ordering::Relaxed).max(1);
        (self.places / busy).clamp(1, self.most)
    }
}

pub struct Gate {
    share: Arc<Share>,
    free: Semaphore,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Places, free or taken: as many as the share was when it was looked at last, and more until they are given back.
    places: u32,
    /// Messages that wait for a place or have one.
    messages: u32,
}

/// A message at the gate: while there is one the host is busy.
pub struct Visit<'a> {
    gate: &'a Gate,
}

/// Dropped, it is given back.
pub struct Place<'a> {
    permit: Option<SemaphorePermit<'a>>,
    visit: Visit<'a>,
}

impl Gate {
    pub fn new(share: Arc<Share>) -> Self {
        Self { share, free: Semaphore::new(0), state: Mutex::default() }
    }

    pub fn places(&self) -> u32 {
        self.share.of_each()
    }

    pub fn visit(&self) -> Visit<'_> {
        {
            let mut state = self.state.lock();
            state.messages += 1;
            if state.messages == 1 {
                self.share.busy_hosts.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.adjust();
        Visit { gate: self }
    }

    /// The share may have changed, since other hosts have become busy or idle.
    pub fn adjust(&self) {
        let (mut state, due) = (self.state.lock(), self.share.of_each());
        if due > state.places {
            self.free.add_permits((due - state.places) as usize);
            state.places = due;
        } else {
            let surplus = (state.places - due) as usize;
            state.places -= self.free.forget_permits(surplus) as u32;
        }
    }
}

impl<'a> Visit<'a> {
    pub fn try_place(self) -> Result<Place<'a>, Self> {
        match self.gate.free.try_acquire() {
            Ok(permit) => Ok(Place { permit: Some(permit), visit: self }),
            Err(_) => Err(self),
        }
    }

    /// None only where the gate was closed, which nobody does.
    pub async fn turn(&self) -> Option<SemaphorePermit<'a>> {
        self.gate.free.acquire().await.ok()
    }

    pub fn with(self, permit: Option<SemaphorePermit<'a>>) -> Place<'a> {
        Place { permit, visit: self }
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.state.lock();
        state.messages -= 1;
        if state.messages == 0 {
            self.gate.share.busy_hosts.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let gate = self.visit.gate;
        if let Some(permit) = self.permit.take() {
            let mut state = gate.state.lock();
            // One that waits would get it at once, and the share would never be kept.
            if state.places > gate.share.of_each() {
                permit.forget();
                state.places -= 1;
            }
        }
        gate.adjust();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(gate: &Gate) -> Vec<Place<'_>> {
        std::iter::from_fn(|| gate.visit().try_place().ok()).collect()
    }

    #[test]
    fn one_host_has_as_many_places_as_one_may_have() {
        for (places, most, expected) in [(128, 32, 32), (16, 32, 16), (1, 32, 1)] {
            let gate = Gate::new(Share::new(places, most));
            assert_eq!(take(&gate).len(), expected);
            assert_eq!(take(&gate).len(), expected, "they were given back");
        }
    }

    #[test]
    fn hosts_that_end_nothing_leave_places_to_those_that_come() {
        let share = Share::new(100, 50);
        let gates: Vec<_> = (0..200).map(|_| Gate::new(share.clone())).collect();
        let all_come: Vec<_> = gates.iter().map(Gate::visit).collect();
        assert!(gates.iter().all(|gate| take(gate).len() == 1), "each has one at least");
        drop(all_come);
        let few: Vec<_> = gates[..4].iter().map(Gate::visit).collect();
        let held: Vec<_> = gates[..3].iter().map(take).collect();
        assert!(held.iter().all(|places| places.len() == 25));
        assert_eq!(take(&gates[3]).len(), 25);
        drop(few);
    }

    #[tokio::test]
    async fn what_is_over_the_share_is_not_handed_on_to_those_that_wait() {
        let share = Share::new(10, 10);
        let (first, second) = (Gate::new(share.clone()), Gate::new(share));
        let mut held = take(&first);
        assert_eq!(held.len(), 10);
        let waits = first.visit();
        let mut turn = Box::pin(waits.turn());
        assert!(futures_util::poll!(&mut turn).is_pending());
        let other = take(&second);
        assert_eq!(other.len(), 5);
        held.truncate(6);
        assert!(futures_util::poll!(&mut turn).is_pending(), "six are more than its share");
        held.truncate(5);
        assert!(futures_util::poll!(&mut turn).is_pending(), "five are its share");
        held.truncate(4);
        assert!(futures_util::poll!(&mut turn).is_ready());
        drop((turn, other));
        assert_eq!(first.places(), 10, "the other is idle again");
    }
}
