//! One request to the origin for all who want the same at the same time (RFC 9111 section 4, collapsed requests).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use super::store::Entry;

/// Those under way.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    map: Mutex<HashMap<String, watch::Sender<State>>>,
    /// When a target was last changed by a request.
    changed: Mutex<HashMap<String, SystemTime>>,
}

/// How far one is.
#[derive(Clone, Debug, Default)]
pub(crate) enum State {
    /// The fields have not come.
    #[default]
    Flying,
    /// They came, and others may have the response: its content may still be coming.
    Shared(Arc<Entry>),
    /// It failed, or is for one only: whoever waited goes on his own.
    Alone,
}

/// What one is for a key.
pub(crate) enum Role {
    /// The one who fetches.
    Leader(Ticket),
    /// One who waits.
    Follower(watch::Receiver<State>),
}

/// The right to fetch. Dropped without [`Ticket::land`], nobody waits any longer.
pub(crate) struct Ticket {
    flights: Arc<Flights>,
    key: String,
    state: watch::Sender<State>,
}

impl Flights {
    /// Leads, or follows one who does.
    pub(crate) fn join(self: &Arc<Self>, key: &str) -> Role {
        let mut map = self.lock();
        if let Some(state) = map.get(key) {
            return Role::Follower(state.subscribe());
        }
        let (state, _) = watch::channel(State::Flying);
        map.insert(key.to_owned(), state.clone());
        Role::Leader(Ticket { flights: Arc::clone(self), key: key.to_owned(), state })
    }

    /// The target was changed by a request: nobody joins a fetch from before that any more, and
    /// [`Flights::is_outdated`] knows it for as long as a fetch may take.
    pub(crate) fn changed(&self, key: &str, now: SystemTime, fetch_at_most: Duration) {
        let of_key =
            |flight: &str| flight.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('\n'));
        self.lock().retain(|flight, _| !of_key(flight));
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        let long_ago = |at: &SystemTime| now.duration_since(*at).is_ok_and(|since| since > fetch_at_most * 2);
        changed.retain(|_, at| !long_ago(at));
        changed.insert(key.to_owned(), now);
    }

    /// Whether a target was changed since a request for it was sent: the response may be from before that.
    pub(crate) fn is_outdated(&self, key: &str, asked_at: SystemTime) -> bool {
        let changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        changed.get(key).is_some_and(|at| *at >= asked_at)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, watch::Sender<State>>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// One who waits, as the leader's client does: while there is one, the fetch goes on.
    pub(crate) fn waiter(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Returns once nobody waits any more; nobody can follow then.
    pub(crate) async fn nobody_waits(&self) {
        loop {
            self.state.closed().await;
            let mut map = self.flights.lock();
            if self.state.receiver_count() == 0 {
                map.remove(&self.key);
                return;
            }
        }
    }

    /// Tells all who wait.
    pub(crate) fn land(self, state: State) {
        self.state.send_replace(state);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut map = self.flights.lock();
        if map.get(&self.key).is_some_and(|state| state.same_channel(&self.state)) {
            map.remove(&self.key);
        }
        drop(map);
        self.state.send_if_modified(|state| {
            let flying = matches!(state, State::Flying);
            if flying {
                *state = State::Alone;
            }
            flying
        });
    }
}

/// What one who waits gets; `None`: he goes on his own.
pub(crate) async fn landed(mut state: watch::Receiver<State>) -> Option<Arc<Entry>> {
    let landed = state.wait_for(|state| !matches!(state, State::Flying)).await.ok()?;
    match &*landed {
        State::Shared(entry) => Some(Arc::clone(entry)),
        State::Flying | State::Alone => None,
    }
}
