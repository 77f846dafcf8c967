//! The channel that tells purges as they come. It only makes it fast: what it does not tell is found in the log.

use std::convert::Infallible;
use std::time::Duration;

use futures_util::StreamExt as _;
use redis::Msg;
use redis::aio::{PubSubSink, PubSubStream};
use tokio::time::timeout;

use super::driver::{CONNECTING, rest};
use super::{GIVE_UP, Inner, log};
use crate::share::backoff::Backoff;
use crate::share::{Config, Why, wire};

/// Listens for ever, and again after each failure.
pub(super) async fn listen(share: &Config, inner: &Inner) -> Infallible {
    let Some(channel) = log::channel(share) else { return std::future::pending().await };
    let mut backoff = Backoff::default();
    loop {
        if let Ok(Ok((sink, stream))) = timeout(CONNECTING, subscribe(share, &channel)).await {
            hear(sink, stream, inner, &mut backoff).await;
        }
        rest(&mut backoff).await;
    }
}

async fn subscribe(share: &Config, channel: &str) -> Result<(PubSubSink, PubSubStream), Why> {
    let (mut sink, stream) = wire::listener(&share.place, &share.login).await?.split();
    sink.subscribe(channel).await.map_err(wire::why)?;
    Ok((sink, stream))
}

/// Until the channel is of no use any more: a server that has gone without a word does not answer to a ping.
async fn hear(mut sink: PubSubSink, mut stream: PubSubStream, inner: &Inner, backoff: &mut Backoff) {
    loop {
        match timeout(SILENCE, stream.next()).await {
            Ok(Some(message)) => hears(&message, inner),
            Ok(None) => return,
            Err(_) => {
                // What is told meanwhile waits in the stream.
                let Ok(Ok(())) = timeout(GIVE_UP, sink.ping()).await else { return };
                backoff.well();
            }
        }
    }
}

fn hears(message: &Msg, inner: &Inner) {
    // What is no purge is for the log to tell.
    if let Some((life, logged)) = log::told(message.get_payload_bytes()) {
        inner.heard(life, logged);
    }
}

/// Nothing is told for so long: is anybody there?
const SILENCE: Duration = Duration::from_secs(2);
