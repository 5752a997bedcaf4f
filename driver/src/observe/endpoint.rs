//! The listener: /metrics, /healthz, /readyz. Whoever reaches it may read it; what it says is about nobody.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::extract::State;
use axum::http::{header, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures_util::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::time::{timeout_at, Instant};
use tokio_postgres::Client;
use tracing::warn;

use super::health::{Alive, Database, Ready};
use super::meters::Meters;
use super::scrape::Scrape;
use crate::channels::Channels;
use crate::check;
use crate::database::{self, DatabaseError};
use crate::link::Link;
use crate::supervisor::Supervisor;

/// For all of it together. Under the ten seconds that Prometheus waits, so that it gets the rest without the database.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(4);
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub struct Observed {
    pub meters: Arc<Meters>,
    pub channels: Channels,
    /// A connection of its own: a scrape waits for nobody, and nobody for it.
    pub link: Mutex<Link>,
    pub environment: String,
    pub supervisor: Supervisor,
    pub claim_within: Duration,
}

pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; set metrics.listen to an address of this machine and a port that is free")
    })
}

pub async fn serve(listener: TcpListener, observed: Observed) -> std::io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(Arc::new(observed));
    axum::serve(listener, router).await
}

async fn metrics(State(observed): State<Arc<Observed>>) -> Response {
    let environment = observed.environment.clone();
    let series = observed
        .ask(|client| Box::pin(async move { database::metrics(client, &environment).await }));
    let database = series.await;
    let breakers =
        (observed.channels.iter()).map(|(name, route)| (name.clone(), route.breakers())).collect();
    match (Scrape { database, breakers }).text(&observed.meters) {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn healthz(State(observed): State<Arc<Observed>>) -> Response {
    let alive = Alive::of(observed.supervisor.asleep());
    (status(alive.alive), Json(alive)).into_response()
}

async fn readyz(State(observed): State<Arc<Observed>>) -> Response {
    let environment = observed.environment.clone();
    let database = observed.ask(|client| {
        Box::pin(async move {
            let hold_reason = database::hold_reason(client, &environment).await?;
            Ok(Database { unfit: check::fits(client).await.err(), hold_reason })
        })
    });
    let ready = Ready::of(database.await, &observed.meters.vitals, observed.claim_within);
    (status(ready.ready), Json(ready)).into_response()
}

fn status(well: bool) -> StatusCode {
    if well {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

impl Observed {
    /// What the database answers in time. Why it does not, the log is told: the other connections may be well.
    async fn ask<T>(
        &self,
        call: impl for<'a> FnOnce(&'a Client) -> BoxFuture<'a, Result<T, DatabaseError>>,
    ) -> Option<T> {
        let end = Instant::now() + DATABASE_TIMEOUT;
        let Ok(mut link) = timeout_at(end, self.link.lock()).await else { return None };
        let client = match timeout_at(end, link.open()).await {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => return silent(error),
            Err(_) => return silent("no connection in time"),
        };
        let call = database::bounded(client, DATABASE_TIMEOUT, call(client));
        let answer = timeout_at(end, call).await.unwrap_or_else(|_| {
            let limit = DATABASE_TIMEOUT.as_secs();
            Err(DatabaseError::Lost(format!("no answer within {limit} s")))
        });
        match link.check(answer) {
            Ok(answer) => Some(answer),
            Err(error) => silent(error),
        }
    }
}

fn silent<T>(error: impl std::fmt::Display) -> Option<T> {
    warn!(%error, "the database does not answer what metrics and health ask");
    None
}
