use e2e::{
    driver::{pgalert, run},
    tools::ask_python,
    webhook::{Answer, Request},
    Cluster, Webhook,
};
use serde_json::json;

use crate::common::{add_recipient, fire, texts};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn verifies(request: &Request, secret: &str, body: &str) -> bool {
    let header = |name: &str| request.header(name).unwrap_or_default().to_owned();
    let headers = json!({
        "webhook-id": header("webhook-id"),
        "webhook-timestamp": header("webhook-timestamp"),
        "webhook-signature": header("webhook-signature"),
    });
    ask_python("verify_signature.py", &json!({"secret": secret, "headers": headers, "body": body}))
        == true
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_signed_verifies_in_another_language() {
    let database = Cluster::shared().database().await;
    let webhook = Webhook::start().await;
    let file = Cluster::shared().folder.join("secret");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    let mut test = pgalert("test", &database);
    test.args(["--channel", "webhook", "--to", &webhook.url(), "--message", "Größe: 90 % 🔥"]);
    let ended = run(test.arg("--secret-file").arg(&file)).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let request = &webhook.requests()[0];
    assert!(verifies(request, SECRET, &request.raw));
    assert!(!verifies(request, OTHER, &request.raw));
    assert!(!verifies(request, SECRET, &request.raw.replace("90", "10")));
    assert!(!format!("{ended:?}").contains(SECRET));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_secret_nothing_is_signed() {
    let database = Cluster::shared().database().await;
    let webhook = Webhook::start().await;
    let mut test = pgalert("test", &database);
    run(test.args(["--channel", "webhook", "--to", &webhook.url()])).await;
    assert!(webhook.requests()[0].header("webhook-signature").is_none());
    assert!(webhook.requests()[0].header("webhook-id").is_some());
}

/// Retries of one message, between which its recipient's secret is rotated.
#[tokio::test(flavor = "multi_thread")]
async fn each_attempt_is_signed_anew_with_the_secrets_that_are_valid_then() {
    let database = Cluster::shared().database().await;
    let session = database.connect().await;
    let webhook = Webhook::start().await;
    webhook.answer(|_| Answer { body: SECRET, ..Answer::status(500) });
    let id = add_recipient(&session, "ann", "webhook", &webhook.url()).await;
    session.execute("SELECT pgalert.rotate_secret($1, $2)", &[&id, &SECRET]).await.unwrap();
    fire(&session, "disk", &["webhook"]).await;
    let mut said = String::new();
    for change in [
        format!("SELECT pgalert.rotate_secret({id}, '{OTHER}')"),
        format!("SELECT pgalert.drop_old_secret({id})"),
        "SELECT".to_owned(),
    ] {
        if webhook.count() == 2 {
            // A secret that is not its recipient's any more is not known to the driver.
            webhook.answer(|_| Answer::status(500));
        }
        let ended = run(pgalert("once", &database).env("PGALERT_LOG_LEVEL", "trace")).await;
        said += &format!("{ended:?}");
        session.batch_execute(&change).await.unwrap();
        session.batch_execute("UPDATE pgalert.alert_dlq SET next_retry_at = now()").await.unwrap();
    }
    let requests = webhook.requests();
    let verified: Vec<_> = requests
        .iter()
        .map(|request| [SECRET, OTHER].map(|secret| verifies(request, secret, &request.raw)))
        .collect();
    assert_eq!(verified, [[true, false], [true, true], [false, true]]);
    assert!(requests.iter().all(|request| request.webhook_id() == requests[0].webhook_id()));

    // The receiver has told the secret to everybody who reads errors, but for the driver and the database.
    assert!(said.contains("0 delivered, 1 failed") && !said.contains(OTHER), "{said}");
    let kept = texts(
        &session,
        "SELECT row_to_json(d)::text FROM pgalert.alert_dlq d UNION ALL SELECT row_to_json(f)::text FROM pgalert.delivery_failures f
         UNION ALL SELECT row_to_json(o)::text FROM pgalert.outbox o",
    )
    .await;
    assert!(kept.len() > 6 && kept.iter().all(|row| !row.contains(OTHER)), "{kept:?}");
    assert!(!said.contains(SECRET) && kept.iter().all(|row| !row.contains(SECRET)), "{kept:?}");
}
