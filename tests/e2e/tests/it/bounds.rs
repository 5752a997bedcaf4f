//! What keeps a receiver that is slow, dead or tired from slowing the others.

use std::{
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use crate::common::{add_recipient, fire, fire_many, number, texts, LIMIT};
use crate::dlq::printed;
use e2e::{
    driver::{once, pgalert},
    rude::{Manner, Rude},
    say,
    smtp::{Fault, FaultySmtp},
    tools::free_port,
    until,
    webhook::Answer,
    Cluster, Database, Driver, Session, Webhook,
};

async fn start() -> (Database, Session, Webhook) {
    let (database, webhook) = (Cluster::shared().database().await, Webhook::start().await);
    let session = database.connect().await;
    add_recipient(&session, "ann", "webhook", &webhook.url()).await;
    (database, session, webhook)
}

fn with(subcommand: &str, database: &Database, settings: &[(&str, &str)]) -> Command {
    let mut command = pgalert(subcommand, database);
    for (name, value) in settings {
        command.env(format!("PGALERT_{name}"), value);
    }
    command
}

/// `first` to the first requests, and then a success.
fn blip(server: &Webhook, requests: usize, first: Answer) {
    let seen = AtomicUsize::new(0);
    server.answer(move |_| match seen.fetch_add(1, Ordering::Relaxed) < requests {
        true => first,
        false => Answer::OK,
    });
}

async fn classes(session: &Session) -> Vec<String> {
    texts(
        session,
        "SELECT concat_ws(' ', error_class, state, count(*)) FROM pgalert.alert_dlq GROUP BY error_class, state ORDER BY 1",
    )
    .await
}

const QUICK: (&str, &str) = ("WORKER_QUICK_RETRIES", "50ms,100ms");

fn with_sms(base: &str) -> [(&str, &str); 5] {
    let (account, secret) = (("SMS_ACCOUNT_SID", "AC1"), ("SMS_SECRET", "x"));
    [QUICK, ("SMS_BASE_URL", base), account, secret, ("SMS_FROM", "+12025550123")]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blip_is_not_a_failure() {
    for first in [
        Answer::status(502),
        Answer::status(503),
        Answer { retry_after_s: Some(0), ..Answer::status(429) },
    ] {
        let (database, session, webhook) = start().await;
        blip(&webhook, 2, first);
        fire(&session, "disk", &["webhook"]).await;
        assert_eq!(
            once(&mut with("once", &database, &[QUICK])).await,
            "1 delivered, 0 failed, 0 deferred, 0 skipped",
            "{}",
            first.status
        );
        let requests = webhook.requests();
        assert_eq!(requests.len(), 3);
        assert!(requests.iter().all(|request| request.webhook_id() == requests[0].webhook_id()));
        let pause = requests[1].at - requests[0].at;
        assert!(pause >= Duration::from_millis(50), "{pause:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_retry_after_is_waited_for_within_the_attempt() {
    let (database, session, webhook) = start().await;
    blip(&webhook, 1, Answer { retry_after_s: Some(1), ..Answer::status(429) });
    fire(&session, "disk", &["webhook"]).await;
    once(&mut with("once", &database, &[QUICK])).await;
    let requests = webhook.requests();
    assert_eq!((requests.len(), classes(&session).await), (2, vec![]));
    assert!(requests[1].at - requests[0].at >= Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_a_receiver_asks_for_holds_for_all_messages_to_that_address() {
    let (database, session, webhook) = start().await;
    let patient = Webhook::start().await;
    add_recipient(&session, "ann", "webhook", &patient.url()).await;
    webhook.answer(|_| Answer { retry_after_s: Some(60), ..Answer::status(429) });
    fire_many(&session, "alert", 20).await;
    let settings = [QUICK, ("LIMITS_HOST_CONCURRENCY", "1")];
    let summary = once(&mut with("once", &database, &settings)).await;
    assert_eq!(summary, "0 delivered, 0 failed, 20 deferred, 0 skipped");
    assert_eq!((webhook.count(), patient.count()), (1, 20));
    let failures = "SELECT concat_ws(' ', error_class, outcome, count(*)) FROM pgalert.delivery_failures GROUP BY error_class, outcome ORDER BY 1";
    assert_eq!(
        texts(&session, failures).await,
        ["http.429 deferred 1", "rate_limited deferred 19"]
    );
    let retries = "SELECT count(*) FROM pgalert.alert_dlq WHERE retry_count = 0 AND next_retry_at > now() + interval '50 seconds'";
    assert_eq!(number(&session, retries).await, 20);
}

/// Nobody listens: each of a few waits for its second try, and the rest does not fill the driver meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_is_tried_again_by_a_few_and_the_rest_is_deferred() {
    let database = Cluster::shared().database().await;
    let session = database.connect().await;
    let port = free_port();
    add_recipient(&session, "ann", "webhook", &format!("http://127.0.0.1:{port}/")).await;
    add_recipient(&session, "bob", "email", "bob@example.org").await;
    fire_many(&session, "alert", 40).await;
    let port = port.to_string();
    let settings = [
        ("WORKER_QUICK_RETRIES", "1500ms"),
        ("LIMITS_HOST_CONCURRENCY", "2"),
        ("EMAIL_HOST", "127.0.0.1"),
        ("EMAIL_PORT", &port),
        ("EMAIL_SECURITY", "none"),
        ("EMAIL_FROM", "alerts@example.com"),
    ];
    once(&mut with("once", &database, &settings)).await;
    let count = async |class: &str| {
        number(
            &session,
            &format!("SELECT count(*) FROM pgalert.alert_dlq WHERE error_class = '{class}'"),
        )
        .await
    };
    let (failed, deferred) = (count("connect").await, count("host_busy").await);
    assert!(failed >= 2 && deferred > 20 && failed + deferred == 40, "{failed}, {deferred}");

    session
        .execute("SELECT pgalert.deliver_alert('{\"id\": \"mail\", \"channels\": [\"email\"]}', 'bob', 'x')", &[])
        .await
        .unwrap();
    let began = Instant::now();
    once(&mut with("once", &database, &settings)).await;
    assert!(began.elapsed() > Duration::from_millis(1500), "{:?}", began.elapsed());
    assert_eq!(count("connect").await, failed + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_blip_is_not_tried_again_at_once() {
    for (answer, count) in [
        (Answer::status(500), 1),
        (Answer::status(404), 1),
        (Answer { retry_after_s: Some(30), ..Answer::status(503) }, 1),
        (Answer::status(503), 3),
    ] {
        let (database, session, webhook) = start().await;
        webhook.answer(move |_| answer);
        fire(&session, "disk", &["webhook"]).await;
        once(&mut with("once", &database, &[QUICK])).await;
        assert_eq!(webhook.count(), count, "{}", answer.status);
    }
    // Twilio could not tell a repetition.
    let (database, session, twilio) = start().await;
    twilio.answer(|_| Answer { retry_after_s: Some(1), ..Answer::status(503) });
    add_recipient(&session, "ann", "sms", "+4915112345678").await;
    fire(&session, "disk", &["sms"]).await;
    let base = twilio.base();
    once(&mut with("once", &database, &with_sms(&base))).await;
    assert_eq!((twilio.count(), classes(&session).await), (1, vec!["http.5xx waiting 1".into()]));
}

/// It may have been acted on: only who can tell a repetition is sent it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_reset_connection_is_tried_again_where_a_repetition_can_be_told() {
    for (manner, not_again) in [(Manner::Resets, false), (Manner::ResetsAfterRequest, true)] {
        let (database, session, _) = start().await;
        let (webhook, twilio) = (Rude::start(manner.clone()).await, Rude::start(manner).await);
        session.batch_execute("DELETE FROM pgalert.recipients").await.unwrap();
        add_recipient(&session, "ann", "webhook", &webhook.url()).await;
        add_recipient(&session, "ann", "sms", "+4915112345678").await;
        fire(&session, "disk", &["webhook", "sms"]).await;
        let base = format!("http://{}/", twilio.address);
        once(&mut with("once", &database, &with_sms(&base))).await;
        assert_eq!(webhook.connections(), 3);
        // What ends while it is made has carried nothing.
        assert!(twilio.connections() == 1 || !not_again, "{}", twilio.connections());
        let letters = "SELECT array_to_string(channels, ' ') || ' ' || error_class FROM pgalert.alert_dlq ORDER BY 1";
        assert_eq!(texts(&session, letters).await, ["sms webhook connect"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_that_shuts_down_is_tried_again_at_once() {
    let database = Cluster::shared().database().await;
    let session = database.connect().await;
    add_recipient(&session, "ann", "email", "ann@example.org").await;
    let server = FaultySmtp::start(Fault::Greeting("421 4.3.2 shutting down")).await;
    fire(&session, "disk", &["email"]).await;
    let port = server.port.to_string();
    let settings = [
        ("WORKER_QUICK_RETRIES", "2s"),
        ("EMAIL_HOST", "127.0.0.1"),
        ("EMAIL_PORT", &port),
        ("EMAIL_SECURITY", "none"),
        ("EMAIL_FROM", "alerts@example.com"),
    ];
    let mut command = with("once", &database, &settings);
    let comes_back = async {
        until("the first try", LIMIT, async || match server.sessions() {
            0 => Err("not yet"),
            _ => Ok(()),
        })
        .await;
        server.set(Fault::None);
    };
    let (said, ()) = tokio::join!(once(&mut command), comes_back);
    assert_eq!(said, "1 delivered, 0 failed, 0 deferred, 0 skipped");
    server.set(Fault::Greeting("421 4.3.2 shutting down"));
    fire(&session, "down", &["email"]).await;
    once(&mut with("once", &database, &settings)).await;
    assert_eq!(classes(&session).await, ["smtp.421 waiting 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breaker_opens_after_failures_in_a_row_and_defers_the_rest_at_no_cost() {
    let (database, session, webhook) = start().await;
    let healthy = Webhook::start().await;
    add_recipient(&session, "bob", "webhook", &healthy.url()).await;
    webhook.answer(|_| Answer::status(500));
    fire_many(&session, "alert", 20).await;
    session
        .execute("SELECT pgalert.deliver_alert('{\"id\": \"fine\", \"channels\": [\"webhook\"]}', 'bob', 'x')", &[])
        .await
        .unwrap();
    let settings = [("BREAKER_FAILURES", "3"), ("WEBHOOK_CONCURRENCY", "1")];
    assert_eq!(
        once(&mut with("once", &database, &settings)).await,
        "1 delivered, 3 failed, 17 deferred, 0 skipped"
    );
    assert_eq!((webhook.count(), healthy.count()), (3, 1));
    assert_eq!(classes(&session).await, ["breaker_open waiting 17", "http.5xx waiting 3"]);
    let early = number(
        &session,
        "SELECT count(*) FROM pgalert.alert_dlq WHERE error_class = 'breaker_open'
           AND (retry_count > 0 OR next_retry_at < created_at + interval '29 seconds')",
    )
    .await;
    assert_eq!(early, 0, "deferred until its next try, and no retry is spent");

    // What the message is to blame for says nothing of the host.
    let (database, session, webhook) = start().await;
    webhook.answer(|_| Answer::status(404));
    fire_many(&session, "alert", 20).await;
    once(&mut with("once", &database, &settings)).await;
    assert_eq!(webhook.count(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_its_pause_one_message_tries_and_closes_the_breaker() {
    let (database, session, webhook) = start().await;
    webhook.answer(|_| Answer::status(500));
    let settings = [
        ("BREAKER_FAILURES", "2"),
        ("BREAKER_PAUSE", "1s"),
        ("WEBHOOK_CONCURRENCY", "1"),
        ("WORKER_RETRY_INTERVAL", "50ms"),
    ];
    let driver = Driver::start(&mut with("run", &database, &settings));
    fire_many(&session, "alert", 10).await;
    until("all have an outcome", LIMIT, async || {
        match number(&session, "SELECT count(*) FROM pgalert.alert_dlq").await {
            10 => Ok(()),
            other => Err(other),
        }
    })
    .await;
    assert_eq!(webhook.count(), 2);
    let breakers = "SELECT channel || ' ' || host FROM pgalert.open_breakers()";
    until("the database knows", LIMIT, async || match texts(&session, breakers).await.len() {
        1 => Ok(()),
        other => Err(other),
    })
    .await;
    assert!(texts(&session, breakers).await[0].starts_with("webhook 127.0.0.1:"));
    let status = printed(&database, &["status"]).await;
    assert!(
        status.contains("messages to these hosts wait") && status.contains("127.0.0.1"),
        "{status}"
    );
    webhook.answer(|_| Answer::OK);
    until("all are delivered", LIMIT, async || {
        let due = "UPDATE pgalert.alert_dlq SET next_retry_at = clock_timestamp() WHERE state = 'waiting'";
        session.execute(due, &[]).await.unwrap();
        match number(&session, "SELECT count(*) FROM pgalert.alert_deliveries").await {
            10 => Ok(()),
            other => Err(other),
        }
    })
    .await;
    assert_eq!(webhook.count(), 12, "no failure but the first two");
    let log = driver.log();
    assert_eq!(log.matches("breaker has opened or closed").count(), 2, "{log}");
    assert!(!log.contains("127.0.0.1"), "no address in the log: {log}");
    until("it is closed for the database too", LIMIT, async || {
        match texts(&session, breakers).await.len() {
            0 => Ok(()),
            other => Err(other),
        }
    })
    .await;
    assert!(printed(&database, &["status"]).await.contains("breakers: all closed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_breaker_is_told_again_where_the_database_lost_it_and_taken_back_at_the_end() {
    let (database, session, webhook) = start().await;
    webhook.answer(|_| Answer::status(500));
    // Nothing tries the host meanwhile, which would be news.
    let settings = [
        ("BREAKER_FAILURES", "1"),
        ("BREAKER_PAUSE", "1h"),
        ("BREAKER_MAX_PAUSE", "1h"),
        ("WEBHOOK_CONCURRENCY", "1"),
    ];
    let driver = Driver::start(&mut with("run", &database, &settings));
    fire_many(&session, "alert", 2).await;
    let open =
        "SELECT count(*) FROM pgalert.open_breakers() WHERE state = 'open' AND open_until > now()";
    for loss in ["", "TRUNCATE pgalert.breakers"] {
        session.batch_execute(loss).await.unwrap();
        until("it is open", LIMIT, async || match number(&session, open).await {
            1 => Ok(()),
            other => Err(other),
        })
        .await;
    }
    assert!(driver.terminate(LIMIT).await.success());
    assert_eq!(number(&session, "SELECT count(*) FROM pgalert.breakers").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn slack_gets_one_message_a_second_and_what_would_wait_long_is_deferred() {
    let (database, session, slack) = start().await;
    add_recipient(&session, "ann", "slack", &slack.url()).await;
    for id in ["a", "b", "c"] {
        fire(&session, id, &["slack"]).await;
    }
    assert_eq!(
        once(&mut with("once", &database, &[])).await,
        "3 delivered, 0 failed, 0 deferred, 0 skipped"
    );
    let requests = slack.requests();
    for pair in requests.windows(2) {
        let pause = pair[1].at - pair[0].at;
        assert!(pause > Duration::from_millis(900), "{pause:?}");
    }
    for id in ["d", "e", "f"] {
        fire(&session, id, &["slack"]).await;
    }
    once(&mut with("once", &database, &[("LIMITS_MAX_WAIT", "0s")])).await;
    assert_eq!(
        (slack.count(), classes(&session).await),
        (4, vec!["rate_limited waiting 2".into()])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_recipient_has_a_rate_of_its_own() {
    let (database, session, webhook) = start().await;
    let other = Webhook::start().await;
    add_recipient(&session, "bob", "webhook", &other.url()).await;
    fire_many(&session, "alert", 5).await;
    session
        .execute("SELECT pgalert.deliver_alert('{\"id\": \"one\", \"channels\": [\"webhook\"]}', 'bob', 'x')", &[])
        .await
        .unwrap();
    assert_eq!(
        once(&mut with("once", &database, &[("LIMITS_PER_RECIPIENT", "2/h")])).await,
        "3 delivered, 0 failed, 3 deferred, 0 skipped"
    );
    assert_eq!((webhook.count(), other.count()), (2, 1));
    assert_eq!(classes(&session).await, ["rate_limited waiting 3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_more_is_claimed_while_all_that_may_be_in_flight_hangs() {
    let (database, session, webhook) = start().await;
    webhook.answer(|_| Answer::after(Duration::from_secs(600)));
    fire_many(&session, "alert", 100).await;
    let settings = [
        ("HTTP_TIMEOUT", "10m"),
        ("WORKER_MAX_IN_FLIGHT", "10"),
        ("WORKER_BATCH_SIZE", "5"),
        ("WORKER_SHUTDOWN_GRACE", "500ms"),
        ("WORKER_LEASE", "1m"),
    ];
    let driver = Driver::start(&mut with("run", &database, &settings));
    until("ten are under way", LIMIT, async || match webhook.count() {
        10 => Ok(()),
        other => Err(other),
    })
    .await;
    let waiting = "SELECT sum(waiting)::bigint FROM pgalert.queue_depth()";
    assert_eq!(number(&session, waiting).await, 90);
    assert_eq!(driver.terminate(LIMIT).await.code(), Some(0));
    assert_eq!(webhook.count(), 10);

    webhook.answer(|_| Answer::OK);
    assert_eq!(
        once(&mut with("once", &database, &[])).await,
        "100 delivered, 0 failed, 0 deferred, 0 skipped"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_before_a_second_try_does_not_outlast_the_grace() {
    let (database, session, webhook) = start().await;
    webhook.answer(|_| Answer::status(503));
    fire(&session, "disk", &["webhook"]).await;
    let settings = [("WORKER_QUICK_RETRIES", "1h"), ("WORKER_SHUTDOWN_GRACE", "500ms")];
    let driver = Driver::start(&mut with("run", &database, &settings));
    until("the first try", LIMIT, async || match webhook.count() {
        1 => Ok(()),
        other => Err(other),
    })
    .await;
    assert_eq!(driver.terminate(Duration::from_secs(10)).await.code(), Some(0));
    webhook.answer(|_| Answer::OK);
    assert_eq!(
        once(&mut with("once", &database, &[])).await,
        "1 delivered, 0 failed, 0 deferred, 0 skipped"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_the_database_does_not_answer_does_not_outlast_the_grace() {
    for subcommand in ["run", "once"] {
        let (database, mut session, _webhook) = start().await;
        let watcher = database.connect().await;
        fire(&session, "disk", &["webhook"]).await;
        let held = session.transaction().await.unwrap();
        held.batch_execute("LOCK TABLE pgalert.outbox IN ACCESS EXCLUSIVE MODE").await.unwrap();
        let settings = [("WORKER_SHUTDOWN_GRACE", "500ms")];
        let driver = Driver::start(&mut with(subcommand, &database, &settings));
        until("a claim waits for the lock", LIMIT, async || {
            match number(
                &watcher,
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'courier' AND wait_event_type = 'Lock'",
            )
            .await
            {
                0 => Err("none"),
                _ => Ok(()),
            }
        })
        .await;
        let began = Instant::now();
        driver.terminate(Duration::from_secs(15)).await;
        say(&format!("{subcommand}: ended {:?} after SIGTERM", began.elapsed()));
        held.rollback().await.unwrap();
    }
}
