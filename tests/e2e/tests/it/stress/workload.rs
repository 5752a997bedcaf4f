//! What goes on beside the consumers: producers, rotation, retries, upkeep.

use std::{
    sync::{atomic::Ordering::Relaxed, Arc},
    time::Duration,
};

use e2e::{Database, Session};
use fastrand::Rng;
use serde_json::{json, Value};
use tokio::time::sleep;
use tokio_postgres::{error::SqlState, Error};

use super::accounting::Ledger;

/// Producers pause at this, so that slots of the outbox empty and rotation has something to do.
const MAX_BACKLOG: usize = 500;

pub struct Firing {
    pub id: String,
    pub channels: Vec<String>,
    alert: Value,
}

pub fn firing(random: &mut Rng, producer: &str, number: &mut usize) -> Firing {
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

pub async fn fire(session: &Session, firings: &[Firing], bulk: bool) -> Result<(), Error> {
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

pub async fn produce(database: Database, ledger: Arc<Ledger>, producer: u64, mut random: Rng) {
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

pub async fn rotate(database: Database, ledger: Arc<Ledger>) {
    let session = database.connect_as("courier").await;
    while ledger.consuming.load(Relaxed) {
        let slot: Option<i32> =
            session.query_one("SELECT pgalert.rotate_outbox()", &[]).await.unwrap().get(0);
        let counter = if slot.is_some() { &ledger.rotated } else { &ledger.rotation_refused };
        counter.fetch_add(1, Relaxed);
        sleep(Duration::from_millis(20)).await;
    }
}

pub async fn retry(database: Database, ledger: Arc<Ledger>) {
    let session = database.connect_as("courier").await;
    while ledger.consuming.load(Relaxed) {
        session.execute("SELECT pgalert.schedule_retries()", &[]).await.unwrap();
        sleep(Duration::from_millis(100)).await;
    }
}

pub async fn maintain(database: Database, ledger: Arc<Ledger>) {
    let session = database.connect_as("courier").await;
    while ledger.consuming.load(Relaxed) {
        session.execute("SELECT pgalert.maintain()", &[]).await.unwrap();
        sleep(Duration::from_millis(500)).await;
    }
}
