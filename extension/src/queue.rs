//! Lanes of the queue: where their claims have come to, and what comes next.

use pgrx::pg_sys;
use pgrx::FromDatum;

use crate::claim_end::{ClaimEnd, Waiting};
use crate::cursor_snapshot;
use crate::error::Error;
use crate::index::{key, Found, IndexOn, Indexed};
use crate::installed::Installed;
use crate::policy;
use crate::recipients::{text, texts, Recipients};
use crate::sequence;
use crate::snapshot::{self, Snapshot};
use crate::window::{Outbox, Places, Window};

/// A look at a lane that finds nothing and takes longer has met rows of aborted transactions.
const SLOW_MICROS: i64 = 5_000;
/// So often, at most, a cursor is moved past such rows.
const MOVE_EVERY_MICROS: i64 = 1_000_000;

pub struct Queue {
    cursors: Cursors,
    outbox: Outbox,
    /// Where some users have many, these count among a message's bytes.
    addresses: Option<Recipients>,
}

/// What of a lane is claimed next, or no message: then only the lane's cursor is to move on.
pub struct Part {
    pub lane: i16,
    pub lo: Snapshot,
    pub hi: Snapshot,
    pub after: (u64, i64),
    pub end: ClaimEnd,
}

impl Queue {
    pub fn open(here: &Installed) -> Result<Self, Error> {
        let cursors = Cursors::open(here.claims)?;
        let addresses = match sequence::last_value(here.many_addresses) {
            Some(_) => Some(Recipients::open(here.recipients)?),
            None => None,
        };
        let outbox = Outbox::open(here.outbox, (0, 2))?;
        Ok(Self { cursors, outbox, addresses })
    }

    /// What is left of the cursor's window, else the window from there to now. `take` is told of each message. The caller has locked the
    /// lane, and its snapshot is newer than the lock.
    pub fn next_part(
        &mut self,
        lane: i16,
        max_messages: i32,
        mut take: impl FnMut(i64, Found, &Places) -> Result<(), Error>,
    ) -> Result<Option<Part>, Error> {
        let last = self.cursors.newest(lane)?;
        let now = cursor_snapshot::now()?;
        if last.hi.xmax > now.xmax {
            let lane = policy::BUILTIN[lane as usize].name;
            return Err(Error::FutureCursor { lane, seen: last.hi.xmax, come: now.xmax });
        }
        if last.upto.0 > 0 {
            let end = self.reach(lane, (&last.lo, &last.hi), last.upto, max_messages, &mut take)?;
            if end.messages > 0 {
                return Ok(Some(Part { lane, lo: last.lo, hi: last.hi, after: last.upto, end }));
            }
        }
        let after = (0, 0);
        // Nothing: look twice, since the first look may have been slow for other reasons (a cold cache).
        for _ in 0..2 {
            let from = timestamp();
            let end = self.reach(lane, (&last.hi, &now), after, max_messages, &mut take)?;
            if end.messages > 0 {
                return Ok(Some(Part { lane, lo: last.hi, hi: now, after, end }));
            }
            if timestamp() - from < SLOW_MICROS {
                return Ok(None);
            }
        }
        let may_move = last.claimed_at < timestamp() - MOVE_EVERY_MICROS;
        let lo = now.clone();
        Ok(may_move.then_some(Part { lane, lo, hi: now, after, end: ClaimEnd::default() }))
    }

    /// Of the messages of a window, behind `after`, up to max_messages.
    fn reach(
        &mut self,
        lane: i16,
        (lo, hi): (&Snapshot, &Snapshot),
        after: (u64, i64),
        max_messages: i32,
        take: &mut impl FnMut(i64, Found, &Places) -> Result<(), Error>,
    ) -> Result<ClaimEnd, Error> {
        let ranges = snapshot::window_ranges(lo, hi, after);
        let window = Window { lane, ranges, upto: (u64::MAX, i64::MAX), ids: None };
        let mut end = ClaimEnd::default();
        let Self { outbox, addresses, .. } = self;
        outbox.walk(&window, |row, place, slot, position| {
            let bytes = row.get(place.bytes).map_or(0, |bytes| bytes.value() as i32);
            let more = match addresses {
                Some(addresses) => bytes_of_addresses(addresses, row, place)?,
                None => 0,
            };
            let bytes = i64::from(bytes).saturating_add(more).min(i32::MAX.into()) as i32;
            let expires_at = row.get(place.expires_at);
            // SAFETY: an i64 is what a timestamptz is.
            let expires_at = expires_at.and_then(|at| unsafe { i64::from_datum(at, false) });
            take(position.1, row, place)?;
            let has_room = end.take(&Waiting { slot, position, bytes, expires_at });
            Ok(has_room && end.messages < max_messages)
        })?;
        Ok(end)
    }

    /// The next look is with the snapshot of its time.
    pub fn stop(&mut self) {
        self.cursors.0.iter_mut().for_each(Indexed::stop);
        self.outbox.stop();
        if let Some(addresses) = &mut self.addresses {
            addresses.stop();
        }
    }

    pub fn close(self) {
        self.cursors.close();
        self.outbox.close();
        if let Some(addresses) = self.addresses {
            addresses.close();
        }
    }
}

/// As a `timestamptz` has it.
pub fn timestamp() -> i64 {
    // SAFETY: reads a clock.
    unsafe { pg_sys::GetCurrentTimestamp() }
}

/// What the addresses of a message take in a claim: each with some 100 around it.
fn bytes_of_addresses(
    addresses: &mut Recipients,
    row: Found,
    place: &Places,
) -> Result<i64, Error> {
    let mut bytes = 0i64;
    if let Some(user) = row.get(place.user_id) {
        let channels = row.get(place.channels);
        // SAFETY: they are of type text[].
        let channels = channels.map_or_else(Vec::new, |list| unsafe { texts(list) });
        addresses.each(user, &channels, |recipient| {
            bytes += recipient.address.len() as i64 + 100;
            Ok(())
        })?;
    }
    Ok(bytes)
}

/// Of claims that are no take-overs.
const CURSOR: IndexOn =
    IndexOn { where_null: Some(c"takeover_of"), ..IndexOn::ordered(&[c"lane", c"claim_id"]) };

/// Claims of each slot, backwards.
pub struct Cursors([Indexed; 3]);

/// The newest claim of a lane that is no take-over: behind it nothing has been claimed.
struct Cursor {
    lo: Snapshot,
    hi: Snapshot,
    upto: (u64, i64),
    claimed_at: i64,
}

impl Cursors {
    pub fn open([first, second, third]: [pg_sys::Oid; 3]) -> Result<Self, Error> {
        // SAFETY: the functions that look for a cursor are called by queries.
        let open = |slot| Ok(unsafe { Indexed::open(slot, &CURSOR) }?.backwards());
        Ok(Self([open(first)?, open(second)?, open(third)?]))
    }

    /// The row, in its slot.
    pub fn newest_row(&mut self, lane: i16) -> Result<Option<(&Indexed, Found)>, Error> {
        let mut newest: Option<(i64, &Indexed, Found)> = None;
        for claims in self.0.iter_mut().filter(|claims| !claims.is_empty()) {
            let claim_id = claims.column(c"claim_id")?;
            let equal = pg_sys::BTEqualStrategyNumber;
            let mut keys = [key(1, equal, pg_sys::F_INT2EQ, pg_sys::InvalidOid, lane.into())];
            // SAFETY: the lane is a smallint.
            unsafe { claims.seek(&mut keys, [None, None]) };
            if let Some(row) = claims.next() {
                let id = row.get(claim_id).map_or(0, |id| id.value() as i64);
                if newest.as_ref().is_none_or(|(newest, ..)| id > *newest) {
                    newest = Some((id, claims, row));
                }
            }
        }
        Ok(newest.map(|(_, claims, row)| (claims, row)))
    }

    /// Before the first claim, one that has seen no transaction.
    fn newest(&mut self, lane: i16) -> Result<Cursor, Error> {
        let Some((claims, row)) = self.newest_row(lane)? else {
            let (lo, hi) = (Snapshot::of_nothing(), Snapshot::of_nothing());
            return Ok(Cursor { lo, hi, upto: (0, 0), claimed_at: i64::MIN });
        };
        let number = |name| {
            Ok::<_, Error>(row.get(claims.column(name)?).map_or(0, |number| number.value() as i64))
        };
        let snapshot = |name| {
            let stored = row.get(claims.column(name)?);
            // SAFETY: a snapshot has its length before it, as a text has.
            Snapshot::of(stored.map_or(&[][..], |stored| unsafe { text(stored) }))
        };
        Ok(Cursor {
            lo: snapshot(c"lo")?,
            hi: snapshot(c"hi")?,
            upto: (number(c"upto_xid")? as u64, number(c"upto_id")?),
            claimed_at: number(c"claimed_at")?,
        })
    }

    pub fn close(self) {
        self.0.into_iter().for_each(Indexed::close);
    }
}
