//! Several drivers, and the end of one.

use std::{
    collections::HashSet,
    process::{Child, Command, Stdio},
    time::Duration,
};

use e2e::{
    driver::{once, pgalert, pgalert_at},
    say, until,
    webhook::Answer,
    Cluster, Database, Driver, Webhook,
};

use tokio::time::sleep;

use crate::common::{add_recipient, check_received, fire_many, number, until_delivered, LIMIT};

async fn start() -> (Database, e2e::Session, Webhook) {
    let (database, webhook) = (Cluster::shared().database().await, Webhook::start().await);
    let session = database.connect().await;
    add_recipient(&session, "ann", "webhook", &webhook.url()).await;
    (database, session, webhook)
}

/// Keys of the messages that a driver says it has delivered.
fn delivered_by(driver: &Driver) -> Vec<String> {
    let log = driver.log();
    let lines = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines
        .filter(|line| line["message"] == "delivered")
        .map(|line| line["delivery_key"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_drivers_share_the_work_and_none_sends_what_another_holds() {
    const ALERTS: usize = 3000;
    let (database, session, webhook) = start().await;
    webhook.answer(|_| Answer::after(Duration::from_millis(20)));
    let mut drivers = Vec::new();
    for _ in 0..3 {
        let mut command = pgalert("run", &database);
        command
            .env("PGALERT_WORKER_LEASE", "60s")
            .env("PGALERT_WORKER_BATCH_SIZE", "50")
            .env("PGALERT_WORKER_MAX_IN_FLIGHT", "100")
            .env("PGALERT_LOG_FORMAT", "json");
        let driver = Driver::start(&mut command);
        driver.until_logged("\"running\"", LIMIT).await;
        drivers.push(driver);
    }
    fire_many(&session, "alert", ALERTS).await;
    until_delivered(&database, ALERTS as i64, LIMIT).await;
    assert_eq!(check_received(&database, &webhook, ALERTS).await, 0, "alerts were sent twice");
    let shares: Vec<Vec<String>> = drivers.iter().map(delivered_by).collect();
    let sizes: Vec<usize> = shares.iter().map(Vec::len).collect();
    say(&format!("three drivers: of {ALERTS} alerts they sent {sizes:?}"));
    assert!(sizes.iter().all(|size| *size > 0), "one had nothing to do: {sizes:?}");
    let all: HashSet<&String> = shares.iter().flatten().collect();
    assert_eq!((sizes.iter().sum::<usize>(), all.len()), (ALERTS, ALERTS));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sigterm_the_driver_finishes_reports_and_gives_back_the_rest() {
    const ALERTS: usize = 600;
    let (database, session, webhook) = start().await;
    webhook.answer(|_| Answer::after(Duration::from_millis(300)));
    fire_many(&session, "alert", ALERTS).await;
    let mut command = pgalert("run", &database);
    let driver = Driver::start(
        command
            .env("PGALERT_WORKER_LEASE", "10m")
            .env("PGALERT_WORKER_MAX_IN_FLIGHT", "200")
            .env("PGALERT_WORKER_BATCH_SIZE", "100"),
    );
    until("it is at work", LIMIT, async || {
        if webhook.count() >= 100 {
            Ok(())
        } else {
            Err(webhook.count())
        }
    })
    .await;
    let status = driver.terminate(LIMIT).await;
    assert_eq!(status.code(), Some(0));
    let sent = webhook.count();
    assert!(sent < ALERTS, "it must not go on until all is sent");
    assert_eq!(
        number(&session, "SELECT count(*) FROM pgalert.alert_deliveries").await,
        sent as i64,
        "all that was sent is reported"
    );

    // What is left is free at once: the lease of ten minutes is not waited for.
    webhook.answer(|_| Answer::OK);
    once(&mut pgalert("once", &database)).await;
    until_delivered(&database, ALERTS as i64, LIMIT).await;
    assert_eq!(check_received(&database, &webhook, ALERTS).await, 0, "alerts were sent twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_does_not_keep_the_driver_from_ending() {
    const ALERTS: usize = 5;
    let (database, session, webhook) = start().await;
    webhook.answer(|_| Answer::after(Duration::from_secs(600)));
    fire_many(&session, "alert", ALERTS).await;
    let mut command = pgalert("run", &database);
    command
        .env("PGALERT_WORKER_LEASE", "10m")
        .env("PGALERT_WORKER_SHUTDOWN_GRACE", "500ms")
        .env("PGALERT_HTTP_TIMEOUT", "5m");
    let driver = Driver::start(&mut command);
    until("it is at work", LIMIT, async || {
        if webhook.count() == ALERTS {
            Ok(())
        } else {
            Err(webhook.count())
        }
    })
    .await;
    assert_eq!(driver.terminate(Duration::from_secs(20)).await.code(), Some(0));

    webhook.answer(|_| Answer::OK);
    once(&mut pgalert("once", &database)).await;
    assert_eq!(
        check_received(&database, &webhook, ALERTS).await,
        ALERTS,
        "each was cut off and sent again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_only_polls_delivers() {
    let (database, session, webhook) = start().await;
    let mut command = pgalert("run", &database);
    let driver = Driver::start(command.env("PGALERT_DATABASE_LISTEN", "false"));
    driver.until_logged("running", LIMIT).await;
    for round in 0..3 {
        fire_many(&session, &format!("round-{round}"), 10).await;
        until_delivered(&database, (round + 1) * 10, LIMIT).await;
    }
    check_received(&database, &webhook, 30).await;
}

/// pgbouncer in front of a cluster, in transaction mode; ends when dropped.
struct Pooler {
    process: Child,
    url: String,
}

impl Pooler {
    async fn start(database: &Database) -> Pooler {
        let folder = database.folder.join("pooler");
        std::fs::create_dir(&folder).unwrap();
        e2e::cluster::give_to_server(&folder);
        let (server, own) = (database.folder.display(), folder.display());
        // Two connections of the server for all of the driver's: what a session keeps would be lost.
        let settings = format!(
            "[databases]\n{name} = host={server} port={port} user=courier\n[pgbouncer]\nlisten_addr =\nlisten_port = 6432\n\
             unix_socket_dir = {own}\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 2\n{user}",
            name = database.name,
            port = database.port,
            user = if e2e::cluster::is_root() { "user = postgres\n" } else { "" },
        );
        let file = folder.join("pgbouncer.ini");
        std::fs::write(&file, settings).unwrap();
        let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"]
            .into_iter()
            .find(|path| std::path::Path::new(path).exists());
        let program = program.expect("pgbouncer is not installed (run `make setup`)");
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let process = Command::new(program)
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let socket = folder.join(".s.PGSQL.6432");
        until("pgbouncer listens", LIMIT, async || {
            if socket.exists() {
                Ok(())
            } else {
                Err(std::fs::read_to_string(folder.join("log")))
            }
        })
        .await;
        Pooler {
            process,
            url: format!("postgresql://courier@/{}?host={own}&port=6432", database.name),
        }
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_behind_a_transaction_pooler_delivers() {
    let (database, session, webhook) = start().await;
    session.execute("SELECT pgalert.set_setting('environment', 'production')", &[]).await.unwrap();
    let pooler = Pooler::start(&database).await;
    let mut command = pgalert_at("run", &pooler.url);
    command
        .env("PGALERT_DATABASE_LISTEN", "false")
        .env("PGALERT_DATABASE_ENVIRONMENT", "production");
    let driver = Driver::start(&mut command);
    driver.until_logged("running", LIMIT).await;
    fire_many(&session, "alert", 300).await;
    until_delivered(&database, 300, LIMIT).await;
    assert_eq!(check_received(&database, &webhook, 300).await, 0);
    assert_eq!(driver.terminate(LIMIT).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_under_way_at_sigterm_is_not_forgotten() {
    const ALERTS: usize = 10;
    let (database, session, webhook) = start().await;
    let mut command = pgalert("run", &database);
    let driver = Driver::start(command.env("PGALERT_WORKER_LEASE", "10m"));
    driver.until_logged("running", LIMIT).await;
    // The driver's claim waits for this lock. SIGTERM comes meanwhile.
    let blocker = database.connect().await;
    blocker.batch_execute("BEGIN; LOCK TABLE pgalert.lane_high IN EXCLUSIVE MODE").await.unwrap();
    fire_many(&session, "alert", ALERTS).await;
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'pgalert.lane_high'::regclass";
    until("the driver's claim waits", LIMIT, async || {
        if number(&session, waits).await == 1 {
            Ok(())
        } else {
            Err(())
        }
    })
    .await;
    let lock_goes = async {
        sleep(Duration::from_millis(300)).await;
        blocker.batch_execute("COMMIT").await.unwrap();
    };
    let (status, ()) = tokio::join!(driver.terminate(LIMIT), lock_goes);
    assert_eq!(status.code(), Some(0));
    until("no claim waits any more", LIMIT, async || {
        if number(&session, waits).await == 0 {
            Ok(())
        } else {
            Err(())
        }
    })
    .await;
    once(&mut pgalert("once", &database)).await;
    assert_eq!(check_received(&database, &webhook, ALERTS).await, 0);
}
