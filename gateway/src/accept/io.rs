//! The stream under hyper: counts decrypted bytes, and watches the client's framing.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use super::connection::State;
use super::framing::Observer;
use super::meter::Meter;
use crate::clock::Clock;

/// A decrypted stream with its watch.
pub(super) struct Metered<T> {
    /// Shared, because hyper does not give it back when it fails, and there is more to do then: [`linger`].
    inner: Rc<RefCell<T>>,
    clock: Clock,
    state: Rc<State>,
}

/// What watches the client's bytes.
#[derive(Debug)]
pub(super) enum Watch {
    H1(Observer),
    H2(Meter),
    /// Frames are counted, not read here: QUIC has no stream of bytes under it.
    H3(Meter),
}

impl<T> Metered<T> {
    pub(super) fn new(inner: Rc<RefCell<T>>, clock: Clock, state: Rc<State>) -> Self {
        Self { inner, clock, state }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Metered<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut *self.inner.borrow_mut()).poll_read(cx, buf))?;
        let new = buf.filled().get(before..).unwrap_or_default();
        self.state.received(new, &self.clock)?;
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Metered<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut *self.inner.borrow_mut()).poll_write(cx, buf);
        self.state.blocked(write.is_pending());
        let sent = ready!(write)?;
        self.state.sent(sent);
        Poll::Ready(Ok(sent))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut *self.inner.borrow_mut()).poll_write_vectored(cx, bufs);
        self.state.blocked(write.is_pending());
        let sent = ready!(write)?;
        self.state.sent(sent);
        Poll::Ready(Ok(sent))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.borrow().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flush = Pin::new(&mut *self.inner.borrow_mut()).poll_flush(cx);
        self.state.blocked(flush.is_pending());
        flush
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.inner.borrow_mut()).poll_shutdown(cx)
    }
}

/// Says goodbye, then reads what still comes and throws it away, for a moment: closing a socket with unread bytes resets
/// it, and the client would lose the refusal, or the alert, that says why (RFC 9112, section 9.6).
pub(super) async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
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

const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: usize = 1 << 20;
