//! Fetch: the record out of the cache, out of a fetch under way, or from the register.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use popgate_policy::model::RegisterId;

use super::deadline;
use super::exchange::Exchange;
use crate::app::Core;
use crate::cache::{Fetched, Followed, Kept, Leader, Lookup, Question, Validators, Wish};
use crate::forward::{self, Answer, Found, Origin, Unanswered};
use crate::refusal::Refusal;

/// The record that a permit needs, no older than its caller wants it.
pub(super) async fn fetch(
    core: &Rc<Core>,
    question: &Arc<Question>,
    youngest: Option<Duration>,
    until: Instant,
    exchange: &mut Exchange,
) -> Result<Fetched, Refusal> {
    let fetched = obtain(core, question, Wish { youngest, ..Wish::default() }, until).await?;
    exchange.fetched(&fetched);
    Ok(fetched)
}

async fn obtain(core: &Rc<Core>, question: &Arc<Question>, mut wish: Wish, until: Instant) -> Result<Fetched, Refusal> {
    let clock = &core.node.clock;
    for looks in 1.. {
        wish.alone |= looks > MOST_LOOKS;
        match question.lookup(wish, clock.moment()) {
            Lookup::Hit(hit) => {
                if let Some(leader) = hit.refresh {
                    let errand = Errand::begin(core, leader, deadline(core, question.register()));
                    tokio::task::spawn_local(errand.run());
                }
                return Ok(hit.fetched);
            }
            Lookup::Follow(mut follower) => {
                // One that takes long, or fails, fails nobody else: it is made once more, for all others at once.
                let again = wish.avoided.is_none();
                let left = until.saturating_duration_since(clock.now());
                let patience = if again { left / 4 * 3 } else { left };
                match tokio::time::timeout(patience, follower.landed(|| clock.moment())).await {
                    Ok(Followed::Served(fetched)) => return Ok(fetched),
                    Ok(Followed::Again) => {}
                    Ok(Followed::Alone) => wish.alone = true,
                    Ok(Followed::Failed(_)) | Err(_) if again => wish.avoided = Some(follower.flight()),
                    Ok(Followed::Failed(refusal)) => return Err(refusal),
                    Err(_) => return Err(Refusal::RegisterTimeout),
                }
            }
            Lookup::Lead(leader) => {
                let (leader, answer) = Errand::begin(core, leader, until).await;
                return leader.land(answer, clock.moment());
            }
        }
    }
    Err(Refusal::Internal)
}

/// "No match" about a record that was stored would come sooner than about a person whom nobody knows, and also while the register fails:
/// unless the register was asked lately it is asked all the same, together with whoever else asks, and what it answers shows nothing.
pub(super) async fn ask_for_nobody(
    core: &Rc<Core>,
    question: &Arc<Question>,
    youngest: Option<Duration>,
    kept: Kept,
    until: Instant,
) -> Result<(), Refusal> {
    match kept {
        Kept::No | Kept::Lately => Ok(()),
        Kept::Stale(refusal) => Err(refusal),
        Kept::Unasked => {
            let wish = Wish { youngest, unstored: true, ..Wish::default() };
            match obtain(core, question, wish, until).await {
                Ok(Fetched { kept: Kept::Stale(refusal), .. }) => Err(refusal),
                // About somebody unknown it would not be that.
                Ok(_) | Err(Refusal::RecordTooLarge) => Ok(()),
                Err(refusal) => Err(refusal),
            }
        }
    }
}

/// A record that is about somebody else, or that cannot be read, is forgotten, and its connection not used again; so is one that lacks
/// something, which may be about anybody.
pub(super) fn forget<T>(
    core: &Core,
    question: &Question,
    origin: Option<Origin>,
    opened: Result<T, Refusal>,
) -> Result<T, Refusal> {
    if let Err(refusal) = &opened {
        core.node.cache.evict(question);
        // A record that lacks something is the register's own, and its connection in order.
        if let (Some(origin), false) = (origin, matches!(refusal, Refusal::RecordIncomplete)) {
            origin.condemn();
        }
    }
    opened
}

/// Counts what a register answered.
pub(super) fn counted(core: &Core, register: &RegisterId, answer: &Result<Answer, Unanswered>, took: Duration) {
    let Some(register) = core.node.upstream.get(register) else { return };
    match answer {
        Ok(answer) => match &answer.found {
            Some(Found::Record(_)) => register.ok.inc(),
            Some(Found::Unknown) => register.not_found.inc(),
            None => register.not_modified.inc(),
        },
        Err(unanswered) => match unanswered.refusal {
            Refusal::RegisterTimeout => register.timeout.inc(),
            Refusal::RegisterUnavailable => register.unavailable.inc(),
            Refusal::RegisterBusy { .. } => register.busy.inc(),
            _ => register.failed.inc(),
        },
    }
    register.took(took);
}

/// A fetch under way. Dropped before its end, as when the client goes away, it goes on by itself if others wait for it.
struct Errand {
    core: Rc<Core>,
    under_way: Option<(Box<Leader>, Asking)>,
    /// It has a task of its own: dropped with that, it is over.
    by_itself: bool,
}

type Asking = Pin<Box<dyn Future<Output = Result<Answer, Unanswered>>>>;

impl Errand {
    fn begin(core: &Rc<Core>, leader: Box<Leader>, until: Instant) -> Self {
        let (question, asker, compared) = (Arc::clone(leader.question()), Rc::clone(core), leader.compared());
        let asking: Asking = Box::pin(async move {
            let (pool, clock, wanted) = (&asker.pool, &asker.node.clock, question.wanted());
            let began = clock.now();
            let mut answer = forward::ask(pool, wanted, compared.validators(), until).await;
            if answer.as_ref().is_ok_and(|answer| compared.tells_nothing(answer)) {
                answer = forward::ask(pool, wanted, Validators::default(), until).await;
            }
            counted(&asker, question.register(), &answer, clock.now().duration_since(began));
            answer
        });
        Self { core: Rc::clone(core), under_way: Some((leader, asking)), by_itself: false }
    }

    /// To its end, for whoever waits and for the store.
    async fn run(mut self) {
        self.by_itself = true;
        let core = Rc::clone(&self.core);
        let (leader, answer) = self.await;
        // What it came to was told to those whom it concerns.
        let _ = leader.land(answer, core.node.clock.moment());
    }
}

impl Future for Errand {
    type Output = (Box<Leader>, Result<Answer, Unanswered>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some((_, asking)) = &mut self.under_way else { return Poll::Pending };
        let Poll::Ready(answer) = asking.as_mut().poll(cx) else { return Poll::Pending };
        match self.under_way.take() {
            Some((leader, _)) => Poll::Ready((leader, answer)),
            None => Poll::Pending,
        }
    }
}

impl Drop for Errand {
    fn drop(&mut self) {
        if let Some((leader, asking)) = self.under_way.take()
            && !self.by_itself
            && leader.is_awaited()
        {
            // Even if it is dropped before it has begun, that is its end.
            let rest = Self { core: Rc::clone(&self.core), under_way: Some((leader, asking)), by_itself: true };
            tokio::task::spawn_local(rest.run());
        }
    }
}

/// How often a request looks for what others fetch before it fetches by itself.
const MOST_LOOKS: u32 = 4;
