use std::{
    process::Command,
    time::{Duration, Instant},
};

use e2e::{
    driver::{once, pgalert, run},
    say,
    smtp::{injector, Fault, FaultySmtp},
    tools::Authority,
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
    to("once", database, server)
}

fn to(subcommand: &str, database: &Database, server: &FaultySmtp) -> Command {
    let mut command = pgalert(subcommand, database);
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

    let server = FaultySmtp::start(Fault::Greeting("554 5.7.8 hunter2 or aHVudGVyMg==?")).await;
    let mut check = to("check", &database, &server);
    let said = run(check.env("PGALERT_EMAIL_PASSWORD", "hunter2")).await.stdout;
    assert!(said.contains("5.7.8 ******** or ********?"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_off_or_stalls_waits_and_comes_under_the_same_id() {
    for fault in [
        Fault::DropInData,
        Fault::StallAfterData,
        Fault::Greeting("220"),
        Fault::Greeting("HTTP/1.1 400 Bad Request"),
        Fault::Greeting("421 4.3.2 shutting down"),
        Fault::Greeting("554 5.7.1 this machine is on a list"),
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

/// The mail's end is written apart from it, and would wait for the server's delayed acknowledgement.
#[tokio::test(flavor = "multi_thread")]
async fn a_mails_end_waits_for_nothing() {
    const MAILS: usize = 100;
    let (database, session) = start().await;
    let server = FaultySmtp::start(Fault::None).await;
    for number in 0..MAILS {
        fire(&session, &number.to_string(), &["email"]).await;
    }
    let mut command = once_to(&database, &server);
    command.env("PGALERT_EMAIL_CONCURRENCY", "1").env("PGALERT_LIMITS_MAX_WAIT", "10m");
    once(&mut command).await;
    let mut pauses = server.pauses();
    assert_eq!(pauses.len(), MAILS);
    pauses.sort_unstable();
    say(&format!("a mail's end comes {:?} after its beginning", pauses[MAILS / 2]));
    assert!(pauses[MAILS / 2] < Duration::from_millis(20), "{pauses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_told_though_the_server_does_not_answer_the_farewell() {
    for (command, words, letter) in [
        ("EHLO", "554 5.7.1 not from there", "disk waiting smtp.session"),
        ("AUTH", "535 5.7.8 no such user", "disk waiting smtp.auth"),
        ("MAIL", "450 4.7.1 greylisted", "disk waiting smtp.4xx"),
        ("RCPT", "550 5.1.1 no such user", "disk permanent smtp.5xx"),
        ("", "554 5.6.0 looks like spam", "disk permanent smtp.5xx"),
    ] {
        let (database, session) = start().await;
        let server = FaultySmtp::start(Fault::DeafAfter(command, words)).await;
        fire(&session, "disk", &["email"]).await;
        let mut driver = once_to(&database, &server);
        driver.env("PGALERT_EMAIL_TIMEOUT", "20s");
        if command == "AUTH" {
            driver.env("PGALERT_EMAIL_USERNAME", "ann").env("PGALERT_EMAIL_PASSWORD", "guess");
        }
        let began = Instant::now();
        once(&mut driver).await;
        assert!(began.elapsed() < Duration::from_secs(15), "{command}: {:?}", began.elapsed());
        assert_eq!(texts(&session, LETTERS).await, [letter], "{command}");
        let errors = texts(&session, ERRORS).await;
        assert!(errors[0].contains(&words[4..]), "{errors:?}");
    }
}

/// Nobody on the way can answer in the server's stead what is said to it under TLS.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_before_tls_is_no_answer_to_what_is_said_under_it() {
    let (database, session) = start().await;
    let authority = Authority::new(&Cluster::shared().folder.join("injected-ca"));
    let port = injector(&authority).await;
    fire(&session, "disk", &["email"]).await;
    let mut driver = pgalert("once", &database);
    driver
        .env("PGALERT_EMAIL_HOST", "localhost")
        .env("PGALERT_EMAIL_PORT", port.to_string())
        .env("PGALERT_EMAIL_CA_FILE", authority.file("ca.pem"))
        .env("PGALERT_EMAIL_FROM", "alerts@example.com")
        .env("PGALERT_EMAIL_TIMEOUT", "5s");
    assert_eq!(once(&mut driver).await, "0 delivered, 1 failed, 0 deferred, 0 skipped");
    let letters = texts(&session, LETTERS).await;
    assert!(letters[0].starts_with("disk waiting "), "{letters:?}");
}

/// The server writes the address as it likes.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_the_server_quotes_is_in_no_error() {
    let (database, session) = start().await;
    add_recipient(&session, "ann", "email", "Ann Lee <Ann.Lee@Example.org>").await;
    let server =
        FaultySmtp::start(Fault::AfterData("554 5.1.1 <ann.lee@EXAMPLE.org>: who is it?")).await;
    fire(&session, "disk", &["email"]).await;
    once(&mut once_to(&database, &server)).await;
    let errors = texts(&session, ERRORS).await;
    assert!(errors.iter().any(|error| error.contains("5.1.1 <********>: who")), "{errors:?}");
}
