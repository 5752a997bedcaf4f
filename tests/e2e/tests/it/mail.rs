use std::{process::Command, time::Duration};

use e2e::{
    driver::{once, pgalert},
    tools::Authority,
    within, Cluster, Database, MailServer, Session,
};
use serde_json::{json, Value};

use crate::common::{add_recipient, fire, pgalert_with_mail, texts};

async fn start() -> (Database, Session) {
    let database = Cluster::shared().database().await;
    let session = database.connect().await;
    add_recipient(&session, "ann", "email", "ann@example.org").await;
    (database, session)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_has_text_html_and_the_delivery_key() {
    let (database, session) = start().await;
    let mail = MailServer::start();
    let alert = json!({"id": "disk", "name": "Платте voll — 90 % 🔥", "channels": ["email"]});
    let message = "Größe: <b>90 %</b>\nseit 5 min\n.\nFrom here on a dot ends no mail";
    session
        .execute("SELECT pgalert.deliver_alert($1, 'ann', $2)", &[&alert, &message])
        .await
        .unwrap();
    assert_eq!(
        once(&mut pgalert_with_mail("once", &database, &mail)).await,
        "1 delivered, 0 failed, 0 deferred, 0 skipped"
    );

    let mails = mail.messages();
    assert_eq!(mails.len(), 1);
    let received = &mails[0];
    let key = &texts(&session, "SELECT delivery_key::text FROM pgalert.alert_deliveries").await[0];
    assert_eq!(received["headers"]["Message-ID"], Value::from(format!("<{key}@example.com>")));
    assert_eq!(received["headers"]["Subject"], alert["name"]);
    assert_eq!(received["headers"]["To"], "ann@example.org");
    assert_eq!(received["headers"]["Auto-Submitted"], "auto-generated");
    assert_eq!(received["mail_from"], "alerts@example.com");
    assert_eq!(received["rcpt_tos"], json!(["ann@example.org"]));
    assert_eq!(received["type"], "multipart/alternative");
    assert_eq!(received["defects"], json!([]));
    assert!(received["raw"].as_str().unwrap().is_ascii(), "what is not ASCII is encoded");
    let text = received["parts"]["text/plain"].as_str().unwrap().replace("\r\n", "\n");
    assert_eq!(text.trim_end(), message);
    let html = received["parts"]["text/html"].as_str().unwrap();
    assert!(html.contains("&lt;b&gt;90 %&lt;&#x2f;b&gt;"), "{html}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_address_is_permanent_and_a_busy_server_is_not() {
    let (database, session) = start().await;
    let mail = MailServer::start();
    add_recipient(&session, "ann", "email", "bounce@example.org").await;
    add_recipient(&session, "ann", "email", "later@example.org").await;
    fire(&session, "disk", &["email"]).await;
    assert_eq!(
        once(&mut pgalert_with_mail("once", &database, &mail)).await,
        "0 delivered, 1 failed, 0 deferred, 0 skipped"
    );
    assert_eq!(mail.messages().len(), 1);
    assert_eq!(
        texts(&session, "SELECT state || ' ' || error_class FROM pgalert.alert_dlq ORDER BY 1")
            .await,
        ["permanent smtp.5xx", "waiting smtp.4xx"]
    );
    assert_eq!(
        texts(&session, "SELECT delivery_methods::text FROM pgalert.alert_deliveries").await,
        [r#"["email"]"#]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_answering_holds_no_message_for_ever() {
    let (database, session) = start().await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut command = pgalert("once", &database);
    command
        .env("PGALERT_EMAIL_HOST", "127.0.0.1")
        .env("PGALERT_EMAIL_PORT", silent.local_addr().unwrap().port().to_string())
        .env("PGALERT_EMAIL_SECURITY", "none")
        .env("PGALERT_EMAIL_FROM", "alerts@example.com")
        .env("PGALERT_EMAIL_TIMEOUT", "500ms");
    fire(&session, "disk", &["email"]).await;
    let said = within("the driver gives up", Duration::from_secs(20), once(&mut command)).await;
    assert_eq!(said, "0 delivered, 1 failed, 0 deferred, 0 skipped");
    assert_eq!(
        texts(&session, "SELECT state || ' ' || error_class FROM pgalert.alert_dlq").await,
        ["waiting timeout"]
    );
}

fn guarded(database: &Database, mail: &MailServer, ca_file: &str, password: &str) -> Command {
    let mut command = pgalert("once", database);
    command
        .env("PGALERT_EMAIL_HOST", "localhost")
        .env("PGALERT_EMAIL_PORT", mail.port().to_string())
        .env("PGALERT_EMAIL_SECURITY", "starttls")
        .env("PGALERT_EMAIL_CA_FILE", ca_file)
        .env("PGALERT_EMAIL_USERNAME", "courier")
        .env("PGALERT_EMAIL_PASSWORD", password)
        .env("PGALERT_EMAIL_FROM", "alerts@example.com");
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn starttls_and_auth_with_a_ca_of_ones_own() {
    tls_and_auth("starttls", MailServer::start_guarded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_from_the_first_byte_and_auth_with_a_ca_of_ones_own() {
    tls_and_auth("tls", MailServer::start_with_implicit_tls).await;
}

async fn tls_and_auth(security: &str, server: fn(&Authority, &str, &str) -> MailServer) {
    let (database, session) = start().await;
    let folder = &Cluster::shared().folder;
    let authority = |whose: &str| Authority::new(&folder.join(format!("ca-{whose}-{security}")));
    let (ours, theirs) = (authority("ours"), authority("theirs"));
    let mail = server(&ours, "courier", "secret");
    let guarded = |ca_file: &str, password: &str| {
        let mut command = guarded(&database, &mail, ca_file, password);
        command.env("PGALERT_EMAIL_SECURITY", security);
        command
    };

    fire(&session, "wrong-ca", &["email"]).await;
    once(&mut guarded(&theirs.file("ca.pem"), "secret")).await;
    fire(&session, "wrong-password", &["email"]).await;
    once(&mut guarded(&ours.file("ca.pem"), "guess")).await;
    assert_eq!(mail.messages().len(), 0);
    let errors = texts(&session, "SELECT alert_id || ' ' || error_class || ' ' || error_message FROM pgalert.alert_dlq ORDER BY 1").await;
    assert!(errors[0].contains("wrong-ca tls") && errors[0].contains("certificate"), "{errors:?}");
    assert!(errors[1].contains("wrong-password smtp.auth"), "{errors:?}");
    assert!(!errors[1].contains("guess"), "{errors:?}");

    for id in ["right", "again"] {
        fire(&session, id, &["email"]).await;
        let said = once(&mut guarded(&ours.file("ca.pem"), "secret")).await;
        assert_eq!(said.split(',').next(), Some("1 delivered"));
    }
    let mails = mail.messages();
    assert_eq!(mails.len(), 2);
    assert_eq!(mails[0]["authenticated"], true);
    assert_eq!(mails[0]["tls"], security == "starttls", "as aiosmtpd counts it");
}

/// Its domain is written as DNS has it; what stands before the "@" is for a server that says that it takes it.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_beyond_ascii_is_sent_to_or_refused_for_good() {
    let (database, session) = start().await;
    let mail = MailServer::start();
    add_recipient(&session, "ann", "email", "Ännchen <ann@bücher.example>").await;
    add_recipient(&session, "ann", "email", "jörg@example.org").await;
    fire(&session, "disk", &["email"]).await;
    let mut command = pgalert_with_mail("once", &database, &mail);
    once(command.env("PGALERT_EMAIL_FROM", "Alerts <alerts@bücher.example>")).await;
    let mut to: Vec<Value> = mail.messages().iter().map(|mail| mail["rcpt_tos"].clone()).collect();
    to.sort_by_key(Value::to_string);
    assert_eq!(to, [json!(["ann@example.org"]), json!(["ann@xn--bcher-kva.example"])]);
    assert_eq!(mail.messages()[0]["mail_from"], "alerts@xn--bcher-kva.example");
    let letters = texts(
        &session,
        "SELECT concat_ws(' ', state, error_class, error_message) FROM pgalert.alert_dlq",
    )
    .await;
    assert_eq!(letters.len(), 1);
    assert!(letters[0].starts_with("permanent bad_address email: the address has"), "{letters:?}");
    assert!(letters[0].contains("SMTPUTF8") && !letters[0].contains("jörg"), "{letters:?}");
}
