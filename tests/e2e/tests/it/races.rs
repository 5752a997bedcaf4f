use std::{sync::Arc, time::Duration};

use e2e::{until, within, Cluster, Database, Session};
use futures_util::future::join_all;
use serde_json::{json, Value};
use tokio::sync::Barrier;
use tokio_postgres::{error::SqlState, Error};

const SESSIONS: usize = 64;
const LIMIT: Duration = Duration::from_secs(60);

async fn fire(session: &Session, alert: &Value, message: &str) -> Result<String, Error> {
    let row = session
        .query_one("SELECT pgalert.deliver_alert($1, 'ann', $2)", &[alert, &message])
        .await?;
    Ok(row.get(0))
}

fn by_mail(id: &str) -> Value {
    json!({"id": id, "channels": ["email"]})
}

/// Fires from 64 sessions at once, each in a transaction of the given isolation, and counts the answers.
async fn fire_at_once(
    database: &Database,
    isolation: &'static str,
    message: impl Fn(usize) -> String,
) -> Answers {
    let start = Arc::new(Barrier::new(SESSIONS));
    let sessions = join_all((0..SESSIONS).map(|_| database.connect_as("app"))).await;
    let firings = sessions.into_iter().enumerate().map(|(number, session)| {
        let (start, message) = (start.clone(), message(number));
        tokio::spawn(async move {
            session
                .batch_execute(&format!("BEGIN ISOLATION LEVEL {isolation}; SELECT 1"))
                .await
                .unwrap();
            start.wait().await;
            let answer = fire(&session, &by_mail("disk"), &message).await?;
            session.batch_execute("COMMIT").await?;
            Ok::<_, Error>(answer)
        })
    });
    let mut answers = Answers::default();
    for answer in within("64 firings", LIMIT, join_all(firings)).await {
        match answer.unwrap() {
            Ok(status) if status == "queued" => answers.queued += 1,
            Ok(status) if status == "duplicate" => answers.duplicate += 1,
            Ok(status) if status == "capped" => answers.capped += 1,
            Ok(status) => panic!("deliver_alert answered {status}"),
            Err(error) if error.code() == Some(&SqlState::T_R_SERIALIZATION_FAILURE) => {
                answers.serialization += 1
            }
            Err(error) => panic!("deliver_alert failed: {error:?}"),
        }
    }
    answers
}

#[derive(Debug, Default, PartialEq)]
struct Answers {
    queued: usize,
    duplicate: usize,
    capped: usize,
    serialization: usize,
}

async fn count(session: &Session, table: &str) -> i64 {
    session.query_one(&format!("SELECT count(*) FROM pgalert.{table}"), &[]).await.unwrap().get(0)
}

/// Waits until so many sessions of the database wait for a lock of another.
async fn until_blocked(session: &Session, sessions: i64) {
    until("sessions that wait for the first one", LIMIT, async || {
        let waiting: i64 = session
            .query_one("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'", &[])
            .await
            .unwrap()
            .get(0);
        if waiting == sessions { Ok(()) } else { Err(waiting) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_64_that_fire_the_same_content_one_is_queued() {
    let database = Cluster::shared().database().await;
    let answers = fire_at_once(&database, "READ COMMITTED", |_| "disk full".into()).await;
    assert_eq!(answers, Answers { queued: 1, duplicate: 63, ..Answers::default() });
    let session = database.connect().await;
    assert_eq!(count(&session, "outbox").await, 1);
    assert_eq!(count(&session, "suppressed_alerts").await, 63);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_64_contents_for_one_user_and_alert_the_day_admits_one() {
    let database = Cluster::shared().database().await;
    let answers =
        fire_at_once(&database, "READ COMMITTED", |number| format!("disk {number} full")).await;
    assert_eq!(answers, Answers { queued: 1, capped: 63, ..Answers::default() });
    let session = database.connect().await;
    assert_eq!(count(&session, "outbox").await, 1);
    assert_eq!(
        count(&session, "dedup_keys").await,
        1,
        "halves of lost reservations must be given back"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn in_stricter_isolation_losers_may_only_fail_to_serialize() {
    for isolation in ["REPEATABLE READ", "SERIALIZABLE"] {
        for same in [true, false] {
            let database = Cluster::shared().database().await;
            let answers = fire_at_once(&database, isolation, |number| {
                if same {
                    "x".into()
                } else {
                    format!("{number}")
                }
            })
            .await;
            assert_eq!(answers.queued, 1, "{isolation}: {answers:?}");
            assert_eq!(
                answers.duplicate + answers.capped + answers.serialization,
                63,
                "{isolation}: {answers:?}"
            );
            assert_eq!(
                if same { answers.capped } else { answers.duplicate },
                0,
                "{isolation}: {answers:?}"
            );
            let session = database.connect().await;
            assert_eq!(count(&session, "outbox").await, 1);
            assert_eq!(count(&session, "dedup_keys").await, 1);
        }
    }
}

/// 63 sessions wait for the first one's transaction; then it ends.
async fn others_after(end: &str) -> (Database, Vec<String>) {
    let database = Cluster::shared().database().await;
    let watch = database.connect().await;
    let first = database.connect_as("app").await;
    first.batch_execute("BEGIN").await.unwrap();
    assert_eq!(fire(&first, &by_mail("disk"), "disk full").await.unwrap(), "queued");
    let mut others = Vec::new();
    for session in join_all((1..SESSIONS).map(|_| database.connect_as("app"))).await {
        others.push(tokio::spawn(async move {
            fire(&session, &by_mail("disk"), "disk full").await.unwrap()
        }));
    }
    until_blocked(&watch, 63).await;
    first.batch_execute(end).await.unwrap();
    let answers = within("63 answers", LIMIT, join_all(others))
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    (database, answers)
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_winner_commits_all_that_waited_are_duplicates() {
    let (database, answers) = others_after("COMMIT").await;
    assert!(answers.iter().all(|answer| answer == "duplicate"), "{answers:?}");
    assert_eq!(count(&database.connect().await, "outbox").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_winner_rolls_back_exactly_one_other_wins() {
    let (database, answers) = others_after("ROLLBACK").await;
    assert_eq!(answers.iter().filter(|answer| *answer == "queued").count(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| *answer == "duplicate").count(), 62, "{answers:?}");
    assert_eq!(count(&database.connect().await, "outbox").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_and_single_calls_over_the_same_contents_never_deadlock() {
    const CONTENTS: usize = 40;
    let seed = e2e::seed("bulk_and_single_calls_over_the_same_contents_never_deadlock");
    let database = Cluster::shared().database().await;
    let tasks = (0..16u64).map(|worker| {
        let database = database.clone();
        tokio::spawn(async move {
            let mut random = fastrand::Rng::with_seed(seed.wrapping_add(worker));
            let session = database.connect_as("app").await;
            let mut queued = 0;
            let mut contents: Vec<usize> = (0..CONTENTS).collect();
            random.shuffle(&mut contents);
            for part in contents.chunks(10) {
                let firing = |n: &usize| json!({"alert": by_mail(&format!("a{n}")), "user_id": "ann", "message": format!("m{n}")});
                if worker % 2 == 0 {
                    let alerts: Vec<Value> = part.iter().map(firing).collect();
                    let rows = session.query("SELECT status FROM pgalert.deliver_alerts($1)", &[&alerts]).await.unwrap();
                    queued += rows.iter().filter(|row| row.get::<_, &str>(0) == "queued").count();
                } else {
                    for n in part {
                        let answer = fire(&session, &by_mail(&format!("a{n}")), &format!("m{n}")).await.unwrap();
                        queued += usize::from(answer == "queued");
                    }
                }
            }
            queued
        })
    });
    let queued: usize =
        within("the calls", LIMIT, join_all(tasks)).await.into_iter().map(Result::unwrap).sum();
    assert_eq!(queued, CONTENTS);
    assert_eq!(count(&database.connect().await, "outbox").await, CONTENTS as i64);
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_calls_that_lose_places_of_a_day_to_each_other_never_deadlock() {
    const LIMIT_OF_A_DAY: i64 = 3;
    let seed = e2e::seed("bulk_calls_that_lose_places_of_a_day_to_each_other_never_deadlock");
    let database = Cluster::shared().database().await;
    let session = database.connect().await;
    session
        .batch_execute("INSERT INTO pgalert.policies (name, daily_limit, dedup_window) VALUES ('thrice', 3, '0')")
        .await
        .unwrap();
    let tasks = (0..24u64).map(|worker| {
        let database = database.clone();
        tokio::spawn(async move {
            let mut random = fastrand::Rng::with_seed(seed.wrapping_add(worker));
            let session = database.connect_as("app").await;
            for _ in 0..4 {
                let alerts: Vec<Value> = (0..60)
                    .map(|_| json!({
                        "alert": {"id": format!("a{}", random.u8(..20)), "channels": ["email"], "priority": "thrice"},
                        "user_id": format!("u{}", random.u8(..7)), "message": "m"
                    }))
                    .collect();
                session.query("SELECT pgalert.deliver_alerts($1)", &[&alerts]).await.unwrap();
            }
        })
    });
    for ended in within("the calls", LIMIT, join_all(tasks)).await {
        ended.unwrap();
    }
    let days = session
        .query("SELECT count(*) FROM pgalert.outbox GROUP BY alert_id, user_id", &[])
        .await
        .unwrap();
    assert!(days.iter().all(|day| day.get::<_, i64>(0) <= LIMIT_OF_A_DAY));
    assert!(days.iter().filter(|day| day.get::<_, i64>(0) == LIMIT_OF_A_DAY).count() > 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_databases_of_a_new_cluster_create_the_extension_at_once() {
    let cluster = Cluster::start(&[]);
    let (first, second) =
        (cluster.empty_database().await.connect().await, cluster.empty_database().await);
    first.batch_execute("BEGIN; CREATE EXTENSION pgalert").await.unwrap();
    let (session, watch) = (second.connect().await, second.connect().await);
    let other =
        tokio::spawn(async move { session.batch_execute("CREATE EXTENSION pgalert").await });
    until_blocked(&watch, 1).await;
    first.batch_execute("COMMIT").await.unwrap();
    within("the second extension", LIMIT, other).await.unwrap().unwrap();
}
