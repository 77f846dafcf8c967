//! Making the tables of a bundle before requests need them.
//!
//! Nobody has to: a table that is missing is made by the first request that needs it, and no request waits for more than one.

use std::sync::atomic::{AtomicUsize, Ordering};
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

/// Makes all others, in threads of their own that leave half of the processors alone, and end when the bundle is no longer in force.
pub(super) fn make_rest(bundle: &Arc<Bundle>) {
    let threads = thread::available_parallelism().map_or(1, |processors| (processors.get() / 2).max(1));
    let bundle = Arc::downgrade(bundle);
    let begin = move || {
        // Whoever just started has something better to do.
        thread::sleep(PAUSE);
        let Some(wanting) = bundle.upgrade().map(|bundle| bundle.engine().wanting(None)) else { return };
        let next = AtomicUsize::new(0);
        thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(|| make_each(&bundle, &wanting, &next)))));
    };
    if let Err(error) = thread::Builder::new().name("tables".into()).spawn(begin) {
        tracing::warn!(%error, "no thread to make the policies' tables: requests make them");
    }
}

fn make_each(bundle: &Weak<Bundle>, wanting: &[Wanting], next: &AtomicUsize) {
    while let Some(wanting) = wanting.get(next.fetch_add(1, Ordering::Relaxed)) {
        let Some(bundle) = bundle.upgrade() else { return };
        bundle.engine().make(*wanting);
    }
}

const PAUSE: Duration = Duration::from_secs(2);
