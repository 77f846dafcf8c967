//! Making the tables of a bundle before requests need them.
//!
//! Nobody has to: a table that is missing is made by the first request that needs it, and no request waits for more than one.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use popgate_policy::bundle::Bundle;
use popgate_policy::engine::Wanting;

/// Makes what requests needed of the bundle before, so that the first ones after the change do not wait. The old one serves meanwhile.
pub(super) fn make_hot(bundle: &Bundle, before: &Bundle) {
    let engine = bundle.engine();
    let wanting = engine.wanting(Some(before.engine())).into_iter();
    wanting.take_while(|wanting| wanting.hot).for_each(|wanting| engine.make(wanting));
}

/// Whose tables are made in the background: those of the bundle that came into force last.
#[derive(Clone, Debug, Default)]
pub(super) struct Maker(Arc<AtomicU64>);

impl Maker {
    /// Makes all that are missing, first what requests needed of the bundle before, in threads of their own that leave half of the
    /// processors alone, and end when another bundle is in force.
    pub(super) fn make_rest(&self, bundle: &Arc<Bundle>, before: Option<Arc<Bundle>>) {
        let turn = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        let (maker, bundle) = (self.clone(), Arc::downgrade(bundle));
        let begin = move || {
            let before = before.as_ref().map(|before| before.engine());
            let Some(wanting) = bundle.upgrade().map(|bundle| bundle.engine().wanting(before)) else { return };
            if !wanting.first().is_some_and(|first| first.hot) {
                // Whoever just started has something better to do.
                thread::sleep(PAUSE);
            }
            let next = AtomicUsize::new(0);
            let make = || maker.make_each(turn, &bundle, &wanting, &next);
            thread::scope(|scope| {
                for _ in 1..threads() {
                    let helper = thread::Builder::new().name("tables".into()).spawn_scoped(scope, make);
                    drop(helper);
                }
                make();
            });
        };
        if let Err(error) = thread::Builder::new().name("tables".into()).spawn(begin) {
            tracing::warn!(%error, "no thread to make the policies' tables: requests make them");
        }
    }

    fn make_each(&self, turn: u64, bundle: &Weak<Bundle>, wanting: &[Wanting], next: &AtomicUsize) {
        while let Some(wanting) = wanting.get(next.fetch_add(1, Ordering::Relaxed)) {
            let Some(bundle) = bundle.upgrade().filter(|_| self.0.load(Ordering::Relaxed) == turn) else { return };
            bundle.engine().make(*wanting);
        }
    }
}

/// Half of the processors, but one at least.
fn threads() -> usize {
    thread::available_parallelism().map_or(1, |processors| (processors.get() / 2).max(1))
}

const PAUSE: Duration = Duration::from_secs(2);
