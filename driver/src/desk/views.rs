//! Templates of the pages, and how times and numbers are written in them.

use axum::response::{Html, IntoResponse, Response};
use chrono::{DateTime, TimeDelta, Utc};
use minijinja::value::Value;
use minijinja::{context, Environment, UndefinedBehavior};

use super::access::Person;
use super::assets;
use super::csrf::Signer;
use super::fault::Fault;

macro_rules! pages {
    ($($name:literal),* $(,)?) => { &[$(($name, include_str!(concat!("pages/", $name)))),*] };
}
const PAGES: &[(&str, &str)] = pages!(
    "actions.html",
    "deliveries.html",
    "errors.html",
    "fault.html",
    "gradual.html",
    "layout.html",
    "letter.html",
    "letters.html",
    "macros.html",
    "overview.html",
    "recipients.html",
    "sign_in.html",
);

pub struct Views {
    pages: Environment<'static>,
}

impl Views {
    pub fn new() -> Result<Self, minijinja::Error> {
        let mut pages = Environment::new();
        pages.set_undefined_behavior(UndefinedBehavior::Chainable);
        pages.set_trim_blocks(true);
        pages.set_lstrip_blocks(true);
        for (name, source) in PAGES {
            pages.add_template(name, source)?;
        }
        pages.add_filter("when", |at: Value| {
            moment(&at).map_or_else(nothing, |at| when(at, Utc::now()))
        });
        pages.add_filter("stamp", |at: Value| {
            moment(&at).map(|at| at.format("%Y-%m-%d %H:%M:%S").to_string()).unwrap_or_default()
        });
        pages.add_filter("count", |n: f64| count(n));
        pages.add_filter("percent", percent);
        pages.add_filter("lasting", lasting);
        Ok(Self { pages })
    }

    /// `person`: None where nobody has signed in.
    pub fn page(
        &self,
        name: &str,
        person: Option<&Person>,
        signer: &Signer,
        content: Value,
    ) -> Result<Response, Fault> {
        let frame = context! {
            assets => assets::version(),
            person => person.map(|person| context! {
                name => person.name,
                acts => person.may_act(),
                signed_in => person.session.is_some(),
            }),
            csrf => person.map(|person| signer.sign(&person.mark())),
        };
        let page = self.pages.get_template(name)?;
        Ok(Html(page.render(context! { ..content, ..frame })?).into_response())
    }
}

fn moment(value: &Value) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(value.as_str()?).ok().map(|at| at.to_utc())
}

fn nothing() -> Value {
    Value::from("–")
}

/// "5 min ago", with the exact time where one asks for it.
fn when(at: DateTime<Utc>, now: DateTime<Utc>) -> Value {
    let exact = at.format("%Y-%m-%d %H:%M:%S UTC");
    let (iso, past) = (at.format("%Y-%m-%dT%H:%M:%SZ"), at <= now);
    let length = rough((now - at).abs());
    let text = match (length, past) {
        (None, _) => "just now".to_owned(),
        (Some(length), true) => format!("{length} ago"),
        (Some(length), false) => format!("in {length}"),
    };
    Value::from_safe_string(format!("<time datetime=\"{iso}\" title=\"{exact}\">{text}</time>"))
}

/// None: less than a second.
fn rough(length: TimeDelta) -> Option<String> {
    let seconds = length.num_seconds();
    Some(match seconds {
        0 => return None,
        1..100 => format!("{seconds} s"),
        100..6_000 => format!("{} min", (seconds + 30) / 60),
        6_000..172_800 => format!("{} h", (seconds + 1_800) / 3_600),
        _ => format!("{} days", (seconds + 43_200) / 86_400),
    })
}

/// 1234567 is "1,234,567".
pub fn count(n: f64) -> String {
    let digits = format!("{:.0}", n.abs());
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if n <= -0.5 {
        text.insert(0, '−');
    }
    text
}

/// Never 100 % where one failed.
fn percent(share: Value) -> Value {
    let Ok(share) = f64::try_from(share) else { return nothing() };
    Value::from(match share * 100.0 {
        all if all >= 100.0 => "100 %".to_owned(),
        some => format!("{:.1} %", (some * 10.0).floor() / 10.0),
    })
}

/// A number of seconds.
fn lasting(seconds: Value) -> Value {
    let Ok(seconds) = f64::try_from(seconds) else { return nothing() };
    Value::from(match seconds {
        s if s < 1.0 => format!("{:.0} ms", s * 1000.0),
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 100.0 => format!("{s:.0} s"),
        s if s < 6_000.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3_600.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_is_a_template() {
        Views::new().unwrap();
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(
            [0.0, 999.0, 1000.0, 1_234_567.0].map(count),
            ["0", "999", "1,000", "1,234,567"]
        );
        let text = |value: Value| value.to_string();
        assert_eq!(text(percent(Value::from(0.99999))), "99.9 %");
        assert_eq!(text(percent(Value::from(1))), "100 %");
        assert_eq!(text(percent(Value::from(()))), "–");
        assert_eq!(text(lasting(Value::from(0.0421))), "42 ms");
        assert_eq!(text(lasting(Value::from(7_200))), "2.0 h");
    }

    #[test]
    fn times_are_told_from_now() {
        let now = Utc::now();
        let told = |seconds| {
            let html = when(now + TimeDelta::seconds(seconds), now).to_string();
            html.split(['>', '<']).nth(2).unwrap().to_owned()
        };
        assert_eq!([0, -5, -3_000].map(told), ["just now", "5 s ago", "50 min ago"]);
        assert_eq!([90, 7_200, 864_000].map(told), ["in 90 s", "in 2 h", "in 10 days"]);
    }
}
