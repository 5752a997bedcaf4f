//! What several modules do with a database, a driver and a receiver.

use std::{collections::HashMap, process::Command, time::Duration};

use e2e::{driver::pgalert, until, Database, MailServer, Session, Webhook};
use serde_json::{json, Value};

pub const LIMIT: Duration = Duration::from_secs(60);

/// Adds an address; the receiver may be a webhook's URL.
pub async fn add_recipient(session: &Session, user: &str, channel: &str, address: &str) -> i64 {
    session
        .query_one("SELECT pgalert.add_recipient($1, $2, $3)", &[&user, &channel, &address])
        .await
        .unwrap()
        .get(0)
}

/// Fires one alert for `ann` and returns what became of it.
pub async fn fire(session: &Session, id: &str, channels: &[&str]) -> String {
    let alert = json!({"id": id, "name": id, "channels": channels});
    session
        .query_one("SELECT pgalert.deliver_alert($1, 'ann', $2)", &[&alert, &id])
        .await
        .unwrap()
        .get(0)
}

/// Fires alerts by webhook for `ann`, named prefix-0, prefix-1, …
pub async fn fire_many(session: &Session, prefix: &str, count: usize) {
    let ids: Vec<String> = (0..count).map(|number| format!("{prefix}-{number}")).collect();
    for part in ids.chunks(500) {
        let alerts: Vec<Value> =
            part.iter().map(|id| json!({"alert": {"id": id, "channels": ["webhook"]}, "user_id": "ann", "message": id})).collect();
        let rows = session
            .query("SELECT status FROM pgalert.deliver_alerts($1)", &[&alerts])
            .await
            .unwrap();
        assert!(rows.iter().all(|row| row.get::<_, &str>(0) == "queued"));
    }
}

/// Letters a-1, a-2, … of ann, which an e-mail server has refused.
pub async fn add_letters(session: &Session, count: i32) {
    session
        .execute(
            "INSERT INTO pgalert.alert_dlq (alert_id, user_id, alert_data, error_message, error_class, state, channels, priority, content_hash,
                                            delivery_key, accepted_at)
             SELECT 'a-' || n, 'ann', jsonb_build_object('id', 'a-' || n, 'user_id', 'ann', 'name', E'\\x1b[2Jname', 'message', 'text ' || n),
                    '550 no', 'smtp.5xx', CASE WHEN n = 1 THEN 'permanent' ELSE 'exhausted' END, '{email}', 'normal', md5(n::text),
                    pgalert._message_key(), now()
             FROM generate_series(1, $1) n",
            &[&count],
        )
        .await
        .unwrap();
}

/// The first column of the only row.
pub async fn number(session: &Session, query: &str) -> i64 {
    session.query_one(query, &[]).await.unwrap().get(0)
}

/// The first column of all rows.
pub async fn texts(session: &Session, query: &str) -> Vec<String> {
    session.query(query, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// Waits until the database has recorded so many deliveries.
pub async fn until_delivered(database: &Database, count: i64, limit: Duration) {
    until(&format!("{count} deliveries are recorded"), limit, async || {
        let (recorded, rest) = deliveries(database).await.map_err(|error| error.to_string())?;
        if recorded >= count {
            Ok(())
        } else {
            Err(format!("{recorded}, and {rest}"))
        }
    })
    .await
}

/// How many deliveries are recorded, and where the others are. Fails while the server is down.
async fn deliveries(database: &Database) -> Result<(i64, String), tokio_postgres::Error> {
    let session = database.try_connect_as("postgres").await?;
    let row = session
        .query_one(
            "SELECT (SELECT count(*) FROM pgalert.alert_deliveries),
                    format('%s waiting, open claims %s, dead letters %s', (SELECT sum(waiting) FROM pgalert.queue_depth()),
                           (SELECT jsonb_agg(c) FROM (SELECT * FROM pgalert.open_claims() LIMIT 3) c),
                           (SELECT jsonb_agg(d) FROM (SELECT alert_id, state, error_class FROM pgalert.alert_dlq LIMIT 3) d))",
            &[],
        )
        .await?;
    Ok((row.get(0), row.get(1)))
}

/// Each of `count` alerts has been received, each with one key, and is recorded once. Returns how many requests were
/// repetitions.
pub async fn check_received(database: &Database, webhook: &Webhook, count: usize) -> usize {
    let mut keys: HashMap<String, String> = HashMap::new();
    let requests = webhook.requests();
    for request in &requests {
        let key = keys
            .entry(request.alert_id().to_owned())
            .or_insert_with(|| request.webhook_id().to_owned());
        assert_eq!(key, request.webhook_id(), "{} came under two keys", request.alert_id());
    }
    assert_eq!(keys.len(), count, "alerts that the receiver has seen");
    let session = database.connect().await;
    let count = count as i64;
    assert_eq!(number(&session, "SELECT count(*) FROM pgalert.alert_deliveries").await, count);
    assert_eq!(
        number(&session, "SELECT count(DISTINCT delivery_key) FROM pgalert.alert_deliveries").await,
        count
    );
    assert_eq!(
        texts(
            &session,
            "SELECT alert_id || ' ' || state || ' ' || error_message FROM pgalert.alert_dlq"
        )
        .await,
        [""; 0]
    );
    requests.len() - keys.len()
}

/// `pgalert` with a mail server that asks nothing.
pub fn pgalert_with_mail(subcommand: &str, database: &Database, mail: &MailServer) -> Command {
    let mut command = pgalert(subcommand, database);
    command
        .env("PGALERT_EMAIL_HOST", "127.0.0.1")
        .env("PGALERT_EMAIL_PORT", mail.port().to_string())
        .env("PGALERT_EMAIL_SECURITY", "none")
        .env("PGALERT_EMAIL_FROM", "Alerts <alerts@example.com>");
    command
}
