//! Whatever is killed at whatever moment, each alert arrives, and a repetition can be told by its key.

use std::time::Duration;

use e2e::{
    driver::{once, pgalert},
    say, seed, Cluster, Database, Driver, Webhook,
};
use fastrand::Rng;
use tokio::time::sleep;

use crate::common::{add_recipient, check_received, fire_many, number, texts, until_delivered};

const ALERTS: usize = 5000;
const LIMIT: Duration = Duration::from_secs(120);

/// A receiver that takes its time, and a database with all alerts in the queue.
async fn prepare(
    cluster: &Cluster,
    seed: u64,
    delay_ms: std::ops::Range<u64>,
) -> (Database, Webhook) {
    let webhook = Webhook::start().await;
    let random = std::sync::Mutex::new(Rng::with_seed(seed));
    webhook.answer(move |_| {
        let delay = random.lock().unwrap().u64(delay_ms.clone());
        e2e::webhook::Answer::after(Duration::from_millis(delay))
    });
    let database = cluster.database().await;
    let session = database.connect().await;
    add_recipient(&session, "ann", "webhook", &webhook.url()).await;
    fire_many(&session, "alert", ALERTS).await;
    (database, webhook)
}

/// A driver with little in flight, so that sending takes a while and a crash has something to cut off.
fn start_driver(database: &Database) -> Driver {
    let mut command = pgalert("run", database);
    command
        // A message whose worker is lost four times goes to a person. Within the half minute of this test none can be.
        .env("PGALERT_WORKER_LEASE", "8s")
        .env("PGALERT_WORKER_BATCH_SIZE", "20")
        .env("PGALERT_WORKER_MAX_IN_FLIGHT", "60")
        .env("PGALERT_WORKER_REPORT_INTERVAL", "50ms")
        .env("PGALERT_WORKER_MAINTAIN_INTERVAL", "500ms")
        .env("PGALERT_LOG_LEVEL", "warn");
    Driver::start(&mut command)
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_30_times_the_driver_delivers_all() {
    let seed = seed("killed_30_times_the_driver_delivers_all");
    let mut random = Rng::with_seed(seed);
    let (database, webhook) = prepare(Cluster::shared(), seed, 20..200).await;
    let mut cut_off = 0;
    for _ in 0..30 {
        let driver = start_driver(&database);
        sleep(Duration::from_millis(random.u64(50..900))).await;
        cut_off += usize::from(webhook.count() < ALERTS);
        driver.kill();
    }
    let sent = webhook.count();
    let _driver = start_driver(&database);
    until_delivered(&database, ALERTS as i64, LIMIT).await;
    let repeated = check_received(&database, &webhook, ALERTS).await;
    say(&format!("kill -9 of the driver: 30 times, {cut_off} of them at work, {sent} requests until then; {ALERTS} alerts delivered, {repeated} received twice or more, each with its first key"));
    assert!(
        cut_off >= 20,
        "all was sent after {cut_off} of 30 kills: the test was too fast to test anything"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_driver_outlives_crashes_of_the_server() {
    let seed = seed("the_driver_outlives_crashes_of_the_server");
    let mut random = Rng::with_seed(seed);
    let cluster = Cluster::start(&[]);
    let (database, webhook) = prepare(&cluster, seed, 20..100).await;
    let mut driver = start_driver(&database);
    let mut cut_off = 0;
    for _ in 0..5 {
        sleep(Duration::from_millis(random.u64(200..1200))).await;
        cut_off += usize::from(webhook.count() < ALERTS);
        cluster.crash();
        sleep(Duration::from_millis(random.u64(..500))).await;
        cluster.start_server();
    }
    until_delivered(&database, ALERTS as i64, LIMIT).await;
    assert!(driver.is_running(), "the driver has ended");
    let repeated = check_received(&database, &webhook, ALERTS).await;
    say(&format!("crash of the server: 5 times, {cut_off} of them at work; {ALERTS} alerts delivered, {repeated} received twice or more, each with its first key"));
    assert!(
        cut_off >= 3,
        "all was sent after {cut_off} of 5 crashes: the test was too fast to test anything"
    );
}

/// What was kept in unlogged sequences is as it was at the beginning: who sleeps, when leases were searched and from
/// where, which page is purged next, when partitions were looked after.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_has_reset_unlogged_sequences_all_goes_on() {
    let cluster = Cluster::start(&[]);
    let (database, webhook) = (cluster.database().await, Webhook::start().await);
    let session = database.connect().await;
    add_recipient(&session, "ann", "webhook", &webhook.url()).await;
    fire_many(&session, "before", 20).await;
    assert_eq!(
        once(&mut pgalert("once", &database)).await,
        "20 delivered, 0 failed, 0 deferred, 0 skipped"
    );
    fire_many(&session, "claimed", 20).await;
    let claimed = "SELECT count(*) FROM pgalert.claim_batch('lost', 10, '1 second')";
    assert_eq!(number(&session, claimed).await, 10);
    session
        .batch_execute("SELECT pgalert.announce_sleep('1 hour'), pgalert.listen_inbox('1 hour'), pgalert.rotate_outbox()")
        .await
        .unwrap();
    let unlogged = "SELECT c.relname::text FROM pg_class c WHERE c.relnamespace = 'pgalert'::regnamespace AND c.relkind = 'S' AND c.relpersistence = 'u'
                    AND CASE WHEN c.relkind = 'S' THEN pg_sequence_last_value(c.oid) END IS NOT NULL ORDER BY 1";
    assert!(texts(&session, unlogged).await.len() >= 6, "the crash would reset nothing");
    cluster.crash();
    cluster.start_server();

    let session = database.connect().await;
    assert_eq!(texts(&session, unlogged).await, [""; 0], "a crash is said to reset these");
    fire_many(&session, "after", 20).await;
    let mut driver = start_driver(&database);
    until_delivered(&database, 60, LIMIT).await;
    check_received(&database, &webhook, 60).await;
    for round in 0..2 {
        fire_many(&session, &format!("later-{round}"), 20).await;
        until_delivered(&database, 80 + round * 20, LIMIT).await;
    }
    assert!(driver.is_running());
    assert_eq!(driver.terminate(LIMIT).await.code(), Some(0));
    assert_eq!(number(&session, "SELECT count(*) FROM pgalert.open_claims()").await, 0);
    for _ in 0..3 {
        assert_eq!(number(&session, "SELECT count(pgalert.rotate_outbox())").await, 1);
    }
    assert_eq!(number(&session, "SELECT count(*) FROM pgalert.outbox").await, 0);
}
