//! JSON one level at a time: what lies deeper stays text, so that a large value is not built to look at a small part of it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::{excerpt, Error};

/// Levels of an alert.
const MAX_DEPTH: usize = 100;

/// A key without its escapes.
#[derive(serde::Deserialize)]
pub struct Key<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// The entries of an object, in the order of the text.
pub struct Entries<'a>(pub Vec<(Key<'a>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;

        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::with_capacity(8);
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor)
    }
}

/// A value of an object that has no objects in it.
#[derive(Clone, Copy)]
pub enum Flat<'a> {
    Text(&'a str),
    Integer(i64),
}

/// The entries of such an object.
pub type FlatObject<'a> = Vec<(&'a str, Flat<'a>)>;

/// Reads `text` as `T`, one of the types above or of serde_json.
pub fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|e| Error::UnreadableJson { reason: e.to_string() })
}

/// Refuses JSON of more levels than readers behind us can be trusted to read: most stop at 128, and may wrap it.
pub fn check_depth(text: &str) -> Result<(), Error> {
    // Where there are few brackets at all it does not matter which of them lie in strings.
    if text.bytes().filter(|byte| matches!(byte, b'{' | b'[')).count() <= MAX_DEPTH {
        return Ok(());
    }
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(Error::TooDeep { limit: MAX_DEPTH });
                }
            }
            b'}' | b']' if !in_string => depth -= 1,
            _ => {}
        }
    }
    Ok(())
}

/// What a value is, in the words of an error's DETAIL.
pub fn describe(value: &str) -> String {
    match value.as_bytes().first() {
        Some(b'{') => "an object".into(),
        Some(b'[') => "an array".into(),
        Some(b'"') => format!("the text {}", excerpt(value)),
        Some(b'n') => "null".into(),
        Some(b't' | b'f') => format!("the boolean {value}"),
        _ => format!("the number {}", excerpt(value)),
    }
}
