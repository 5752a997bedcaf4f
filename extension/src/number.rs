//! A number as `numeric` stores it: the length that Postgres puts before it, a head, and digits of base 10,000.

use std::fmt;

/// Decimal digits of one that is stored.
const GROUP: usize = 4;
const BASE: u16 = 10_000;

const KIND: u16 = 0xC000;
const NEGATIVE: u16 = 0x4000;
const SHORT: u16 = 0x8000;
const SPECIAL: u16 = 0xC000;
const DECIMALS: u16 = 0x3FFF;
const SHORT_NEGATIVE: u16 = 0x2000;
const SHORT_DECIMALS: u16 = 0x1F80;
const SHORT_DECIMALS_SHIFT: u32 = 7;
/// The weight of a short one, with its sign as the highest bit.
const SHORT_WEIGHT: u16 = 0x007F;
const SHORT_WEIGHT_BITS: u32 = 7;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number<'a> {
    is_negative: bool,
    /// Decimals of its text.
    decimals: usize,
    /// The power of 10,000 that its first digit counts.
    weight: i16,
    digits: &'a [u8],
}

impl<'a> Number<'a> {
    /// None for what is no number: jsonb keeps neither NaN nor infinity.
    pub fn of(stored: &'a [u8]) -> Option<Self> {
        let (_length, stored) = stored.split_first_chunk::<{ size_of::<u32>() }>()?;
        let (head, rest) = stored.split_first_chunk()?;
        let head = u16::from_ne_bytes(*head);
        match head & KIND {
            SPECIAL => None,
            SHORT => {
                let unused = u16::BITS - SHORT_WEIGHT_BITS;
                Some(Self {
                    is_negative: head & SHORT_NEGATIVE != 0,
                    decimals: usize::from((head & SHORT_DECIMALS) >> SHORT_DECIMALS_SHIFT),
                    weight: ((head & SHORT_WEIGHT) << unused) as i16 >> unused,
                    digits: rest,
                })
            }
            sign => {
                let (weight, digits) = rest.split_first_chunk()?;
                Some(Self {
                    is_negative: sign == NEGATIVE,
                    decimals: usize::from(head & DECIMALS),
                    weight: i16::from_ne_bytes(*weight),
                    digits,
                })
            }
        }
    }

    pub fn is_integer(&self) -> bool {
        self.decimals == 0
    }

    /// None for one whose text has decimals, or that does not fit.
    pub fn integer(&self) -> Option<i64> {
        if !self.is_integer() {
            return None;
        }
        let mut negated: i64 = 0;
        for place in 0..=i32::from(self.weight) {
            let digit = self.digit(place).into();
            negated = negated.checked_mul(BASE.into())?.checked_sub(digit)?;
        }
        if self.is_negative {
            Some(negated)
        } else {
            negated.checked_neg()
        }
    }

    /// Bytes of its text.
    pub fn len(&self) -> usize {
        let sign = usize::from(self.is_negative);
        let groups = usize::try_from(self.weight).unwrap_or(0);
        let decimals = if self.is_integer() { 0 } else { 1 + self.decimals };
        sign + self.first_group_len() + GROUP * groups + decimals
    }

    /// Appends the text that Postgres gives the number.
    pub fn write(&self, text: &mut String) {
        text.reserve(self.len() + GROUP);
        if self.is_negative {
            text.push('-');
        }
        let weight = i32::from(self.weight);
        push_digits(self.first_group(), self.first_group_len(), text);
        for place in 1..=weight {
            push_digits(self.digit(place), GROUP, text);
        }
        if self.is_integer() {
            return;
        }
        text.push('.');
        let end = text.len() + self.decimals;
        for place in (weight + 1..).take(self.decimals.div_ceil(GROUP)) {
            push_digits(self.digit(place), GROUP, text);
        }
        text.truncate(end);
    }

    /// What is before the point, of that the first digit.
    fn first_group(&self) -> u16 {
        if self.weight < 0 {
            0
        } else {
            self.digit(0)
        }
    }

    fn first_group_len(&self) -> usize {
        1 + self.first_group().checked_ilog10().unwrap_or(0) as usize
    }

    /// Before the first digit and after the last one there are zeros.
    fn digit(&self, place: i32) -> u16 {
        let digits = self.digits.as_chunks().0;
        let digit = usize::try_from(place).ok().and_then(|place| digits.get(place));
        digit.map_or(0, |digit| u16::from_ne_bytes(*digit) % BASE)
    }
}

/// An integer as it is stored: in the short form, without the zeros at its end.
pub fn stored(integer: i64) -> Vec<u8> {
    let mut digits = [0; 5]; // the last first
    let mut count = 0;
    let mut rest = integer.unsigned_abs();
    while rest > 0 {
        digits[count] = (rest % u64::from(BASE)) as u16;
        rest /= u64::from(BASE);
        count += 1;
    }
    let zeros = digits[..count].iter().take_while(|digit| **digit == 0).count();
    let sign = if integer < 0 { SHORT_NEGATIVE } else { 0 };
    let head = SHORT | sign | count.saturating_sub(1) as u16;
    let size = size_of::<u32>() + size_of::<u16>() * (1 + count - zeros);
    let mut stored = Vec::with_capacity(size);
    stored.extend(length_word(size as u32).to_ne_bytes());
    stored.extend(head.to_ne_bytes());
    stored.extend(digits[zeros..count].iter().rev().flat_map(|digit| digit.to_ne_bytes()));
    stored
}

/// A length, its own word counted, as Postgres puts it before a value.
fn length_word(size: u32) -> u32 {
    if cfg!(target_endian = "big") {
        size
    } else {
        size << 2
    }
}

impl fmt::Display for Number<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let mut text = String::new();
        self.write(&mut text);
        formatter.write_str(&text)
    }
}

/// The last decimal digits of a digit.
fn push_digits(digit: u16, count: usize, text: &mut String) {
    for power in [1000, 100, 10, 1].into_iter().skip(GROUP - count) {
        text.push(char::from(b'0' + (digit / power % 10) as u8));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoded;
    use proptest::prelude::*;

    #[track_caller]
    fn shows(stored: &[u8], expected: &str) {
        let number = Number::of(stored).unwrap();
        assert_eq!(number.to_string(), expected);
        assert_eq!(number.len(), expected.len(), "{expected}");
    }

    /// With the four bytes of a length before them.
    fn words(words: &[u16]) -> Vec<u8> {
        [0; 4].into_iter().chain(words.iter().flat_map(|word| word.to_ne_bytes())).collect()
    }

    #[test]
    fn numbers_are_shown_as_postgres_shows_them() {
        shows(&words(&[0x8000]), "0");
        shows(&words(&[0x8100]), "0.00");
        shows(&words(&[0x8000, 7]), "7");
        shows(&words(&[0xA000, 7]), "-7");
        shows(&words(&[0x8001, 3]), "30000");
        shows(&words(&[0x8001, 12, 3456]), "123456");
        shows(&words(&[0x80FF, 5000]), "0.5");
        shows(&words(&[0x83FE, 10]), "0.0000001");
        shows(&words(&[0x8100, 30, 5000]), "30.50");
        shows(&words(&[0x0000, 70, 1]), &("1".to_owned() + &"0".repeat(280)));
        shows(&words(&[0x4040, 0, 1, 1]), &format!("-1.0001{}", "0".repeat(60)));
    }

    #[test]
    fn the_least_and_greatest_integers_fit() {
        let of = |text: &str| Number::of(&encoded::number(text)).unwrap().integer();
        for number in [0, 1, -1, 10_000, i64::MIN, i64::MAX] {
            assert_eq!(of(&number.to_string()), Some(number));
            assert_eq!(stored(number), encoded::number(&number.to_string()));
        }
        assert_eq!(of("9223372036854775808"), None);
        assert_eq!(of("-9223372036854775809"), None);
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for none in [vec![], words(&[]), words(&[0xC000]), words(&[0xD000]), words(&[0])] {
            assert_eq!(Number::of(&none), None);
        }
    }

    proptest! {
        #[test]
        fn digits_are_kept(text in "-?([1-9][0-9]{0,300}|0)(\\.[0-9]{1,300})?") {
            let is_zero = !text.contains(|c| matches!(c, '1'..='9'));
            let expected = if is_zero { text.trim_start_matches('-') } else { &text };
            shows(&encoded::number(&text), expected);
        }

        #[test]
        fn integers_are_read(number: i64, places in 0u32..18) {
            let number = number / 10i64.pow(places);
            let of = |text: &str| Number::of(&encoded::number(text)).unwrap().integer();
            prop_assert_eq!(of(&number.to_string()), Some(number));
            prop_assert_eq!(of(&format!("{number}.0")), None);
            prop_assert_eq!(of(&format!("{number}0000000000000000000")), (number == 0).then_some(0));
        }

        #[test]
        fn integers_are_stored_as_postgres_stores_them(number: i64, places in 0u32..19) {
            let power = 10i64.pow(places);
            for number in [number / power, number / power * power] {
                prop_assert_eq!(stored(number), encoded::number(&number.to_string()));
            }
        }

        #[test]
        fn no_bytes_are_a_fault(bytes: Vec<u8>) {
            if let Some(number) = Number::of(&bytes) {
                prop_assert_eq!(number.to_string().len(), number.len());
            }
        }
    }
}
