use std::time::Duration;

use e2e::{until, Cluster};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn pg_cron_selects_a_due_retry_with_no_driver_running() {
    let cluster = Cluster::start(&[
        "shared_preload_libraries = 'pg_cron'",
        "cron.database_name = 'test0'",
        "cron.use_background_workers = on",
        "cron.log_run = on",
    ]);
    let database = cluster.database().await;
    assert_eq!(database.name, "test0");
    let session = database.connect().await;
    session
        .batch_execute("CREATE EXTENSION pg_cron; GRANT USAGE ON SCHEMA cron TO courier")
        .await
        .unwrap();
    session.execute("SELECT pgalert.set_setting('environment', 'production')", &[]).await.unwrap();
    let data = json!({"user_id": "ann", "message": "disk full", "notify_email": true});
    session.execute("SELECT pgalert.push_to_dlq('disk', $1, 'refused')", &[&data]).await.unwrap();
    session.execute("UPDATE pgalert.alert_dlq SET next_retry_at = now()", &[]).await.unwrap();

    let courier = database.connect_as("courier").await;
    let jobs = async |call: &str| -> i32 {
        courier.query_one(&format!("SELECT pgalert.{call}()"), &[]).await.unwrap().get(0)
    };
    assert_eq!(jobs("schedule_jobs").await, 2);
    assert_eq!(jobs("schedule_jobs").await, 2, "again: the same jobs");
    let registered: i64 =
        session.query_one("SELECT count(*) FROM cron.job", &[]).await.unwrap().get(0);
    assert_eq!(registered, 2);
    until("pg_cron puts the due letter into the outbox", Duration::from_secs(75), async || {
        let row = session
            .query_one(
                "SELECT (SELECT count(*) FROM pgalert.outbox), (SELECT state FROM pgalert.alert_dlq),
                        (SELECT string_agg(d.status || ': ' || d.return_message, '; ') FROM cron.job_run_details d)",
                &[],
            )
            .await
            .unwrap();
        let seen: (i64, String, Option<String>) = (row.get(0), row.get(1), row.get(2));
        if seen.0 == 1 && seen.1 == "queued" { Ok(()) } else { Err(seen) }
    })
    .await;
    until("both jobs have succeeded", Duration::from_secs(20), async || {
        let row = session.query_one("SELECT count(DISTINCT jobid), string_agg(return_message, '; ') FROM cron.job_run_details WHERE status = 'succeeded'", &[]).await.unwrap();
        if row.get::<_, i64>(0) == 2 { Ok(()) } else { Err(row.get::<_, Option<String>>(1)) }
    })
    .await;
    assert_eq!(jobs("unschedule_jobs").await, 2);
    assert_eq!(jobs("unschedule_jobs").await, 0);
    let registered: i64 =
        session.query_one("SELECT count(*) FROM cron.job", &[]).await.unwrap().get(0);
    assert_eq!(registered, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_pg_cron_the_error_says_what_to_do() {
    let database = Cluster::shared().database().await;
    let courier = database.connect_as("courier").await;
    for call in ["schedule_jobs", "unschedule_jobs"] {
        let error = courier.execute(&format!("SELECT pgalert.{call}()"), &[]).await.unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code().code(), "55000");
        assert!(error.hint().unwrap().contains("CREATE EXTENSION pg_cron"), "{error:?}");
    }
}
