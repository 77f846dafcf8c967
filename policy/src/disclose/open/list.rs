//! Opening a list: each record is one of its own, with its own conditions and its own entry in the audit log.
//!
//! A record with nothing to show is left out as if the register had not sent it. What the envelope says about all of them (how
//! many there are, where the next page begins) is shown only where no record can be hidden, see [`crate::engine`].

use std::ops::Range;

use bytes::Bytes;

use super::{Examined, borne_out, decide, errors, examine_any, given, only, redact, redacted, stamp, wanted};
use crate::contract::{Answer, Field, Kind, List, Role, Shape};
use crate::disclose::json::{Captured, capture, split};
use crate::disclose::{MAX_LIST, Person, Raw, Redacted, RedactedChunk, Secrets, Strays, Tally, Treatments, Unreadable};
use crate::model::{FieldIx, FieldSet, Personal, Treatment};
use crate::permit::{Hidden, Permit, Unopened};

pub(super) fn open(
    permit: &Permit,
    list: &List,
    raw: &Raw,
    secrets: &Secrets,
    strays: &mut Strays,
) -> Result<Redacted, Unopened> {
    let bytes = raw.bytes();
    let mut rows = Rows::begin(permit, list, secrets)?;
    let elements = elements(list, bytes).map_err(|why| permit.unreadable(why))?;
    if elements.len() > most_records(permit) {
        return Err(Unopened::Unreadable(Unreadable::TooLarge));
    }
    for at in elements {
        if rows.are_full() {
            break;
        }
        rows.row(&bytes.slice(at))?;
    }
    rows.end(bytes, strays)
}

/// How many records a register may answer with: as many as the contract lets be asked for.
fn most_records(permit: &Permit) -> usize {
    let limits = permit.operation.parameters.iter().filter_map(|parameter| match parameter.role {
        Role::Limit(most) => usize::try_from(most).ok(),
        Role::Asks | Role::Cursor | Role::Sort(_) => None,
    });
    limits.max().unwrap_or(MOST_RECORDS)
}

/// See [`Permit::persons`].
pub(crate) fn persons(permit: &Permit, raw: &Raw) -> Result<Vec<Personal<String>>, Unopened> {
    let Answer::List(list) = &permit.operation.answer else { return Ok(Vec::new()) };
    let bytes = raw.bytes();
    let subject = permit.operation.record.subject;
    let mut persons = Vec::new();
    let elements = elements(list, bytes).map_err(|why| permit.unreadable(why))?;
    if elements.len() > most_records(permit) {
        return Err(Unopened::Unreadable(Unreadable::TooLarge));
    }
    for at in elements {
        let bytes = bytes.slice(at);
        let found = capture(&permit.operation.record, wanted(permit), &bytes).map_err(|why| permit.unreadable(why))?;
        // Whom the policies hide or who is sealed, nobody is asked about: the number of questions would tell.
        let outcome = decide(permit, &found);
        let hidden = given(permit).any(|asked| outcome.treatments.of(asked.field) == Treatment::Withhold);
        if let (false, Captured::Text(number) | Captured::Number(number)) = (hidden, only(&found, subject))
            && !permit.hides(number)
        {
            persons.push(Personal::new(number.clone().into_owned()));
        }
    }
    Ok(persons)
}

fn elements(list: &List, bytes: &Bytes) -> Result<Vec<Range<usize>>, Unreadable> {
    if bytes.len() > MAX_LIST {
        return Err(Unreadable::TooLarge);
    }
    match list.page.shape.member(list.records.as_bytes()) {
        Some((_, Shape::Array(element))) => split(&list.page, element, bytes),
        // The loader makes no such list.
        _ => Err(Unreadable::Shape { offset: 0 }),
    }
}

/// The answer so far.
struct Rows<'a> {
    permit: &'a Permit,
    list: &'a List,
    secrets: &'a Secrets,
    /// What goes before the first record: `{"items":[`.
    opening: String,
    chunks: Vec<RedactedChunk>,
    persons: Vec<Person>,
    /// Whether a record is shown already.
    filled: bool,
    /// Of the person who was asked about, if the request names one: what their record shows, and what it gives of the envelope.
    subject: Option<(Treatments, Tally)>,
    /// Whether their record was there, shown or not.
    met: bool,
    /// How many records are shown.
    shown: u32,
    /// Whether a record was left out.
    dropped: bool,
    tally: Tally,
}

impl<'a> Rows<'a> {
    fn begin(permit: &'a Permit, list: &'a List, secrets: &'a Secrets) -> Result<Self, Unopened> {
        // A name always serialises.
        let name = serde_json::to_string(&*list.records).unwrap_or_default();
        Ok(Self {
            permit,
            list,
            secrets,
            opening: format!("{{{name}:["),
            chunks: Vec::new(),
            persons: Vec::new(),
            filled: false,
            subject: None,
            met: false,
            shown: 0,
            dropped: false,
            tally: Tally::default(),
        })
    }

    /// Whether there is a reason to show no more, however many there are.
    fn are_full(&self) -> bool {
        self.permit.page.is_some_and(|most| self.shown >= most)
    }

    fn row(&mut self, bytes: &Bytes) -> Result<(), Unopened> {
        let permit = self.permit;
        let examined = examine_any(permit, bytes, None).map_err(|why| permit.unreadable(why))?;
        if !permit.is_filtered(|field| only(&examined.found, field)) {
            return Err(Unopened::Unfiltered);
        }
        self.tally.policy_errors = self.tally.policy_errors.saturating_add(errors(&examined.outcome));
        let (Captured::Text(number) | Captured::Number(number)) =
            only(&examined.found, permit.operation.record.subject)
        else {
            // Nobody could say later whom it was about; and what is said of all records would count it.
            let envelope = self.list.envelope.iter();
            if envelope.map(|field| permit.outcome.most.of(field)).any(|most| most != Treatment::Withhold) {
                return Err(Unopened::Unreadable(Unreadable::Shape { offset: 0 }));
            }
            self.tally.mistyped = self.tally.mistyped.saturating_add(1);
            self.dropped = true;
            return Ok(());
        };
        if permit.hides(number) {
            self.dropped = true;
            return Ok(());
        }
        let asked_about = permit.subject().is_some_and(|subject| *number == **subject.expose());
        self.met |= asked_about;
        let number = Personal::new(number.clone().into_owned());
        let Some((chunks, tally)) = self.show(&examined, bytes)? else {
            self.dropped = true;
            return Ok(());
        };
        self.shown += 1;
        self.tally.copied += tally.copied;
        self.filled = true;
        let seq = if asked_about && self.subject.is_none() {
            self.subject = Some((examined.outcome.treatments.clone(), tally));
            0
        } else {
            self.persons.push(Person { subject: number, tally });
            u32::try_from(self.persons.len()).unwrap_or(u32::MAX)
        };
        self.chunks.extend(chunks.into_iter().map(|bytes| stamp(permit.disclosure, seq, bytes)));
        Ok(())
    }

    /// What one record shows, if anything.
    fn show(&self, examined: &Examined<'_>, bytes: &Bytes) -> Result<Option<(Vec<Bytes>, Tally)>, Unopened> {
        if examined.hidden {
            return Ok(None);
        }
        let permit = self.permit;
        let lead = if self.filled { b"," } else { self.opening.as_bytes() };
        let mut chunks = Vec::new();
        let how = (&*permit.operation.record, &examined.outcome.treatments);
        let tally = redact(permit, how, (bytes, examined.cuts()), self.secrets, lead, &mut chunks, None)
            .map_err(|why| permit.unreadable(why))?;
        if tally.revealed.union(tally.masked).is_empty() {
            return Ok(None);
        }
        // What is not declared is counted once, over the whole list.
        Ok(Some((chunks, Tally { matched: borne_out(permit, tally), undeclared: 0, ..tally })))
    }

    fn end(mut self, bytes: &Bytes, strays: &mut Strays) -> Result<Redacted, Unopened> {
        let permit = self.permit;
        if permit.subject().is_some() && !self.met {
            return Err(Unopened::SubjectMismatch);
        }
        let subject = self.subject.take();
        if permit.subject().is_some() && subject.is_none() {
            return Err(Unopened::NoMatch(Hidden::Record, self.tally.without_fields()));
        }
        let treatments = subject.as_ref().map_or(&permit.outcome.treatments, |(treatments, _)| treatments);
        let (rest, envelope) = self.envelope(bytes, treatments, strays).map_err(|why| permit.unreadable(why))?;
        let closing = format!("]{}{rest}}}", if rest.is_empty() { "" } else { "," });
        let tail = if self.filled { closing } else { self.opening.clone() + &closing };
        let last = u32::try_from(self.persons.len()).unwrap_or(u32::MAX);
        self.tally.copied += tail.len();
        self.chunks.push(stamp(permit.disclosure, last, Bytes::from(tail)));
        let own = subject.map(|(_, tally)| tally).unwrap_or_default();
        let asked: FieldSet = given(permit).filter(|asked| asked.borne_out).map(|asked| asked.field).collect();
        let tally = Tally {
            revealed: own.revealed.union(envelope.revealed),
            masked: own.masked.union(envelope.masked),
            matched: own.matched.union(asked),
            undeclared: envelope.undeclared,
            mistyped: self.tally.mistyped.saturating_add(envelope.mistyped).saturating_add(own.mistyped),
            ..self.tally
        };
        Ok(redacted(permit.disclosure, self.chunks, tally, self.persons, None))
    }

    /// The envelope's members beside the records, without brackets.
    fn envelope(
        &self,
        bytes: &Bytes,
        treatments: &Treatments,
        strays: &mut Strays,
    ) -> Result<(String, Tally), Unreadable> {
        let (permit, list) = (self.permit, self.list);
        let mut own = Treatments(vec![Treatment::Withhold; permit.operation.record.fields.len()].into());
        for field in list.envelope.iter().filter(|field| list.cursor != Some(*field) && !self.counts_hidden(*field)) {
            if let Some(slot) = own.0.get_mut(usize::from(field.0)) {
                *slot = if permit.uncounts(&list.page, field) { Treatment::Withhold } else { treatments.of(field) };
            }
        }
        let cut = permit.cut(&list.page, bytes)?.unwrap_or_default();
        for field in cut.withheld.iter() {
            if let Some(slot) = own.0.get_mut(usize::from(field.0)) {
                *slot = Treatment::Withhold;
            }
        }
        let mut chunks = Vec::new();
        let how = (&*list.page, &own);
        let mut tally = redact(permit, how, (bytes, cut.offsets()), self.secrets, b"", &mut chunks, Some(strays))?;
        let written = chunks.concat();
        // What the redactor writes is one object of UTF-8 text.
        let written = String::from_utf8(written).unwrap_or_default();
        let inside = written.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or_default();
        let mut members: Vec<String> = Vec::new();
        if !inside.is_empty() {
            members.push(inside.to_owned());
        }
        if let Some((field, cursor)) = self.cursor(bytes, treatments)? {
            tally.revealed.insert(field.index);
            members.push(cursor);
        }
        Ok((members.join(","), tally))
    }

    /// Whether a leaf of the envelope could count a record that was left out.
    fn counts_hidden(&self, field: FieldIx) -> bool {
        let counts = |field: &Field| matches!(field.kind, Kind::Integer | Kind::Number);
        let is_cursor = self.list.cursor == Some(field);
        self.permit.subject().is_some() && self.dropped && (is_cursor || self.list.page.field(field).is_none_or(counts))
    }

    /// The next page's cursor, sealed for this caller and question.
    fn cursor(&self, bytes: &Bytes, treatments: &Treatments) -> Result<Option<(&'a Field, String)>, Unreadable> {
        let permit = self.permit;
        let Some(field) = self.list.cursor.and_then(|at| self.list.page.field(at)) else { return Ok(None) };
        let withheld = self.counts_hidden(field.index) || permit.uncounts(&self.list.page, field.index);
        if withheld || treatments.of(field.index) != Treatment::Reveal {
            return Ok(None);
        }
        let found = capture(&self.list.page, [field.index].into_iter().collect(), bytes)?;
        let sealed = match only(&found, field.index) {
            Captured::Text(cursor) => self.secrets.cursors.seal(permit.scope, cursor).map(serde_json::Value::from),
            Captured::Null => Some(serde_json::Value::Null),
            _ => None,
        };
        let name = field.path.last().map(|name| serde_json::Value::from(name.as_str()));
        Ok(name.zip(sealed).map(|(name, sealed)| (field, format!("{name}:{sealed}"))))
    }
}

/// How many records a list may have whose contract has no page size.
const MOST_RECORDS: usize = 1000;
