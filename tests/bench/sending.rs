//! How fast the real driver sends, beside the same HTTP client in a bare loop over the same sink; how long a message takes
//! from its commit to the sink; what memory the driver keeps; and what traces cost. Started by run.sh, which gives a database
//! and a driver.
//!
//!   sending rate MESSAGES · sending latency MESSAGES · sending memory MESSAGES · sending tracing MESSAGES

// A measurement that cannot be made ends by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::{Request, StatusCode};
use axum::{extract::State, Router};
use futures_util::{stream, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_postgres::{Client, NoTls};

/// Requests under way at once, in the bare loop and in the driver.
const CONCURRENCY: usize = 64;
/// Rounds of which the median counts.
const ROUNDS: usize = 3;
/// Pairs with traces and without.
const PAIRS: usize = 9;
const MOST: Duration = Duration::from_secs(300);

/// Takes a request, reads it and answers 204.
struct Sink {
    received: AtomicUsize,
    arrived: Notify,
}

impl Sink {
    async fn start() -> (Arc<Sink>, String) {
        let sink = Arc::new(Sink { received: AtomicUsize::new(0), arrived: Notify::new() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let router = Router::new().fallback(take).with_state(sink.clone());
        tokio::spawn(async { axum::serve(listener, router).await });
        (sink, url)
    }

    async fn until(&self, count: usize) {
        let waiting = async {
            while self.received.load(Ordering::Acquire) < count {
                self.arrived.notified().await;
            }
        };
        timeout(MOST, waiting).await.expect("the sink has waited for too long");
    }

    fn count(&self) -> usize {
        self.received.load(Ordering::Acquire)
    }
}

async fn take(State(sink): State<Arc<Sink>>, _body: Bytes) -> StatusCode {
    sink.received.fetch_add(1, Ordering::AcqRel);
    sink.arrived.notify_one();
    StatusCode::NO_CONTENT
}

/// `pgalert run`, ended with SIGTERM when dropped.
struct Driver(Child);

impl Driver {
    fn start() -> Driver {
        Self::start_with(&[])
    }

    fn start_with(settings: &[(&str, &str)]) -> Driver {
        let program = std::env::var("BENCH_DRIVER").unwrap();
        let mut command = Command::new(program);
        command
            .arg("run")
            .envs([
                ("PGALERT_HTTP_ALLOW_HTTP", "true"),
                ("PGALERT_HTTP_ALLOW_ADDRESSES", "127.0.0.0/8"),
                ("PGALERT_LOG_LEVEL", "warn"),
            ])
            .env("PGALERT_WEBHOOK_CONCURRENCY", CONCURRENCY.to_string())
            .env("PGALERT_LIMITS_HOST_CONCURRENCY", CONCURRENCY.to_string())
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        Driver(command.spawn().unwrap())
    }

    /// Microseconds of processor time so far.
    fn cpu(&self) -> f64 {
        const TICK: f64 = 1e4;
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let ticks = fields.split_whitespace().skip(11).take(2); // utime and stime
        ticks.map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() * TICK
    }

    /// KiB of resident memory.
    fn memory(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

async fn connect() -> Client {
    let variable = |name| std::env::var(name).unwrap();
    let url = format!("host={} user={} dbname=bench", variable("PGHOST"), variable("PGUSER"));
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Alerts of as many users, all of which are reached at the sink.
async fn fire(client: &Client, messages: usize) {
    let thousands = i32::try_from(messages / 1000).unwrap();
    client.execute("CALL fill($1, 'webhook')", &[&thousands]).await.unwrap();
}

async fn register(client: &Client, url: &str) {
    client.execute("DELETE FROM pgalert.recipients WHERE channel = 'webhook'", &[]).await.unwrap();
    client
        .execute(
            "INSERT INTO pgalert.recipients (user_id, channel, address) SELECT 'user-' || i, 'webhook', $1 FROM generate_series(0, 99999) i",
            &[&url],
        )
        .await
        .unwrap();
}

/// A request as the driver's is, made once.
async fn bare_rate(sink: &Sink, url: &str, messages: usize) -> f64 {
    let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(CONCURRENCY)
        .build_http::<Full<Bytes>>();
    let (key, message) = (uuid::Uuid::nil().to_string(), "VIX exceeded 30 (current: 32.5)");
    let alert = serde_json::json!({"id": key, "name": "VIX above 30", "channels": ["webhook"], "user_id": "user-12345", "message": message,
        "condition": {"type": "macro", "entity": "VIX", "op": ">", "value": 30}});
    let body = serde_json::json!({"delivery_key": key, "alert_id": key, "alert_name": "VIX above 30", "user_id": "user-12345", "message": message,
        "priority": "normal", "attempt": 1, "enqueued_at": "2026-01-01T00:00:00.000000Z", "alert": alert});
    let body = Bytes::from(body.to_string());
    let (before, started) = (sink.count(), Instant::now());
    stream::iter(0..messages)
        .for_each_concurrent(CONCURRENCY, |_| async {
            let request = Request::post(url)
                .header("content-type", "application/json")
                .header("webhook-id", &key)
                .header("webhook-timestamp", "1767225600")
                .header("user-agent", "pgalert/0.0.0");
            let answer =
                client.request(request.body(Full::new(body.clone())).unwrap()).await.unwrap();
            assert!(answer.status().is_success());
            answer.into_body().collect().await.unwrap();
        })
        .await;
    sink.until(before + messages).await;
    messages as f64 / started.elapsed().as_secs_f64()
}

/// From the first to the last receipt: starting the driver does not count. Messages a second, and the driver's microseconds of
/// processor time for each.
async fn driver_rate(
    sink: &Sink,
    client: &Client,
    messages: usize,
    settings: &[(&str, &str)],
) -> (f64, f64) {
    fire(client, messages).await;
    let before = sink.count();
    let driver = Driver::start_with(settings);
    sink.until(before + 1).await;
    let (first, started, cpu) = (sink.count(), Instant::now(), driver.cpu());
    sink.until(before + messages).await;
    let sent = (before + messages - first) as f64;
    (sent / started.elapsed().as_secs_f64(), (driver.cpu() - cpu) / sent)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

async fn rate(messages: usize) {
    let ((sink, url), client) = (Sink::start().await, connect().await);
    register(&client, &url).await;
    let (mut bare, mut driven, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(bare_rate(&sink, &url, messages).await);
        let (rate, each) = driver_rate(&sink, &client, messages, &[]).await;
        driven.push(rate);
        cpu.push(each);
    }
    println!("{:.0} {:.0} {:.0}", median(driven), median(bare), median(cpu));
}

/// Milliseconds from the answer to COMMIT to the receipt, of messages one at a time: p50, p99.
async fn latency(messages: usize) {
    let ((sink, url), client) = (Sink::start().await, connect().await);
    register(&client, &url).await;
    let _driver = Driver::start();
    let mut times = Vec::new();
    for n in 0..messages + 20 {
        let before = sink.count();
        client
            .execute(
                "SELECT pgalert.deliver_alert(jsonb_build_object('id', $1::text, 'channels', jsonb_build_array('webhook')), 'user-1', $1::text)",
                &[&format!("latency-{}-{n}", fastrand::u64(..))],
            )
            .await
            .unwrap();
        let committed = Instant::now();
        sink.until(before + 1).await;
        if n >= 20 {
            times.push(committed.elapsed().as_secs_f64() * 1e3);
        }
        // Until the driver sleeps again: that is what is measured.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    times.sort_by(f64::total_cmp);
    println!("{:.1} {:.1}", times[times.len() / 2], times[times.len() * 99 / 100]);
}

/// MiB after a tenth of the messages, and the most and the least from then on.
async fn memory(messages: usize) {
    let ((sink, url), client) = (Sink::start().await, connect().await);
    register(&client, &url).await;
    let driver = Driver::start();
    let mut seen = Vec::new();
    for part in 1..=10 {
        fire(&client, messages / 10).await;
        sink.until(part * (messages / 10)).await;
        seen.push(driver.memory() as f64 / 1024.0);
    }
    let (least, most) =
        (seen.iter().copied().fold(f64::MAX, f64::min), seen.iter().copied().fold(0.0, f64::max));
    println!("{:.1} {least:.1} {most:.1}", seen[0]);
}

/// Messages a second with a tenth of them traced and without traces, and the median of the pairs' ratios. Which of a pair comes
/// first changes from pair to pair; the collector takes what it gets.
async fn tracing(messages: usize) {
    let ((sink, url), (collector, endpoint)) = (Sink::start().await, Sink::start().await);
    let client = connect().await;
    register(&client, &url).await;
    let tenth =
        [("PGALERT_TRACES_ENDPOINT", endpoint.as_str()), ("PGALERT_TRACES_SAMPLE_RATIO", "0.1")];
    driver_rate(&sink, &client, messages, &[]).await; // the first round is slower than all others
    let (mut on, mut off, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..PAIRS {
        let (with, without);
        if pair % 2 == 0 {
            with = driver_rate(&sink, &client, messages, &tenth).await.0;
            without = driver_rate(&sink, &client, messages, &[]).await.0;
        } else {
            without = driver_rate(&sink, &client, messages, &[]).await.0;
            with = driver_rate(&sink, &client, messages, &tenth).await.0;
        }
        on.push(with);
        off.push(without);
        ratios.push(with / without);
    }
    assert!(collector.count() > 0, "no span has come to the collector");
    println!("{:.0} {:.0} {:.3}", median(on), median(off), median(ratios));
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let messages = arguments[1].parse().unwrap();
    match arguments[0].as_str() {
        "rate" => rate(messages).await,
        "latency" => latency(messages).await,
        "memory" => memory(messages).await,
        "tracing" => tracing(messages).await,
        other => panic!("there is no measurement {other}"),
    }
}
