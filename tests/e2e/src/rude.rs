//! An HTTP server that does what no framework can be made to do: trickles, never ends, breaks off, talks nonsense.

use std::{
    net::SocketAddr,
    sync::{
        atomic::{AtomicUsize, Ordering},
        Arc,
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::sleep,
};
use tokio_rustls::TlsAcceptor;

use crate::tools::Authority;

#[derive(Clone, Debug)]
pub enum Manner {
    /// Answers with these bytes, and closes.
    Says(String),
    /// Reads the request and says nothing.
    Silent,
    /// Answers a byte at a time.
    Trickles(String),
    /// Answers so, and sends a body without end.
    Endless(&'static str),
    /// Answers so, and then a byte of the body at a time without end.
    EndlessTrickle(&'static str),
    /// Answers so, and sends chunks without end.
    EndlessChunks(&'static str),
    /// Resets the connection before the request.
    Resets,
    /// Reads the request and resets the connection.
    ResetsAfterRequest,
}

pub const OK: &str = "HTTP/1.1 200 OK\r\n\r\n";
const PAUSE: Duration = Duration::from_millis(20);

pub struct Rude {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

impl Rude {
    pub async fn start(manner: Manner) -> Self {
        Self::start_with(manner, None).await
    }

    /// By https, with the authority's certificate for `localhost`.
    pub async fn start_tls(manner: Manner, authority: &Authority) -> Self {
        let config = authority.server_config();
        Self::start_with(manner, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn start_with(manner: Manner, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::<AtomicUsize>::default();
        let count = connections.clone();
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let (manner, tls) = (manner.clone(), tls.clone());
                // A client that goes away ends its connection.
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => talk(tls.accept(stream).await?, &manner).await,
                        None => plain(stream, &manner).await,
                    }
                });
            }
        });
        Self { address, connections, server }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Rude {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn plain(mut stream: TcpStream, manner: &Manner) -> std::io::Result<()> {
    match manner {
        Manner::Resets => stream.set_zero_linger(),
        Manner::ResetsAfterRequest => {
            request(&mut stream).await?;
            stream.set_zero_linger()
        }
        _ => talk(stream, manner).await,
    }
}

/// The first byte of a TLS client.
const TLS_HANDSHAKE: u8 = 22;

/// The tests' requests fit into one read, or two: head and body. Who begins TLS with a server that has none is answered too.
async fn request(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<()> {
    let mut request = String::new();
    let mut part = [0; 65_536];
    while !request.contains("\r\n\r\n") || request.ends_with("\r\n\r\n") {
        let read = stream.read(&mut part).await?;
        if read == 0 {
            break;
        }
        if request.is_empty() && part[0] == TLS_HANDSHAKE {
            break;
        }
        request.push_str(&String::from_utf8_lossy(&part[..read]));
    }
    Ok(())
}

async fn talk(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    manner: &Manner,
) -> std::io::Result<()> {
    request(&mut stream).await?;
    match manner {
        Manner::Says(text) => {
            stream.write_all(text.as_bytes()).await?;
            stream.shutdown().await
        }
        Manner::Trickles(text) => {
            for byte in text.as_bytes() {
                stream.write_all(&[*byte]).await?;
                stream.flush().await?;
                sleep(PAUSE).await;
            }
            Ok(())
        }
        Manner::Endless(head) => {
            stream.write_all(head.as_bytes()).await?;
            loop {
                stream.write_all(&[b'x'; 4096]).await?;
            }
        }
        Manner::EndlessChunks(head) => {
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(b"Transfer-Encoding: chunked\r\n\r\n").await?;
            let chunk = format!("1000\r\n{}\r\n", "x".repeat(4096));
            loop {
                stream.write_all(chunk.as_bytes()).await?;
            }
        }
        Manner::EndlessTrickle(head) => {
            stream.write_all(head.as_bytes()).await?;
            loop {
                stream.write_all(b"x").await?;
                stream.flush().await?;
                sleep(PAUSE).await;
            }
        }
        Manner::Silent | Manner::Resets | Manner::ResetsAfterRequest => {
            std::future::pending().await
        }
    }
}
