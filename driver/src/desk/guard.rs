//! What stands before every page: the host that was asked for, who asks, headers that bound what a browser does with the
//! answer, and the page of what went wrong.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{ConnectInfo, FromRequest, Request, State};
use axum::http::{header, HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use minijinja::context;
use tracing::error;
use url::form_urlencoded;

use super::access::{same_site, Client, Person};
use super::fault::Fault;
use super::query::Fields;
use super::{assets, sign_in, Desk};

const HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; \
         frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    // Not less: without a referrer a browser says "null" for the origin of a form.
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

pub async fn guard(
    State(desk): State<Arc<Desk>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let client = desk.access.client(peer.ip(), request.headers());
    let person = desk.access.person(peer.ip(), client.secure, request.headers(), Instant::now());
    let response = match admit(&desk, person.as_ref(), &request) {
        Some(refused) => refused,
        None => {
            request.extensions_mut().insert(client);
            if let Some(person) = &person {
                request.extensions_mut().insert(person.clone());
            }
            next.run(request).await
        }
    };
    let mut response = match response.extensions().get::<Arc<Fault>>() {
        Some(fault) => explain(&desk, person.as_ref(), fault),
        // The router's own words: an id that is none, a method that a page does not have.
        None if is_text(&response) && response.status().is_client_error() => {
            explain(&desk, person.as_ref(), &Fault::NoPage)
        }
        None => response,
    };
    finish(response.headers_mut(), client);
    response
}

/// Some: the answer, without a look at the page.
fn admit(desk: &Desk, person: Option<&Person>, request: &Request) -> Option<Response> {
    let (headers, uri) = (request.headers(), request.uri());
    if !desk.access.knows_host(headers) {
        return Some(
            Fault::Forbidden(
                "the desk is not known by this name: desk.hosts lists those that browsers may use",
            )
            .into_response(),
        );
    }
    if request.method() == Method::POST && !same_site(headers) {
        return Some(Fault::Forbidden("this form is of another site").into_response());
    }
    if person.is_some() || assets::is_asset(uri.path()) || uri.path() == sign_in::PATH {
        return None;
    }
    if !desk.access.has_tokens() {
        return Some(Fault::Forbidden("come through the proxy that signs you in").into_response());
    }
    let wanted = uri.path_and_query().map_or("/", |wanted| wanted.as_str());
    let next = if request.method() == Method::GET { wanted } else { "/" };
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("next", next).finish();
    Some(Redirect::to(&format!("{}?{query}", sign_in::PATH)).into_response())
}

fn explain(desk: &Desk, person: Option<&Person>, fault: &Fault) -> Response {
    if let Fault::Template(problem) = fault {
        error!(%problem, "desk: a page could not be made");
    }
    let page = desk.views.page(
        "fault.html",
        person,
        &desk.access.signer,
        context! {
            title => fault.title(),
            message => fault.message(),
            detail => fault.detail(),
            hint => fault.hint(),
        },
    );
    let mut response = page.unwrap_or_else(|_| fault.message().into_response());
    *response.status_mut() = fault.status();
    if matches!(fault, Fault::Unavailable) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}

fn is_text(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE);
    kind.is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"))
}

fn finish(headers: &mut HeaderMap, client: Client) {
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if client.secure {
        let year = HeaderValue::from_static("max-age=31536000");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, year);
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

/// The fields of a form that a page of this person's has sent, who may act.
pub struct SignedForm {
    pub person: Person,
    pub fields: Fields,
}

impl FromRequest<Arc<Desk>> for SignedForm {
    type Rejection = Fault;

    async fn from_request(request: Request, desk: &Arc<Desk>) -> Result<Self, Fault> {
        let person = request.extensions().get::<Person>().cloned();
        let person = person.ok_or(Fault::Forbidden("sign in first"))?;
        let fields = read_fields(request, desk).await?;
        check_signature(desk, &person.mark(), &fields)?;
        if !person.may_act() {
            return Err(Fault::Forbidden("you may read here, and not act"));
        }
        Ok(Self { person, fields })
    }
}

pub async fn read_fields(request: Request, desk: &Arc<Desk>) -> Result<Fields, Fault> {
    let body = axum::body::Bytes::from_request(request, desk).await;
    Ok(Fields::parse(&body.map_err(|_| Fault::Input("the form is too large or broke off"))?))
}

pub fn check_signature(desk: &Desk, mark: &str, fields: &Fields) -> Result<(), Fault> {
    if desk.access.signer.signed(mark, fields.get("csrf").unwrap_or_default()) {
        return Ok(());
    }
    Err(Fault::Forbidden("this form is not of a page that you have open now: load the page again"))
}
