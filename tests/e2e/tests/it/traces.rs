//! Spans of sends, as the protocol's own definitions in another language decode them.

use std::{net::TcpListener, process::Command, time::Duration};

use e2e::{
    driver::{once, pgalert, pgalert_at, run},
    until,
    webhook::Answer,
    within, Cluster, Collector, Database, Driver, MailServer, Session, Webhook,
};
use serde_json::{json, Value};

use crate::common::{
    add_recipient, fire, fire_many, number, pgalert_with_mail, texts, until_delivered, LIMIT,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

async fn start() -> (Database, Session, Webhook) {
    let (database, webhook) = (Cluster::shared().database().await, Webhook::start().await);
    let session = database.connect().await;
    add_recipient(&session, "ann", "webhook", &webhook.url()).await;
    (database, session, webhook)
}

/// From a caller whose span is PARENT of TRACE, and who has decided by these flags.
async fn fire_traced(session: &Session, id: &str, flags: &str) {
    let alert = json!({"id": id, "channels": ["webhook"]});
    let traceparent = format!("00-{TRACE}-{PARENT}-{flags}");
    let status = session
        .query_one(
            "SELECT pgalert.deliver_alert($1, 'ann', $2, traceparent => $3)",
            &[&alert, &id, &traceparent],
        )
        .await
        .unwrap();
    assert_eq!(status.get::<_, &str>(0), "queued");
}

async fn make_due(session: &Session) {
    let due = "UPDATE pgalert.alert_dlq SET next_retry_at = clock_timestamp()";
    assert_eq!(session.execute(due, &[]).await.unwrap(), 1);
}

fn traced<'a>(command: &'a mut Command, endpoint: &str, ratio: &str) -> &'a mut Command {
    command.env("PGALERT_TRACES_ENDPOINT", endpoint).env("PGALERT_TRACES_SAMPLE_RATIO", ratio)
}

/// Runs `pgalert once`, which hands over all spans before it ends.
async fn once_traced(database: &Database, collector: &Collector, ratio: &str) -> String {
    once(traced(&mut pgalert("once", database), &collector.url(), ratio)).await
}

fn ids(spans: &[Value]) -> Vec<&str> {
    let mut ids: Vec<_> =
        spans.iter().map(|span| span["attributes"]["pgalert.alert_id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_is_a_child_of_the_callers_span() {
    let (database, session, webhook) = start().await;
    let collector = Collector::start_guarded("x-team", "se cret");
    fire_traced(&session, "disk", "01").await;
    let mut command = pgalert("once", &database);
    traced(&mut command, &collector.url(), "0")
        .env("PGALERT_TRACES_SECRET_HEADERS", "x-team=se%20cret")
        .env("OTEL_SERVICE_NAME", "alerts")
        .env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,service.name=other");
    assert_eq!(once(&mut command).await, "1 delivered, 0 failed, 0 deferred, 0 skipped");

    let spans = collector.spans(1).await;
    assert_eq!(spans.len(), 1, "{spans:?}");
    let span = &spans[0];
    assert_eq!((&span["trace_id"], &span["parent_span_id"]), (&TRACE.into(), &PARENT.into()));
    assert_eq!(
        (&span["name"], &span["kind"]),
        (&"send webhook".into(), &"SPAN_KIND_CLIENT".into())
    );
    assert_eq!((&span["status"], &span["said"]), (&"STATUS_CODE_UNSET".into(), &"".into()));
    assert!(span["nanoseconds"].as_u64().unwrap() > 0, "{span}");
    let key = webhook.requests()[0].webhook_id().to_owned();
    assert_eq!(
        span["attributes"],
        json!({
            "messaging.system": "pgalert",
            "messaging.operation.type": "send",
            "messaging.operation.name": "send",
            "messaging.destination.name": "webhook",
            "messaging.message.id": key,
            "pgalert.alert_id": "disk",
            "pgalert.channel": "webhook",
            "pgalert.attempt": 1,
            "pgalert.outcome": "delivered",
            "server.address": "127.0.0.1",
        })
    );
    let resource = &collector.exports()[0]["resource"];
    assert_eq!(resource["service.name"], "alerts");
    assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(resource["deployment.environment.name"], "test");
    assert!(
        resource["service.instance.id"].as_str().is_some_and(|id| id.contains('-')),
        "{resource}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_caller_decides_what_is_traced() {
    let (database, session, _webhook) = start().await;
    for (ratio, expected) in [("1", vec!["chosen-1", "nobodys-1"]), ("0", vec!["chosen-0"])] {
        let collector = Collector::start();
        fire_traced(&session, &format!("refused-{ratio}"), "00").await;
        fire_traced(&session, &format!("chosen-{ratio}"), "01").await;
        fire(&session, &format!("nobodys-{ratio}"), &["webhook"]).await;
        assert!(once_traced(&database, &collector, ratio).await.starts_with("3 delivered"));
        let spans = collector.spans(expected.len()).await;
        assert_eq!(ids(&spans), expected);
        for span in spans {
            let nobodys = span["attributes"]["pgalert.alert_id"] == "nobodys-1";
            assert_eq!(span["parent_span_id"] == "", nobodys, "{span}");
            assert_eq!(span["trace_id"] != TRACE, nobodys, "{span}");
        }
    }
}

/// Drawn by chance, each trace for itself: of 400 halves, 200 and ten times 10 (the deviation) at the very most.
#[tokio::test(flavor = "multi_thread")]
async fn of_what_nobody_has_decided_the_ratio_is_traced() {
    let (database, session, _webhook) = start().await;
    let collector = Collector::start();
    fire_many(&session, "disk", 400).await;
    assert!(once_traced(&database, &collector, "0.5").await.starts_with("400 delivered"));
    let traced = collector.spans(100).await.len();
    assert!((100..=300).contains(&traced), "{traced} of 400");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_in_the_trace_of_the_first_attempt() {
    let (database, session, webhook) = start().await;
    let collector = Collector::start();
    webhook.answer(|_| Answer::status(500));
    fire_traced(&session, "disk", "01").await;
    assert!(once_traced(&database, &collector, "0").await.starts_with("0 delivered, 1 failed"));
    webhook.answer(|_| Answer::OK);
    make_due(&session).await;
    assert!(once_traced(&database, &collector, "0").await.starts_with("1 delivered"));

    let spans = collector.spans(2).await;
    let seen: Vec<_> = spans
        .iter()
        .map(|span| {
            assert_eq!(
                (&span["trace_id"], &span["parent_span_id"]),
                (&TRACE.into(), &PARENT.into())
            );
            let attribute = |name: &str| span["attributes"][name].clone();
            json!([
                attribute("pgalert.attempt"),
                attribute("pgalert.outcome"),
                attribute("error.type"),
                span["status"]
            ])
        })
        .collect();
    assert_eq!(
        seen,
        [
            json!([1, "failed", "http.5xx", "STATUS_CODE_ERROR"]),
            json!([2, "delivered", null, "STATUS_CODE_UNSET"])
        ]
    );
    let key = |span: &Value| span["attributes"]["messaging.message.id"].clone();
    assert_eq!(key(&spans[0]), key(&spans[1]));
    assert_ne!(spans[0]["span_id"], spans[1]["span_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_sent_has_a_span_too() {
    let (database, session, webhook) = start().await;
    let collector = Collector::start();
    webhook.answer(|_| Answer { retry_after_s: Some(60), ..Answer::status(429) });
    fire(&session, "slow", &["webhook"]).await;
    fire(&session, "unset", &["sms"]).await;
    assert!(once_traced(&database, &collector, "1")
        .await
        .starts_with("0 delivered, 1 failed, 1 deferred"));
    let mut seen: Vec<_> = collector
        .spans(2)
        .await
        .iter()
        .map(|span| {
            format!(
                "{} {} {} {}",
                span["name"],
                span["attributes"]["pgalert.outcome"],
                span["attributes"]["error.type"],
                span["status"]
            )
        })
        .collect();
    seen.sort_unstable();
    assert_eq!(
        seen,
        [
            r#""send sms" "failed" "channel_not_configured" "STATUS_CODE_ERROR""#,
            r#""send webhook" "deferred" "http.429" "STATUS_CODE_UNSET""#
        ]
    );
}

/// Receivers quote all that they were told, and the collector is told nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_span_has_no_text_address_user_or_secret() {
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let (database, session, webhook) = start().await;
    let (collector, mail) = (Collector::start(), MailServer::start());
    webhook.answer(|_| Answer {
        body: "private text for ann-of-sales whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        ..Answer::status(400)
    });
    let address = format!("{}/private-path?token=hunter2", webhook.url());
    let id = add_recipient(&session, "ann-of-sales", "webhook", &address).await;
    session.execute("SELECT pgalert.rotate_secret($1, $2)", &[&id, &SECRET]).await.unwrap();
    for mailbox in ["bounce", "ann.private"] {
        add_recipient(&session, "ann-of-sales", "email", &format!("{mailbox}@example.org")).await;
    }
    let alert = json!({"id": "disk", "name": "private name", "condition": {"of": "private condition"}, "channels": ["email", "webhook"]});
    session
        .execute("SELECT pgalert.deliver_alert($1, 'ann-of-sales', 'private text')", &[&alert])
        .await
        .unwrap();
    let mut command = pgalert_with_mail("once", &database, &mail);
    traced(&mut command, &collector.url(), "1")
        .env("PGALERT_TRACES_SECRET_HEADERS", "x-team=collectors-own");
    once(&mut command).await;

    assert_eq!(collector.spans(3).await.len(), 3);
    assert_eq!((mail.messages().len(), webhook.count()), (1, 1));
    let told: String = collector
        .exports()
        .iter()
        .map(|export| export["raw"].as_str().unwrap().to_owned())
        .collect();
    for there in ["disk", "smtp.5xx", "http.4xx", "127.0.0.1"] {
        assert!(told.contains(there), "{there} is not in what the collector got");
    }
    for private in [
        "private",
        "of-sales",
        "bounce",
        "example.org",
        "hunter2",
        "/hook",
        "MfKQ9r8",
        "collectors-own",
        "no such user",
    ] {
        assert!(!told.contains(private), "{private} is in what the collector got");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhooks_receiver_goes_on_with_the_trace() {
    let (database, session, webhook) = start().await;
    let collector = Collector::start();
    fire_traced(&session, "chosen", "01").await;
    once_traced(&database, &collector, "0").await;
    let span = collector.spans(1).await.remove(0);
    let sent = webhook.requests()[0].header("traceparent").map(str::to_owned);
    assert_eq!(sent, Some(format!("00-{TRACE}-{}-01", span["span_id"].as_str().unwrap())));

    fire_traced(&session, "refused", "00").await;
    once_traced(&database, &collector, "1").await;
    let sent = webhook.requests()[1].header("traceparent").unwrap().to_owned();
    assert!(sent.starts_with(&format!("00-{TRACE}-")) && sent.ends_with("-00"), "{sent}");

    fire_traced(&session, "off", "01").await;
    once(&mut pgalert("once", &database)).await;
    assert_eq!(webhook.requests()[2].header("traceparent"), None);
    assert!(webhook.requests().iter().all(|request| request.header("tracestate").is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_hands_over_what_is_left() {
    let (database, session, _webhook) = start().await;
    let collector = Collector::start();
    let mut command = pgalert("run", &database);
    traced(&mut command, &collector.url(), "1")
        .env("OTEL_BSP_SCHEDULE_DELAY", "3600000")
        .env("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip");
    let driver = Driver::start(&mut command);
    fire_many(&session, "disk", 20).await;
    until_delivered(&database, 20, LIMIT).await;
    assert_eq!(collector.exports(), [Value::Null; 0], "the time for the first export has not come");
    assert!(driver.terminate(LIMIT).await.success());
    assert_eq!(collector.spans(20).await.len(), 20);
    assert!(collector.exports().iter().all(|export| export["compressed"] == true));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_has_a_span_without_an_outcome() {
    let (database, session, webhook) = start().await;
    let collector = Collector::start();
    webhook.answer(|_| Answer::after(Duration::from_secs(3600)));
    let mut command = pgalert("run", &database);
    traced(&mut command, &collector.url(), "0").env("PGALERT_WORKER_SHUTDOWN_GRACE", "100ms");
    let driver = Driver::start(&mut command);
    fire_traced(&session, "disk", "01").await;
    until("it is being sent", LIMIT, async || {
        (webhook.count() == 1).then_some(()).ok_or("it is not")
    })
    .await;
    assert!(driver.terminate(LIMIT).await.success());
    let attributes = &collector.spans(1).await[0]["attributes"];
    assert_eq!(
        (&attributes["pgalert.attempt"], &attributes["pgalert.outcome"]),
        (&json!(1), &Value::Null)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_costs_spans_and_nothing_else() {
    let (database, session, _webhook) = start().await;
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = pgalert("run", &database);
    traced(&mut command, &format!("http://127.0.0.1:{port}"), "1")
        .env("OTEL_BSP_SCHEDULE_DELAY", "50");
    let driver = Driver::start(&mut command);
    const LOST: &str = "spans cannot be handed over";
    fire_many(&session, "first", 100).await;
    until_delivered(&database, 100, LIMIT).await;
    driver.until_logged(LOST, LIMIT).await;
    fire_many(&session, "second", 100).await;
    until_delivered(&database, 200, LIMIT).await;

    let collector = Collector::start_at(port);
    fire_many(&session, "third", 1).await;
    collector.spans(1).await;
    driver.until_logged("spans are handed over again", LIMIT).await;
    assert_eq!(driver.log().matches(LOST).count(), 1, "{}", driver.log());
    drop(collector);
    fire_many(&session, "fourth", 1).await;
    until_delivered(&database, 202, LIMIT).await;
    let ended = driver.terminate(Duration::from_secs(15)).await;
    assert!(ended.success());
    assert_eq!(number(&session, "SELECT count(*) FROM pgalert.alert_dlq").await, 0);
}

/// It takes connections and never answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_hangs_delays_no_message_and_the_end_by_seconds_at_most() {
    let (database, session, _webhook) = start().await;
    let hangs = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", hangs.local_addr().unwrap());
    let mut command = pgalert("run", &database);
    traced(&mut command, &endpoint, "1")
        .env("OTEL_BSP_SCHEDULE_DELAY", "50")
        .env("OTEL_BSP_MAX_QUEUE_SIZE", "16")
        .env("PGALERT_HTTP_TIMEOUT", "1h");
    let driver = Driver::start(&mut command);
    fire_many(&session, "disk", 500).await;
    until_delivered(&database, 500, LIMIT).await;
    let ended = within("the end", Duration::from_secs(20), driver.terminate(LIMIT)).await;
    assert!(ended.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_whether_the_collector_takes_spans() {
    let database = Cluster::shared().database().await;
    let collector = Collector::start_guarded("x-team", "right");
    let away = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for (endpoint, team, expected) in [
        (collector.url(), "right", "✓ traces: "),
        (collector.url(), "wrong", "✗ traces: "),
        (format!("http://{away}"), "right", "✗ traces: "),
        (format!("{}/elsewhere", collector.url()), "right", "✗ traces: "),
    ] {
        let mut command = pgalert("check", &database);
        traced(&mut command, &endpoint, "1")
            .env("PGALERT_TRACES_SECRET_HEADERS", format!("x-team={team}"));
        let ended = run(&mut command).await;
        let line = ended.stdout.lines().find(|line| line.contains("traces: ")).unwrap_or_default();
        assert!(line.starts_with(&format!("{expected}{endpoint}")), "{ended:?}");
        assert_eq!(ended.code, Some(if expected.starts_with('✓') { 0 } else { 1 }), "{ended:?}");
        assert!(!format!("{ended:?}").contains(team), "{ended:?}");
    }
    let exports = collector.exports();
    assert!(exports.iter().all(|export| export["spans"] == json!([])), "{exports:?}");
}

/// The command line knows the caller's span, too. What is none costs no alert.
#[tokio::test(flavor = "multi_thread")]
async fn deliver_takes_a_traceparent() {
    let (database, session, _webhook) = start().await;
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    for (id, given) in [("disk", traceparent.as_str()), ("fan", "of a proxy")] {
        let mut command = pgalert_at("deliver", &database.url("postgres"));
        let alert = json!({"id": id, "channels": ["webhook"]}).to_string();
        let ended = run(command
            .args(["--alert", &alert, "--user", "ann", "--message", id])
            .args(["--traceparent", given]))
        .await;
        assert_eq!(ended.stdout.trim(), "queued", "{ended:?}");
    }
    let kept = "SELECT coalesce(traceparent, 'none') FROM pgalert.outbox ORDER BY message_id";
    assert_eq!(texts(&session, kept).await, [traceparent.as_str(), "none"]);
}
