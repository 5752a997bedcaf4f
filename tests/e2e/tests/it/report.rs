//! What was sent is reported, whatever the database says at first; and a claim that is another's is not sent on.

use std::{process::Command, time::Duration};

use e2e::{
    driver::{pgalert, Running},
    tools::run,
    until,
    webhook::Answer,
    Cluster, Database, Driver, Session, Webhook,
};
use tokio::time::Instant;

use crate::common::{
    add_recipient, check_received, fire_many, number, texts, until_delivered, LIMIT,
};

async fn start_in(cluster: &Cluster) -> (Database, Session, Webhook) {
    let (database, webhook) = (cluster.database().await, Webhook::start().await);
    let session = database.connect().await;
    add_recipient(&session, "ann", "webhook", &webhook.url()).await;
    (database, session, webhook)
}

async fn start() -> (Database, Session, Webhook) {
    start_in(Cluster::shared()).await
}

async fn until_sent(webhook: &Webhook, count: usize) {
    until("the receiver has the alerts", LIMIT, async || {
        if webhook.count() >= count {
            Ok(())
        } else {
            Err(webhook.count())
        }
    })
    .await;
}

fn patient(database: &Database) -> Command {
    let mut command = pgalert("run", database);
    command.env("PGALERT_WORKER_LEASE", "60s");
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_waits_too_long_for_a_lock_is_repeated() {
    const ALERTS: usize = 50;
    let (database, session, webhook) = start().await;
    let impatient =
        format!("ALTER ROLE courier IN DATABASE {} SET lock_timeout = '100ms'", database.name);
    session.batch_execute(&impatient).await.unwrap();
    fire_many(&session, "alert", ALERTS).await;
    let blocker = database.connect().await;
    blocker
        .batch_execute("BEGIN; LOCK TABLE pgalert.alert_deliveries IN EXCLUSIVE MODE")
        .await
        .unwrap();
    let driver = Driver::start(&mut patient(&database));
    until_sent(&webhook, ALERTS).await;
    driver.until_logged("SQLSTATE 55P03", LIMIT).await;
    assert_eq!(number(&session, "SELECT count(*) FROM pgalert.alert_deliveries").await, 0);
    blocker.batch_execute("COMMIT").await.unwrap();
    until_delivered(&database, ALERTS as i64, LIMIT).await;
    assert_eq!(check_received(&database, &webhook, ALERTS).await, 0, "alerts were sent twice");
    assert_eq!(driver.terminate(LIMIT).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_could_not_be_serialized_or_met_a_full_disk_is_repeated() {
    const ALERTS: usize = 50;
    let (database, session, webhook) = start().await;
    session
        .batch_execute(
            "CREATE SEQUENCE refusals;
             GRANT ALL ON refusals TO PUBLIC;
             CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
             DECLARE
               refusal bigint := nextval('public.refusals');
             BEGIN
               IF refusal <= 6 THEN
                 RAISE EXCEPTION 'of the test' USING ERRCODE = CASE refusal % 2 WHEN 0 THEN '40001' ELSE '53100' END;
               END IF;
               RETURN NULL;
             END
             $$;
             CREATE TRIGGER refuse AFTER INSERT ON pgalert.alert_deliveries FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
        .await
        .unwrap();
    let driver = Driver::start(&mut patient(&database));
    fire_many(&session, "alert", ALERTS).await;
    until_delivered(&database, ALERTS as i64, LIMIT).await;
    for sqlstate in ["SQLSTATE 40001", "SQLSTATE 53100"] {
        assert!(driver.log().contains(sqlstate), "{sqlstate}");
    }
    assert_eq!(check_received(&database, &webhook, ALERTS).await, 0, "alerts were sent twice");
}

/// Claims of ten alerts each, whose answers come at the same time.
fn with_small_claims(database: &Database) -> Command {
    let mut command = patient(database);
    command.env("PGALERT_WORKER_BATCH_SIZE", "10").env("PGALERT_LIMITS_HOST_CONCURRENCY", "100");
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_second_connection_is_refused_one_reports_all() {
    const ALERTS: usize = 100;
    let cluster = Cluster::start(&[]);
    let (database, session, webhook) = start_in(&cluster).await;
    webhook.answer(|_| Answer::after(Duration::from_millis(500)));
    session.batch_execute("ALTER ROLE courier CONNECTION LIMIT 3").await.unwrap();
    let driver = Driver::start(&mut with_small_claims(&database));
    driver.until_logged("running", LIMIT).await;
    fire_many(&session, "alert", ALERTS).await;
    driver.until_logged("no second connection for reports", LIMIT).await;
    until_delivered(&database, ALERTS as i64, LIMIT).await;

    assert_eq!(driver.terminate(LIMIT).await.code(), Some(0));

    // And where it is not, both report.
    session.batch_execute("ALTER ROLE courier CONNECTION LIMIT -1").await.unwrap();
    let driver = Driver::start(&mut with_small_claims(&database));
    driver.until_logged("running", LIMIT).await;
    fire_many(&session, "other", ALERTS).await;
    until_delivered(&database, 2 * ALERTS as i64, LIMIT).await;
    let connected = driver.log().matches("connection=\"reports\"").count();
    assert_eq!(connected, 2, "{}", driver.log());
    assert_eq!(check_received(&database, &webhook, 2 * ALERTS).await, 0, "alerts were sent twice");
}

/// As behind a pooler that has no further session.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_connection_that_does_not_answer_keeps_no_report_waiting() {
    const ALERTS: usize = 100;
    let cluster = Cluster::start(&[]);
    let (database, session, webhook) = start_in(&cluster).await;
    webhook.answer(|_| Answer::after(Duration::from_millis(500)));
    let driver = Driver::start(with_small_claims(&database).env("PGALERT_WORKER_LEASE", "12s"));
    driver.until_logged("running", LIMIT).await;
    fire_many(&session, "alert", ALERTS).await;
    until_delivered(&database, ALERTS as i64, LIMIT).await;
    let newest = "SELECT pid::bigint FROM pg_stat_activity WHERE usename = 'courier' ORDER BY backend_start DESC LIMIT 1";
    assert_eq!(driver.log().matches("connection=\"reports\"").count(), 2, "{}", driver.log());
    let backend = number(&session, newest).await.to_string();
    run(Command::new("kill").args(["-STOP", &backend]));

    fire_many(&session, "other", ALERTS).await;
    driver.until_logged("the second connection for reports does not answer", LIMIT).await;
    until_delivered(&database, 2 * ALERTS as i64, LIMIT).await;
    run(Command::new("kill").args(["-CONT", &backend]));
    assert_eq!(driver.terminate(LIMIT).await.code(), Some(0));
    assert_eq!(check_received(&database, &webhook, 2 * ALERTS).await, 0, "alerts were sent twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_nothing_to_report_a_driver_ends_without_the_database() {
    let cluster = Cluster::start(&[]);
    let database = cluster.database().await;
    let driver = Driver::start(&mut patient(&database));
    driver.until_logged("running", LIMIT).await;
    cluster.crash();
    driver.until_logged("no connection to the database", LIMIT).await;
    assert_eq!(driver.terminate(LIMIT).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_to_a_server_that_has_become_read_only_are_kept() {
    const ALERTS: usize = 50;
    let cluster = Cluster::start(&[]);
    let (database, session, webhook) = start_in(&cluster).await;
    webhook.answer(|_| Answer::after(Duration::from_millis(1500)));
    // All of them are under way at once.
    let mut command = patient(&database);
    let driver = Driver::start(command.env("PGALERT_LIMITS_HOST_CONCURRENCY", ALERTS.to_string()));
    driver.until_logged("running", LIMIT).await;
    fire_many(&session, "alert", ALERTS).await;
    until_sent(&webhook, ALERTS).await;
    let read_only = |on: &str| format!("ALTER SYSTEM SET default_transaction_read_only = {on}");
    let reload = "SELECT pg_reload_conf()";
    session.batch_execute(&read_only("on")).await.unwrap();
    session.batch_execute(reload).await.unwrap();
    driver.until_logged("read-only transaction", LIMIT).await;
    assert_eq!(number(&session, "SELECT count(*) FROM pgalert.alert_deliveries").await, 0);
    let writable = "SET default_transaction_read_only = off";
    session.batch_execute(writable).await.unwrap();
    session.batch_execute(&read_only("off")).await.unwrap();
    session.batch_execute(reload).await.unwrap();
    until_delivered(&database, ALERTS as i64, LIMIT).await;
    assert_eq!(check_received(&database, &webhook, ALERTS).await, 0, "alerts were sent twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lease_ends_the_sending_of_the_rest_of_that_claim() {
    const ALERTS: usize = 200;
    let (database, session, webhook) = start().await;
    webhook.answer(|_| Answer::after(Duration::from_millis(200)));
    fire_many(&session, "alert", ALERTS).await;
    let mut command = pgalert("run", &database);
    // One after the other: the claim would take 40 s.
    command.env("PGALERT_WEBHOOK_CONCURRENCY", "1").env("PGALERT_WORKER_LEASE", "3s");
    let driver = Driver::start(&mut command);
    until_sent(&webhook, 2).await;
    // With the lanes held, so that the driver neither extends the lease nor takes it over itself meanwhile.
    let taken = "BEGIN;
                 LOCK TABLE pgalert.lane_high, pgalert.lane_normal, pgalert.lane_low;
                 UPDATE pgalert.claims SET lease_until = now() - interval '1 second' WHERE worker <> 'thief';
                 SELECT setval('pgalert.leases_searched_at', 1)";
    session.batch_execute(taken).await.unwrap();
    let stolen = "SELECT count(*) FROM pgalert.claim_batch('thief', 1000, '1 hour')";
    let stolen = number(&session, stolen).await as usize;
    session.batch_execute("COMMIT").await.unwrap();
    assert!(stolen > ALERTS / 2, "the thief got {stolen}");
    driver.until_logged("lease lost", LIMIT).await;
    // Whatever is still to be sent of the claim stands before this one in the line.
    let started = Instant::now();
    fire_many(&session, "after", 1).await;
    until_delivered(&database, (ALERTS - stolen + 1) as i64, LIMIT).await;
    assert!(started.elapsed() < Duration::from_secs(20), "it waited {:?}", started.elapsed());
    let sent = webhook.requests();
    assert_eq!(sent.last().unwrap().alert_id(), "after-0");
    assert!(sent.len() < ALERTS / 2, "{} were sent", sent.len());
    assert_eq!(texts(&session, "SELECT worker FROM pgalert.open_claims()").await, ["thief"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn once_tells_on_sigterm_what_was_sent_and_gives_back_the_rest() {
    const ALERTS: usize = 300;
    let (database, session, webhook) = start().await;
    webhook.answer(|_| Answer::after(Duration::from_millis(300)));
    fire_many(&session, "alert", ALERTS).await;
    let mut command = pgalert("once", &database);
    command
        .env("PGALERT_WORKER_LEASE", "10m")
        .env("PGALERT_WORKER_MAX_IN_FLIGHT", "100")
        .env("PGALERT_WORKER_BATCH_SIZE", "50");
    let once = Running::start(&mut command);
    until_sent(&webhook, 60).await;
    once.terminate();
    let ended = once.ended().await;
    let sent = webhook.count();
    assert!(sent < ALERTS, "it must not go on until all is sent");
    assert_eq!(ended.stdout, format!("{sent} delivered, 0 failed, 0 deferred, 0 skipped\n"));
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("stopped by a signal before all was sent"), "{}", ended.stderr);
    let delivered = "SELECT count(*) FROM pgalert.alert_deliveries";
    assert_eq!(number(&session, delivered).await, sent as i64);

    // The lease of ten minutes is not waited for.
    webhook.answer(|_| Answer::OK);
    let ended = e2e::driver::run(&mut pgalert("once", &database)).await;
    assert_eq!(
        ended.stdout,
        format!("{} delivered, 0 failed, 0 deferred, 0 skipped\n", ALERTS - sent)
    );
    assert_eq!(check_received(&database, &webhook, ALERTS).await, 0, "alerts were sent twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn once_that_has_sent_all_ends_well_on_sigterm() {
    let (database, session, webhook) = start().await;
    webhook.answer(|_| Answer::after(Duration::from_secs(2)));
    fire_many(&session, "alert", 3).await;
    let once = Running::start(&mut pgalert("once", &database));
    until_sent(&webhook, 3).await;
    once.terminate();
    let ended = once.ended().await;
    assert_eq!(ended.stdout, "3 delivered, 0 failed, 0 deferred, 0 skipped\n");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}
