//! The one that settles: a task on a thread of its own, between the book and Redis.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::backoff::{Backoff, spread};
use super::ledger::{Ask, Ledger, Rules, Standing};
use super::terms::whole_micros;
use super::wire::{Why, Wire};
use super::{Config, Inner, State};

/// Runs until every handle is gone.
pub(super) async fn drive(config: Config, inner: Arc<Inner>) {
    let rules = Rules {
        nodes: config.nodes.max(1),
        round: whole_micros(config.round),
        stale: whole_micros(config.stale),
        lift: LIFT,
    };
    let mut driver = Driver { ledger: Ledger::new(rules), inner, why: Why::Starting, was: State::Shared, chance: 0 };
    driver.was = State::Local { since: driver.inner.clock.now(), why: Why::Starting };
    let mut backoff = Backoff::default();
    let limit = config.limit;
    while !driver.inner.closed() {
        let connecting = tokio::time::timeout(limit * 4, Wire::connect(&config.place, &config.login, limit));
        match driver.meanwhile(connecting).await {
            Ok(Ok(wire)) => {
                // All nodes come back at the same time.
                if driver.ledger.standing() == Standing::Alone && driver.why != Why::Starting {
                    let spread = Duration::from_micros(spread(driver.chance()));
                    driver.meanwhile(tokio::time::sleep(spread)).await;
                }
                driver.settle(wire, &config, &mut backoff).await;
            }
            Ok(Err(why)) => driver.why = why,
            Err(_) => driver.why = Why::Late,
        }
        let wait = Duration::from_micros(backoff.ill(driver.chance()));
        driver.meanwhile(tokio::time::sleep(wait)).await;
    }
}

struct Driver {
    ledger: Ledger,
    inner: Arc<Inner>,
    /// Why the last call failed.
    why: Why,
    was: State,
    chance: u64,
}

impl Driver {
    /// Settles round after round over one connection, until it is of no use.
    async fn settle(&mut self, mut wire: Wire, config: &Config, backoff: &mut Backoff) {
        let mut swept = self.now();
        self.ledger.connected(swept);
        loop {
            // Read first: what was spent before the end is settled still.
            let last = self.inner.closed();
            self.turn();
            let now = self.now();
            if now.saturating_sub(swept) > SWEEP {
                swept = now;
                self.inner.sweep(&mut self.ledger);
            }
            let asks = self.ledger.asks(MOST, now);
            if asks.is_empty() {
                if last {
                    return;
                }
                self.rest(config.round).await;
                continue;
            }
            let began = self.inner.clock.now();
            let calls: Vec<_> = asks.iter().map(|ask| &ask.call).collect();
            let answers = tokio::time::timeout(config.limit, wire.call(&calls, &config.prefix, &config.node));
            let answers = self.meanwhile(answers).await;
            let now = self.now();
            let took = self.inner.clock.now().saturating_duration_since(began);
            match answers {
                Ok(Ok(answers)) => {
                    let mut well = 0_usize;
                    for (ask, reply) in asks.iter().zip(&answers.replies) {
                        match reply {
                            Some(reply) => {
                                self.ledger.answered(ask, reply, now);
                                well += 1;
                            }
                            None => self.ledger.failed(ask, now),
                        }
                    }
                    self.inner.tally.round(well, asks.len() - well, took);
                    if let Some(why) = answers.trouble {
                        self.why = why;
                    }
                    if well > 0 {
                        backoff.well();
                    } else if last || !answers.unknown {
                        return;
                    }
                    if well < asks.len() && !answers.unknown {
                        self.meanwhile(tokio::time::sleep(config.round)).await;
                    }
                }
                Ok(Err(why)) => return self.lost(&asks, why, took),
                Err(_) => return self.lost(&asks, Why::Late, took),
            }
            if last && asks.len() < MOST {
                return;
            }
            // What is pressing comes at once, but not back to back: what others spend meanwhile goes along.
            if asks.len() < MOST {
                tokio::time::sleep(GAP).await;
                self.rest(config.round.saturating_sub(GAP)).await;
            }
        }
    }

    fn lost(&mut self, asks: &[Ask], why: Why, took: Duration) {
        let now = self.now();
        asks.iter().for_each(|ask| self.ledger.failed(ask, now));
        self.inner.tally.round(0, asks.len(), took);
        self.why = why;
    }

    /// Waits for the next round, or for somebody who cannot.
    async fn rest(&mut self, round: Duration) {
        let inner = Arc::clone(&self.inner);
        let _ = tokio::time::timeout(round, inner.desk.bell.notified()).await;
    }

    /// Waits for something; own shares fill meanwhile.
    async fn meanwhile<T>(&mut self, what: impl Future<Output = T>) -> T {
        tokio::pin!(what);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.tick().await;
        loop {
            tokio::select! {
                biased;
                it = &mut what => return it,
                _ = tick.tick() => self.turn(),
            }
        }
    }

    /// Takes in what was left at the desk, and says how it stands.
    fn turn(&mut self) {
        let now = self.now();
        self.inner.arrivals(&mut self.ledger, now);
        for id in self.inner.desk.marked() {
            self.ledger.mark(id, now);
        }
        self.ledger.tick(now);
        let slots = self.ledger.slots();
        self.inner.desk.set_nodes(slots);
        let since = match self.was {
            State::Local { since, .. } => since,
            State::Shared => self.inner.clock.now(),
        };
        let state = match self.ledger.standing() {
            Standing::Shared => State::Shared,
            Standing::Alone => State::Local { since, why: self.why },
            Standing::Partly(_) => State::Local { since, why: Why::Partly },
        };
        self.was = state;
        let alone = match self.ledger.standing() {
            Standing::Partly(limits) => limits,
            Standing::Shared => 0,
            Standing::Alone => self.ledger.len(),
        };
        self.inner.tally.stand(self.ledger.live(), self.ledger.len(), alone, self.ledger.conflicts);
        self.inner.say(state);
    }

    fn now(&self) -> u64 {
        self.inner.desk.micros(self.inner.clock.now())
    }

    fn chance(&mut self) -> u64 {
        self.chance += 1;
        RandomState::new().hash_one((self.chance, self.now()))
    }
}

/// Calls in one go: as many as surely take less than the time limit.
const MOST: usize = 1_000;
const GAP: Duration = Duration::from_millis(1);
const TICK: Duration = Duration::from_millis(10);
/// How long a node's own share limits it after it is back: longer than the longest wait of any other node.
const LIFT: u64 = 3_000_000;
const SWEEP: u64 = 5_000_000;
