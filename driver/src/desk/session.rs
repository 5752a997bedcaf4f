//! Who has signed in: in memory, so that a restart signs everybody out.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use axum::http::{header, HeaderMap, HeaderValue};
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::Engine;
use parking_lot::Mutex;

use super::access::Role;

/// Beyond it the oldest sign-in ends.
const MAX_SESSIONS: usize = 1000;
/// `__Host-` makes a browser insist on Secure, this very host and every path.
const SECURE_COOKIE: &str = "__Host-pgalert-desk";
const COOKIE: &str = "pgalert-desk";

#[derive(Clone)]
pub struct Session {
    pub name: String,
    pub role: Role,
    ends: Instant,
}

pub struct Sessions {
    lasts: Duration,
    open: Mutex<HashMap<String, Session>>,
}

impl Sessions {
    pub fn new(lasts: Duration) -> Self {
        Self { lasts, open: Mutex::default() }
    }

    /// Returns the id, which is the secret of the browser.
    pub fn start(&self, name: String, role: Role, now: Instant) -> String {
        let id = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        let mut open = self.open.lock();
        open.retain(|_, session| session.ends > now);
        if open.len() >= MAX_SESSIONS {
            let oldest = open.iter().min_by_key(|(_, session)| session.ends);
            if let Some(oldest) = oldest.map(|(id, _)| id.clone()) {
                open.remove(&oldest);
            }
        }
        open.insert(id.clone(), Session { name, role, ends: now + self.lasts });
        id
    }

    pub fn find(&self, id: &str, now: Instant) -> Option<Session> {
        self.open.lock().get(id).filter(|session| session.ends > now).cloned()
    }

    pub fn end(&self, id: &str) {
        self.open.lock().remove(id);
    }

    /// `id` "" takes the cookie back.
    pub fn cookie(&self, id: &str, secure: bool) -> Option<HeaderValue> {
        let (name, attribute) = if secure { (SECURE_COOKIE, "; Secure") } else { (COOKIE, "") };
        let age = if id.is_empty() { 0 } else { self.lasts.as_secs() };
        let text =
            format!("{name}={id}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{attribute}");
        HeaderValue::try_from(text).ok()
    }
}

/// The id that a request brings.
pub fn id_of(headers: &HeaderMap, secure: bool) -> Option<&str> {
    let wanted = if secure { SECURE_COOKIE } else { COOKIE };
    let cookies = headers.get_all(header::COOKIE).into_iter();
    cookies.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(';')).find_map(
        |pair| {
            let (name, id) = pair.trim().split_once('=')?;
            (name == wanted).then_some(id)
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_by_itself_and_by_hand() {
        let sessions = Sessions::new(Duration::from_secs(60));
        let now = Instant::now();
        let id = sessions.start("ann".into(), Role::Operator, now);
        assert_eq!(sessions.find(&id, now).unwrap().name, "ann");
        assert!(sessions.find(&id, now + Duration::from_secs(60)).is_none());
        assert!(sessions.find("other", now).is_none());
        sessions.end(&id);
        assert!(sessions.find(&id, now).is_none());
    }

    #[test]
    fn beyond_the_bound_the_oldest_ends() {
        let sessions = Sessions::new(Duration::from_secs(60));
        let now = Instant::now();
        let first = sessions.start("ann".into(), Role::Operator, now);
        let later = now + Duration::from_secs(1);
        let second = sessions.start("bob".into(), Role::Operator, later);
        for _ in 2..=MAX_SESSIONS {
            sessions.start("more".into(), Role::ReadOnly, later + Duration::from_secs(1));
        }
        assert!(sessions.find(&first, later).is_none());
        assert!(sessions.find(&second, later).is_some());
    }
}
