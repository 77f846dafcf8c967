//! The lines of an NDJSON body, one at a time, as they are asked for.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http_body::Body as _;
use tokio::time::Sleep;

use crate::accept::ClientBody;
use crate::refusal::Refusal;

/// A body that is read line by line. It holds at most one line and what was read from the socket with it.
#[derive(Debug)]
pub struct Lines {
    body: ClientBody,
    /// What was read and is not handed out yet.
    read: Bytes,
    /// The beginning of a line that goes on in what is still to be read.
    begun: BytesMut,
    /// Whether the line that is being read is too long already: its rest is read over.
    overlong: bool,
    number: u64,
    ended: bool,
    longest: usize,
    patience: Duration,
    /// Until when something must arrive.
    timer: Option<Pin<Box<Sleep>>>,
}

/// One line that is not empty.
#[derive(Debug)]
pub struct Line {
    /// Counted from 1, empty lines too.
    pub number: u64,
    /// Its bytes without the line's end; a refusal if it is too long.
    pub bytes: Result<Bytes, Refusal>,
}

impl Lines {
    pub(super) fn new(body: ClientBody, longest: usize, patience: Duration) -> Self {
        Self {
            body,
            read: Bytes::new(),
            begun: BytesMut::new(),
            overlong: false,
            number: 0,
            ended: false,
            longest,
            patience,
            timer: None,
        }
    }

    /// The next line. Whoever does not ask, leaves the client's bytes in its socket.
    ///
    /// # Errors
    /// If the body broke off or nothing arrives in time: nothing comes after that.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Line, Refusal>>> {
        loop {
            if let Some(line) = self.line() {
                return Poll::Ready(Some(Ok(line)));
            }
            if self.ended {
                return Poll::Ready(self.last().map(Ok));
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.timer = None;
                    self.read = frame.into_data().unwrap_or_default();
                }
                Poll::Ready(Some(Err(_))) => {
                    return self.broken(Refusal::RequestMalformed { reason: "send the whole body, framed correctly" });
                }
                Poll::Ready(None) => self.ended = true,
                Poll::Pending => {
                    let patience = self.patience;
                    let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
                    std::task::ready!(timer.as_mut().poll(cx));
                    return self.broken(Refusal::BodyTimeout);
                }
            }
        }
    }

    /// Who asks less often than the client sends is not kept waiting by it.
    pub fn pause(&mut self) {
        self.timer = None;
    }

    fn broken(&mut self, refusal: Refusal) -> Poll<Option<Result<Line, Refusal>>> {
        self.ended = true;
        self.overlong = false;
        self.begun.clear();
        Poll::Ready(Some(Err(refusal)))
    }

    /// The next line that ends in what was read.
    fn line(&mut self) -> Option<Line> {
        loop {
            let Some(end) = memchr::memchr(b'\n', &self.read) else {
                self.keep();
                return None;
            };
            let rest = self.read.split_to(end);
            self.read.advance(1);
            if let Some(line) = self.ended_with(rest) {
                return Some(line);
            }
        }
    }

    /// A last line without an end.
    fn last(&mut self) -> Option<Line> {
        if self.begun.is_empty() && !self.overlong {
            return None;
        }
        self.ended_with(Bytes::new())
    }

    fn ended_with(&mut self, rest: Bytes) -> Option<Line> {
        self.number += 1;
        let overlong = std::mem::take(&mut self.overlong) || self.begun.len() + rest.len() > self.longest;
        let mut bytes = if self.begun.is_empty() {
            rest
        } else {
            self.begun.extend_from_slice(&rest);
            self.begun.split().freeze()
        };
        if overlong {
            let bytes = Err(Refusal::BodyTooLarge { limit: self.longest });
            return Some(Line { number: self.number, bytes });
        }
        if bytes.last() == Some(&b'\r') {
            bytes.truncate(bytes.len() - 1);
        }
        (!bytes.trim_ascii().is_empty()).then_some(Line { number: self.number, bytes: Ok(bytes) })
    }

    /// Keeps the beginning of a line, if it is not too long already.
    fn keep(&mut self) {
        let read = std::mem::take(&mut self.read);
        if self.overlong || self.begun.len() + read.len() > self.longest {
            self.overlong = true;
            self.begun.clear();
        } else {
            self.begun.extend_from_slice(&read);
        }
    }
}
