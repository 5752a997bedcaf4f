//! Where a message is to go: the addresses of each of its channels.

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

    /// In the same order however they were found.
    pub fn in_order(&mut self) -> &[(String, Vec<Address>)] {
        for (_, addresses) in &mut self.0 {
            addresses.sort_unstable_by(|a, b| a.address.cmp(&b.address));
        }
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_a_channel_are_put_together_in_order() {
        let mut addresses = Addresses::default();
        for (channel, address) in [("email", "b"), ("sms", "2"), ("email", "a"), ("email", "c")] {
            let address = Address { recipient_id: 1, address: address.to_owned(), secrets: None };
            addresses.add(channel, address);
        }
        let found: Vec<_> = addresses
            .in_order()
            .iter()
            .map(|(channel, of)| (channel.as_str(), of.iter().map(|a| &*a.address).collect()))
            .collect();
        assert_eq!(found, [("email", vec!["a", "b", "c"]), ("sms", vec!["2"])]);
    }
}
