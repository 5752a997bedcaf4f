//! What the desk counts and writes down survives a dump, in each way in which one is restored; nothing is counted twice.

use std::process::{Command, Stdio};

use e2e::{Cluster, Database, Session};

use crate::common::{add_letters, number, texts};

/// Some of all that is counted, added up and not added up.
async fn fill(session: &Session) {
    let log = "INSERT INTO pgalert.delivery_failures (delivery_key, alert_id, user_id, channel, attempt, outcome, error_class, error)
                 SELECT gen_random_uuid(), 'a', 'ann', 'email', 1, 'failed', 'dns', 'no such host' FROM generate_series(1, 7);
               INSERT INTO pgalert.alert_deliveries (alert_id, user_id, content_hash, delivery_methods, delivery_key, attempt, priority, accepted_at)
                 SELECT 'a', 'ann', 'h', '[\"email\"]', gen_random_uuid(), 2, 'normal', now() FROM generate_series(1, 11);";
    // Some rows are in the default partitions, some in those of a month.
    session.batch_execute(log).await.unwrap();
    session.batch_execute("SELECT pgalert.maintain()").await.unwrap();
    add_letters(session, 30).await;
    session.batch_execute(log).await.unwrap();
    session
        .batch_execute(
            "SELECT pgalert.retry_gradually('{\"alert_id\": \"a-3\"}', 0.5, 'carefully');
             SELECT pgalert.discard_matching('{\"alert_id\": \"a-4\"}', 10, 'too late');
             SELECT pgalert.edit_dead_letter(id, '{\"message\": \"better\"}') FROM pgalert.alert_dlq WHERE alert_id = 'a-5';
             -- Of the user, in a schema that CREATE EXTENSION wants without functions.
             CREATE FUNCTION pgalert.of_ours() RETURNS integer LANGUAGE sql AS 'SELECT 1';",
        )
        .await
        .unwrap();
    let appended = "SELECT least((SELECT count(*) FROM pgalert.delivery_stats), (SELECT count(*) FROM pgalert.delivery_stats_new),
                                 (SELECT count(*) FROM pgalert.failure_stats), (SELECT count(*) FROM pgalert.failure_stats_new))";
    assert!(number(session, appended).await > 0, "each table has something to lose");
}

/// What every table holds, but for the transaction ids of its cluster.
async fn tables(session: &Session) -> Vec<String> {
    let names = [
        "alert_dlq",
        "alert_deliveries",
        "delivery_failures",
        "delivery_stats",
        "delivery_stats_new",
        "failure_stats",
        "failure_stats_new",
        "letter_counts",
        "operator_log",
        "gradual_retries",
    ];
    let mut tables = Vec::new();
    for name in names {
        let rows = format!(
            "SELECT '{name}: ' || count(*) || ' ' || md5(string_agg(r, ' ' ORDER BY r)) FROM (SELECT (to_jsonb(t) - 'xid')::text AS r FROM pgalert.{name} t) AS rows"
        );
        tables.extend(texts(session, &rows).await);
    }
    tables
}

/// What readers are told, and what counting gives.
async fn counts(session: &Session) -> Vec<String> {
    let told = "SELECT 'letters ' || string_agg(state || ' ' || letters, ', ' ORDER BY state) FROM pgalert.dlq_states WHERE letters > 0
                UNION ALL SELECT 'delivered ' || sum(deliveries) || ', failed ' || sum(failed) FROM pgalert.delivery_stats_hourly";
    let counted = "SELECT 'letters ' || string_agg(state || ' ' || letters, ', ' ORDER BY state) FROM (SELECT state, count(*) AS letters FROM pgalert.alert_dlq GROUP BY 1) l
                   UNION ALL SELECT format('delivered %s, failed %s', (SELECT count(*) FROM pgalert.alert_deliveries), (SELECT count(*) FROM pgalert.delivery_failures))";
    let told = texts(session, told).await;
    assert_eq!(told, texts(session, counted).await);
    told
}

/// pg_dump into pg_restore, or into psql where the dump is a script.
fn copy(from: &Database, to: &Database, dump: &[&str], restore: &[&str]) {
    let mut dumping = from.program("pg_dump");
    let mut dumping = dumping.args(dump).arg(&from.name).stdout(Stdio::piped()).spawn().unwrap();
    let mut restoring: Command = to.program(restore[0]);
    restoring.args(&restore[1..]).args(["--dbname", &to.name]).stdout(Stdio::null());
    let restored = restoring.stdin(dumping.stdout.take().unwrap()).status().unwrap();
    assert!(dumping.wait().unwrap().success() && restored.success(), "{dump:?} {restore:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_are_right_after_each_kind_of_restore() {
    let source = Cluster::shared().database().await;
    let session = source.connect().await;
    fill(&session).await;
    let (before, told) = (tables(&session).await, counts(&session).await);
    let to_restore: &[&str] = &["pg_restore", "--exit-on-error"];
    let to_psql: &[&str] = &["psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"];
    let root = "--load-via-partition-root";
    for (dump, restore, has_extension) in [
        (&["-Fc"][..], to_restore, false),
        (&["-Fc", root], to_restore, false),
        (&[root], to_psql, false),
        (&[root, "--inserts"], to_psql, false),
        (&["-Fc", root, "--data-only"], to_restore, true),
    ] {
        let database = Cluster::shared().empty_database().await;
        let restored = database.connect().await;
        if has_extension {
            restored.batch_execute("CREATE EXTENSION pgalert").await.unwrap();
        }
        copy(&source, &database, dump, restore);
        assert_eq!(tables(&restored).await, before, "{dump:?}");
        assert_eq!(counts(&restored).await, told, "{dump:?}");

        // And it goes on from there.
        restored
            .batch_execute(
                "SELECT pgalert.confirm_cluster();
                 SELECT pgalert.maintain();
                 SELECT pgalert.discard_matching('{\"alert_id\": \"a-6\"}', 10, 'too late');
                 SELECT pgalert.track_delivery('t', '{\"message\": \"m\", \"user_id\": \"ann\"}', '[\"email\"]');
                 SELECT pgalert.maintain();",
            )
            .await
            .unwrap();
        assert_ne!(counts(&restored).await, told, "{dump:?}");
        let left = "SELECT (SELECT count(*) FROM pgalert.delivery_stats_new) + (SELECT count(*) FROM pgalert.failure_stats_new)";
        assert_eq!(number(&restored, left).await, 0, "{dump:?}: all of it is added up");
        let twice =
            "SELECT count(*) - count(DISTINCT id) FROM (SELECT id FROM pgalert.operator_log) l";
        assert_eq!(number(&restored, twice).await, 0, "{dump:?}: ids go on");
    }
}
