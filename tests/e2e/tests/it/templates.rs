use std::path::PathBuf;

use e2e::{
    driver::{once, pgalert, run},
    Cluster, Database, MailServer, Webhook,
};
use serde_json::json;

use crate::common::{add_recipient, fire, pgalert_with_mail};

/// A folder with one template.
fn own(test: &str, name: &str, source: &str) -> PathBuf {
    let folder = Cluster::shared().folder.join(test);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(name), source).unwrap();
    folder
}

async fn preview(
    database: &Database,
    arguments: &[&str],
    folder: Option<&PathBuf>,
) -> (i32, String) {
    let mut command = pgalert("preview", database);
    if let Some(folder) = folder {
        command.env("PGALERT_TEMPLATES_FOLDER", folder);
    }
    let ended = run(command.args(arguments)).await;
    (ended.code.unwrap(), ended.stdout + &ended.stderr)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_is_what_is_sent() {
    let database = Cluster::shared().database().await;
    let (code, text) =
        preview(&database, &["--channel", "email", "--message", "a < b"], None).await;
    assert_eq!(code, 0);
    assert!(
        text.starts_with(
            "--- subject\nTest of pgalert\n--- text\na < b\n--- html\n<!DOCTYPE html>"
        ),
        "{text}"
    );
    assert!(text.contains("a &lt; b"), "{text}");
    let (_, text) =
        preview(&database, &["--channel", "sms", "--message", &"a".repeat(1000)], None).await;
    assert!(text.starts_with("--- text, 3 of 3 segments\n"), "{text}");
    let (_, text) =
        preview(&database, &["--channel", "webhook", "--alert", r#"{"id": 7, "n": 1.50}"#], None)
            .await;
    assert!(
        text.contains("\"alert_id\": \"7\"") && text.contains("\"message\": \"This is a test"),
        "{text}"
    );
    let (code, text) = preview(&database, &["--channel", "pigeon"], None).await;
    assert!(code == 1 && text.contains("there is no channel pigeon"), "{text}");

    let folder =
        own("preview", "slack.json", r#"{"text": {{ (user_id ~ " " ~ alert.region) | mrkdwn }}}"#);
    let (_, text) = preview(
        &database,
        &["--channel", "slack", "--user", "<ann>", "--alert", r#"{"id": "x", "region": "eu"}"#],
        Some(&folder),
    )
    .await;
    assert_eq!(text, "--- json\n{\n  \"text\": \"&lt;ann&gt; eu\"\n}\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_template_is_found_by_check_and_loses_no_alert() {
    let database = Cluster::shared().database().await;
    let session = database.connect().await;
    let (mail, webhook) = (MailServer::start(), Webhook::start().await);
    add_recipient(&session, "ann", "email", "ann@example.org").await;
    add_recipient(&session, "ann", "webhook", &webhook.url()).await;
    let folder = own("broken", "email.txt", "{{ message.no_such_method() }}");
    own("broken", "webhook.json", r#"{"text": "{{ message }}"}"#);
    let with_folder = |subcommand| {
        let mut command = pgalert_with_mail(subcommand, &database, &mail);
        command.env("PGALERT_TEMPLATES_FOLDER", &folder);
        command
    };
    let checked = run(&mut with_folder("check")).await;
    assert_eq!(checked.code, Some(1), "{checked:?}");
    assert!(
        checked.stdout.contains("✗ email: template email.txt: unknown method in line 1"),
        "{checked:?}"
    );
    assert!(
        checked.stdout.contains("✗ webhook: template webhook.json: it did not render to JSON"),
        "{checked:?}"
    );

    fire(&session, "disk", &["email", "webhook"]).await;
    let said = once(&mut with_folder("once")).await;
    assert_eq!(said, "1 delivered, 0 failed, 0 deferred, 0 skipped");
    assert!(mail.messages()[0]["parts"]["text/plain"].as_str().unwrap().starts_with("disk"));
    assert_eq!(webhook.requests()[0].body["message"], "disk");

    own("broken", "email.txt", "{{ nothing_of_this_name }}");
    let refused = run(&mut with_folder("once")).await;
    assert!(
        refused.code == Some(64) && refused.stderr.contains("there is no \"nothing_of_this_name\""),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ones_own_templates_make_the_mail_and_the_body() {
    let database = Cluster::shared().database().await;
    let session = database.connect().await;
    let (mail, webhook) = (MailServer::start(), Webhook::start().await);
    add_recipient(&session, "ann", "email", "ann@example.org").await;
    add_recipient(&session, "ann", "webhook", &webhook.url()).await;
    let folder = own(
        "mine",
        "email.subject.txt",
        "[{{ priority }}]\n{{ alert.condition.metric }} of {{ user_id }}\r\nBcc: x@example.net",
    );
    own("mine", "email.html", "<b>{{ message }}</b>");
    own("mine", "webhook.json", r#"{"whole": {{ alert }}, "key": {{ delivery_key }}}"#);
    let alert = json!({"id": "disk", "channels": ["email", "webhook"], "condition": {"metric": "free \"space\""}});
    session
        .execute("SELECT pgalert.deliver_alert($1, 'ann', '<i>90 %</i>')", &[&alert])
        .await
        .unwrap();
    let mut command = pgalert_with_mail("once", &database, &mail);
    once(command.env("PGALERT_TEMPLATES_FOLDER", &folder)).await;
    let received = &mail.messages()[0];
    assert_eq!(
        received["headers"]["Subject"],
        "[normal] free \"space\" of ann  Bcc: x@example.net"
    );
    assert!(received["headers"].get("Bcc").is_none());
    assert_eq!(
        received["parts"]["text/html"].as_str().unwrap().trim(),
        "<b>&lt;i&gt;90 %&lt;&#x2f;i&gt;</b>"
    );
    let body = &webhook.requests()[0].body;
    assert_eq!(body["whole"]["condition"]["metric"], "free \"space\"");
    assert_eq!(body["key"], webhook.requests()[0].webhook_id());
}
