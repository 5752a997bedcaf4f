//! What is read: each page, from one transaction.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::Response;
use axum::Extension;
use chrono::Utc;
use minijinja::{context, Value as Content};
use serde_json::Value;
use uuid::Uuid;

use super::access::Person;
use super::fault::Fault;
use super::query::{Fields, Filter, Period, ACTION_KEYS};
use super::store::reading;
use super::{charts, notice, Desk};
use crate::database::channels::ListedChannel;
use crate::database::{self, letters};

const PAGE: i32 = 50;
const GROUPS: i32 = 50;
/// Beyond it a count says "more than".
const COUNTED: i64 = 100_000;
pub const STATES: [&str; 5] = ["exhausted", "permanent", "expired", "waiting", "queued"];

type Answer = Result<Response, Fault>;
type App = State<Arc<Desk>>;

fn fields_of(uri: &Uri) -> Fields {
    Fields::parse(uri.query().unwrap_or_default().as_bytes())
}

impl Desk {
    /// A page for this person; `here` marks its entry of the navigation.
    pub(super) fn show(
        &self,
        name: &str,
        here: &str,
        person: &Person,
        fields: &Fields,
        content: Content,
    ) -> Answer {
        let page = context! { here, notice => notice::of(fields), ..content };
        self.views.page(name, Some(person), &self.access.signer, page)
    }
}

pub async fn overview(State(desk): App, Extension(person): Extension<Person>, uri: Uri) -> Answer {
    let fields = fields_of(&uri);
    let period = Period::parse(fields.get("period"));
    let mut connection = desk.store.connection().await?;
    let tx = reading(&mut connection).await?;
    let overview = letters::overview(&tx, period.interval()).await?;
    let chart = charts::throughput(&overview["series"], period);
    let periods = Period::ALL.map(|one| context! { name => one.name(), current => one == period });
    let rate = overview["rates"]["delivered"].as_f64().unwrap_or_default()
        / period.length().as_secs_f64()
        * 60.0;
    let content = context! {
        title => "Overview", o => overview, chart, period => period.name(), periods => periods.to_vec(), rate, states => STATES,
    };
    desk.show("overview.html", "overview", &person, &fields, content)
}

pub async fn letters(State(desk): App, Extension(person): Extension<Person>, uri: Uri) -> Answer {
    let fields = fields_of(&uri);
    let filter = fields.filter();
    let sort = fields.get("sort").unwrap_or("newest");
    let mut connection = desk.store.connection().await?;
    let tx = reading(&mut connection).await?;
    let after = fields.after();
    let page = letters::list_dead_letters(&tx, &filter.json(), sort, after.as_ref(), PAGE).await?;
    let states = letters::dlq_states(&tx).await?;
    let letters_of = |state: &str| -> i64 {
        let row = states.iter().find(|row| row["state"] == state);
        row.and_then(|row| row["letters"].as_i64()).unwrap_or_default()
    };
    let total: i64 = STATES.iter().map(|state| letters_of(state)).sum();
    let matching = match filter.is_empty() {
        true => total,
        false => letters::count_matching(&tx, &filter.json(), COUNTED).await?,
    };
    let wanted = filter.get("state").to_owned();
    let mut chips = vec![
        context! { name => "all", letters => total, link => filter.of_state("").link("/letters", &[("sort", sort)]), current => wanted.is_empty() },
    ];
    chips.extend(STATES.iter().map(|state| {
        let link = filter.of_state(state).link("/letters", &[("sort", sort)]);
        context! { name => state, letters => letters_of(state), link, current => wanted == *state }
    }));
    let content = context! {
        title => "Dead letters", letters => page.rows, chips, sort, matching, more_than => matching >= COUNTED, filter => shown(&filter), filtered => !filter.of_state("").is_empty(),
        later => later(&filter, "/letters", page.next, &[("sort", sort)]), first => after.map(|_| filter.link("/letters", &[("sort", sort)])),
        here_link => filter.link("/letters", &[("sort", sort)]),
    };
    desk.show("letters.html", "letters", &person, &fields, content)
}

pub async fn letter(
    State(desk): App,
    Extension(person): Extension<Person>,
    Path(id): Path<Uuid>,
    uri: Uri,
) -> Answer {
    let fields = fields_of(&uri);
    let mut connection = desk.store.connection().await?;
    let tx = reading(&mut connection).await?;
    let letter = letters::dead_letter(&tx, id).await?;
    let key = letter["delivery_key"].as_str().and_then(|key| key.parse().ok());
    let attempts = match key {
        Some(key) => letters::delivery_attempts(&tx, key).await?,
        None => Vec::new(),
    };
    let channels = channel_names(&database::channels::list_channels(&tx).await?, &letter);
    let alert = serde_json::to_string_pretty(&letter["alert_data"]).unwrap_or_default();
    let title = letter["alert_name"]
        .as_str()
        .or(letter["alert_id"].as_str())
        .unwrap_or("Dead letter")
        .to_owned();
    let content = context! { title, letter, attempts, channels, alert };
    desk.show("letter.html", "letters", &person, &fields, content)
}

/// What it may still be sent by: its own channels, and those known but for the inbox, which cannot fail.
fn channel_names(known: &[ListedChannel], letter: &Value) -> Vec<String> {
    let own = letter["channels"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let known = known.iter().map(|channel| channel.name.as_str()).filter(|name| *name != "inapp");
    let mut names: Vec<String> = own.chain(known).map(str::to_owned).collect();
    names.sort_unstable();
    names.dedup();
    names
}

pub async fn errors(State(desk): App, Extension(person): Extension<Person>, uri: Uri) -> Answer {
    let fields = fields_of(&uri);
    let filter = fields.filter();
    let mut connection = desk.store.connection().await?;
    let tx = reading(&mut connection).await?;
    let groups = letters::error_groups(&tx, &filter.json(), GROUPS).await?;
    let now = Utc::now();
    let groups: Vec<Content> = groups
        .iter()
        .map(|group| {
            let own = group_filter(group);
            context! { g => group, line => charts::sparkline(&group["per_hour"], now), link => own.link("/letters", &[]), pairs => own.pairs }
        })
        .collect();
    let content = context! { title => "Errors", groups, filter => shown(&filter), filtered => !filter.is_empty() };
    desk.show("errors.html", "errors", &person, &fields, content)
}

/// The letters of a group, and no others: of channels and host "-" is none.
fn group_filter(group: &Value) -> Filter {
    let keys = [
        ("error_class", "error_class"),
        ("channels", "channel"),
        ("host", "host"),
        ("error_group", "error_group"),
    ];
    let pair = |(key, column): (&str, &str)| {
        let value = group[column].as_str().filter(|value| !value.is_empty()).unwrap_or("-");
        (key.to_owned(), value.to_owned())
    };
    Filter { pairs: keys.into_iter().map(pair).collect() }
}

pub async fn deliveries(
    State(desk): App,
    Extension(person): Extension<Person>,
    uri: Uri,
) -> Answer {
    let fields = fields_of(&uri);
    let filter = fields.filter();
    let mut connection = desk.store.connection().await?;
    let tx = reading(&mut connection).await?;
    let after = fields.after();
    let page = letters::find_deliveries(&tx, &filter.json(), after.as_ref(), PAGE).await?;
    let content = context! {
        title => "Deliveries", deliveries => page.rows, looked_to => page.looked_to,
        filter => shown(&filter), filtered => !filter.is_empty(),
        later => later(&filter, "/deliveries", page.next, &[]), first => after.map(|_| filter.link("/deliveries", &[])),
    };
    desk.show("deliveries.html", "deliveries", &person, &fields, content)
}

pub async fn recipients(
    State(desk): App,
    Extension(person): Extension<Person>,
    uri: Uri,
) -> Answer {
    let fields = fields_of(&uri);
    let user = fields.get("user_id").map(str::trim).filter(|user| !user.is_empty());
    let after = fields.get("after").and_then(|id| id.parse().ok());
    let mut connection = desk.store.connection().await?;
    let tx = reading(&mut connection).await?;
    let recipients = letters::recipient_health(&tx, user, after, PAGE).await?;
    let mut filter = Filter::default();
    filter.pairs.extend(user.map(|user| ("user_id".to_owned(), user.to_owned())));
    let last = recipients.last().filter(|_| recipients.len() == PAGE as usize);
    let later = last
        .map(|last| filter.link("/recipients", &[("after", &last["recipient_id"].to_string())]));
    let first = after.map(|_| filter.link("/recipients", &[]));
    let content = context! { title => "Recipients", recipients, later, first, user, filtered => user.is_some() };
    desk.show("recipients.html", "recipients", &person, &fields, content)
}

pub async fn gradual(State(desk): App, Extension(person): Extension<Person>, uri: Uri) -> Answer {
    let fields = fields_of(&uri);
    let mut connection = desk.store.connection().await?;
    let tx = reading(&mut connection).await?;
    let retries = letters::list_gradual_retries(&tx, PAGE).await?;
    let content = context! { title => "Gradual retries", retries };
    desk.show("gradual.html", "gradual", &person, &fields, content)
}

pub async fn actions(State(desk): App, Extension(person): Extension<Person>, uri: Uri) -> Answer {
    let fields = fields_of(&uri);
    let filter = fields.filter_of(ACTION_KEYS);
    let mut connection = desk.store.connection().await?;
    let tx = reading(&mut connection).await?;
    let after = fields.after();
    let page = letters::list_actions(&tx, &filter.json(), after.as_ref(), PAGE).await?;
    let content = context! {
        title => "Actions", actions => page.rows, filter => shown(&filter), filtered => !filter.is_empty(),
        later => later(&filter, "/actions", page.next, &[]), first => after.map(|_| filter.link("/actions", &[])),
    };
    desk.show("actions.html", "actions", &person, &fields, content)
}

pub async fn no_page() -> Fault {
    Fault::NoPage
}

/// The filter for a template: its values by key, and its pairs for hidden fields.
fn shown(filter: &Filter) -> Content {
    context! { pairs => filter.pairs, ..Content::from_serialize(filter.json()) }
}

/// The link to the page that begins there.
fn later(
    filter: &Filter,
    path: &str,
    next: Option<Value>,
    more: &[(&str, &str)],
) -> Option<String> {
    let cursor = next?.to_string();
    let mut more = more.to_vec();
    more.push(("after", &cursor));
    Some(filter.link(path, &more))
}
