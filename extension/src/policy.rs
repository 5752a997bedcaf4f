//! The built-in policies, which hold where table `policies` has no row of that name.

pub struct Policy {
    /// Of the policy, and of its lane.
    pub name: &'static str,
    pub lane: i16,
    pub retry_minutes: [i32; 5],
}

pub const DEDUP_HOURS: i32 = 24;
pub const DEDUP_MICROS: i64 = DEDUP_HOURS as i64 * 3_600_000_000;
pub const DAILY_LIMIT: i32 = 1;

pub const BUILTIN: [Policy; 3] = [
    Policy { name: "high", lane: 0, retry_minutes: [1, 5, 30, 120, 720] },
    Policy { name: "normal", lane: 1, retry_minutes: [5, 30, 120, 720, 1440] },
    Policy { name: "low", lane: 2, retry_minutes: [30, 120, 720, 1440, 2880] },
];

pub fn builtin(name: &str) -> Option<&'static Policy> {
    BUILTIN.iter().find(|policy| policy.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_numbered_from_the_first_that_is_claimed() {
        assert_eq!(BUILTIN.map(|policy| policy.lane), [0, 1, 2]);
        assert_eq!(builtin("high").map(|policy| policy.lane), Some(0));
        assert!(builtin("urgent").is_none());
    }

    #[test]
    fn each_retry_waits_longer_than_the_one_before() {
        assert!(BUILTIN.iter().all(|policy| policy.retry_minutes.is_sorted_by(|a, b| a < b)));
    }
}
