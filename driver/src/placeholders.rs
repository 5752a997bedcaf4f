//! `{name}` in texts of the configuration, such as a URL.

use percent_encoding::{utf8_percent_encode, AsciiSet, NON_ALPHANUMERIC};

/// What a URL may hold unencoded wherever a value stands in it.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A value that is one part of a URL whatever it holds.
pub fn url_encoded(value: &str) -> String {
    utf8_percent_encode(value, ENCODED).to_string()
}

/// Replaces each `{name}`; a name that there is not is an error. A brace without its other half stays.
pub fn fill(text: &str, values: &[(&str, &str)]) -> Result<String, String> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else { break };
        let Some((_, value)) = values.iter().find(|(known, _)| *known == name) else {
            let known: Vec<_> = values.iter().map(|(name, _)| format!("{{{name}}}")).collect();
            return Err(format!("there is no {{{name}}}, only {}", known.join(" and ")));
        };
        filled.push_str(before);
        filled.push_str(value);
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_replaced_once_and_unknown_ones_told() {
        let values = [("user", "{key}"), ("key", "k")];
        assert_eq!(fill("/{user}/{key}/{", &values).unwrap(), "/{key}/k/{");
        assert_eq!(fill("{id}", &values).unwrap_err(), "there is no {id}, only {user} and {key}");
    }

    #[test]
    fn a_value_stays_one_part_of_a_url() {
        assert_eq!(url_encoded("a/b?c=d&e #\r\nü"), "a%2Fb%3Fc%3Dd%26e%20%23%0D%0A%C3%BC");
    }
}
