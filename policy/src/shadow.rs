//! Shadow: what a candidate bundle would have made of a request that the live one decided.
//!
//! A [`Note`] holds what both must be told, the returned record's attributes too. Nothing of it can be read outside this crate: what comes
//! out is which fields would be shown more or less, by name.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::contract::{Answer, Arguments, Operation, Role};
use crate::engine::mirror::{Change, Found, Given, Gone, Mirror, Named, Turned, shows};
use crate::engine::{Fact, Trial};
use crate::model::{ExchangeId, FieldIx, FieldSet, OperationId, PurposeId, SystemId, Treatment};
use crate::permit::{Ask, Env, Permit};

/// One request, as far as a bundle must know it to decide. Clones share it.
#[derive(Clone)]
pub struct Note(Arc<Noted>);

struct Noted {
    system: SystemId,
    exchange: Option<ExchangeId>,
    operation: OperationId,
    purpose: PurposeId,
    env: Env,
    given: Vec<Given>,
    /// Each record that was opened: the one that was asked for, and at most [`MOST_RECORDS`] in all.
    records: Mutex<Vec<Opened>>,
}

/// A record that was opened.
struct Opened {
    /// Whether it is about the person whom the request names: what goes around a list is decided with that record.
    is_asked_for: bool,
    attributes: Attributes,
}

/// By name: positions are another contract's.
type Attributes = Vec<(String, Option<Told>)>;

enum Told {
    Text(Box<str>),
    Truth(bool),
}

/// What a candidate would make of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Compared {
    /// Answered by the live bundle, and by the candidate not: why.
    pub refused_now: Option<&'static str>,
    /// Refused by the live bundle's policies, or its record hidden, and answered by the candidate.
    pub answered_now: bool,
    /// A name that the candidate does not have.
    pub gone: Option<Gone>,
    /// Fields that would be shown more or less, each once, in the contract's order. What a search says of all that it found is compared
    /// by the most that policies give: whether a hidden record took it away is not known.
    pub fields: Vec<Differing>,
    /// Fields of the candidate that are withheld because a policy fails.
    pub errors: u32,
}

/// A field that would be shown otherwise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Differing {
    /// Its full name.
    pub name: String,
    /// What the live bundle gives.
    pub live: Treatment,
    /// What the candidate gives.
    pub candidate: Treatment,
    /// Which is more.
    pub change: Change,
}

impl Compared {
    /// Whether nothing would be different.
    pub fn is_same(&self) -> bool {
        self.refused_now.is_none() && !self.answered_now && self.gone.is_none() && self.fields.is_empty()
    }

    /// Whether a field would be shown so.
    pub fn has(&self, change: Change) -> bool {
        self.fields.iter().any(|field| field.change == change)
    }
}

impl Note {
    /// Notes a request that the policies are about to decide. What its parameters hold is not kept.
    pub fn of(ask: &Ask<'_>, exchange: Option<&ExchangeId>) -> Self {
        Self(Arc::new(Noted {
            system: ask.system.id.clone(),
            exchange: exchange.cloned(),
            operation: ask.operation.id.clone(),
            purpose: ask.purpose.id.clone(),
            env: ask.env.clone(),
            given: given(ask.operation, &ask.arguments),
            records: Mutex::default(),
        }))
    }

    /// The operation.
    pub fn operation(&self) -> &OperationId {
        &self.0.operation
    }

    /// Who asked.
    pub fn system(&self) -> &SystemId {
        &self.0.system
    }

    /// What for.
    pub fn purpose(&self) -> &PurposeId {
        &self.0.purpose
    }

    /// Notes the attributes of a record that is being opened, and whether it is about the person whom the request names.
    pub(crate) fn record<'f>(
        &self,
        operation: &Operation,
        is_asked_for: bool,
        fact: impl Fn(usize) -> Option<Fact<'f>>,
    ) {
        let mut records = self.0.records.lock().unwrap_or_else(PoisonError::into_inner);
        if records.len() == MOST_RECORDS {
            if !is_asked_for {
                return;
            }
            records.pop();
        }
        let attributes = operation.record.attributes.iter().enumerate();
        let attributes = attributes.map(|(at, attribute)| (attribute.name.clone(), fact(at).map(Told::of))).collect();
        records.push(Opened { is_asked_for, attributes });
    }

    fn named(&self) -> Named<'_> {
        let Noted { system, exchange, operation, purpose, .. } = &*self.0;
        Named {
            system: system.as_str(),
            exchange: exchange.as_ref().map(ExchangeId::as_str),
            operation: operation.as_str(),
            purpose: purpose.as_str(),
        }
    }
}

// What a record says is about a person.
impl fmt::Debug for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<note>")
    }
}

impl Told {
    fn of(fact: Fact<'_>) -> Self {
        match fact {
            Fact::Text(text) => Self::Text(text.into()),
            Fact::Truth(truth) => Self::Truth(truth),
        }
    }

    fn fact(&self) -> Fact<'_> {
        match self {
            Self::Text(text) => Fact::Text(text),
            Self::Truth(truth) => Fact::Truth(*truth),
        }
    }
}

impl Permit {
    /// Notes each record that the permit opens, too.
    pub fn noted(mut self, note: Option<&Note>) -> Self {
        self.note = note.cloned();
        self
    }
}

/// Holds a request against a candidate. `live` MUST be what decided it.
pub fn compare(live: &Mirror, candidate: &Mirror, note: &Note) -> Compared {
    let (env, given) = (&note.0.env, &note.0.given);
    let Some((known, trial)) = live.find(note.named()).ok().and_then(|found| {
        let trial = live.trial(&found, env)?;
        Some((found, trial))
    }) else {
        return Compared::default();
    };
    let permitted = known.denial(&trial, given).is_none();
    let found = match candidate.find(note.named()) {
        Ok(found) => found,
        Err(gone) => return Compared { gone: Some(gone), ..Compared::default() },
    };
    let Some(tried) = candidate.trial(&found, env) else { return Compared::default() };
    let errors = u32::try_from(tried.errors().len()).unwrap_or(u32::MAX);
    match (permitted, turned(&found, &tried, note)) {
        (false, Some(_)) => Compared { errors, ..Compared::default() },
        (true, Some(turned)) => Compared { refused_now: Some(turned.code()), errors, ..Compared::default() },
        (permitted, None) => {
            let both = Both { known: &known, trial: &trial, found: &found, tried: &tried, given };
            let mut compared = both.records(note);
            compared.answered_now |= !permitted;
            compared.errors = compared.errors.max(errors);
            compared
        }
    }
}

fn turned(found: &Found, tried: &Trial, note: &Note) -> Option<Turned> {
    found.gates(&note.0.env, true).err().or_else(|| found.denial(tried, &note.0.given))
}

/// A request that both bundles know.
struct Both<'a> {
    known: &'a Found,
    trial: &'a Trial,
    found: &'a Found,
    tried: &'a Trial,
    given: &'a [Given],
}

impl Both<'_> {
    fn records(&self, note: &Note) -> Compared {
        let records = note.0.records.lock().unwrap_or_else(PoisonError::into_inner);
        let mut compared = Compared::default();
        let most = (|field: FieldIx| self.trial.most(field), |field: FieldIx| self.tried.most(field));
        if records.is_empty() {
            self.differ(&mut compared, Found::answered, most.0, most.1);
        }
        for Opened { is_asked_for, attributes } in records.iter() {
            let part = if *is_asked_for { Found::answered } else { Found::of_each };
            let (live, candidate) = (of(self.known, self.trial, attributes), of(self.found, self.tried, attributes));
            compared.errors = compared.errors.max(u32::try_from(candidate.errors().len()).unwrap_or(u32::MAX));
            let (before, after) = (|field: FieldIx| live.treatment(field), |field: FieldIx| candidate.treatment(field));
            match (self.known.answers(self.given, before), self.found.answers(self.given, after)) {
                (true, false) => compared.refused_now = Some("no_match"),
                (false, true) => compared.answered_now = true,
                _ => {}
            }
            self.differ(&mut compared, part, before, after);
        }
        self.differ(&mut compared, Found::counted, most.0, most.1);
        compared
    }

    /// Adds the fields that a part of an answer shows otherwise.
    fn differ(
        &self,
        compared: &mut Compared,
        part: fn(&Found) -> FieldSet,
        before: impl Fn(FieldIx) -> Treatment,
        after: impl Fn(FieldIx) -> Treatment,
    ) {
        let by_match = self.found.operation().answer == Answer::Match;
        for field in part(self.found).iter() {
            let name = self.found.name(field);
            let known = self.known.operation().record.field_named(name);
            let live = known.map_or(Treatment::Withhold, |known| before(known.index));
            let candidate = after(field);
            // A yes or no is all that a claim gets, and below a mask nothing is shown of a record.
            let rung = |treatment| match (by_match, treatment) {
                (true, Treatment::Reveal | Treatment::Mask(_)) => Treatment::Match,
                (false, Treatment::Match) => Treatment::Withhold,
                (_, treatment) => treatment,
            };
            self.add(compared, name, rung(live), rung(candidate), field);
        }
        for field in part(self.known).iter() {
            let name = self.known.name(field);
            let live = before(field);
            if self.found.operation().record.field_named(name).is_none() && shows(live) {
                compared.gone = Some(Gone::Field);
                self.add(compared, name, live, Treatment::Withhold, field);
            }
        }
    }

    fn add(&self, compared: &mut Compared, name: &str, live: Treatment, candidate: Treatment, field: FieldIx) {
        let change = self.found.change(field, Some(self.known), live, candidate);
        if change != Change::Same && !compared.fields.iter().any(|it| it.name == name && it.change == change) {
            compared.fields.push(Differing { name: name.to_owned(), live, candidate, change });
        }
    }
}

fn of(found: &Found, trial: &Trial, record: &Attributes) -> crate::engine::Decided {
    let fact = |name: &str| record.iter().find(|(known, _)| known == name)?.1.as_ref().map(Told::fact);
    let attributes = found.operation().record.attributes.iter();
    trial.of(&attributes.map(|attribute| fact(&attribute.name)).collect::<Vec<_>>())
}

/// The parameters that a request has, without what they hold.
fn given(operation: &Operation, arguments: &Arguments) -> Vec<Given> {
    let parameters = operation.parameters.iter().enumerate();
    let had = parameters.filter_map(|(at, parameter)| {
        let value = arguments.value(crate::contract::ParamIx(at))?;
        let sort = matches!(parameter.role, Role::Sort(_)).then(|| value.expose().clone());
        Some(Given { name: parameter.name.clone(), sort })
    });
    had.collect()
}

/// Of a list no more are looked at: the rest is likely of the same kinds.
const MOST_RECORDS: usize = 64;
