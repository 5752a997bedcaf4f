//! The content hash: MD5 of the canonical text of a JSON value, which is the text that Python's
//! `json.dumps(data, sort_keys=True)` gives. Hashes kept by other systems of this rule stay valid.

use std::fmt::Write;

use md5::{Digest, Md5};

use crate::error::Error;
use crate::number::Number;
use crate::value::{self, Container, Value};

/// Each level is a call within the one around it.
const MAX_DEPTH: usize = 128;

/// The hash of a JSON value.
pub fn content_hash(value: Value) -> Result<String, Error> {
    let mut text = String::with_capacity(256);
    write_value(value, &mut text, 0)?;
    Ok(md5_hex(&text))
}

/// The hash of `{"condition": …, "message": …, "user_id": …}`: an alert's identity.
pub fn alert_hash(
    condition: Option<Value>,
    message: Option<&str>,
    user_id: Option<&str>,
) -> Result<String, Error> {
    let mut text = String::with_capacity(256);
    text.push_str(r#"{"condition": "#);
    write_value(condition.unwrap_or(Value::Null), &mut text, 1)?;
    text.push_str(r#", "message": "#);
    write_optional_string(message, &mut text);
    text.push_str(r#", "user_id": "#);
    write_optional_string(user_id, &mut text);
    text.push('}');
    Ok(md5_hex(&text))
}

fn md5_hex(text: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digest: [u8; 16] = Md5::digest(text.as_bytes()).into();
    let mut hex = String::with_capacity(32);
    for byte in digest {
        hex.push(DIGITS[usize::from(byte >> 4)] as char);
        hex.push(DIGITS[usize::from(byte & 15)] as char);
    }
    hex
}

fn write_value(value: Value, text: &mut String, depth: usize) -> Result<(), Error> {
    match value {
        Value::Object(members) => write_object(members, text, deeper(depth)?)?,
        Value::Array(elements) => write_array(elements, text, deeper(depth)?)?,
        Value::Text(string) => write_string(string, text),
        Value::Number(number) => write_number(number, text),
        Value::Boolean(true) => text.push_str("true"),
        Value::Boolean(false) => text.push_str("false"),
        Value::Null => text.push_str("null"),
    }
    Ok(())
}

fn deeper(depth: usize) -> Result<usize, Error> {
    if depth == MAX_DEPTH {
        return Err(Error::TooDeep { limit: MAX_DEPTH });
    }
    Ok(depth + 1)
}

fn write_object(object: Container, text: &mut String, depth: usize) -> Result<(), Error> {
    let mut members = object.all_members(0)?;
    // The order of UTF-8 bytes is the order of code points.
    members.sort_unstable_by_key(|(key, _)| *key);
    text.push('{');
    for (index, (key, slot)) in members.into_iter().enumerate() {
        if index > 0 {
            text.push_str(", ");
        }
        write_string(value::text(key)?, text);
        text.push_str(": ");
        write_value(slot.value()?, text, depth)?;
    }
    text.push('}');
    Ok(())
}

fn write_array(array: Container, text: &mut String, depth: usize) -> Result<(), Error> {
    text.push('[');
    for (index, element) in array.values()?.enumerate() {
        if index > 0 {
            text.push_str(", ");
        }
        write_value(element?.value()?, text, depth)?;
    }
    text.push(']');
    Ok(())
}

/// An integer keeps its digits, however many. Anything else is a double, in its shortest form as Python writes it.
fn write_number(number: Number, text: &mut String) {
    let start = text.len();
    number.write(text);
    if number.is_integer() {
        return;
    }
    if let Ok(double) = text[start..].parse() {
        text.truncate(start);
        write_double(double, text);
    }
}

fn write_double(double: f64, text: &mut String) {
    if double.is_infinite() {
        text.push_str(if double > 0.0 { "Infinity" } else { "-Infinity" });
        return;
    }
    let shortest = format!("{double:e}");
    let even = even_form(double, &shortest);
    let form = even.as_ref().unwrap_or(&shortest);
    let (mantissa, exponent) = form.split_once('e').unwrap_or((form, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    // Writing into a String cannot fail.
    let _ = if !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        write!(text, "{mantissa}e{sign}{:02}", exponent.abs())
    } else if even.is_some() {
        let decimals = (digits(mantissa) as i32 - 1 - exponent).max(1) as usize;
        write!(text, "{double:.decimals$}")
    } else {
        write!(text, "{double:?}")
    };
}

/// Of two shortest forms that are equally near, Python takes the one with an even last digit, and Rust the greater one. Rounded
/// to as many digits Rust takes the even one, too. Only a double whose own digits are one more than these is in the middle, and
/// with fewer than 15 digits none is.
fn even_form(double: f64, shortest: &str) -> Option<String> {
    let digits = digits(shortest.split('e').next()?);
    let even = (digits >= 15).then(|| format!("{double:.0$e}", digits - 1))?;
    // Below a power of two doubles lie closer: the even form may be another one's.
    (even.parse() == Ok(double)).then_some(even)
}

fn digits(mantissa: &str) -> usize {
    mantissa.bytes().filter(u8::is_ascii_digit).count()
}

fn write_optional_string(string: Option<&str>, text: &mut String) {
    match string {
        Some(string) => write_string(string, text),
        None => text.push_str("null"),
    }
}

/// Bytes that are written as they are.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = b' ';
    while byte <= b'~' {
        plain[byte as usize] = byte != b'"' && byte != b'\\';
        byte += 1;
    }
    plain
};

/// Whether a string is ASCII that is written as it is.
pub fn is_plain(string: &str) -> bool {
    let (groups, rest) = string.as_bytes().as_chunks::<8>();
    let plain = |bytes: &[u8]| bytes.iter().fold(true, |all, byte| all & PLAIN[usize::from(*byte)]);
    groups.iter().all(|group| plain(group)) && plain(rest)
}

/// A JSON string in ASCII; beyond the BMP as a surrogate pair.
pub fn write_string(string: &str, text: &mut String) {
    text.push('"');
    if is_plain(string) {
        text.push_str(string);
    } else {
        for character in string.chars() {
            match character {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                '\u{8}' => text.push_str("\\b"),
                '\u{c}' => text.push_str("\\f"),
                ' '..='~' => text.push(character),
                _ => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        // Writing into a String cannot fail.
                        let _ = write!(text, "\\u{unit:04x}");
                    }
                }
            }
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoded::value;
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    fn canonical(json: &str) -> String {
        let mut text = String::new();
        write_value(value(json), &mut text, 0).unwrap();
        text
    }

    fn hash_of(json: &str) -> Result<String, Error> {
        content_hash(value(json))
    }

    #[test]
    fn keys_are_sorted_by_code_point() {
        assert_eq!(
            canonical(r#"{"b":1,"a\"b":2,"a!b":3,"é":4,"😀":5,"～":6,"":7}"#),
            r#"{"": 7, "a!b": 3, "a\"b": 2, "b": 1, "\u00e9": 4, "\uff5e": 6, "\ud83d\ude00": 5}"#
        );
    }

    #[test]
    fn strings_are_ascii() {
        assert_eq!(
            canonical("\"a/\\u0001\\n\\b\\f\u{7f} 日😀\\\\\""),
            r#""a/\u0001\n\b\f\u007f \u65e5\ud83d\ude00\\""#
        );
    }

    #[test]
    fn numbers_are_written_as_python_writes_them() {
        for (number, expected) in [
            ("0", "0"),
            ("-5", "-5"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            ("30.0", "30.0"),
            ("30.00", "30.0"),
            ("0.1", "0.1"),
            ("-8.140", "-8.14"),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("0.0000001", "1e-07"),
            ("0.000000123", "1.23e-07"),
            ("9999999999999998.0", "9999999999999998.0"),
            ("10000000000000000.0", "1e+16"),
            ("123456789012345678.5", "1.2345678901234568e+17"),
            ("0.12345678901234567890", "0.12345678901234568"),
            // In the middle of two forms: the even one.
            ("674191580956179.265727144", "674191580956179.2"),
            ("-562949953421313.75", "-562949953421313.8"),
            ("0.000000029802322387695312", "2.9802322387695312e-08"),
            ("5e-324", "5e-324"),
            ("0.00000000000005684341886080801486968994140625", "5.684341886080802e-14"),
            ("9007199254740993.0", "9007199254740992.0"),
            ("1e30", "1000000000000000000000000000000"),
            ("0.0", "0.0"),
        ] {
            assert_eq!(canonical(number), expected, "{number}");
        }
        let large = |digits: &str, zeros| canonical(&format!("{digits}{}.5", "0".repeat(zeros)));
        assert_eq!(large("15", 299), "1.5e+300");
        assert_eq!(large("1", 400), "Infinity");
        assert_eq!(large("-1", 400), "-Infinity");
    }

    #[test]
    fn nothing_is_added_or_left_out() {
        let json = r#"[{}, [], null, true, false, {"a": {"b": [1]}}]"#;
        assert_eq!(canonical(json), json);
        assert_eq!(hash_of("{}").unwrap(), "99914b932bd37a50b983c5e7c90ae93b");
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |levels| "[".repeat(levels) + &"]".repeat(levels);
        assert!(hash_of(&nested(MAX_DEPTH)).is_ok());
        let error = Error::TooDeep { limit: MAX_DEPTH };
        assert_eq!(hash_of(&nested(MAX_DEPTH + 1)), Err(error));
        assert!(hash_of(&nested(300)).is_err());
    }

    #[test]
    fn an_alert_is_the_object_of_its_three_parts() {
        assert_eq!(
            alert_hash(Some(value(r#"{"b": 1, "a": 2}"#)), Some("naïve"), Some("u1")).unwrap(),
            hash_of(r#"{"user_id":"u1","message":"naïve","condition":{"a":2,"b":1}}"#).unwrap()
        );
        assert_eq!(
            alert_hash(None, None, None).unwrap(),
            hash_of(r#"{"user_id":null,"message":null,"condition":null}"#).unwrap()
        );
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..8)
                    .prop_map(|map| Value::Object(map.into_iter().collect::<Map<_, _>>())),
            ]
        })
    }

    /// The same value as text, with its keys turned around by `turn` and `space` around each token.
    fn respell(value: &Value, turn: usize, space: &str) -> String {
        match value {
            Value::Object(map) => {
                let mut entries: Vec<String> = map
                    .iter()
                    .map(|(key, value)| {
                        let value = respell(value, turn, space);
                        format!("{space}{}{space}:{space}{value}{space}", Value::from(key.as_str()))
                    })
                    .collect();
                if !entries.is_empty() {
                    let by = turn % entries.len();
                    entries.rotate_left(by);
                }
                format!("{{{space}{}}}", entries.join(","))
            }
            Value::Array(elements) => {
                let elements: Vec<String> = elements
                    .iter()
                    .map(|element| format!("{space}{}{space}", respell(element, turn, space)))
                    .collect();
                format!("[{space}{}]", elements.join(","))
            }
            scalar => scalar.to_string(),
        }
    }

    proptest! {
        #[test]
        fn order_and_spacing_of_keys_never_change_a_hash(
            value in any_json(), turn in 0usize..8, space in "[ \n\t\r]{0,3}"
        ) {
            prop_assert_eq!(
                hash_of(&value.to_string()).unwrap(),
                hash_of(&respell(&value, turn, &space)).unwrap()
            );
        }

        #[test]
        fn the_canonical_text_is_the_same_value_in_ascii(value in any_json()) {
            let text = canonical(&value.to_string());
            prop_assert!(text.is_ascii());
            prop_assert_eq!(canonical(&text), text.clone());
            prop_assert_eq!(canonical(&serde_json::from_str::<Value>(&text).unwrap().to_string()), text);
        }

        #[test]
        fn a_double_survives_its_text(double in any::<f64>().prop_filter("finite", |f| f.is_finite())) {
            let mut text = String::new();
            write_double(double, &mut text);
            prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), double.to_bits());
        }
    }
}
