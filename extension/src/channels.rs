//! Which channels an alert asks for: `channels`, or the two legacy fields of alerts that came before it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::{excerpt, Error};
use crate::json::{describe, read, Entries, Key};

/// Channels that are known without a row of table `channels`.
pub const BUILTIN: [&str; 5] = ["inapp", "email", "slack", "sms", "webhook"];

pub fn all_builtin(names: &[String]) -> bool {
    names.iter().all(|name| BUILTIN.contains(&name.as_str()))
}

/// Names with whether the alert asks for them. `inapp` and `email` are always there.
pub type Channels<'a> = BTreeMap<Cow<'a, str>, bool>;

/// What of an alert says where it goes.
#[derive(Deserialize)]
pub struct Addressing<'a> {
    #[serde(borrow)]
    pub channels: Option<&'a RawValue>,
    #[serde(borrow)]
    pub notify_inapp: Option<&'a RawValue>,
    #[serde(borrow)]
    pub notify_email: Option<&'a RawValue>,
}

impl<'a> Addressing<'a> {
    /// The channels that are meant.
    pub fn channels(self) -> Result<Channels<'a>, Error> {
        of_parts(
            self.channels.map(RawValue::get),
            legacy("notify_inapp", self.notify_inapp)?,
            legacy("notify_email", self.notify_email)?,
        )
    }
}

/// The channels of an alert, given as text of a jsonb.
pub fn of_alert(alert: &str) -> Result<Channels<'_>, Error> {
    if !alert.starts_with('{') {
        return Err(Error::AlertNotObject { found: describe(alert) });
    }
    read::<Addressing>(alert)?.channels()
}

/// The same for an alert that is kept in columns.
pub fn of_parts(
    channels: Option<&str>,
    notify_inapp: Option<bool>,
    notify_email: Option<bool>,
) -> Result<Channels<'_>, Error> {
    let (inapp, email, named) = match channels {
        None | Some("null") => (notify_inapp.unwrap_or(true), notify_email.unwrap_or(false), "{}"),
        Some(channels) => (false, false, channels),
    };
    let mut result = Channels::from([("inapp".into(), inapp), ("email".into(), email)]);
    match named.as_bytes().first() {
        Some(b'{') => {
            for (Key(name), value) in read::<Entries>(named)?.0 {
                let wanted = match value.get() {
                    "true" => true,
                    "false" => false,
                    other => {
                        return Err(Error::ChannelNotBoolean {
                            key: excerpt(&name),
                            found: describe(other),
                        })
                    }
                };
                result.insert(check_name(name)?, wanted);
            }
        }
        Some(b'[') => {
            for (position, name) in read::<Vec<&RawValue>>(named)?.into_iter().enumerate() {
                if !name.get().starts_with('"') {
                    let found = describe(name.get());
                    return Err(Error::ChannelNotText { position, found });
                }
                result.insert(check_name(read::<Key>(name.get())?.0)?, true);
            }
        }
        _ => return Err(Error::ChannelsShape { found: describe(named) }),
    }
    Ok(result)
}

fn legacy(key: &'static str, value: Option<&RawValue>) -> Result<Option<bool>, Error> {
    match value.map(RawValue::get) {
        None | Some("null") => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(other) => Err(Error::LegacyNotBoolean { key, found: describe(other) }),
    }
}

fn check_name(name: Cow<str>) -> Result<Cow<str>, Error> {
    let mut bytes = name.bytes();
    let starts_well = bytes.next().is_some_and(|b| b.is_ascii_lowercase());
    if starts_well && bytes.all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_')) {
        Ok(name)
    } else {
        Err(Error::ChannelName { key: excerpt(&name) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(alert: &str) -> String {
        serde_json::to_string(&of_alert(alert).unwrap()).unwrap()
    }

    fn error(alert: &str) -> String {
        of_alert(alert).unwrap_err().to_string()
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
            ("[]", "alert must be a JSON object"),
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
