//! An SMTP server that does what a real one cannot be made to do: breaks off, stalls, or talks nonsense.

use std::{
    sync::{
        atomic::{AtomicUsize, Ordering},
        Arc, Mutex,
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use crate::tools::Authority;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    None,
    /// Greets with these words.
    Greeting(&'static str),
    /// Answers the end of a mail with these words.
    AfterData(&'static str),
    /// Closes the connection in the middle of a mail.
    DropInData,
    /// Takes the whole mail and never answers.
    StallAfterData,
    /// Answers this command so, or a whole mail (""), and to QUIT says nothing.
    DeafAfter(&'static str, &'static str),
    /// Accepts the first mail only when the client speaks again, and answers each other one with these words.
    AcceptsOneLate(&'static str),
}

pub struct FaultySmtp {
    pub port: u16,
    fault: Arc<Mutex<Fault>>,
    mails: Arc<Mutex<Vec<String>>>,
    pauses: Arc<Mutex<Vec<Duration>>>,
    sessions: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

impl FaultySmtp {
    pub async fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let fault = Arc::new(Mutex::new(fault));
        let (mails, sessions) =
            (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicUsize>::default());
        let pauses = Arc::<Mutex<Vec<Duration>>>::default();
        let (faults, received, count) = (fault.clone(), mails.clone(), sessions.clone());
        let waits = pauses.clone();
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let fault = *faults.lock().unwrap();
                let (received, waits) = (received.clone(), waits.clone());
                tokio::spawn(async move {
                    // A client that goes away ends its session.
                    let _ = talk(stream, fault, &received, &waits).await;
                });
            }
        });
        Self { port, fault, mails, pauses, sessions, server }
    }

    /// For the sessions to come.
    pub fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    /// Mails that came whole, accepted or not.
    pub fn mails(&self) -> Vec<String> {
        self.mails.lock().unwrap().clone()
    }

    /// Of each mail, between its first line and its end.
    pub fn pauses(&self) -> Vec<Duration> {
        self.pauses.lock().unwrap().clone()
    }

    pub fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }
}

impl Drop for FaultySmtp {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// On the way to a server with TLS somebody puts answers behind that to STARTTLS, to all that a mail asks for. The server
/// itself says nothing any more. Gives its port.
pub async fn injector(authority: &Authority) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(Arc::new(authority.server_config()));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut lines = BufReader::new(stream);
                lines.write_all(b"220 faulty.example.org ESMTP\r\n").await?;
                lines.read_line(&mut String::new()).await?;
                lines.write_all(b"250-ok\r\n250 STARTTLS\r\n").await?;
                lines.read_line(&mut String::new()).await?;
                lines
                    .write_all(
                        b"220 go on\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go on\r\n250 accepted\r\n",
                    )
                    .await?;
                let _tls = acceptor.accept(lines.into_inner()).await?;
                std::future::pending::<std::io::Result<()>>().await
            });
        }
    });
    port
}

async fn talk(
    stream: TcpStream,
    fault: Fault,
    mails: &Mutex<Vec<String>>,
    pauses: &Mutex<Vec<Duration>>,
) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let greeting = match fault {
        Fault::Greeting(words) => words,
        _ => "220 faulty.example.org ESMTP",
    };
    write.write_all(format!("{greeting}\r\n").as_bytes()).await?;
    while let Some(line) = lines.next_line().await? {
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        if verb == "DATA" {
            write.write_all(b"354 go on\r\n").await?;
            let (mut mail, mut began) = (String::new(), None);
            while let Some(line) = lines.next_line().await? {
                if line == "." {
                    pauses.lock().unwrap().extend(began.map(|began: Instant| began.elapsed()));
                    break;
                }
                began.get_or_insert_with(Instant::now);
                mail.push_str(&line);
                mail.push('\n');
                if fault == Fault::DropInData && mail.contains("Message-ID") {
                    return Ok(());
                }
            }
            let first = {
                let mut mails = mails.lock().unwrap();
                mails.push(mail);
                mails.len() == 1
            };
            if first && matches!(fault, Fault::AcceptsOneLate(_)) {
                let Some(_) = lines.next_line().await? else { return Ok(()) };
                write.write_all(b"250 2.0.0 accepted late\r\n250 ok\r\n").await?;
                continue;
            }
        }
        let answer = match (verb.as_str(), fault) {
            ("QUIT", Fault::DeafAfter(..)) => continue,
            ("EHLO", Fault::DeafAfter("AUTH", _)) => "250-ok\r\n250 AUTH LOGIN",
            ("AUTH", Fault::DeafAfter("AUTH", words)) => {
                write.write_all(b"334 VXNlcm5hbWU6\r\n").await?;
                lines.next_line().await?;
                words
            }
            ("DATA", Fault::DeafAfter("", words)) => words,
            (verb, Fault::DeafAfter(refused, words)) if verb == refused => words,
            ("DATA", Fault::AfterData(words) | Fault::AcceptsOneLate(words)) => words,
            ("DATA", Fault::StallAfterData) => {
                std::future::pending::<()>().await;
                unreachable!()
            }
            ("QUIT", _) => "221 bye",
            _ => "250 ok",
        };
        write.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
    Ok(())
}
