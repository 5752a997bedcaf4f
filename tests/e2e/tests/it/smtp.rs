use std::{process::Command, time::Duration};

use e2e::{
    driver::{once, pgalert},
    smtp::{Fault, FaultySmtp},
    within, Cluster, Database, Session,
};

use crate::common::{add_recipient, fire, texts};

async fn start() -> (Database, Session) {
    let database = Cluster::shared().database().await;
    let session = database.connect().await;
    add_recipient(&session, "ann", "email", "ann@example.org").await;
    (database, session)
}

fn once_to(database: &Database, server: &FaultySmtp) -> Command {
    let mut command = pgalert("once", database);
    command
        .env("PGALERT_EMAIL_HOST", "127.0.0.1")
        .env("PGALERT_EMAIL_PORT", server.port.to_string())
        .env("PGALERT_EMAIL_SECURITY", "none")
        .env("PGALERT_EMAIL_FROM", "alerts@example.com")
        .env("PGALERT_EMAIL_TIMEOUT", "2s");
    command
}

const LETTERS: &str =
    "SELECT alert_id || ' ' || state || ' ' || error_class FROM pgalert.alert_dlq ORDER BY 1";
const ERRORS: &str = "SELECT error FROM pgalert.delivery_failures";

#[tokio::test(flavor = "multi_thread")]
async fn refusals_after_the_mail_keep_their_enhanced_codes() {
    for (words, letter, code) in [
        ("451 4.3.0 queue file write error", "disk waiting smtp.4xx", "4.3.0 queue file"),
        ("554 5.7.1 looks like spam", "disk permanent smtp.5xx", "5.7.1 looks like spam"),
        (
            "554-5.7.1 for more than\r\n554 5.7.1 one reason",
            "disk permanent smtp.5xx",
            "5.7.1 for more than",
        ),
    ] {
        let (database, session) = start().await;
        let server = FaultySmtp::start(Fault::AfterData(words)).await;
        fire(&session, "disk", &["email"]).await;
        once(&mut once_to(&database, &server)).await;
        assert_eq!(texts(&session, LETTERS).await, [letter]);
        let errors = texts(&session, ERRORS).await;
        assert!(errors[0].contains(code), "{errors:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_the_server_quotes_is_in_no_error() {
    let (database, session) = start().await;
    // base64 of hunter2
    let server = FaultySmtp::start(Fault::AfterData("554 5.7.8 hunter2 or aHVudGVyMg==?")).await;
    fire(&session, "disk", &["email"]).await;
    once(once_to(&database, &server).env("PGALERT_EMAIL_PASSWORD", "hunter2")).await;
    let errors = texts(&session, ERRORS).await;
    assert!(errors[0].contains("5.7.8 ******** or ********?"), "{errors:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_off_or_stalls_waits_and_comes_under_the_same_id() {
    for fault in [
        Fault::DropInData,
        Fault::StallAfterData,
        Fault::Greeting("220"),
        Fault::Greeting("HTTP/1.1 400 Bad Request"),
        Fault::Greeting("421 4.3.2 shutting down"),
    ] {
        let (database, session) = start().await;
        let server = FaultySmtp::start(fault).await;
        fire(&session, "disk", &["email"]).await;
        within(
            "the driver gives up",
            Duration::from_secs(30),
            once(&mut once_to(&database, &server)),
        )
        .await;
        let letters = texts(&session, LETTERS).await;
        assert!(
            letters.len() == 1 && letters[0].starts_with("disk waiting "),
            "{fault:?}: {letters:?}"
        );
        assert!(server.sessions() > 0, "{fault:?}");
        let key = &texts(&session, "SELECT delivery_key::text FROM pgalert.alert_dlq").await[0];

        server.set(Fault::None);
        session.batch_execute("UPDATE pgalert.alert_dlq SET next_retry_at = now()").await.unwrap();
        assert_eq!(
            once(&mut once_to(&database, &server)).await,
            "1 delivered, 0 failed, 0 deferred, 0 skipped",
            "{fault:?}"
        );
        let mails = server.mails();
        let id = format!("Message-ID: <{key}@example.com>");
        assert!(
            !mails.is_empty() && mails.iter().all(|mail| mail.contains(&id)),
            "{fault:?}: {mails:?}"
        );
    }
}

/// The answer to a mail that was given up is none to the next one on the same connection.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_too_late_is_not_taken_for_another_mails() {
    let (database, session) = start().await;
    let server = FaultySmtp::start(Fault::AcceptsOneLate("554 5.7.1 looks like spam")).await;
    for id in ["a", "b", "c"] {
        fire(&session, id, &["email"]).await;
    }
    let said = once(once_to(&database, &server).env("PGALERT_EMAIL_CONCURRENCY", "1")).await;
    assert_eq!(said, "0 delivered, 3 failed, 0 deferred, 0 skipped");
    let classes = "SELECT state || ' ' || error_class FROM pgalert.alert_dlq ORDER BY 1";
    assert_eq!(
        texts(&session, classes).await,
        ["permanent smtp.5xx", "permanent smtp.5xx", "waiting timeout"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_kept_for_the_next_mail() {
    let (database, session) = start().await;
    let server = FaultySmtp::start(Fault::None).await;
    for id in ["a", "b", "c"] {
        fire(&session, id, &["email"]).await;
    }
    once(once_to(&database, &server).env("PGALERT_EMAIL_CONCURRENCY", "1")).await;
    assert_eq!((server.mails().len(), server.sessions()), (3, 1));
}
