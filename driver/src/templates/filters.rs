//! Filters of pgalert's own, beside those of minijinja.

const CUT: char = '…';

/// `cut(n)`: at most n UTF-16 units, as most receivers count; what is cut ends in "…". `cut(n, b)`: and at most b bytes between
/// the quotes of JSON, where a receiver counts the whole body. No character is split.
pub fn cut(text: &str, units: usize, bytes: Option<usize>) -> String {
    let whole = (units, bytes.unwrap_or(usize::MAX));
    let size = |c: char| (c.len_utf16(), json_bytes(c));
    let less = |(units, bytes): (usize, usize), (u, b)| {
        Some((units.checked_sub(u)?, bytes.checked_sub(b)?))
    };
    // Where it ends if something is to follow it.
    let (mut left, mut end) = (Some(whole), None);
    for (at, c) in text.char_indices() {
        if left.and_then(|left| less(left, size(CUT))).is_some() {
            end = Some(at);
        }
        left = left.and_then(|left| less(left, size(c)));
        if left.is_none() {
            return end.map(|end| format!("{}{CUT}", &text[..end])).unwrap_or_default();
        }
    }
    text.to_owned()
}

/// As serde_json writes it.
fn json_bytes(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        _ => c.len_utf8(),
    }
}

/// `mrkdwn`: what Slack would read as a link or a mention is text.
pub fn mrkdwn(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_has_no_half_characters() {
        let cut = |text, units| cut(text, units, None);
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "ab…");
        assert_eq!(cut("🔥🔥🔥", 6), "🔥🔥🔥");
        assert_eq!(cut("🔥🔥🔥", 5), "🔥🔥…");
        assert_eq!(cut("🔥🔥🔥", 4), "🔥…");
        assert_eq!(cut("🔥", 1), "…");
        assert_eq!(cut("ab", 0), "");
    }

    #[test]
    fn bytes_are_those_of_json() {
        for c in (0..0x3000).filter_map(char::from_u32).chain(['🔥']) {
            assert_eq!(json_bytes(c), serde_json::to_string(&c).unwrap().len() - 2, "{c:?}");
        }
        assert_eq!(cut("a\u{1}\u{1}", 3, Some(13)), "a\u{1}\u{1}");
        assert_eq!(cut("a\u{1}\u{1}", 3, Some(12)), "a\u{1}…");
        assert_eq!(cut("a\u{1}\u{1}", 3, Some(9)), "a…");
        assert_eq!(cut("\"\"", 9, Some(3)), "…");
        assert_eq!(cut("\"\"", 9, Some(2)), "");
        assert_eq!(cut("🔥🔥", 4, Some(7)), "🔥…");
        assert_eq!(cut("🔥🔥", 3, Some(8)), "🔥…");
    }

    #[test]
    fn no_mention_gets_through() {
        assert_eq!(mrkdwn("<!channel> & <@U1>"), "&lt;!channel&gt; &amp; &lt;@U1&gt;");
    }
}
