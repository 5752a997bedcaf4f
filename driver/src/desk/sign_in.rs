//! Signing in with a token, so many times a minute and address.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{header, Uri};
use axum::response::{IntoResponse, Redirect, Response};
use axum::Extension;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use minijinja::context;
use tracing::{info, warn};

use super::access::{person_name, Client, Person};
use super::fault::Fault;
use super::guard::{check_signature, read_fields};
use super::query::Fields;
use super::Desk;

pub const PATH: &str = "/sign-in";
/// What its form is signed for, where nobody is known yet.
const MARK: &str = "sign-in";
const ATTEMPTS_A_MINUTE: NonZeroU32 = NonZeroU32::new(10).unwrap();
/// A whole team may sign in from one address at the same time.
const ATTEMPTS_AT_ONCE: NonZeroU32 = NonZeroU32::new(30).unwrap();
/// Addresses that are remembered.
const MAX_ADDRESSES: usize = 10_000;

pub struct Attempts {
    limiter: DefaultKeyedRateLimiter<IpAddr>,
}

impl Attempts {
    pub fn new() -> Self {
        let quota = Quota::per_minute(ATTEMPTS_A_MINUTE).allow_burst(ATTEMPTS_AT_ONCE);
        Self { limiter: RateLimiter::keyed(quota) }
    }

    fn allow(&self, address: IpAddr) -> bool {
        if self.limiter.len() >= MAX_ADDRESSES {
            self.limiter.retain_recent();
        }
        let room = self.limiter.len() < MAX_ADDRESSES;
        room && self.limiter.check_key(&network(address)).is_ok()
    }
}

/// One who has an address of IPv6 has the /64 around it.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        v4 => v4,
    }
}

pub async fn show(
    State(desk): State<Arc<Desk>>,
    person: Option<Extension<Person>>,
    uri: Uri,
) -> Result<Response, Fault> {
    let fields = Fields::parse(uri.query().unwrap_or_default().as_bytes());
    let next = local(fields.get("next"));
    if person.is_some() {
        return Ok(Redirect::to(next).into_response());
    }
    form(&desk, next, None, "")
}

fn form(desk: &Desk, next: &str, problem: Option<&str>, name: &str) -> Result<Response, Fault> {
    let csrf = desk.access.signer.sign(MARK);
    let page = context! { title => "Sign in", next, problem, name, csrf };
    desk.views.page("sign_in.html", None, &desk.access.signer, page)
}

pub async fn sign_in(
    State(desk): State<Arc<Desk>>,
    Extension(client): Extension<Client>,
    request: Request,
) -> Result<Response, Fault> {
    let fields = read_fields(request, &desk).await?;
    check_signature(&desk, MARK, &fields)?;
    if !desk.attempts.allow(client.address) {
        warn!(address = %client.address, "desk: too many attempts to sign in");
        return Err(Fault::TooManyAttempts);
    }
    let next = local(fields.get("next"));
    let given = fields.get("name").unwrap_or_default();
    let role = desk.access.role_of(fields.get("token").unwrap_or_default());
    let (Some(role), Some(name)) = (role, person_name(given)) else {
        warn!(address = %client.address, "desk: a sign-in was refused");
        let problem = "This token is not known, or the name is missing or too long.";
        let mut response = form(&desk, next, Some(problem), given)?;
        *response.status_mut() = axum::http::StatusCode::FORBIDDEN;
        return Ok(response);
    };
    info!(address = %client.address, ?role, "desk: signed in");
    let id = desk.access.sessions.start(name, role, Instant::now());
    Ok(with_cookie(&desk, Redirect::to(next), &id, client))
}

pub async fn sign_out(
    State(desk): State<Arc<Desk>>,
    Extension(client): Extension<Client>,
    Extension(person): Extension<Person>,
    request: Request,
) -> Result<Response, Fault> {
    let fields = read_fields(request, &desk).await?;
    check_signature(&desk, &person.mark(), &fields)?;
    if let Some(id) = &person.session {
        desk.access.sessions.end(id);
    }
    Ok(with_cookie(&desk, Redirect::to(PATH), "", client))
}

fn with_cookie(desk: &Desk, redirect: Redirect, id: &str, client: Client) -> Response {
    let mut response = redirect.into_response();
    if let Some(cookie) = desk.access.sessions.cookie(id, client.secure) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

/// A page of the desk to go on to, whatever the link said.
fn local(next: Option<&str>) -> &str {
    let fits = |path: &&str| {
        path.starts_with('/')
            && !path.starts_with("//")
            && path.chars().all(|c| c.is_ascii_graphic() && c != '\\')
    };
    next.filter(fits).unwrap_or("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_goes_on_to_a_page_of_the_desk_alone() {
        assert_eq!(local(Some("/letters?state=waiting")), "/letters?state=waiting");
        for elsewhere in ["https://example.com/", "//example.com/", "/\\example.com", "", "/a\r\nb"]
        {
            assert_eq!(local(Some(elsewhere)), "/");
        }
    }

    #[test]
    fn attempts_are_counted_for_each_network() {
        let attempts = Attempts::new();
        let [one, beside, other]: [IpAddr; 3] =
            ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"].map(|text| text.parse().unwrap());
        for _ in 0..ATTEMPTS_AT_ONCE.get() {
            assert!(attempts.allow(one));
        }
        assert!(!attempts.allow(beside));
        assert!(attempts.allow(other));
    }
}
