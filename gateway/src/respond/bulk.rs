//! The answer to a bulk request: NDJSON, a line for each line, made as it is sent.
//!
//! `{"line":1,"status":200,"answer":{...}}` where something is shown, `{"line":2,"status":404,"code":"no_match","detail":"..."}` where
//! not. Nothing is made ahead of the client: who does not read, keeps the next lines from being asked about.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};

use super::{Covered, Disclosure, add_mistakes};
use crate::admit::Ticket;
use crate::refusal::Refusal;

/// Where the answers to a bulk request's lines come from, in their order.
pub trait Answers {
    /// The next answer.
    fn poll_answer(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<LineAnswer, Cut>>>;
}

/// The answer to one line.
#[derive(Debug)]
pub struct LineAnswer {
    /// The line's number.
    pub line: u64,
    /// What is shown, or why nothing is.
    pub answered: Result<Covered, Refusal>,
}

/// The answer ends before its end: the connection or stream is reset, so that nobody takes what was sent for all of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the answer was cut off")]
pub struct Cut;

pub(super) struct Bulk {
    answers: Pin<Box<dyn Answers>>,
    /// What is to be sent of lines that are too long to be put together with others.
    pieces: VecDeque<Piece>,
    ended: Option<Cut>,
    ticket: Ticket,
}

enum Piece {
    Bytes(Bytes),
    Disclosure(Disclosure),
}

impl Bulk {
    pub(super) fn new(answers: Pin<Box<dyn Answers>>, ticket: Ticket) -> Self {
        Self { answers, pieces: VecDeque::new(), ended: None, ticket }
    }

    /// The next bytes: of short lines as many as are there, of a long one a piece that is passed on as it is.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        let next = self.poll_bytes(cx);
        if let Poll::Ready(Some(Ok(bytes))) = &next {
            self.ticket.moved(bytes.len());
        }
        next
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        let mut gathered = BytesMut::new();
        while gathered.len() < GATHERED {
            if !self.pieces.is_empty() && !gathered.is_empty() {
                break;
            }
            if let Some(bytes) = self.piece() {
                return Poll::Ready(Some(Ok(bytes)));
            }
            if let Some(cut) = self.ended {
                return if gathered.is_empty() { Poll::Ready(Some(Err(cut))) } else { sent(gathered) };
            }
            match self.answers.as_mut().poll_answer(cx) {
                Poll::Ready(Some(Ok(answer))) => self.line(answer, &mut gathered),
                Poll::Ready(Some(Err(cut))) => self.ended = Some(cut),
                Poll::Ready(None) if gathered.is_empty() => return Poll::Ready(None),
                Poll::Pending if gathered.is_empty() => return Poll::Pending,
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        sent(gathered)
    }

    fn line(&mut self, answer: LineAnswer, gathered: &mut BytesMut) {
        let LineAnswer { line, answered } = answer;
        match answered.and_then(Disclosure::of) {
            Ok(mut disclosure) => {
                let begin = format!("{{\"line\":{line},\"status\":200,\"answer\":");
                if disclosure.left <= SHORT {
                    gathered.extend_from_slice(begin.as_bytes());
                    while let Some(bytes) = disclosure.next() {
                        gathered.extend_from_slice(&bytes);
                    }
                    gathered.extend_from_slice(END);
                } else {
                    self.pieces.extend([
                        Piece::Bytes(begin.into()),
                        Piece::Disclosure(disclosure),
                        Piece::Bytes(Bytes::from_static(END)),
                    ]);
                }
            }
            Err(refusal) => {
                let mut document = serde_json::json!({
                    "line": line,
                    "status": refusal.status().as_u16(),
                    "code": refusal.code(),
                    "detail": refusal.remedy(),
                });
                add_mistakes(&refusal, &mut document);
                gathered.extend_from_slice(document.to_string().as_bytes());
                gathered.extend_from_slice(b"\n");
            }
        }
    }

    /// The next piece of a long line.
    fn piece(&mut self) -> Option<Bytes> {
        loop {
            match self.pieces.front_mut()? {
                Piece::Disclosure(disclosure) => match disclosure.next() {
                    Some(bytes) => return Some(bytes),
                    None => drop(self.pieces.pop_front()),
                },
                Piece::Bytes(bytes) => {
                    let bytes = std::mem::take(bytes);
                    self.pieces.pop_front();
                    return Some(bytes);
                }
            }
        }
    }
}

fn sent(gathered: BytesMut) -> Poll<Option<Result<Bytes, Cut>>> {
    Poll::Ready(Some(Ok(gathered.freeze())))
}

const END: &[u8] = b"}\n";
/// The longest answer that is put together with others, in bytes: below it one copy is cheaper than one more frame.
const SHORT: u64 = 1024;
/// How much is put together at most.
const GATHERED: usize = 16 * 1024;
