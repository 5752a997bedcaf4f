//! What Slack and Twilio are sent, in each form that it takes, is what they say themselves that they take.

use e2e::{
    driver::{once, pgalert},
    webhook::{Answer, Request},
    Cluster, Webhook,
};
use serde_json::{json, Value};

use crate::{
    channels::{form, nasty},
    common::add_recipient,
    schemas,
};

/// Sends each message at each priority, each to a user of its own, since Slack is asked once a second for each channel.
async fn requests(
    channel: &str,
    receiver: &Webhook,
    addresses: &[fn(&Webhook, usize) -> String],
    settings: &[(&str, &str)],
) -> Vec<Request> {
    let database = Cluster::shared().database().await;
    let session = database.connect().await;
    let mut count = 0;
    for message in ["down", &nasty(), &"a".repeat(20_000), &"🔥".repeat(5000), "\n"] {
        for priority in ["high", "normal", "low"] {
            let user = format!("user-{count}");
            for address in addresses {
                add_recipient(&session, &user, channel, &address(receiver, count)).await;
            }
            let alert = json!({"id": &user, "name": "Disk <&> \"full\"", "channels": [channel], "priority": priority});
            let status: String = session
                .query_one("SELECT pgalert.deliver_alert($1, $2, $3)", &[&alert, &user, &message])
                .await
                .unwrap()
                .get(0);
            assert_eq!(status, "queued");
            count += 1;
        }
    }
    let mut command = pgalert("once", &database);
    command.envs(settings.iter().map(|(name, value)| (format!("PGALERT_{name}"), value)));
    let before = receiver.count();
    let said = once(&mut command).await;
    assert_eq!(said, format!("{count} delivered, 0 failed, 0 deferred, 0 skipped"));
    let requests = receiver.requests().split_off(before);
    assert_eq!(requests.len(), count * addresses.len());
    requests
}

#[tokio::test(flavor = "multi_thread")]
async fn slack_is_sent_what_its_own_types_allow() {
    let slack = Webhook::start().await;
    slack.answer(|_| Answer::json(200, r#"{"ok": true}"#));
    let api = slack.base();
    let settings = [("SLACK_API_URL", api.as_str()), ("SLACK_TOKEN", "xoxb-secret")];
    let by_webhook = schemas::of_slack("IncomingWebhook");
    let by_token = schemas::of_slack("ChatPostMessage");
    let addresses: [fn(&Webhook, usize) -> String; 2] =
        [|slack, n| format!("{}/{n}", slack.url()), |_, n| format!("#ops-{n}")];
    let requests = requests("slack", &slack, &addresses, &settings).await;
    let (api, webhook): (Vec<_>, Vec<_>) =
        requests.into_iter().partition(|request| request.path == "/chat.postMessage");
    assert_eq!(api.len(), webhook.len());
    for (requests, schema) in [(&api, &by_token), (&webhook, &by_webhook)] {
        for Request { body, .. } in requests {
            schemas::accept(schema, body);
            schemas::check("slack", body);
            for (place, wrong) in [
                ("/blocks", json!("none")),
                ("/blocks/0/type", json!("heading")),
                ("/blocks/0/text/type", json!("mrkdwn")),
                ("/blocks/1/text/emojis", json!(true)),
                ("/blocks/2/elements", Value::Null),
                ("/texts", json!("down")),
            ] {
                assert!(!schema.is_valid(&with(body, place, wrong)), "{place}");
            }
        }
    }
    assert!(!by_token.is_valid(&webhook[0].body), "no channel");
}

#[tokio::test(flavor = "multi_thread")]
async fn twilio_is_sent_what_its_own_openapi_document_allows() {
    let twilio = Webhook::start().await;
    twilio.answer(|_| Answer::json(201, r#"{"sid": "SM1", "status": "queued"}"#));
    let (base, account) = (twilio.base(), format!("AC{:032x}", 7));
    let service = format!("MG{:032x}", 7);
    let (message, account_sid) = schemas::of_twilio();
    schemas::accept(&account_sid, &json!(account));
    for sender in [
        ("SMS_FROM", "+12025550123"),
        ("SMS_FROM", "Ops"),
        ("SMS_MESSAGING_SERVICE_SID", service.as_str()),
    ] {
        let settings = [
            sender,
            ("SMS_BASE_URL", &base),
            ("SMS_ACCOUNT_SID", &account),
            ("SMS_SECRET", "hunter2"),
            ("SMS_MAX_SEGMENTS", "10"),
        ];
        let number: fn(&Webhook, usize) -> String = |_, n| format!("+49151123456{n:02}");
        for request in requests("sms", &twilio, &[number], &settings).await {
            assert_eq!(request.path, schemas::TWILIO_PATH.replace("{AccountSid}", &account));
            assert_eq!(request.header("content-type"), Some("application/x-www-form-urlencoded"));
            let fields = json!(form(&request.raw));
            schemas::accept(&message, &fields);
            schemas::check("twilio", &fields);
            for (place, wrong) in [
                ("/to", json!("+4915112345678")),
                ("/MessagingServiceSid", json!("AC0123")),
                ("/Body", json!({})),
            ] {
                assert!(!message.is_valid(&with(&fields, place, wrong)), "{place}");
            }
        }
    }
}

/// The body with another value at a place, which may be new.
fn with(body: &Value, place: &str, value: Value) -> Value {
    let mut body = body.clone();
    let (parent, key) = place.rsplit_once('/').unwrap();
    match body.pointer_mut(parent).unwrap() {
        Value::Array(parts) => parts[key.parse::<usize>().unwrap()] = value,
        other => other[key] = value,
    }
    body
}
