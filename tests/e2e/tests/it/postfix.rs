use std::{process::Command, time::Duration};

use e2e::{
    driver::{once, pgalert, run},
    tools::Authority,
    until, Cluster, Database, Postfix, Relay,
};
use serde_json::json;

use crate::common::{add_recipient, fire, number, texts, LIMIT};

fn with_postfix(
    subcommand: &str,
    database: &Database,
    postfix: &Postfix,
    authority: &Authority,
) -> Command {
    let mut command = pgalert(subcommand, database);
    command
        .env("PGALERT_EMAIL_HOST", "localhost")
        .env("PGALERT_EMAIL_PORT", postfix.port.to_string())
        .env("PGALERT_EMAIL_CA_FILE", authority.file("ca.pem"))
        .env("PGALERT_EMAIL_FROM", "Alerts <alerts@example.com>")
        .env("PGALERT_EMAIL_TIMEOUT", "3s");
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn each_recipient_of_a_user_has_an_outcome_of_its_own() {
    let database = Cluster::shared().database().await;
    let session = database.connect().await;
    let authority = Authority::new(&Cluster::shared().folder.join("postfix-ca"));
    let postfix = Postfix::start(&authority);
    for name in ["ann", "bob", "nobody", "later", "slow"] {
        add_recipient(&session, "ann", "email", &format!("{name}@example.org")).await;
    }
    let alert = json!({"id": "disk", "name": "Диск заполнен 🔥", "channels": ["email"]});
    session
        .execute("SELECT pgalert.deliver_alert($1, 'ann', $2)", &[&alert, &"Größe 90 %\n.\nend"])
        .await
        .unwrap();
    once(&mut with_postfix("once", &database, &postfix, &authority)).await;
    let outcomes = texts(&session, "SELECT split_part(r.address, '@', 1) || ' ' || f.error_class || ' ' || f.error FROM pgalert.delivery_failures f JOIN pgalert.recipients r USING (recipient_id) ORDER BY 1").await;
    assert_eq!(outcomes.len(), 3, "{outcomes:?}\n{}", postfix.log());
    assert!(
        outcomes[0].starts_with("later smtp.4xx ")
            && outcomes[0].contains("4.2.0")
            && outcomes[0].contains("the mailbox is busy"),
        "{outcomes:?}\n{}",
        postfix.log()
    );
    assert!(
        outcomes[1].starts_with("nobody smtp.5xx ") && outcomes[1].contains("5.1.1"),
        "{outcomes:?}"
    );
    assert!(outcomes[2].starts_with("slow timeout "), "{outcomes:?}");
    // Postfix quotes the address that it refuses; it stays out of what is recorded.
    assert!(outcomes.iter().all(|outcome| !outcome.contains("@example.org")), "{outcomes:?}");
    for name in ["ann", "bob"] {
        let mail = until("the mail is in its box", LIMIT, async || {
            postfix.mailbox(name).pop().ok_or_else(|| postfix.log())
        })
        .await;
        let key =
            &texts(&session, "SELECT delivery_key::text FROM pgalert.alert_deliveries").await[0];
        assert!(mail.contains(&format!("Message-ID: <{key}@example.com>")), "{mail}");
        assert!(mail.contains("with ESMTPS id"), "{mail}");
    }
    assert_eq!(
        texts(&session, "SELECT state FROM pgalert.alert_dlq ORDER BY 1").await,
        ["permanent", "waiting"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_ca_and_a_mail_too_large_are_told_apart() {
    let database = Cluster::shared().database().await;
    let folder = &Cluster::shared().folder;
    let (ours, theirs) = (
        Authority::new(&folder.join("postfix-ours")),
        Authority::new(&folder.join("postfix-theirs")),
    );
    let postfix = Postfix::start(&ours);
    let test = async |authority: &Authority, message: &str| {
        let mut command = with_postfix("test", &database, &postfix, authority);
        command.args(["--channel", "email", "--to", "ann@example.org", "--message", message]);
        tokio::time::timeout(Duration::from_secs(60), run(&mut command)).await.unwrap()
    };
    let ended = test(&theirs, "m").await;
    assert!(ended.code == Some(1) && ended.stderr.contains("(Transient, tls)"), "{ended:?}");
    let ended = test(&ours, &"large ".repeat(5_000)).await;
    assert!(
        ended.code == Some(1)
            && ended.stderr.contains("5.3.4")
            && ended.stderr.contains("(Permanent, smtp.5xx)"),
        "{ended:?}"
    );
    let ended = test(&ours, "m").await;
    assert!(
        ended.code == Some(0)
            && ended.stdout.contains("accepted by localhost")
            && ended.stdout.contains("250 2.0.0 Ok: queued as"),
        "{ended:?}"
    );
    let mut check = with_postfix("check", &database, &postfix, &ours);
    let checked = run(&mut check).await;
    assert!(checked.stdout.contains("✓ email: SMTP server localhost answers"), "{checked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_refused_is_no_fault_of_the_mail() {
    let database = Cluster::shared().database().await;
    let session = database.connect().await;
    let authority = Authority::new(&Cluster::shared().folder.join("postfix-auth"));
    let postfix = Postfix::start_guarded(&authority, "courier", "hunter2");
    let with_login = |subcommand: &str, user: &str, password: &str| {
        let mut command = with_postfix(subcommand, &database, &postfix, &authority);
        command.env("PGALERT_EMAIL_USERNAME", user).env("PGALERT_EMAIL_PASSWORD", password);
        command
    };
    add_recipient(&session, "ann", "email", "ann@example.org").await;
    fire(&session, "disk", &["email"]).await;
    for (user, password) in [("courier", "guess"), ("nobody", "hunter2")] {
        let said = once(&mut with_login("once", user, password)).await;
        assert_eq!(said, "0 delivered, 1 failed, 0 deferred, 0 skipped");
        let letters =
            "SELECT concat_ws(' ', state, error_class, error_message) FROM pgalert.alert_dlq";
        let letter = &texts(&session, letters).await[0];
        assert!(
            letter.starts_with("waiting smtp.auth ") && letter.contains("(535): 5.7.8"),
            "{letter}"
        );
        assert!(!letter.contains(password), "{letter}");
        assert_eq!(letter.matches("5.7.8").count(), 1, "{letter}");
        let checked = run(&mut with_login("check", user, password)).await;
        assert!(
            checked.code == Some(1)
                && checked.stdout.contains("5.7.8")
                && checked.stdout.contains("the password"),
            "{checked:?}"
        );
        session.batch_execute("UPDATE pgalert.alert_dlq SET next_retry_at = now()").await.unwrap();
    }
    assert_eq!(postfix.mailbox("ann").len(), 0);
    let said = once(&mut with_login("once", "courier", "hunter2")).await;
    assert_eq!(said, "1 delivered, 0 failed, 0 deferred, 0 skipped");
    let log = postfix.log();
    assert!(log.contains("sasl_username=courier@example.org"), "{log}");

    // Without a login nothing is taken: the mail is told, and not what it says.
    let mut command = with_postfix("test", &database, &postfix, &authority);
    let ended = run(command.args(["--channel", "email", "--to", "ann@example.org"])).await;
    assert!(ended.code == Some(1) && ended.stderr.contains("5.7.1"), "{ended:?}");
}

/// The network breaks off in the middle of a mail: the server keeps none of it, and gets it whole, once, when it is retried.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_off_in_a_mail_leaves_no_half_of_it() {
    let database = Cluster::shared().database().await;
    let session = database.connect().await;
    let authority = Authority::new(&Cluster::shared().folder.join("postfix-relay"));
    let postfix = Postfix::start(&authority);
    let relay = Relay::start(postfix.port, 8_000).await;
    let through_relay = || {
        let mut command = with_postfix("once", &database, &postfix, &authority);
        command.env("PGALERT_EMAIL_PORT", relay.port.to_string());
        command
    };
    add_recipient(&session, "ann", "email", "ann@example.org").await;
    let alert = json!({"id": "disk", "channels": ["email"]});
    let message = "a long text \n".repeat(500);
    session
        .execute("SELECT pgalert.deliver_alert($1, 'ann', $2)", &[&alert, &message])
        .await
        .unwrap();
    let said = once(&mut through_relay()).await;
    assert_eq!(said, "0 delivered, 1 failed, 0 deferred, 0 skipped", "{}", postfix.log());
    assert_eq!(
        texts(&session, "SELECT state || ' ' || error_class FROM pgalert.alert_dlq").await,
        ["waiting connect"]
    );
    until("Postfix has seen it break off", LIMIT, async || {
        let log = postfix.log();
        if log.contains("lost connection after DATA") {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
    relay.set_limit(u64::MAX);
    session.batch_execute("UPDATE pgalert.alert_dlq SET next_retry_at = now()").await.unwrap();
    let said = once(&mut through_relay()).await;
    assert_eq!(said, "1 delivered, 0 failed, 0 deferred, 0 skipped", "{}", postfix.log());
    let mails = until("the mail is in its box", LIMIT, async || {
        let mails = postfix.mailbox("ann");
        if mails.is_empty() {
            Err(postfix.log())
        } else {
            Ok(mails)
        }
    })
    .await;
    assert_eq!((mails.len(), mails[0].matches("a long text").count()), (1, 1000));
    assert_eq!(number(&session, "SELECT count(*) FROM pgalert.alert_dlq").await, 0);
}
