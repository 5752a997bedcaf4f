//! Consumers of every habit: those that report in parts, abort, come late, vanish, give back.

use std::{
    collections::HashMap,
    sync::{atomic::Ordering::Relaxed, Arc},
    time::Duration,
};

use e2e::{Database, Session};
use fastrand::Rng;
use serde_json::{json, Value};
use tokio::time::sleep;
use tokio_postgres::{error::SqlState, Error, Row};
use uuid::Uuid;

use super::accounting::Ledger;
use super::workload::{fire, firing};

const SHORT_LEASE: &str = "300 milliseconds";
const LONG_LEASE: &str = "20 seconds";

struct Message {
    key: Uuid,
    alert: String,
    channels: Vec<String>,
}

/// What a consumer does with a claim.
#[derive(Clone, Copy, PartialEq)]
enum Habit {
    Whole,
    InParts,
    AbortsReport,
    Late,
    Vanishes,
    ReleasesRest,
    Extends,
}

pub async fn consume(database: Database, ledger: Arc<Ledger>, consumer: u64, mut random: Rng) {
    let session = database.connect().await;
    let worker = format!("worker-{consumer}");
    let mut fired = 0;
    while ledger.consuming.load(Relaxed) {
        let habit = match random.u8(..100) {
            _ if !ledger.producing.load(Relaxed) => Habit::Whole,
            0..45 => Habit::Whole,
            45..65 => Habit::InParts,
            65..75 => Habit::AbortsReport,
            75..80 => Habit::Late,
            80..88 => Habit::Vanishes,
            88..94 => Habit::ReleasesRest,
            _ => Habit::Extends,
        };
        let lease =
            if matches!(habit, Habit::Late | Habit::Vanishes) { SHORT_LEASE } else { LONG_LEASE };
        let rows = claim(&session, &ledger, &worker, &mut fired, lease, &mut random).await;
        let Some(first) = rows.first() else {
            sleep(Duration::from_millis(5)).await;
            continue;
        };
        let claim_id: i64 = first.get("claim_id");
        let messages = rows.iter().map(|row| Message {
            key: row.get("delivery_key"),
            alert: row.get("alert_id"),
            channels: row.get("channels"),
        });
        let claim = Claim {
            session: &session,
            ledger: &ledger,
            worker: &worker,
            id: claim_id,
            messages: messages.collect(),
        };
        match habit {
            Habit::Vanishes => continue,
            Habit::Late => sleep(Duration::from_millis(random.u64(200..1000))).await,
            Habit::AbortsReport => {
                session.batch_execute("BEGIN").await.unwrap();
                let outcomes = claim.outcomes(0..claim.messages.len(), &mut random);
                claim.call(&outcomes).await.ok();
                session.batch_execute("ROLLBACK").await.unwrap();
                ledger.reports_aborted.fetch_add(1, Relaxed);
            }
            Habit::Extends => {
                session
                    .execute(
                        "SELECT pgalert.extend_lease($1, $2, '30 seconds')",
                        &[&claim_id, &worker],
                    )
                    .await
                    .unwrap();
            }
            Habit::Whole | Habit::InParts | Habit::ReleasesRest => {}
        }
        match habit {
            Habit::InParts | Habit::ReleasesRest => {
                claim.report_in_parts(habit == Habit::ReleasesRest, &mut random).await
            }
            _ => {
                let outcomes = claim.outcomes(0..claim.messages.len(), &mut random);
                claim.report(&outcomes, &mut random).await;
            }
        }
    }
}

async fn claim(
    session: &Session,
    ledger: &Ledger,
    worker: &str,
    fired: &mut usize,
    lease: &str,
    random: &mut Rng,
) -> Vec<Row> {
    session.batch_execute("BEGIN").await.unwrap();
    // A transaction that writes, claims, and writes again must not declare its own rows as claimed.
    let mut own = Vec::new();
    if ledger.producing.load(Relaxed) && random.u8(..10) == 0 {
        own = vec![firing(random, worker, fired), firing(random, worker, fired)];
        fire(session, &own[..1], false).await.unwrap();
    }
    let max = random.i32(1..300);
    let rows = session
        .query(&format!("SELECT claim_id, delivery_key, alert_id, channels, attempt FROM pgalert.claim_batch($1, $2, '{lease}')"), &[&worker, &max])
        .await
        .unwrap();
    if !own.is_empty() {
        fire(session, &own[1..], false).await.unwrap();
    }
    if ledger.producing.load(Relaxed) && random.u8(..20) == 0 {
        session.batch_execute("ROLLBACK").await.unwrap();
        ledger.claims_aborted.fetch_add(usize::from(!rows.is_empty()), Relaxed);
        return Vec::new();
    }
    session.batch_execute("COMMIT").await.unwrap();
    let committed = own.into_iter().map(|firing| (firing.id, firing.channels));
    ledger.committed.lock().unwrap().extend(committed);
    if !rows.is_empty() {
        ledger.claims.fetch_add(1, Relaxed);
        let mut claimed = ledger.claimed.lock().unwrap();
        let mut again = false;
        for row in &rows {
            let times = claimed.entry((row.get("alert_id"), row.get("attempt"))).or_default();
            again |= *times > 0;
            let first = *times == 0 && row.get::<_, i32>("attempt") == 1;
            ledger.first_attempts.fetch_add(usize::from(first), Relaxed);
            *times += 1;
        }
        ledger.taken_over.fetch_add(usize::from(again), Relaxed);
    }
    rows
}

struct Claim<'a> {
    session: &'a Session,
    ledger: &'a Ledger,
    worker: &'a str,
    id: i64,
    messages: Vec<Message>,
}

impl Claim<'_> {
    fn outcome(&self, message: usize, channel: &str, random: &mut Rng) -> Value {
        let outcome = match random.u8(..100) {
            _ if !self.ledger.producing.load(Relaxed) => "delivered",
            0..4 => "failed",
            4 => "deferred",
            _ => "delivered",
        };
        json!({"delivery_key": self.messages[message].key, "channel": channel, "outcome": outcome, "error": "chance", "error_class": "chance"})
    }

    fn outcomes(&self, messages: std::ops::Range<usize>, random: &mut Rng) -> Vec<Value> {
        let mut outcomes = Vec::new();
        for message in messages {
            for channel in &self.messages[message].channels {
                outcomes.push(self.outcome(message, channel, random));
            }
        }
        outcomes
    }

    async fn call(&self, outcomes: &[Value]) -> Result<i32, Error> {
        let row = self
            .session
            .query_one(
                "SELECT pgalert.report($1, $2, $3)",
                &[&self.id, &self.worker, &Value::from(outcomes)],
            )
            .await?;
        Ok(row.get(0))
    }

    /// Reports, and notes what was accepted; false when the lease was lost.
    async fn report(&self, outcomes: &[Value], random: &mut Rng) -> bool {
        match self.call(outcomes).await {
            Ok(_) => {
                let names: HashMap<String, &str> = self
                    .messages
                    .iter()
                    .map(|message| (message.key.to_string(), message.alert.as_str()))
                    .collect();
                let mut accepted = self.ledger.accepted.lock().unwrap();
                for outcome in outcomes.iter().filter(|outcome| outcome["outcome"] == "delivered") {
                    let alert = names[outcome["delivery_key"].as_str().unwrap()];
                    let channel = outcome["channel"].as_str().unwrap();
                    *accepted.entry((alert.to_owned(), channel.to_owned())).or_default() += 1;
                }
            }
            Err(error) if error.code().is_some_and(|code| code.code() == "PA001") => {
                self.ledger.leases_lost.fetch_add(1, Relaxed);
                return false;
            }
            Err(error) => panic!("{}: {error:?}", self.worker),
        }
        if random.u8(..10) == 0 {
            // The acknowledgement was lost: said again, it counts nothing.
            match self.call(outcomes).await {
                Ok(finished) => assert_eq!(finished, 0, "a repeated report finished messages"),
                Err(error) => {
                    assert_eq!(error.code().map(SqlState::code), Some("PA001"), "{error:?}")
                }
            }
        }
        true
    }

    /// Some messages in each report, some of them with one channel in one report and the other in a later one.
    async fn report_in_parts(&self, release_rest: bool, random: &mut Rng) {
        let mut from = 0;
        let mut held_back = Vec::new();
        while from < self.messages.len() {
            let to = (from + random.usize(1..=self.messages.len())).min(self.messages.len());
            let mut outcomes = self.outcomes(from..to, random);
            if random.bool() {
                let (now, later): (Vec<Value>, Vec<Value>) =
                    outcomes.into_iter().partition(|outcome| outcome["channel"] == "email");
                outcomes = now;
                held_back.extend(later);
            }
            if !outcomes.is_empty() && !self.report(&outcomes, random).await {
                return;
            }
            from = to;
            if release_rest && random.bool() {
                break;
            }
        }
        if release_rest {
            match self
                .session
                .execute("SELECT pgalert.release_claim($1, $2)", &[&self.id, &self.worker])
                .await
            {
                Ok(_) => self.ledger.released.fetch_add(1, Relaxed),
                Err(error) => {
                    assert_eq!(error.code().map(SqlState::code), Some("PA001"), "{error:?}");
                    0
                }
            };
        } else if !held_back.is_empty() {
            self.report(&held_back, random).await;
        }
    }
}
