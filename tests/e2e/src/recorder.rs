//! An HTTP server that keeps each connection's bytes as they came, for another program to read, and answers 200.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

pub struct Recorder {
    pub port: u16,
    streams: Arc<Mutex<Vec<Vec<u8>>>>,
    server: JoinHandle<()>,
}

impl Recorder {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let streams = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let kept = streams.clone();
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let kept = kept.clone();
                let index = {
                    let mut kept = kept.lock().unwrap();
                    kept.push(Vec::new());
                    kept.len() - 1
                };
                tokio::spawn(record(stream, kept, index));
            }
        });
        Self { port, streams, server }
    }

    pub fn base(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// What came over each connection.
    pub fn streams(&self) -> Vec<Vec<u8>> {
        self.streams.lock().unwrap().clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn record(
    mut stream: TcpStream,
    kept: Arc<Mutex<Vec<Vec<u8>>>>,
    index: usize,
) -> std::io::Result<()> {
    let (mut part, mut rest) = ([0; 65_536], Vec::new());
    loop {
        let read = stream.read(&mut part).await?;
        if read == 0 {
            return Ok(());
        }
        kept.lock().unwrap()[index].extend_from_slice(&part[..read]);
        rest.extend_from_slice(&part[..read]);
        while let Some(length) = whole_request(&rest) {
            rest.drain(..length);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await?;
        }
    }
}

/// The length of the first request, as soon as all of it has come.
fn whole_request(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let length = text.split("\r\ncontent-length: ").nth(1)?.split("\r\n").next()?;
    let length = head + length.parse::<usize>().ok()?;
    (bytes.len() >= length).then_some(length)
}
