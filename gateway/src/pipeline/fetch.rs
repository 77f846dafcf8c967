//! Fetch: the record out of the cache, out of a fetch under way, or from the register.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use popgate_policy::contract::UpstreamRequest;
use popgate_policy::model::{AgencyId, RegisterId};
use popgate_policy::permit::Permit;

use super::exchange::Exchange;
use super::{class, deadline};
use crate::app::Core;
use crate::cache::{Fetched, Followed, Kept, Leader, Lookup, Validators, Wish};
use crate::forward::{self, Answer, Found, Origin, Unanswered, Wanted};
use crate::refusal::Refusal;

/// The record that a permit needs, no older than its caller wants it.
pub(super) async fn fetch(
    core: &Rc<Core>,
    permit: &Permit,
    youngest: Option<Duration>,
    until: Instant,
    exchange: &mut Exchange,
) -> Result<Fetched, Refusal> {
    let clock = &core.node.clock;
    let mut wish = Wish { youngest, ..Wish::default() };
    let mut looks = 0;
    loop {
        looks += 1;
        wish.alone = looks > MOST_LOOKS;
        match core.node.cache.lookup(permit, wish, clock.moment()) {
            Lookup::Hit(hit) => {
                if let Some(leader) = hit.refresh {
                    let errand = Errand::begin(core, permit, leader, deadline(core, permit.upstream()));
                    tokio::task::spawn_local(errand.run());
                }
                exchange.found(hit.source, hit.life, hit.own);
                return Ok(Fetched { found: hit.found, origin: None, kept: hit.kept });
            }
            Lookup::Follow(mut follower) => {
                // One that takes long, or fails, fails nobody else: it is made once more, for all others at once.
                let again = wish.avoided.is_none();
                let left = until.saturating_duration_since(clock.now());
                let patience = if again { left / 4 * 3 } else { left };
                match tokio::time::timeout(patience, follower.landed(|| clock.moment())).await {
                    Ok(Followed::Served(fetched, source)) => {
                        exchange.fetched(source);
                        return Ok(fetched);
                    }
                    Ok(Followed::Again) => {}
                    Ok(Followed::Failed(_)) | Err(_) if again => wish.avoided = Some(follower.flight()),
                    Ok(Followed::Failed(refusal)) => return Err(refusal),
                    Err(_) => return Err(Refusal::RegisterTimeout),
                }
            }
            Lookup::Lead(leader) => {
                let (leader, answer) = Errand::begin(core, permit, leader, until).await;
                let (fetched, source) = leader.land(answer, clock.moment())?;
                exchange.fetched(source);
                return Ok(fetched);
            }
        }
    }
}

/// "No match" about a record that was stored would come sooner than about a person whom nobody knows, and also while the register fails:
/// unless the register was asked lately it is asked all the same, and what it answers is dropped.
pub(super) async fn ask_for_nobody(core: &Core, wanted: Wanted<'_>, kept: Kept, until: Instant) -> Result<(), Refusal> {
    match kept {
        Kept::No | Kept::Lately => Ok(()),
        Kept::Stale(refusal) => Err(refusal),
        Kept::Unasked(unasked) => {
            let began = core.node.clock.now();
            let answer = Box::pin(forward::ask(&core.pool, wanted, Validators::default(), until)).await;
            let now = core.node.clock.now();
            counted(core, wanted.register(), &answer, now.duration_since(began));
            match answer {
                Err(unanswered) if unanswered.failing => Err(unanswered.refusal),
                Ok(_) | Err(_) => {
                    unasked.asked(now);
                    Ok(())
                }
            }
        }
    }
}

/// A record that is about somebody else, or that cannot be read, is forgotten, and its connection not used again; so is one that lacks
/// something, which may be about anybody.
pub(super) fn forget<T>(
    core: &Core,
    upstream: &UpstreamRequest,
    agency: &AgencyId,
    origin: Option<Origin>,
    opened: Result<T, Refusal>,
) -> Result<T, Refusal> {
    if let Err(refusal) = &opened {
        core.node.cache.evict(upstream, agency);
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
}

type Asking = Pin<Box<dyn Future<Output = Result<Answer, Unanswered>>>>;

impl Errand {
    fn begin(core: &Rc<Core>, permit: &Permit, leader: Box<Leader>, until: Instant) -> Self {
        let (upstream, subject) = (permit.upstream().clone(), permit.subject().cloned());
        let (most_bytes, class) = (permit.operation().most_bytes(), class(permit));
        let (asker, compared) = (Rc::clone(core), leader.compared());
        let asking: Asking = Box::pin(async move {
            let (pool, clock) = (&asker.pool, &asker.node.clock);
            let began = clock.now();
            let wanted = Wanted::record_of(&upstream, most_bytes, class).about(subject.as_ref());
            let mut answer = forward::ask(pool, wanted, compared.validators(), until).await;
            if answer.as_ref().is_ok_and(|answer| compared.tells_nothing(answer)) {
                answer = forward::ask(pool, wanted, Validators::default(), until).await;
            }
            counted(&asker, &upstream.register, &answer, clock.now().duration_since(began));
            answer
        });
        Self { core: Rc::clone(core), under_way: Some((leader, asking)) }
    }

    /// To its end, for whoever waits and for the store.
    async fn run(self) {
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
            && leader.is_awaited()
        {
            let rest = Self { core: Rc::clone(&self.core), under_way: Some((leader, asking)) };
            tokio::task::spawn_local(rest.run());
        }
    }
}

/// How often a request looks for what others fetch before it fetches by itself.
const MOST_LOOKS: u32 = 4;
