//! TLS by rustls, with the meaning that libpq gives to `sslmode` and the files it looks for.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::values::{ParamError, Values};
use super::verify::{Check, Verifier};

/// In order of strength.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SslMode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

const MODES: &[(&str, SslMode)] = &[
    ("disable", SslMode::Disable),
    ("allow", SslMode::Allow),
    ("prefer", SslMode::Prefer),
    ("require", SslMode::Require),
    ("verify-ca", SslMode::VerifyCa),
    ("verify-full", SslMode::VerifyFull),
];

impl fmt::Display for SslMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = MODES.iter().find(|(_, mode)| mode == self);
        f.write_str(found.map_or("", |(word, _)| word))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Roots {
    /// `sslrootcert=system`: what the operating system trusts.
    System,
    File(PathBuf),
    /// No home directory, and no file given.
    None,
}

/// A client certificate; that it was asked for by name makes its absence an error.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    cert: PathBuf,
    key: PathBuf,
    given: bool,
}

/// What the connection string says on TLS. Files are read at each connection attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TlsOptions {
    pub(super) mode: SslMode,
    roots: Roots,
    identity: Option<Identity>,
    sni: bool,
    only_12: bool,
    only_13: bool,
}

impl TlsOptions {
    pub(super) fn read(values: &Values, home: Option<&Path>) -> Result<TlsOptions, ParamError> {
        let expected = "disable, allow, prefer, require, verify-ca or verify-full";
        let mode = values.choice("sslmode", MODES, expected)?;
        let standard = |name: &str| home.map(|home| home.join(".postgresql").join(name));
        let file = |keyword: &str| values.get(keyword).map(PathBuf::from);

        let system = values.get("sslrootcert") == Some("system");
        let mode = match mode {
            // libpq: a public authority vouches for anyone, so the name has to be checked too.
            Some(mode) if system && mode < SslMode::VerifyFull => {
                return Err(ParamError::Conflict(format!(
                    "sslrootcert=system needs sslmode=verify-full, not {mode}"
                )));
            }
            Some(mode) => mode,
            None if system => SslMode::VerifyFull,
            None => SslMode::Prefer,
        };
        let roots = match file("sslrootcert").or_else(|| standard("root.crt")) {
            Some(_) if system => Roots::System,
            Some(path) => Roots::File(path),
            None => Roots::None,
        };

        let wanted = values.choice(
            "sslcertmode",
            &[("disable", false), ("allow", true), ("require", true)],
            "disable, allow or require",
        )?;
        let given = values.get("sslcert").is_some();
        let identity = file("sslcert")
            .or_else(|| standard("postgresql.crt"))
            .zip(file("sslkey").or_else(|| standard("postgresql.key")))
            .filter(|_| wanted != Some(false))
            .map(|(cert, key)| Identity { cert, key, given });
        if given && identity.is_none() && wanted != Some(false) {
            return Err(ParamError::Conflict("sslcert is given without sslkey".to_owned()));
        }

        // rustls knows no version below 1.2, so a lower minimum changes nothing.
        let versions = [("TLSv1", 10), ("TLSv1.1", 11), ("TLSv1.2", 12), ("TLSv1.3", 13)];
        let expected = "TLSv1.2 or TLSv1.3";
        let min = values.choice("ssl_min_protocol_version", &versions, expected)?.unwrap_or(12);
        let max = values.choice("ssl_max_protocol_version", &versions, expected)?.unwrap_or(13);
        if max < 12 || max < min {
            return Err(ParamError::Conflict(
                "ssl_max_protocol_version leaves no version of TLS to use".to_owned(),
            ));
        }
        let sni = values.choice("sslsni", &[("0", false), ("1", true)], "0 or 1")?;
        Ok(TlsOptions {
            mode,
            roots,
            identity,
            sni: sni.unwrap_or(true),
            only_12: max == 12,
            only_13: min == 13,
        })
    }
}

/// A mistake in the TLS settings or in a file that they name.
#[derive(Debug, thiserror::Error)]
pub enum TlsConfigError {
    #[error(
        "sslmode={mode} needs a root certificate and {path} does not exist; \
         give its authority's certificate as sslrootcert, or sslrootcert=system"
    )]
    NoRoots { mode: String, path: String },
    #[error("{what} {path} cannot be used: {reason}")]
    File { what: &'static str, path: String, reason: String },
    #[error("TLS cannot be set up: {0}")]
    Other(#[from] rustls::Error),
}

impl TlsConfigError {
    fn file(what: &'static str, path: &Path, reason: impl fmt::Display) -> Self {
        Self::File { what, path: path.display().to_string(), reason: reason.to_string() }
    }
}

/// Makes TLS connections by the options; one for each call of `connect`.
pub(super) struct Connector {
    make: MakeRustlsConnect,
    reached: Arc<AtomicBool>,
}

impl Connector {
    pub(super) fn new(options: &TlsOptions) -> Result<Connector, TlsConfigError> {
        let (check, roots, pinned) = load_roots(options)?;
        let provider = Arc::new(ring::default_provider());
        let reached = Arc::new(AtomicBool::new(false));
        let verifier = Verifier {
            check,
            roots,
            pinned,
            algorithms: provider.signature_verification_algorithms,
            reached: Arc::clone(&reached),
        };
        let mut versions: Vec<&'static SupportedProtocolVersion> = Vec::new();
        if !options.only_12 {
            versions.push(&rustls::version::TLS13);
        }
        if !options.only_13 {
            versions.push(&rustls::version::TLS12);
        }
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let identity = options.identity.as_ref().filter(|it| it.given || it.cert.exists());
        let mut config = match identity {
            Some(identity) => {
                let (chain, key) = load_identity(identity)?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|e| TlsConfigError::file("sslkey", &identity.key, e))?
            }
            None => builder.with_no_client_auth(),
        };
        config.enable_sni = options.sni;
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        // A resumed session would go past the verifier; a server of Postgres offers none anyway.
        config.resumption = Resumption::disabled();
        Ok(Connector { make: MakeRustlsConnect::new(config), reached })
    }

    /// For one attempt; [`Connector::reached`] then speaks of this attempt.
    pub(super) fn start(&self) -> MakeRustlsConnect {
        self.reached.store(false, Ordering::Relaxed);
        self.make.clone()
    }

    /// Whether the server went as far as to show its certificate.
    pub(super) fn reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }
}

type Loaded = (Check, RootCertStore, Vec<CertificateDer<'static>>);

fn load_roots(options: &TlsOptions) -> Result<Loaded, TlsConfigError> {
    let mut roots = RootCertStore::empty();
    let mode = options.mode;
    if mode < SslMode::Require {
        return Ok((Check::Nothing, roots, Vec::new()));
    }
    let path = match &options.roots {
        Roots::System => {
            let found = rustls_native_certs::load_native_certs();
            if found.certs.is_empty() {
                let reason = found.errors.first().map(ToString::to_string);
                return Err(TlsConfigError::File {
                    what: "the root certificates of",
                    path: "the system".to_owned(),
                    reason: reason.unwrap_or_else(|| "there are none".to_owned()),
                });
            }
            roots.add_parsable_certificates(found.certs);
            return Ok((Check::ChainAndName, roots, Vec::new()));
        }
        Roots::File(path) if path.exists() => path,
        // libpq: `require` checks the chain only where there is something to check it with.
        _ if mode == SslMode::Require => return Ok((Check::Nothing, roots, Vec::new())),
        missing => {
            let path = match missing {
                Roots::File(path) => path.display().to_string(),
                _ => "~/.postgresql/root.crt".to_owned(),
            };
            return Err(TlsConfigError::NoRoots { mode: mode.to_string(), path });
        }
    };
    let pinned = read_certificates("sslrootcert", path)?;
    for certificate in &pinned {
        roots.add(certificate.clone()).map_err(|e| TlsConfigError::file("sslrootcert", path, e))?;
    }
    let check = if mode == SslMode::VerifyFull { Check::ChainAndName } else { Check::Chain };
    Ok((check, roots, pinned))
}

fn read_certificates(
    what: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|e| TlsConfigError::file(what, path, e))?;
    if certificates.is_empty() {
        return Err(TlsConfigError::file(what, path, "it holds no certificate in PEM form"));
    }
    Ok(certificates)
}

type LoadedIdentity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn load_identity(identity: &Identity) -> Result<LoadedIdentity, TlsConfigError> {
    let chain = read_certificates("sslcert", &identity.cert)?;
    let error = |reason: String| TlsConfigError::file("sslkey", &identity.key, reason);
    check_private(&identity.key).map_err(error)?;
    let key = PrivateKeyDer::from_pem_file(&identity.key)
        .map_err(|e| error(format!("{e} (a key with a passphrase is not supported)")))?;
    Ok((chain, key))
}

/// libpq's rule: 0600, or 0640 for a key that root owns.
#[cfg(unix)]
fn check_private(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).map_err(|e| e.to_string())?;
    let open = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    match metadata.mode() & open {
        0 => Ok(()),
        _ => Err("group or world can read it; chmod 0600 mends that".to_owned()),
    }
}

#[cfg(not(unix))]
fn check_private(_: &Path) -> Result<(), String> {
    Ok(())
}
