//! JSON as jsonb has it: with numbers that no float holds, such as 1e400.

use std::fmt::Write;

use serde::de::DeserializeOwned;

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
        let beyond = !in_string && token.parse::<f64>().is_ok_and(f64::is_infinite);
        let _ = if beyond { write!(quoted, "\"{token}\"") } else { quoted.write_str(token) };
        rest = after;
    }
    quoted
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
        for (text, value) in [
            ("1e400".to_owned(), json!("1e400")),
            (format!("[1, -{digits}, 2.5]"), json!([1, format!("-{digits}"), 2.5])),
            (
                format!(
                    r#"{{"a\"1e400": "x\\", "ü 1e400": {digits}, "c": "1e400", "d": [-1E+999]}}"#
                ),
                json!({"a\"1e400": "x\\", "ü 1e400": digits, "c": "1e400", "d": ["-1E+999"]}),
            ),
            ("[1e-400, 9e99]".to_owned(), json!([0.0, 9e99])),
        ] {
            assert_eq!(parse::<Value>(&text).unwrap(), value, "{text}");
        }
        for text in ["", "[1e400", "inf", "{1e400: 1}}", "\"\\"] {
            assert!(parse::<Value>(text).is_err(), "{text}");
        }
    }
}
