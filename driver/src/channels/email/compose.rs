//! A mail from a message.

use lettre::message::dkim::DkimConfig;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::{address::AddressError, Address, Message as Mail};
use url::{Host, Url};

use crate::config::ConfigError;
use crate::message::{Message, SendError};
use crate::placeholders::{fill, url_encoded};
use crate::templates::{context, Renderer, Templates};

/// A subject is cut to this many characters: some servers refuse long header lines.
const MAX_SUBJECT_CHARS: usize = 200;
/// A line of a header has at most 998 bytes, and a URL cannot be folded.
const MAX_URL_BYTES: usize = 900;

/// What each mail of this configuration has in common.
pub struct Stationery {
    pub from: Mailbox,
    /// `{user_id}` and `{delivery_key}` are replaced; "" for none.
    pub unsubscribe_url: String,
    pub dkim: Option<DkimConfig>,
}

/// One-click unsubscription is by https alone (RFC 8058).
pub fn check_unsubscribe_url(url: &str) -> Result<(), ConfigError> {
    let bad = |reason: String| ConfigError::BadValue {
        name: "email.unsubscribe_url".into(),
        value: url.into(),
        reason,
    };
    if url.is_empty() {
        return Ok(());
    }
    let sample = fill(url, &[("user_id", "u"), ("delivery_key", "k")]).map_err(bad)?;
    match Url::parse(&sample) {
        Ok(url)
            if url.scheme() == "https"
                && sample.bytes().all(|c| c.is_ascii_graphic() && c != b'>') =>
        {
            Ok(())
        }
        Ok(_) => Err(bad("it is an https URL in ASCII, without spaces".into())),
        Err(error) => Err(bad(format!("it is no URL: {error}"))),
    }
}

/// An address whose domain is as DNS has it, so that only what stands before its "@" asks the server for more (SMTPUTF8).
pub fn mailbox(text: &str) -> Result<Mailbox, String> {
    let mut mailbox: Mailbox = text.parse().map_err(|e: AddressError| e.to_string())?;
    let domain = mailbox.email.domain();
    if !domain.is_ascii() {
        let Ok(Host::Domain(domain)) = Host::parse(domain) else {
            return Err("its domain cannot be".into());
        };
        mailbox.email =
            Address::new(mailbox.email.user(), domain).map_err(|error| error.to_string())?;
    }
    Ok(mailbox)
}

/// Subject, text and HTML.
pub fn render(
    renderer: Renderer<'_>,
    message: &Message,
    address: &str,
) -> Result<[String; 3], SendError> {
    let context = context::of(message, address, "");
    let subject = one_line(&renderer.render("email.subject.txt", &context)?);
    Ok([subject, renderer.render("email.txt", &context)?, renderer.render("email.html", &context)?])
}

fn one_line(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.trim().chars().take(MAX_SUBJECT_CHARS).collect()
}

/// lettre encodes what is not ASCII and breaks long lines; control characters never reach it.
pub fn compose(
    stationery: &Stationery,
    templates: &Templates,
    message: &Message,
    address: &str,
) -> Result<Mail, SendError> {
    let to = mailbox(address).map_err(|e| {
        SendError::permanent("bad_address", format!("the recipient is no mail address: {e}"))
    })?;
    let [subject, text, html] = render(templates.forgiving(), message, address)?;
    let from = &stationery.from;
    let mut mail = Mail::builder()
        .from(from.clone())
        .to(to)
        .subject(subject)
        .message_id(Some(format!("<{}@{}>", message.delivery_key, from.email.domain())))
        .raw_header(raw("Auto-Submitted", "auto-generated".into()));
    if let Some(url) = unsubscribe_url(stationery, message) {
        mail = mail
            .raw_header(raw("List-Unsubscribe", format!("<{url}>")))
            .raw_header(raw("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".into()));
    }
    let mut mail = mail.multipart(MultiPart::alternative_plain_html(text, html)).map_err(|e| {
        SendError::permanent("bad_message", format!("the mail could not be composed: {e}"))
    })?;
    if let Some(dkim) = &stationery.dkim {
        mail.sign(dkim);
    }
    Ok(mail)
}

fn raw(name: &'static str, value: String) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value)
}

/// None where nobody could be unsubscribed by it.
fn unsubscribe_url(stationery: &Stationery, message: &Message) -> Option<String> {
    let user_id = url_encoded(message.user_id.as_deref()?);
    let key = message.delivery_key.to_string();
    let values = [("user_id", user_id.as_str()), ("delivery_key", key.as_str())];
    let url = fill(&stationery.unsubscribe_url, &values).ok()?;
    (!url.is_empty() && url.len() <= MAX_URL_BYTES).then_some(url)
}

#[cfg(test)]
pub mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::message::tests::message;

    fn compose_for(message: &Message, address: &str) -> Result<String, SendError> {
        let stationery = Stationery {
            from: "Alerts <alerts@example.com>".parse().unwrap(),
            unsubscribe_url: "https://example.com/u?user={user_id}&key={delivery_key}".into(),
            dkim: None,
        };
        let templates = Templates::load("", BTreeMap::new(), &[]).unwrap();
        let mail = compose(&stationery, &templates, message, address)?;
        Ok(String::from_utf8(mail.formatted()).unwrap())
    }

    fn mail(change: impl FnOnce(&mut Message)) -> String {
        let mut message = message();
        change(&mut message);
        compose_for(&message, "u1@example.org").unwrap()
    }

    #[test]
    fn the_message_id_is_the_delivery_key() {
        let text = mail(|_| ());
        assert!(
            text.contains("Message-ID: <00000000-0000-0000-0000-000000000007@example.com>\r\n"),
            "{text}"
        );
        assert!(text.contains("multipart/alternative") && text.contains("text/html"), "{text}");
    }

    #[test]
    fn html_is_escaped() {
        let text = mail(|message| message.text = "<script>alert(1)</script>".into());
        assert!(text.contains("&lt;script&gt;"), "{text}");
    }

    #[test]
    fn one_click_unsubscription_names_user_and_key() {
        let text = mail(|message| message.user_id = Some("ann/1&x=y".into()));
        assert!(text.contains("\r\nList-Unsubscribe: <https://example.com/u?user=ann%2F1%26x%3Dy&key=00000000-0000-0000-0000-000000000007>\r\n"), "{text}");
        assert!(
            text.contains("\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"),
            "{text}"
        );
        assert!(!mail(|message| message.user_id = None).contains("List-Unsubscribe"));
    }

    #[test]
    fn a_domain_is_written_as_dns_has_it() {
        let domain = |text: &str| mailbox(text).map(|mailbox| mailbox.email.to_string());
        assert_eq!(domain("Ann <ann@BÜCHER.example>").unwrap(), "ann@xn--bcher-kva.example");
        assert_eq!(domain("jörg@example.org").unwrap(), "jörg@example.org");
        for bad in ["ann@①.②.③.④", "ann@bücher .example", "ann@", "ann"] {
            assert!(domain(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_page_for_unsubscription_is_an_https_url_that_a_header_can_hold() {
        for good in ["", "https://example.com/u?user={user_id}"] {
            assert!(check_unsubscribe_url(good).is_ok(), "{good}");
        }
        for bad in [
            "http://example.com/",
            "https://example.com/a b",
            "https://example.com/>",
            "https://bücher.example/",
            "https://example.com/\u{1}",
            "https://example.com/{name}",
        ] {
            assert!(check_unsubscribe_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bad_address_is_permanent() {
        let error = compose_for(&message(), "nobody\r\nRCPT TO:<x@y>").unwrap_err();
        assert_eq!(
            (error.kind, error.class.as_str()),
            (crate::message::ErrorKind::Permanent, "bad_address")
        );
    }

    proptest! {
        /// Whatever an alert says, the headers are those of a mail that says nothing special.
        #[test]
        fn nothing_adds_a_header(
            name in "(\r\n|\r|\n|\0|Bcc: x@y.z|[a-z: ]|\\PC){0,60}", user in "(\r\n|\n|Bcc: x@y.z|\\PC){0,40}", text in any::<String>(),
        ) {
            let names = |mail: &str| -> Vec<String> {
                let headers = mail.split("\r\n\r\n").next().unwrap().to_owned();
                assert!(!headers.replace("\r\n", "").contains(['\r', '\n', '\0']));
                headers.split("\r\n").filter(|line| !line.starts_with([' ', '\t']))
                    .map(|line| line.split(':').next().unwrap().to_owned()).collect()
            };
            let changed = mail(|message| {
                (message.alert_name, message.user_id, message.text) = (Some(name), Some(user), text);
            });
            prop_assert_eq!(names(&changed), names(&mail(|_| ())));
        }
    }
}
