//! An object as jsonb stores it, made of members, or with some put in. What else it holds is copied as it lies: `jsonb ||` takes both sides apart,
//! which costs a firing more than reading the alert.

use crate::error::Error;
use crate::value::{write, Container, Slot, OBJECT, STRING};

/// The object with these texts in the place of members of the same keys.
pub fn with_texts(object: Container, texts: &[(&str, &str)]) -> Result<Vec<u8>, Error> {
    let mut members = object.all_members(texts.len())?;
    for (key, text) in texts {
        let member = (key.as_bytes(), Slot::text(text));
        match members.binary_search_by_key(&order(member.0), |other| order(other.0)) {
            Ok(place) => members[place] = member,
            Err(place) => members.insert(place, member),
        }
    }
    Ok(write_object(&members))
}

/// Keys are sorted by this.
pub fn order(key: &[u8]) -> (usize, &[u8]) {
    (key.len(), key)
}

/// An object of members in the order of their keys.
pub fn write_object(members: &[(&[u8], Slot)]) -> Vec<u8> {
    let keys = members.iter().map(|(key, _)| Slot { kind: STRING, bytes: key });
    let values = members.iter().map(|(_, value)| *value);
    write(OBJECT, members.len(), keys.chain(values))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoded::{object, stored};

    #[test]
    fn texts_are_put_in_by_length_of_their_keys_and_in_the_place_of_others() {
        let before = object(r#"{"bb": 12.5, "message": "old", "c": [0, {}]}"#);
        assert_eq!(
            with_texts(before, &[("message", "new"), ("aa", "x")]).unwrap(),
            stored(r#"{"bb": 12.5, "message": "new", "c": [0, {}], "aa": "x"}"#)
        );
    }

    #[test]
    fn members_beyond_a_stride_are_kept() {
        let values = [r#""12345""#, "12345", "[null, 1]", "null", "true"];
        let members: Vec<String> = (0..100)
            .map(|number| format!(r#""key {number}": {}"#, values[number % values.len()]))
            .collect();
        let members = members.join(", ");
        assert_eq!(
            with_texts(object(&format!("{{{members}}}")), &[("key 200", "12345")]).unwrap(),
            stored(&format!(r#"{{{members}, "key 200": "12345"}}"#))
        );
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        let stored = stored(r#"{"key": "text"}"#);
        assert!(with_texts(Container(&stored[..stored.len() - 1]), &[]).is_err());
        assert!(with_texts(Container(&[]), &[]).is_err());
    }
}
