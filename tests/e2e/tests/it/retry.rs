//! A delivery that fails is a dead letter with its next time; only what failed is tried again.

use std::collections::BTreeSet;

use e2e::{
    driver::{once, pgalert},
    webhook::Answer,
    Cluster, Database, MailServer, Session, Webhook,
};

use crate::common::{add_recipient, fire, number, pgalert_with_mail, texts};

async fn start() -> (Database, Session, Webhook) {
    let (database, webhook) = (Cluster::shared().database().await, Webhook::start().await);
    let session = database.connect().await;
    add_recipient(&session, "ann", "webhook", &webhook.url()).await;
    (database, session, webhook)
}

/// State, failed retries, channels, and the time from the attempt to the next.
async fn letters(session: &Session) -> Vec<String> {
    texts(
        session,
        "SELECT concat_ws(' ', state, retry_count, array_to_string(channels, ','),
                          date_trunc('minute', next_retry_at - coalesce(last_retry_at, created_at) + interval '10 seconds')::text)
         FROM pgalert.alert_dlq ORDER BY created_at",
    )
    .await
}

async fn make_due(session: &Session) {
    let moved = session
        .execute("UPDATE pgalert.alert_dlq SET next_retry_at = clock_timestamp() WHERE state = 'waiting'", &[])
        .await
        .unwrap();
    assert_eq!(moved, 1, "letters that wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_alert_waits_and_is_delivered_when_due() {
    let (database, session, webhook) = start().await;
    webhook.answer(|_| Answer::status(500));
    fire(&session, "disk", &["inapp", "webhook"]).await;
    assert_eq!(
        once(&mut pgalert("once", &database)).await,
        "0 delivered, 1 failed, 0 deferred, 0 skipped"
    );
    assert_eq!(letters(&session).await, ["waiting 0 webhook 00:05:00"]);

    webhook.answer(|_| Answer::OK);
    assert_eq!(
        once(&mut pgalert("once", &database)).await,
        "0 delivered, 0 failed, 0 deferred, 1 skipped"
    );
    assert_eq!(webhook.count(), 1, "nothing is sent before its time");

    make_due(&session).await;
    assert_eq!(
        once(&mut pgalert("once", &database)).await,
        "1 delivered, 0 failed, 0 deferred, 0 skipped"
    );
    assert_eq!(letters(&session).await, [""; 0]);
    assert_eq!(
        texts(&session, "SELECT attempt || ' ' || delivery_methods FROM pgalert.alert_deliveries ORDER BY attempt").await,
        [r#"1 ["inapp"]"#, r#"2 ["webhook"]"#]
    );
    let requests = webhook.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].webhook_id(), requests[1].webhook_id());
    assert_eq!(requests[1].body["attempt"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_five_failed_retries_the_letter_is_kept_for_a_person() {
    let (database, session, webhook) = start().await;
    webhook.answer(|_| Answer::status(503));
    fire(&session, "disk", &["webhook"]).await;
    assert_eq!(
        once(&mut pgalert("once", &database)).await,
        "0 delivered, 1 failed, 0 deferred, 0 skipped"
    );
    for (count, delay) in
        ["00:05:00", "00:30:00", "02:00:00", "12:00:00", "24:00:00"].into_iter().enumerate()
    {
        assert_eq!(letters(&session).await, [format!("waiting {count} webhook {delay}")]);
        make_due(&session).await;
        assert_eq!(
            once(&mut pgalert("once", &database)).await,
            "0 delivered, 1 failed, 0 deferred, 0 skipped"
        );
    }
    assert_eq!(letters(&session).await, ["exhausted 5 webhook"]);
    assert_eq!(
        once(&mut pgalert("once", &database)).await,
        "0 delivered, 0 failed, 0 deferred, 0 skipped"
    );
    assert_eq!(letters(&session).await, ["exhausted 5 webhook"]);
    assert_eq!(webhook.count(), 6);
    assert_eq!(number(&session, "SELECT count(*) FROM pgalert.delivery_failures").await, 6);
    assert_eq!(
        fire(&session, "disk", &["webhook"]).await,
        "queued",
        "it reached nobody, so the next firing is heard"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_channel_that_failed_is_tried_again() {
    let (database, session, webhook) = start().await;
    let mail = MailServer::start();
    add_recipient(&session, "ann", "email", "ann@example.org").await;
    webhook.answer(|_| Answer::status(500));
    fire(&session, "disk", &["email", "webhook"]).await;
    assert_eq!(
        once(&mut pgalert_with_mail("once", &database, &mail)).await,
        "0 delivered, 1 failed, 0 deferred, 0 skipped"
    );
    assert_eq!(letters(&session).await, ["waiting 0 webhook 00:05:00"]);
    assert_eq!(
        texts(&session, "SELECT delivery_methods::text FROM pgalert.alert_deliveries").await,
        [r#"["email"]"#]
    );

    webhook.answer(|_| Answer::OK);
    make_due(&session).await;
    assert_eq!(
        once(&mut pgalert_with_mail("once", &database, &mail)).await,
        "1 delivered, 0 failed, 0 deferred, 0 skipped"
    );
    assert_eq!((mail.messages().len(), webhook.count()), (1, 2));
    assert_eq!(letters(&session).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_recipient_that_failed_is_tried_again() {
    let (database, session, webhook) = start().await;
    let other = Webhook::start().await;
    add_recipient(&session, "ann", "webhook", &other.url()).await;
    other.answer(|_| Answer::status(500));
    fire(&session, "disk", &["webhook"]).await;
    once(&mut pgalert("once", &database)).await;
    other.answer(|_| Answer::OK);
    make_due(&session).await;
    assert_eq!(
        once(&mut pgalert("once", &database)).await,
        "1 delivered, 0 failed, 0 deferred, 0 skipped"
    );
    assert_eq!((webhook.count(), other.count()), (1, 2));
}

/// A user of a thousand addresses, each with an outcome of its own.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_recipients_those_that_failed_are_tried_again() {
    let (database, webhook) = (Cluster::shared().database().await, Webhook::start().await);
    let session = database.connect().await;
    let add = "SELECT count(pgalert.add_recipient('ann', 'webhook', $1 || n)) FROM generate_series(1, 1000) n";
    // A second time, which adds nothing.
    for _ in 0..2 {
        session.query(add, &[&format!("{}to/", webhook.base())]).await.unwrap();
    }
    webhook.answer(|request| match request.path.ends_with("00") {
        true => Answer::status(500),
        false => Answer::OK,
    });
    fire(&session, "disk", &["webhook"]).await;
    assert_eq!(
        once(pgalert("once", &database).env("PGALERT_LIMITS_MAX_WAIT", "10m")).await,
        "0 delivered, 1 failed, 0 deferred, 0 skipped"
    );
    let paths = |from: usize| -> BTreeSet<String> {
        webhook.requests()[from..].iter().map(|request| request.path.clone()).collect()
    };
    assert_eq!((webhook.count(), paths(0).len()), (1000, 1000));
    webhook.answer(|_| Answer::OK);
    make_due(&session).await;
    assert_eq!(
        once(&mut pgalert("once", &database)).await,
        "1 delivered, 0 failed, 0 deferred, 0 skipped"
    );
    let expected: BTreeSet<String> = (1..=10).map(|n| format!("/to/{n}00")).collect();
    assert_eq!((webhook.count(), paths(1000)), (1010, expected));
}

/// By which PagerDuty knows that a repetition is no second incident.
#[tokio::test(flavor = "multi_thread")]
async fn a_dedup_key_stays_the_same_over_retries() {
    let (database, session, pagerduty) = start().await;
    session.execute("SELECT pgalert.add_channel('pagerduty')", &[]).await.unwrap();
    add_recipient(&session, "ann", "pagerduty", "0123456789abcdef0123456789abcdef").await;
    let once = async || {
        let mut command = pgalert("once", &database);
        command
            .env("PGALERT_CHANNELS_PAGERDUTY_ENABLED", "true")
            .env("PGALERT_CHANNELS_PAGERDUTY_URL", pagerduty.base())
            .env("PGALERT_WORKER_QUICK_RETRIES", "10ms");
        once(&mut command).await
    };
    pagerduty.answer(|_| Answer::status(502));
    fire(&session, "disk", &["pagerduty"]).await;
    once().await;
    make_due(&session).await;
    pagerduty.answer(|_| Answer::status(202));
    assert_eq!(once().await, "1 delivered, 0 failed, 0 deferred, 0 skipped");
    let requests = pagerduty.requests();
    assert_eq!(requests.len(), 3, "two at once, and one when it was due");
    let key = requests[0].body["dedup_key"].as_str().unwrap();
    assert!(requests.iter().all(|request| request.body["dedup_key"] == key));
    assert_eq!(
        texts(&session, "SELECT delivery_key::text FROM pgalert.alert_deliveries").await,
        [key]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_without_a_message_or_user_keeps_nobody_waiting() {
    let (database, session, webhook) = start().await;
    session
        .batch_execute(
            r#"SELECT pgalert.push_to_dlq('disk', '{"user_id": "ann", "channels": ["webhook"], "name": "Disk full"}', 'lost'),
                      pgalert.push_to_dlq('cpu', '{"channels": ["webhook"]}', 'lost');
               UPDATE pgalert.alert_dlq SET next_retry_at = clock_timestamp()"#,
        )
        .await
        .unwrap();
    fire(&session, "memory", &["webhook"]).await;
    assert_eq!(
        once(&mut pgalert("once", &database)).await,
        "2 delivered, 1 failed, 0 deferred, 0 skipped"
    );
    let mut messages: Vec<_> =
        webhook.requests().iter().map(|r| r.body["message"].clone()).collect();
    messages.sort_by_key(ToString::to_string);
    assert_eq!(messages, ["Disk full", "memory"]);
    let class = "SELECT alert_id || ' ' || error_class FROM pgalert.alert_dlq";
    assert_eq!(texts(&session, class).await, ["cpu no_recipient"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_missing_or_refused_is_told() {
    let (database, session, webhook) = start().await;
    webhook.answer(|_| Answer::status(410));
    fire(&session, "gone", &["webhook"]).await;
    fire(&session, "nowhere", &["sms"]).await;
    assert_eq!(
        once(&mut pgalert("once", &database)).await,
        "0 delivered, 2 failed, 0 deferred, 0 skipped"
    );
    assert_eq!(
        texts(&session, "SELECT alert_id || ' ' || state || ' ' || error_class FROM pgalert.alert_dlq ORDER BY 1").await,
        ["gone permanent http.410", "nowhere waiting channel_not_configured"]
    );
    let disabled = "SELECT disabled_reason FROM pgalert.recipients WHERE disabled_at IS NOT NULL";
    assert_eq!(texts(&session, disabled).await, ["410 Gone: "]);
    fire(&session, "after", &["webhook"]).await;
    once(&mut pgalert("once", &database)).await;
    assert_eq!(webhook.count(), 1, "nothing more is sent there");
    let class = "SELECT error_class FROM pgalert.alert_dlq WHERE alert_id = 'after'";
    assert_eq!(texts(&session, class).await, ["no_recipient"]);
}
