//! Takes a text out of what somebody has said, in whichever way it is written there: as it is, in capitals or not, percent-encoded, or
//! escaped as in JSON.

const MASK: &str = "********";

/// A shorter text, such as a chat's number, would be found where it is not meant.
const MIN_BYTES: usize = 5;

/// Adds the bytes that are written at the beginning of a text, and returns how many of its bytes write them.
type Reading = fn(&str, &mut Vec<u8>) -> Option<usize>;

pub fn hide(said: &mut String, text: &str) {
    if text.len() < MIN_BYTES {
        return;
    }
    for (sign, reading) in [("", as_it_is as Reading), ("%", percent_encoded), ("\\", escaped)] {
        if said.contains(sign) {
            hide_as_read(said, text.as_bytes(), reading);
        }
    }
}

fn hide_as_read(said: &mut String, text: &[u8], reading: Reading) {
    let mut bytes = Vec::with_capacity(said.len());
    // Where each of them is written.
    let mut places = Vec::with_capacity(said.len() + 1);
    let mut at = 0;
    while let Some(length) =
        reading(&said[at..], &mut bytes).or_else(|| as_it_is(&said[at..], &mut bytes))
    {
        places.resize(bytes.len(), at);
        at += length;
    }
    places.push(at);
    let mut end = bytes.len();
    while let Some(start) = end.checked_sub(text.len()) {
        if bytes[start..end].eq_ignore_ascii_case(text) {
            said.replace_range(places[start]..places[end], MASK);
            end = start;
        } else {
            end -= 1;
        }
    }
}

fn as_it_is(said: &str, bytes: &mut Vec<u8>) -> Option<usize> {
    let length = said.chars().next()?.len_utf8();
    bytes.extend_from_slice(&said.as_bytes()[..length]);
    Some(length)
}

fn percent_encoded(said: &str, bytes: &mut Vec<u8>) -> Option<usize> {
    bytes.push(u8::from_str_radix(said.strip_prefix('%')?.get(..2)?, 16).ok()?);
    Some(3)
}

fn escaped(said: &str, bytes: &mut Vec<u8>) -> Option<usize> {
    let unit = |text: &str| u16::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok();
    let Some(first) = unit(said) else {
        let plain = said.strip_prefix('\\')?.chars().next()?;
        bytes.push(matches!(plain, '"' | '\\' | '/').then_some(plain as u8)?);
        return Some(2);
    };
    // Beyond the first 65536 characters it takes two.
    let character = match char::from_u32(first.into()) {
        Some(character) => character,
        None => char::decode_utf16([first, unit(said.get(6..)?)?]).next()?.ok()?,
    };
    bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    Some(6 * character.len_utf16())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(said: &str, text: &str) -> String {
        let mut said = said.to_owned();
        hide(&mut said, text);
        said
    }

    #[test]
    fn capitals_are_no_difference() {
        let said = "Ünknown <ANN@Example.org>: ann@example.org?";
        assert_eq!(hidden(said, "Ann@example.ORG"), "Ünknown <********>: ********?");
    }

    #[test]
    fn what_is_short_stays() {
        assert_eq!(hidden("chat 1234 of 12345", "1234"), "chat 1234 of 12345");
        assert_eq!(hidden("chat 1234 of 12345", "12345"), "chat 1234 of ********");
    }

    #[test]
    fn a_text_is_found_as_forms_and_urls_write_it() {
        assert_eq!(
            hidden("ä&To=%2B4915112345678&From=Ops", "+4915112345678"),
            "ä&To=********&From=Ops"
        );
        assert_eq!(hidden("%3cann%40example.org%3E", "ann@example.org"), "%3c********%3E");
        assert_eq!(hidden("/m%C3%BCller%2f1?", "müller/1"), "/********?");
        assert_eq!(hidden("100% hunter%2", "hunter%2"), "100% ********");
    }

    #[test]
    fn a_text_is_found_as_json_writes_it() {
        let secret = "a\"b\\c/dü🔥";
        for written in [
            r#"a\"b\\c/dü🔥"#,
            r#"a\"b\\c\/d\u00fc\ud83d\udd25"#,
            r#"a\u0022b\u005Cc\u002fd\u00FC🔥"#,
            secret,
        ] {
            let said = format!(r#"{{"n":"\n{written}","x":"\u00fc\ud83d\"#);
            assert_eq!(hidden(&said, secret), said.replace(written, MASK), "{written}");
        }
        assert_eq!(hidden(r"\u002B4915112345678", "+4915112345678"), MASK);
    }
}
