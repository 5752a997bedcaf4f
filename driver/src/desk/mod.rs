//! `pgalert desk`: dead letters in a browser. Pages are made here, and everything that is decided is a SQL function.
//!
//! - `guard`: what stands before every page; `access`, `session`, `sign_in`, `csrf`: who asks, and what they may do
//! - `pages`, `query`, `charts`: what is read; `actions`, `edit`, `notice`: what is done, and how it is told
//! - `store`, `calls`: connections, and each call of the database
//! - `views`, `assets`, `fault`: templates, the style sheet, what went wrong
//! - `alone`: the desk in a process of its own

mod access;
mod actions;
mod alone;
mod assets;
mod charts;
mod csrf;
mod edit;
mod fault;
mod guard;
mod notice;
mod pages;
mod query;
mod session;
mod sign_in;
mod store;
mod views;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use axum::routing::{get, post};
use axum::{middleware, Router};
use tokio::net::TcpListener;
use tracing::info;

use crate::config::{ConfigError, Desk as Settings};
use crate::connect::Params;
use access::Access;
pub use alone::serve;
use sign_in::Attempts;
use store::Store;
use views::Views;

struct Desk {
    access: Access,
    attempts: Attempts,
    store: Store,
    views: Views,
}

/// A desk that listens, and answers once it is served.
pub struct Server {
    listener: TcpListener,
    desk: Arc<Desk>,
}

impl Server {
    pub async fn bind(settings: &Settings, params: Arc<Params>) -> anyhow::Result<Self> {
        if !settings.listen.ip().is_loopback() && !settings.authenticates() {
            return Err(ConfigError::Invalid(format!(
                "desk.listen is {}, which others can reach, and nobody is asked who they are\n\
                 hint: set PGALERT_DESK_OPERATOR_TOKEN, desk.operator_token_file or desk.proxy_header, or listen on 127.0.0.1",
                settings.listen
            ))
            .into());
        }
        let desk = Desk {
            access: Access::new(settings.clone()),
            attempts: Attempts::new(),
            store: Store::new(params, settings.connections)?,
            views: Views::new()?,
        };
        let listener = TcpListener::bind(settings.listen)
            .await
            .with_context(|| format!("the desk cannot listen on {}", settings.listen))?;
        info!("the desk is at http://{}/", listener.local_addr()?);
        Ok(Self { listener, desk: Arc::new(desk) })
    }

    /// Until `stop`, and what is asked by then is answered.
    pub async fn serve(
        self,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        let app = routes(self.desk).into_make_service_with_connect_info::<SocketAddr>();
        axum::serve(self.listener, app).with_graceful_shutdown(stop).await
    }
}

fn routes(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/", get(pages::overview))
        .route("/letters", get(pages::letters).post(actions::many))
        .route("/letters/{id}", get(pages::letter))
        .route("/letters/{id}/retry", post(actions::retry))
        .route("/letters/{id}/edit", post(actions::edit))
        .route("/letters/{id}/discard", post(actions::discard))
        .route("/errors", get(pages::errors))
        .route("/deliveries", get(pages::deliveries))
        .route("/recipients", get(pages::recipients))
        .route("/recipients/{id}/enable", post(actions::enable_recipient))
        .route("/gradual", get(pages::gradual))
        .route("/actions", get(pages::actions))
        .route("/gradual/{id}/stop", post(actions::stop_gradual))
        .route(sign_in::PATH, get(sign_in::show).post(sign_in::sign_in))
        .route("/sign-out", post(sign_in::sign_out))
        .route("/desk.css", get(assets::asset))
        .route("/desk.js", get(assets::asset))
        .route("/icon.svg", get(assets::asset))
        .fallback(pages::no_page)
        .layer(middleware::from_fn_with_state(desk.clone(), guard::guard))
        .with_state(desk)
}
