//! The one HTTP client of all channels: POST, no redirects, no proxy of the environment (it would connect in our stead, past
//! the guard), every step bounded in time and the answer in size.

mod answer;
mod connector;
mod fault;
mod guard;
mod lookup;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue, USER_AGENT};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::{timeout_at, Instant};
use tokio_rustls::TlsConnector;
use url::{Position, Url};

use crate::config::{self, ConfigError};
use crate::message::{Recipient, SendError};
pub use answer::Answer;
pub use connector::{Connector, Fault, Stream};
pub use fault::of_connection;
use guard::Guard;

/// Bytes of an answer that are read; its beginning is quoted in errors.
const MAX_ANSWER_BYTES: usize = 65_536;
/// Of a connection that is kept for the next request.
const MAX_IDLE: Duration = Duration::from_secs(30);
const PRODUCT: &str = concat!("pgalert/", env!("CARGO_PKG_VERSION"));

type Pool = Client<Connector, Full<Bytes>>;

/// One guarded HTTP client for all channels.
pub struct Http {
    guarded: Pool,
    /// Has connections of its own: one made for the operator must not serve a user.
    trusted: Pool,
    allow_http: bool,
    /// For the whole request, with the answer.
    timeout: Duration,
}

/// What is posted.
pub struct Call {
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// The operator's own configuration named this host (api.twilio.com, slack.com): the address guard does not apply.
    pub trusted: bool,
    /// The receiver can tell a repetition by a key: a quick second try is safe even after the request may have been acted on.
    pub repeatable: bool,
}

impl Http {
    pub fn new(config: &config::Http) -> Result<Arc<Self>, ConfigError> {
        let guard = Arc::new(Guard::new(&config.allow_addresses)?);
        let mut tls = tls_config("http.ca_file", &config.ca_file)?;
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let tls = TlsConnector::from(Arc::new(tls));
        let pool = |guard| {
            Client::builder(TokioExecutor::new())
                .timer(TokioTimer::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(MAX_IDLE)
                // Many requests share a connection of HTTP/2: one that is dead is found out before they end by the timeout,
                // and so would those after them.
                .http2_keep_alive_interval(config.timeout / 3)
                .http2_keep_alive_timeout(config.timeout / 3)
                .build(Connector::new(
                    guard,
                    tls.clone(),
                    config.connect_timeout,
                    config.tls_timeout,
                ))
        };
        let (guarded, trusted) = (pool(Some(guard)), pool(None));
        let (allow_http, timeout) = (config.allow_http, config.timeout);
        Ok(Arc::new(Self { guarded, trusted, allow_http, timeout }))
    }

    /// A recipient's URL: https, or http where it is allowed, without a user's name.
    pub fn target<'a>(&self, recipient: &'a Recipient) -> Result<&'a Url, SendError> {
        let bad = |text: String| SendError::permanent("bad_address", text);
        let url = recipient.url().map_err(|e| bad(format!("the recipient is no URL: {e}")))?;
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http => {}
            "http" => {
                return Err(bad("the recipient's URL is http, and http.allow_http is false".into()))
            }
            scheme => return Err(bad(format!("the recipient's URL is {scheme}, not https"))),
        }
        check_for_names(url)?;
        Ok(url)
    }

    /// Any HTTP status is an Answer. An error: nobody answered.
    pub async fn post(&self, call: Call) -> Result<Answer, SendError> {
        let (host, repeatable) = (call.url.host_str().map(str::to_owned), call.repeatable);
        let pool = if call.trusted { &self.trusted } else { &self.guarded };
        let end = Instant::now() + self.timeout;
        let response = match timeout_at(end, pool.request(request(call)?)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(fault::of(&error, repeatable).at(host)),
            Err(_) => return Err(fault::too_slow(self.timeout).at(host)),
        };
        let (head, stream) = response.into_parts();
        let mut body = Vec::new();
        let whole = timeout_at(end, read(stream, &mut body)).await.unwrap_or(false);
        let (status, headers) = (head.status, head.headers);
        Ok(Answer { status, headers, body, whole, host, repeatable })
    }
}

fn request(call: Call) -> Result<Request<Full<Bytes>>, SendError> {
    let mut request = Request::new(Full::new(Bytes::from(call.body)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri(&call.url)?;
    *request.headers_mut() = call.headers;
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(PRODUCT));
    Ok(request)
}

/// As much as came, where it breaks off or is too long. True when it was all.
async fn read(mut stream: Incoming, body: &mut Vec<u8>) -> bool {
    while let Some(frame) = stream.frame().await {
        let Ok(frame) = frame else { return false };
        let Some(data) = frame.data_ref() else { continue };
        let room = MAX_ANSWER_BYTES - body.len();
        body.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            return false;
        }
    }
    true
}

/// Where a URL leads, for bounds of one host.
pub fn destination(url: &Url) -> Option<String> {
    url.has_host().then(|| url[Position::BeforeHost..Position::AfterPort].to_owned())
}

fn check_for_names(url: &Url) -> Result<(), SendError> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(());
    }
    let text = "the URL holds a user's name or a password, which are not sent";
    Err(SendError::permanent("bad_address", text))
}

fn uri(url: &Url) -> Result<Uri, SendError> {
    check_for_names(url)?;
    let text = url.as_str();
    let text = text.split_once('#').map_or(text, |(text, _)| text);
    text.parse()
        .map_err(|_| SendError::permanent("bad_address", "the URL is one that HTTP cannot ask for"))
}

/// That trusts the system's CAs and those of a file, whose key in the configuration is told where it is wrong.
pub fn tls_config(key: &str, ca_file: &str) -> Result<ClientConfig, ConfigError> {
    let bad =
        |reason: String| ConfigError::BadValue { name: key.into(), value: ca_file.into(), reason };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if !ca_file.is_empty() {
        let pem = fs::read(ca_file).map_err(|e| bad(e.to_string()))?;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|e| bad(e.to_string()))?;
            roots.add(certificate).map_err(|e| bad(e.to_string()))?;
        }
    }
    Ok(ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| bad(e.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(allow_http: bool) -> Arc<Http> {
        let second = Duration::from_secs(1);
        Http::new(&config::Http {
            allow_http,
            allow_addresses: Vec::new(),
            ca_file: String::new(),
            connect_timeout: second,
            tls_timeout: second,
            timeout: second,
        })
        .unwrap()
    }

    #[test]
    fn a_recipient_is_an_https_url_without_a_users_name() {
        let http = client(false);
        let recipient = |address: &str| Recipient::new(1, address.into(), Vec::new());
        assert!(http.target(&recipient("https://example.com/hook?a=b#c")).is_ok());
        for bad in [
            "http://example.com/",
            "file:///etc/passwd",
            "ftp://example.com",
            "gopher://example.com/",
            "data:text/plain,x",
            "https://ann@example.com/",
            "https://:secret@example.com/",
            "https://",
            "https://999.1.1.1/",
            "https://[fe80::1%25eth0]/",
            "not a url",
            "",
        ] {
            let error = http.target(&recipient(bad)).unwrap_err();
            assert_eq!(error.class, "bad_address", "{bad}");
        }
        assert!(client(true).target(&recipient("http://example.com/")).is_ok());
    }

    #[test]
    fn a_destination_is_a_host_with_a_port_that_is_not_the_usual() {
        for (url, expected) in [
            ("https://Example.com/hook?a=b", Some("example.com")),
            ("https://example.com:443/", Some("example.com")),
            ("http://example.com:443", Some("example.com:443")),
            ("https://ann:secret@example.com:9/x", Some("example.com:9")),
            ("http://[::1]:9/", Some("[::1]:9")),
            ("http://127.1/", Some("127.0.0.1")),
            ("data:text/plain,x", None),
        ] {
            assert_eq!(destination(&url.parse().unwrap()).as_deref(), expected, "{url}");
        }
    }

    /// Whatever an address is written like, the one that is connected to is looked at.
    #[tokio::test]
    async fn no_spelling_of_an_internal_address_is_called() {
        let http = client(true);
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "0x7f.1",
            "127.0.0.1.",
            "①②⑦.⓪.⓪.①",
            "0",
            "localhost",
            "LOCALHOST",
            "169.254.169.254",
            "2852039166",
            "10.0.0.1",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[0:0:0:0:0:ffff:a9fe:a9fe]",
            "[64:ff9b::169.254.169.254]",
            "[fd00:ec2::254]",
            "[2002:7f00:1::]",
        ] {
            let url = format!("http://{host}:9/").parse().unwrap();
            let call = Call {
                url,
                headers: HeaderMap::new(),
                body: vec![],
                trusted: false,
                repeatable: true,
            };
            let Err(error) = http.post(call).await else { panic!("{host} answered") };
            assert_eq!(
                (error.class.as_str(), error.kind),
                ("blocked_address", crate::message::ErrorKind::Permanent),
                "{host}"
            );
            assert!(error.quick_pause().is_none());
        }
    }
}
