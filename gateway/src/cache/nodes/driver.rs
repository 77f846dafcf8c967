//! The one that keeps up: a task on a thread of its own, between what a node knows and Redis.

use std::collections::hash_map::RandomState;
use std::convert::Infallible;
use std::hash::BuildHasher as _;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use popgate_caching::spread::{Reading, Spread};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::channel::listen;
use super::log::Log;
use super::{Ask, GIVE_UP, Inner, State};
use crate::share::backoff::{Backoff, spread};
use crate::share::{Config, Why};

/// Runs until it is over.
pub(super) async fn drive(share: Config, inner: &Inner, mut asks: UnboundedReceiver<Ask>) {
    let mut run = std::pin::pin!(run(&share, inner, &mut asks));
    tokio::select! {
        never = &mut run => match never {},
        () = inner.over.notified() => {}
    }
    let told = async {
        while inner.spread().waiting() > 0 {
            sleep(GLANCE).await;
        }
    };
    tokio::select! {
        never = run => match never {},
        _ = timeout(GIVE_UP, told) => {}
    }
}

async fn run(share: &Config, inner: &Inner, asks: &mut UnboundedReceiver<Ask>) -> Infallible {
    let mut backoff = Backoff::default();
    loop {
        let why = match timeout(CONNECTING, Log::open(share, inner.fingerprint)).await {
            Ok(Ok(log)) => {
                // All nodes come back at the same time.
                if matches!(inner.state(), State::Alone { why, .. } if why != Why::Starting) {
                    sleep(Duration::from_micros(spread(chance()))).await;
                }
                tokio::select! {
                    why = keep_up(log, inner, asks, &mut backoff) => why,
                    never = listen(share, inner) => match never {},
                }
            }
            Ok(Err(why)) => why,
            Err(_) => Why::Late,
        };
        inner.lost(why);
        rest(&mut backoff).await;
    }
}

/// Reads and publishes over one connection, until it is of no use.
async fn keep_up(log: Log, inner: &Inner, asks: &mut UnboundedReceiver<Ask>, backoff: &mut Backoff) -> Why {
    // What was to be asked over the connection before is given up already.
    while asks.try_recv().is_ok() {}
    inner.step(Spread::connected);
    let mut under_way = FuturesUnordered::new();
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            Some(ask) = asks.recv() => under_way.push(answer(log.clone(), ask)),
            Some(answer) = under_way.next() => match answer {
                Answer::Read(reading, Ok(found)) => {
                    inner.read(reading, found);
                    backoff.well();
                }
                Answer::Read(_, Err(why)) => return why,
                // Of no use to others either: whatever else Redis says of a purge, it may still be read.
                Answer::Published(_, Err(why @ (Why::Late | Why::Unreachable))) => return why,
                Answer::Published(publishing, taken) => inner.published(publishing, taken),
            },
            _ = tick.tick() => {
                inner.step(Spread::tick);
                inner.say();
            }
        }
    }
}

enum Answer {
    Read(u64, Result<Reading, Why>),
    Published(u64, Result<(), Why>),
}

async fn answer(mut log: Log, ask: Ask) -> Answer {
    match ask {
        Ask::Read { reading, known, after } => Answer::Read(reading, in_time(log.read(known, after)).await),
        Ask::Publish { publishing, purge } => Answer::Published(publishing, in_time(log.publish(purge)).await),
    }
}

async fn in_time<T>(what: impl Future<Output = Result<T, Why>>) -> Result<T, Why> {
    timeout(GIVE_UP, what).await.unwrap_or(Err(Why::Late))
}

/// Waits after a failure.
pub(super) async fn rest(backoff: &mut Backoff) {
    sleep(Duration::from_micros(backoff.ill(chance()))).await;
}

/// Its keys are others each time.
fn chance() -> u64 {
    RandomState::new().hash_one(())
}

/// How long connecting may take, to sentinels and the server that they name.
pub(super) const CONNECTING: Duration = Duration::from_secs(2);
/// More often than the log is read.
const TICK: Duration = Duration::from_millis(250);
const GLANCE: Duration = Duration::from_millis(5);
