//! The body of a request over HTTP/3.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use h3::server::RequestStream;
use http_body::{Body, Frame, SizeHint};

use super::frames::Shared;
use super::streams::Inlet;
use crate::accept::BodyBroken;

/// What the client sends after the header section: DATA, held to the length that was announced. Trailers end it, unread.
pub(super) struct Upload {
    stream: RequestStream<Inlet, Bytes>,
    frames: Shared,
    length: Option<u64>,
    got: u64,
    ended: bool,
}

#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("the stream broke off, or its frames do not follow the grammar")]
    Stream,
    #[error("the body has another length than Content-Length")]
    Length,
}

impl Upload {
    pub(super) fn new(stream: RequestStream<Inlet, Bytes>, length: Option<u64>, frames: Shared) -> Self {
        Self { stream, frames, length, got: 0, ended: false }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Broken>> {
        loop {
            // h3 says that there is no more where a DATA frame is empty, and at trailers: the frames tell whether it is true.
            if self.frames.borrow().whole() == Some(self.got) {
                return Poll::Ready(match self.length {
                    Some(length) if length != self.got => Err(Broken::Length),
                    _ => Ok(None),
                });
            }
            let data = ready!(self.stream.poll_recv_data(cx)).map_err(|_| Broken::Stream)?;
            if self.frames.borrow().broken().is_some() {
                return Poll::Ready(Err(Broken::Stream));
            }
            if let Some(mut data) = data {
                let data = data.copy_to_bytes(data.remaining());
                self.got = self.got.saturating_add(data.len() as u64);
                if self.length.is_some_and(|length| self.got > length) {
                    return Poll::Ready(Err(Broken::Length));
                }
                if !data.is_empty() {
                    return Poll::Ready(Ok(Some(data)));
                }
            }
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BodyBroken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyBroken>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let polled = ready!(self.poll(cx));
        self.ended = !matches!(polled, Ok(Some(_)));
        Poll::Ready(match polled {
            Ok(data) => data.map(|data| Ok(Frame::data(data))),
            Err(broken) => Some(Err(BodyBroken(Box::new(broken)))),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, |length| SizeHint::with_exact(length.saturating_sub(self.got)))
    }
}
