//! What is done: each action is one SQL function, in one transaction of the person who acts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Path, State};
use axum::response::Redirect;
use serde_json::Value;
use uuid::Uuid;

use super::fault::Fault;
use super::guard::SignedForm;
use super::query::{Fields, Filter};
use super::store::{acting, commit};
use super::{edit, notice, Desk};
use crate::database::letters::Deed;
use crate::database::{self, letters};

type Answer = Result<Redirect, Fault>;
type App = State<Arc<Desk>>;

/// Letters of one transaction.
const BATCH: i32 = 1000;
/// For how long one press goes on with further batches.
const PATIENCE: Duration = Duration::from_secs(20);

fn reason(fields: &Fields) -> Option<&str> {
    fields.get("reason").map(str::trim).filter(|reason| !reason.is_empty())
}

fn told(path: &str, done: &str) -> Redirect {
    Redirect::to(&notice::link(path, done, None))
}

/// On the page of a letter, where it is still there.
fn told_of(id: Uuid, done: &str) -> Redirect {
    match done {
        "delivered" => told("/letters", done),
        _ => told(&format!("/letters/{id}"), done),
    }
}

pub async fn retry(State(desk): App, Path(id): Path<Uuid>, form: SignedForm) -> Answer {
    let mut connection = desk.store.connection().await?;
    let tx = acting(&mut connection, &form.person.name).await?;
    let done = letters::retry_now(&tx, id, reason(&form.fields)).await?;
    commit(tx).await?;
    Ok(told_of(id, &done))
}

pub async fn discard(State(desk): App, Path(id): Path<Uuid>, form: SignedForm) -> Answer {
    let mut connection = desk.store.connection().await?;
    let tx = acting(&mut connection, &form.person.name).await?;
    let done = letters::discard(&tx, id, reason(&form.fields)).await?;
    commit(tx).await?;
    Ok(told("/letters", &done))
}

/// Saves; and with `then=retry` queues it in the same transaction.
pub async fn edit(State(desk): App, Path(id): Path<Uuid>, form: SignedForm) -> Answer {
    let mut connection = desk.store.connection().await?;
    let tx = acting(&mut connection, &form.person.name).await?;
    let letter = letters::dead_letter(&tx, id).await?;
    let changes = edit::changes(&letter, &form.fields)?;
    let why = reason(&form.fields);
    if changes.as_object().is_some_and(|changes| !changes.is_empty()) {
        letters::edit_dead_letter(&tx, id, &changes, why).await?;
    }
    let done = match form.fields.get("then") {
        Some("retry") => match letters::retry_now(&tx, id, why).await?.as_str() {
            "queued" => "edited_queued".to_owned(),
            other => other.to_owned(),
        },
        _ => "edited".to_owned(),
    };
    commit(tx).await?;
    Ok(told_of(id, &done))
}

/// What is done with many: the ones that are ticked, or all that a filter finds.
pub async fn many(State(desk): App, form: SignedForm) -> Answer {
    let SignedForm { person, fields } = &form;
    let filter = match fields.get("scope") {
        Some("all") => fields.filter(),
        _ => {
            let pairs: Vec<_> =
                fields.all("id").map(|id| ("ids".to_owned(), id.to_owned())).collect();
            if pairs.is_empty() {
                return Err(Fault::Input("no letter is selected"));
            }
            Filter { pairs }
        }
    };
    let back = match fields.get("back") {
        Some("errors") => "/errors".to_owned(),
        _ => fields.filter().link("/letters", &[("sort", fields.get("sort").unwrap_or_default())]),
    };
    let why = reason(fields);
    match fields.get("action") {
        Some("retry") => {
            desk.in_batches(&person.name, filter.json(), why, &back, Deed::Retry).await
        }
        Some("discard") if why.is_none() => Err(Fault::Input("a reason is needed to discard")),
        Some("discard") => {
            desk.in_batches(&person.name, filter.json(), why, &back, Deed::Discard).await
        }
        Some("gradually") => {
            let mut connection = desk.store.connection().await?;
            let tx = acting(&mut connection, &person.name).await?;
            let bound = fields.get("bound").and_then(|percent| percent.parse::<f64>().ok());
            let bound =
                bound.ok_or(Fault::Input("the bound of failures is a number of percent"))?;
            letters::retry_gradually(&tx, &filter.json(), bound / 100.0, why).await?;
            commit(tx).await?;
            Ok(told("/gradual", "started"))
        }
        _ => Err(Fault::Input("nothing is asked for")),
    }
}

impl Desk {
    /// One transaction after another until nothing is left, or the press has taken long enough.
    async fn in_batches(
        &self,
        operator: &str,
        filter: Value,
        why: Option<&str>,
        back: &str,
        deed: Deed,
    ) -> Answer {
        let mut filter = filter;
        let mut connection = self.store.connection().await?;
        if deed == Deed::Retry {
            // What fails again while this goes on is not retried twice.
            let tx = acting(&mut connection, operator).await?;
            filter["last_retry_before"] = letters::server_time(&tx).await?.into();
        }
        let (started, mut letters) = (Instant::now(), 0);
        let ended = loop {
            let tx = acting(&mut connection, operator).await?;
            let done = letters::do_matching(&tx, deed, &filter, BATCH, why).await?;
            commit(tx).await?;
            letters += i64::from(done);
            if done == 0 {
                break true;
            }
            if started.elapsed() > PATIENCE {
                break false;
            }
        };
        let done = match (deed, ended) {
            (Deed::Retry, true) => "retried",
            (Deed::Retry, false) => "retried_some",
            (Deed::Discard, true) => "thrown",
            (Deed::Discard, false) => "thrown_some",
        };
        Ok(Redirect::to(&notice::link(back, done, Some(letters))))
    }
}

pub async fn stop_gradual(State(desk): App, Path(id): Path<i64>, form: SignedForm) -> Answer {
    let mut connection = desk.store.connection().await?;
    let tx = acting(&mut connection, &form.person.name).await?;
    letters::stop_gradual_retry(&tx, id, reason(&form.fields)).await?;
    commit(tx).await?;
    Ok(told("/gradual", "stopped"))
}

pub async fn enable_recipient(State(desk): App, Path(id): Path<i64>, form: SignedForm) -> Answer {
    let mut connection = desk.store.connection().await?;
    let tx = acting(&mut connection, &form.person.name).await?;
    database::recipients::enable_recipient(&tx, id).await?;
    commit(tx).await?;
    Ok(told("/recipients", "enabled"))
}
