//! Who sleeps is woken, and nobody else is notified.

use std::time::Duration;

use e2e::{driver::pgalert, say, until, within, Cluster, Database, Driver, Session, Webhook};
use tokio::{
    sync::mpsc::{unbounded_channel, UnboundedReceiver},
    time::{sleep, Instant},
};
use tokio_postgres::{AsyncMessage, Config, NoTls};

use crate::common::{add_recipient, fire, number, LIMIT};

/// A session as `app`, and the payloads of the notifications that it gets.
async fn listen(database: &Database, channel: &str) -> (Session, UnboundedReceiver<String>) {
    let config =
        Config::new().host_path(&database.folder).user("app").dbname(&database.name).clone();
    let (session, mut connection) = config.connect(NoTls).await.unwrap();
    let (sender, receiver) = unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) =
            std::future::poll_fn(|context| connection.poll_message(context)).await
        {
            if let AsyncMessage::Notification(notification) = message {
                let _ = sender.send(notification.payload().to_owned());
            }
        }
    });
    session.batch_execute(&format!("LISTEN {channel}")).await.unwrap();
    (session, receiver)
}

/// The payload of the next notification; the test's own says "marker", pgalert's nothing.
async fn next(receiver: &mut UnboundedReceiver<String>) -> String {
    within("the next notification", LIMIT, receiver.recv()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_inbox_is_notified_and_only_that() {
    let database = Cluster::shared().database().await;
    let session = database.connect().await;
    let channel: String =
        session.query_one("SELECT pgalert.inbox_channel('ann')", &[]).await.unwrap().get(0);
    let (app, mut notifications) = listen(&database, &channel).await;
    let marker = format!("SELECT pg_notify('{channel}', 'marker')");

    // LISTEN alone asks for nothing.
    fire(&session, "first", &["inapp"]).await;
    session.batch_execute(&marker).await.unwrap();
    assert_eq!(next(&mut notifications).await, "marker");

    app.execute("SELECT pgalert.listen_inbox('1 minute')", &[]).await.unwrap();
    fire(&session, "second", &["inapp", "email"]).await;
    session.batch_execute(&marker).await.unwrap();
    assert_eq!(next(&mut notifications).await, "");
    assert_eq!(next(&mut notifications).await, "marker");
    let inbox = app
        .query("SELECT alert_id FROM pgalert.inbox('ann', unread_only => true)", &[])
        .await
        .unwrap();
    assert_eq!(inbox.iter().map(|row| row.get(0)).collect::<Vec<String>>(), ["second", "first"]);

    // Another user's alert, one without in-app, a duplicate, and one that is rolled back.
    let alert = serde_json::json!({"id": "third"});
    session.execute("SELECT pgalert.deliver_alert($1, 'bob', 'x')", &[&alert]).await.unwrap();
    fire(&session, "fourth", &["email"]).await;
    fire(&session, "second", &["inapp"]).await;
    session.batch_execute("BEGIN").await.unwrap();
    fire(&session, "fifth", &["inapp"]).await;
    session.batch_execute("ROLLBACK").await.unwrap();
    session.batch_execute(&marker).await.unwrap();
    assert_eq!(next(&mut notifications).await, "marker");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sleeping_driver_is_woken() {
    let (database, webhook) = (Cluster::shared().database().await, Webhook::start().await);
    let session = database.connect().await;
    add_recipient(&session, "ann", "webhook", &webhook.url()).await;
    let mut command = pgalert("run", &database);
    let driver = Driver::start(command.env("PGALERT_DATABASE_POLL_MAX", "60s"));
    driver.until_logged("running", LIMIT).await;
    let latency = async |id: &str| {
        fire(&session, id, &["webhook"]).await;
        let committed = Instant::now();
        until("the webhook", LIMIT, async || {
            webhook.requests().into_iter().find(|request| request.alert_id() == id).ok_or("not yet")
        })
        .await
        .at
        .saturating_duration_since(committed)
    };
    until(
        "the driver has said that it sleeps, for longer than its longest pause",
        LIMIT,
        async || {
            let nap = number(
                &session,
                "SELECT last_value - pgalert._now_ms() FROM pgalert.drivers_asleep_until",
            )
            .await;
            if (61_000..3_600_000).contains(&nap) {
                Ok(())
            } else {
                Err(nap)
            }
        },
    )
    .await;
    // Pauses double from 10 ms: now it is in one that ends in 4 s, so only the notification can be that early.
    sleep(Duration::from_secs(6)).await;
    let first = latency("first").await;
    assert!(
        first < Duration::from_secs(2),
        "the webhook came after {first:?}: the driver was not woken"
    );
    let mut latencies = Vec::new();
    for number in 0..15 {
        sleep(Duration::from_millis(200)).await;
        latencies.push(latency(&format!("alert-{number}")).await);
    }
    latencies.sort();
    say(&format!(
        "from commit to webhook, driver asleep: median {:.1?}, worst {:.1?}",
        latencies[7], latencies[14]
    ));

    // Nobody sleeps once the driver is gone and its nap is over: then nobody is notified.
    drop(driver);
    session.batch_execute("SELECT setval('pgalert.drivers_asleep_until', 1)").await.unwrap();
    let (_app, mut notifications) = listen(&database, "pgalert_outbox").await;
    fire(&session, "last", &["webhook"]).await;
    session.batch_execute("SELECT pg_notify('pgalert_outbox', 'marker')").await.unwrap();
    assert_eq!(next(&mut notifications).await, "marker");
}

/// Calls of claim_batch so far; they are counted with some delay.
async fn polls(session: &Session) -> i64 {
    number(session, "SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_user_functions WHERE funcname = 'claim_batch'").await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_sleeping_drivers_one_dies_and_the_other_is_woken_and_polls_no_more_than_before() {
    let (database, webhook) = (Cluster::shared().database().await, Webhook::start().await);
    let session = database.connect().await;
    let counted = format!("ALTER DATABASE {} SET track_functions = 'all'", database.name);
    session.batch_execute(&counted).await.unwrap();
    add_recipient(&session, "ann", "webhook", &webhook.url()).await;
    let mut drivers = Vec::new();
    for _ in 0..2 {
        let mut command = pgalert("run", &database);
        let driver = Driver::start(command.env("PGALERT_DATABASE_POLL_MAX", "60s"));
        driver.until_logged("running", LIMIT).await;
        drivers.push(driver);
    }
    // Pauses double from 10 ms: then both are in one that ends in 4 s or later.
    sleep(Duration::from_secs(6)).await;
    drivers.remove(0).kill();
    for alert in ["first", "second", "third"] {
        fire(&session, alert, &["webhook"]).await;
        let committed = Instant::now();
        until("the webhook", LIMIT, async || {
            if webhook.requests().iter().any(|request| request.alert_id() == alert) {
                Ok(())
            } else {
                Err("not yet")
            }
        })
        .await;
        let latency = committed.elapsed();
        assert!(latency < Duration::from_secs(2), "{alert} came after {latency:?}");
        sleep(Duration::from_millis(700)).await;
    }
    let polls = until("polls are counted", LIMIT, async || match polls(&session).await {
        0 => Err(()),
        polls => Ok(polls),
    })
    .await;
    assert!(polls < 100, "{polls} polls: somebody does not sleep");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_only_polls_says_nothing_of_sleep() {
    let database = Cluster::shared().database().await;
    let session = database.connect().await;
    let counted = format!("ALTER DATABASE {} SET track_functions = 'all'", database.name);
    session.batch_execute(&counted).await.unwrap();
    let mut command = pgalert("run", &database);
    let _driver = Driver::start(command.env("PGALERT_DATABASE_LISTEN", "false"));
    until("it has polled", LIMIT, async || match polls(&session).await {
        polls if polls > 8 => Ok(()),
        polls => Err(polls),
    })
    .await;
    let said = "SELECT count(pg_sequence_last_value('pgalert.drivers_asleep_until'))";
    assert_eq!(number(&session, said).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn to_say_that_one_sleeps_takes_no_transaction_id_and_writes_no_wal() {
    let cluster = Cluster::start(&["autovacuum = off", "bgwriter_lru_maxpages = 0"]);
    let session = cluster.database().await.connect().await;
    let said = "SELECT pgalert.announce_sleep('1 minute'), pgalert.listen_inbox('1 minute')";
    session.query(said, &[]).await.unwrap();
    session.batch_execute("CHECKPOINT; BEGIN").await.unwrap();
    let wal = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint";
    let before = number(&session, wal).await;
    for _ in 0..10 {
        session.query("SELECT pgalert.announce_sleep('2 minutes')", &[]).await.unwrap();
    }
    assert_eq!(number(&session, wal).await, before);
    assert_eq!(number(&session, "SELECT count(pg_current_xact_id_if_assigned())").await, 0);
}
