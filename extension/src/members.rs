//! An object as jsonb stores it, with members put in. What else it holds is copied as it lies: `jsonb ||` takes both sides apart,
//! which costs a firing more than reading the alert.
//!
//! A container is a word of flags and the number of members, a word (`JEntry`) for each key and then for each value, the keys
//! and the values. Keys are sorted by length, then by bytes; numbers and containers begin at a multiple of four bytes.

const COUNT: u32 = 0x0FFF_FFFF;
const OBJECT: u32 = 0x2000_0000;

/// Of a JEntry: a length, or where its value ends.
const LENGTH: u32 = 0x0FFF_FFFF;
const KIND: u32 = 0x7000_0000;
const STRING: u32 = 0;
const NUMBER: u32 = 0x1000_0000;
const CONTAINER: u32 = 0x5000_0000;
const IS_END: u32 = 0x8000_0000;
/// Of so many JEntries, the first has an end.
const STRIDE: usize = 32;

const WORD: usize = size_of::<u32>();

#[derive(Clone, Copy)]
struct Member<'a> {
    key: &'a [u8],
    kind: u32,
    /// Without what aligns it.
    value: &'a [u8],
}

/// The object with these texts in the place of members of the same keys. None for what is not an object.
pub fn with_texts(object: &[u8], texts: &[(&str, &str)]) -> Option<Vec<u8>> {
    let mut members = read(object, texts.len())?;
    for (key, text) in texts {
        let member = Member { key: key.as_bytes(), kind: STRING, value: text.as_bytes() };
        match members.binary_search_by_key(&order(member.key), |other| order(other.key)) {
            Ok(place) => members[place] = member,
            Err(place) => members.insert(place, member),
        }
    }
    Some(write(&members))
}

/// An object or array that is a member of this one.
pub fn container<'a>(object: &'a [u8], key: &str) -> Option<&'a [u8]> {
    let found = read(object, 0)?.into_iter().find(|member| member.key == key.as_bytes())?;
    (found.kind == CONTAINER).then_some(found.value)
}

fn order(key: &[u8]) -> (usize, &[u8]) {
    (key.len(), key)
}

fn word(bytes: &[u8], index: usize) -> Option<u32> {
    let word = bytes.get(index * WORD..(index + 1) * WORD)?;
    Some(u32::from_ne_bytes(word.try_into().ok()?))
}

fn read(object: &[u8], room: usize) -> Option<Vec<Member<'_>>> {
    let header = word(object, 0)?;
    if header & !COUNT != OBJECT {
        return None;
    }
    let count = (header & COUNT) as usize;
    let data = object.get((1 + 2 * count) * WORD..)?;
    let mut members = Vec::with_capacity(count + room);
    let mut start = 0;
    for index in 0..2 * count {
        let entry = word(object, 1 + index)?;
        let length = (entry & LENGTH) as usize;
        let end = if entry & IS_END != 0 { length } else { start + length };
        let kind = entry & KIND;
        let begin = if is_aligned(kind) { start.next_multiple_of(WORD) } else { start };
        let bytes = data.get(begin..end)?;
        if index < count {
            members.push(Member { key: bytes, kind: STRING, value: &[] });
        } else {
            let member: &mut Member = members.get_mut(index - count)?;
            member.kind = kind;
            member.value = bytes;
        }
        start = end;
    }
    Some(members)
}

fn is_aligned(kind: u32) -> bool {
    matches!(kind, NUMBER | CONTAINER)
}

fn write(members: &[Member]) -> Vec<u8> {
    let header = (1 + 2 * members.len()) * WORD;
    let data: usize = members.iter().map(|m| m.key.len() + m.value.len() + WORD).sum();
    let mut object = Vec::with_capacity(header + data);
    object.extend((OBJECT | members.len() as u32).to_ne_bytes());
    object.resize(header, 0);
    let keys = members.iter().map(|member| (STRING, member.key));
    let values = members.iter().map(|member| (member.kind, member.value));
    for (index, (kind, bytes)) in keys.chain(values).enumerate() {
        let start = object.len();
        if is_aligned(kind) {
            object.resize(start.next_multiple_of(WORD), 0);
        }
        object.extend_from_slice(bytes);
        let entry = match index % STRIDE {
            0 => kind | IS_END | (object.len() - header) as u32,
            _ => kind | (object.len() - start) as u32,
        };
        object[(1 + index) * WORD..(2 + index) * WORD].copy_from_slice(&entry.to_ne_bytes());
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(members: &[(&str, u32, &[u8])]) -> Vec<u8> {
        let mut members: Vec<Member> = members
            .iter()
            .map(|(key, kind, value)| Member { key: key.as_bytes(), kind: *kind, value })
            .collect();
        members.sort_by_key(|member| order(member.key));
        write(&members)
    }

    #[test]
    fn a_text_is_stored_behind_words_of_lengths() {
        let mut expected = Vec::new();
        for word in [OBJECT | 1, IS_END | 3, 2] {
            expected.extend(word.to_ne_bytes());
        }
        expected.extend(b"keyno");
        assert_eq!(object(&[("key", STRING, b"no")]), expected);
    }

    #[test]
    fn texts_are_put_in_by_length_of_their_keys_and_in_the_place_of_others() {
        let before = object(&[
            ("bb", NUMBER, b"1234"),
            ("message", STRING, b"old"),
            ("c", CONTAINER, &[0; 8]),
        ]);
        let after = with_texts(&before, &[("message", "new"), ("aa", "x")]).unwrap();
        let expected = object(&[
            ("aa", STRING, b"x"),
            ("bb", NUMBER, b"1234"),
            ("message", STRING, b"new"),
            ("c", CONTAINER, &[0; 8]),
        ]);
        assert_eq!(after, expected);
    }

    #[test]
    fn members_beyond_a_stride_are_found_again() {
        let keys: Vec<String> = (0..100).map(|number| format!("key {number}")).collect();
        let kinds = [STRING, NUMBER, CONTAINER, 0x4000_0000];
        let members: Vec<(&str, u32, &[u8])> = keys
            .iter()
            .zip(kinds.into_iter().cycle())
            .map(|(key, kind)| {
                (key.as_str(), kind, if kind == 0x4000_0000 { &b""[..] } else { b"12345" })
            })
            .collect();
        let before = object(&members);
        let after = with_texts(&before, &[("key 7", "12345")]).unwrap();
        let read_back = read(&after, 0).unwrap();
        assert_eq!(read_back.len(), 100);
        let seventh = read_back.iter().find(|member| member.key == b"key 7").unwrap();
        assert_eq!((seventh.kind, seventh.value), (STRING, &b"12345"[..]));
        assert!(read_back.is_sorted_by_key(|member| order(member.key)));
    }

    #[test]
    fn a_container_is_found_by_its_key() {
        let members: [(&str, u32, &[u8]); 2] = [("a", STRING, b"123"), ("bb", CONTAINER, &[7; 8])];
        let object = object(&members);
        assert_eq!(container(&object, "bb"), Some(&[7; 8][..]));
        assert_eq!(container(&object, "a"), None);
        assert_eq!(container(&object, "b"), None);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        let array = 0x4000_0000u32.to_ne_bytes();
        assert_eq!(with_texts(&array, &[]), None);
        assert_eq!(with_texts(&[], &[]), None);
        let cut = object(&[("key", STRING, b"text")]);
        assert_eq!(with_texts(&cut[..cut.len() - 1], &[]), None);
    }
}
