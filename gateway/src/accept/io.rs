//! The stream under hyper: counts decrypted bytes, watches the client's framing, and lingers after a refusal.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;

use super::connection::State;
use super::framing::Observer;
use super::meter::Meter;
use crate::clock::Clock;

/// A decrypted stream with its watch.
pub(super) struct Metered<T> {
    inner: T,
    clock: Clock,
    state: Rc<State>,
    linger: Linger,
}

/// What watches the client's bytes.
#[derive(Debug)]
pub(super) enum Watch {
    H1(Observer),
    H2(Meter),
}

impl<T> Metered<T> {
    pub(super) fn new(inner: T, clock: Clock, state: Rc<State>) -> Self {
        Self { inner, clock, state, linger: Linger::Open }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Metered<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        let new = buf.filled().get(before..).unwrap_or_default();
        self.state.received(new, &self.clock)?;
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Metered<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let sent = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        self.state.sent(sent);
        Poll::Ready(Ok(sent))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let sent = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, bufs))?;
        self.state.sent(sent);
        Poll::Ready(Ok(sent))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    /// After a refusal that leaves a request body unread, the rest of it is read and thrown away for a moment: closing a
    /// socket with unread bytes resets it, and the client would lose the refusal that says why (RFC 9112, section 9.6).
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            match &mut this.linger {
                Linger::Open => {
                    ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
                    this.linger = if this.state.lingers() {
                        Linger::Reading(Box::pin(tokio::time::sleep(LINGER)), LINGER_BYTES)
                    } else {
                        Linger::Done
                    };
                }
                Linger::Reading(timer, left) => {
                    let mut bytes = [0; 4096];
                    let mut buf = ReadBuf::new(&mut bytes);
                    let read = match Pin::new(&mut this.inner).poll_read(cx, &mut buf) {
                        Poll::Ready(Ok(())) => buf.filled().len(),
                        Poll::Ready(Err(_)) => 0,
                        Poll::Pending => {
                            ready!(timer.as_mut().poll(cx));
                            0
                        }
                    };
                    *left = left.saturating_sub(read);
                    if read == 0 || *left == 0 {
                        this.linger = Linger::Done;
                    }
                }
                Linger::Done => return Poll::Ready(Ok(())),
            }
        }
    }
}

/// The same for a stream whose handshake failed, so that the alert that says why is not lost.
pub(super) async fn linger(mut stream: TcpStream) {
    let read = async {
        stream.shutdown().await?;
        let mut bytes = [0; 4096];
        let mut left = LINGER_BYTES;
        while left > 0 {
            match stream.read(&mut bytes).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        io::Result::Ok(())
    };
    // Neither a timeout nor an error matters: the connection is over.
    let _ = tokio::time::timeout(LINGER, read).await;
}

enum Linger {
    Open,
    Reading(Pin<Box<tokio::time::Sleep>>, usize),
    Done,
}

const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: usize = 1 << 20;
