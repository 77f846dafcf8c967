//! The one that listens: a task on a thread of its own, between the stream and what is stored.

use std::collections::hash_map::RandomState;
use std::convert::Infallible;
use std::hash::BuildHasher as _;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::{AckKind, Message};
use futures_util::StreamExt as _;
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};

use super::place::{Heard, Place};
use super::wire::{self, CONNECTING, Trouble};
use super::{Board, Config, Sink, Why};
use crate::share::backoff::Backoff;

/// Runs until it is over.
pub(super) async fn drive(config: &Config, sink: &dyn Sink, board: &Board, over: &Notify) {
    tokio::select! {
        never = run(config, sink, board) => match never {},
        () = over.notified() => {}
    }
}

async fn run(config: &Config, sink: &dyn Sink, board: &Board) -> Infallible {
    let mut backoff = Backoff::default();
    let mut listener = Listener { config, sink, board, place: None };
    let mut last = None;
    loop {
        let Err(trouble) = once(&mut listener, &mut backoff).await;
        board.down(trouble.why);
        // Not each time that it is tried again.
        if last.as_ref() != Some(&trouble) {
            let Trouble { why, said } = &trouble;
            tracing::warn!(%why, said, "NATS is not heard; it is tried again");
        }
        last = Some(trouble);
        sleep(Duration::from_micros(backoff.ill(RandomState::new().hash_one(())))).await;
    }
}

/// Connects, and listens until the connection is of no use.
async fn once(listener: &mut Listener<'_>, backoff: &mut Backoff) -> Result<Infallible, Trouble> {
    let (tell, mut events) = mpsc::unbounded_channel();
    let at_most = CONNECTING.saturating_mul(u32::try_from(listener.config.servers.len()).unwrap_or(1));
    let connecting = timeout(at_most, wire::connect(listener.config, tell));
    let client = connecting.await.unwrap_or(Err(Why::Late.into()))?;
    tokio::select! {
        listened = listener.listen(client, backoff) => listened,
        trouble = wire::ended(&mut events) => Err(trouble),
    }
}

struct Listener<'a> {
    config: &'a Config,
    sink: &'a dyn Sink,
    board: &'a Board,
    /// Where it is; `None`: it never was in any stream.
    place: Option<Place>,
}

impl Listener<'_> {
    async fn listen(&mut self, client: Client, backoff: &mut Backoff) -> Result<Infallible, Trouble> {
        let (stream, found) = wire::stream(client, self.config).await?;
        let known = self.place.filter(|place| place.goes_on(found));
        let mut place = known.unwrap_or_else(|| Place::end_of(found));
        let mut messages = wire::messages(&stream, self.config, place.last.saturating_add(1)).await?;
        if known.is_none() {
            // Not before: what is told from here on is heard, and what was stored until now is in doubt.
            self.doubt(self.place.is_some());
        }
        self.place = Some(place);
        self.board.up();
        backoff.well();
        while let Some(message) = messages.next().await {
            let message = message.map_err(|_| Why::Unready)?;
            let number = message.info().map_err(|_| Why::Unready)?.stream_sequence;
            let ack = match place.hear(number) {
                Heard::Again => AckKind::Ack,
                Heard::Next => self.take(&message),
                Heard::Gap => {
                    self.doubt(true);
                    self.take(&message)
                }
            };
            self.place = Some(place);
            // One that is lost brings the message again.
            message.ack_with(ack).await.map_err(|_| Why::Unreachable)?;
        }
        Err(Why::Unready.into())
    }

    /// A message of no use is of none the next time either.
    fn take(&self, message: &Message) -> AckKind {
        self.board.heard();
        let rest = message.subject.as_str().strip_prefix(self.config.subject.as_str());
        let register = rest.and_then(|rest| rest.strip_prefix('.')).unwrap_or_default();
        if self.sink.take(register, &message.payload) { AckKind::Ack } else { AckKind::Term }
    }

    fn doubt(&self, is_gap: bool) {
        self.sink.doubt();
        if is_gap {
            self.board.gap();
            let stream = &self.config.stream;
            tracing::error!(
                stream,
                "what changed meanwhile is not known: all that is stored is validated before it is served"
            );
        }
    }
}
