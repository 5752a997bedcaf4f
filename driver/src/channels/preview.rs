//! What a channel would send, without sending it: for `pgalert preview`, and for `pgalert check` of the user's templates.

use super::{email, slack, sms, webhook};
use crate::config::Config;
use crate::message::{Message, SendError};
use crate::templates::{context, Templates};

/// Stands for a channel's secret.
const SECRET: &str = "********";

/// Parts, each with its name. A fault of a template is told, not passed over.
pub fn parts(
    config: &Config,
    templates: &Templates,
    channel: &str,
    message: &Message,
    address: &str,
) -> Result<Vec<(String, String)>, SendError> {
    let renderer = templates.strict();
    let one = |name: &str, text: String| vec![(name.to_owned(), text)];
    Ok(match channel {
        "email" => {
            let [subject, text, html] = email::render(renderer, message, address)?;
            [("subject", subject), ("text", text), ("html", html)]
                .map(|(name, text)| (name.to_owned(), text))
                .into()
        }
        "sms" => {
            let limit = config.sms.max_segments.into();
            let text = sms::text(renderer, message, address, limit)?;
            one(&format!("text, {} of {limit} segments", sms::segments(&text)), text)
        }
        "slack" => one("json", pretty(&slack::body(renderer, message, address)?.to_string())),
        "webhook" => one("json", pretty(&webhook::body(renderer, message, address)?)),
        name if !config.channels.contains_key(name) => {
            return Err(SendError::permanent(
                "channel_not_configured",
                format!("there is no channel {name}"),
            ))
        }
        name => {
            let secret = config.channels.get(name).is_some_and(|c| !c.secret.expose().is_empty());
            let context = context::of(message, address, if secret { SECRET } else { "" });
            one("json", pretty(&renderer.render(&format!("{name}.json"), &context)?))
        }
    })
}

fn pretty(json: &str) -> String {
    let value = serde_json::from_str::<serde_json::Value>(json);
    value.and_then(|value| serde_json::to_string_pretty(&value)).unwrap_or_else(|_| json.to_owned())
}
