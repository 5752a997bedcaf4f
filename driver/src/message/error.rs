//! Why a message was not accepted, and what that means for it.

use std::time::Duration;

use super::{classes, hiding};

/// Why a message was not accepted.
#[derive(Debug)]
pub struct SendError {
    pub kind: ErrorKind,
    /// Stable, for analysis: `smtp.4xx`, `http.429`, `timeout` …
    pub class: String,
    /// Whole, until all is hidden that is to be: what is hidden would not be found in a part of it.
    message: String,
    /// What the operator may do.
    hint: String,
    pub host: Option<String>,
    /// A second try is safe and may help soon: see `quick_pause`.
    again: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ErrorKind {
    /// May succeed later.
    Transient,
    /// Will not succeed unless somebody changes something.
    Permanent,
    /// The receiver asks for a pause; costs no retry.
    Throttled { retry_after: Duration },
}

/// Characters of a foreign answer that an error quotes.
const MAX_QUOTE_CHARS: usize = 500;

/// A receiver that asks for no longer pause is tried again within the attempt.
const SHORT_PAUSE: Duration = Duration::from_secs(5);

/// A part of a URL that may be a secret by itself; shorter ones are words.
const MIN_TOKEN_BYTES: usize = 16;

impl SendError {
    pub fn new(kind: ErrorKind, class: impl Into<String>, message: impl AsRef<str>) -> Self {
        let class = class.into();
        debug_assert!(classes::is_known(&class), "{class} is no known class");
        let message = message.as_ref().chars().filter(|c| !c.is_control()).collect();
        // Who asks for a pause has not acted, unless it is said to be otherwise.
        let again = matches!(kind, ErrorKind::Throttled { .. });
        Self { kind, class, message, hint: String::new(), host: None, again }
    }

    pub fn transient(class: impl Into<String>, message: impl AsRef<str>) -> Self {
        Self::new(ErrorKind::Transient, class, message)
    }

    pub fn permanent(class: impl Into<String>, message: impl AsRef<str>) -> Self {
        Self::new(ErrorKind::Permanent, class, message)
    }

    /// As people read it: its beginning, and what they may do.
    pub fn text(&self) -> String {
        let mut text: String = self.message.chars().take(MAX_QUOTE_CHARS).collect();
        if !self.hint.is_empty() {
            text.push_str("; ");
            text.push_str(&self.hint);
        }
        text
    }

    pub fn hinting(mut self, hint: &str) -> Self {
        hint.clone_into(&mut self.hint);
        self
    }

    /// Takes out what nobody is to read who may read errors, where the receiver has quoted it.
    pub fn hiding(mut self, text: &str) -> Self {
        hiding::hide(&mut self.message, text);
        self
    }

    /// The same for a recipient's address; of a URL also its path, which may be a secret, and the parts of it, which stand alone
    /// where the receiver has written the path in another way.
    pub fn hiding_address(self, address: &str) -> Self {
        let rest = address.split_once("://").map_or("", |(_, rest)| rest);
        let path = rest.find('/').map_or("", |at| &rest[at..]);
        let parts = path.split(['/', '?', '&', '=', '#']);
        let tokens = parts.filter(|part| part.len() >= MIN_TOKEN_BYTES);
        tokens.fold(self.hiding(address).hiding(path), Self::hiding)
    }

    pub fn at(mut self, host: Option<String>) -> Self {
        self.host = host;
        self
    }

    /// For a passing fault that cannot have been acted on, or whose repetition the receiver can tell.
    pub fn again_soon(mut self, safe: bool) -> Self {
        self.again = safe;
        self
    }

    /// How long to wait at least before a second try within the same attempt; None where that is unsafe or of no use.
    pub fn quick_pause(&self) -> Option<Duration> {
        match self.kind {
            _ if !self.again => None,
            ErrorKind::Throttled { retry_after } => {
                (retry_after <= SHORT_PAUSE).then_some(retry_after)
            }
            ErrorKind::Transient => Some(Duration::ZERO),
            ErrorKind::Permanent => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_is_hidden_before_the_quote_is_cut() {
        let secret = "c2VjcmV0LW9mLWEtcmVjaXBpZW50";
        for before in MAX_QUOTE_CHARS - secret.len()..=MAX_QUOTE_CHARS {
            let said = format!("{} {secret} and more", "ü".repeat(before));
            let error = SendError::permanent("http.4xx", said).hinting("look at it");
            let text = error.hiding(secret).text();
            assert!(!text.contains(&secret[..2]), "{before}: {text}");
            assert!(text.ends_with("; look at it"), "{text}");
            assert!(text.chars().count() <= MAX_QUOTE_CHARS + "; look at it".len());
        }
    }

    #[test]
    fn an_addresss_path_is_hidden_where_it_stands_alone() {
        let error = SendError::transient("http.5xx", "no route\nfor /services/T0/B0/secret?a=b");
        let text =
            error.hiding_address("https://hooks.example.com/services/T0/B0/secret?a=b").text();
        assert_eq!(text, "no routefor ********");
        let said = r"POST \/services\/T0\/MfKQ9r8GKYqrTwjU: 404";
        let error = SendError::transient("http.5xx", said)
            .hiding_address("https://hooks.example.com/services/T0/MfKQ9r8GKYqrTwjU?a=b");
        assert_eq!(error.text(), r"POST \/services\/T0\/********: 404");
    }
}
