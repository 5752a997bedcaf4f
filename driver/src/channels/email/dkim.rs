//! DKIM: the signature by which a receiver knows that a mail is the domain's.

use std::fs;

use base64::prelude::{Engine, BASE64_STANDARD};
use lettre::message::dkim::{
    DkimCanonicalization, DkimCanonicalizationType, DkimConfig, DkimSigningAlgorithm,
    DkimSigningKey,
};
use lettre::message::header::HeaderName;
use rsa::pkcs1::EncodeRsaPrivateKey;
use rsa::pkcs8::{LineEnding, PrivateKeyInfo, SecretDocument};
use rsa::RsaPrivateKey;

use crate::config::{ConfigError, Email};

/// Each of them that a mail has. Content-Type is not among them: lettre keeps it with the body. The last two are signed as one-click unsubscription asks (RFC 8058).
const SIGNED: &[&str] = &["From", "To", "Subject", "Date", "Message-ID", "MIME-Version"];
const SIGNED_WITH_UNSUBSCRIPTION: &[&str] = &["List-Unsubscribe", "List-Unsubscribe-Post"];

const RSA: &str = "1.2.840.113549.1.1.1";
const ED25519: &str = "1.3.101.112";
/// Before an Ed25519 key's 32 bytes: that they are a string of 32 bytes.
const ED25519_PREFIX: &[u8] = &[4, 32];

/// None where no key is configured.
pub fn configured(config: &Email, from_domain: &str) -> Result<Option<DkimConfig>, ConfigError> {
    if config.dkim_key_file.is_empty() {
        return Ok(None);
    }
    if config.dkim_selector.is_empty() {
        return Err(ConfigError::Invalid(
            "email.dkim_selector is needed where email.dkim_key_file is set".into(),
        ));
    }
    let pem = fs::read_to_string(&config.dkim_key_file).map_err(|cause| {
        ConfigError::Unreadable { path: config.dkim_key_file.clone().into(), cause }
    })?;
    let key = read_key(&pem).map_err(|reason| ConfigError::BadValue {
        name: "email.dkim_key_file".into(),
        value: config.dkim_key_file.clone(),
        reason,
    })?;
    let domain = match config.dkim_domain.as_str() {
        "" => from_domain.to_owned(),
        domain => domain.to_owned(),
    };
    let mut signed: Vec<_> = SIGNED.iter().copied().map(HeaderName::new_from_ascii_str).collect();
    if !config.unsubscribe_url.is_empty() {
        signed
            .extend(SIGNED_WITH_UNSUBSCRIPTION.iter().copied().map(HeaderName::new_from_ascii_str));
    }
    // Relays fold header lines anew and trim white space, which "simple" does not survive.
    let relaxed = DkimCanonicalization {
        header: DkimCanonicalizationType::Relaxed,
        body: DkimCanonicalizationType::Relaxed,
    };
    Ok(Some(DkimConfig::new(config.dkim_selector.clone(), domain, key, signed, relaxed)))
}

/// RSA or Ed25519, as OpenSSL writes them: PKCS#8, or PKCS#1 for RSA. lettre takes PKCS#1, or the key's bytes.
fn read_key(pem: &str) -> Result<DkimSigningKey, String> {
    if pem.contains("BEGIN RSA PRIVATE KEY") {
        return DkimSigningKey::new(pem.trim(), DkimSigningAlgorithm::Rsa)
            .map_err(|error| format!("it is no RSA key: {error}"));
    }
    let (_, document) = SecretDocument::from_pem(pem.trim())
        .map_err(|error| format!("it is no private key as PEM: {error}"))?;
    let info = PrivateKeyInfo::try_from(document.as_bytes())
        .map_err(|error| format!("it is no private key in PKCS#8: {error}"))?;
    match info.algorithm.oid.to_string().as_str() {
        RSA => {
            let key = RsaPrivateKey::try_from(info).map_err(|error| error.to_string())?;
            let pem = key.to_pkcs1_pem(LineEnding::LF).map_err(|error| error.to_string())?;
            DkimSigningKey::new(&pem, DkimSigningAlgorithm::Rsa).map_err(|error| error.to_string())
        }
        ED25519 => {
            let key = info.private_key.strip_prefix(ED25519_PREFIX).unwrap_or_default();
            DkimSigningKey::new(&BASE64_STANDARD.encode(key), DkimSigningAlgorithm::Ed25519)
                .map_err(|error| error.to_string())
        }
        _ => Err("it is neither an RSA nor an Ed25519 key".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_key_is_told() {
        for bad in [
            "",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n",
        ] {
            assert!(read_key(bad).unwrap_err().starts_with("it is no "), "{bad}");
        }
    }
}
