//! Signatures by a key that lives as long as the process: of forms, and to compare tokens without telling by the time it
//! takes how much of one was right.

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::Engine;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

pub struct Signer {
    key: Hmac<Sha256>,
}

impl Signer {
    pub fn new() -> Self {
        Self { key: Hmac::new(&rand::random::<[u8; 64]>().into()) }
    }

    fn mac(&self, text: &str) -> Hmac<Sha256> {
        let mut mac = self.key.clone();
        mac.update(text.as_bytes());
        mac
    }

    /// What a form carries, so that only a page of this person's makes one that counts.
    pub fn sign(&self, text: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.mac(text).finalize().into_bytes())
    }

    pub fn signed(&self, text: &str, signature: &str) -> bool {
        URL_SAFE_NO_PAD
            .decode(signature)
            .is_ok_and(|bytes| self.mac(text).verify_slice(&bytes).is_ok())
    }

    /// Whether two texts are the same, in a time that does not depend on where they differ.
    pub fn same(&self, one: &str, other: &str) -> bool {
        self.mac(one).finalize() == self.mac(other).finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_of_one_text_and_one_process() {
        let (signer, other) = (Signer::new(), Signer::new());
        let signature = signer.sign("ann");
        assert!(signer.signed("ann", &signature));
        assert!(!signer.signed("bob", &signature));
        assert!(!other.signed("ann", &signature));
        assert!(!signer.signed("ann", "no base64!") && !signer.signed("ann", ""));
        assert!(signer.same("a", "a") && !signer.same("a", "ab"));
    }
}
