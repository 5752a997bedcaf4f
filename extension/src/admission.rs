//! Which of many firings are admitted, decided one after the other as single calls would be.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use crate::keys::Key;

pub type Keys = HashSet<Key, BuildHasherDefault<OfKeys>>;

/// Keys are hashes already.
#[derive(Default)]
pub struct OfKeys(u64);

impl Hasher for OfKeys {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 ^= u64::from_ne_bytes(*first);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A firing's claim to its content and to a place in its user's day.
pub struct Applicant<'a> {
    /// None: content is not deduplicated.
    pub content: Option<Key>,
    /// Keys of the places of its day, the same for all firings of one user, alert and day. None: no daily limit.
    pub places: &'a [Key],
}

#[derive(Debug, PartialEq)]
pub enum Verdict {
    /// With the content and the place of a day that it takes.
    Admitted {
        content: Option<Key>,
        place: Option<Key>,
    },
    Duplicate,
    Capped,
}

/// What becomes of each applicant, in order. held: keys that others hold already.
pub fn admit(applicants: &[Applicant], held: &Keys) -> Vec<Verdict> {
    let mut contents = Keys::with_capacity_and_hasher(applicants.len(), Default::default());
    let mut taken: HashMap<Key, usize, BuildHasherDefault<OfKeys>> =
        HashMap::with_capacity_and_hasher(applicants.len(), Default::default());
    let mut verdict = |applicant: &Applicant| {
        let known = |content| held.contains(content) || contents.contains(content);
        if applicant.content.as_ref().is_some_and(known) {
            return Verdict::Duplicate;
        }
        let mut place = None;
        if let Some(first) = applicant.places.first() {
            let taken = taken.entry(*first).or_default();
            let free = applicant.places.iter().skip(*taken).position(|key| !held.contains(key));
            let Some(free) = free.map(|free| free + *taken) else {
                return Verdict::Capped;
            };
            *taken = free + 1;
            place = Some(applicant.places[free]);
        }
        contents.extend(applicant.content);
        Verdict::Admitted { content: applicant.content, place }
    };
    applicants.iter().map(&mut verdict).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACES: [Key; 4] = [[101; 16], [102; 16], [103; 16], [104; 16]];

    fn applicant(content: u8, places: &[Key]) -> Applicant<'_> {
        Applicant { content: Some([content; 16]), places }
    }

    fn admitted(content: u8, place: Option<Key>) -> Verdict {
        Verdict::Admitted { content: Some([content; 16]), place }
    }

    fn at(place: usize, content: u8) -> Verdict {
        admitted(content, Some(PLACES[place - 1]))
    }

    #[test]
    fn the_first_of_a_content_and_of_a_day_is_admitted() {
        let (day, other, third) = (&PLACES[..1], &PLACES[1..2], &PLACES[2..3]);
        let firings =
            [applicant(1, day), applicant(1, other), applicant(2, day), applicant(2, third)];
        let verdicts = admit(&firings, &Keys::default());
        assert_eq!(verdicts, [at(1, 1), Verdict::Duplicate, Verdict::Capped, at(3, 2)]);
    }

    #[test]
    fn places_of_a_day_that_are_free_are_filled_in_order() {
        let firings: Vec<_> = (0..4).map(|content| applicant(content, &PLACES[..3])).collect();
        let held = Keys::from_iter([PLACES[1]]);
        assert_eq!(admit(&firings, &held), [at(1, 0), at(3, 1), Verdict::Capped, Verdict::Capped]);
    }

    #[test]
    fn a_policy_with_more_places_shares_those_of_one_with_fewer() {
        let firings =
            [applicant(1, &PLACES[..1]), applicant(2, &PLACES), applicant(3, &PLACES[..1])];
        assert_eq!(admit(&firings, &Keys::default()), [at(1, 1), at(2, 2), Verdict::Capped]);
    }

    #[test]
    fn what_others_hold_is_a_duplicate() {
        let held = Keys::from_iter([[1; 16]]);
        assert_eq!(
            admit(&[applicant(1, &PLACES), applicant(2, &[])], &held),
            [Verdict::Duplicate, admitted(2, None)]
        );
    }

    #[test]
    fn without_keys_all_are_admitted() {
        let free = || Applicant { content: None, places: &[] };
        let verdicts = admit(&[free(), free()], &Keys::default());
        let admitted = Verdict::Admitted { content: None, place: None };
        assert!(verdicts.iter().all(|verdict| *verdict == admitted));
    }
}
