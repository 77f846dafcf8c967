//! What lies between h3 and quinn: the traits of `h3::quic` over quinn's streams, with the meter and the frames' second reader.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use h3::error::Code;
use h3::quic::{
    BidiStream, Connection, ConnectionErrorIncoming, OpenStreams, RecvStream, SendStream, StreamErrorIncoming,
    StreamId, WriteBuf,
};
use quinn::{ConnectionError, ReadError, StoppedError, VarInt, WriteError};

use super::frames::{Frames, Shared, data_header};
use crate::accept::connection::State;
use crate::accept::meter::{Flood, FrameKind};
use crate::clock::Clock;

/// What the streams of one connection share.
pub(super) struct Link {
    quic: quinn::Connection,
    state: Rc<State>,
    clock: Clock,
    max_headers: usize,
    /// Of the request stream that h3 accepted last.
    side: Cell<Option<Side>>,
    /// Requests that come now are refused.
    closed: Cell<bool>,
}

/// What h3 does not tell of a request's stream, or cannot do with it.
pub(super) struct Side {
    pub(super) outlet: Outlet,
    pub(super) frames: Shared,
}

impl Link {
    pub(super) fn new(quic: quinn::Connection, state: Rc<State>, clock: Clock, max_headers: usize) -> Rc<Self> {
        Rc::new(Self { quic, state, clock, max_headers, side: Cell::default(), closed: Cell::new(false) })
    }

    /// The side of the request that h3 accepted last; once.
    pub(super) fn accepted(&self) -> Option<Side> {
        self.side.take()
    }

    /// h3 0.0.8 would still take the request that its GOAWAY names as the first one that is not answered.
    pub(super) fn refuse_more(&self) {
        self.closed.set(true);
    }

    pub(super) fn stats(&self) -> quinn::ConnectionStats {
        self.quic.stats()
    }

    /// Frames came that count.
    ///
    /// # Errors
    /// If they are too many: the connection is closed.
    pub(super) fn counted(&self, kind: FrameKind, frames: u64) -> Result<(), Flood> {
        let counted = self.state.counted(kind, frames, &self.clock);
        counted.inspect_err(|_| close(&self.quic, Code::H3_EXCESSIVE_LOAD, b"flood"))
    }

    fn inlet(self: &Rc<Self>, stream: quinn::RecvStream, frames: Frames) -> Inlet {
        Inlet { stream, frames: Rc::new(RefCell::new(frames)), link: Rc::clone(self) }
    }

    fn outlet(self: &Rc<Self>, stream: quinn::SendStream) -> Outlet {
        Outlet { stream: Rc::new(RefCell::new(stream)), link: Rc::clone(self) }
    }

    fn received(&self, bytes: &Bytes, frames: &Shared) {
        // What is counted of HTTP/3 is told by `frames`; the bytes themselves are only counted.
        let _ = self.state.received(bytes, &self.clock);
        frames.borrow_mut().received(bytes, |kind| {
            // The flood has closed the connection: whoever reads on is told so.
            let _ = self.counted(kind, 1);
        });
    }
}

type Accepting<T> = Pin<Box<dyn Future<Output = Result<T, ConnectionError>>>>;

/// quinn's connection, for h3.
pub(super) struct Streams {
    link: Rc<Link>,
    requests: Accepting<(quinn::SendStream, quinn::RecvStream)>,
    unidirectional: Accepting<quinn::RecvStream>,
    opening: Option<Accepting<quinn::SendStream>>,
}

impl Streams {
    pub(super) fn new(link: Rc<Link>) -> Self {
        let (requests, unidirectional) = (accept_bi(&link.quic), accept_uni(&link.quic));
        Self { link, requests, unidirectional, opening: None }
    }
}

fn accept_bi(quic: &quinn::Connection) -> Accepting<(quinn::SendStream, quinn::RecvStream)> {
    let quic = quic.clone();
    Box::pin(async move { quic.accept_bi().await })
}

fn accept_uni(quic: &quinn::Connection) -> Accepting<quinn::RecvStream> {
    let quic = quic.clone();
    Box::pin(async move { quic.accept_uni().await })
}

impl Connection<Bytes> for Streams {
    type RecvStream = Inlet;
    type OpenStreams = Self;

    fn poll_accept_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Inlet, ConnectionErrorIncoming>> {
        let stream = ready!(self.unidirectional.as_mut().poll(cx)).map_err(lost)?;
        self.unidirectional = accept_uni(&self.link.quic);
        Poll::Ready(Ok(self.link.inlet(stream, Frames::of_unidirectional(self.link.max_headers))))
    }

    fn poll_accept_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<Both, ConnectionErrorIncoming>> {
        loop {
            let (mut send, mut recv) = ready!(self.requests.as_mut().poll(cx)).map_err(lost)?;
            self.requests = accept_bi(&self.link.quic);
            if self.link.closed.get() {
                // Not begun: the client may send it again elsewhere (RFC 9114, section 8.1).
                let _ = (send.reset(varint(Code::H3_REQUEST_REJECTED)), recv.stop(varint(Code::H3_REQUEST_REJECTED)));
                continue;
            }
            let inlet = self.link.inlet(recv, Frames::of_request(self.link.max_headers));
            let outlet = self.link.outlet(send);
            self.link.side.set(Some(Side { outlet: outlet.clone(), frames: Rc::clone(&inlet.frames) }));
            return Poll::Ready(Ok(Both { outlet: Sender::new(outlet), inlet }));
        }
    }

    fn opener(&self) -> Self {
        Self::new(Rc::clone(&self.link))
    }
}

impl OpenStreams<Bytes> for Streams {
    type BidiStream = Both;
    type SendStream = Sender;

    /// A server begins no requests.
    fn poll_open_bidi(&mut self, _: &mut Context<'_>) -> Poll<Result<Both, StreamErrorIncoming>> {
        let connection_error = ConnectionErrorIncoming::InternalError("a server opens no requests".to_owned());
        Poll::Ready(Err(StreamErrorIncoming::ConnectionErrorIncoming { connection_error }))
    }

    fn poll_open_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<Sender, StreamErrorIncoming>> {
        let quic = &self.link.quic;
        let opening = self.opening.get_or_insert_with(|| {
            let quic = quic.clone();
            Box::pin(async move { quic.open_uni().await })
        });
        let opened = ready!(opening.as_mut().poll(cx));
        self.opening = None;
        let stream =
            opened.map_err(|error| StreamErrorIncoming::ConnectionErrorIncoming { connection_error: lost(error) })?;
        Poll::Ready(Ok(Sender::new(self.link.outlet(stream))))
    }

    /// h3 closes the connection when it is dropped, too, and does not know why.
    fn close(&mut self, code: Code, reason: &[u8]) {
        let why = self.link.state.why().as_bytes();
        close(&self.link.quic, code, if code == Code::H3_NO_ERROR { why } else { reason });
    }
}

/// A request's stream.
pub(super) struct Both {
    outlet: Sender,
    inlet: Inlet,
}

impl BidiStream<Bytes> for Both {
    type SendStream = Sender;
    type RecvStream = Inlet;

    fn split(self) -> (Sender, Inlet) {
        (self.outlet, self.inlet)
    }
}

impl RecvStream for Both {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.inlet.poll_data(cx)
    }

    fn stop_sending(&mut self, code: u64) {
        self.inlet.stop_sending(code);
    }

    fn recv_id(&self) -> StreamId {
        self.inlet.recv_id()
    }
}

impl SendStream<Bytes> for Both {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.outlet.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.outlet.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.outlet.poll_finish(cx)
    }

    fn reset(&mut self, code: u64) {
        self.outlet.reset(code);
    }

    fn send_id(&self) -> StreamId {
        self.outlet.send_id()
    }
}

/// What comes over a stream.
pub(super) struct Inlet {
    stream: quinn::RecvStream,
    frames: Shared,
    link: Rc<Link>,
}

impl RecvStream for Inlet {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        if let Some(code) = self.frames.borrow().broken() {
            return Poll::Ready(Err(StreamErrorIncoming::StreamTerminated { error_code: code.value() }));
        }
        match ready!(pin!(self.stream.read_chunk(usize::MAX, true)).poll(cx)) {
            Ok(Some(chunk)) => {
                self.link.received(&chunk.bytes, &self.frames);
                Poll::Ready(Ok(Some(chunk.bytes)))
            }
            Ok(None) => {
                self.frames.borrow_mut().end();
                match self.frames.borrow().broken() {
                    None => Poll::Ready(Ok(None)),
                    Some(code) => Poll::Ready(Err(StreamErrorIncoming::StreamTerminated { error_code: code.value() })),
                }
            }
            Err(error) => Poll::Ready(Err(match error {
                ReadError::Reset(code) => StreamErrorIncoming::StreamTerminated { error_code: code.into_inner() },
                ReadError::ConnectionLost(error) => {
                    StreamErrorIncoming::ConnectionErrorIncoming { connection_error: lost(error) }
                }
                other => StreamErrorIncoming::Unknown(Box::new(other)),
            })),
        }
    }

    fn stop_sending(&mut self, code: u64) {
        // It has ended already.
        let _ = self.stream.stop(VarInt::from_u64(code).unwrap_or_default());
    }

    fn recv_id(&self) -> StreamId {
        id(self.stream.id())
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        // What is still coming is not needed for the answer (RFC 9114, section 4.1). If it has ended, this does nothing.
        let _ = self.stream.stop(varint(Code::H3_NO_ERROR));
    }
}

/// What goes out over a stream. h3 writes heads through it, this gateway the bodies: in turn, never at once.
#[derive(Clone)]
pub(super) struct Outlet {
    stream: Rc<RefCell<quinn::SendStream>>,
    link: Rc<Link>,
}

impl Outlet {
    /// Sends a DATA frame, without copying what is in it.
    pub(super) async fn data(&self, data: Bytes) -> Result<(), WriteError> {
        if data.is_empty() {
            return Ok(());
        }
        let mut parts = [data_header(data.len()), data];
        while parts.iter().any(|part| !part.is_empty()) {
            let written = std::future::poll_fn(|cx| {
                let mut stream = self.stream.borrow_mut();
                pin!(stream.write_chunks(&mut parts)).poll(cx)
            });
            self.link.state.sent(written.await?.bytes);
        }
        Ok(())
    }

    /// The answer is whole.
    pub(super) fn finish(&self) {
        // The client has stopped it already.
        let _ = self.stream.borrow_mut().finish();
    }

    /// The answer is cut short.
    pub(super) fn reset(&self, code: Code) {
        // It has ended already.
        let _ = self.stream.borrow_mut().reset(varint(code));
    }

    /// Ends when the client has received everything, when it wants no more, or when the connection is lost.
    pub(super) fn stopped(&self) -> impl Future<Output = Result<Option<VarInt>, StoppedError>> + use<> {
        self.stream.borrow().stopped()
    }
}

/// An [`Outlet`] in h3's hands.
pub(super) struct Sender {
    outlet: Outlet,
    writing: Option<WriteBuf<Bytes>>,
}

impl Sender {
    fn new(outlet: Outlet) -> Self {
        Self { outlet, writing: None }
    }
}

impl SendStream<Bytes> for Sender {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        if let Some(data) = &mut self.writing {
            while data.has_remaining() {
                let mut stream = self.outlet.stream.borrow_mut();
                let written =
                    ready!(Pin::new(&mut *stream).poll_write(cx, data.chunk())).map_err(|error| match error {
                        WriteError::Stopped(code) => {
                            StreamErrorIncoming::StreamTerminated { error_code: code.into_inner() }
                        }
                        WriteError::ConnectionLost(error) => {
                            StreamErrorIncoming::ConnectionErrorIncoming { connection_error: lost(error) }
                        }
                        other => StreamErrorIncoming::Unknown(Box::new(other)),
                    })?;
                data.advance(written);
                self.outlet.link.state.sent(written);
            }
        }
        self.writing = None;
        Poll::Ready(Ok(()))
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.writing = Some(data.into());
        Ok(())
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.outlet.finish();
        Poll::Ready(Ok(()))
    }

    fn reset(&mut self, code: u64) {
        let _ = self.outlet.stream.borrow_mut().reset(VarInt::from_u64(code).unwrap_or_default());
    }

    fn send_id(&self) -> StreamId {
        id(self.outlet.stream.borrow().id())
    }
}

fn close(quic: &quinn::Connection, code: Code, reason: &[u8]) {
    quic.close(varint(code), reason);
}

fn varint(code: Code) -> VarInt {
    VarInt::from_u64(code.value()).unwrap_or_default()
}

#[expect(clippy::expect_used, reason = "quinn's stream numbers are varints, which is all that h3 demands of them")]
fn id(stream: quinn::StreamId) -> StreamId {
    StreamId::try_from(u64::from(stream)).expect("a QUIC stream's number")
}

fn lost(error: ConnectionError) -> ConnectionErrorIncoming {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            ConnectionErrorIncoming::ApplicationClose { error_code: close.error_code.into() }
        }
        ConnectionError::TimedOut => ConnectionErrorIncoming::Timeout,
        other => ConnectionErrorIncoming::Undefined(std::sync::Arc::new(other)),
    }
}
