//! Texts of users arrive as they were given, whatever is in them.

use e2e::{
    driver::{once, pgalert},
    Cluster, Webhook,
};
use serde_json::{json, Value};

use crate::common::{add_recipient, texts};

/// 255 characters, many of them of several bytes, or with a meaning to SQL, JSON, arrays, patterns or a shell.
fn difficult(last: char) -> String {
    let pattern = r#"é"'\\{},%_$(){}[]<&>;:|`~*? 漢🔥Ω\n\u0041--/*#"#;
    pattern.chars().cycle().take(254).chain([last]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_and_an_alert_of_255_difficult_characters_go_through_whole() {
    let (user, alert_id) = (difficult('ü'), difficult('🔔'));
    assert_eq!((user.chars().count(), alert_id.chars().count()), (255, 255));
    let (database, webhook) = (Cluster::shared().database().await, Webhook::start().await);
    let session = database.connect().await;
    add_recipient(&session, &user, "webhook", &webhook.url()).await;
    let channels = ["inapp", "webhook", "sms"];
    let alert = json!({"id": alert_id, "name": alert_id, "channels": channels, "dedup_key": user});
    let message = format!("{user}\n{alert_id}");
    for expected in ["queued", "duplicate"] {
        let status: String = session
            .query_one("SELECT pgalert.deliver_alert($1, $2, $3)", &[&alert, &user, &message])
            .await
            .unwrap()
            .get(0);
        assert_eq!(status, expected);
    }
    assert_eq!(
        once(&mut pgalert("once", &database)).await,
        "0 delivered, 1 failed, 0 deferred, 0 skipped"
    );
    let requests = webhook.requests();
    assert_eq!(requests.len(), 1);
    let body = &requests[0].body;
    for (field, text) in [
        ("user_id", &user),
        ("alert_id", &alert_id),
        ("alert_name", &alert_id),
        ("message", &message),
    ] {
        assert_eq!(body[field], Value::from(text.as_str()), "{field}");
    }
    assert_eq!(body["alert"]["id"], alert["id"]);
    let events = session
        .query("SELECT event, channels FROM pgalert.alert_history($1, $2)", &[&alert_id, &user])
        .await
        .unwrap();
    let mut events: Vec<String> = events.iter().map(|row| row.get(0)).collect();
    events.sort();
    for event in ["accepted", "dead letter: waiting", "delivered", "duplicate", "failed"] {
        assert!(events.iter().any(|seen| seen == event), "no \"{event}\" in {events:?}");
    }
    let inbox =
        session.query("SELECT alert_id, message FROM pgalert.inbox($1)", &[&user]).await.unwrap();
    assert_eq!(
        (inbox[0].get::<_, String>(0), inbox[0].get::<_, String>(1)),
        (alert_id.clone(), message)
    );
    assert_eq!(texts(&session, "SELECT alert_id FROM pgalert.alert_dlq").await, [alert_id]);
}
