//! Which of many firings are admitted, decided one after the other as single calls would be.

use std::collections::{HashMap, HashSet};

/// A firing's claim to its content and to a place in its user's day.
pub struct Applicant {
    /// What was decided of it before, which stays.
    pub decided: Option<i32>,
    /// None: content is not deduplicated.
    pub content: Option<[u8; 16]>,
    /// Somebody holds the content already.
    pub content_taken: bool,
    /// The same for all firings of one user, alert and day. None: no daily limit.
    pub day: Option<[u8; 16]>,
    pub daily_limit: u32,
    /// Bit n-1: place n of the day is taken already.
    pub places_taken: u64,
}

pub const DUPLICATE: i32 = -1;
pub const CAPPED: i32 = -2;

/// For each applicant, in order: the place in the day that it is admitted to (0 without a limit), DUPLICATE or CAPPED.
pub fn admit(applicants: &[Applicant]) -> Vec<i32> {
    let mut contents = HashSet::new();
    let mut days: HashMap<[u8; 16], u64> = HashMap::new();
    let verdict = |applicant: &Applicant| {
        if let Some(verdict) = applicant.decided {
            return verdict;
        }
        if applicant
            .content
            .is_some_and(|content| applicant.content_taken || contents.contains(&content))
        {
            return DUPLICATE;
        }
        let mut place = 0;
        if let Some(day) = applicant.day {
            let taken = days.entry(day).or_default();
            place = (*taken | applicant.places_taken).trailing_ones() + 1;
            if place > applicant.daily_limit {
                return CAPPED;
            }
            *taken |= 1 << (place - 1);
        }
        contents.extend(applicant.content);
        place as i32
    };
    applicants.iter().map(verdict).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applicant(content: u8, day: u8, daily_limit: u32) -> Applicant {
        Applicant {
            decided: None,
            content: Some([content; 16]),
            content_taken: false,
            day: Some([day; 16]),
            daily_limit,
            places_taken: 0,
        }
    }

    #[test]
    fn the_first_of_a_content_and_of_a_day_is_admitted() {
        let firings =
            [applicant(1, 1, 1), applicant(1, 2, 1), applicant(2, 1, 1), applicant(2, 3, 1)];
        assert_eq!(admit(&firings), [1, DUPLICATE, CAPPED, 1]);
    }

    #[test]
    fn places_of_a_day_are_filled_in_order() {
        let mut firings: Vec<_> = (0..4).map(|content| applicant(content, 1, 3)).collect();
        firings.iter_mut().for_each(|firing| firing.places_taken = 0b010);
        assert_eq!(admit(&firings), [1, 3, CAPPED, CAPPED]);
    }

    #[test]
    fn without_keys_all_are_admitted() {
        let free = || Applicant {
            decided: None,
            content: None,
            content_taken: false,
            day: None,
            daily_limit: 0,
            places_taken: 0,
        };
        assert_eq!(admit(&[free(), free()]), [0, 0]);
    }

    #[test]
    fn what_was_decided_stays_and_counts_for_nobody() {
        let mut firings = [applicant(1, 1, 1), applicant(1, 1, 1)];
        firings[0].decided = Some(CAPPED);
        assert_eq!(admit(&firings), [CAPPED, 1]);
    }
}
