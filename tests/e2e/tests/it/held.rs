//! What other transactions do costs a poll nothing: large ones that stay open or roll back, and a snapshot that is held
//! while the queue goes on. Buffers are counted, not time.

use e2e::{until, Cluster, Database, Session};
use serde_json::{json, Value};

use crate::common::{number, LIMIT};

/// More than an idle poll of a small queue needs; a walk over the rows or the index of a large one needs thousands.
const IDLE: i64 = 250;

/// A cluster in which nobody else works: others' DDL empties a session's caches of the catalog, and the poll after it reads
/// some 2,000 pages of that.
fn quiet() -> Cluster {
    Cluster::start(&["autovacuum=off"])
}

async fn start(cluster: &Cluster) -> (Database, Session) {
    let database = cluster.database().await;
    let session = database.connect().await;
    session
        .batch_execute("INSERT INTO pgalert.policies (name, daily_limit, dedup_window) VALUES ('plain', NULL, '0')")
        .await
        .unwrap();
    (database, session)
}

/// Pages that a call touches.
async fn buffers(session: &Session, call: &str) -> i64 {
    let explain = format!("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM {call}");
    let plan: Value = session.query_one(&explain, &[]).await.unwrap().get(0);
    let plan = &plan[0]["Plan"];
    assert_eq!(plan["Actual Rows"].as_f64(), Some(0.0), "the poll was not idle: {plan}");
    plan["Shared Hit Blocks"].as_i64().unwrap() + plan["Shared Read Blocks"].as_i64().unwrap()
}

async fn poll(session: &Session) -> i64 {
    buffers(session, "pgalert.claim_batch('w', 100, '1 hour')").await
}

async fn fire(session: &Session, count: i64) {
    let alert = json!({"id": "a", "channels": ["email"], "priority": "plain"});
    let fire =
        "SELECT count(pgalert.deliver_alert($1, 'ann', 'm')) FROM generate_series(1, $2::bigint)";
    session.query(fire, &[&alert, &count]).await.unwrap();
}

/// Claims all that waits, and reports it; returns how many messages.
async fn work(session: &Session, outcome: &str) -> i64 {
    let mut messages = 0;
    loop {
        let claim = format!(
            "SELECT claim_id, count(*), jsonb_agg(jsonb_build_object('delivery_key', delivery_key, 'channel', 'email', 'outcome', '{outcome}'))
             FROM pgalert.claim_batch('w', 10000, '1 hour') GROUP BY 1"
        );
        let Some(claim) = session.query_opt(&claim, &[]).await.unwrap() else { return messages };
        let (id, outcomes): (i64, Value) = (claim.get(0), claim.get(2));
        session.query("SELECT pgalert.report($1, 'w', $2)", &[&id, &outcomes]).await.unwrap();
        messages += claim.get::<_, i64>(1);
    }
}

/// Rows as deliver_alert writes them, of the transaction that is open.
async fn write_a_million(session: &Session) {
    session
        .batch_execute(
            "INSERT INTO pgalert.outbox (slot, lane, install_id, delivery_key, alert_id, priority, channels, content_hash, bytes, accepted_at, enqueued_at, alert_data)
             SELECT 0, 1, pgalert._install_id(), pgalert._install_id(), 'x', 'plain', '{email}', 'h', 2, now(), now(), '{}' FROM generate_series(1, 1000000)",
        )
        .await
        .unwrap();
}

async fn moved_on(session: &Session) {
    until("the cursor has moved on past what was rolled back", LIMIT, async || {
        let cost = poll(session).await;
        if cost < IDLE {
            Ok(())
        } else {
            Err(cost)
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_poll_does_not_walk_a_large_transaction_that_is_open_or_rolled_back() {
    let cluster = quiet();
    let (database, session) = start(&cluster).await;
    fire(&session, 1).await;
    assert_eq!(work(&session, "delivered").await, 1);
    let large = database.connect().await;
    large.batch_execute("BEGIN").await.unwrap();
    write_a_million(&large).await;
    for _ in 0..3 {
        let cost = poll(&session).await;
        assert!(cost < IDLE, "{cost} pages while it is open");
    }
    large.batch_execute("ROLLBACK").await.unwrap();
    moved_on(&session).await;
    for _ in 0..3 {
        let cost = poll(&session).await;
        assert!(cost < IDLE, "{cost} pages after it was rolled back");
    }
    fire(&session, 3).await;
    assert_eq!(work(&session, "delivered").await, 3, "what comes after it is claimed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_open_when_the_cursor_moved_on_is_claimed_when_it_commits() {
    let (database, session) = start(Cluster::shared()).await;
    fire(&session, 1).await;
    assert_eq!(work(&session, "delivered").await, 1);
    let (small, large) = (database.connect().await, database.connect().await);
    small.batch_execute("BEGIN").await.unwrap();
    fire(&small, 2).await;
    large.batch_execute("BEGIN").await.unwrap();
    write_a_million(&large).await;
    large.batch_execute("ROLLBACK").await.unwrap();
    moved_on(&session).await;
    small.batch_execute("COMMIT").await.unwrap();
    assert_eq!(work(&session, "delivered").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn under_a_held_snapshot_a_poll_costs_the_same_after_many_deferrals_leases_and_rotations() {
    const MESSAGES: i64 = 1000;
    let cluster = quiet();
    let (database, session) = start(&cluster).await;
    let held = database.connect().await;
    held.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").await.unwrap();
    fire(&session, MESSAGES).await;
    assert_eq!(work(&session, "deferred").await, MESSAGES);
    poll(&session).await;
    let first = poll(&session).await;
    for _ in 0..10 {
        session
            .batch_execute("UPDATE pgalert.alert_dlq SET next_retry_at = clock_timestamp() WHERE state = 'waiting'; SELECT pgalert.schedule_retries(100000)")
            .await
            .unwrap();
        assert_eq!(work(&session, "deferred").await, MESSAGES);
        session.batch_execute("SELECT pgalert.rotate_outbox()").await.unwrap();
    }
    // Each lease is renewed many times, as a live worker does.
    fire(&session, 1).await;
    let claim = "SELECT claim_id FROM pgalert.claim_batch('w', 100, '1 hour')";
    let claim = number(&session, claim).await;
    for _ in 0..200 {
        session.query("SELECT pgalert.extend_lease($1, 'w', '1 hour')", &[&claim]).await.unwrap();
    }
    poll(&session).await;
    let last = poll(&session).await;
    let dead = "SELECT count(*) FROM pgalert.alert_dlq WHERE deferrals >= 11";
    assert_eq!(number(&session, dead).await, MESSAGES);
    assert!(last <= first + 30, "an idle poll touched {first} pages at first, and then {last}");
    let cost = buffers(&session, "pgalert.open_claims() WHERE worker <> 'w'").await;
    assert!(cost < IDLE, "{cost} pages to see the open claims");
}
