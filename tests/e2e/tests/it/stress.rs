//! Producers, consumers, rotation and upkeep at once, while other transactions stay open. Each channel of each committed
//! message must end in exactly one place, and whoever was told that his report counted must be right.

use std::{
    collections::HashMap,
    sync::{
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
        Arc, Mutex,
    },
    time::Duration,
};

use e2e::{say, seed, until, Cluster, Database, Session};
use fastrand::Rng;
use serde_json::{json, Value};
use tokio::time::{sleep, Instant};
use tokio_postgres::{error::SqlState, Error, Row};
use uuid::Uuid;

const RUN: Duration = Duration::from_secs(30);
const DRAIN: Duration = Duration::from_secs(90);
/// Producers pause at this, so that slots of the outbox empty and rotation has something to do.
const MAX_BACKLOG: usize = 500;
const PRODUCERS: u64 = 6;
const CONSUMERS: u64 = 5;
const SHORT_LEASE: &str = "300 milliseconds";
const LONG_LEASE: &str = "20 seconds";

/// A channel of an alert.
type Part = (String, String);

#[derive(Default)]
struct Ledger {
    /// Alerts whose transaction committed, with their channels.
    committed: Mutex<HashMap<String, Vec<String>>>,
    /// Deliveries whose report was accepted.
    accepted: Mutex<HashMap<Part, usize>>,
    /// Claims in which each attempt of an alert was handed out.
    claimed: Mutex<HashMap<(String, i32), usize>>,
    first_attempts: AtomicUsize,
    producing: AtomicBool,
    consuming: AtomicBool,
    rotated: AtomicUsize,
    rotation_refused: AtomicUsize,
    taken_over: AtomicUsize,
    leases_lost: AtomicUsize,
    claims: AtomicUsize,
    claims_aborted: AtomicUsize,
    reports_aborted: AtomicUsize,
    released: AtomicUsize,
    serialization_failures: AtomicUsize,
}

impl Ledger {
    /// Messages that no consumer has had yet.
    fn backlog(&self) -> usize {
        let firsts = self.first_attempts.load(Relaxed);
        self.committed.lock().unwrap().len().saturating_sub(firsts)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn under_stress_each_message_ends_exactly_once() {
    let seed = seed("under_stress_each_message_ends_exactly_once");
    let database = Cluster::shared().database().await;
    let session = database.connect().await;
    session
        .batch_execute(
            "INSERT INTO pgalert.policies (name, lane, dedup_window, daily_limit, retry_schedule)
             SELECT lane, lane, '0', NULL, '{100 milliseconds,200 milliseconds}' FROM unnest('{high,normal,low}'::text[]) lane;
             -- Nobody listens: PREPARE TRANSACTION refuses a transaction that has notified.
             SELECT pgalert.announce_sleep('0')",
        )
        .await
        .unwrap();
    let snapshot = database.connect().await;
    snapshot.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").await.unwrap();
    let stranger = database.connect().await;
    stranger.batch_execute("BEGIN; SELECT pg_current_xact_id()").await.unwrap();

    let ledger = Arc::new(Ledger::default());
    ledger.producing.store(true, Relaxed);
    ledger.consuming.store(true, Relaxed);
    let random = |worker: u64| Rng::with_seed(seed.wrapping_mul(1009).wrapping_add(worker));
    let mut producers = Vec::new();
    for number in 0..PRODUCERS {
        producers.push(tokio::spawn(produce(
            database.clone(),
            ledger.clone(),
            number,
            random(number),
        )));
    }
    let mut others = Vec::new();
    for number in 0..CONSUMERS {
        others.push(tokio::spawn(consume(
            database.clone(),
            ledger.clone(),
            number,
            random(100 + number),
        )));
    }
    others.push(tokio::spawn(rotate(database.clone(), ledger.clone())));
    others.push(tokio::spawn(retry(database.clone(), ledger.clone())));
    others.push(tokio::spawn(maintain(database.clone(), ledger.clone())));

    sleep(RUN).await;
    ledger.producing.store(false, Relaxed);
    for producer in producers {
        producer.await.unwrap();
    }
    // Whatever was put off is due now, and from here on nothing fails.
    session
        .execute("UPDATE pgalert.alert_dlq SET next_retry_at = now() WHERE state = 'waiting'", &[])
        .await
        .unwrap();
    let started = Instant::now();
    until("all messages are claimed and reported", DRAIN, async || {
        sleep(Duration::from_millis(200)).await; // the question is not cheap
        let row = session
            .query_one(
                "SELECT (SELECT sum(waiting)::bigint FROM pgalert.queue_depth()), (SELECT count(*) FROM pgalert.open_claims()),
                        (SELECT count(*) FROM pgalert.alert_dlq
                         WHERE state IN ('waiting', 'queued'))",
                &[],
            )
            .await
            .unwrap();
        let left: (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
        if left == (0, 0, 0) { Ok(()) } else { Err(("waiting, claims, dead letters", left)) }
    })
    .await;
    ledger.consuming.store(false, Relaxed);
    for other in others {
        other.await.unwrap();
    }
    let drained = started.elapsed();
    check(&ledger, &session).await;

    // What nobody needs any more goes, though the snapshot and the stranger are still there.
    for _ in 0..3 {
        let slot: Option<i32> =
            session.query_one("SELECT pgalert.rotate_outbox()", &[]).await.unwrap().get(0);
        assert!(slot.is_some(), "an idle queue must rotate");
    }
    let left: i64 =
        session.query_one("SELECT count(*) FROM pgalert.outbox", &[]).await.unwrap().get(0);
    assert_eq!(left, 0, "rows that nobody needs are left in the outbox");

    let read = |counter: &AtomicUsize| counter.load(Relaxed);
    let messages = ledger.committed.lock().unwrap().len();
    say(&format!(
        "stress: {messages} messages, {} claims ({} aborted, {} taken over, {} released), {} reports aborted, {} leases lost, \
         rotation done {} refused {}, {} serialization failures, drained in {drained:.1?}",
        read(&ledger.claims),
        read(&ledger.claims_aborted),
        read(&ledger.taken_over),
        read(&ledger.released),
        read(&ledger.reports_aborted),
        read(&ledger.leases_lost),
        read(&ledger.rotated),
        read(&ledger.rotation_refused),
        read(&ledger.serialization_failures),
    ));
    // Else the test has tested less than it says.
    for (what, counter, least) in [
        ("rotations", &ledger.rotated, 10),
        ("take-overs", &ledger.taken_over, 10),
        ("lost leases", &ledger.leases_lost, 3),
        ("aborted claims", &ledger.claims_aborted, 10),
    ] {
        assert!(read(counter) >= least, "only {} {what}", read(counter));
    }
    assert!(messages > 1000, "only {messages} messages");
}

/// Compares the tables with what producers and consumers know.
async fn check(ledger: &Ledger, session: &Session) {
    let mut places: HashMap<Part, (i64, i64)> = HashMap::new();
    let delivered = "SELECT d.alert_id, m, count(*) FROM pgalert.alert_deliveries d, jsonb_array_elements_text(d.delivery_methods) m GROUP BY 1, 2";
    for row in session.query(delivered, &[]).await.unwrap() {
        places.entry((row.get(0), row.get(1))).or_default().0 += row.get::<_, i64>(2);
    }
    let owed = "SELECT d.alert_id, c, count(*) FROM pgalert.alert_dlq d, unnest(d.channels) c GROUP BY 1, 2";
    for row in session.query(owed, &[]).await.unwrap() {
        places.entry((row.get(0), row.get(1))).or_default().1 += row.get::<_, i64>(2);
    }
    let committed = ledger.committed.lock().unwrap().clone();
    let accepted = ledger.accepted.lock().unwrap().clone();
    let mut faults = Vec::new();
    for (alert, channels) in committed.iter() {
        for channel in channels {
            let part = (alert.clone(), channel.clone());
            match places.remove(&part) {
                Some((1, 0) | (0, 1)) => {}
                None => faults.push(format!("lost: {part:?}")),
                Some((delivered, owed)) => faults.push(format!(
                    "{part:?} is delivered {delivered} times and in {owed} dead letters"
                )),
            }
        }
    }
    faults.extend(places.keys().map(|part| format!("never committed, yet there: {part:?}")));
    for row in session.query(delivered, &[]).await.unwrap() {
        let part: Part = (row.get(0), row.get(1));
        let reports = accepted.get(&part).copied().unwrap_or(0);
        if part.1 != "inapp" && reports != 1 {
            faults.push(format!(
                "{part:?} is recorded as delivered, and {reports} reports of it were accepted"
            ));
        }
    }
    let recorded: i64 = session
        .query_one("SELECT count(*) FROM pgalert.alert_deliveries, jsonb_array_elements_text(delivery_methods) m WHERE m <> 'inapp'", &[])
        .await
        .unwrap()
        .get(0);
    if recorded != accepted.len() as i64 {
        faults.push(format!(
            "{} accepted reports of a delivery, {recorded} recorded",
            accepted.len()
        ));
    }
    let keys = "SELECT alert_id, count(DISTINCT delivery_key) FROM
                  (SELECT alert_id, delivery_key FROM pgalert.alert_deliveries UNION ALL SELECT alert_id, delivery_key FROM pgalert.alert_dlq) k
                GROUP BY 1 HAVING count(DISTINCT delivery_key) > 1";
    for row in session.query(keys, &[]).await.unwrap() {
        faults.push(format!(
            "{} has {} delivery keys",
            row.get::<_, &str>(0),
            row.get::<_, i64>(1)
        ));
    }
    assert!(
        faults.is_empty(),
        "{} faults among {} messages, the first ones:\n{}",
        faults.len(),
        committed.len(),
        faults[..faults.len().min(20)].join("\n")
    );
}

struct Firing {
    id: String,
    channels: Vec<String>,
    alert: Value,
}

fn firing(random: &mut Rng, producer: &str, number: &mut usize) -> Firing {
    *number += 1;
    let id = format!("{producer}-{number}");
    let channels: &[&str] = match random.u8(..10) {
        0..6 => &["email"],
        6..9 => &["email", "webhook"],
        _ => &["inapp", "email"],
    };
    let priority = ["high", "normal", "normal", "low"][random.usize(..4)];
    let alert = json!({"id": id, "channels": channels, "priority": priority, "filler": "x".repeat(random.usize(..600))});
    Firing { id, channels: channels.iter().map(|name| name.to_string()).collect(), alert }
}

async fn fire(session: &Session, firings: &[Firing], bulk: bool) -> Result<(), Error> {
    if bulk {
        let alerts: Vec<Value> = firings
            .iter()
            .map(|firing| json!({"alert": firing.alert, "user_id": "ann", "message": "stress"}))
            .collect();
        for row in
            session.query("SELECT status FROM pgalert.deliver_alerts($1)", &[&alerts]).await?
        {
            assert_eq!(row.get::<_, &str>(0), "queued");
        }
    } else {
        for firing in firings {
            let row = session
                .query_one("SELECT pgalert.deliver_alert($1, 'ann', 'stress')", &[&firing.alert])
                .await?;
            assert_eq!(row.get::<_, &str>(0), "queued");
        }
    }
    Ok(())
}

async fn produce(database: Database, ledger: Arc<Ledger>, producer: u64, mut random: Rng) {
    let session = database.connect_as("app").await;
    let second_session = database.connect().await;
    let mut number = 0;
    while ledger.producing.load(Relaxed) {
        if ledger.backlog() > MAX_BACKLOG {
            sleep(Duration::from_millis(20)).await;
            continue;
        }
        let mut kept = Vec::new();
        match transaction(&session, &second_session, &mut random, producer, &mut number, &mut kept)
            .await
        {
            Ok(true) => {
                let committed = kept.into_iter().map(|firing: Firing| (firing.id, firing.channels));
                ledger.committed.lock().unwrap().extend(committed);
            }
            Ok(false) => {}
            Err(error) if error.code() == Some(&SqlState::T_R_SERIALIZATION_FAILURE) => {
                ledger.serialization_failures.fetch_add(1, Relaxed);
                session.batch_execute("ROLLBACK").await.unwrap();
            }
            Err(error) => panic!("producer {producer}: {error:?}"),
        }
        sleep(Duration::from_micros(random.u64(..4000))).await;
    }
}

/// One transaction of a producer: what it fires for good is in `kept`; the answer is whether it committed.
async fn transaction(
    session: &Session,
    second_session: &Session,
    random: &mut Rng,
    producer: u64,
    number: &mut usize,
    kept: &mut Vec<Firing>,
) -> Result<bool, Error> {
    let name = format!("p{producer}");
    let isolation =
        ["READ COMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"][random.usize(..4)];
    session.batch_execute(&format!("BEGIN ISOLATION LEVEL {isolation}; SELECT 1")).await?;
    let lasts = if random.u8(..40) == 0 {
        Duration::from_millis(random.u64(200..2000))
    } else {
        Duration::ZERO
    };
    // The snapshot of a strict transaction is taken; rotations pass before it writes.
    sleep(lasts.mul_f64(random.f64())).await;
    for _ in 0..random.usize(1..4) {
        let bulk = random.u8(..4) == 0;
        let size = if bulk { random.usize(1..60) } else { random.usize(1..4) };
        let firings: Vec<Firing> = (0..size).map(|_| firing(random, &name, number)).collect();
        if random.u8(..4) == 0 {
            session.batch_execute("SAVEPOINT part").await?;
            fire(session, &firings, bulk).await?;
            if random.bool() {
                session.batch_execute("ROLLBACK TO SAVEPOINT part; RELEASE SAVEPOINT part").await?;
                continue;
            }
            session.batch_execute("RELEASE SAVEPOINT part").await?;
        } else {
            fire(session, &firings, bulk).await?;
        }
        kept.extend(firings);
    }
    sleep(lasts.mul_f64(random.f64())).await;
    let commit = random.u8(..100) < 85;
    if random.u8(..20) == 0 {
        session.batch_execute(&format!("PREPARE TRANSACTION '{name}'")).await?;
        if random.u8(..4) == 0 {
            sleep(Duration::from_millis(random.u64(..2000))).await;
        }
        let end = if commit { "COMMIT" } else { "ROLLBACK" };
        second_session.batch_execute(&format!("{end} PREPARED '{name}'")).await?;
    } else {
        session.batch_execute(if commit { "COMMIT" } else { "ROLLBACK" }).await?;
    }
    Ok(commit)
}

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

async fn consume(database: Database, ledger: Arc<Ledger>, consumer: u64, mut random: Rng) {
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

async fn rotate(database: Database, ledger: Arc<Ledger>) {
    let session = database.connect_as("courier").await;
    while ledger.consuming.load(Relaxed) {
        let slot: Option<i32> =
            session.query_one("SELECT pgalert.rotate_outbox()", &[]).await.unwrap().get(0);
        let counter = if slot.is_some() { &ledger.rotated } else { &ledger.rotation_refused };
        counter.fetch_add(1, Relaxed);
        sleep(Duration::from_millis(20)).await;
    }
}

async fn retry(database: Database, ledger: Arc<Ledger>) {
    let session = database.connect_as("courier").await;
    while ledger.consuming.load(Relaxed) {
        session.execute("SELECT pgalert.schedule_retries()", &[]).await.unwrap();
        sleep(Duration::from_millis(100)).await;
    }
}

async fn maintain(database: Database, ledger: Arc<Ledger>) {
    let session = database.connect_as("courier").await;
    while ledger.consuming.load(Relaxed) {
        session.execute("SELECT pgalert.maintain()", &[]).await.unwrap();
        sleep(Duration::from_millis(500)).await;
    }
}
