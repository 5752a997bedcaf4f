use std::{process::Command, time::Duration};

use e2e::{
    driver::{once, pgalert, run},
    tools::Authority,
    until, Cluster, Database, Postfix,
};
use serde_json::json;

use crate::common::{add_recipient, texts, LIMIT};

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
