//! One kind of request under one kind of circumstances: what the candidate makes of it, beside what became of it then.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::civil::date;
use popgate_policy::contract::Answer;
use popgate_policy::engine::mirror::{Change, Found, Given, Gone, Mirror, Turned, World, shows, worlds};
use popgate_policy::engine::{Decided, Trial};
use popgate_policy::model::{DisclosureId, FieldIx, FieldSet, Treatment};
use popgate_policy::permit::Env;

use super::Claims;
use crate::audit::{Schema, Shown};

/// What became of a request then.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Then {
    /// Something was shown, of what might have been.
    Shown { shown: Shown, widest: FieldSet },
    /// The record was hidden whole.
    Hidden { widest: FieldSet },
    /// What was shown was never recorded.
    Open { widest: FieldSet },
    /// A search was answered: what was said of all that it found is among these.
    Counted { widest: FieldSet },
    /// The policies let it pass; nothing is known of a record.
    Allowed,
    /// It was refused.
    Refused(Arc<str>),
    /// It was refused before it was known who asked what for what.
    Unnamed(Arc<str>),
    /// What became of it says nothing: only what both bundles make of it is compared.
    Asked,
}

/// What part of an answer a record of the log is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Part {
    /// What the request asked for, with what goes around a list.
    Request,
    /// A person whom only the answer named.
    Person,
}

impl Then {
    pub(super) fn forgotten(self) -> Self {
        match self {
            Self::Unnamed(code) => Self::Unnamed(code),
            _ => Self::Asked,
        }
    }
}

/// What would be different.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// The whole of it.
    pub class: Class,
    /// Fields that would no longer be shown, or less of them.
    pub less: Vec<String>,
    /// Fields that would be shown, or more of them, where the record has them.
    pub more: Vec<String>,
    /// Fields of which that depends on the record.
    pub depends: Vec<String>,
}

/// A kind of difference.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Class {
    /// Nothing would be different.
    Same,
    /// It would be refused with that code.
    RefusedNow(&'static str),
    /// It was refused, or its record hidden, and would be answered.
    AnsweredNow,
    /// Some fields would be shown less, or more.
    Differs,
    /// That cannot be told.
    Depends(Why),
    /// The candidate does not have a name that it needs.
    Gone(Gone),
    /// The refusal was none of a bundle's.
    NotReplayed,
}

/// What it depends on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Why {
    /// The returned record, which the log does not have.
    Record,
    /// The parameters of the request.
    Parameters,
    /// What the agency claimed, which is sealed.
    Claims,
}

impl Why {
    /// What it depends on, in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Parameters => "parameters",
            Self::Claims => "claims",
        }
    }
}

/// What both bundles make of one kind of request.
pub(super) struct Case {
    trial: Option<Trial>,
    before: Option<Trial>,
    /// What the policies decide of every kind of record: of the candidate, and of the bundle before if it is known. `None` if that is
    /// not known.
    worlds: Option<Vec<World>>,
    /// Whether the policies ask for claims that are not known.
    by_claims: bool,
    /// How often what became of it then.
    pub(super) seen: HashMap<Seen, Count>,
}

/// What became of which part of it, and the gates that shut before policies are asked: the candidate's, and those of then.
type Seen = (Then, Part, Gates);
pub(super) type Gates = (Option<Turned>, Option<Turned>);

/// How often a verdict was come to.
pub(super) struct Count {
    pub(super) verdict: Verdict,
    pub(super) count: u64,
    pub(super) examples: Vec<DisclosureId>,
}

impl Case {
    pub(super) fn of(
        candidate: &Mirror,
        found: &Result<Found, Gone>,
        before: Option<&(Arc<Mirror>, Found)>,
        env: &Env,
        claims: Claims,
    ) -> Self {
        let found = found.as_ref().ok();
        let trial = found.and_then(|found| candidate.trial(found, env));
        let before = before.and_then(|(mirror, found)| Some((found, mirror.trial(found, env)?)));
        let mut sides = Vec::new();
        sides.extend(found.zip(trial.as_ref()));
        sides.extend(before.as_ref().map(|(found, trial)| (*found, trial)));
        let asks_for = |found: &Found| match claims {
            Claims::Known => false,
            Claims::AssuranceSealed => found.asks().about("claimed_assurance"),
            Claims::Unknown => CLAIMS.iter().any(|claim| found.asks().about(claim)),
        };
        let by_claims = found.is_some_and(asks_for) || before.as_ref().is_some_and(|(found, _)| asks_for(found));
        let worlds = if trial.is_some() { worlds(&sides) } else { None };
        Self { worlds, trial, before: before.map(|(_, trial)| trial), by_claims, seen: HashMap::new() }
    }

    pub(super) fn count(
        &mut self,
        found: &Result<Found, Gone>,
        before: Option<&(Arc<Mirror>, Found)>,
        schema: Option<&Schema>,
        seen: Seen,
        disclosure: DisclosureId,
        examples: usize,
    ) {
        if !self.seen.contains_key(&seen) {
            let verdict = self.verdict(found, before.map(|(_, found)| found), schema, &seen);
            self.seen.insert(seen.clone(), Count { verdict, count: 0, examples: Vec::new() });
        }
        if let Some(count) = self.seen.get_mut(&seen) {
            count.count += 1;
            if count.examples.len() < examples {
                count.examples.push(disclosure);
            }
        }
    }

    fn verdict(
        &self,
        found: &Result<Found, Gone>,
        before: Option<&Found>,
        schema: Option<&Schema>,
        (then, part, gates): &Seen,
    ) -> Verdict {
        let code = match then {
            Then::Unnamed(_) => return Class::NotReplayed.into(),
            Then::Refused(code) if !REPLAYED.contains(&&**code) => return Class::NotReplayed.into(),
            Then::Refused(code) => Some(&**code),
            _ => None,
        };
        let found = match found {
            Ok(found) => found,
            Err(gone) => return Class::Gone(*gone).into(),
        };
        let Some(trial) = &self.trial else { return Class::Depends(Why::Record).into() };
        let before = before.zip(self.before.as_ref());
        let judge = Judge { found, trial, before, worlds: self.worlds.as_deref(), schema, part: *part };
        // A gate that is shut is shut whatever was claimed beside.
        if self.by_claims && gates.0.is_none() {
            return Class::Depends(Why::Claims).into();
        }
        match (then, code) {
            (_, Some(code)) => judge.refused(code, gates.0).into(),
            (Then::Asked, _) => judge.asked(*gates),
            (Then::Allowed, _) => judge.refuses(&judge.given(FieldSet::EMPTY), gates.0).unwrap_or(Class::Same).into(),
            (Then::Hidden { .. }, _) => judge.hidden(gates.0).into(),
            (Then::Shown { shown, widest }, _) => judge.shown(*shown, *widest, gates.0),
            (Then::Open { widest }, _) => judge.open(*widest, gates.0),
            (Then::Counted { widest }, _) => judge.counted(*widest, gates.0),
            (Then::Refused(_) | Then::Unnamed(_), None) => Class::NotReplayed.into(),
        }
    }
}

struct Judge<'a> {
    found: &'a Found,
    trial: &'a Trial,
    before: Option<(&'a Found, &'a Trial)>,
    worlds: Option<&'a [World]>,
    schema: Option<&'a Schema>,
    part: Part,
}

impl Judge<'_> {
    /// Why the candidate refuses whatever the record says.
    fn refuses(&self, given: &[Given], gate: Option<Turned>) -> Option<Class> {
        let turned = gate.or_else(|| self.found.denial(self.trial, given))?;
        Some(Class::RefusedNow(turned.code()))
    }

    fn refused(&self, code: &str, gate: Option<Turned>) -> Class {
        // No bundle says what is lent.
        let is_lent = code == Turned::NotEnrolled.code() && self.found.purpose().break_glass;
        let given = self.found.given(|_| false);
        if is_lent || self.refuses(&given, gate).is_some() {
            return Class::Same;
        }
        // Which parameter was in the way the log does not say.
        let all = self.found.given(|_| true);
        if code == Turned::Parameter.code() && self.found.denial(self.trial, &all).is_some() {
            return Class::Depends(Why::Parameters);
        }
        self.hidden(gate)
    }

    /// Nothing was shown then: whether the candidate shows something of the record.
    fn hidden(&self, gate: Option<Turned>) -> Class {
        let given = self.found.given(|_| false);
        if let Some(refused) = self.refuses(&given, gate) {
            return refused;
        }
        let Some(worlds) = self.worlds else { return Class::Depends(Why::Record) };
        let hides = |world: &&World| {
            let before = self.before.zip(world.get(1));
            before.is_none_or(|((found, _), decided)| !found.answers(&given, |field| decided.treatment(field)))
        };
        match tried(self.fitting(worlds, hides), |world| Some(self.answers(world, &given))) {
            Some(true) => Class::AnsweredNow,
            Some(false) => Class::Same,
            None => Class::Depends(Why::Record),
        }
    }

    fn shown(&self, shown: Shown, widest: FieldSet, gate: Option<Turned>) -> Verdict {
        let given = self.given(shown.matched);
        if let Some(refused) = self.refuses(&given, gate) {
            return refused.into();
        }
        let visible = shown.revealed.union(shown.masked);
        if let Some(gone) = self.gone(visible) {
            return gone;
        }
        let Some(worlds) = self.worlds else { return Class::Depends(Why::Record).into() };
        // Something was told then.
        let told = |world: &World| {
            let before = self.before.zip(world.get(1));
            before.is_none_or(|((found, _), decided)| found.answers(&given, |field| decided.treatment(field)))
        };
        let fits =
            |world: &&World| told(world) && self.was(world).is_none_or(|was| visible.iter().all(|at| shows(was(at))));
        let fitting = self.fitting(worlds, fits);
        if let Some(class) = self.whole(&fitting, &given) {
            return class.into();
        }
        let mut verdict = Verdict::from(Class::Same);
        for (field, at) in self.fields() {
            let is_in = |set: FieldSet| at.is_some_and(|at| set.contains(at));
            let change = tried(fitting.iter().copied(), |world| {
                let now = self.now(world, field);
                let was = at.and_then(|at| self.was(world).map(|was| was(at)));
                if is_in(shown.revealed) {
                    Some(self.change(field, Treatment::Reveal, now))
                } else if is_in(shown.masked) {
                    Some(match (was, now) {
                        (Some(was @ Treatment::Mask(_)), now) => self.change(field, was, now),
                        (_, Treatment::Reveal) => Change::More,
                        // Which mask it was the log does not say.
                        (_, Treatment::Mask(_)) => Change::Same,
                        _ => Change::Less,
                    })
                } else {
                    // The widest of a person whom the answer named is what was shown.
                    let might = self.before.is_none() && (is_in(widest) || self.part == Part::Person);
                    self.unseen(now, was, might)
                }
            });
            verdict.add(self.found.name(field), change);
        }
        verdict.judged()
    }

    /// A field that was not shown, though the record might have it.
    fn unseen(&self, now: Treatment, was: Option<Treatment>, might: bool) -> Option<Change> {
        match (shows(now), was) {
            (false, _) => Some(Change::Same),
            // It was there to be seen: the record does not have it.
            (true, Some(was)) if shows(was) => Some(Change::Same),
            (true, None) if might => None,
            (true, _) => Some(Change::More),
        }
    }

    /// Any of `widest` was possibly seen.
    fn open(&self, widest: FieldSet, gate: Option<Turned>) -> Verdict {
        let given = self.given(FieldSet::EMPTY);
        if let Some(refused) = self.refuses(&given, gate) {
            return refused.into();
        }
        if let Some(gone) = self.gone(widest) {
            return gone;
        }
        let Some(worlds) = self.worlds else { return Class::Depends(Why::Record).into() };
        let fitting: Vec<&World> = worlds.iter().collect();
        let mut verdict = Verdict::from(Class::Same);
        for (field, at) in self.fields() {
            let change = tried(fitting.iter().copied(), |world| {
                let now = self.now(world, field);
                match at.and_then(|at| self.was(world).map(|was| was(at))) {
                    Some(was) => Some(self.change(field, visible(was), visible(now))),
                    None if at.is_some_and(|at| widest.contains(at)) => {
                        Some(if shows(now) { Change::Same } else { Change::Less })
                    }
                    None => self.unseen(now, None, false),
                }
            });
            verdict.add(self.found.name(field), change);
        }
        verdict.judged()
    }

    /// A search: what it says of all that it found. Where policies give otherwise it depends on whom else it found, and on its filters.
    fn counted(&self, widest: FieldSet, gate: Option<Turned>) -> Verdict {
        if let Some(refused) = self.refuses(&self.given(FieldSet::EMPTY), gate) {
            return refused.into();
        }
        if let Some(gone) = self.gone(widest) {
            return gone;
        }
        let Some(worlds) = self.worlds else { return Class::Depends(Why::Record).into() };
        let mut verdict = Verdict::from(Class::Same);
        for (field, at) in self.placed(self.found.counted()) {
            let is_same = |world: &World| {
                let now = self.now(world, field);
                match at.and_then(|at| self.was(world).map(|was| was(at))) {
                    Some(was) => visible(was) == visible(now),
                    None => shows(now) == at.is_some_and(|at| widest.contains(at)),
                }
            };
            let change = worlds.iter().all(is_same).then_some(Change::Same);
            verdict.add(self.found.name(field), change);
        }
        verdict.judged()
    }

    /// What both bundles make of it, whatever became of it.
    fn asked(&self, gates: Gates) -> Verdict {
        let given = self.found.given(|_| false);
        let Some((before, trial)) = self.before else {
            return self.refuses(&given, gates.0).map_or(Class::AnsweredNow, |_| Class::Same).into();
        };
        let refused = gates.1.or_else(|| before.denial(trial, &before.given(|_| false)));
        match (refused, self.refuses(&given, gates.0)) {
            (Some(_), Some(_)) => return Class::Same.into(),
            (Some(_), None) => return Class::AnsweredNow.into(),
            (None, Some(refused)) => return refused.into(),
            (None, None) => {}
        }
        let Some(worlds) = self.worlds else { return Class::Depends(Why::Record).into() };
        let mut verdict = Verdict::from(Class::Same);
        let by_match = self.found.operation().answer == Answer::Match;
        let counted = self.counted_here();
        for field in self.part().union(counted).iter() {
            let name = self.found.name(field);
            let known = before.operation().record.field_named(name).map(|known| known.index);
            let change = tried(worlds.iter(), |world| {
                let was = known.zip(world.get(1)).map_or(Treatment::Withhold, |(known, was)| was.treatment(known));
                let now = self.now(world, field);
                let least = |treatment| if by_match { claim(treatment) } else { visible(treatment) };
                Some(self.change(field, least(was), least(now)))
            });
            // That policies give otherwise does not say that it was shown, or would be.
            let change = change.filter(|change| *change == Change::Same || !counted.contains(field));
            verdict.add(name, change);
        }
        verdict.judged()
    }

    /// Whether the candidate hides the record whole.
    fn whole(&self, fitting: &[&World], given: &[Given]) -> Option<Class> {
        match tried(fitting.iter().copied(), |world| Some(self.answers(world, given))) {
            Some(true) => None,
            Some(false) => Some(Class::RefusedNow("no_match")),
            // Fields tell more than that it depends; of a claim there is nothing else to tell.
            None if self.found.operation().answer != Answer::Match => None,
            None => Some(Class::Depends(Why::Record)),
        }
    }

    fn answers(&self, world: &World, given: &[Given]) -> bool {
        world.first().is_some_and(|decided| self.found.answers(given, |field| decided.treatment(field)))
    }

    /// A field that was shown and that the candidate does not have.
    fn gone(&self, visible: FieldSet) -> Option<Verdict> {
        let schema = self.schema?;
        let lost = visible.iter().filter_map(|at| schema.fields.get(usize::from(at.0)));
        let record = &self.found.operation().record;
        let less: Vec<String> = lost.filter(|name| record.field_named(name).is_none()).cloned().collect();
        (!less.is_empty()).then(|| Verdict { less, ..Class::Gone(Gone::Field).into() })
    }

    /// The parameters that the request had, as far as the log tells.
    fn given(&self, matched: FieldSet) -> Vec<Given> {
        let names: Vec<&str> = self.schema.map_or(Vec::new(), |schema| {
            matched.iter().filter_map(|at| schema.fields.get(usize::from(at.0))).map(String::as_str).collect()
        });
        self.found.given(|name| names.contains(&name))
    }

    /// The fields that the record of the log is about.
    fn part(&self) -> FieldSet {
        match self.part {
            Part::Request => self.found.answered(),
            Part::Person => self.found.of_each(),
        }
    }

    /// Of a search, what is said of all that it found: once, and not of each person again.
    fn counted_here(&self) -> FieldSet {
        match self.part {
            Part::Request => self.found.counted(),
            Part::Person => FieldSet::EMPTY,
        }
    }

    /// The fields that are compared, with their place in the log's names. Claims are compared as a whole.
    fn fields(&self) -> impl Iterator<Item = (FieldIx, Option<FieldIx>)> {
        let by_match = self.found.operation().answer == Answer::Match;
        self.placed(if by_match { FieldSet::EMPTY } else { self.part() })
    }

    fn placed(&self, fields: FieldSet) -> impl Iterator<Item = (FieldIx, Option<FieldIx>)> {
        fields
            .iter()
            .map(|field| {
                let name = self.found.name(field);
                let at = self.schema.and_then(|schema| schema.fields.iter().position(|known| known == name));
                (field, at.and_then(|at| u16::try_from(at).ok()).map(FieldIx))
            })
            .collect::<Vec<_>>()
            .into_iter()
    }

    fn change(&self, field: FieldIx, was: Treatment, now: Treatment) -> Change {
        self.found.change(field, self.before.map(|(before, _)| before), was, now)
    }

    fn now(&self, world: &World, field: FieldIx) -> Treatment {
        world.first().map_or(Treatment::Withhold, |decided| decided.treatment(field))
    }

    /// What the bundle of then gives each field, by its place in the log's names.
    fn was<'w>(&'w self, world: &'w World) -> Option<impl Fn(FieldIx) -> Treatment + 'w> {
        let (before, _) = self.before?;
        let decided: &Decided = world.get(1)?;
        let schema = self.schema?;
        Some(move |at: FieldIx| {
            let name = schema.fields.get(usize::from(at.0));
            let known = name.and_then(|name| before.operation().record.field_named(name));
            known.map_or(Treatment::Withhold, |known| decided.treatment(known.index))
        })
    }

    /// The kinds of records that fit what became of the request; all, if none does: then something else had a say, such as a plugin.
    fn fitting<'w>(&self, worlds: &'w [World], fits: impl Fn(&&World) -> bool) -> Vec<&'w World> {
        let fitting: Vec<&World> = worlds.iter().filter(fits).collect();
        if fitting.is_empty() { worlds.iter().collect() } else { fitting }
    }
}

impl Verdict {
    fn add(&mut self, name: &str, change: Option<Change>) {
        let list = match change {
            Some(Change::Same) => return,
            Some(Change::Less) => &mut self.less,
            Some(Change::More) => &mut self.more,
            None => &mut self.depends,
        };
        list.push(name.to_owned());
    }

    fn judged(mut self) -> Self {
        self.class = match (self.less.is_empty() && self.more.is_empty(), self.depends.is_empty()) {
            (false, _) => Class::Differs,
            (true, false) => Class::Depends(Why::Record),
            (true, true) => Class::Same,
        };
        self
    }
}

impl From<Class> for Verdict {
    fn from(class: Class) -> Self {
        Self { class, less: Vec::new(), more: Vec::new(), depends: Vec::new() }
    }
}

/// What all of them say; `None` if they do not agree, or one does not know.
fn tried<'w, T: PartialEq>(
    worlds: impl IntoIterator<Item = &'w World>,
    says: impl Fn(&World) -> Option<T>,
) -> Option<T> {
    let mut said = worlds.into_iter().map(says);
    let first = said.next()??;
    said.all(|other| other.as_ref() == Some(&first)).then_some(first)
}

/// In a record a match shows nothing.
fn visible(treatment: Treatment) -> Treatment {
    if shows(treatment) { treatment } else { Treatment::Withhold }
}

/// To a claim every answer is yes or no.
fn claim(treatment: Treatment) -> Treatment {
    if treatment == Treatment::Withhold { treatment } else { Treatment::Match }
}

/// Circumstances that stand for all.
pub(super) fn nowhere() -> Env {
    Env {
        date: date(2001, 1, 1),
        hour: 0,
        minute: 0,
        source: std::net::Ipv4Addr::UNSPECIFIED.into(),
        claimed_assurance: None,
        claimed_user: false,
        claimed_case: false,
    }
}

/// Refusals that a bundle's contents are the reason of.
const REPLAYED: [&str; 5] =
    ["policy_denied", "parameter_denied", "purpose_not_enrolled", "purpose_expired", "evidence_missing"];
const CLAIMS: [&str; 3] = ["claimed_user", "claimed_case", "claimed_assurance"];
