//! A server of HTTP/2 by https whose first connection dies in silence, as behind a router that has forgotten it: what is sent
//! there is taken by nobody, and nobody says so. Later ones live.

use std::sync::{
    atomic::{AtomicUsize, Ordering},
    Arc,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use crate::tools::Authority;

const PREFACE: usize = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// ":status: 200" in HPACK's table.
const STATUS_200: u8 = 0x88;

pub struct Mortal {
    pub port: u16,
    connections: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

impl Mortal {
    /// With the authority's certificate for `localhost`. The first connection dies after so many answers.
    pub async fn start(authority: &Authority, answers: usize) -> Self {
        let mut config = authority.server_config();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::<AtomicUsize>::default();
        let count = connections.clone();
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let first = count.fetch_add(1, Ordering::Relaxed) == 0;
                let acceptor = acceptor.clone();
                // A client that goes away ends its connection.
                tokio::spawn(async move {
                    let stream = acceptor.accept(stream).await?;
                    talk(stream, if first { answers } else { usize::MAX }).await
                });
            }
        });
        Self { port, connections, server }
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn frame(kind: u8, flags: u8, stream: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream, payload].concat()
}

async fn talk(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    mut answers: usize,
) -> std::io::Result<()> {
    stream.read_exact(&mut [0; PREFACE]).await?;
    stream.write_all(&frame(SETTINGS, 0, [0; 4], &[])).await?;
    while answers > 0 {
        stream.flush().await?;
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, id @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload).await?;
        match kind {
            SETTINGS if flags & ACK == 0 => {
                stream.write_all(&frame(SETTINGS, ACK, [0; 4], &[])).await?;
            }
            PING if flags & ACK == 0 => {
                stream.write_all(&frame(PING, ACK, [0; 4], &payload)).await?;
            }
            DATA | HEADERS if flags & END_STREAM != 0 => {
                let answer = frame(HEADERS, END_HEADERS | END_STREAM, id, &[STATUS_200]);
                stream.write_all(&answer).await?;
                answers -= 1;
            }
            _ => {}
        }
    }
    stream.flush().await?;
    std::future::pending().await
}
