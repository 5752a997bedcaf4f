//! JSON as jsonb stores it, made of its text: for tests.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::value::{
    write, Container, Slot, Value, ARRAY, CONTAINER, FALSE, NULL, NUMBER, OBJECT, SCALAR, STRING,
    TRUE,
};

pub fn value(json: &str) -> Value<'static> {
    Value::of(Box::leak(stored(json).into_boxed_slice())).unwrap()
}

pub fn object(json: &str) -> Container<'static> {
    match value(json) {
        Value::Object(object) => object,
        other => panic!("{other:?} is no object"),
    }
}

pub fn stored(json: &str) -> Vec<u8> {
    match slot(json) {
        (CONTAINER, container) => container,
        scalar => container(ARRAY | SCALAR, &[], &[scalar]),
    }
}

fn slot(json: &str) -> (u32, Vec<u8>) {
    match json.trim_start().as_bytes()[0] {
        b'{' => {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(json).unwrap();
            let mut members: Vec<_> = members.into_iter().collect();
            members.sort_by_key(|(key, _)| (key.len(), key.clone()));
            let (keys, values): (Vec<_>, Vec<_>) = members
                .into_iter()
                .map(|(key, value)| ((STRING, key.into_bytes()), slot(value.get())))
                .unzip();
            (CONTAINER, container(OBJECT, &keys, &values))
        }
        b'[' => {
            let elements: Vec<&RawValue> = serde_json::from_str(json).unwrap();
            let elements: Vec<_> =
                elements.into_iter().map(|element| slot(element.get())).collect();
            (CONTAINER, container(ARRAY, &[], &elements))
        }
        b'"' => (STRING, serde_json::from_str::<String>(json).unwrap().into_bytes()),
        b'n' => (NULL, vec![]),
        b't' => (TRUE, vec![]),
        b'f' => (FALSE, vec![]),
        _ => (NUMBER, number(json)),
    }
}

fn container(flags: u32, keys: &[(u32, Vec<u8>)], values: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let slots = keys.iter().chain(values).map(|(kind, bytes)| Slot { kind: *kind, bytes });
    write(flags, values.len(), slots)
}

/// A number as `numeric` stores it, the short form where there is one.
pub fn number(text: &str) -> Vec<u8> {
    let (mantissa, exponent) = text.trim().split_once(['e', 'E']).unwrap_or((text.trim(), "0"));
    let exponent: i32 = exponent.parse().unwrap();
    let digits = mantissa.trim_start_matches('-');
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    let shown = (decimals.len() as i32 - exponent).max(0) as u16;
    let point = whole.len() as i32 + exponent;
    let lead = point.rem_euclid(4);
    let mut digits = "0".repeat((4 - lead) as usize % 4) + whole + decimals;
    let mut weight = (point - lead) / 4 - i32::from(lead == 0);
    digits += &"0".repeat(digits.len().wrapping_neg() % 4);
    let mut groups: Vec<u16> = (0..digits.len() / 4)
        .map(|group| digits[4 * group..4 * group + 4].parse().unwrap())
        .collect();
    while groups.first() == Some(&0) {
        groups.remove(0);
        weight -= 1;
    }
    while groups.last() == Some(&0) {
        groups.pop();
    }
    if groups.is_empty() {
        weight = 0;
    }
    let is_negative = mantissa.starts_with('-') && !groups.is_empty();
    let mut words = if shown <= 0x3F && (-0x40..0x40).contains(&weight) {
        vec![0x8000 | u16::from(is_negative) << 13 | shown << 7 | (weight as u16 & 0x7F)]
    } else {
        vec![u16::from(is_negative) << 14 | shown, weight as u16]
    };
    words.extend(groups);
    let length = (size_of::<u32>() + 2 * words.len()) as u32;
    let words = words.into_iter().flat_map(u16::to_ne_bytes);
    (length << 2).to_ne_bytes().into_iter().chain(words).collect()
}
