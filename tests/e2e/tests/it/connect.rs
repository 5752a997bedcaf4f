//! DATABASE_URL as libpq understands it, against real servers.

use std::os::unix::fs::PermissionsExt;

use e2e::{
    driver::{once, pgalert_at, run},
    tools::{free_port, Authority},
    until, Cluster, Driver, Webhook,
};

use crate::common::{add_recipient, check_received, fire_many, number, until_delivered, LIMIT};

const NOTHING: &str = "0 delivered, 0 failed, 0 deferred, 0 skipped";

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_verified_and_passwords_come_from_a_file() {
    let folder = &Cluster::shared().folder;
    let (ours, theirs) =
        (Authority::new(&folder.join("server-ca")), Authority::new(&folder.join("other-ca")));
    let cluster = Cluster::start_with_tls(&ours);
    let database = cluster.database().await;
    database.connect().await.batch_execute("ALTER ROLE courier PASSWORD 'secret'").await.unwrap();
    let passfile = |name: &str, password: &str, mode: u32| {
        let path = ours.folder.join(name);
        std::fs::write(
            &path,
            format!(
                "other:*:*:*:x\nlocalhost:{}:*:courier:{password}\n127.0.0.1:*:*:*:{password}\n",
                cluster.port
            ),
        )
        .unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let right = passfile("right", "secret", 0o600);
    let command = |host: &str, parameters: &str, passfile: &std::path::Path| {
        let mut command = pgalert_at(
            "once",
            &format!("postgresql://courier@{host}/{}?{parameters}", database.name),
        );
        command.env("PGPASSFILE", passfile);
        command
    };
    let host = |name: &str| format!("{name}:{}", cluster.port);
    let verify = |level: &str, authority: &Authority| {
        format!("sslmode={level}&sslrootcert={}", authority.file("ca.pem"))
    };

    // What must work.
    for (host, parameters) in [
        (host("localhost"), verify("verify-full", &ours)),
        (host("127.0.0.1"), verify("verify-ca", &ours)),
        (host("localhost"), "sslmode=require".into()),
        (host("localhost"), "sslmode=prefer".into()),
        (format!("127.0.0.1:{},{}", free_port(), host("localhost")), verify("verify-full", &ours)),
    ] {
        let ended = run(&mut command(&host, &parameters, &right)).await;
        assert_eq!(
            (ended.code, ended.stdout.trim()),
            (Some(0), NOTHING),
            "{host} {parameters}: {ended:?}"
        );
        assert!(ended.stderr.contains("tls=true"), "{host} {parameters}: {ended:?}");
    }

    // What must be refused, and what is said then.
    let (wrong, open_to_all) =
        (passfile("wrong", "guess", 0o600), passfile("open", "secret", 0o644));
    for (host, parameters, passfile, reason) in [
        (host("localhost"), verify("verify-full", &theirs), &right, "certificate"),
        (host("127.0.0.1"), verify("verify-full", &ours), &right, "certificate"),
        (host("localhost"), "sslmode=disable".into(), &right, "no encryption"),
        (host("localhost"), verify("verify-full", &ours), &wrong, "password authentication failed"),
        (host("localhost"), verify("verify-full", &ours), &open_to_all, "password"),
    ] {
        let ended = run(&mut command(&host, &parameters, passfile)).await;
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(1), ""),
            "{host} {parameters}: {ended:?}"
        );
        assert!(
            ended.stderr.contains(reason),
            "{host} {parameters} does not say \"{reason}\": {ended:?}"
        );
        assert!(
            !ended.stderr.contains("guess") && !ended.stderr.contains("secret"),
            "a password is shown: {ended:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_passed_over_and_a_failover_is_a_pause() {
    let primary = Cluster::start(&["wal_level = replica"]);
    let database = primary.database().await;
    let session = database.connect().await;
    let webhook = Webhook::start().await;
    add_recipient(&session, "ann", "webhook", &webhook.url()).await;
    let standby = Cluster::standby_of(&primary, &[]);
    let url = format!(
        "postgresql://courier@/{}?host={},{}&port={},{}&target_session_attrs=read-write",
        database.name,
        standby.folder.display(),
        primary.folder.display(),
        standby.port,
        primary.port
    );
    assert_eq!(once(&mut pgalert_at("once", &url)).await, NOTHING);
    let only_standby = url
        .replace(&format!(",{}", primary.folder.display()), "")
        .replace(&format!(",{}", primary.port), "");
    let ended = run(&mut pgalert_at("once", &only_standby)).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("read-write"), "{ended:?}");

    let anything = only_standby.replace("&target_session_attrs=read-write", "");
    for command in ["check", "once"] {
        let ended = run(&mut pgalert_at(command, &anything)).await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let said = ended.stdout + &ended.stderr;
        assert!(said.contains("gives a session that cannot write: it is a standby; "), "{said}");
        assert!(!said.contains("was lost"), "{said}");
    }
    let waiting = Driver::start(&mut pgalert_at("run", &anything));
    waiting.until_logged("this driver waits for it", LIMIT).await;
    drop(waiting);
    // A standby runs nothing in a level that it does not know, which may be the default.
    let by_clerk = anything.replace("courier", "clerk")
        + "&options=-cdefault_transaction_isolation%3Dserializable";
    let ended = run(&mut pgalert_at("status", &by_clerk)).await;
    assert!(ended.stdout.ends_with("breakers: not known to a standby\n"), "{ended:?}");
    let status = once(pgalert_at("status", &by_clerk).arg("--json")).await;
    assert!(status.contains("\"open_breakers\":null"), "{status}");

    let mut driver = Driver::start(&mut pgalert_at("run", &url));
    driver.until_logged("running", LIMIT).await;
    fire_many(&session, "before", 100).await;
    until_delivered(&database, 100, LIMIT).await;
    let copied = standby.named_database(&database.name);
    let on_standby = copied.connect().await;
    until("the standby has it all", LIMIT, async || {
        let there = number(&on_standby, "SELECT count(*) FROM pgalert.alert_deliveries").await;
        if there == 100 {
            Ok(())
        } else {
            Err(there)
        }
    })
    .await;
    primary.crash();
    standby.promote();
    fire_many(&on_standby, "after", 100).await;
    until_delivered(&copied, 200, LIMIT).await;
    assert_eq!(check_received(&copied, &webhook, 200).await, 0);
    assert!(driver.is_running());
    assert_eq!(driver.terminate(LIMIT).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_databases_default_isolation_is_no_hindrance() {
    let database = Cluster::shared().database().await;
    let session = database.connect().await;
    let webhook = Webhook::start().await;
    add_recipient(&session, "ann", "webhook", &webhook.url()).await;
    for (level, count) in [("repeatable read", 1), ("serializable", 2)] {
        let set = format!(
            "ALTER DATABASE {} SET default_transaction_isolation = '{level}'",
            database.name
        );
        session.batch_execute(&set).await.unwrap();
        fire_many(&session, level, 1).await;
        let said = once(&mut pgalert_at("once", &database.url("courier"))).await;
        assert_eq!(said, "1 delivered, 0 failed, 0 deferred, 0 skipped", "{level}");
        let mut driver = Driver::start(&mut pgalert_at("run", &database.url("courier")));
        fire_many(&session, &format!("{level} run"), 1).await;
        until_delivered(&database, 2 * count, LIMIT).await;
        assert!(driver.is_running());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_read_is_told_so() {
    let database = Cluster::shared().database().await;
    let session = database.connect().await;
    let read_only = |on: &str| {
        format!("ALTER DATABASE {} SET default_transaction_read_only = {on}", database.name)
    };
    let mut driver = Driver::start(&mut pgalert_at("run", &database.url("courier")));
    driver.until_logged("running", LIMIT).await;
    session.batch_execute(&read_only("on")).await.unwrap();
    for command in ["check", "once", "run"] {
        let ended = run(&mut pgalert_at(command, &database.url("courier"))).await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let said = ended.stdout + &ended.stderr;
        let says = "gives a session that cannot write: default_transaction_read_only is on; ";
        assert!(said.contains(says) && !said.contains("was lost"), "{said}");
    }
    let mut command = pgalert_at("deliver", &database.url("app"));
    let fire = ["--alert", r#"{"id": "a"}"#, "--user", "ann", "--message", "m"];
    let ended = run(command.args(fire)).await;
    let said = ended.stderr;
    assert!(said.contains("cannot execute INSERT in a read-only transaction"), "{said}");
    assert!(said.contains("hint: the server is a standby, "), "{said}");
    assert!(!said.contains("was lost"), "{said}");

    // A running driver goes on as soon as it may.
    let webhook = Webhook::start().await;
    let lose = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'courier' AND datname = current_database()";
    session.execute(lose, &[]).await.unwrap();
    driver.until_logged("default_transaction_read_only is on", LIMIT).await;
    session.batch_execute(&read_only("off")).await.unwrap();
    add_recipient(&session, "ann", "webhook", &webhook.url()).await;
    fire_many(&session, "after", 1).await;
    until_delivered(&database, 1, LIMIT).await;
    assert!(driver.is_running());
}
