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
pub struct Addresses(pub Vec<(String, Vec<Address>)>);

impl Addresses {
    pub fn add(&mut self, channel: &str, address: Address) {
        match self.0.iter_mut().rfind(|(name, _)| name == channel) {
            Some((_, addresses)) => addresses.push(address),
            None => self.0.push((channel.to_owned(), vec![address])),
        }
    }
}
