use e2e::{
    driver::{pgalert, run},
    tools::ask_python,
    webhook::Request,
    Cluster, Webhook,
};
use serde_json::json;

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
