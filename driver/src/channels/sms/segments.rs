//! How a text becomes segments of SMS, and what of it fits into so many.

/// GSM 03.38, the default alphabet; each of these is one septet.
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// Its extension; each is two septets, the first of them an escape.
const EXTENDED: &str = "^{}\\[~]|€\u{c}";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Encoding {
    Gsm7,
    Ucs2,
}

impl Encoding {
    /// One character outside the alphabet makes the whole text UCS-2.
    fn of(text: &str) -> Self {
        if text.chars().all(|c| BASIC.contains(c) || EXTENDED.contains(c)) {
            Self::Gsm7
        } else {
            Self::Ucs2
        }
    }

    fn units(self, c: char) -> usize {
        match self {
            Self::Gsm7 => 1 + usize::from(EXTENDED.contains(c)),
            Self::Ucs2 => c.len_utf16(),
        }
    }

    /// Of a text that is one segment, and of each segment of one that is several: those carry a header.
    fn capacity(self) -> (usize, usize) {
        match self {
            Self::Gsm7 => (160, 153),
            Self::Ucs2 => (70, 67),
        }
    }

    /// A character of two units is never split between segments.
    fn segments(self, text: &str) -> usize {
        let (single, part) = self.capacity();
        let units: usize = text.chars().map(|c| self.units(c)).sum();
        if units <= single {
            return 1;
        }
        let (mut segments, mut used) = (1, 0);
        for units in text.chars().map(|c| self.units(c)) {
            if used + units > part {
                segments += 1;
                used = 0;
            }
            used += units;
        }
        segments
    }
}

pub fn segments(text: &str) -> usize {
    Encoding::of(text).segments(text)
}

/// The text, or what of it fits into so many segments; it then ends in "...", between words where one ends near.
pub fn fit(text: &str, max_segments: usize) -> String {
    if segments(text) <= max_segments {
        return text.to_owned();
    }
    // "…" would make a text of GSM's alphabet UCS-2, which holds less than half.
    let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    let cut = |at: usize| format!("{}...", text[..at].trim_end());
    let fits = ends.partition_point(|&at| segments(&cut(at)) <= max_segments);
    let last = fits.checked_sub(1).map_or(0, |index| ends[index]);
    let word = text[..last].rfind(char::is_whitespace).filter(|at| last - at <= 20);
    cut(word.unwrap_or(last))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn segments_are_counted_as_an_operator_counts_them() {
        for (text, count) in [
            ("".to_owned(), 1),
            ("a".repeat(160), 1),
            ("a".repeat(161), 2),
            ("a".repeat(306), 2),
            ("a".repeat(307), 3),
            ("€".repeat(80), 1),
            ("€".repeat(81), 2),
            // 152 units and an escape pair do not fit into 153.
            (format!("{}€{}", "a".repeat(152), "a".repeat(151)), 2),
            (format!("{}€{}", "a".repeat(152), "a".repeat(152)), 3),
            ("ф".repeat(70), 1),
            ("ф".repeat(71), 2),
            ("ф".repeat(135), 3),
            ("🔥".repeat(35), 1),
            ("🔥".repeat(66), 2),
            ("🔥".repeat(67), 3),
        ] {
            assert_eq!(segments(&text), count, "{} characters of {text:.4}", text.chars().count());
        }
    }

    #[test]
    fn a_long_text_is_cut_between_words() {
        let text = "disk is full ".repeat(30);
        let cut = fit(&text, 1);
        assert!(cut.len() <= 160 && cut.ends_with(" full..."), "{cut}");
        assert_eq!(fit("short", 1), "short");
        assert_eq!(fit(&"a".repeat(200), 1), format!("{}...", "a".repeat(157)));
        assert_eq!(fit(&"🔥".repeat(40), 1), format!("{}...", "🔥".repeat(33)));
    }

    proptest! {
        #[test]
        fn what_is_cut_fits_and_is_a_beginning(text in "[a-z €🔥ф\\[]{0,800}", max in 1usize..5) {
            let cut = fit(&text, max);
            prop_assert!(segments(&cut) <= max);
            if cut != text {
                prop_assert!(text.starts_with(cut.strip_suffix("...").unwrap()));
                prop_assert!(segments(&text) > max);
            }
        }
    }
}
