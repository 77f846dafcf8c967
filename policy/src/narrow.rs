//! Narrowing: what a site takes away from a permit on top of its policies.
//!
//! [`Permit::narrow`] is the only way to change a permit. On each field's ladder the result is the stricter of the two, before the
//! request is put to the register and again once the record is known: whatever a [`Narrowing`] says, nothing can be added by it.

use std::collections::HashMap;
use std::sync::Arc;

use crate::contract::{Field, RecordSchema};
use crate::engine::{Ladder, Outcome, Question, Rank, could_answer, narrowed, unusable, widest};
use crate::model::{FieldIx, FieldName, GroupId, Personal, Treatment};
use crate::permit::Permit;

/// What is taken away. The default takes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Narrowing {
    caps: Vec<(Scope, Treatment)>,
    whole: Whole,
}

/// What becomes of the whole answer; the later the stricter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Whole {
    #[default]
    Given,
    Hidden,
    Refused(&'static str),
}

/// What a cap is put on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every field.
    Everything,
    /// The fields of a group.
    Group(GroupId),
    /// A field, or every field below an object, by its full name (`Citizen.permanent_residence`).
    Field(FieldName),
}

/// A permit of which a narrowing left nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overruled {
    /// Why.
    pub why: Overruling,
    /// Fields that were withheld before because a policy failed to evaluate: an alarm, also where nothing is shown.
    pub policy_errors: u32,
}

/// Why a narrowed permit is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Overruling {
    /// The narrowing refuses, and says what the caller can do.
    Refused(&'static str),
    /// It leaves nothing that the answer could hold.
    Nothing,
    /// It withholds the field that a parameter of the request is bound to.
    Parameter {
        /// The parameter's name.
        name: String,
    },
    /// It names a field that the record does not have. What was meant is not known, so nothing is shown.
    UnknownField {
        /// As named.
        name: String,
    },
}

impl Narrowing {
    /// Takes nothing.
    pub const NONE: Self = Self { caps: Vec::new(), whole: Whole::Given };

    /// Refuses the request. The caller is told `remedy`, which therefore cannot hold anything about a person.
    #[must_use]
    pub fn refuse(remedy: &'static str) -> Self {
        Self { caps: Vec::new(), whole: Whole::Refused(remedy) }
    }

    /// Answers as if nobody of that number were known. The register is asked all the same: neither the answer nor its time tells.
    #[must_use]
    pub fn hide() -> Self {
        Self { caps: Vec::new(), whole: Whole::Hidden }
    }

    /// Withholds what is in the scope, too.
    #[must_use]
    pub fn withhold(self, scope: Scope) -> Self {
        self.at_most(scope, Treatment::Withhold)
    }

    /// Shows at most that of what is in the scope, too. A mask that a field does not allow leaves the match, as in policies.
    #[must_use]
    pub fn at_most(mut self, scope: Scope, most: Treatment) -> Self {
        self.caps.push((scope, most));
        self
    }

    /// Takes what either takes.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.caps.extend(other.caps);
        self.whole = self.whole.max(other.whole);
        self
    }

    /// Whether it takes nothing.
    pub fn is_none(&self) -> bool {
        self.caps.is_empty() && self.whole == Whole::Given
    }

    /// Whether it refuses.
    pub fn refuses(&self) -> bool {
        matches!(self.whole, Whole::Refused(_))
    }

    /// Whether it answers as if nobody were known.
    pub fn hides(&self) -> bool {
        self.whole == Whole::Hidden
    }

    /// What it caps, in the order in which that was said.
    pub fn caps(&self) -> impl Iterator<Item = &(Scope, Treatment)> {
        self.caps.iter()
    }

    /// A field that it names and that this record should have and does not; names of other records' fields are none.
    pub fn unknown_field(&self, record: &RecordSchema) -> Option<&str> {
        self.caps.iter().find_map(|(scope, _)| match scope {
            Scope::Field(name) if scope.is_unknown(record) => Some(name.as_str()),
            _ => None,
        })
    }
}

impl Scope {
    /// `*` is everything, a name with a dot a field or an object, any other a group.
    pub fn parse(text: &str) -> Self {
        match text {
            "*" => Self::Everything,
            text if text.contains('.') => Self::Field(FieldName::new(text)),
            text => Self::Group(GroupId::new(text)),
        }
    }

    /// Whether the field is in it.
    pub fn holds(&self, field: &Field) -> bool {
        match self {
            Self::Everything => true,
            Self::Group(group) => field.group == *group,
            Self::Field(name) => {
                let rest = field.name.as_str().strip_prefix(name.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            }
        }
    }

    /// Whether it names a field of that record that is not there.
    fn is_unknown(&self, record: &RecordSchema) -> bool {
        let Self::Field(name) = self else { return false };
        let root = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
        let of_it = |field: &Field| root(field.name.as_str()) == root(name.as_str());
        record.fields.iter().any(of_it) && !record.fields.iter().any(|field| self.holds(field))
    }
}

impl Permit {
    /// Narrows the permit: each field gets at most what both allow, now and once the record is known.
    ///
    /// # Errors
    /// If the narrowing refuses, or leaves nothing to answer with.
    pub fn narrow(mut self, narrowing: &Narrowing) -> Result<Self, Overruled> {
        if narrowing.is_none() {
            return Ok(self);
        }
        let policy_errors = u32::try_from(self.outcome.errors.len()).unwrap_or(u32::MAX);
        let overruled = |why| Overruled { why, policy_errors };
        if let Whole::Refused(remedy) = narrowing.whole {
            return Err(overruled(Overruling::Refused(remedy)));
        }
        let mut limits = self.limits.take().unwrap_or_default();
        limits.add(narrowing, &self.operation.record).map_err(overruled)?;
        let outcome = limits.on(&self.outcome);
        // Who is hidden is not refused: a refusal would tell that there is something to hide.
        let question = self.question();
        let (outcome, hides) = narrowed(outcome, &question, limits.hidden || limits.persons.is_some());
        if !limits.hidden {
            if !could_answer(&outcome, &question) {
                return Err(overruled(Overruling::Nothing));
            }
            if let Some(name) = unusable(&outcome, &question) {
                return Err(overruled(Overruling::Parameter { name }));
            }
            let widest = widest(&outcome, &question);
            self.widest = widest;
        }
        self.outcome = outcome;
        self.limits = Some(limits);
        if hides {
            self.widen_page();
        }
        Ok(self)
    }

    /// From now on shows of a list only persons that [`Permit::narrow_person`] was called for.
    #[must_use = "the permit is used up"]
    pub fn each_person(mut self) -> Self {
        self.limits.get_or_insert_default().persons.get_or_insert_default();
        // A person may be hidden: what is said of all of them could tell.
        let (outcome, hides) = narrowed(Arc::clone(&self.outcome), &self.question(), true);
        self.outcome = outcome;
        self.widest = widest(&self.outcome, &self.question());
        if hides {
            self.widen_page();
        }
        self
    }

    /// Whether every person of a list must be narrowed by itself before the list is opened.
    pub fn wants_persons(&self) -> bool {
        self.limits.as_ref().is_some_and(|limits| limits.persons.is_some())
    }

    /// Narrows what is shown of one person of a list, by the number in that person's record; a refusal hides the person.
    ///
    /// # Errors
    /// If the narrowing names a field that the record does not have.
    pub fn narrow_person(mut self, person: &Personal<String>, narrowing: &Narrowing) -> Result<Self, Overruled> {
        let policy_errors = u32::try_from(self.outcome.errors.len()).unwrap_or(u32::MAX);
        let persons = self.limits.get_or_insert_default().persons.get_or_insert_default();
        let limits = persons.entry(person.clone()).or_default();
        limits.add(narrowing, &self.operation.record).map_err(|why| Overruled { why, policy_errors })?;
        Ok(self)
    }

    fn question(&self) -> Question<'_> {
        Question { operation: &self.operation, arguments: &self.arguments, filled: self.filled }
    }

    /// The most that the field can still get.
    pub fn most(&self, field: FieldIx) -> Treatment {
        self.outcome.most.of(field)
    }

    /// What the record phase decided about the record of that person, as far as it was not taken away; and whether the person is
    /// to be answered as unknown.
    pub(crate) fn limited(&self, person: Option<&str>, outcome: Arc<Outcome>) -> (Arc<Outcome>, bool) {
        match &self.limits {
            None => (outcome, false),
            Some(limits) => limits.about(person, &outcome),
        }
    }
}

/// What was taken from a permit so far.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    // INVARIANT: at most one a field.
    caps: Vec<Cap>,
    hidden: bool,
    /// What is taken of single persons, where each must be looked at.
    persons: Option<HashMap<Personal<String>, Self>>,
}

#[derive(Debug)]
struct Cap {
    field: FieldIx,
    ladder: Ladder,
    most: Rank,
}

impl Limits {
    fn add(&mut self, narrowing: &Narrowing, record: &RecordSchema) -> Result<(), Overruling> {
        if let Some(name) = narrowing.unknown_field(record) {
            return Err(Overruling::UnknownField { name: name.to_owned() });
        }
        self.hidden |= narrowing.whole > Whole::Given;
        for (scope, most) in &narrowing.caps {
            for field in record.fields.iter().filter(|field| scope.holds(field)) {
                self.cap(field, *most);
            }
        }
        Ok(())
    }

    fn cap(&mut self, field: &Field, most: Treatment) {
        let ladder = Ladder::of(field);
        let most = ladder.cap(most);
        match self.caps.iter_mut().find(|cap| cap.field == field.index) {
            Some(cap) => cap.most = cap.most.max(most),
            None => self.caps.push(Cap { field: field.index, ladder, most }),
        }
    }

    fn on(&self, outcome: &Arc<Outcome>) -> Arc<Outcome> {
        if self.caps.is_empty() {
            return Arc::clone(outcome);
        }
        let mut narrowed = Outcome::clone(outcome);
        for Cap { field, ladder, most } in &self.caps {
            let at_most = |treatment| ladder.at_most(treatment, *most);
            narrowed.set(*field, at_most(outcome.treatments.of(*field)), at_most(outcome.most.of(*field)));
        }
        Arc::new(narrowed)
    }

    fn about(&self, person: Option<&str>, outcome: &Arc<Outcome>) -> (Arc<Outcome>, bool) {
        let narrowed = self.on(outcome);
        let Some(persons) = &self.persons else { return (narrowed, self.hidden) };
        match person.and_then(|person| persons.get(&Personal::new(person.to_owned()))) {
            Some(limits) => (limits.on(&narrowed), self.hidden || limits.hidden),
            // Nobody looked at this person.
            None => (narrowed, true),
        }
    }
}
