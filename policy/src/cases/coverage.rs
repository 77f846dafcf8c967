//! Which policies the cases exercise.

use crate::cases::run::{Outcome, Request};
use crate::cases::{Case, End, Why};
use crate::contract::Field;
use crate::engine::{Engine, Ladder, PolicyInfo, Said, together};
use crate::model::{FieldSet, Treatment};

/// What the cases say about each policy.
#[derive(Debug)]
pub struct Coverage<'a> {
    /// One a policy, in the order of the files.
    pub policies: Vec<Exercised<'a>>,
}

/// What the cases say about one policy.
#[derive(Debug)]
pub struct Exercised<'a> {
    /// Which.
    pub policy: &'a PolicyInfo,
    /// The cases that exercise it: it is satisfied for a field that the case looks at, and would be enough for what the field gets. So a
    /// permit gives as much as the field gets, which is something; a forbid leaves as little as it gets, where a permit gives more.
    pub by: Vec<&'a Case>,
    /// Of these, the cases that would not go as expected without it: no other policy does the same there.
    pub needed_by: Vec<&'a Case>,
}

impl<'a> Coverage<'a> {
    /// Of no case.
    pub(super) fn of(engine: &'a Engine) -> Self {
        let policies = engine.policies().iter();
        Self { policies: policies.map(|policy| Exercised { policy, by: Vec::new(), needed_by: Vec::new() }).collect() }
    }

    /// How many policies some case exercises.
    pub fn exercised(&self) -> usize {
        self.policies.iter().filter(|policy| !policy.by.is_empty()).count()
    }

    /// In hundredths, rounded down, so that only all is 100; 100 if there is no policy.
    pub fn percent(&self) -> usize {
        (self.exercised() * 100).checked_div(self.policies.len()).unwrap_or(100)
    }

    /// Counts a request that went as its case expects.
    pub(super) fn add(&mut self, request: &Request<'a, '_>, outcome: &Outcome<'_>) {
        let case = request.case;
        let checked = case.expected.checked(&case.operation);
        // What is permitted to everybody hides what the permits give.
        for said in outcome.said.iter().filter(|said| !(case.whatever_is_permitted && said.permits())) {
            let enough = enough(said, request, outcome, checked);
            let Some(policy) = self.policies.get_mut(said.policy).filter(|_| !enough.is_empty()) else { continue };
            note(&mut policy.by, case);
            if is_needed(said, enough, request, outcome) {
                note(&mut policy.needed_by, case);
            }
        }
    }
}

/// A case that several systems ask is one case.
fn note<'a>(cases: &mut Vec<&'a Case>, case: &'a Case) {
    if cases.last().is_none_or(|last| last.name != case.name) {
        cases.push(case);
    }
}

/// The fields for which the policy would be enough, see [`Exercised::by`].
fn enough(said: &Said<'_>, request: &Request<'_, '_>, outcome: &Outcome<'_>, checked: FieldSet) -> FieldSet {
    let operation = &request.case.operation;
    let candidates = said.satisfied.iter().filter(|field| checked.contains(*field));
    let fields = candidates.filter_map(|field| operation.record.field(field));
    let is_enough = |field: &&Field| {
        let ladder = Ladder::of(field);
        // Withheld altogether, be it because nothing of the record is shown.
        let got = ladder.rank(outcome.treatment(field.index));
        match (said.rank(field), got) {
            (Some(gives), Some(got)) if said.permits() => {
                outcome.treatment(field.index) != Treatment::Withhold && gives <= got
            }
            (Some(leaves), Some(got)) => {
                let permitted = together(field, outcome.said.iter().filter(|said| said.permits()));
                leaves >= got && ladder.rank(permitted).is_some_and(|permitted| permitted < leaves)
            }
            _ => false,
        }
    };
    fields.filter(is_enough).map(|field| field.index).collect()
}

/// Whether the case would not go as expected without it.
fn is_needed(said: &Said<'_>, enough: FieldSet, request: &Request<'_, '_>, outcome: &Outcome<'_>) -> bool {
    let operation = &request.case.operation;
    let others = || outcome.said.iter().filter(|other| other.policy != said.policy);
    let without = |field: &Field| together(field, others());
    let mut fields = enough.iter().filter_map(|field| operation.record.field(field));
    match &outcome.end {
        End::Answered => fields.any(|field| without(field) != outcome.treatment(field.index)),
        End::Unknown | End::Refused(Why::Nothing | Why::Parameter(_)) => {
            request.answers(&|field| operation.record.field(field).map_or(Treatment::Withhold, without))
        }
        End::Refused(Why::NotValid | Why::NotEnrolled | Why::Network | Why::Evidence(_)) => false,
    }
}
