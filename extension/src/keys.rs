//! Keys of the queue and of deduplication.

use md5::{Digest, Md5};
use uuid::Uuid;

use crate::hash::write_string;

/// The MD5 of the parts as a JSON array, which keeps ('a', 'b/c') apart from ('a/b', 'c').
pub fn dedup_key<'a>(parts: impl Iterator<Item = Option<&'a str>>) -> [u8; 16] {
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

/// A new key, which sorts by the time of its making so that indexes of keys grow at one end.
pub fn message_key() -> [u8; 16] {
    Uuid::now_v7().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(parts: &[Option<&str>]) -> [u8; 16] {
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
    fn message_keys_ascend() {
        let keys: Vec<_> = (0..1000).map(|_| message_key()).collect();
        assert!(keys.is_sorted());
        assert_eq!(keys[0][6] >> 4, 7);
    }
}
