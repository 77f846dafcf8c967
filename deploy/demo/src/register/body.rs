//! The body of an answer: whole in one frame, unless a fault says otherwise.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use super::{Fault, Framing};

pub(super) enum Answer {
    Whole(Option<Bytes>),
    Odd(Box<Odd>),
}

/// Two parts, a pause between them, and perhaps no end.
pub(super) struct Odd {
    parts: [Option<Bytes>; 2],
    pause: Option<Pin<Box<Sleep>>>,
    cut: bool,
    framing: Framing,
    left: u64,
}

impl Answer {
    pub(super) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(Some(bytes.into()).filter(|bytes| !bytes.is_empty()))
    }

    pub(super) fn with(bytes: Bytes, fault: &Fault) -> Self {
        if fault.delay_body.is_none() && fault.cut_after.is_none() && fault.framing == Framing::Sized {
            return Self::whole(bytes);
        }
        let left = bytes.len() as u64;
        let cut = fault.cut_after.is_some();
        let middle = fault.cut_after.unwrap_or(bytes.len() / 2).min(bytes.len());
        let (first, second) = (bytes.slice(..middle), bytes.slice(middle..));
        // What is sent before a cut leaves only if the connection is idle for a moment.
        let pause = fault.delay_body.or(cut.then_some(Duration::from_millis(20)));
        let parts = [Some(first), Some(second).filter(|_| !cut)].map(|part| part.filter(|part| !part.is_empty()));
        let pause = pause.map(|pause| Box::pin(tokio::time::sleep(pause)));
        Self::Odd(Box::new(Odd { parts, pause, cut, framing: fault.framing, left }))
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Odd(odd) => odd.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Odd(odd) => !odd.cut && odd.left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Odd(odd) if odd.framing == Framing::Sized => SizeHint::with_exact(odd.left),
            Self::Odd(_) => SizeHint::default(),
        }
    }
}

impl Odd {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let [first, second] = &mut self.parts;
        let mut send = |part: Bytes| {
            self.left -= part.len() as u64;
            Poll::Ready(Some(Ok(Frame::data(part))))
        };
        if let Some(first) = first.take() {
            return send(first);
        }
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        match second.take() {
            Some(second) => send(second),
            None if self.cut => Poll::Ready(Some(Err(Cut))),
            None => Poll::Ready(None),
        }
    }
}

/// The body ends here on purpose.
#[derive(Debug, thiserror::Error)]
#[error("cut by a fault control")]
pub(super) struct Cut;
