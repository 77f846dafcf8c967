//! What a register said not long ago, and what it is being asked right now.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::sync::Cache;
use popgate_policy::model::Personal;
use tokio::sync::watch;

use crate::plugin::Unanswered;

/// Answers by question. What no answer came to is not remembered.
#[derive(Debug)]
pub(super) struct Memory {
    said: Cache<Personal<String>, bool>,
    flights: Flights,
}

type Flights = Arc<Mutex<HashMap<Personal<String>, watch::Receiver<Landing>>>>;
/// What a question came to; `None` while it is asked.
type Landing = Option<Result<bool, Unanswered>>;

/// What is to be done about a question.
#[derive(Debug)]
pub(super) enum Turn {
    /// Nothing: the answer is known.
    Known(bool),
    /// Somebody is asking it.
    Wait(Waiting),
    /// The caller asks it, for itself and whoever waits.
    Ask(Asking),
}

/// Waits for somebody else's question.
#[derive(Debug)]
pub(super) struct Waiting(watch::Receiver<Landing>);

/// The duty to ask. Dropped before the answer, whoever waits takes over.
#[derive(Debug)]
pub(super) struct Asking {
    flights: Flights,
    said: Cache<Personal<String>, bool>,
    question: Personal<String>,
    landing: watch::Sender<Landing>,
}

impl Memory {
    pub(super) fn new(capacity: u64, yes: Duration, no: Duration) -> Self {
        let said = Cache::builder().max_capacity(capacity).expire_after(Lasts { yes, no }).build();
        Self { said, flights: Flights::default() }
    }

    pub(super) fn turn(&self, question: &Personal<String>) -> Turn {
        if let Some(said) = self.said.get(question) {
            return Turn::Known(said);
        }
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        match flights.entry(question.clone()) {
            Entry::Occupied(flight) => Turn::Wait(Waiting(flight.get().clone())),
            Entry::Vacant(vacant) => {
                let (landing, waiting) = watch::channel(None);
                vacant.insert(waiting);
                let (flights, said) = (Arc::clone(&self.flights), self.said.clone());
                Turn::Ask(Asking { flights, said, question: question.clone(), landing })
            }
        }
    }
}

impl Waiting {
    /// What it came to; `None` if whoever asked gave up.
    pub(super) async fn landed(mut self) -> Option<Result<bool, Unanswered>> {
        *self.0.wait_for(Option::is_some).await.ok()?
    }
}

impl Asking {
    /// Remembers the answer, and tells whoever waits.
    pub(super) fn land(self, answer: Result<bool, Unanswered>) -> Result<bool, Unanswered> {
        if let Ok(said) = answer {
            self.said.insert(self.question.clone(), said);
        }
        self.landing.send_replace(Some(answer));
        answer
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        // Whoever comes later must find no question that nobody asks.
        self.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.question);
    }
}

/// A no may be withdrawn sooner than a yes.
struct Lasts {
    yes: Duration,
    no: Duration,
}

impl Lasts {
    fn of(&self, said: bool) -> Option<Duration> {
        Some(if said { self.yes } else { self.no })
    }
}

impl Expiry<Personal<String>, bool> for Lasts {
    fn expire_after_create(&self, _: &Personal<String>, said: &bool, _: Instant) -> Option<Duration> {
        self.of(*said)
    }

    fn expire_after_update(
        &self,
        _: &Personal<String>,
        said: &bool,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.of(*said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(text: &str) -> Personal<String> {
        Personal::new(text.to_owned())
    }

    fn ask(memory: &Memory, text: &str) -> Asking {
        match memory.turn(&question(text)) {
            Turn::Ask(asking) => asking,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn one_asks_the_others_wait_and_if_it_gives_up_one_of_them_takes_over() {
        let memory = Memory::new(10, Duration::from_secs(60), Duration::from_secs(60));
        let asking = ask(&memory, "a");
        let Turn::Wait(waiting) = memory.turn(&question("a")) else { panic!("asked twice") };
        let other = ask(&memory, "b");
        drop(asking);
        assert_eq!(waiting.landed().await, None);
        let asking = ask(&memory, "a");
        let Turn::Wait(waiting) = memory.turn(&question("a")) else { panic!("asked twice") };
        assert_eq!(asking.land(Ok(true)), Ok(true));
        assert_eq!(waiting.landed().await, Some(Ok(true)));
        assert!(matches!(memory.turn(&question("a")), Turn::Known(true)));
        // No answer is told to who waits, and not remembered.
        let Turn::Wait(waiting) = memory.turn(&question("b")) else { panic!("asked twice") };
        assert_eq!(other.land(Err(Unanswered("down"))), Err(Unanswered("down")));
        assert_eq!(waiting.landed().await, Some(Err(Unanswered("down"))));
        drop(ask(&memory, "b"));
    }

    #[test]
    fn a_yes_and_a_no_last_as_long_as_each_is_to_last() {
        let memory = Memory::new(10, Duration::from_secs(60), Duration::from_millis(1));
        let _ = ask(&memory, "yes").land(Ok(true));
        let _ = ask(&memory, "no").land(Ok(false));
        std::thread::sleep(Duration::from_millis(50));
        assert!(matches!(memory.turn(&question("yes")), Turn::Known(true)));
        drop(ask(&memory, "no"));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let memory = Memory::new(10, Duration::from_secs(60), Duration::from_secs(60));
        for at in 0..1000 {
            let _ = ask(&memory, &at.to_string()).land(Ok(true));
        }
        memory.said.run_pending_tasks();
        assert!(memory.said.entry_count() <= 10, "{}", memory.said.entry_count());
        assert!(memory.flights.lock().unwrap().is_empty());
    }
}
