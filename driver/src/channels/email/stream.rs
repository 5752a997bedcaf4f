//! The connection that lettre speaks SMTP over, so that it is made as those of HTTP are (`http::Connector`): each address of
//! a name in its turn, and what is written goes at once, which lettre's own would hold back until an answer to the last.
//!
//! It listens a little to what is said, where lettre trusts the server more than it deserves.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{ready, Context, Poll};

use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http::Stream;

/// Of an answer, with its TLS.
const MAX_ANSWER_BYTES: usize = 65_536;

#[derive(Debug)]
pub struct SmtpStream {
    inner: TokioIo<Stream>,
    /// Bytes read since something was written.
    heard: usize,
    /// STARTTLS was the last that was said. Of what comes before TLS nothing may be read ahead: lettre would take it for
    /// answers to what it says under TLS, and anybody on the way could have put it there.
    wary: bool,
    /// QUIT was said, and no answer is waited for.
    leaving: bool,
}

impl SmtpStream {
    pub fn new(stream: Stream) -> Self {
        Self { inner: TokioIo::new(stream), heard: 0, wary: false, leaving: false }
    }
}

impl AsyncTokioStream for SmtpStream {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        match self.inner.inner() {
            MaybeHttpsStream::Http(tcp) => tcp.inner().peer_addr(),
            MaybeHttpsStream::Https(tls) => tls.inner().get_ref().0.inner().inner().peer_addr(),
        }
    }
}

impl AsyncRead for SmtpStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.leaving {
            return Poll::Ready(Ok(()));
        }
        if self.heard > MAX_ANSWER_BYTES {
            return Poll::Ready(Err(io::Error::other("the server's answer does not end")));
        }
        let before = buffer.filled().len();
        if self.wary {
            let mut byte = [0];
            let mut one = ReadBuf::new(&mut byte);
            ready!(Pin::new(&mut self.inner).poll_read(context, &mut one))?;
            buffer.put_slice(one.filled());
        } else {
            ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        }
        self.heard += buffer.filled().len() - before;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for SmtpStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(context, bytes))?;
        self.heard = 0;
        self.wary = bytes == b"STARTTLS\r\n";
        self.leaving |= bytes == b"QUIT\r\n";
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
