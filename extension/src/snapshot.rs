//! Arithmetic of transaction snapshots, on the text of a `pg_snapshot` (`xmin:xmax:xip,…`). No snapshot is taken here.

use crate::error::Error;

#[derive(Debug, PartialEq)]
pub struct Snapshot {
    xmin: u64,
    /// The first transaction id that was not yet assigned.
    xmax: u64,
    /// Transactions in progress below xmax, ascending.
    in_progress: Vec<u64>,
}

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

    pub fn to_text(&self) -> String {
        let list: Vec<String> = self.in_progress.iter().map(u64::to_string).collect();
        format!("{}:{}:{}", self.xmin, self.xmax, list.join(","))
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
    fn text_goes_round() {
        for text in ["3:3:", "10:20:10,14,15"] {
            assert_eq!(parse(text).to_text(), text);
        }
        for bad in ["", "1", "1:2", "1:2:x", "a:2:"] {
            assert!(Snapshot::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_own_transaction_is_added_once() {
        assert_eq!(parse("10:20:14").with_in_progress(8).to_text(), "8:20:8,14");
        assert_eq!(parse("10:20:14").with_in_progress(14).to_text(), "10:20:14");
        assert_eq!(parse("10:20:14").with_in_progress(20).to_text(), "10:20:14");
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
