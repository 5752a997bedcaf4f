//! How many messages one worker claims and reports a second when sending costs nothing. As in `pgalert run`, a claim is made on one
//! connection while what was claimed before is reported on two others. Started by run.sh, which gives a filled queue.
//!
//!   claiming SIZE PART      messages of a claim, and of a report

// A measurement that cannot be made ends by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::time::Instant;

use futures_util::future::join_all;
use serde_json::{json, Value};
use tokio::sync::{mpsc, Mutex};
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

/// Connections that report, each another claim.
const REPORTERS: usize = 2;
/// Claims that may wait for their reports.
const AHEAD: usize = 2;

struct Claim {
    claim_id: i64,
    messages: Vec<(Uuid, i64)>,
}

async fn connect() -> Client {
    let variable = |name| std::env::var(name).unwrap();
    let url = format!(
        "host={} user={} dbname={}",
        variable("PGHOST"),
        variable("PGUSER"),
        variable("PGDATABASE")
    );
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Claims until nothing is left.
async fn claim(size: i32, claimed: mpsc::Sender<Claim>) {
    let client = connect().await;
    let claim = client
        .prepare("SELECT * FROM pgalert.claim_batch('bench', $1, '60 seconds')")
        .await
        .unwrap();
    loop {
        let rows = client.query(&claim, &[&size]).await.unwrap();
        let Some(first) = rows.first() else { return };
        let messages =
            rows.iter().map(|row| (row.get("delivery_key"), row.get("message_id"))).collect();
        claimed.send(Claim { claim_id: first.get("claim_id"), messages }).await.unwrap();
    }
}

/// Reports all as delivered; returns how many messages that finished.
async fn report(part: usize, claimed: &Mutex<mpsc::Receiver<Claim>>) -> i64 {
    let client = connect().await;
    let report = client.prepare("SELECT pgalert.report($1, 'bench', $2)").await.unwrap();
    let mut finished = 0;
    loop {
        let Some(Claim { claim_id, messages }) = claimed.lock().await.recv().await else {
            return finished;
        };
        for part in messages.chunks(part) {
            let outcomes: Value = part
                .iter()
                .map(|(delivery_key, message_id)| {
                    json!({"delivery_key": delivery_key, "message_id": message_id, "channel": "email", "outcome": "delivered"})
                })
                .collect();
            let row = client.query_one(&report, &[&claim_id, &outcomes]).await.unwrap();
            finished += i64::from(row.get::<_, i32>(0));
        }
    }
}

#[tokio::main]
async fn main() {
    let number = |n| std::env::args().nth(n).unwrap().parse::<u16>().unwrap();
    let (size, part) = (number(1).into(), number(2).into());
    let started = Instant::now();
    let (claimed, claims) = mpsc::channel(AHEAD);
    let claims = Mutex::new(claims);
    let reporters = join_all((0..REPORTERS).map(|_| report(part, &claims)));
    let (reported, ()) = tokio::join!(reporters, claim(size, claimed));
    println!("{:.0}", reported.iter().sum::<i64>() as f64 / started.elapsed().as_secs_f64());
}
