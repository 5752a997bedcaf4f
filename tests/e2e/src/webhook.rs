//! An HTTP server that records what it is sent, and fails as it is told.

use std::{
    net::SocketAddr,
    sync::{
        atomic::{AtomicUsize, Ordering},
        Arc, Mutex,
    },
    time::Duration,
};

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
    serve::ListenerExt,
    Router,
};
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle, time::Instant};

/// One request, recorded when its body has arrived, before it is answered.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Value,
    /// The body as it came.
    pub raw: String,
    pub at: Instant,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The key by which a receiver drops repetitions.
    pub fn webhook_id(&self) -> &str {
        self.header("webhook-id")
            .unwrap_or_else(|| panic!("a request came without webhook-id: {self:?}"))
    }

    pub fn alert_id(&self) -> &str {
        self.body["alert_id"]
            .as_str()
            .unwrap_or_else(|| panic!("a request came without alert_id: {}", self.body))
    }
}

/// What a request is answered, and after how long.
#[derive(Clone, Copy)]
pub struct Answer {
    pub status: u16,
    pub retry_after_s: Option<u32>,
    pub delay: Duration,
    pub body: &'static str,
}

impl Answer {
    pub const OK: Answer =
        Answer { status: 204, retry_after_s: None, delay: Duration::ZERO, body: "" };

    pub const fn status(status: u16) -> Answer {
        Answer { status, ..Answer::OK }
    }

    pub const fn json(status: u16, body: &'static str) -> Answer {
        Answer { status, body, ..Answer::OK }
    }

    pub const fn after(delay: Duration) -> Answer {
        Answer { delay, ..Answer::OK }
    }
}

type Rule = dyn Fn(&Request) -> Answer + Send + Sync;

#[derive(Clone)]
struct Shared {
    requests: Arc<Mutex<Vec<Request>>>,
    rule: Arc<Mutex<Arc<Rule>>>,
}

pub struct Webhook {
    pub address: SocketAddr,
    shared: Shared,
    connections: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

impl Webhook {
    pub async fn start() -> Webhook {
        Self::start_at("127.0.0.1").await
    }

    /// On an address of its own, which makes it a host of its own.
    pub async fn start_at(ip: &str) -> Webhook {
        let shared = Shared {
            requests: Arc::default(),
            rule: Arc::new(Mutex::new(Arc::new(|_: &Request| Answer::OK))),
        };
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::<AtomicUsize>::default();
        let counter = connections.clone();
        let listener = listener.tap_io(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let router = Router::new().fallback(receive).with_state(shared.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Webhook { address, shared, connections, server }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// From now on requests are answered so.
    pub fn answer(&self, rule: impl Fn(&Request) -> Answer + Send + Sync + 'static) {
        *self.shared.rule.lock().unwrap() = Arc::new(rule);
    }

    /// The root of the server, for a channel's own URL.
    pub fn base(&self) -> String {
        format!("http://{}/", self.address)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Connections that were ever made.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub fn count(&self) -> usize {
        self.shared.requests.lock().unwrap().len()
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn receive(
    State(shared): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> Response {
    let request = Request {
        path: uri.path().to_owned(),
        headers,
        body: serde_json::from_str(&body).unwrap_or_else(|_| Value::String(body.clone())),
        raw: body,
        at: Instant::now(),
    };
    let rule = shared.rule.lock().unwrap().clone();
    let answer = rule(&request);
    shared.requests.lock().unwrap().push(request);
    tokio::time::sleep(answer.delay).await;
    let status = StatusCode::from_u16(answer.status).unwrap();
    match answer.retry_after_s {
        Some(seconds) => {
            (status, [("retry-after", seconds.to_string())], answer.body).into_response()
        }
        None => (status, answer.body).into_response(),
    }
}
