//! What one party (a system, or an agency as a whole) may ask, with what was used of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use popgate_policy::directory::{Amount, Bound, Limits, Names};
use popgate_policy::model::{OperationId, PurposeId};

use super::bucket::{Bucket, Bytes, Left};
use super::quota::{Period, Quota};
use super::standing::Standing;
use super::{Around, Effect, Over};

/// The limits of one party.
#[derive(Debug)]
pub(super) struct Gate {
    fixed: Arc<Fixed>,
    /// By the operation's index; made when it is first asked for.
    operations: Box<[OnceLock<Arc<OfOperation>>]>,
    ids: Arc<[OperationId]>,
}

/// What does not depend on which operations there are.
#[derive(Debug)]
struct Fixed {
    /// `system tax/etax`, `agency tax`.
    party: String,
    limits: Limits,
    names: &'static Names,
    total: Option<Bucket>,
    purposes: BTreeMap<PurposeId, Bucket>,
    bytes: Option<Bytes>,
    quotas: Vec<(&'static str, Quota)>,
    /// What is only warned of.
    soft: Option<Box<Gate>>,
    uses: Arc<Uses>,
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
            let share = around.share.map(|share| (share, around.clock));
            most.map(|most| (name, around.quotas.quota(&party, period, most.get(), share)))
        };
        let quotas =
            [quota(names.day, Period::Day, limits.per_day), quota(names.month, Period::Month, limits.per_month)];
        let soft = limits.soft.as_deref().map(|soft| {
            let party = format!("{party} (soft)");
            Box::new(Self::new(party, soft, names, ids, Arc::clone(&uses), around))
        });
        let of_purpose =
            |(purpose, rate): (&PurposeId, &_)| (purpose.clone(), bucket(&format!("purpose {purpose}"), rate));
        let fixed = Fixed {
            limits: limits.clone(),
            names,
            total: limits.total.as_ref().map(|rate| bucket("total", rate)),
            purposes: limits.purposes.iter().map(of_purpose).collect(),
            bytes: limits.bytes.map(|volume| Bytes::new(volume, around.clock.now())),
            quotas: quotas.into_iter().flatten().collect(),
            soft,
            uses,
            told: AtomicI64::new(0),
            party,
        };
        let operations = ids.iter().map(|_| OnceLock::new()).collect();
        Self { fixed: Arc::new(fixed), operations, ids: Arc::clone(ids) }
    }

    /// The same gate, with what was used of it, for a bundle that has other operations.
    pub(super) fn renewed(&self, ids: &Arc<[OperationId]>) -> Self {
        let known: HashMap<&str, &Arc<OfOperation>> =
            self.ids.iter().zip(&self.operations).filter_map(|(id, of)| Some((id.as_str(), of.get()?))).collect();
        let of =
            |id: &OperationId| known.get(id.as_str()).map_or_else(OnceLock::new, |of| OnceLock::from(Arc::clone(of)));
        Self { fixed: Arc::clone(&self.fixed), operations: ids.iter().map(of).collect(), ids: Arc::clone(ids) }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.fixed.limits
    }

    pub(super) fn ids(&self) -> &Arc<[OperationId]> {
        &self.ids
    }

    pub(super) fn uses(&self) -> &Arc<Uses> {
        &self.fixed.uses
    }

    /// Takes one token of every rate of a request for an operation.
    pub(super) fn take(&self, operation: usize, around: &Around<'_>, standing: &mut Standing) -> Result<(), Over> {
        let Fixed { names, total, bytes, soft, .. } = &*self.fixed;
        if let Some(bucket) = self.of(operation, around).and_then(|it| it.bucket.as_ref()) {
            self.judge(names.operation, bucket.take(), around, standing)?;
        }
        if let Some(bucket) = total {
            self.judge(names.total, bucket.take(), around, standing)?;
        }
        if let Some(bytes) = bytes {
            self.judge(names.bytes, bytes.check(around.clock.now()), around, standing)?;
        }
        if let Some(soft) = soft {
            // What is only warned of refuses nothing, and the caller is not told of it.
            let _ = soft.take(operation, &around.softly(), &mut Standing::default());
            soft.warn_of_slots(&around.softly());
        }
        Ok(())
    }

    /// Takes one of each quota, or none.
    pub(super) fn take_quotas(&self, around: &Around<'_>, standing: &mut Standing) -> Result<(), Over> {
        let mut taken = Vec::new();
        for (name, quota) in &self.fixed.quotas {
            match self.judge(name, quota.take(around.clock), around, standing) {
                Ok(()) => taken.push(quota),
                Err(over) => {
                    taken.into_iter().for_each(Quota::give_back);
                    return Err(Over { of_quota: !over.is_soon(), ..over });
                }
            }
        }
        if let Some(soft) = &self.fixed.soft {
            let _ = soft.take_quotas(&around.softly(), &mut Standing::default());
        }
        Ok(())
    }

    /// Gives back what a request used of quotas that another party's refused.
    pub(super) fn give_back(&self) {
        self.fixed.quotas.iter().for_each(|(_, quota)| quota.give_back());
        if let Some(soft) = &self.fixed.soft {
            soft.give_back();
        }
    }

    /// Takes a token of a purpose.
    pub(super) fn take_purpose(
        &self,
        purpose: &PurposeId,
        around: &Around<'_>,
        standing: &mut Standing,
    ) -> Result<(), Over> {
        let Fixed { names, purposes, soft, limits, .. } = &*self.fixed;
        if let (Some(bucket), Some(rate)) = (purposes.get(purpose), limits.purposes.get(purpose)) {
            standing.under_too(Bound { name: names.purpose, amount: Amount::Rate(*rate) });
            self.judge(names.purpose, bucket.take(), around, standing)?;
        }
        if let Some(soft) = soft {
            let _ = soft.take_purpose(purpose, &around.softly(), &mut Standing::default());
        }
        Ok(())
    }

    /// Takes a slot, which the holder gives back by [`Gate::leave`] whatever comes of it.
    pub(super) fn enter(&self, around: &Around<'_>) -> Result<(), Over> {
        let before = self.fixed.uses.in_flight.fetch_add(1, Ordering::Relaxed);
        match self.fixed.limits.concurrent {
            Some(most) if before >= most.get() => {
                self.judge(self.fixed.names.concurrent, Err(Duration::from_secs(1)), around, &mut Standing::default())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn leave(&self) {
        self.fixed.uses.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Charges bytes that were received or sent.
    pub(super) fn charge(&self, bytes: u64, around: &Around<'_>) {
        if let Some(meter) = &self.fixed.bytes {
            meter.charge(bytes, around.clock.now());
        }
        if let Some(soft) = &self.fixed.soft {
            soft.charge(bytes, around);
        }
    }

    /// The bounds of an operation, as clients are told.
    pub(super) fn bounds(&self, operation: usize, around: &Around<'_>) -> &[Bound] {
        self.of(operation, around).map_or(&[], |it| &it.bounds)
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
        let (now, before) = (around.clock.wall().as_second(), self.fixed.told.load(Ordering::Relaxed));
        let is_time = now - before >= TELL_EVERY;
        if is_time && self.fixed.told.compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            tracing::warn!(party = self.fixed.party, limit, effect = around.effect.as_str(), "a limit is reached");
        }
    }

    fn warn_of_slots(&self, around: &Around<'_>) {
        if let Some(most) = self.fixed.limits.concurrent
            && self.fixed.uses.in_flight.load(Ordering::Relaxed) > most.get()
        {
            let _ = self.judge(self.fixed.names.concurrent, Err(Duration::ZERO), around, &mut Standing::default());
        }
    }

    fn of(&self, operation: usize, around: &Around<'_>) -> Option<&OfOperation> {
        let id = self.ids.get(operation)?.as_str();
        let Fixed { limits, names, party, .. } = &*self.fixed;
        let made = || {
            let name = format!("{party} operation {id}");
            let bucket = limits.of(id).map(|rate| Bucket::new(*rate, &name, around.share, around.clock));
            Arc::new(OfOperation { bucket, bounds: limits.bounds(names, id, None) })
        };
        Some(self.operations.get(operation)?.get_or_init(made))
    }
}

/// How often the log says of one party that a limit is reached that refuses nothing, in seconds.
const TELL_EVERY: i64 = 60;
