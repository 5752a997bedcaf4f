//! Keys of the queue and of deduplication.

use md5::{Digest, Md5};
use uuid::Uuid;

use crate::hash::write_string;

pub type Key = [u8; 16];

/// The MD5 of the parts as a JSON array, which keeps ('a', 'b/c') apart from ('a/b', 'c').
pub fn dedup_key<'a>(parts: impl Iterator<Item = Option<&'a str>>) -> Key {
    let mut text = String::with_capacity(128);
    text.push('[');
    for (index, part) in parts.enumerate() {
        if index > 0 {
            text.push_str(", ");
        }
        match part {
            Some(part) => write_string(part, &mut text),
            None => text.push_str("null"),
        }
    }
    text.push(']');
    Md5::digest(text.as_bytes()).into()
}

/// The key of a content: of its hash, or of what the caller has given in its place.
pub fn content_key(content_hash: Option<&str>, user_id: Option<&str>, given: Option<&str>) -> Key {
    match given {
        None => dedup_key([Some("content"), content_hash].into_iter()),
        Some(_) => dedup_key([Some("dedup_key"), user_id, given].into_iter()),
    }
}

/// The key of a place, from 1, in a user's day for one alert.
pub fn day_key(user_id: &str, alert_id: &str, day: &str, place: i32) -> Key {
    let place = place.to_string();
    dedup_key(["day", user_id, alert_id, day, &place].into_iter().map(Some))
}

/// A new key, which sorts by the time of its making so that indexes of keys grow at one end.
pub fn message_key() -> Key {
    Uuid::now_v7().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(parts: &[Option<&str>]) -> Key {
        dedup_key(parts.iter().copied())
    }

    #[test]
    fn a_key_is_the_hash_of_a_json_array() {
        let expected: [u8; 16] = Md5::digest(br#"["day", "u\u00e9", null]"#).into();
        assert_eq!(key(&[Some("day"), Some("ué"), None]), expected);
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(key(&[Some("a"), Some("b/c")]), key(&[Some("a/b"), Some("c")]));
        assert_ne!(key(&[Some("a\", \"b")]), key(&[Some("a"), Some("b")]));
        assert_ne!(key(&[Some("null")]), key(&[None]));
        assert_ne!(key(&[]), key(&[Some("")]));
    }

    #[test]
    fn a_key_that_was_given_stands_for_the_content() {
        let of = |hash, given| content_key(Some(hash), Some("u"), given);
        assert_eq!(of("h", None), key(&[Some("content"), Some("h")]));
        assert_eq!(of("h", Some("k")), of("other", Some("k")));
        assert_eq!(of("h", Some("k")), key(&[Some("dedup_key"), Some("u"), Some("k")]));
    }

    #[test]
    fn places_of_a_day_have_keys_of_their_own() {
        let of = |day, place| day_key("u", "a", day, place);
        assert_eq!(of("2026-01-02", 1), key(&["day", "u", "a", "2026-01-02", "1"].map(Some)));
        assert_ne!(of("2026-01-02", 1), of("2026-01-02", 2));
        assert_ne!(of("2026-01-02", 1), of("2026-01-03", 1));
    }

    #[test]
    fn message_keys_ascend() {
        let keys: Vec<_> = (0..1000).map(|_| message_key()).collect();
        assert!(keys.is_sorted());
        assert_eq!(keys[0][6] >> 4, 7);
    }
}
