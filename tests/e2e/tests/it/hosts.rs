//! A host that hangs takes nothing from hosts that answer, however long its messages would be willing to wait.

use std::time::Duration;

use e2e::{driver::pgalert, until, webhook::Answer, Cluster, Driver, Session, Webhook};
use serde_json::{json, Value};

use crate::common::{add_recipient, texts, LIMIT};

const HOSTS: usize = 10;
/// Far more than may be in flight.
const FOR_THE_HANGING: usize = 1000;
const FOR_EACH_OTHER: usize = 100;

async fn fire_to(session: &Session, user: usize, count: usize) {
    let alerts: Vec<Value> = (0..count)
        .map(|number| {
            let id = format!("alert-{user}-{number}");
            let alert = json!({"id": id, "channels": ["webhook"]});
            json!({"alert": alert, "user_id": format!("user-{user}"), "message": id})
        })
        .collect();
    let rows =
        session.query("SELECT status FROM pgalert.deliver_alerts($1)", &[&alerts]).await.unwrap();
    assert!(rows.iter().all(|row| row.get::<_, &str>(0) == "queued"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nine_hosts_get_theirs_while_the_tenth_hangs() {
    let database = Cluster::shared().database().await;
    let session = database.connect().await;
    let mut hosts = Vec::new();
    for number in 0..HOSTS {
        let host = Webhook::start_at(&format!("127.0.0.{}", number + 1)).await;
        add_recipient(&session, &format!("user-{number}"), "webhook", &host.url()).await;
        hosts.push(host);
    }
    let (hanging, others) = hosts.split_first().unwrap();
    hanging.answer(|_| Answer::after(Duration::from_secs(600)));
    fire_to(&session, 0, FOR_THE_HANGING).await;
    for user in 1..HOSTS {
        fire_to(&session, user, FOR_EACH_OTHER).await;
    }
    let mut command = pgalert("run", &database);
    // Nothing ends by a timeout, and all would wait for longer than the test.
    command
        .env("PGALERT_HTTP_TIMEOUT", "10m")
        .env("PGALERT_LIMITS_MAX_WAIT", "10m")
        .env("PGALERT_LIMITS_HOST_CONCURRENCY", "4")
        .env("PGALERT_WORKER_MAX_IN_FLIGHT", "200")
        .env("PGALERT_WORKER_BATCH_SIZE", "100")
        .env("PGALERT_WORKER_SHUTDOWN_GRACE", "500ms");
    let driver = Driver::start(&mut command);
    until("each of the nine has all of its messages", LIMIT, async || {
        let counts: Vec<usize> = others.iter().map(Webhook::count).collect();
        if counts.iter().all(|count| *count == FOR_EACH_OTHER) {
            Ok(())
        } else {
            Err(counts)
        }
    })
    .await;
    assert_eq!(hanging.count(), 4, "as many as may be under way to one host");
    let letters =
        "SELECT DISTINCT concat_ws(' ', error_class, state, retry_count) FROM pgalert.alert_dlq";
    assert_eq!(texts(&session, letters).await, ["host_busy waiting 0"]);
    assert_eq!(driver.terminate(LIMIT).await.code(), Some(0));
}
