//! One request to a register: which targets are asked, one after the other or two at once, and what is learnt of them.

use std::cell::Cell;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use http::{Method, Request, Response};
use popgate_policy::disclose::Raw;
use popgate_policy::model::{Personal, RegisterId};

use super::Origin;
use super::breaker::Way;
use super::fleet::{Event, Target, Try, hash_of};
use super::pool::{Pool, Sent, Trouble};
use super::registers::Register;

/// What a register is asked.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// Which register.
    pub register: &'a RegisterId,
    /// The path, query and headers. It MUST be a read: it may be asked more than once.
    pub request: &'a Request<()>,
    /// The longest answer that is read.
    pub most_bytes: usize,
    /// Whom it is about, or what: for registers that are asked about the same person at the same target.
    pub subject: &'a Personal<String>,
    /// When nobody waits for it any more.
    pub until: Instant,
    /// Whether an answer is one that a register gives that is well.
    pub is_well: &'a (dyn Fn(&Response<Raw>) -> bool + Sync),
}

type Answered = Result<(Response<Raw>, Origin), Trouble>;

/// What is tried of one question.
struct Tries<'a> {
    pool: &'a Pool,
    register: &'a Register,
    generation: u64,
    question: Question<'a>,
    subject: Option<u64>,
    tried: [u64; MOST_TRIES],
    count: usize,
}

impl Pool {
    /// Asks a register, and receives the whole answer, sealed. A try that fails is made again once, at another target, within the
    /// register's budget; a target that could not be connected to was asked nothing, and the next one is taken.
    ///
    /// # Errors
    /// [`Trouble`], of the last target that was tried.
    pub async fn ask(&self, question: Question<'_>) -> Answered {
        let registers = self.registers();
        let Some(register) = registers.register(question.register) else {
            let missing = format!("no [registers.{}] in the configuration", question.register);
            return Err(Trouble::Unreachable(std::io::Error::new(std::io::ErrorKind::NotFound, missing)));
        };
        let (fleet, now) = (&register.fleet, self.now());
        if fleet.way(now) == Way::Open {
            register.metrics.not_asked.inc();
            return Err(Trouble::Open);
        }
        fleet.deposit(now);
        let by_subject = register.config.rules.balance == super::fleet::Balance::Subject;
        let subject = by_subject.then(|| hash_of(question.subject.expose()));
        let generation = registers.generation();
        let mut tries = Tries { pool: self, register, generation, question, subject, tried: [0; MOST_TRIES], count: 0 };
        let answered = tries.answered().await;
        let well = match &answered {
            Ok((response, _)) => (question.is_well)(response),
            Err(Trouble::TooLarge) => true,
            // That the gateway asks too much says nothing of the register.
            Err(Trouble::Busy) => return answered,
            Err(_) => false,
        };
        match fleet.ended(well, self.now()) {
            Some(Way::Open) => {
                tracing::error!(register = %question.register, "nearly everything fails: the register is not asked for a while");
            }
            Some(_) => tracing::warn!(register = %question.register, "the register answers again"),
            None => {}
        }
        answered
    }
}

impl Tries<'_> {
    async fn answered(&mut self) -> Answered {
        let Some(mut attempt) = self.next() else { return Err(Trouble::Busy) };
        let mut retried = false;
        loop {
            let answered = match self.register.config.hedge_after {
                Some(after) if !retried && self.question.request.method() == Method::GET => {
                    Box::pin(self.raced(attempt, after)).await
                }
                _ => {
                    let (bounds, began) = ((self.question, self.end(retried)), Cell::new(None));
                    let of = (self.register, self.generation);
                    let answered = exchange(self.pool, of, attempt.target(), bounds, &began).await;
                    self.learn(attempt, &answered, &began);
                    answered
                }
            };
            let costs = match &answered {
                Ok((response, _)) if (self.question.is_well)(response) => return answered,
                Err(Trouble::TooLarge) => return answered,
                // Nothing was asked.
                Err(Trouble::Unreachable(_) | Trouble::Busy) => false,
                Ok(_) | Err(_) => true,
            };
            let now = self.pool.now();
            if now >= self.question.until || (costs && retried) {
                return answered;
            }
            // Chosen first: what nobody is left for is not spent.
            let Some(next) = self.next() else { return answered };
            if costs {
                if !self.register.fleet.may_retry(now) {
                    self.register.metrics.retries_spent.inc();
                    return answered;
                }
                self.register.metrics.retries.inc();
                retried = true;
            }
            attempt = next;
        }
    }

    /// Asks a second target as well if the first one does not answer soon; who answers first is believed.
    async fn raced(&mut self, attempt: Try, after: std::time::Duration) -> Answered {
        let end = self.end(false);
        let (pool, register, generation, question) = (self.pool, self.register, self.generation, self.question);
        let (first_began, second_began) = (Cell::new(None), Cell::new(None));
        let one = Arc::clone(attempt.target());
        let is_well = |answered: &Answered| answered.as_ref().is_ok_and(|(response, _)| (question.is_well)(response));
        let mut first = pin!(exchange(pool, (register, generation), &one, (question, end), &first_began));
        let answered = tokio::select! {
            answered = &mut first => Some(answered),
            () = tokio::time::sleep(after) => None,
        };
        if let Some(answered) = answered {
            self.learn(attempt, &answered, &first_began);
            return answered;
        }
        let second = if self.register.fleet.may_hedge(self.pool.now()) { self.next() } else { None };
        let Some(second) = second else {
            let answered = first.await;
            self.learn(attempt, &answered, &first_began);
            return answered;
        };
        self.register.metrics.hedges.inc();
        let two = Arc::clone(second.target());
        let mut other = pin!(exchange(pool, (register, generation), &two, (question, end), &second_began));
        tokio::select! {
            answered = &mut first => {
                self.learn(attempt, &answered, &first_began);
                if is_well(&answered) {
                    return answered;
                }
                let answered = other.await;
                self.learn(second, &answered, &second_began);
                answered
            }
            answered = &mut other => {
                self.learn(second, &answered, &second_began);
                if is_well(&answered) {
                    self.register.metrics.hedges_won.inc();
                    // It is as slow as that at least.
                    attempt.outrun(self.pool.now());
                    return answered;
                }
                let answered = first.await;
                self.learn(attempt, &answered, &first_began);
                answered
            }
        }
    }

    fn learn(&self, mut attempt: Try, answered: &Answered, began: &Cell<Option<Instant>>) {
        let now = self.pool.now();
        attempt.sent(began.get());
        let target = Arc::clone(attempt.target());
        let event = match answered {
            Ok((response, _)) if (self.question.is_well)(response) => attempt.answered(now),
            Err(Trouble::TooLarge) => attempt.answered(now),
            // Nothing was learnt of it.
            Err(Trouble::Busy | Trouble::Open) => None,
            Err(Trouble::Unreachable(_)) => attempt.failed(false, now),
            Ok(_) | Err(Trouble::Late | Trouble::Broken(_)) => attempt.failed(true, now),
        };
        let register = self.question.register.as_str();
        match event {
            Some(Event::Ejected(cause)) => {
                self.register.metrics.ejected(cause);
                tracing::warn!(register, target = target.label(), cause = cause.as_str(), "a target is ejected");
            }
            Some(Event::Back) => tracing::info!(register, target = target.label(), "a target is back"),
            None => {}
        }
    }

    /// A target that was not tried yet.
    fn next(&mut self) -> Option<Try> {
        let tried = self.tried.get(..self.count)?;
        if self.count >= MOST_TRIES {
            return None;
        }
        let attempt = self.register.fleet.choose(self.subject, tried, self.pool.now())?;
        if let Some(slot) = self.tried.get_mut(self.count) {
            *slot = attempt.target().id();
        }
        self.count += 1;
        Some(attempt)
    }

    /// When a try is over: the first one leaves time for another, where there is another target.
    fn end(&self, retried: bool) -> Instant {
        let alone = self.register.fleet.targets().len() <= self.count;
        let first = self.pool.now() + self.register.config.try_timeout;
        if retried || alone { self.question.until } else { self.question.until.min(first) }
    }
}

/// One target's answer, in time. `began` is told when the question was sent.
async fn exchange(
    pool: &Pool,
    (register, generation): (&Register, u64),
    target: &Arc<Target>,
    (question, end): (Question<'_>, Instant),
    began: &Cell<Option<Instant>>,
) -> Answered {
    let sent = Sent { request: question.request, most_bytes: question.most_bytes, until: end, began };
    let exchange = pool.exchange(register, generation, target, sent);
    tokio::time::timeout_at(end.into(), exchange).await.unwrap_or(Err(Trouble::Late))
}

/// The most targets that one request is sent to.
const MOST_TRIES: usize = 4;
