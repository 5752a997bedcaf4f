//! What the driver takes is bounded: connections, and memory.

use std::{collections::BTreeSet, time::Duration};

use e2e::{driver::pgalert, say, until, webhook::Answer, Cluster, Driver, MailServer, Webhook};

use crate::common::{add_recipient, pgalert_with_mail, texts, until_delivered, LIMIT};

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_reused() {
    const ALERTS: i64 = 500;
    let database = Cluster::shared().database().await;
    let session = database.connect().await;
    let (mail, webhook) = (MailServer::start(), Webhook::start().await);
    add_recipient(&session, "ann", "email", "ann@example.org").await;
    add_recipient(&session, "ann", "webhook", &webhook.url()).await;
    let mut command = pgalert_with_mail("run", &database, &mail);
    command
        .env("PGALERT_EMAIL_CONCURRENCY", "4")
        .env("PGALERT_WEBHOOK_CONCURRENCY", "8")
        // On a busy machine the server is slow, and none is to be put off.
        .env("PGALERT_LIMITS_MAX_WAIT", "10m");
    let driver = Driver::start(&mut command);
    driver.until_logged("running", LIMIT).await;
    let connected = async || {
        let mine = "SELECT pid || ' ' || backend_start FROM pg_stat_activity WHERE usename = 'courier' AND datname = current_database() ORDER BY 1";
        texts(&session, mine).await
    };
    let at_first = until("three connections", LIMIT, async || {
        let connected = connected().await;
        if connected.len() == 3 {
            Ok(connected)
        } else {
            Err(connected)
        }
    })
    .await;
    for round in 0..5 {
        let fire = "SELECT count(pgalert.deliver_alert(jsonb_build_object('id', n, 'channels', '[\"email\", \"webhook\"]'::jsonb), 'ann', n::text))
                    FROM generate_series($1::bigint, $1 + 99) n";
        session.query(fire, &[&(round * 100)]).await.unwrap();
        until_delivered(&database, (round + 1) * 100, LIMIT).await;
    }
    let at_last = connected().await;
    assert!(
        at_first.iter().all(|one| at_last.contains(one)),
        "{at_last:?} have replaced {at_first:?}"
    );
    assert!(at_last.len() <= 4, "one more is for reports: {at_last:?}");
    let mails = mail.messages();
    assert_eq!((mails.len() as i64, webhook.count() as i64), (ALERTS, ALERTS));
    let smtp: BTreeSet<i64> =
        mails.iter().map(|mail| mail["connection"].as_i64().unwrap()).collect();
    say(&format!(
        "{ALERTS} alerts by mail and webhook: {} SMTP and {} HTTP connections",
        smtp.len(),
        webhook.connections()
    ));
    // A pool may give one up and make another; without reuse there would be one for each alert.
    assert!(smtp.len() <= 20, "{} SMTP connections for a concurrency of 4", smtp.len());
    assert!(
        webhook.connections() <= 20,
        "{} HTTP connections for a concurrency of 8",
        webhook.connections()
    );
}

/// A value in MB of /proc/PID/status: VmRSS, VmHWM …
fn memory(driver: &Driver, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", driver.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_bounded_with_5000_messages_of_500_kb_waiting() {
    const LIMIT_MB: u64 = 250;
    let database = Cluster::shared().database().await;
    let session = database.connect().await;
    let webhook = Webhook::start().await;
    webhook.answer(|_| Answer::after(Duration::from_millis(500)));
    add_recipient(&session, "ann", "webhook", &webhook.url()).await;
    session
        .batch_execute(
            "INSERT INTO pgalert.policies (name, daily_limit, dedup_window) VALUES ('plain', NULL, '0');
             SELECT pgalert.deliver_alert(jsonb_build_object('id', 'large', 'channels', '[\"webhook\"]'::jsonb, 'priority', 'plain', 'filler', repeat('x', 500000)), 'ann', 'm');
             -- The others are copies of its row, which is quicker.
             INSERT INTO pgalert.outbox (slot, lane, install_id, delivery_key, alert_id, user_id, priority, channels, content_hash, bytes, accepted_at, enqueued_at, alert_data)
             SELECT slot, lane, install_id, gen_random_uuid(), alert_id, user_id, priority, channels, content_hash, bytes, accepted_at, enqueued_at, alert_data
             FROM pgalert.outbox, generate_series(2, 5000)",
        )
        .await
        .unwrap();
    let driver = Driver::start(&mut pgalert("run", &database));
    // Much more than it may hold has come and gone by then.
    until("it has sent 600 of them", 2 * LIMIT, async || {
        let count = webhook.count();
        if count >= 600 {
            Ok(())
        } else {
            Err(count)
        }
    })
    .await;
    let most = memory(&driver, "VmHWM");
    say(&format!("5,000 messages of 500 kB waiting: the driver took {most} MB at most"));
    assert!(most < LIMIT_MB, "{most} MB");
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_bounded_with_messages_for_a_thousand_addresses() {
    /// Each address of each message is kept: 100 bytes a million times, and as much in a claim's rows. Those that wait are few.
    const LIMIT_MB: u64 = 600;
    let database = Cluster::shared().database().await;
    let session = database.connect().await;
    let webhook = Webhook::start().await;
    webhook.answer(|_| Answer::after(Duration::from_millis(500)));
    let add = "SELECT count(pgalert.add_recipient('ann', 'webhook', $1 || n)) FROM generate_series(1, 1000) n";
    session.query(add, &[&format!("{}to/", webhook.base())]).await.unwrap();
    let fire = "SELECT count(pgalert.deliver_alert(jsonb_build_object('id', n, 'channels', '[\"webhook\"]'::jsonb), 'ann', n::text))
                FROM generate_series(1, 1000) n";
    session.query(fire, &[]).await.unwrap();
    let mut command = pgalert("run", &database);
    // None is put off.
    command.env("PGALERT_LIMITS_MAX_WAIT", "24h").env("PGALERT_WORKER_LEASE", "60s");
    let driver = Driver::start(&mut command);
    until("it has sent 1500 times", 2 * LIMIT, async || {
        let count = webhook.count();
        if count >= 1500 {
            Ok(())
        } else {
            Err(count)
        }
    })
    .await;
    let most = memory(&driver, "VmHWM");
    say(&format!(
        "1,000 messages for 1,000 addresses each waiting: the driver took {most} MB at most"
    ));
    assert!(most < LIMIT_MB, "{most} MB");
}
