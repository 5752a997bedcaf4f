//! JSON one level at a time: what lies deeper stays text, so that a large value is not built to look at a small part of it.

use serde::Deserialize;

use crate::error::{excerpt, Error};

/// A value of an object that has no objects in it.
#[derive(Clone, Copy)]
pub enum Flat<'a> {
    Text(&'a str),
    Integer(i64),
}

/// The entries of such an object.
pub type FlatObject<'a> = Vec<(&'a [u8], Flat<'a>)>;

/// Reads `text` as `T`.
pub fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|e| Error::UnreadableJson { reason: e.to_string() })
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
