//! A relay to a real server whose connections end in the middle of what the client sends, as those of a bad network do.

use std::sync::{
    atomic::{AtomicU64, Ordering},
    Arc,
};

use tokio::{
    io::{copy, AsyncReadExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

pub struct Relay {
    pub port: u16,
    limit: Arc<AtomicU64>,
    server: JoinHandle<()>,
}

impl Relay {
    /// To a port of this machine. Each connection ends after so many bytes of the client's.
    pub async fn start(to: u16, limit: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let limit = Arc::new(AtomicU64::new(limit));
        let limits = limit.clone();
        let server = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let limit = limits.load(Ordering::Relaxed);
                tokio::spawn(async move {
                    let server = TcpStream::connect(("127.0.0.1", to)).await?;
                    pass(client, server, limit).await
                });
            }
        });
        Self { port, limit, server }
    }

    /// For the connections to come.
    pub fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn pass(client: TcpStream, server: TcpStream, limit: u64) -> std::io::Result<()> {
    let (from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let mut sent = from_client.take(limit);
    tokio::select! {
        ended = copy(&mut sent, &mut to_server) => ended?,
        ended = copy(&mut from_server, &mut to_client) => ended?,
    };
    Ok(())
}
