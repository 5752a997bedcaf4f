//! Where a message is to go: the addresses of each of its channels.

use crate::members::{order, write_object};
use crate::number;
use crate::value::{write_array, Slot, NUMBER};

/// An address of a user.
pub struct Address {
    pub recipient_id: i64,
    pub address: String,
    /// None where what is sent there is not signed.
    pub secrets: Option<Vec<String>>,
}

/// Addresses by channel.
#[derive(Default)]
pub struct Addresses(Vec<(String, Vec<Address>)>);

impl Addresses {
    pub fn add(&mut self, channel: &str, address: Address) {
        match self.0.iter_mut().rfind(|(name, _)| name == channel) {
            Some((_, addresses)) => addresses.push(address),
            None => self.0.push((channel.to_owned(), vec![address])),
        }
    }

    /// `{channel: [{"recipient_id", "address", "secrets"?}, …]}` as jsonb stores it, the addresses in the same order however they were found.
    pub fn stored(&mut self) -> Vec<u8> {
        self.0.sort_unstable_by(|(a, _), (b, _)| order(a.as_bytes()).cmp(&order(b.as_bytes())));
        let mut arrays = Vec::with_capacity(self.0.len());
        for (_, addresses) in &mut self.0 {
            addresses.sort_unstable_by(|a, b| a.address.cmp(&b.address));
            let addresses: Vec<_> = addresses.iter().map(Address::stored).collect();
            let slots: Vec<_> = addresses.iter().map(|stored| Slot::container(stored)).collect();
            arrays.push(write_array(&slots));
        }
        let arrays = arrays.iter().map(|stored| Slot::container(stored));
        let channels = self.0.iter().map(|(channel, _)| channel.as_bytes());
        write_object(&channels.zip(arrays).collect::<Vec<_>>())
    }
}

impl Address {
    fn stored(&self) -> Vec<u8> {
        let recipient_id = number::stored(self.recipient_id);
        let secrets = self.secrets.as_ref().map(|secrets| {
            write_array(&secrets.iter().map(|secret| Slot::text(secret)).collect::<Vec<_>>())
        });
        let mut members: Vec<(&[u8], Slot)> = Vec::with_capacity(3);
        members.push((b"address", Slot::text(&self.address)));
        if let Some(secrets) = &secrets {
            members.push((b"secrets", Slot::container(secrets)));
        }
        members.push((b"recipient_id", Slot { kind: NUMBER, bytes: &recipient_id }));
        write_object(&members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoded;

    #[test]
    fn addresses_of_a_channel_are_put_together_in_order() {
        let mut addresses = Addresses::default();
        for (channel, address) in [("email", "b"), ("sms", "2"), ("email", "a"), ("email", "é")] {
            let secrets = (address == "2").then(|| vec!["one".to_owned(), "two".to_owned()]);
            addresses.add(channel, Address { recipient_id: 10, address: address.into(), secrets });
        }
        let expected = r#"{
            "sms": [{"address": "2", "secrets": ["one", "two"], "recipient_id": 10}],
            "email": [{"address": "a", "recipient_id": 10}, {"address": "b", "recipient_id": 10},
                      {"address": "é", "recipient_id": 10}]
        }"#;
        assert_eq!(addresses.stored(), encoded::stored(expected));
        assert_eq!(Addresses::default().stored(), encoded::stored("{}"));
    }
}
