//! Whether this driver lives, and whether it does its work; each part says "ok" or what is wrong.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;

const OK: &str = "ok";

/// When the database has answered a claim, with messages or without.
#[derive(Default)]
pub struct Vitals {
    claimed: Mutex<Option<Instant>>,
}

impl Vitals {
    /// Also of who has just begun: it has not failed yet.
    pub fn claimed(&self) {
        *self.claimed.lock() = Some(Instant::now());
    }

    /// None before the first.
    fn since_claim(&self) -> Option<Duration> {
        self.claimed.lock().map(|at| at.elapsed())
    }
}

#[derive(Debug, Serialize)]
pub struct Alive {
    pub alive: bool,
    loops: String,
}

impl Alive {
    /// `stuck` is a loop that does not get its turns. Without a database there is still life.
    pub fn of(stuck: Option<&'static str>) -> Self {
        let loops = match stuck {
            None => OK.into(),
            Some(part) => format!("the {part} does not get its turns: restart this driver"),
        };
        Self { alive: stuck.is_none(), loops }
    }
}

/// What the database says of itself.
pub struct Database {
    /// What is wrong with the extension's version.
    pub unfit: Option<String>,
    pub hold_reason: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct Ready {
    pub ready: bool,
    database: String,
    extension: String,
    hold: String,
    claims: String,
}

impl Ready {
    pub fn of(database: Option<Database>, vitals: &Vitals, claim_within: Duration) -> Self {
        let unknown = || "not known without the database".to_owned();
        let ok = |wrong: Option<String>| wrong.unwrap_or_else(|| OK.into());
        let (database, extension, hold) = match database {
            Some(Database { unfit, hold_reason }) => (OK.into(), ok(unfit), ok(hold_reason)),
            None => ("it does not answer: the log says more".into(), unknown(), unknown()),
        };
        let claims = match vitals.since_claim() {
            None => "there are none yet: this driver waits for the database".into(),
            Some(since) if since > claim_within => format!(
                "no claim was answered for {} s: the database is slow, or messages in flight take all places",
                since.as_secs()
            ),
            Some(_) => OK.into(),
        };
        let ready = [&database, &extension, &hold, &claims].iter().all(|part| *part == OK);
        Self { ready, database, extension, hold, claims }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{json, to_value};

    use super::*;

    #[test]
    fn a_loop_that_is_stuck_is_named() {
        assert_eq!(to_value(Alive::of(None)).unwrap(), json!({"alive": true, "loops": "ok"}));
        let stuck = Alive::of(Some("claimer"));
        assert!(!stuck.alive && stuck.loops.contains("claimer"), "{stuck:?}");
    }

    #[test]
    fn each_part_that_is_wrong_makes_it_unready_and_is_named() {
        let vitals = Vitals::default();
        let well = || Some(Database { unfit: None, hold_reason: None });
        let minute = Duration::from_secs(60);
        let early = Ready::of(well(), &vitals, minute);
        assert!(!early.ready && early.claims.contains("none yet"), "{early:?}");
        vitals.claimed();
        assert!(Ready::of(well(), &vitals, minute).ready);
        let gone = Ready::of(None, &vitals, minute);
        assert!(!gone.ready && gone.database != OK && gone.hold != OK, "{gone:?}");
        let unfit = Database { unfit: Some("version 9".into()), hold_reason: None };
        let unfit = Ready::of(Some(unfit), &vitals, minute);
        assert!(!unfit.ready && unfit.extension == "version 9", "{unfit:?}");
        let held = Database { unfit: None, hold_reason: Some("a copy".into()) };
        let held = Ready::of(Some(held), &vitals, minute);
        assert!(!held.ready && held.hold == "a copy", "{held:?}");
        let late = Ready::of(well(), &vitals, Duration::ZERO);
        assert!(!late.ready && late.claims != OK && late.database == OK, "{late:?}");
    }
}
