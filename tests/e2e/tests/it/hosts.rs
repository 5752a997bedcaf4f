//! A host that hangs takes nothing from hosts that answer, however long its messages would be willing to wait.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use e2e::{
    driver::pgalert, say, until, webhook::Answer, Cluster, Database, Driver, Session, Webhook,
};
use serde_json::{json, Value};

use crate::common::{add_recipient, number, texts, LIMIT};

const HOSTS: usize = 10;
const HANGS: Answer = Answer::after(Duration::from_secs(600));

/// Fires one alert for each number: the user whose it is.
async fn fire_to(session: &Session, users: impl Iterator<Item = usize>) {
    let alerts: Vec<Value> = users
        .enumerate()
        .map(|(number, user)| {
            let id = format!("alert-{user}-{number}");
            let alert = json!({"id": id, "channels": ["webhook"]});
            json!({"alert": alert, "user_id": format!("user-{user}"), "message": id})
        })
        .collect();
    for part in alerts.chunks(500) {
        let rows =
            session.query("SELECT status FROM pgalert.deliver_alerts($1)", &[&part]).await.unwrap();
        assert!(rows.iter().all(|row| row.get::<_, &str>(0) == "queued"));
    }
}

/// Ten users with a host each; those of the first answer as they are told. Those, and the others.
async fn start(first: usize, answer: Answer) -> (Database, Session, Vec<Webhook>, Vec<Webhook>) {
    let database = Cluster::shared().database().await;
    let session = database.connect().await;
    let mut hosts = Vec::new();
    for number in 0..HOSTS {
        let host = Webhook::start_at(&format!("127.0.0.{}", number + 1)).await;
        add_recipient(&session, &format!("user-{number}"), "webhook", &host.url()).await;
        hosts.push(host);
    }
    let others = hosts.split_off(first);
    hosts.iter().for_each(|host| host.answer(move |_| answer));
    (database, session, hosts, others)
}

async fn until_each_has(hosts: &[Webhook], count: usize) {
    until("each of the others has all of its messages", LIMIT, async || {
        let counts: Vec<usize> = hosts.iter().map(Webhook::count).collect();
        if counts.iter().all(|received| *received == count) {
            Ok(())
        } else {
            Err(counts)
        }
    })
    .await
}

fn run(database: &Database) -> Command {
    let mut command = pgalert("run", database);
    command.env("PGALERT_WORKER_SHUTDOWN_GRACE", "500ms");
    command
}

/// The first come first, and each may have half of the channel's places under way.
async fn the_others_get_theirs_beside(hanging: usize) {
    /// Far more than may be in flight.
    const FOR_THE_HANGING: usize = 1000;
    const FOR_EACH_OTHER: usize = 100;
    let (database, session, silent, others) = start(hanging, HANGS).await;
    fire_to(&session, (0..FOR_THE_HANGING).map(|number| number % hanging)).await;
    let rest = HOSTS - hanging;
    fire_to(&session, (0..rest * FOR_EACH_OTHER).map(|number| hanging + number % rest)).await;
    let mut command = run(&database);
    // Nothing ends by a timeout, and all would wait for longer than the test.
    command
        .env("PGALERT_HTTP_TIMEOUT", "10m")
        .env("PGALERT_LIMITS_MAX_WAIT", "10m")
        .env("PGALERT_LIMITS_HOST_CONCURRENCY", "8")
        .env("PGALERT_WEBHOOK_CONCURRENCY", "16")
        .env("PGALERT_WORKER_MAX_IN_FLIGHT", "200")
        .env("PGALERT_WORKER_BATCH_SIZE", "100");
    let driver = Driver::start(&mut command);
    until_each_has(&others, FOR_EACH_OTHER).await;
    for host in &silent {
        let count = host.count();
        assert!((1..=8).contains(&count), "{count} are under way to one host");
    }
    let letters =
        "SELECT DISTINCT concat_ws(' ', error_class, state, retry_count) FROM pgalert.alert_dlq";
    assert_eq!(texts(&session, letters).await, ["host_busy waiting 0"]);
    assert_eq!(driver.terminate(LIMIT).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn nine_hosts_get_theirs_while_one_hangs() {
    the_others_get_theirs_beside(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn six_hosts_get_theirs_while_four_hang() {
    the_others_get_theirs_beside(4).await;
}

/// What waits for a host that was dead comes back a bit at a time, and nobody waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_hosts_return_neither_floods_it_nor_keeps_others_waiting() {
    const FOR_THE_DEAD: usize = 3000;
    const FOR_EACH_OTHER: usize = 20;
    let (database, session, dead, others) = start(1, Answer::status(500)).await;
    let with_places = |places: &str| {
        let mut command = run(&database);
        command
            .env("PGALERT_BREAKER_FAILURES", "3")
            .env("PGALERT_BREAKER_PAUSE", "2m")
            .env("PGALERT_WEBHOOK_CONCURRENCY", places)
            .env("PGALERT_WORKER_RETRY_INTERVAL", "100ms");
        Driver::start(&mut command)
    };
    let driver = with_places("1"); // so that three fail and no more
    fire_to(&session, std::iter::repeat_n(0, FOR_THE_DEAD)).await;
    let letters = "SELECT count(*) FROM pgalert.alert_dlq WHERE error_class = 'breaker_open'";
    let put_back = FOR_THE_DEAD as i64 - 3;
    until("all are put back", LIMIT, async || match number(&session, letters).await {
        count if count == put_back => Ok(()),
        count => Err(count),
    })
    .await;
    let most = "SELECT max(n) FROM (SELECT count(*) OVER (ORDER BY next_retry_at RANGE BETWEEN CURRENT ROW AND '1 second' FOLLOWING) AS n
                                    FROM pgalert.alert_dlq WHERE error_class = 'breaker_open') AS seconds";
    let most = number(&session, most).await;
    assert!(most < 250, "{most} of {put_back} are due within one second");

    // The first of them are due. The driver is another one: its breaker is closed, as that of this one would be in time.
    assert_eq!(driver.terminate(LIMIT).await.code(), Some(0));
    dead[0].answer(|_| Answer::OK);
    let due = "UPDATE pgalert.alert_dlq SET next_retry_at = next_retry_at - (SELECT min(next_retry_at) FROM pgalert.alert_dlq WHERE error_class = 'breaker_open')
                                                            + clock_timestamp() WHERE error_class = 'breaker_open'";
    session.execute(due, &[]).await.unwrap();
    let driver = with_places("128");
    until("the first have come", LIMIT, async || match dead[0].count() {
        count if count > 3 => Ok(()),
        count => Err(count),
    })
    .await;
    let rest = HOSTS - 1;
    fire_to(&session, (0..rest * FOR_EACH_OTHER).map(|number| 1 + number % rest)).await;
    until_each_has(&others, FOR_EACH_OTHER).await;
    assert!(dead[0].count() < FOR_THE_DEAD, "the others were kept waiting until all had come");
    let all = (FOR_THE_DEAD + rest * FOR_EACH_OTHER) as i64;
    until("all are delivered", LIMIT, async || {
        let due = "UPDATE pgalert.alert_dlq SET next_retry_at = clock_timestamp() WHERE state = 'waiting'";
        session.execute(due, &[]).await.unwrap();
        match number(&session, "SELECT count(*) FROM pgalert.alert_deliveries").await {
            count if count == all => Ok(()),
            count => Err(count),
        }
    })
    .await;
    assert_eq!(driver.terminate(LIMIT).await.code(), Some(0));
}

/// Prints the rate at which hosts get theirs, with and without others that hang until their timeout.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn rate_of_hosts_beside_those_that_hang() {
    const EACH: usize = 2000;
    for hanging in [1, 4] {
        let mut took = [Duration::ZERO; 2];
        for _ in 0..3 {
            for (first, took) in [Answer::OK, HANGS].into_iter().zip(&mut took) {
                let (database, session, _first, others) = start(hanging, first).await;
                fire_to(&session, (0..HOSTS * EACH).map(|number| number % HOSTS)).await;
                let began = Instant::now();
                let mut command = run(&database);
                command.env("PGALERT_BREAKER_FAILURES", "5").env("PGALERT_WORKER_LEASE", "60s");
                let driver = Driver::start(&mut command);
                until_each_has(&others, EACH).await;
                *took += began.elapsed();
                driver.kill();
            }
        }
        let messages = 3.0 * ((HOSTS - hanging) * EACH) as f64;
        let [all_answer, some_hang] = took.map(|took| messages / took.as_secs_f64());
        say(&format!(
            "{} of {HOSTS} hosts get {all_answer:.0} messages/s, and {some_hang:.0}/s while the rest hangs: {:.2}",
            HOSTS - hanging,
            some_hang / all_answer
        ));
    }
}
