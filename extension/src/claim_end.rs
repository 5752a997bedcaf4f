//! How far a claim reaches: to the last of the messages that it is offered, in their order, or to where they have come to 8 MB.

const MAX_BYTES: i64 = 8 * 1024 * 1024;

#[derive(Debug, Default, PartialEq)]
pub struct ClaimEnd {
    pub messages: i32,
    /// They lie in slots from the first of these to the second.
    pub slots: Option<(i16, i16)>,
    /// The earliest, as a `timestamptz` has it.
    pub expires_at: Option<i64>,
    /// Transaction and message id of the last.
    pub upto: (u64, i64),
    bytes: i64,
}

/// A message of the queue.
pub struct Waiting {
    pub slot: i16,
    pub position: (u64, i64),
    pub bytes: i32,
    pub expires_at: Option<i64>,
}

impl ClaimEnd {
    /// Takes one more message; false where there is no room for another.
    pub fn take(&mut self, message: &Waiting) -> bool {
        self.bytes += i64::from(message.bytes);
        self.messages += 1;
        let (first, last) = self.slots.unwrap_or((message.slot, message.slot));
        self.slots = Some((first.min(message.slot), last.max(message.slot)));
        self.expires_at = self.expires_at.into_iter().chain(message.expires_at).min();
        self.upto = message.position;
        self.bytes < MAX_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(messages: &[(i16, i32, Option<i64>)]) -> ClaimEnd {
        let mut end = ClaimEnd::default();
        for (id, (slot, bytes, expires_at)) in (1..).zip(messages) {
            let (slot, bytes, expires_at) = (*slot, *bytes, *expires_at);
            if !end.take(&Waiting { slot, position: (7, id), bytes, expires_at }) {
                break;
            }
        }
        end
    }

    #[test]
    fn it_reaches_to_the_last() {
        let end = of(&[(2, 10, None), (0, 10, Some(9)), (2, 10, Some(8)), (0, 10, None)]);
        assert_eq!((end.messages, end.slots), (4, Some((0, 2))));
        assert_eq!((end.expires_at, end.upto), (Some(8), (7, 4)));
        assert_eq!(of(&[]), ClaimEnd::default());
    }

    #[test]
    fn the_message_that_makes_it_8_mb_is_the_last() {
        let half = 4 * 1024 * 1024;
        assert_eq!(
            of(&[(0, half, None), (0, half - 1, None), (0, 10, None), (1, 10, Some(1))]).upto,
            (7, 3)
        );
        assert_eq!(of(&[(0, half, None), (0, half, None), (1, 10, Some(1))]).upto, (7, 2));
        assert_eq!(of(&[(0, i32::MAX, None), (1, 10, None)]).slots, Some((0, 0)));
    }
}
