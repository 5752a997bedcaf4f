//! The trace that an alert is part of, as W3C Trace Context has it. One that cannot be followed is none: it costs no alert.

/// Characters of `version-trace-parent-flags`.
const LENGTH: usize = 55;

/// What is known of a traceparent; None where it has not its form. One of a later version may go on after a further `-`.
pub fn parent(given: &str) -> Option<&str> {
    let (known, rest) = given.split_at_checked(LENGTH)?;
    let mut parts = known.split('-');
    let mut next = |digits| {
        let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        parts.next().filter(|part| part.len() == digits && part.bytes().all(hex))
    };
    let (version, trace, span, _flags) = (next(2)?, next(32)?, next(16)?, next(2)?);
    let zeros = |id: &str| id.bytes().all(|b| b == b'0');
    let whole = rest.is_empty() || version != "00" && rest.starts_with('-');
    (version != "ff" && !zeros(trace) && !zeros(span) && whole).then_some(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    #[test]
    fn a_parent_is_of_its_form() {
        for version in ["00", "01", "cc"] {
            let known = format!("{version}-{TRACE}-{SPAN}-01");
            assert_eq!(parent(&known), Some(known.as_str()));
        }
        let later = format!("cc-{TRACE}-{SPAN}-01");
        assert_eq!(parent(&format!("{later}-what comes")), Some(later.as_str()));
        assert_eq!(parent(&format!("{later}-")), Some(later.as_str()));
    }

    #[test]
    fn what_cannot_be_followed_is_none() {
        for none in [
            String::new(),
            "00-0af7-b7-01".into(),
            format!("00-{TRACE}-{SPAN}-0"),
            format!("00-{TRACE}-{SPAN}-0g"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("cc-{TRACE}-{SPAN}-01.more"),
            format!("cc-{TRACE}-{SPAN}-011"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("0-0{TRACE}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{TRACE}-{SPAN}-é"),
            format!("00-{TRACE}-{}é-01", &SPAN[..15]),
        ] {
            assert_eq!(parent(&none), None, "{none}");
        }
    }
}
