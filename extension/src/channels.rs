//! Which channels an alert asks for: `channels`, or the two legacy fields of alerts that came before it.

use std::collections::BTreeMap;

use crate::error::{excerpt, Error};
use crate::value::{self, Container, Value};

/// Channels that are known without a row of table `channels`.
pub const BUILTIN: [&str; 5] = ["inapp", "email", "slack", "sms", "webhook"];

pub fn all_builtin(names: &[&str]) -> bool {
    names.iter().all(|name| BUILTIN.contains(name))
}

/// Names with whether the alert asks for them. `inapp` and `email` are always there.
pub type Channels<'a> = BTreeMap<&'a str, bool>;

/// The channels of an alert.
pub fn of_alert(alert: Container) -> Result<Channels, Error> {
    let [channels, notify_inapp, notify_email] =
        alert.fields(["channels", "notify_inapp", "notify_email"])?;
    of_fields(channels, notify_inapp, notify_email)
}

/// The same of what an alert has in these fields.
pub fn of_fields<'a>(
    channels: Option<Value<'a>>,
    notify_inapp: Option<Value>,
    notify_email: Option<Value>,
) -> Result<Channels<'a>, Error> {
    let inapp = legacy("notify_inapp", notify_inapp)?;
    let email = legacy("notify_email", notify_email)?;
    of_parts(channels, inapp, email)
}

/// The same for an alert that is kept in columns.
pub fn of_parts(
    channels: Option<Value>,
    notify_inapp: Option<bool>,
    notify_email: Option<bool>,
) -> Result<Channels, Error> {
    let mut result = Channels::from([("inapp", false), ("email", false)]);
    match channels.unwrap_or(Value::Null) {
        Value::Null => {
            result.insert("inapp", notify_inapp.unwrap_or(true));
            result.insert("email", notify_email.unwrap_or(false));
        }
        Value::Object(named) => {
            for member in named.members()? {
                let (name, slot) = member?;
                let name = value::text(name)?;
                let Value::Boolean(wanted) = slot.value()? else {
                    let found = slot.value()?.describe();
                    return Err(Error::ChannelNotBoolean { key: excerpt(name), found });
                };
                result.insert(check_name(name)?, wanted);
            }
        }
        Value::Array(named) => {
            for (position, slot) in named.values()?.enumerate() {
                match slot?.value()? {
                    Value::Text(name) => result.insert(check_name(name)?, true),
                    other => {
                        return Err(Error::ChannelNotText { position, found: other.describe() })
                    }
                };
            }
        }
        other => return Err(Error::ChannelsShape { found: other.describe() }),
    }
    Ok(result)
}

fn legacy(key: &'static str, value: Option<Value>) -> Result<Option<bool>, Error> {
    match value {
        None => Ok(None),
        Some(Value::Boolean(wanted)) => Ok(Some(wanted)),
        Some(other) => Err(Error::LegacyNotBoolean { key, found: other.describe() }),
    }
}

fn check_name(name: &str) -> Result<&str, Error> {
    let mut bytes = name.bytes();
    let starts_well = bytes.next().is_some_and(|b| b.is_ascii_lowercase());
    if starts_well && bytes.all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_')) {
        Ok(name)
    } else {
        Err(Error::ChannelName { key: excerpt(name) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoded::object;

    fn json(alert: &str) -> String {
        serde_json::to_string(&of_alert(object(alert)).unwrap()).unwrap()
    }

    fn error(alert: &str) -> String {
        of_alert(object(alert)).unwrap_err().to_string()
    }

    #[test]
    fn an_object_or_an_array_names_channels() {
        assert_eq!(
            json(r#"{"channels": {"slack": true, "email": false}}"#),
            r#"{"email":false,"inapp":false,"slack":true}"#
        );
        assert_eq!(
            json(r#"{"channels": ["email", "my_hook2", "email"]}"#),
            r#"{"email":true,"inapp":false,"my_hook2":true}"#
        );
        assert_eq!(json(r#"{"channels": []}"#), r#"{"email":false,"inapp":false}"#);
        assert_eq!(json(r#"{"channels": {}}"#), r#"{"email":false,"inapp":false}"#);
    }

    #[test]
    fn legacy_fields_count_only_without_channels() {
        assert_eq!(json("{}"), r#"{"email":false,"inapp":true}"#);
        assert_eq!(json(r#"{"channels": null}"#), r#"{"email":false,"inapp":true}"#);
        assert_eq!(
            json(r#"{"notify_inapp": false, "notify_email": true}"#),
            r#"{"email":true,"inapp":false}"#
        );
        assert_eq!(
            json(r#"{"notify_inapp": null, "notify_email": null}"#),
            r#"{"email":false,"inapp":true}"#
        );
        assert_eq!(
            json(r#"{"channels": ["slack"], "notify_inapp": true, "notify_email": true}"#),
            r#"{"email":false,"inapp":false,"slack":true}"#
        );
    }

    #[test]
    fn an_error_names_the_key() {
        for (alert, expected) in [
            (
                r#"{"channels": "email"}"#,
                "channels must be an object of booleans or an array of names",
            ),
            (
                r#"{"channels": true}"#,
                "channels must be an object of booleans or an array of names",
            ),
            (r#"{"channels": {"email": 1}}"#, "channel \"email\" must be true or false"),
            (r#"{"channels": {"email": null}}"#, "channel \"email\" must be true or false"),
            (r#"{"channels": {"email": {"to": "a"}}}"#, "channel \"email\" must be true or false"),
            (r#"{"channels": {"E-mail": true}}"#, "\"E-mail\" is not a valid channel name"),
            (r#"{"channels": {"": true}}"#, "\"\" is not a valid channel name"),
            (r#"{"channels": ["2fa"]}"#, "\"2fa\" is not a valid channel name"),
            (r#"{"channels": ["email", 7]}"#, "channels[1] must be the name of a channel"),
            (r#"{"notify_email": "yes"}"#, "\"notify_email\" must be true, false or null"),
            (r#"{"notify_inapp": 1}"#, "\"notify_inapp\" must be true, false or null"),
        ] {
            assert_eq!(error(alert), expected, "{alert}");
        }
    }
}
