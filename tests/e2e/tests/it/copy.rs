//! A dump loses no message, and a copy pages nobody until a person says so.

use std::{collections::HashMap, process::Command, time::Duration};

use e2e::{
    driver, driver::pgalert, until, Cluster, Database, Driver, MailServer, Session, Webhook,
};
use serde_json::{json, Value};
use uuid::Uuid;

const LIMIT: Duration = Duration::from_secs(30);

async fn fire(session: &Session, id: &str, channels: &[&str]) -> String {
    let alert = json!({"id": id, "name": id, "channels": channels, "priority": "urgent"});
    session
        .query_one("SELECT pgalert.deliver_alert($1, 'ann', $2)", &[&alert, &id])
        .await
        .unwrap()
        .get(0)
}

async fn fire_all(session: &Session, name: &str, count: usize, channels: &[&str]) {
    for number in 0..count {
        assert_eq!(fire(session, &format!("{name}-{number}"), channels).await, "queued");
    }
}

struct Claimed {
    claim_id: i64,
    messages: Vec<(Uuid, String)>,
}

async fn claim(session: &Session) -> Claimed {
    let rows = session.query("SELECT claim_id, delivery_key, alert_id FROM pgalert.claim_batch('old', 1000, '1 hour')", &[]).await.unwrap();
    Claimed {
        claim_id: rows[0].get(0),
        messages: rows.iter().map(|row| (row.get(1), row.get(2))).collect(),
    }
}

async fn report(session: &Session, claimed: &Claimed, outcomes: &[(usize, &str, &str)]) {
    let outcomes: Vec<Value> = outcomes
        .iter()
        .map(|(message, channel, outcome)| {
            json!({"delivery_key": claimed.messages[*message].0, "channel": channel, "outcome": outcome, "error": "refused", "error_class": "test"})
        })
        .collect();
    session
        .execute(
            "SELECT pgalert.report($1, 'old', $2)",
            &[&claimed.claim_id, &Value::from(outcomes)],
        )
        .await
        .unwrap();
}

async fn number(session: &Session, query: &str) -> i64 {
    session.query_one(query, &[]).await.unwrap().get(0)
}

/// A database in use: messages in each state, and everything that a user can set is set.
async fn fill(database: &Database, webhook: &Webhook) {
    let session = database.connect().await;
    session
        .batch_execute(&format!(
            "SELECT pgalert.set_setting('time_zone', 'Europe/Berlin');
             INSERT INTO pgalert.policies (name, lane, dedup_window, daily_limit) VALUES ('urgent', 'high', '0', NULL);
             INSERT INTO pgalert.policies (name, retry_schedule, dedup_window, daily_limit) VALUES ('hopeless', '{{}}', '0', NULL);
             INSERT INTO pgalert.channels VALUES ('pager', 'a user''s own');
             SELECT pgalert.add_recipient('ann', 'webhook', '{}'), pgalert.add_recipient('ann', 'email', 'ann@example.org');
             SELECT pgalert.maintain()",
            webhook.url()
        ))
        .await
        .unwrap();
    assert_eq!(fire(&session, "inbox", &["inapp"]).await, "delivered");

    fire_all(&session, "done", 3, &["webhook", "email"]).await;
    fire_all(&session, "half", 3, &["webhook", "email"]).await;
    fire_all(&session, "held", 4, &["webhook", "email"]).await;
    let claimed = claim(&session).await;
    assert_eq!(claimed.messages.len(), 10);
    let delivered = |range: std::ops::Range<usize>, channel| {
        range.map(move |message| (message, channel, "delivered"))
    };
    let outcomes: Vec<_> = delivered(0..3, "webhook").chain(delivered(0..6, "email")).collect();
    report(&session, &claimed, &outcomes).await;

    fire_all(&session, "waiting", 1, &["webhook"]).await;
    fire_all(&session, "queued", 1, &["webhook"]).await;
    let exhausted = json!({"id": "exhausted", "channels": ["webhook"], "priority": "hopeless"});
    session.execute("SELECT pgalert.deliver_alert($1, 'ann', 'x')", &[&exhausted]).await.unwrap();
    // A claim is of one lane: urgent ones first.
    let claimed = claim(&session).await;
    report(&session, &claimed, &[(0, "webhook", "failed"), (1, "webhook", "failed")]).await;
    let claimed = claim(&session).await;
    report(&session, &claimed, &[(0, "webhook", "failed")]).await;
    session
        .execute(
            "UPDATE pgalert.alert_dlq SET next_retry_at = now() WHERE alert_id = 'queued-0'",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(
        session.query_one("SELECT pgalert.schedule_retries()", &[]).await.unwrap().get::<_, i32>(0),
        1
    );

    fire_all(&session, "pending", 20, &["webhook"]).await;
    let states = session
        .query("SELECT state || ' ' || alert_id FROM pgalert.alert_dlq ORDER BY 1", &[])
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect::<Vec<String>>();
    assert_eq!(states, ["exhausted exhausted", "queued queued-0", "waiting waiting-0"]);
}

/// The key of each message, which receivers know it by.
async fn keys(session: &Session) -> HashMap<String, String> {
    let rows = session
        .query(
            "SELECT alert_id, delivery_key::text FROM pgalert.outbox UNION SELECT alert_id, delivery_key::text FROM pgalert.alert_dlq",
            &[],
        )
        .await
        .unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn dump_and_restore(from: &Database, to: &Database) {
    let file = from.folder.join(format!("{}.dump", from.name));
    e2e::tools::run(from.program("pg_dump").arg("-Fc").arg("--file").arg(&file));
    e2e::tools::run(
        to.program("pg_restore").arg("--exit-on-error").arg("--dbname").arg(&to.name).arg(&file),
    );
}

fn with_mail(command: &mut Command, mail: &MailServer) {
    command
        .env("PGALERT_EMAIL_HOST", "127.0.0.1")
        .env("PGALERT_EMAIL_PORT", mail.port().to_string())
        .env("PGALERT_EMAIL_SECURITY", "none")
        .env("PGALERT_EMAIL_FROM", "alerts@example.com");
}

fn once(database: &Database, mail: &MailServer) -> Command {
    let mut command = pgalert("once", database);
    with_mail(&mut command, mail);
    command
}

/// `pgalert once` must refuse, saying this.
async fn assert_held(command: &mut Command, reason: &str) {
    let ended = driver::run(command).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains(reason) && ended.stdout.is_empty(), "{ended:?}");
}

fn names(prefix: &str, count: usize) -> impl Iterator<Item = String> + '_ {
    (0..count).map(move |number| format!("{prefix}-{number}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_database_sends_nothing_until_confirmed_and_then_everything_once() {
    let (webhook, mail) = (Webhook::start().await, MailServer::start());
    let source = Cluster::shared().database().await;
    fill(&source, &webhook).await;
    let keys = keys(&source.connect().await).await;
    let cluster = Cluster::start(&[]);
    let restored = cluster.empty_database().await;
    dump_and_restore(&source, &restored);
    restored.make_logins().await;
    let session = restored.connect().await;

    // Held: it says why, sends nothing, and accepts alerts.
    assert_held(&mut once(&restored, &mail), "confirm_cluster()").await;
    let mut command = pgalert("run", &restored);
    with_mail(&mut command, &mail);
    let mut running = Driver::start(command.env("PGALERT_WORKER_MAINTAIN_INTERVAL", "100ms"));
    running.until_logged("confirm_cluster()", LIMIT).await;
    fire_all(&session, "between", 5, &["webhook"]).await;
    for call in [
        "count(*) FROM pgalert.claim_batch('w', 10, '1 minute')",
        "coalesce(pgalert.rotate_outbox(), 0)::bigint",
        "pgalert.schedule_retries()::bigint",
    ] {
        assert_eq!(number(&session, &format!("SELECT {call}")).await, 0, "{call}");
    }
    assert!(running.is_running());
    assert_eq!((webhook.count(), mail.messages().len()), (0, 0));

    // What a user has set is there, and so are the logs.
    assert_eq!(
        number(
            &session,
            "SELECT count(*) FROM pgalert.policies WHERE name IN ('urgent', 'hopeless')"
        )
        .await,
        2
    );
    assert_eq!(
        number(&session, "SELECT count(*) FROM pgalert.settings WHERE value = 'Europe/Berlin'")
            .await,
        1
    );
    assert_eq!(
        number(&session, "SELECT count(*) FROM pgalert.channels WHERE name = 'pager'").await,
        1
    );
    assert_eq!(number(&session, "SELECT count(*) FROM pgalert.list_recipients('ann')").await, 2);
    assert_eq!(number(&session, "SELECT count(*) FROM pgalert.alert_deliveries").await, 4);
    assert_eq!(number(&session, "SELECT count(*) FROM pgalert.delivery_failures").await, 3);
    assert!(number(&session, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'pgalert.alert_deliveries'::regclass").await > 1);

    // Sequences go on: no id is given twice.
    assert_eq!(fire(&session, "inbox-2", &["inapp"]).await, "delivered");
    assert_eq!(
        number(&session, "SELECT count(DISTINCT notification_id) FROM pgalert.notifications").await,
        2
    );
    session
        .execute("SELECT pgalert.add_recipient('bob', 'email', 'bob@example.org')", &[])
        .await
        .unwrap();
    assert_eq!(
        number(&session, "SELECT count(DISTINCT recipient_id) FROM pgalert.recipients").await,
        3
    );

    // Confirmed: the driver that waited sends all of it.
    let kept = number(&session, "SELECT pgalert.confirm_cluster()").await;
    assert_eq!(kept, 3 + 4 + 1 + 20 + 5, "messages in the outbox");
    let mut webhooks: Vec<String> = names("half", 3)
        .chain(names("held", 4))
        .chain(names("queued", 1))
        .chain(names("pending", 20))
        .chain(names("between", 5))
        .collect();
    webhooks.sort();
    until("webhooks of all messages", LIMIT, async || {
        if webhook.count() >= webhooks.len() {
            Ok(())
        } else {
            Err(webhook.count())
        }
    })
    .await;
    until("reports of all messages", LIMIT, async || {
        let left = number(&session, "SELECT (SELECT count(*) FROM pgalert.open_claims()) + (SELECT sum(waiting)::bigint FROM pgalert.queue_depth())").await;
        if left == 0 { Ok(()) } else { Err(left) }
    })
    .await;
    assert!(running.terminate(LIMIT).await.success());

    // The letter that waited goes when its time comes. Nothing was sent twice, and nothing that was done before.
    session
        .execute("UPDATE pgalert.alert_dlq SET next_retry_at = now() WHERE state = 'waiting'", &[])
        .await
        .unwrap();
    assert_eq!(
        driver::once(&mut once(&restored, &mail)).await,
        "1 delivered, 0 failed, 0 deferred, 0 skipped"
    );
    assert_eq!(
        driver::once(&mut once(&restored, &mail)).await,
        "0 delivered, 0 failed, 0 deferred, 0 skipped"
    );
    webhooks.push("waiting-0".into());
    let mut sent: Vec<String> =
        webhook.requests().iter().map(|request| request.alert_id().to_owned()).collect();
    sent.sort();
    webhooks.sort();
    assert_eq!(sent, webhooks);
    for request in webhook.requests() {
        if let Some(key) = keys.get(request.alert_id()) {
            assert_eq!(
                request.webhook_id(),
                key,
                "{} has another key than before",
                request.alert_id()
            );
        }
    }
    let mut mailed: Vec<String> = mail
        .messages()
        .iter()
        .map(|mail| mail["headers"]["Subject"].as_str().unwrap().to_owned())
        .collect();
    mailed.sort();
    assert_eq!(mailed, names("held", 4).collect::<Vec<_>>());
    let left: Vec<String> = session
        .query("SELECT state || ' ' || alert_id FROM pgalert.alert_dlq", &[])
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(left, ["exhausted exhausted"]);

    copies_are_held(&cluster, &restored, session, &mail).await;
    assert_eq!(webhook.count(), webhooks.len());
}

/// A copy by CREATE DATABASE … TEMPLATE, and a driver of another environment.
async fn copies_are_held(
    cluster: &Cluster,
    original: &Database,
    session: Session,
    mail: &MailServer,
) {
    fire_all(&session, "later", 1, &["webhook"]).await;
    assert_held(
        once(original, mail).env("PGALERT_DATABASE_ENVIRONMENT", "staging"),
        "this database is of environment \"default\", the driver of \"staging\"",
    )
    .await;
    session.execute("SELECT pgalert.set_setting('environment', 'production')", &[]).await.unwrap();
    assert_held(
        &mut once(original, mail),
        "this database is of environment \"production\", the driver of \"default\"",
    )
    .await;

    drop(session);
    let admin = cluster.named_database("postgres").connect().await;
    let copy = cluster.named_database("copied");
    until("a copy by TEMPLATE (the last session must have gone)", LIMIT, async || {
        admin.batch_execute(&format!("CREATE DATABASE copied TEMPLATE {}", original.name)).await
    })
    .await;
    let as_original = |command: &mut Command| {
        command.env("PGALERT_DATABASE_ENVIRONMENT", "production");
    };
    let mut command = once(&copy, mail);
    as_original(&mut command);
    assert_held(&mut command, "this database was copied from another of the same server").await;
}
