//! What one party (a system, or an agency as a whole) may ask, with what was used of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::HeaderValue;
use popgate_policy::directory::{Bound, Limits, Names};
use popgate_policy::model::{OperationId, PurposeId};

use super::bucket::{Bucket, Bytes, Left};
use super::harvest::Rules;
use super::quota::{Period, Quota};
use super::standing::{self, Standing};
use super::watch::Watched;
use super::{Around, Effect, Over};

/// The limits of one party.
#[derive(Debug)]
pub(super) struct Gate {
    /// `system tax/etax`, `agency tax`.
    party: String,
    pub(super) limits: Limits,
    names: &'static Names,
    /// By the operation's index; made when it is first asked for.
    operations: Box<[OnceLock<Box<OfOperation>>]>,
    pub(super) ids: Arc<[OperationId]>,
    total: Option<Bucket>,
    purposes: BTreeMap<PurposeId, Bucket>,
    bytes: Option<Bytes>,
    quotas: Vec<(&'static str, Quota)>,
    /// What is only warned of.
    soft: Option<Box<Self>>,
    pub(super) uses: Arc<Uses>,
    /// What the harvest guard sees of it, and by which rules it judges.
    pub(super) watched: Arc<Watched>,
    pub(super) rules: Rules,
    /// When it was last logged that a soft limit is reached, in seconds since 1970.
    told: AtomicI64,
}

/// What is used now; the same over changes of limits.
#[derive(Debug, Default)]
pub(super) struct Uses {
    pub(super) in_flight: AtomicU32,
    pub(super) connections: AtomicU32,
}

#[derive(Debug)]
struct OfOperation {
    bucket: Option<Bucket>,
    bounds: Vec<Bound>,
    policy: OnceLock<HeaderValue>,
}

impl Gate {
    pub(super) fn new(
        party: String,
        limits: &Limits,
        names: &'static Names,
        ids: &Arc<[OperationId]>,
        uses: Arc<Uses>,
        around: &Around<'_>,
    ) -> Self {
        let bucket = |name: &str, rate: &_| Bucket::new(*rate, &format!("{party} {name}"), around.share, around.clock);
        let quota = |name, period, most: Option<std::num::NonZeroU32>| {
            most.map(|most| {
                (name, around.quotas.quota(&party, period, most.get(), around.share.map(|share| (share, around.clock))))
            })
        };
        let quotas =
            [quota(names.day, Period::Day, limits.per_day), quota(names.month, Period::Month, limits.per_month)];
        let soft = limits.soft.as_deref().map(|soft| {
            let party = format!("{party} (soft)");
            Box::new(Self::new(party, soft, names, ids, Arc::clone(&uses), around))
        });
        Self {
            limits: limits.clone(),
            names,
            operations: ids.iter().map(|_| OnceLock::new()).collect(),
            ids: Arc::clone(ids),
            total: limits.total.as_ref().map(|rate| bucket("total", rate)),
            purposes: limits
                .purposes
                .iter()
                .map(|(purpose, rate)| (purpose.clone(), bucket(&format!("purpose {purpose}"), rate)))
                .collect(),
            bytes: limits.bytes.map(|volume| Bytes::new(volume, around.clock.now())),
            quotas: quotas.into_iter().flatten().collect(),
            soft,
            uses,
            watched: around.watch.party(&party),
            rules: around.watch.rules(limits),
            told: AtomicI64::new(0),
            party,
        }
    }

    /// Takes one token of every limit of a request for an operation, quotas last: who is refused for another reason uses none.
    pub(super) fn take(&self, operation: usize, around: &Around<'_>, standing: &mut Standing) -> Result<(), Over> {
        let (names, clock) = (self.names, around.clock);
        if let Some(bucket) = self.of(operation, around).and_then(|it| it.bucket.as_ref()) {
            self.judge(names.operation, bucket.take(), around, standing)?;
        }
        if let Some(bucket) = &self.total {
            self.judge(names.total, bucket.take(), around, standing)?;
        }
        if let Some(bytes) = &self.bytes {
            self.judge(names.bytes, bytes.check(clock.now()), around, standing)?;
        }
        let mut taken = Vec::new();
        for (name, quota) in &self.quotas {
            match self.judge(name, quota.take(clock), around, standing) {
                Ok(()) => taken.push(quota),
                Err(over) => {
                    taken.into_iter().for_each(Quota::give_back);
                    return Err(Over { of_quota: true, ..over });
                }
            }
        }
        if let Some(soft) = &self.soft {
            // What is only warned of refuses nothing, and the caller is not told of it.
            let _ = soft.take(operation, &around.softly(), &mut Standing::default());
            soft.warn_of_slots(&around.softly());
        }
        Ok(())
    }

    /// Gives back what a request used of quotas that another party's limits refused.
    pub(super) fn give_back(&self) {
        self.quotas.iter().for_each(|(_, quota)| quota.give_back());
    }

    /// Takes a token of a purpose.
    pub(super) fn take_purpose(
        &self,
        purpose: &PurposeId,
        around: &Around<'_>,
        standing: &mut Standing,
    ) -> Result<(), Over> {
        if let Some(bucket) = self.purposes.get(purpose) {
            self.judge(self.names.purpose, bucket.take(), around, standing)?;
        }
        if let Some(soft) = &self.soft {
            let _ = soft.take_purpose(purpose, &around.softly(), &mut Standing::default());
        }
        Ok(())
    }

    /// Takes a slot, which the holder gives back by [`Gate::leave`] whatever comes of it.
    pub(super) fn enter(&self, around: &Around<'_>) -> Result<(), Over> {
        let before = self.uses.in_flight.fetch_add(1, Ordering::Relaxed);
        match self.limits.concurrent {
            Some(most) if before >= most.get() => {
                self.judge(self.names.concurrent, Err(Duration::from_secs(1)), around, &mut Standing::default())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn leave(&self) {
        self.uses.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Charges bytes that were received or sent.
    pub(super) fn charge(&self, bytes: u64, around: &Around<'_>) {
        if let Some(meter) = &self.bytes {
            meter.charge(bytes, around.clock.now());
        }
        if let Some(soft) = &self.soft {
            soft.charge(bytes, around);
        }
    }

    /// The bounds of an operation, as clients are told.
    pub(super) fn bounds(&self, operation: usize, around: &Around<'_>) -> &[Bound] {
        self.of(operation, around).map_or(&[], |it| &it.bounds)
    }

    /// The header that tells of them: these and those of the agency.
    pub(super) fn policy(&self, agency: &Self, operation: usize, around: &Around<'_>) -> Option<HeaderValue> {
        let of = self.of(operation, around)?;
        let policy = of.policy.get_or_init(|| {
            let mut bounds = of.bounds.clone();
            bounds.extend_from_slice(agency.bounds(operation, around));
            standing::policy(&bounds)
        });
        Some(policy.clone())
    }

    /// Notes what is left, or that a limit is reached: whether that refuses is the effect's.
    pub(super) fn judge(
        &self,
        limit: &'static str,
        taken: Result<Left, Duration>,
        around: &Around<'_>,
        standing: &mut Standing,
    ) -> Result<(), Over> {
        let wait = match taken {
            Ok(left) => {
                standing.note(limit, left);
                return Ok(());
            }
            Err(wait) => wait,
        };
        around.metrics.reached(limit, around.effect.as_str());
        if around.effect == Effect::Refused {
            standing.over(limit, wait);
            return Err(Over { limit, wait, of_quota: false });
        }
        self.tell(limit, around);
        Ok(())
    }

    /// Says in the log that a limit is reached that refuses nothing, now and then.
    fn tell(&self, limit: &'static str, around: &Around<'_>) {
        let (now, before) = (around.clock.wall().as_second(), self.told.load(Ordering::Relaxed));
        let is_time = now - before >= TELL_EVERY;
        if is_time && self.told.compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            tracing::warn!(party = self.party, limit, effect = around.effect.as_str(), "a limit is reached");
        }
    }

    fn warn_of_slots(&self, around: &Around<'_>) {
        if let Some(most) = self.limits.concurrent
            && self.uses.in_flight.load(Ordering::Relaxed) > most.get()
        {
            let _ = self.judge(self.names.concurrent, Err(Duration::ZERO), around, &mut Standing::default());
        }
    }

    fn of(&self, operation: usize, around: &Around<'_>) -> Option<&OfOperation> {
        let id = self.ids.get(operation)?;
        Some(self.operations.get(operation)?.get_or_init(|| {
            Box::new(OfOperation {
                bucket: self.limits.of(id.as_str()).map(|rate| {
                    Bucket::new(*rate, &format!("{} operation {id}", self.party), around.share, around.clock)
                }),
                bounds: self.limits.bounds(self.names, id.as_str(), None),
                policy: OnceLock::new(),
            })
        }))
    }
}

/// How often the log says of one party that a limit is reached that refuses nothing, in seconds.
const TELL_EVERY: i64 = 60;
