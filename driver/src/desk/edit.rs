//! The form of one letter, as the changes that `edit_dead_letter()` takes: only what differs from the letter as it is.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::fault::Fault;
use super::query::Fields;

pub fn changes(letter: &Value, fields: &Fields) -> Result<Value, Fault> {
    let mut changes = Map::new();
    // A browser ends lines with CRLF.
    let message = fields.get("message").unwrap_or_default().replace("\r\n", "\n");
    if letter["message"].as_str().unwrap_or_default().replace("\r\n", "\n") != message {
        changes.insert("message".into(), message.into());
    }
    if let Some(text) = fields.get("alert_data") {
        let alert: Value =
            serde_json::from_str(text).map_err(|_| Fault::Input("the alert is not JSON"))?;
        if alert != letter["alert_data"] {
            changes.insert("alert_data".into(), alert);
        }
    }
    let channels: BTreeSet<&str> = fields.all("channels").collect();
    let owed = letter["channels"].as_array().into_iter().flatten().filter_map(Value::as_str);
    if channels != owed.collect() {
        if channels.is_empty() {
            return Err(Fault::Input(
                "one channel at least is needed: to send it by none is to discard it",
            ));
        }
        changes.insert("channels".into(), channels.into_iter().collect());
    }
    let known = |id: &str| {
        let id: i64 = id.parse().ok()?;
        let mut recipients = letter["recipients"].as_array().into_iter().flatten();
        recipients.find(|one| one["recipient_id"] == id)?["address"].as_str().map(str::to_owned)
    };
    let addresses: Map<String, Value> = fields
        .with_prefix("address.")
        .map(|(id, address)| (id, address.trim()))
        .filter(|(id, address)| known(id).is_some_and(|known| known != *address))
        .map(|(id, address)| (id.to_owned(), address.into()))
        .collect();
    if !addresses.is_empty() {
        changes.insert("address".into(), addresses.into());
    }
    Ok(Value::Object(changes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn letter() -> Value {
        json!({
            "message": "one\ntwo", "alert_data": {"id": "disk", "level": 1}, "channels": ["email"],
            "recipients": [{"recipient_id": 7, "channel": "email", "address": "ann@example.com"}],
        })
    }

    fn changed(form: &str) -> Value {
        changes(&letter(), &Fields::parse(form.as_bytes())).unwrap()
    }

    #[test]
    fn what_is_as_it_was_is_no_change() {
        let same = "message=one%0D%0Atwo&alert_data={\"level\":1,\"id\":\"disk\"}&channels=email&address.7=ann@example.com";
        assert_eq!(changed(same), json!({}));
    }

    #[test]
    fn what_differs_is_a_change() {
        assert_eq!(
            changed(
                "message=three&channels=email&channels=sms&address.7=bob@example.com&address.8=x"
            ),
            json!({"message": "three", "channels": ["email", "sms"], "address": {"7": "bob@example.com"}})
        );
        let alert = "message=one%0Atwo&channels=email&alert_data={\"id\":\"disk\"}";
        assert_eq!(changed(alert), json!({"alert_data": {"id": "disk"}}));
    }

    #[test]
    fn a_mistake_is_told() {
        for form in ["message=x", "channels=email&alert_data={"] {
            changes(&letter(), &Fields::parse(form.as_bytes())).unwrap_err();
        }
    }
}
