//! A driver that is started before its database is there.

use e2e::{
    driver::{pgalert, run, Running},
    tools::free_port,
    until, within, Cluster, Driver, Webhook,
};

use crate::{
    common::{add_recipient, fire, until_delivered, LIMIT},
    health::{ask, until_ready_says},
    metrics::observed,
};

const WAITS: &str = "the database cannot be used yet";

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_and_goes_on_by_itself() {
    let cluster = Cluster::start(&[]);
    let database = cluster.database().await;
    let webhook = Webhook::start().await;
    add_recipient(&database.connect().await, "ann", "webhook", &webhook.url()).await;
    cluster.crash();
    let port = free_port();
    let mut driver = Driver::start(&mut observed(&database, port));
    driver.until_logged(WAITS, LIMIT).await;
    until_ready_says(port, 503, "database", "does not answer").await;
    until_ready_says(port, 503, "claims", "none yet").await;
    assert_eq!(ask(port, "/healthz").await.0, 200, "a restart would not help");
    tokio::time::sleep(std::time::Duration::from_secs(2)).await; // several tries: one line is what is tested
    assert_eq!(driver.log().matches(WAITS).count(), 1, "{}", driver.log());
    assert!(driver.is_running());
    cluster.start_server();
    until_ready_says(port, 200, "claims", "ok").await;
    fire(&database.connect().await, "late", &["webhook"]).await;
    until_delivered(&database, 1, LIMIT).await;
    assert!(driver.terminate(LIMIT).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_the_wait() {
    let cluster = Cluster::start(&[]);
    let database = cluster.database().await;
    cluster.crash();
    let driver = Driver::start(&mut pgalert("run", &database));
    driver.until_logged(WAITS, LIMIT).await;
    let ended =
        within("it ends at once", std::time::Duration::from_secs(5), driver.terminate(LIMIT));
    assert!(ended.await.success());
    let ended = run(&mut pgalert("once", &database)).await;
    assert_eq!(ended.code, Some(1), "once does not wait: {ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_must_mend_ends_it_when_the_database_has_come() {
    let cluster = Cluster::start(&[]);
    cluster.database().await; // has made the role courier
    let database = cluster.empty_database().await;
    cluster.crash();
    let port = free_port();
    let driver = Running::start(&mut observed(&database, port));
    until("it waits", LIMIT, async || match e2e::tools::http_get(port, "/healthz").await {
        Ok((200, _)) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    cluster.start_server();
    let ended = driver.ended().await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("CREATE EXTENSION pgalert"), "{ended:?}");
}
