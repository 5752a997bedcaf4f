//! Arithmetic of transaction snapshots, on the text of a `pg_snapshot` (`xmin:xmax:xip,…`) or as it is stored. No snapshot is taken here.

use crate::error::Error;

/// Bytes of what is before the transaction ids of one that is stored: how many are in progress.
const COUNT: usize = size_of::<u32>();

#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    xmin: u64,
    /// The first transaction id that was not yet assigned.
    pub xmax: u64,
    /// Transactions in progress below xmax, ascending.
    in_progress: Vec<u64>,
}

/// The first that a transaction of a user can have.
const FIRST_XID: u64 = 3;

/// Rows behind the position (xid, message id) `after`, of transactions before `below`: one lower bound, since an index scan
/// starts at one of several and might walk from the wrong one.
#[derive(Debug, PartialEq)]
pub struct Range {
    pub after: (u64, i64),
    pub below: u64,
}

impl Snapshot {
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut parts = text.split(':');
        let mut number =
            || parts.next().and_then(|part| part.parse().ok()).ok_or_else(|| unreadable(text));
        let (xmin, xmax) = (number()?, number()?);
        let in_progress = match parts.next() {
            None => return Err(unreadable(text)),
            Some("") => Vec::new(),
            Some(list) => list
                .split(',')
                .map(|xid| xid.parse().map_err(|_| unreadable(text)))
                .collect::<Result<_, _>>()?,
        };
        Ok(Self { xmin, xmax, in_progress })
    }

    fn sees(&self, xid: u64) -> bool {
        xid < self.xmax && self.in_progress.binary_search(&xid).is_err()
    }

    /// The same snapshot with one more transaction in progress.
    pub fn with_in_progress(mut self, xid: u64) -> Self {
        if xid < self.xmax {
            if let Err(place) = self.in_progress.binary_search(&xid) {
                self.in_progress.insert(place, xid);
            }
            self.xmin = self.xmin.min(xid);
        }
        self
    }

    /// Of what lies behind the length of a pg_snapshot that is stored.
    pub fn of(stored: &[u8]) -> Result<Self, Error> {
        let (xids, _) = stored.get(COUNT..).unwrap_or_default().as_chunks();
        let mut xids = xids.iter().map(|xid| u64::from_ne_bytes(*xid));
        match (xids.next(), xids.next()) {
            (Some(xmin), Some(xmax)) => Ok(Self { xmin, xmax, in_progress: xids.collect() }),
            _ => Err(unreadable(&format!("{} bytes", stored.len()))),
        }
    }

    pub fn stored(&self) -> Vec<u8> {
        let count = self.in_progress.len() as u32;
        let xids = [self.xmin, self.xmax].into_iter().chain(self.in_progress.iter().copied());
        count.to_ne_bytes().into_iter().chain(xids.flat_map(u64::to_ne_bytes)).collect()
    }

    /// One that has seen no transaction.
    pub fn of_nothing() -> Self {
        Self { xmin: FIRST_XID, xmax: FIRST_XID, in_progress: Vec::new() }
    }
}

/// The rows of transactions that `hi` sees and `lo` does not, behind `after`, as ascending ranges.
pub fn window_ranges(lo: &Snapshot, hi: &Snapshot, after: (u64, i64)) -> Vec<Range> {
    let in_progress_in_lo =
        lo.in_progress.iter().filter(|xid| hi.sees(**xid)).map(|xid| (*xid, xid + 1));
    let mut ranges: Vec<(u64, u64)> = in_progress_in_lo.collect();
    let mut from = lo.xmax;
    for xid in hi.in_progress.iter().copied().filter(|xid| *xid >= lo.xmax) {
        ranges.push((from, xid));
        from = xid + 1;
    }
    ranges.push((from, hi.xmax));
    ranges.retain(|(from, below)| from < below && *below > after.0);
    let start = |from: u64| after.max((from.saturating_sub(1), i64::MAX));
    ranges.into_iter().map(|(from, below)| Range { after: start(from), below }).collect()
}

fn unreadable(text: &str) -> Error {
    Error::Snapshot { found: text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::btree_set;
    use proptest::prelude::*;

    fn parse(text: &str) -> Snapshot {
        Snapshot::parse(text).unwrap()
    }

    #[test]
    fn what_is_stored_goes_round() {
        for text in ["3:3:", "10:20:10,14,15"] {
            let snapshot = parse(text);
            assert_eq!(Snapshot::of(&snapshot.stored()).unwrap(), snapshot);
        }
        assert_eq!(parse("3:3:"), Snapshot::of_nothing());
        assert!(Snapshot::of(&[]).is_err());
        assert!(Snapshot::of(&parse("3:3:").stored()[..COUNT + 15]).is_err());
    }

    #[test]
    fn other_text_is_refused() {
        for bad in ["", "1", "1:2", "1:2:x", "a:2:"] {
            assert!(Snapshot::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_own_transaction_is_added_once() {
        assert_eq!(parse("10:20:14").with_in_progress(8), parse("8:20:8,14"));
        assert_eq!(parse("10:20:14").with_in_progress(14), parse("10:20:14"));
        assert_eq!(parse("10:20:14").with_in_progress(20), parse("10:20:14"));
    }

    fn snapshot(from: u64) -> impl Strategy<Value = Snapshot> {
        (from..from + 30, btree_set(3..from + 30, 0..8)).prop_map(|(xmax, xids)| {
            let in_progress: Vec<u64> = xids.into_iter().filter(|xid| *xid < xmax).collect();
            Snapshot { xmin: in_progress.first().copied().unwrap_or(xmax), xmax, in_progress }
        })
    }

    proptest! {
        #[test]
        fn ranges_are_what_hi_sees_and_lo_does_not(
            lo in snapshot(10), hi in snapshot(40), after in (0u64..80, 1i64..4),
        ) {
            let ranges = window_ranges(&lo, &hi, after);
            prop_assert!(ranges.windows(2).all(|pair| pair[0].below <= pair[1].after.0 + 1));
            for position in (0..80).flat_map(|xid| (1..5).map(move |id| (xid, id))) {
                let inside =
                    ranges.iter().any(|range| position > range.after && position.0 < range.below);
                let expected = hi.sees(position.0) && !lo.sees(position.0) && position > after;
                prop_assert_eq!(inside, expected, "{:?}", position);
            }
        }
    }
}
