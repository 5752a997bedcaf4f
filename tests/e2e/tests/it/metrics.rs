//! What a driver shows at /metrics: right, in a form that others can read, and about nobody.

use std::{process::Command, time::Duration};

use e2e::{
    driver::{pgalert, run},
    tools::{ask_python, free_port, http_get},
    until,
    webhook::Answer,
    Cluster, Database, Driver, Prometheus, Session, Webhook,
};
use serde_json::{json, Value};

use crate::common::{add_recipient, fire, fire_many, number, until_delivered, LIMIT};

async fn start() -> (Database, Session, Webhook) {
    let (database, webhook) = (Cluster::shared().database().await, Webhook::start().await);
    let session = database.connect().await;
    add_recipient(&session, "ann", "webhook", &webhook.url()).await;
    (database, session, webhook)
}

/// A driver that serves metrics at this port.
pub fn observed(database: &Database, port: u16) -> Command {
    let mut command = pgalert("run", database);
    command
        .args(["--metrics-listen", &format!("127.0.0.1:{port}")])
        .env("PGALERT_WORKER_RETRY_INTERVAL", "50ms");
    command
}

async fn scrape(port: u16) -> String {
    let (status, text) = http_get(port, "/metrics").await.unwrap();
    assert_eq!(status, 200, "{text}");
    text
}

/// What the parser of prometheus_client makes of it: {family: {type, help, samples: [{name, labels, value}]}}.
async fn parsed(port: u16) -> Value {
    ask_python("verify_openmetrics.py", &json!(scrape(port).await))
}

/// The value of the sample of this name with these labels.
fn sample(families: &Value, family: &str, name: &str, labels: Value) -> Option<f64> {
    families[family]["samples"]
        .as_array()?
        .iter()
        .find(|sample| sample["name"] == name && sample["labels"] == labels)?["value"]
        .as_f64()
}

async fn dead_letters(session: &Session, count: i64) {
    let waiting = "SELECT count(*) FROM pgalert.alert_dlq WHERE state = 'waiting'";
    until("the failed ones wait", LIMIT, async || match number(session, waiting).await {
        found if found == count => Ok(()),
        other => Err(other),
    })
    .await
}

async fn make_due(session: &Session) {
    let due =
        "UPDATE pgalert.alert_dlq SET next_retry_at = clock_timestamp() WHERE state = 'waiting'";
    session.execute(due, &[]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn both_known_queries_are_right_in_a_real_prometheus() {
    const ALERTS: usize = 40;
    const FAILING: usize = 10;
    let (database, session, webhook) = start().await;
    webhook.answer(|request| {
        let number: usize = request.alert_id().rsplit('-').next().unwrap().parse().unwrap();
        if number < FAILING {
            Answer::status(500)
        } else {
            Answer::OK
        }
    });
    let ports = [free_port(), free_port()];
    let drivers = ports.map(|port| Driver::start(&mut observed(&database, port)));
    for driver in &drivers {
        driver.until_logged("running", LIMIT).await;
    }
    let prometheus = Prometheus::start(&ports).await;
    // A rate counts from the first scrape on.
    let known = "count(agent_invocations{status=\"success\"}) + count(alert_deliveries_total)";
    until("both drivers were scraped", LIMIT, async || match prometheus.value(known).await {
        Some(4.0) => Ok(()),
        other => Err(other),
    })
    .await;

    fire_many(&session, "alert", ALERTS).await;
    for _ in 0..ALERTS {
        assert_eq!(fire(&session, "alert-0", &["webhook"]).await, "duplicate");
    }
    until_delivered(&database, (ALERTS - FAILING) as i64, LIMIT).await;
    dead_letters(&session, FAILING as i64).await;
    webhook.answer(|_| Answer::OK);
    make_due(&session).await;
    until_delivered(&database, ALERTS as i64, LIMIT).await;

    let sums = [
        ("max(alert_deliveries_total)", ALERTS),
        ("min(alert_deliveries_total)", ALERTS),
        ("max(deliver_alert_calls_total)", 2 * ALERTS),
        ("min(deliver_alert_calls_total)", 2 * ALERTS),
        ("sum(agent_invocations{agent_name=\"alert_retry_worker\", status=\"success\"})", FAILING),
        ("sum(pgalert_sends_total{channel=\"webhook\", outcome=\"failed\", error_class=\"http.5xx\"})", FAILING),
        ("sum(pgalert_sends_total{outcome=\"delivered\"})", ALERTS),
        ("sum(pgalert_retried_sends_total{channel=\"webhook\", outcome=\"delivered\"})", FAILING),
        ("sum(pgalert_delivery_seconds_count)", ALERTS),
        ("max(pgalert_alerts_total{result=\"duplicate\", scope=\"database\"})", ALERTS),
    ];
    for (expression, expected) in sums {
        until(expression, LIMIT, async || match prometheus.value(expression).await {
            Some(value) if value == expected as f64 => Ok(()),
            other => Err(other),
        })
        .await;
    }
    // The very queries. Both rates extrapolate alike, so that their ratio is exact. The other counts what was done, and by
    // extrapolation up to a scrape's interval more: of two scrapes, twice as much.
    let ratio = "rate(alert_deliveries_total[5m]) / rate(deliver_alert_calls_total[5m])";
    let ratios = prometheus.query(ratio).await;
    assert_eq!(ratios.len(), 2, "one for each driver: {ratios:?}");
    for (labels, value) in ratios {
        assert!((value - 0.5).abs() < 0.01, "{labels}: {value}");
    }
    let retries =
        "rate(agent_invocations{agent_name=\"alert_retry_worker\",status=\"success\"}[5m])";
    let done: f64 = prometheus.query(retries).await.iter().map(|(_, rate)| rate * 300.0).sum();
    let expected = FAILING as f64;
    assert!(done > expected * 0.9 && done < expected * 2.1, "{done} retries for {expected}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_text_is_open_metrics_and_says_what_was_done() {
    let (database, session, webhook) = start().await;
    let port = free_port();
    let mut command = observed(&database, port);
    command.env("PGALERT_BREAKER_FAILURES", "1").env("PGALERT_WORKER_RETRY_INTERVAL", "0s");
    let driver = Driver::start(&mut command);
    driver.until_logged("running", LIMIT).await;
    fire(&session, "good", &["webhook"]).await;
    until_delivered(&database, 1, LIMIT).await;
    // The log of the same, as text.
    driver
        .until_logged(
            "alert=\"good\" channel=\"webhook\" attempt=1 outcome=\"delivered\" duration_ms=",
            LIMIT,
        )
        .await;
    webhook.answer(|_| Answer::status(503));
    fire(&session, "bad", &["webhook"]).await;
    dead_letters(&session, 1).await;
    session.batch_execute("BEGIN").await.unwrap();
    fire(&session, "undone", &["webhook"]).await;
    session.batch_execute("ROLLBACK").await.unwrap();

    until("nothing is in flight", LIMIT, async || {
        let text = scrape(port).await;
        if text.contains("\npgalert_in_flight 0\n") {
            Ok(())
        } else {
            Err(text)
        }
    })
    .await;
    let all = parsed(port).await;
    let value = |family, name, labels| sample(&all, family, name, labels);
    let types = [
        ("deliver_alert_calls", "counter"),
        ("alert_deliveries", "counter"),
        ("agent_invocations", "unknown"),
        ("circuit_breaker_state", "gauge"),
        ("pgalert_alerts", "counter"),
        ("pgalert_deliveries", "counter"),
        ("pgalert_failures", "counter"),
        ("pgalert_retries", "counter"),
        ("pgalert_exhausted", "counter"),
        ("pgalert_queue_messages", "gauge"),
        ("pgalert_queue_oldest_seconds", "gauge"),
        ("pgalert_dead_letters", "gauge"),
        ("pgalert_dead_letter_channels", "gauge"),
        ("pgalert_open_claims", "gauge"),
        ("pgalert_held", "gauge"),
        ("pgalert_database_up", "gauge"),
        ("pgalert_sends", "counter"),
        ("pgalert_retried_sends", "counter"),
        ("pgalert_send_seconds", "histogram"),
        ("pgalert_delivery_seconds", "histogram"),
        ("pgalert_claims", "counter"),
        ("pgalert_claim_messages", "histogram"),
        ("pgalert_claimed_at_seconds", "gauge"),
        ("pgalert_in_flight", "gauge"),
        ("pgalert_breakers", "gauge"),
        ("pgalert_database_reconnects", "counter"),
        ("pgalert_build", "info"),
    ];
    for (family, kind) in types {
        assert_eq!(all[family]["type"], kind, "{family}");
        assert_ne!(all[family]["help"], "", "{family}");
    }
    assert_eq!(all.as_object().unwrap().len(), types.len(), "{all}");
    assert_eq!(
        value("deliver_alert_calls", "deliver_alert_calls_total", json!({})),
        Some(3.0),
        "rolled back too"
    );
    assert_eq!(value("alert_deliveries", "alert_deliveries_total", json!({})), Some(1.0));
    let labels = json!({"scope": "database", "state": "waiting"});
    assert_eq!(value("pgalert_dead_letters", "pgalert_dead_letters", labels), Some(1.0));
    let labels = json!({"scope": "database", "state": "waiting", "channel": "webhook", "error_class": "http.5xx"});
    let owed = ["pgalert_dead_letter_channels"; 2];
    assert_eq!(value(owed[0], owed[1], labels), Some(1.0));
    let labels = json!({"channel": "webhook", "outcome": "failed", "error_class": "http.5xx"});
    assert_eq!(value("pgalert_sends", "pgalert_sends_total", labels), Some(1.0));
    let labels = json!({"channel": "webhook", "state": "open"});
    assert_eq!(value("pgalert_breakers", "pgalert_breakers", labels), Some(1.0));
    for (state, expected) in [("OPEN", 1.0), ("HALF_OPEN", 0.0), ("CLOSED", 0.0)] {
        let labels = json!({"agent_name": "alerts", "state": state});
        assert_eq!(value("circuit_breaker_state", "circuit_breaker_state", labels), Some(expected));
    }
    assert_eq!(value("pgalert_claims", "pgalert_claims_total", json!({})), Some(2.0));
    assert_eq!(value("pgalert_claim_messages", "pgalert_claim_messages_sum", json!({})), Some(2.0));
    assert_eq!(value("pgalert_database_up", "pgalert_database_up", json!({})), Some(1.0));
    let took = value(
        "pgalert_delivery_seconds",
        "pgalert_delivery_seconds_sum",
        json!({"channel": "webhook"}),
    )
    .unwrap();
    assert!(took > 0.0 && took < LIMIT.as_secs_f64(), "{took} s from accepted to delivered");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_series_and_no_line_of_the_log_has_a_text_or_an_address() {
    let (database, session, webhook) = start().await;
    webhook.answer(|_| Answer::json(400, "{\"error\": \"secret-answer\"}"));
    let port = free_port();
    let mut command = observed(&database, port);
    command.args(["--log-format", "json"]);
    let driver = Driver::start(&mut command);
    driver.until_logged("running", LIMIT).await;
    let url = format!("{}?token=secret-token", webhook.url());
    add_recipient(&session, "secret-user", "webhook", &url).await;
    let alert = json!({"id": "disk", "name": "secret-name", "channels": ["webhook"]});
    let fire = "SELECT pgalert.deliver_alert($1, 'secret-user', $2)";
    session.query_one(fire, &[&alert, &"secret-text"]).await.unwrap();
    driver.until_logged("\"error_class\"", LIMIT).await;
    webhook.answer(|_| Answer::OK);
    let alert = json!({"id": "net", "name": "secret-name", "channels": ["webhook"]});
    session.query_one(fire, &[&alert, &"another secret-text"]).await.unwrap();
    driver.until_logged("\"net\"", LIMIT).await;
    let log = driver.log();
    let lines: Vec<Value> = (log.lines().map(|line| serde_json::from_str(line).unwrap()))
        .filter(|line: &Value| line["delivery_key"].is_string())
        .collect();
    let told: Vec<Value> = lines
        .iter()
        .map(|line| {
            assert!(line["duration_ms"].as_f64().is_some_and(|took| took > 0.0), "{line}");
            let fields = ["level", "alert", "channel", "attempt", "outcome", "error_class"];
            json!(fields.map(|field| &line[field]))
        })
        .collect();
    assert_eq!(
        told,
        [
            json!(["INFO", "disk", "webhook", 1, "failed", "http.4xx"]),
            json!(["INFO", "net", "webhook", 1, "delivered", null])
        ],
        "a line for each outcome"
    );
    let text = scrape(port).await;
    let host = webhook.base().replace("http://", "");
    for secret in ["secret", &host] {
        assert!(!text.contains(secret), "{secret} in the metrics: {text}");
        assert!(!log.contains(secret), "{secret} in the log: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_database_its_own_series_are_served() {
    let cluster = Cluster::start(&[]);
    let database = cluster.database().await;
    let port = free_port();
    let driver = Driver::start(&mut observed(&database, port));
    driver.until_logged("running", LIMIT).await;
    assert!(scrape(port).await.contains("\npgalert_database_up 1\n"));
    cluster.crash();
    let text = scrape(port).await;
    assert!(text.contains("\npgalert_database_up 0\n"), "{text}");
    assert!(text.contains("\npgalert_claims_total 0\n"), "{text}");
    assert!(!text.contains("deliver_alert_calls"), "{text}");
    assert!(text.ends_with("# EOF\n"));
    cluster.start_server();
    // That of reports stays idle, and finds out when there is something to report.
    until("the connection of claims is made again, and counted", LIMIT, async || {
        let text = scrape(port).await;
        let uncounted = "pgalert_database_reconnects_total{connection=\"claims\"} 0";
        if !text.contains(uncounted) && text.contains("\npgalert_database_up 1\n") {
            Ok(())
        } else {
            Err(text)
        }
    })
    .await;
}

/// The other connections are well, and would tell nothing.
#[tokio::test(flavor = "multi_thread")]
async fn why_the_database_refuses_a_scrape_is_in_the_log() {
    let (database, session, webhook) = start().await;
    let port = free_port();
    let driver = Driver::start(&mut observed(&database, port));
    driver.until_logged("running", LIMIT).await;
    driver.until_logged("connection=\"upkeep\"", LIMIT).await;
    let name = session.query_one("SELECT current_database()", &[]).await.unwrap();
    let limit = format!("ALTER DATABASE \"{}\" CONNECTION LIMIT 1", name.get::<_, &str>(0));
    session.batch_execute(&limit).await.unwrap();
    assert!(scrape(port).await.contains("\npgalert_database_up 0\n"));
    driver.until_logged("the database does not answer what metrics and health ask", LIMIT).await;
    driver.until_logged("too many connections", LIMIT).await;
    fire(&session, "disk", &["webhook"]).await;
    until("it is sent all the same", LIMIT, async || {
        (webhook.count() == 1).then_some(()).ok_or("it is not")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_cannot_be_had_is_said() {
    let database = Cluster::shared().database().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = run(pgalert("run", &database).args(["--metrics-listen", &address])).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains(&format!("cannot listen on {address}; set metrics.listen")),
        "{ended:?}"
    );
    let ended = run(pgalert("run", &database).args(["--metrics-listen", "everywhere"])).await;
    assert_eq!(ended.code, Some(64), "{ended:?}");
    assert!(ended.stderr.contains("no address and port"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_served_without_a_setting_unless_the_address_is_taken() {
    const PORT: u16 = 9189;
    let database = Cluster::shared().database().await;
    let start = || {
        let mut command = pgalert("run", &database);
        Driver::start(command.env_remove("PGALERT_METRICS_LISTEN"))
    };
    // Another program of this machine may have it, too.
    let taken = std::net::TcpListener::bind(("127.0.0.1", PORT));
    let driver = start();
    let said =
        "metrics and health are not served: cannot listen on 127.0.0.1:9189; set metrics.listen";
    driver.until_logged(said, LIMIT).await;
    driver.until_logged("running", LIMIT).await;
    if let Ok(listener) = taken {
        drop(listener);
        start().until_logged("metrics and health are served address=127.0.0.1:9189", LIMIT).await;
    }
}

/// Prints how long a scrape takes behind many dead letters of 3,000 kinds: see tests/bench/run.sh.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn time_of_a_scrape_behind_a_million_dead_letters() {
    const SCRAPES: u32 = 50;
    let (database, session, _webhook) = start().await;
    session
        .batch_execute(
            "INSERT INTO pgalert.alert_dlq (alert_id, user_id, alert_data, error_message, error_class, host, state, channels, priority, content_hash, delivery_key, accepted_at)
             SELECT 'a' || n, 'u', '{}', 'e', 'http.5xx', n % 1000 || '.example.com', CASE n % 3 WHEN 0 THEN 'exhausted' WHEN 1 THEN 'permanent' ELSE 'expired' END,
                    '{webhook}', 'normal', 'h', pgalert._message_key(), now() FROM generate_series(1, 1000000) n",
        )
        .await
        .unwrap();
    // Autovacuum would come to it while the time is taken.
    session.batch_execute("VACUUM ANALYZE pgalert.alert_dlq").await.unwrap();
    let port = free_port();
    let driver = Driver::start(&mut observed(&database, port));
    driver.until_logged("running", LIMIT).await;
    scrape(port).await;
    let mut took = Vec::new();
    for _ in 0..SCRAPES {
        let began = std::time::Instant::now();
        scrape(port).await;
        took.push(began.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    took.sort();
    let (half, most) = (took[took.len() / 2], took[took.len() - 1]);
    e2e::say(&format!("a scrape behind 1,000,000 dead letters: p50 {half:?}, most {most:?}"));
}
