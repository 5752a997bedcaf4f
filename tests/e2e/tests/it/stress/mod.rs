//! Producers, consumers, rotation and upkeep at once, while other transactions stay open. Each channel of each committed
//! message must end in exactly one place, and whoever was told that his report counted must be right.

mod accounting; // what was committed and accepted, compared with the tables
mod consumer; // claims and reports, with every habit
mod workload; // producers, rotation, retries, upkeep

use std::{
    sync::{
        atomic::{AtomicUsize, Ordering::Relaxed},
        Arc,
    },
    time::Duration,
};

use e2e::{say, seed, until, Cluster};
use fastrand::Rng;
use tokio::time::{sleep, Instant};

use accounting::{check, Ledger};
use consumer::consume;
use workload::{maintain, produce, retry, rotate};

const RUN: Duration = Duration::from_secs(30);
const DRAIN: Duration = Duration::from_secs(90);
const PRODUCERS: u64 = 6;
const CONSUMERS: u64 = 5;

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
