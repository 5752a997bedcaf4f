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

/// The system's resolver, without what the guard refuses.
#[derive(Clone)]
struct Resolver {
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
        let guard = self.guard.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await.map_err(Fault::Name)?;
            let mut addresses: Vec<SocketAddr> = found.collect();
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

#[derive(Clone)]
pub struct Connector {
    tcp: HttpConnector<Resolver>,
    tls: TlsConnector,
    guard: Option<Arc<Guard>>,
    connect_timeout: Duration,
    tls_timeout: Duration,
}

type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

impl Connector {
    pub fn new(
        guard: Option<Arc<Guard>>,
        tls: TlsConnector,
        connect_timeout: Duration,
        tls_timeout: Duration,
    ) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(Resolver { guard: guard.clone() });
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        // Shared fairly among a name's addresses; the whole is bounded in `connect`.
        tcp.set_connect_timeout(Some(connect_timeout));
        Self { tcp, tls, guard, connect_timeout, tls_timeout }
    }

    async fn connect(mut self, uri: Uri) -> Result<Stream, Fault> {
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        // An address in the URL is asked of no resolver.
        if let (Some(guard), Ok(address)) = (&self.guard, host.parse::<IpAddr>()) {
            if !guard.permits(&host, address) {
                return Err(Fault::Blocked);
            }
        }
        let https = uri.scheme() == Some(&Scheme::HTTPS);
        let tcp = timeout(self.connect_timeout, self.tcp.call(uri))
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
        Box::pin(self.clone().connect(uri))
    }
}
