//! /healthz and /readyz in each state of a driver.

use e2e::{tools::free_port, tools::http_get, until, Cluster, Driver};
use serde_json::{json, Value};

use crate::{
    common::{number, LIMIT},
    metrics::observed,
};

pub async fn ask(port: u16, path: &str) -> (u16, Value) {
    let (status, body) = http_get(port, path).await.unwrap();
    (status, serde_json::from_str(&body).unwrap())
}

/// Waits until /readyz answers so, with this part of its answer as wrong or as well as `wanted` says.
pub async fn until_ready_says(port: u16, status: u16, part: &str, wanted: &str) {
    until(&format!("/readyz says {status}, {part}: {wanted}"), LIMIT, async || {
        let (found, answer) = ask(port, "/readyz").await;
        let text = answer[part].as_str().unwrap_or_default();
        let fits = found == status && answer["ready"] == (status == 200) && text.contains(wanted);
        if fits {
            Ok(())
        } else {
            Err((found, answer))
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_held_and_ready_again() {
    let database = Cluster::shared().database().await;
    let session = database.connect().await;
    let port = free_port();
    let driver = Driver::start(&mut observed(&database, port));
    driver.until_logged("running", LIMIT).await;
    assert_eq!(ask(port, "/healthz").await, (200, json!({"alive": true, "loops": "ok"})));
    let well =
        json!({"ready": true, "database": "ok", "extension": "ok", "hold": "ok", "claims": "ok"});
    assert_eq!(ask(port, "/readyz").await, (200, well));

    let environment = "SELECT pgalert.set_setting('environment', $1)";
    session.query_one(environment, &[&"staging"]).await.unwrap();
    until_ready_says(port, 503, "hold", "environment \"staging\"").await;
    assert_eq!(ask(port, "/healthz").await.0, 200, "a restart would not help");
    let (_, text) = http_get(port, "/metrics").await.unwrap();
    assert!(text.contains("pgalert_held{scope=\"database\"} 1.0\n"), "{text}");
    session.query_one(environment, &[&"default"]).await.unwrap();
    until_ready_says(port, 200, "hold", "ok").await;

    session
        .batch_execute(
            "UPDATE pg_catalog.pg_extension SET extversion = '9.9' WHERE extname = 'pgalert'",
        )
        .await
        .unwrap();
    until_ready_says(port, 503, "extension", "9.9").await;
    assert_eq!(http_get(port, "/else").await.unwrap().0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_database_it_lives_and_is_not_ready() {
    let cluster = Cluster::start(&[]);
    let database = cluster.database().await;
    let port = free_port();
    let driver = Driver::start(&mut observed(&database, port));
    driver.until_logged("running", LIMIT).await;
    until_ready_says(port, 200, "database", "ok").await;
    cluster.crash();
    until_ready_says(port, 503, "database", "does not answer").await;
    assert_eq!(ask(port, "/healthz").await.0, 200, "a restart would not help");
    cluster.start_server();
    until_ready_says(port, 200, "database", "ok").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_that_are_not_answered_are_named() {
    let database = Cluster::shared().database().await;
    let session = database.connect().await;
    let port = free_port();
    let mut command = observed(&database, port);
    let driver = Driver::start(
        command.env("PGALERT_METRICS_CLAIM_WITHIN", "1s").env("PGALERT_DATABASE_POLL_MAX", "100ms"),
    );
    driver.until_logged("running", LIMIT).await;
    until_ready_says(port, 200, "claims", "ok").await;
    session
        .batch_execute("BEGIN; LOCK TABLE pgalert.claims IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    until_ready_says(port, 503, "claims", "no claim was answered for").await;
    // A scrape waits for that lock too: it goes without, and leaves nobody behind who waits on.
    let (_, text) = http_get(port, "/metrics").await.unwrap();
    assert!(text.contains("\npgalert_database_up 0\n"), "{text}");
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                   AND datname = current_database() AND query LIKE '%pgalert.metrics()%'";
    until("no scrape waits for the lock", LIMIT, async || match number(&session, waiting).await {
        0 => Ok(()),
        other => Err(other),
    })
    .await;
    session.batch_execute("ROLLBACK").await.unwrap();
    until_ready_says(port, 200, "claims", "ok").await;
}
