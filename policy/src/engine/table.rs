//! What one (system, operation, purpose) gets of each field.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::cedar::{Force, Phase};
use crate::condition::{Expr, Failed};
use crate::disclose::Treatments;
use crate::engine::Facts;
use crate::engine::ladder::{Ladder, Standing};
use crate::engine::memo::Memo;
use crate::model::{FieldIx, FieldSet, Treatment};
use crate::permit::Env;

/// What one (system, operation, purpose) gets of each field, as far as it is known before the request, and the conditions that decide
/// the rest. It knows nothing of who, what and why it was made for: equal tables are one.
#[derive(Debug)]
pub struct Table {
    pub(super) fixed: Arc<Outcome>,
    pub(super) conditions: Box<[Condition]>,
    pub(super) late: Box<[Late]>,
    /// What was decided before, by verdicts on the circumstances.
    decided: Memo<Verdicts, Decided>,
    /// What was decided before about records, where no field waits for the circumstances alone.
    by_record: Memo<Verdicts, Arc<Outcome>>,
}

/// What each field gets, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Outcome {
    /// What is decided; an undecided field is withheld.
    pub(crate) treatments: Treatments,
    /// The most that each field can still get. Equal to `treatments` where all is decided.
    pub(crate) most: Treatments,
    /// Fields that are withheld because a policy failed to evaluate.
    pub(crate) errors: FieldSet,
}

/// What some policies wait for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Condition {
    pub(super) phase: Phase,
    pub(super) expr: Expr,
}

/// Fields that the same conditions decide, once `phase` is reached.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Late {
    pub(super) phase: Phase,
    /// What is done where a condition holds, by its position in [`Table::conditions`].
    pub(super) forces: Box<[(Force, usize)]>,
    pub(super) fields: Box<[LateField]>,
}

/// A field with what the policies that are already decided give it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct LateField {
    pub(super) index: FieldIx,
    pub(super) ladder: Ladder,
    pub(super) standing: Standing,
}

/// An outcome, and what records made of it.
#[derive(Debug)]
struct Decided {
    outcome: Arc<Outcome>,
    by_record: Memo<Verdicts, Arc<Outcome>>,
}

/// Which conditions hold and which failed, one bit each by position; those that were not looked at do neither.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
struct Verdicts {
    hold: u128,
    failed: u128,
}

impl LateField {
    /// The treatment, given the forces that are satisfied beside those that were before.
    pub(super) fn treatment(&self, forces: impl Iterator<Item = Force>) -> Treatment {
        self.ladder.treatment(forces.fold(self.standing, |standing, force| self.ladder.apply(standing, force)))
    }
}

impl Table {
    pub(super) fn new(fixed: Outcome, conditions: Vec<Condition>, late: Vec<Late>) -> Self {
        let count = |phase| conditions.iter().filter(|condition| condition.phase == phase).count();
        let memo_of_records = || Memo::of_conditions(if count(Phase::Record) == 0 { 0 } else { conditions.len() });
        Self {
            decided: Memo::of_conditions(count(Phase::Env)),
            by_record: memo_of_records(),
            fixed: Arc::new(fixed),
            conditions: conditions.into(),
            late: late.into(),
        }
    }

    /// Withholds everything.
    pub(super) fn closed() -> Self {
        Self::new(Outcome::closed(0), Vec::new(), Vec::new())
    }

    /// What it takes in memory, with what it remembers. Bytes, estimated.
    pub(super) fn bytes(&self) -> usize {
        let remembered = |memo: &Memo<Verdicts, Arc<Outcome>>| memo.bytes(|outcome| outcome.bytes());
        let decided = |decided: &Decided| decided.outcome.bytes() + remembered(&decided.by_record);
        let late: usize = self
            .late
            .iter()
            .map(|late| size_of_val(late) + size_of_val(&*late.forces) + size_of_val(&*late.fields))
            .sum();
        let conditions: usize = self.conditions.iter().map(|condition| condition.expr.bytes()).sum();
        let memos = self.decided.bytes(decided) + remembered(&self.by_record);
        size_of_val(self) + self.fixed.bytes() + late + conditions + memos
    }

    /// Whether it is the same for everybody whom it can be asked about.
    fn key(&self) -> (&Outcome, &[Condition], &[Late]) {
        (&self.fixed, &self.conditions, &self.late)
    }

    /// What is known once the request's circumstances are. Allocates only what was never decided before.
    pub(crate) fn at_request(&self, env: &Env) -> Arc<Outcome> {
        if !self.waits_for(Phase::Env) {
            return Arc::clone(&self.fixed);
        }
        let wanted = |condition: &Condition| condition.phase == Phase::Env;
        let decided = |verdicts: &dyn Fn(usize) -> Result<bool, Failed>| Decided {
            outcome: Arc::new(self.resolve(Phase::Env, &self.fixed, verdicts)),
            by_record: self.by_record.alike(),
        };
        match self.verdicts(wanted, env, &|_| None) {
            Some(verdicts) => {
                self.decided.with(verdicts, || decided(&|at| verdicts.of(at)), |decided| Arc::clone(&decided.outcome))
            }
            None => decided(&|at| self.holds(at, env, &|_| None)).outcome,
        }
    }

    /// What is known once the record is; `known` is what was known before, be it less than [`Table::at_request`] said.
    pub(crate) fn at_record(&self, known: &Arc<Outcome>, env: &Env, facts: Facts<'_, '_>) -> Arc<Outcome> {
        if !self.waits_for(Phase::Record) {
            return Arc::clone(known);
        }
        let outcome =
            |verdicts: &dyn Fn(usize) -> Result<bool, Failed>| Arc::new(self.resolve(Phase::Record, known, verdicts));
        // What the circumstances decided is not asked again for each record.
        let before = if Arc::ptr_eq(known, &self.fixed) {
            (!self.waits_for(Phase::Env)).then_some((Verdicts::default(), &self.by_record))
        } else {
            let decided = self.decided.find(|decided| Arc::ptr_eq(&decided.outcome, known));
            decided.map(|(verdicts, decided)| (*verdicts, &decided.by_record))
        };
        let verdicts = match before {
            Some((of_env, _)) => self
                .verdicts(|condition| condition.phase == Phase::Record, env, facts)
                .map(|of_record| of_env.with(of_record)),
            None => self.verdicts(|_| true, env, facts),
        };
        let Some(verdicts) = verdicts else {
            return outcome(&|at| self.holds(at, env, facts));
        };
        let outcome = || outcome(&|at| verdicts.of(at));
        match before {
            Some((_, by_record)) => by_record.with(verdicts, outcome, Arc::clone),
            None => outcome(),
        }
    }

    /// Whether something is decided then.
    fn waits_for(&self, phase: Phase) -> bool {
        self.late.iter().any(|late| late.is_decided_at(phase, self))
    }

    /// `None` if they are too many.
    fn verdicts(&self, wanted: impl Fn(&Condition) -> bool, env: &Env, facts: Facts<'_, '_>) -> Option<Verdicts> {
        let mut verdicts = Verdicts::default();
        if self.conditions.len() > MOST_CONDITIONS {
            return None;
        }
        let mut bit = 1_u128;
        for condition in &self.conditions {
            if wanted(condition) {
                match condition.expr.holds(env, facts) {
                    Ok(true) => verdicts.hold |= bit,
                    Ok(false) => {}
                    Err(Failed) => verdicts.failed |= bit,
                }
            }
            bit <<= 1;
        }
        Some(verdicts)
    }

    fn holds(&self, at: usize, env: &Env, facts: Facts<'_, '_>) -> Result<bool, Failed> {
        self.conditions.get(at).map_or(Err(Failed), |condition| condition.expr.holds(env, facts))
    }

    fn resolve(&self, phase: Phase, known: &Outcome, verdict: &dyn Fn(usize) -> Result<bool, Failed>) -> Outcome {
        let mut outcome = known.clone();
        for late in self.late.iter().filter(|late| late.is_decided_at(phase, self)) {
            let satisfied = late.satisfied(phase, self, verdict);
            for field in &late.fields {
                let (treatment, most) = match &satisfied {
                    Ok(forces) => {
                        let now = field.treatment(forces.iter().copied());
                        if phase == late.phase {
                            (now, now)
                        } else {
                            let hoped = late.hoped(self);
                            (Treatment::Withhold, field.treatment(forces.iter().copied().chain(hoped)))
                        }
                    }
                    Err(Failed) => {
                        outcome.errors.insert(field.index);
                        (Treatment::Withhold, Treatment::Withhold)
                    }
                };
                outcome.set(field.index, treatment, most);
            }
        }
        outcome
    }

    fn phase_of(&self, condition: usize) -> Phase {
        self.conditions.get(condition).map_or(Phase::Record, |condition| condition.phase)
    }
}

impl Late {
    /// Whether that phase tells something of its fields: its own, or the circumstances if some of its policies ask for no more.
    fn is_decided_at(&self, phase: Phase, table: &Table) -> bool {
        phase == self.phase
            || (phase == Phase::Env && self.forces.iter().any(|(_, at)| table.phase_of(*at) == Phase::Env))
    }

    /// What the policies do that can be evaluated then; every one is looked at, for one that failed withholds whatever others say.
    fn satisfied(
        &self,
        phase: Phase,
        table: &Table,
        verdict: &dyn Fn(usize) -> Result<bool, Failed>,
    ) -> Result<Vec<Force>, Failed> {
        let mut forces = Vec::new();
        for (force, at) in self.forces.iter().filter(|(_, at)| table.phase_of(*at) <= phase) {
            if verdict(*at)? {
                forces.push(*force);
            }
        }
        Ok(forces)
    }

    /// The permits that need the record, taken for granted until then.
    fn hoped<'l>(&'l self, table: &'l Table) -> impl Iterator<Item = Force> + 'l {
        let waits =
            |(force, at): &&(Force, usize)| matches!(force, Force::Permit(_)) && table.phase_of(*at) == Phase::Record;
        self.forces.iter().filter(waits).map(|(force, _)| *force)
    }
}

impl Verdicts {
    /// Those of other conditions too.
    fn with(self, others: Self) -> Self {
        Self { hold: self.hold | others.hold, failed: self.failed | others.failed }
    }

    fn of(self, at: usize) -> Result<bool, Failed> {
        let bit = 1_u128.checked_shl(u32::try_from(at).unwrap_or(u32::MAX)).unwrap_or(0);
        if self.failed & bit == 0 { Ok(self.hold & bit != 0) } else { Err(Failed) }
    }
}

impl Outcome {
    /// Everything withheld.
    pub(super) fn closed(fields: usize) -> Self {
        let withheld = Treatments(vec![Treatment::Withhold; fields].into());
        Self { treatments: withheld.clone(), most: withheld, errors: FieldSet::EMPTY }
    }

    fn bytes(&self) -> usize {
        size_of_val(self) + self.treatments.0.len() * 2 * size_of::<Treatment>()
    }

    pub(crate) fn set(&mut self, field: FieldIx, treatment: Treatment, most: Treatment) {
        for (treatments, value) in [(&mut self.treatments, treatment), (&mut self.most, most)] {
            if let Some(slot) = treatments.0.get_mut(usize::from(field.0)) {
                *slot = value;
            }
        }
    }
}

// What was decided before makes no difference.
impl PartialEq for Table {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Table {}

impl Hash for Table {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

/// How many conditions of a table have a bit.
const MOST_CONDITIONS: usize = 128;
