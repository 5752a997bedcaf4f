//! Filters of pgalert's own, beside those of minijinja.

/// `cut(n)`: at most n UTF-16 units, as most receivers count; what is cut ends in "…". No character is split.
pub fn cut(text: &str, units: usize) -> String {
    if text.encode_utf16().count() <= units {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut left = units.saturating_sub(1);
    for c in text.chars() {
        let Some(rest) = left.checked_sub(c.len_utf16()) else { break };
        left = rest;
        kept.push(c);
    }
    if units > 0 {
        kept.push('…');
    }
    kept
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
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "ab…");
        assert_eq!(cut("🔥🔥🔥", 6), "🔥🔥🔥");
        assert_eq!(cut("🔥🔥🔥", 5), "🔥🔥…");
        assert_eq!(cut("🔥🔥🔥", 4), "🔥…");
        assert_eq!(cut("🔥", 1), "…");
        assert_eq!(cut("ab", 0), "");
    }

    #[test]
    fn no_mention_gets_through() {
        assert_eq!(mrkdwn("<!channel> & <@U1>"), "&lt;!channel&gt; &amp; &lt;@U1&gt;");
    }
}
