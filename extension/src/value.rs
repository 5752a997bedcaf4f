//! A JSON value as jsonb stores it, looked at where it lies: to make its text and read that costs three times as much.
//!
//! A container is a word of flags and the number of members, a word (`JEntry`) for each key and then for each value, the keys
//! and the values. Keys are sorted by length, then by bytes; numbers and containers begin at a multiple of four bytes.

use std::iter;

use crate::error::Error;
use crate::json::{self, Flat, FlatObject};
use crate::number::Number;

const COUNT: u32 = 0x0FFF_FFFF;
/// Of an array around a value that is no container.
pub const SCALAR: u32 = 0x1000_0000;
pub const OBJECT: u32 = 0x2000_0000;
pub const ARRAY: u32 = 0x4000_0000;

/// Of a JEntry: a length, or where its value ends.
const LENGTH: u32 = 0x0FFF_FFFF;
pub const MAX_LENGTH: usize = LENGTH as usize;
const KIND: u32 = 0x7000_0000;
pub const STRING: u32 = 0;
pub const NUMBER: u32 = 0x1000_0000;
pub const FALSE: u32 = 0x2000_0000;
pub const TRUE: u32 = 0x3000_0000;
pub const NULL: u32 = 0x4000_0000;
pub const CONTAINER: u32 = 0x5000_0000;
const IS_END: u32 = 0x8000_0000;
/// Of so many JEntries, the first has an end.
const STRIDE: usize = 32;

const WORD: usize = size_of::<u32>();

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    Null,
    Boolean(bool),
    Number(Number<'a>),
    Text(&'a str),
    Array(Container<'a>),
    Object(Container<'a>),
}

impl<'a> Value<'a> {
    /// Of all that is stored but the length that Postgres puts before it.
    pub fn of(stored: &'a [u8]) -> Result<Self, Error> {
        let container = Container(stored);
        match container.header()? & !COUNT {
            flags if flags == ARRAY | SCALAR => {
                container.values()?.next().unwrap_or_else(damaged)?.value()
            }
            OBJECT => Ok(Value::Object(container)),
            _ => Ok(Value::Array(container)),
        }
    }

    /// None for null, which counts like a member that is missing.
    pub fn present(self) -> Option<Self> {
        (!matches!(self, Value::Null)).then_some(self)
    }

    /// What it is, in the words of an error's DETAIL.
    pub fn describe(self) -> String {
        match self {
            Value::Null => json::describe("null"),
            Value::Boolean(boolean) => json::describe(if boolean { "true" } else { "false" }),
            Value::Number(number) => json::describe(&number.to_string()),
            Value::Text(text) => json::describe(&serde_json::to_string(text).unwrap_or_default()),
            Value::Array(_) => json::describe("["),
            Value::Object(_) => json::describe("{"),
        }
    }

    /// An array of texts; None is any other value.
    pub fn texts(self) -> Option<Vec<String>> {
        let Value::Array(array) = self else { return None };
        let text = |slot: Result<Slot<'a>, Error>| match slot.ok()?.value().ok()? {
            Value::Text(text) => Some(text.to_owned()),
            _ => None,
        };
        array.values().ok()?.map(text).collect()
    }

    /// An array of objects that have nothing but texts and integers; None is any other value.
    pub fn flat_objects(self) -> Option<Vec<FlatObject<'a>>> {
        let Value::Array(array) = self else { return None };
        let object = |slot: Result<Slot<'a>, Error>| match slot.ok()?.value().ok()? {
            Value::Object(object) => object.members().ok()?.map(flat).collect(),
            _ => None,
        };
        array.values().ok()?.map(object).collect()
    }
}

fn flat<'a>(member: Result<(&'a [u8], Slot<'a>), Error>) -> Option<(&'a [u8], Flat<'a>)> {
    let (key, slot) = member.ok()?;
    let value = match slot.value().ok()? {
        Value::Text(text) => Flat::Text(text),
        Value::Number(number) => Flat::Integer(number.integer()?),
        _ => return None,
    };
    Some((key, value))
}

/// Bytes of a string in the text of a jsonb, without its quotes.
pub fn escaped(string: &[u8]) -> usize {
    let more = |byte: &u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0C => 1,
        0..b' ' => 5,
        _ => 0,
    };
    string.len() + string.iter().map(more).sum::<usize>()
}

/// The same without a look at each byte.
pub fn escaped_at_most(string: &[u8]) -> usize {
    "\\u0000".len() * string.len()
}

/// An array or an object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Container<'a>(pub &'a [u8]);

impl<'a> Container<'a> {
    /// The values of an object in the order of its keys, or the elements of an array.
    pub fn values(self) -> Result<Slots<'a>, Error> {
        let (entries, data) = self.parts()?;
        let keys = self.key_count()?;
        let mut start = 0;
        for entry in entries.as_chunks::<WORD>().0[..keys].iter().rev() {
            let entry = u32::from_ne_bytes(*entry);
            start += (entry & LENGTH) as usize;
            if entry & IS_END != 0 {
                break;
            }
        }
        Ok(Slots { entries: &entries[keys * WORD..], data, start })
    }

    /// None of an array.
    pub fn keys(self) -> Result<Slots<'a>, Error> {
        let (entries, data) = self.parts()?;
        Ok(Slots { entries: &entries[..self.key_count()? * WORD], data, start: 0 })
    }

    /// Keys and values of an object.
    pub fn members(
        self,
    ) -> Result<impl Iterator<Item = Result<(&'a [u8], Slot<'a>), Error>>, Error> {
        let pair = |(key, value): (Result<Slot<'a>, Error>, _)| Ok((key?.bytes, value?));
        Ok(self.keys()?.zip(self.values()?).map(pair))
    }

    /// The same in the order of keys, with room for so many more.
    pub fn all_members(self, more: usize) -> Result<Vec<(&'a [u8], Slot<'a>)>, Error> {
        let mut all = Vec::with_capacity(self.count()?.min(self.0.len()) + more);
        for member in self.members()? {
            all.push(member?);
        }
        Ok(all)
    }

    /// Members of an object by their keys; None for one that is missing or null.
    pub fn fields<const N: usize>(self, keys: [&str; N]) -> Result<[Option<Value<'a>>; N], Error> {
        let mut fields = [None; N];
        for member in self.members()? {
            let (key, slot) = member?;
            if let Some(place) = keys.iter().position(|wanted| wanted.as_bytes() == key) {
                fields[place] = slot.value()?.present();
            }
        }
        Ok(fields)
    }

    /// Bytes of its text, with strings of so many bytes each, and how many levels it has.
    pub fn extent(self, string: fn(&[u8]) -> usize) -> Result<(usize, usize), Error> {
        let (mut bytes, mut levels) = (0, 0);
        let mut around: Vec<Slots> = Vec::with_capacity(8);
        let mut begins = Some(self);
        loop {
            if let Some(container) = begins.take() {
                let values = container.values()?;
                let keys = values.data.get(..values.start).ok_or_else(damage)?;
                bytes += "[]".len() + container.count()?.saturating_sub(1) * ", ".len();
                bytes += string(keys) + container.key_count()? * "\"\": ".len();
                around.push(values);
                levels = levels.max(around.len());
            }
            let Some(within) = around.last_mut() else { return Ok((bytes, levels)) };
            let Some(slot) = within.next().transpose()? else {
                around.pop();
                continue;
            };
            match slot.kind {
                NULL | TRUE => bytes += "true".len(),
                FALSE => bytes += "false".len(),
                STRING => bytes += string(slot.bytes) + "\"\"".len(),
                NUMBER => bytes += Number::of(slot.bytes).ok_or_else(damage)?.len(),
                _ => begins = Some(Container(slot.bytes)),
            }
        }
    }

    pub fn count(self) -> Result<usize, Error> {
        Ok((self.header()? & COUNT) as usize)
    }

    fn key_count(self) -> Result<usize, Error> {
        Ok(if self.header()? & OBJECT != 0 { self.count()? } else { 0 })
    }

    fn header(self) -> Result<u32, Error> {
        self.0.first_chunk().map(|header| u32::from_ne_bytes(*header)).ok_or_else(damage)
    }

    /// The words of keys and values, and what they are about.
    fn parts(self) -> Result<(&'a [u8], &'a [u8]), Error> {
        let entries = (self.key_count()? + self.count()?) * WORD;
        self.0.get(WORD..).and_then(|rest| rest.split_at_checked(entries)).ok_or_else(damage)
    }
}

/// A key, or a value, as it lies.
#[derive(Clone, Copy)]
pub struct Slot<'a> {
    pub kind: u32,
    /// Without what aligns it.
    pub bytes: &'a [u8],
}

impl<'a> Slot<'a> {
    pub fn text(text: &'a str) -> Self {
        Slot { kind: STRING, bytes: text.as_bytes() }
    }

    pub fn container(bytes: &'a [u8]) -> Self {
        Slot { kind: CONTAINER, bytes }
    }

    pub fn value(self) -> Result<Value<'a>, Error> {
        match self.kind {
            NULL => Ok(Value::Null),
            FALSE => Ok(Value::Boolean(false)),
            TRUE => Ok(Value::Boolean(true)),
            STRING => Ok(Value::Text(text(self.bytes)?)),
            NUMBER => Ok(Value::Number(Number::of(self.bytes).ok_or_else(damage)?)),
            CONTAINER => Value::of(self.bytes),
            _ => damaged(),
        }
    }
}

/// The text of a key.
pub fn text(bytes: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(bytes).map_err(|_| Error::NotUtf8)
}

/// Keys or values, one after the other.
pub struct Slots<'a> {
    entries: &'a [u8],
    data: &'a [u8],
    start: usize,
}

impl<'a> Iterator for Slots<'a> {
    type Item = Result<Slot<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let (entry, entries) = self.entries.split_first_chunk()?;
        let entry = u32::from_ne_bytes(*entry);
        let length = (entry & LENGTH) as usize;
        let end = if entry & IS_END != 0 { length } else { self.start + length };
        let kind = entry & KIND;
        let begin = if is_aligned(kind) { self.start.next_multiple_of(WORD) } else { self.start };
        (self.entries, self.start) = (entries, end);
        Some(self.data.get(begin..end).map(|bytes| Slot { kind, bytes }).ok_or_else(damage))
    }
}

fn is_aligned(kind: u32) -> bool {
    matches!(kind, NUMBER | CONTAINER)
}

/// A container of so many members, of these keys and values.
pub fn write<'a>(
    flags: u32,
    members: usize,
    slots: impl Iterator<Item = Slot<'a>> + Clone,
) -> Vec<u8> {
    let (count, data) = slots
        .clone()
        .fold((0, 0), |(count, data), slot| (count + 1, data + slot.bytes.len() + WORD));
    let header = (1 + count) * WORD;
    let mut container = Vec::with_capacity(header + data);
    container.extend((flags | members as u32).to_ne_bytes());
    container.resize(header, 0);
    for (index, Slot { kind, bytes }) in slots.enumerate() {
        let start = container.len();
        if is_aligned(kind) {
            container.resize(start.next_multiple_of(WORD), 0);
        }
        container.extend_from_slice(bytes);
        let entry = match index % STRIDE {
            0 => kind | IS_END | (container.len() - header) as u32,
            _ => kind | (container.len() - start) as u32,
        };
        container[(1 + index) * WORD..(2 + index) * WORD].copy_from_slice(&entry.to_ne_bytes());
    }
    container
}

pub fn write_array(elements: &[Slot]) -> Vec<u8> {
    write(ARRAY, elements.len(), elements.iter().copied())
}

/// A value that is no container.
pub fn write_scalar(value: Slot) -> Vec<u8> {
    write(ARRAY | SCALAR, 1, iter::once(value))
}

fn damage() -> Error {
    Error::UnreadableJson { reason: "It is not as Postgres stores it.".into() }
}

fn damaged<T>() -> Result<T, Error> {
    Err(damage())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoded::{self, object, value};
    use proptest::prelude::*;

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    #[test]
    fn a_text_is_stored_behind_words_of_lengths() {
        let mut expected = words(&[OBJECT | 1, IS_END | 3, 2]);
        expected.extend(b"keyno");
        assert_eq!(encoded::stored(r#"{"key": "no"}"#), expected);
    }

    #[test]
    fn a_value_is_what_it_was_made_of() {
        assert_eq!(value("null"), Value::Null);
        assert_eq!(value("true"), Value::Boolean(true));
        assert_eq!(value("false"), Value::Boolean(false));
        assert_eq!(value(r#""é\n""#), Value::Text("é\n"));
        assert!(matches!(value("-1.50"), Value::Number(number) if number.to_string() == "-1.50"));
        assert!(matches!(value("[]"), Value::Array(_)));
        assert!(matches!(value("{}"), Value::Object(_)));
    }

    #[test]
    fn members_beyond_a_stride_are_found() {
        let members: Vec<String> = (0..200).map(|n| format!("\"k{n}\": [{n}, \"x\"]")).collect();
        let object = object(&format!("{{{}}}", members.join(",")));
        assert_eq!(object.count(), Ok(200));
        for (number, key) in [(0, "k0"), (31, "k31"), (32, "k32"), (199, "k199")] {
            let [Some(Value::Array(found)), None] = object.fields([key, "k"]).unwrap() else {
                panic!("{key} is not found")
            };
            let mut found = found.values().unwrap().map(|slot| slot.unwrap().value().unwrap());
            let first = value(&number.to_string());
            assert_eq!((found.next(), found.next()), (Some(first), Some(Value::Text("x"))));
            assert!(found.next().is_none());
        }
    }

    #[test]
    fn a_field_that_is_null_is_missing() {
        let fields = object(r#"{"a": null, "b": false}"#).fields(["a", "b", "c"]).unwrap();
        assert_eq!(fields, [None, Some(Value::Boolean(false)), None]);
    }

    #[test]
    fn flat_objects_have_no_other_values() {
        let flat = |json| value(json).flat_objects();
        let found = flat(r#"[{"id": 7, "channel": "é"}, {}]"#).unwrap();
        assert_eq!(found.len(), 2);
        assert!(matches!(found[0][..], [(b"id", Flat::Integer(7)), (b"channel", Flat::Text("é"))]));
        assert!(flat("[]").unwrap().is_empty());
        assert_eq!(value(r#"["a", "é"]"#).texts(), Some(vec!["a".into(), "é".into()]));
        assert!([r#"{"a": 1}"#, "7", "[7]"]
            .into_iter()
            .all(|other| value(other).texts().is_none()));
        let others = ["{}", "7", "[7]", "[[]]", r#"[{"a": null}]"#, r#"[{"a": 1.5}]"#];
        assert!(others.into_iter().all(|other| flat(other).is_none()));
    }

    #[test]
    fn a_description_begins_like_the_text() {
        for (json, expected) in [
            ("null", "null"),
            ("true", "the boolean true"),
            ("1.50", "the number 1.50"),
            (r#""a\"\n\u0001é/""#, r#"the text "a\"\n\u0001é/""#),
            (r#"{"a": 1}"#, "an object"),
            ("[1]", "an array"),
        ] {
            assert_eq!(value(json).describe(), expected);
        }
        let long = format!("\"{}\"", "é".repeat(70));
        assert_eq!(value(&long).describe(), format!("the text \"{}…", "é".repeat(63)));
    }

    #[test]
    fn the_extent_is_that_of_the_text() {
        for (json, levels) in [
            ("{}", 1),
            (r#"{"a": null, "b": [true, false, []], "é\"\n\u0001": "\\\t\f\b\r"}"#, 3),
            (r#"{"": {"a": -12.50, "b": 123456789012345678901234567890}}"#, 2),
        ] {
            assert_eq!(object(json).extent(escaped), Ok((json.len(), levels)), "{json}");
            assert!(object(json).extent(escaped_at_most).unwrap().0 >= json.len());
        }
        let deep = format!("{{\"a\": {}{}}}", "[".repeat(300), "]".repeat(300));
        assert_eq!(object(&deep).extent(escaped), Ok((deep.len(), 301)));
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_fault(bytes: Vec<u8>) {
            if let Ok(Value::Object(object) | Value::Array(object)) = Value::of(&bytes) {
                let _ = object.extent(escaped);
                let _ = object.fields(["a"]);
                let _ = crate::hash::content_hash(Value::Object(object));
            }
        }

        #[test]
        fn no_damage_is_a_fault(place in 0usize..80, byte: u8) {
            let mut stored = encoded::stored(r#"{"a": [1, 2.5, {"b": null}], "cc": "text", "ddd": true}"#);
            let place = place % stored.len();
            stored[place] = byte;
            if let Ok(value @ Value::Object(object)) = Value::of(&stored) {
                let _ = object.extent(escaped);
                let _ = object.fields(["a", "cc"]);
                let _ = crate::hash::content_hash(value);
                let _ = crate::members::with_texts(object, &[("cc", "other")]);
            }
        }
    }
}
