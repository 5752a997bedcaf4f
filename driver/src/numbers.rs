//! JSON as jsonb has it: with numbers that no float holds, such as 1e400.

use std::fmt::Write;

use serde::de::{DeserializeOwned, IgnoredAny};

/// Such a number is read as its text.
pub fn parse<T: DeserializeOwned>(json: &str) -> Result<T, serde_json::Error> {
    serde_json::from_str(json)
        .or_else(|error| serde_json::from_str(&in_quotes(json)).map_err(|_| error))
}

fn in_quotes(json: &str) -> String {
    let mut quoted = String::with_capacity(json.len() + 2);
    let (mut rest, mut in_string) = (json, false);
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '\\' => c.len_utf8() + rest.chars().nth(1).map_or(0, char::len_utf8),
            '-' | '0'..='9' if !in_string => rest.find(ends_a_number).unwrap_or(rest.len()),
            _ => c.len_utf8(),
        };
        in_string ^= c == '"';
        let (token, after) = rest.split_at(length);
        let _ = if !in_string && is_beyond(token) {
            write!(quoted, "\"{token}\"")
        } else {
            quoted.write_str(token)
        };
        rest = after;
    }
    quoted
}

/// A number that the parser refuses, to which the largest float is too large as well.
fn is_beyond(token: &str) -> bool {
    token.len() > 1
        && serde_json::from_str::<f64>(token).is_err()
        && serde_json::from_str::<IgnoredAny>(token).is_ok()
}

fn ends_a_number(c: char) -> bool {
    !(c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E'))
}

#[cfg(test)]
mod tests {
    use serde_json::{json, Value};

    use super::*;

    #[test]
    fn numbers_that_no_float_holds_are_texts() {
        let digits = format!("1{}", "0".repeat(310));
        let largest = format!("17976931348623157{}", "0".repeat(292)); // as jsonb has it
        for (text, value) in [
            ("1e400".to_owned(), json!("1e400")),
            (format!("[1, -{digits}, 2.5]"), json!([1, format!("-{digits}"), 2.5])),
            (
                format!(
                    r#"{{"a\"1e400": "x\\", "ü 1e400": {digits}, "c": "1e400", "d": [-1E+999]}}"#
                ),
                json!({"a\"1e400": "x\\", "ü 1e400": digits, "c": "1e400", "d": ["-1E+999"]}),
            ),
            (format!("[{largest}, 1]"), json!([largest, 1])),
            ("[1e-400, 9e99]".to_owned(), json!([0.0, 9e99])),
        ] {
            assert_eq!(parse::<Value>(&text).unwrap(), value, "{text}");
        }
        for text in ["", "[1e400", "inf", "{1e400: 1}}", "\"\\", "[01, 1e400]", "[-, 1e400]"] {
            assert!(parse::<Value>(text).is_err(), "{text}");
        }
    }
}
