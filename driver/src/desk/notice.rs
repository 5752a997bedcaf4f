//! What an action has done, told on the page after it: the link carries a word of this list, and no text.

use minijinja::Value;

use super::query::{Fields, Filter};
use super::views::count;

/// The link to a page that tells it.
pub fn link(path: &str, done: &str, letters: Option<i64>) -> String {
    let letters = letters.map(|n| n.to_string()).unwrap_or_default();
    Filter::default().link(path, &[("done", done), ("n", &letters)])
}

pub fn of(fields: &Fields) -> Option<Value> {
    let letters = fields.get("n").and_then(|n| n.parse::<i64>().ok()).unwrap_or_default();
    let (n, s) = (count(letters as f64), if letters == 1 { "" } else { "s" });
    Some(Value::from(match fields.get("done")? {
        "queued" => "Queued: a driver sends it now.".to_owned(),
        "already_queued" => "It is in the queue already: it is sent once.".to_owned(),
        "delivered" => "Delivered: it is in the inbox.".to_owned(),
        "edited" => "Saved. It is sent so when it is retried.".to_owned(),
        "edited_queued" => "Saved and queued: a driver sends it now.".to_owned(),
        "discarded" => "Discarded.".to_owned(),
        "already_gone" => "It is gone already.".to_owned(),
        "retried" => format!("{n} letter{s} queued."),
        "thrown" => format!("{n} letter{s} discarded."),
        "retried_some" => {
            format!("{n} letters queued in the time that a page has. There are more: press again.")
        }
        "thrown_some" => format!(
            "{n} letters discarded in the time that a page has. There are more: press again."
        ),
        "started" => "Started: 1 % first, then 10 %, then all.".to_owned(),
        "stopped" => "Stopped: nothing more of it is queued.".to_owned(),
        "enabled" => "Messages go to this address again.".to_owned(),
        _ => return None,
    }))
}
