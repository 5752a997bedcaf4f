//! What the driver tells its service manager, on a real NOTIFY_SOCKET.

use std::{os::unix::net::UnixDatagram, path::PathBuf, process::Command, time::Duration};

use e2e::{
    driver::{pgalert, pgalert_at, run},
    until, Cluster, Driver, Webhook,
};

use crate::common::{add_recipient, fire, until_delivered, LIMIT};

/// The service manager's end of the socket.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pgalert-e2e.{}.{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Manager { socket, path }
    }

    fn watch<'a>(&self, command: &'a mut Command, watchdog: Duration) -> &'a mut Command {
        command
            .env("NOTIFY_SOCKET", &self.path)
            .env("WATCHDOG_USEC", watchdog.as_micros().to_string())
    }

    /// The next message, if there is one.
    fn heard(&self) -> Option<String> {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
    }

    /// Waits for a message with this line; returns those before it.
    async fn until_told(&self, line: &str) -> Vec<String> {
        let mut before = Vec::new();
        until(&format!("the service manager is told {line}"), LIMIT, async || {
            while let Some(message) = self.heard() {
                if message.lines().any(|told| told == line) {
                    return Ok(());
                }
                before.push(message);
            }
            Err(before.clone())
        })
        .await;
        before
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_manager_is_told_of_start_life_and_end() {
    let database = Cluster::shared().database().await;
    let webhook = Webhook::start().await;
    let session = database.connect().await;
    add_recipient(&session, "ann", "webhook", &webhook.url()).await;
    let manager = Manager::new("notify");
    let driver =
        Driver::start(manager.watch(&mut pgalert("run", &database), Duration::from_millis(400)));
    assert_eq!(manager.until_told("READY=1").await, [""; 0], "READY comes first");
    assert_eq!(fire(&session, "told", &["webhook"]).await, "queued");
    until_delivered(&database, 1, LIMIT).await;
    for _ in 0..3 {
        manager.until_told("WATCHDOG=1").await;
    }
    let (ended, _) = tokio::join!(driver.terminate(LIMIT), manager.until_told("STOPPING=1"));
    assert!(ended.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_stands_still_pings_no_more() {
    let database = Cluster::shared().database().await;
    let manager = Manager::new("stopped");
    let driver =
        Driver::start(manager.watch(&mut pgalert("run", &database), Duration::from_millis(400)));
    manager.until_told("WATCHDOG=1").await;
    let signal = |name: &str| {
        e2e::tools::run(Command::new("kill").args([name, &driver.id().to_string()]));
    };
    signal("-STOP");
    let status = format!("/proc/{}/stat", driver.id());
    until("the process is stopped", LIMIT, async || {
        let stat = std::fs::read_to_string(&status).unwrap();
        if stat.contains(") T ") {
            Ok(())
        } else {
            Err(stat)
        }
    })
    .await;
    while manager.heard().is_some() {}
    tokio::time::sleep(Duration::from_millis(800)).await; // twice the watchdog's time: silence is what is tested
    assert_eq!(manager.heard(), None);
    signal("-CONT");
    manager.until_told("WATCHDOG=1").await;
}

/// A boot goes on, and a database that does not come is no reason for another start.
#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_waits_for_its_database_is_up_and_says_so() {
    let cluster = Cluster::start(&[]);
    let database = cluster.database().await;
    cluster.crash();
    let manager = Manager::new("waiting");
    let driver =
        Driver::start(manager.watch(&mut pgalert("run", &database), Duration::from_millis(400)));
    assert_eq!(manager.until_told("STATUS=waits for the database").await, [""; 0]);
    manager.until_told("WATCHDOG=1").await;
    cluster.start_server();
    let between = manager.until_told("STATUS=claims run").await;
    assert!(between.iter().all(|told| told.trim() == "WATCHDOG=1"), "{between:?}");
    manager.until_told("WATCHDOG=1").await;
    let (ended, _) = tokio::join!(driver.terminate(LIMIT), manager.until_told("STOPPING=1"));
    assert!(ended.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_cannot_work_is_never_ready() {
    let database = Cluster::shared().database().await;
    let manager = Manager::new("unready");
    let mut command = pgalert_at("run", &database.url("app"));
    let ended = run(manager.watch(&mut command, Duration::from_secs(10))).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(manager.heard(), None);
}
