//! How much of a server's certificate is checked, and what to do when the check fails.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    verify_tls12_signature, verify_tls13_signature, verify_tls13_signature_with_raw_key,
    WebPkiSupportedAlgorithms,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_cert::der::{Decode, Encode};
use x509_cert::Certificate;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    Nothing,
    Chain,
    ChainAndName,
}

/// Checks as much as `sslmode` asks for; that the server holds the certificate's key, always.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) check: Check,
    pub(super) roots: RootCertStore,
    /// The root file's certificates as they are, to know a server that shows one of them.
    pub(super) pinned: Vec<CertificateDer<'static>>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
    /// Set when a server has shown a certificate: from here on it does speak TLS.
    pub(super) reached: Arc<AtomicBool>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.reached.store(true, Ordering::Relaxed);
        if self.check == Check::Nothing {
            return Ok(ServerCertVerified::assertion());
        }
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let chain = verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        );
        match chain {
            // A self-signed certificate that is its own root, as `openssl req -x509` makes it, is
            // marked as an authority; rustls takes no such one from a server, OpenSSL does. Its
            // dates have been checked by then, and give another error.
            Err(Error::InvalidCertificate(CertificateError::Other(_)))
                if self.pinned.contains(end_entity) => {}
            other => other?,
        }
        if self.check == Check::ChainAndName {
            verify_server_name(&parsed, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match verify_tls13_signature(message, cert, dss, &self.algorithms) {
            // Version 1, as `openssl x509 -req` makes it, is beyond rustls, which can still check
            // the signature by the bare key. Where the chain matters it has been refused above.
            Err(Error::InvalidCertificate(CertificateError::Other(_)))
                if self.check == Check::Nothing =>
            {
                let key = public_key(cert).ok_or(CertificateError::BadEncoding)?;
                verify_tls13_signature_with_raw_key(message, &key, dss, &self.algorithms)
            }
            outcome => outcome,
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn public_key(cert: &CertificateDer<'_>) -> Option<SubjectPublicKeyInfoDer<'static>> {
    let parsed = Certificate::from_der(cert).ok()?;
    let key = parsed.tbs_certificate.subject_public_key_info.to_der().ok()?;
    Some(SubjectPublicKeyInfoDer::from(key))
}

/// What to do about a failed handshake, and whether it fails the same way until it is done.
pub(super) fn advice(error: &Error) -> (&'static str, bool) {
    use CertificateError as Cert;
    match error {
        Error::InvalidCertificate(cert) => match cert {
            Cert::Expired | Cert::ExpiredContext { .. } => {
                ("renew the server's certificate", false)
            }
            Cert::NotValidYet | Cert::NotValidYetContext { .. } => {
                ("compare the clocks of this machine and of the server", false)
            }
            Cert::UnknownIssuer | Cert::BadSignature => {
                ("give the certificate of the authority that issued it as sslrootcert", true)
            }
            Cert::NotValidForName | Cert::NotValidForNameContext { .. } => (
                "connect by a name in its subjectAltName (a common name alone does not count), \
                 or check the authority only with sslmode=verify-ca",
                true,
            ),
            // Among these: shown as a server's own and marked as an authority's; version 1.
            _ => (
                "issue the server a version 3 certificate with CA:FALSE, \
                 or give the very certificate that it shows as sslrootcert",
                true,
            ),
        },
        Error::AlertReceived(_) => {
            ("the server refused this side; see its log and check sslcert and sslkey", true)
        }
        Error::PeerIncompatible(_) => {
            ("let the server offer TLS 1.2 or 1.3 (ssl_min_protocol_version)", true)
        }
        _ => ("see the server's log", false),
    }
}
