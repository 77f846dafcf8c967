//! What a search may say about all that it found: how many, in which order, where the next page begins.
//!
//! A number of records that includes hidden ones tells of them. So the envelope is shown only where no record can be hidden:
//! where something of every record is shown, and every field that the question asks about may be asked about, whatever the record
//! holds. A condition on an attribute that the register itself filters by (`x-gateway-pushdown`) is known beforehand (so is a date that it filters by): then each record is
//! checked against the filter, and what is left to chance are the attributes that are true or false, of which all combinations
//! are tried: true, false and missing.

use std::sync::Arc;

use crate::contract::{Answer, Attribute, Derive, Kind, List, ParamIx, Parameter, Role};
use crate::disclose::derived;
use crate::disclose::json::Captured;
use crate::engine::decide::Question as Asking;
use crate::engine::{Fact, Outcome, Table};
use crate::model::{FieldIx, FieldSet, Personal, Treatment};
use crate::permit::Ask;

/// The outcome with what may be said of the envelope.
pub(super) struct Counted {
    pub(super) outcome: Arc<Outcome>,
    /// What every record must hold for that, if the register was told to filter by it.
    pub(super) filter: Vec<(FieldIx, String)>,
    /// Whether a record can be hidden, so that nothing is said of all of them.
    pub(super) hides: bool,
}

pub(super) fn of(table: &Table, known: &Arc<Outcome>, list: &List, ask: &Ask<'_>, filled: Option<ParamIx>) -> Counted {
    let question = Question { list, asked: asked(ask, filled) };
    if question.shows_every_record(known) && question.is_decided(known) {
        return Counted { outcome: Arc::clone(known), filter: Vec::new(), hides: false };
    }
    if let Some((filter, certain)) = pushed(table, known, ask, &question) {
        let outcome = question.with_envelope(known, |field| certain.of_or_withheld(field));
        return Counted { outcome, filter, hides: false };
    }
    Counted { outcome: question.with_envelope(known, |_| Treatment::Withhold), filter: Vec::new(), hides: true }
}

/// The outcome after something was taken from it: what a search says of all records is taken too, if one could be hidden now; and
/// whether it was.
pub(crate) fn narrowed(outcome: Arc<Outcome>, ask: &Asking<'_>, each_person: bool) -> (Arc<Outcome>, bool) {
    let (Answer::List(list), None) = (&ask.operation.answer, ask.operation.subject) else { return (outcome, false) };
    let asked = ask.asked().map(|(_, field)| field).filter(|field| !list.envelope.contains(*field)).collect();
    let question = Question { list, asked };
    if !each_person && question.shows_every_record(&outcome) {
        return (outcome, false);
    }
    (question.with_envelope(&outcome, |_| Treatment::Withhold), true)
}

struct Question<'a> {
    list: &'a List,
    /// The fields that the request asks about.
    asked: FieldSet,
}

impl Question<'_> {
    /// Whether something of each record is shown, and nothing hides one. Of all fields only the number is sure to be in each.
    fn shows_every_record(&self, outcome: &Outcome) -> bool {
        matches!(outcome.treatments.of(self.list.page.subject), Treatment::Reveal | Treatment::Mask(_))
            && self.asked.iter().all(|field| outcome.treatments.of(field) != Treatment::Withhold)
    }

    /// Whether no record has a say in the envelope.
    fn is_decided(&self, outcome: &Outcome) -> bool {
        self.list.envelope.iter().all(|field| outcome.treatments.of(field) == outcome.most.of(field))
    }

    fn with_envelope(&self, known: &Arc<Outcome>, treatment: impl Fn(FieldIx) -> Treatment) -> Arc<Outcome> {
        let mut outcome = Outcome::clone(known);
        for field in self.list.envelope.iter() {
            let treatment = treatment(field);
            outcome.set(field, treatment, treatment);
        }
        Arc::new(outcome)
    }
}

/// What the envelope gets if the register filters, provided that no record can be hidden then; and the filter.
fn pushed(
    table: &Table,
    known: &Arc<Outcome>,
    ask: &Ask<'_>,
    question: &Question<'_>,
) -> Option<(Vec<(FieldIx, String)>, Envelope)> {
    let attributes = &ask.operation.record.attributes;
    // What is known of every record, and the others by position.
    let mut pushed: Vec<Option<(Captured<'_>, &Attribute)>> = Vec::new();
    let mut filter = Vec::new();
    let mut others: Vec<usize> = Vec::new();
    for (at, attribute) in attributes.iter().enumerate() {
        match filtered(ask, at, attribute) {
            Some(value) => {
                let value = value.expose();
                let leaf = Captured::Text(value.as_str().into());
                derived(attribute, &leaf, ask.env.date)?;
                pushed.push(Some((leaf, attribute)));
                filter.push((attribute.from, value.clone()));
            }
            // A string can hold anything, and every combination of the others is tried.
            None if attribute.derive == Derive::Value || others.len() == MOST_ATTRIBUTES => return None,
            None => {
                pushed.push(None);
                others.push(at);
            }
        }
    }
    let mut certain: Option<Envelope> = None;
    for combination in combinations(others.len()) {
        let fact = |at: usize| match pushed.get(at)? {
            Some((leaf, attribute)) => derived(attribute, leaf, ask.env.date),
            None => {
                let other = others.iter().position(|other| *other == at)?;
                combination.get(other).copied().flatten().map(Fact::Truth)
            }
        };
        let outcome = table.at_record(known, &ask.env, &fact);
        if !question.shows_every_record(&outcome) {
            return None;
        }
        let envelope = Envelope::of(question.list, &outcome);
        certain = Some(match certain {
            None => envelope,
            Some(before) => before.met(&envelope),
        });
    }
    Some((filter, certain?))
}

/// The value that every record has of the leaf that an attribute is taken from: the register is told to filter by it, and each
/// record is checked. Texts are no such values but where the contract says so, since registers compare them in their own ways.
fn filtered<'a>(ask: &'a Ask<'_>, at: usize, attribute: &Attribute) -> Option<&'a Personal<String>> {
    let operation = ask.operation;
    if let Some(pushdown) = operation.pushdown.as_ref().filter(|pushdown| pushdown.attribute == at) {
        return ask.arguments.value(pushdown.parameter);
    }
    let is_date = operation.record.field(attribute.from).is_some_and(|field| field.kind == Kind::Date);
    let asks = |(_, parameter): &(usize, &Parameter)| {
        is_date && parameter.role == Role::Asks && parameter.field == attribute.from
    };
    let (at, _) = operation.parameters.iter().enumerate().find(asks)?;
    ask.arguments.value(ParamIx(at)).filter(|_| operation.upstream.names(ParamIx(at)))
}

/// Every way in which so many attributes can be true, false, or not there (a policy that asks for one then fails).
fn combinations(attributes: usize) -> impl Iterator<Item = Vec<Option<bool>>> {
    let count = (0..attributes).fold(1_u32, |count, _| count * 3);
    (0..count).map(move |number| {
        let digits = (0..attributes).scan(number, |rest, _| {
            let digit = *rest % 3;
            *rest /= 3;
            Some(digit)
        });
        digits.map(|digit| if digit == 2 { None } else { Some(digit == 1) }).collect()
    })
}

/// Treatments of the envelope's fields.
struct Envelope(Vec<(FieldIx, Treatment)>);

impl Envelope {
    fn of(list: &List, outcome: &Outcome) -> Self {
        Self(list.envelope.iter().map(|field| (field, outcome.treatments.of(field))).collect())
    }

    fn of_field(&self, field: FieldIx) -> Option<Treatment> {
        self.0.iter().find(|(known, _)| *known == field).map(|(_, treatment)| *treatment)
    }

    fn of_or_withheld(&self, field: FieldIx) -> Treatment {
        self.of_field(field).unwrap_or(Treatment::Withhold)
    }

    /// What both agree on; the rest is withheld.
    fn met(self, other: &Self) -> Self {
        let agreed = |(field, treatment): (FieldIx, Treatment)| {
            let same = other.of_field(field) == Some(treatment);
            (field, if same { treatment } else { Treatment::Withhold })
        };
        Self(self.0.into_iter().map(agreed).collect())
    }
}

/// The fields that the request itself asks about. A cursor goes on with a question that was asked before.
fn asked(ask: &Ask<'_>, filled: Option<ParamIx>) -> FieldSet {
    let given = ask.arguments.given().filter(|(at, _)| Some(*at) != filled);
    let fields = given.filter_map(|(at, value)| ask.operation.asked_about(at, value.expose()));
    match &ask.operation.answer {
        Answer::List(list) => fields.filter(|field| !list.envelope.contains(*field)).collect(),
        _ => fields.collect(),
    }
}

/// The most attributes of which every combination is tried.
const MOST_ATTRIBUTES: usize = 3;
