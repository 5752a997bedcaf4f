//! A message that nobody fired: `pgalert test` sends it, `pgalert preview` shows it.

use std::path::Path;
use std::time::Instant;

use anyhow::{bail, Context};
use chrono::Utc;
use serde_json::value::RawValue;
use serde_json::Value;

use crate::channels::{self, preview};
use crate::cli::Sample;
use crate::config::{read_secret, Config};
use crate::message::{Message, Recipient, SendError};
use crate::{numbers, output};

/// JSON, or the content of @FILE.
pub fn alert_text(alert: &str) -> anyhow::Result<String> {
    match alert.strip_prefix('@') {
        Some(path) => std::fs::read_to_string(path).with_context(|| format!("cannot read {path}")),
        None => Ok(alert.to_owned()),
    }
}

pub fn message(sample: &Sample) -> anyhow::Result<Message> {
    let text = alert_text(&sample.alert)?;
    let alert: Value = numbers::parse(&text).context("the alert is no JSON")?;
    let field = |name: &str| match &alert[name] {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let Some(alert_id) = field("id") else {
        bail!("the alert is no object with an id\nhint: at least {{\"id\": \"...\"}}");
    };
    Ok(Message {
        message_id: 0,
        delivery_key: uuid::Builder::from_random_bytes(rand::random()).into_uuid(),
        alert_id,
        user_id: Some(sample.user.clone()),
        alert_name: field("name"),
        text: sample.message.clone(),
        priority: field("priority").unwrap_or_else(|| "normal".into()),
        channels: Vec::new(),
        recipients: Default::default(),
        alert_data: RawValue::from_string(text.trim().to_owned())?,
        attempt: 1,
        enqueued_at: Utc::now(),
        traceparent: None,
    })
}

pub async fn test(
    config: &Config,
    channel: &str,
    to: String,
    secret_file: Option<&Path>,
    sample: &Sample,
) -> anyhow::Result<()> {
    let channels = channels::configured(config)?;
    let Some(route) = channels.get(channel) else {
        bail!("channel {channel} is not configured here\nhint: `pgalert config` shows what is, `pgalert config --defaults` what can be");
    };
    let secrets = secret_file.map(read_secret).transpose()?.into_iter().collect();
    let recipient = Recipient::new(0, to, secrets);
    let started = Instant::now();
    let result = route.channel().send(&message(sample)?, &recipient).await;
    let ms = started.elapsed().as_millis();
    match result {
        Ok(receipt) => {
            let host = receipt.host.map(|host| format!(" by {host}")).unwrap_or_default();
            // Quoted as an error quotes it.
            let answer = SendError::permanent("refused", receipt.answer);
            let answer = route.hidden_in(answer, &recipient).text();
            output::line(format_args!("accepted{host} after {ms} ms: {answer}"))?;
            Ok(())
        }
        Err(error) => {
            let error = route.hidden_in(error, &recipient);
            let text = error.text();
            let host = error.host.map(|host| format!(" by {host}")).unwrap_or_default();
            bail!("not accepted{host} after {ms} ms: {text} ({:?}, {})", error.kind, error.class)
        }
    }
}

pub fn preview(config: &Config, channel: &str, to: &str, sample: &Sample) -> anyhow::Result<()> {
    let templates = channels::templates(config)?;
    let parts = preview::parts(config, &templates, channel, &message(sample)?, to)
        .map_err(|error| anyhow::anyhow!("{}", error.text()))?;
    for (name, text) in parts {
        output::line(format_args!("--- {name}\n{text}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_may_have_a_number_that_no_float_holds() {
        let alert = format!(r#"{{"id": 7, "name": "a", "n": 1{}}}"#, "0".repeat(310));
        let message = message(&Sample { alert: alert.clone(), ..Sample::default() }).unwrap();
        assert_eq!((message.alert_id.as_str(), message.alert_data.get()), ("7", alert.as_str()));
    }
}
