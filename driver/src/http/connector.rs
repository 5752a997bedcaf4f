//! Connections: name, TCP, TLS, each step bounded. The guard sees the addresses that are connected to, so a name that
//! resolves to one thing for a check and to another for the connection gains nothing.

use std::error::Error;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::uri::{Scheme, Uri};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use super::guard::Guard;
use super::lookup::Names;

/// Why there is no connection. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("its name was not resolved: {0}")]
    Name(io::Error),
    #[error("its address is not a public one")]
    Blocked,
    #[error("no connection: {0}")]
    Tcp(String),
    #[error("no connection within {0:?}")]
    SlowTcp(Duration),
    #[error("TLS: {0}")]
    Tls(String),
    #[error("no end of the TLS handshake within {0:?}")]
    SlowTls(Duration),
}

type Found = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;
type Lookup = Arc<dyn Fn(String) -> Found + Send + Sync>;

/// A resolver, without what the guard refuses.
#[derive(Clone)]
struct Resolver {
    lookup: Lookup,
    guard: Option<Arc<Guard>>,
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Fault;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Fault>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (guard, found) = (self.guard.clone(), (self.lookup)(name.as_str().to_owned()));
        Box::pin(async move {
            let mut addresses = found.await.map_err(Fault::Name)?;
            if let Some(guard) = guard {
                addresses.retain(|address| guard.permits(name.as_str(), address.ip()));
            }
            match addresses.is_empty() {
                true => Err(Fault::Blocked),
                false => Ok(addresses.into_iter()),
            }
        })
    }
}

/// The client clones it for each request.
#[derive(Clone)]
pub struct Connector(Arc<Steps>);

struct Steps {
    tcp: HttpConnector<Resolver>,
    tls: TlsConnector,
    guard: Option<Arc<Guard>>,
    connect_timeout: Duration,
    tls_timeout: Duration,
}

pub type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

impl Connector {
    pub fn new(
        guard: Option<Arc<Guard>>,
        tls: TlsConnector,
        connect_timeout: Duration,
        tls_timeout: Duration,
    ) -> Self {
        let names = Names::of_the_system();
        Self::with_lookup(
            Arc::new(move |name| names.find(name)),
            guard,
            tls,
            connect_timeout,
            tls_timeout,
        )
    }

    fn with_lookup(
        lookup: Lookup,
        guard: Option<Arc<Guard>>,
        tls: TlsConnector,
        connect_timeout: Duration,
        tls_timeout: Duration,
    ) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(Resolver { lookup, guard: guard.clone() });
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        // Shared fairly among a name's addresses; the whole is bounded in `connect`.
        tcp.set_connect_timeout(Some(connect_timeout));
        Self(Arc::new(Steps { tcp, tls, guard, connect_timeout, tls_timeout }))
    }

    /// For another protocol than HTTP, with or without TLS.
    pub async fn open(&self, host: &str, port: u16, tls: bool) -> Result<Stream, Fault> {
        let scheme = if tls { Scheme::HTTPS } else { Scheme::HTTP };
        let authority = match host.parse() {
            Ok(IpAddr::V6(address)) => format!("[{address}]:{port}"),
            _ => format!("{host}:{port}"),
        };
        let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query("/").build();
        let none = |error| Fault::Name(io::Error::new(io::ErrorKind::InvalidInput, error));
        self.0.connect(uri.map_err(none)?).await
    }
}

impl Steps {
    async fn connect(&self, uri: Uri) -> Result<Stream, Fault> {
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        // An address in the URL is asked of no resolver.
        if let (Some(guard), Ok(address)) = (&self.guard, host.parse::<IpAddr>()) {
            if !guard.permits(&host, address) {
                return Err(Fault::Blocked);
            }
        }
        let https = uri.scheme() == Some(&Scheme::HTTPS);
        let tcp = timeout(self.connect_timeout, self.tcp.clone().call(uri))
            .await
            .map_err(|_| Fault::SlowTcp(self.connect_timeout))?
            .map_err(|error| self.tcp_fault(&error))?;
        if !https {
            return Ok(MaybeHttpsStream::Http(tcp));
        }
        let name = ServerName::try_from(host).map_err(|error| Fault::Tls(error.to_string()))?;
        let tls = timeout(self.tls_timeout, self.tls.connect(name, TokioIo::new(tcp)))
            .await
            .map_err(|_| Fault::SlowTls(self.tls_timeout))?
            .map_err(|error| Fault::Tls(error.to_string()))?;
        Ok(MaybeHttpsStream::Https(TokioIo::new(tls)))
    }

    /// The connector's error wraps the resolver's, or that of the system.
    fn tcp_fault(&self, error: &(dyn Error + 'static)) -> Fault {
        let mut cause = Some(error);
        let mut last = error;
        while let Some(deeper) = cause {
            match deeper.downcast_ref::<Fault>() {
                Some(Fault::Blocked) => return Fault::Blocked,
                Some(Fault::Name(error)) => {
                    return Fault::Name(io::Error::new(error.kind(), error.to_string()))
                }
                _ => {}
            }
            if deeper
                .downcast_ref::<io::Error>()
                .is_some_and(|e| e.kind() == io::ErrorKind::TimedOut)
            {
                return Fault::SlowTcp(self.connect_timeout);
            }
            last = deeper;
            cause = deeper.source();
        }
        Fault::Tcp(last.to_string())
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = Fault;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, Fault>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let steps = self.0.clone();
        Box::pin(async move { steps.connect(uri).await })
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::Mutex;

    use rustls::{ClientConfig, RootCertStore};

    use super::*;

    const ALLOWED: &str = "127.0.0.2";
    const INSIDE: &str = "127.0.0.1";

    /// A connector whose name stands for what is next in a list, whenever it is asked for.
    fn connector(answers: &[&[&str]]) -> (Connector, Arc<Mutex<Vec<Vec<SocketAddr>>>>) {
        let parse = |ip: &&str| SocketAddr::new(ip.parse().unwrap(), 0);
        let rest: Vec<Vec<_>> =
            answers.iter().rev().map(|ips| ips.iter().map(parse).collect()).collect();
        let rest = Arc::new(Mutex::new(rest));
        let answers = rest.clone();
        let lookup = Arc::new(move |_| -> Found {
            let next = answers.lock().unwrap().pop().expect("one question for one connection");
            Box::pin(async { Ok(next) })
        });
        let guard = Guard::new(&[ALLOWED.to_owned()]).unwrap();
        let tls =
            ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth();
        let second = Duration::from_secs(1);
        let tls = TlsConnector::from(Arc::new(tls));
        (Connector::with_lookup(lookup, Some(Arc::new(guard)), tls, second, second), rest)
    }

    /// The name stands for an allowed address while it is looked at, and for one of this machine when it is called: there is
    /// no such moment between, since what was looked at is what is connected to.
    #[tokio::test]
    async fn a_name_that_changes_its_address_leads_nowhere_else() {
        let inside = TcpListener::bind((INSIDE, 0)).unwrap();
        let port = inside.local_addr().unwrap().port();
        let allowed = TcpListener::bind((ALLOWED, port)).unwrap();
        inside.set_nonblocking(true).unwrap();
        let uri: Uri = format!("http://rebound.example:{port}/").parse().unwrap();
        let (connector, rest) = connector(&[
            &[ALLOWED],
            &[INSIDE],
            &[INSIDE, ALLOWED, "::1"],
            &["169.254.169.254", "::1", INSIDE],
            &[ALLOWED],
        ]);
        for reached in [true, false, true, false, true] {
            let left = rest.lock().unwrap().len();
            match connector.0.connect(uri.clone()).await {
                Ok(MaybeHttpsStream::Http(stream)) => {
                    let peer = stream.inner().peer_addr().unwrap();
                    assert_eq!((reached, peer.ip().to_string()), (true, ALLOWED.to_owned()));
                    allowed.accept().unwrap();
                }
                Ok(_) => panic!("no TLS was asked for"),
                Err(fault) => assert!(!reached && matches!(fault, Fault::Blocked), "{fault}"),
            }
            assert_eq!(rest.lock().unwrap().len(), left - 1, "it is looked up once");
        }
        assert_eq!(inside.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
