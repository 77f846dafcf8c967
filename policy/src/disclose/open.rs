//! Opening a raw record with a permit.
//!
//! A record that is hidden, a guard that does not hold and a claim that is wrong are one answer to the caller. They take
//! the same way here too: subject, conditions, guard, claims and redaction are all worked out before one of them speaks.

use std::sync::Arc;

use bytes::Bytes;

use crate::contract::{Answer, RecordSchema};
use crate::disclose::json::{Captured, Captures, Cut, Redactor, capture, capture_naming, capture_without};
use crate::disclose::mask::Pseudonym;
use crate::disclose::{
    MAX_BUFFERED, Person, Raw, Redacted, RedactedChunk, Secrets, Strays, Tally, Treatments, Unreadable,
};
use crate::engine::Outcome;
use crate::model::{DisclosureId, FieldSet, Treatment};
use crate::permit::{Hidden, Permit, Unopened};
use crate::seal;

mod found;
mod list;
mod whole;

use found::{Asked, decide, given, is_about, note, wanted};
pub(crate) use found::{derived, only};
pub(crate) use list::persons;
pub(crate) use whole::{open_record_of_whole, open_whole};

/// See [`Permit::open`].
pub(crate) fn open(permit: Permit, raw: &Raw, secrets: &Secrets, strays: &mut Strays) -> Result<Redacted, Unopened> {
    if permit.is_sealed() {
        return Err(SEALED);
    }
    let operation = Arc::clone(&permit.operation);
    match &operation.answer {
        Answer::Record => one_record(&permit, raw, secrets, strays),
        Answer::Match => one_match(&permit, raw, strays),
        Answer::List(list) => list::open(&permit, list, raw, secrets, strays),
        // Its record shows nothing: that is opened by another door.
        Answer::Whole(_) => Err(Unopened::NoMatch(Hidden::Record, Tally::default())),
    }
}

fn one_record(permit: &Permit, raw: &Raw, secrets: &Secrets, strays: &mut Strays) -> Result<Redacted, Unopened> {
    let examined = examine(permit, raw.bytes(), None)?;
    let mut chunks = Vec::new();
    let how = (&*permit.operation.record, &examined.outcome.treatments);
    let tally = redact(permit, how, (raw.bytes(), examined.cuts()), secrets, b"", &mut chunks, Some(strays))
        .map_err(|why| permit.unreadable(why))?;
    let tally = Tally { policy_errors: errors(&examined.outcome), matched: borne_out(permit, tally), ..tally };
    let shown = tally.revealed.union(tally.masked);
    examined.answer(permit, tally, if shown.is_empty() { Err(Hidden::Record) } else { Ok(chunks) })
}

fn one_match(permit: &Permit, raw: &Raw, strays: &mut Strays) -> Result<Redacted, Unopened> {
    let examined = examine(permit, raw.bytes(), Some(strays))?;
    let found = &examined.found;
    let claims: Vec<(Asked<'_>, bool)> = given(permit)
        .filter(|asked| !asked.is_subject && !asked.guards)
        .map(|asked| {
            let right = asked.is_right(permit, examined.evidence());
            (asked, right)
        })
        .collect();
    let fields = |wanted: bool| claims.iter().filter(move |(_, right)| *right == wanted).map(|(asked, _)| asked.field);
    let guards = given(permit).filter(|asked| asked.guards).map(|asked| asked.field);
    let answer = verdicts(&claims);
    let mut tally = Tally {
        matched: fields(true).chain(guards).collect(),
        refuted: fields(false).collect(),
        undeclared: found.undeclared(),
        policy_errors: errors(&examined.outcome),
        copied: answer.len(),
        ..Tally::default()
    };
    let mistyped = tally.matched.union(tally.refuted);
    let mistyped = mistyped.iter().filter(|field| matches!(only(found, *field), Captured::Mistyped));
    tally.mistyped = u32::try_from(mistyped.count()).unwrap_or(u32::MAX);
    let right = claims.iter().any(|(_, right)| *right);
    examined.answer(permit, tally, if right { Ok(vec![Bytes::from(answer)]) } else { Err(Hidden::Claims) })
}

/// A record about the right person, with what the policies give of it.
struct Examined<'b> {
    found: Captures<'b>,
    /// What is not there for this caller, and what is found without it.
    cut: Option<(Cut, Captures<'b>)>,
    outcome: Arc<Outcome>,
    /// Whether a field is withheld that a parameter asks about.
    hidden: bool,
    /// Whether every guard holds.
    guarded: bool,
}

/// `strays` is told the names of what is not declared, where no later pass does so.
fn examine<'b>(permit: &Permit, bytes: &'b Bytes, strays: Option<&mut Strays>) -> Result<Examined<'b>, Unopened> {
    let examined = examine_any(permit, bytes, strays).map_err(|why| permit.unreadable(why))?;
    if is_about(permit, &examined.found) { Ok(examined) } else { Err(Unopened::SubjectMismatch) }
}

/// The same of a record that may be about anybody.
fn examine_any<'b>(permit: &Permit, bytes: &'b Bytes, strays: Option<&mut Strays>) -> Result<Examined<'b>, Unreadable> {
    if bytes.len() > MAX_BUFFERED {
        return Err(Unreadable::TooLarge);
    }
    let record = &permit.operation.record;
    let found = match strays {
        None => capture(record, wanted(permit), bytes)?,
        Some(strays) => capture_naming(record, wanted(permit), strays, bytes)?,
    };
    let cut = match permit.cut(record, bytes)? {
        None => None,
        Some(cut) => {
            let left = seal::without(wanted(permit), cut.withheld);
            let evidence = capture_without(record, left, cut.offsets(), bytes)?;
            Some((cut, evidence))
        }
    };
    note(permit, &found);
    // Of the record as it is: what refers to a sealed person may be what a condition asks about.
    let (outcome, hidden) = decided(permit, &found);
    let hidden = hidden | given(permit).any(|asked| outcome.treatments.of(asked.field) == Treatment::Withhold);
    let mut examined = Examined { found, cut, outcome, hidden, guarded: true };
    let guards = given(permit).filter(|asked| asked.guards);
    examined.guarded = guards.fold(true, |held, asked| asked.is_right(permit, examined.evidence()) & held);
    examined.take_out(permit);
    Ok(examined)
}

/// What this person's record gets, and whether the person is answered as unknown whatever it says.
fn decided(permit: &Permit, found: &Captures<'_>) -> (Arc<Outcome>, bool) {
    let outcome = decide(permit, found);
    let person = match only(found, permit.operation.record.subject) {
        Captured::Text(number) | Captured::Number(number) => Some(&**number),
        _ => None,
    };
    permit.limited(person, outcome)
}

impl<'b> Examined<'b> {
    /// What claims and guards are compared with.
    fn evidence(&self) -> &Captures<'b> {
        self.cut.as_ref().map_or(&self.found, |(_, evidence)| evidence)
    }

    /// Where the values begin that are not shown.
    fn cuts(&self) -> &[usize] {
        self.cut.as_ref().map_or(&[], |(cut, _)| cut.offsets())
    }

    /// Withholds what refers to sealed persons. A record that the register found by such a reference is hidden: that it was found says
    /// to whom it refers.
    fn take_out(&mut self, permit: &Permit) {
        let Some((cut, _)) = &self.cut else { return };
        let by_claims = permit.operation.answer == Answer::Match;
        let found_by = |asked: &Asked<'_>| asked.borne_out && !asked.guards && !by_claims;
        self.hidden |= given(permit).any(|asked| found_by(&asked) && cut.touched.contains(asked.field));
        if !cut.withheld.is_empty() {
            let mut outcome = Outcome::clone(&self.outcome);
            cut.withheld.iter().for_each(|field| outcome.set(field, Treatment::Withhold, Treatment::Withhold));
            self.outcome = Arc::new(outcome);
        }
    }

    /// The one answer, whatever of it says no.
    fn answer(
        &self,
        permit: &Permit,
        tally: Tally,
        answered: Result<Vec<Bytes>, Hidden>,
    ) -> Result<Redacted, Unopened> {
        let nothing = tally.without_fields();
        match (self.hidden, self.guarded, answered) {
            (true, _, _) => Err(Unopened::NoMatch(Hidden::Record, nothing)),
            (false, false, _) => Err(Unopened::NoMatch(Hidden::Guard, nothing)),
            (false, true, Err(hidden)) => Err(Unopened::NoMatch(hidden, nothing)),
            (false, true, Ok(chunks)) => {
                let chunks = chunks.into_iter().map(|bytes| stamp(permit.disclosure, 0, bytes)).collect();
                Ok(redacted(permit.disclosure, chunks, tally, Vec::new(), None))
            }
        }
    }
}

/// What one disclosure shows.
fn redacted(
    disclosure: DisclosureId,
    chunks: Vec<RedactedChunk>,
    tally: Tally,
    persons: Vec<Person>,
    media_type: Option<Box<str>>,
) -> Redacted {
    Redacted { disclosure, chunks, tally, persons, media_type }
}

fn stamp(disclosure: DisclosureId, last_seq: u32, bytes: Bytes) -> RedactedChunk {
    RedactedChunk { disclosure, last_seq, bytes }
}

fn errors(outcome: &Outcome) -> u32 {
    u32::try_from(outcome.errors.len()).unwrap_or(u32::MAX)
}

/// The fields of which an answer says that the request's values are right. A mask says less than that: only what is revealed
/// says as much.
fn borne_out(permit: &Permit, tally: Tally) -> FieldSet {
    let asked = given(permit).filter(|asked| asked.borne_out && !tally.revealed.contains(asked.field));
    asked.map(|asked| asked.field).collect()
}

/// Appends what a record shows, behind `lead`. `strays` is told the names of what is not declared.
fn redact(
    permit: &Permit,
    (record, treatments): (&RecordSchema, &Treatments),
    (bytes, cuts): (&Bytes, &[usize]),
    secrets: &Secrets,
    lead: &[u8],
    chunks: &mut Vec<Bytes>,
    strays: Option<&mut Strays>,
) -> Result<Tally, Unreadable> {
    let pseudonym = Pseudonym::new(&secrets.pseudonyms, &permit.system.agency.id, &permit.purpose.id);
    let mut redactor = Redactor::new(record, treatments, pseudonym);
    redactor.begin_with(lead);
    redactor.without(cuts);
    if let Some(strays) = strays {
        redactor.naming(strays);
    }
    redactor.push(bytes.clone(), chunks)?;
    redactor.finish()
}

/// Nothing of the record was read: nothing is counted, as of a person whom the register does not know.
const SEALED: Unopened = Unopened::NoMatch(Hidden::Sealed, Tally::NONE);

/// What the record phase decides about a record that can be read.
#[cfg(test)]
pub(crate) fn outcome_of(permit: &Permit, raw: &Raw) -> Option<Arc<Outcome>> {
    let found = capture(&permit.operation.record, wanted(permit), raw.bytes()).ok()?;
    Some(decided(permit, &found).0)
}

/// `{"full_name":true,"phone":false}`.
fn verdicts(claims: &[(Asked<'_>, bool)]) -> String {
    let members = claims.iter().map(|(asked, right)| format!("{}:{right}", serde_json::Value::from(asked.name)));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}
