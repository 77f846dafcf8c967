//! Bytes to entries. One decoder a segment, fed every frame in order.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use jiff::Timestamp;
use popgate_policy::bundle::Digest;
use popgate_policy::model::{DisclosureId, FieldSet, Personal};

use super::encode::{
    ABORTED, ASSURANCE, BUNDLE, BY_EXCHANGE, CASE, CODE, COMPLETE, DEFAULT_PURPOSE, EXCHANGE, IPV6, MORE, NO_MATCH,
    NO_SYSTEM, NOBODY, OPERATION, PARTIAL, PURPOSE, REFUSED, SUBJECT, SYSTEM, TOLD, UNTIL, USER,
};
use super::key::{AuditKey, SegmentKey, SubjectTag};
use super::record::{Action, Brought, Claimed, NoMatch, PurposeSource, Shown};
use super::wire::{Frame, Header, Kind, Reader};

/// A record as the log holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its number in the log, counted from 1.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: What,
}

/// What an entry records.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// Something may be shown.
    Intent(Box<IntentEntry>),
    /// What became of it.
    Closing(ClosingEntry),
    /// An identified caller was refused.
    Refused(Box<RefusedEntry>),
    /// An operator did something.
    Action(Box<Action>),
}

/// An intent as the log holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct IntentEntry {
    /// The disclosure.
    pub disclosure: DisclosureId,
    /// `agency/system`.
    pub system: Arc<str>,
    /// The exchange server that spoke for it.
    pub exchange: Option<Arc<str>>,
    /// The operation.
    pub operation: Arc<str>,
    /// The purpose.
    pub purpose: Arc<str>,
    /// Who named it.
    pub purpose_source: PurposeSource,
    /// The bundle that decided, and the names of its fields.
    pub schema: Arc<Schema>,
    /// The most that may have been shown.
    pub fields: FieldSet,
    /// Whom it is about, for those without the key; `None` for a search.
    pub tag: Option<SubjectTag>,
    /// What only the key opens; `None` without it.
    pub sealed: Option<Unsealed>,
    /// Which claims it brought; `None` if the record is older than that this is told.
    pub brought: Option<Brought>,
    /// Where the connection came from.
    pub source: IpAddr,
    /// Whether a closing says what was shown. `false` means that anything in `fields` was possibly seen.
    pub closed: bool,
}

/// A closing as the log holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct ClosingEntry {
    /// The number of its intent.
    pub intent: u64,
    /// The disclosure, if the intent was read.
    pub disclosure: Option<DisclosureId>,
    /// The names of the fields, if the intent was read.
    pub schema: Option<Arc<Schema>>,
    /// How it ended.
    pub outcome: Ended,
}

/// How a disclosure ended: [`super::Outcome`], read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All of the answer was sent.
    Complete(Shown),
    /// Some of the answer was sent.
    Partial(Shown),
    /// The answer for an unknown person was sent.
    NoMatch(NoMatch),
    /// A refusal was sent.
    Refused(Arc<str>),
    /// Nothing was sent.
    Aborted,
}

/// A refusal as the log holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct RefusedEntry {
    /// The request.
    pub disclosure: DisclosureId,
    /// `agency/system`; `None` if an exchange server named a client that it does not speak for.
    pub system: Option<Arc<str>>,
    /// The exchange server that spoke for it.
    pub exchange: Option<Arc<str>>,
    /// The operation.
    pub operation: Option<Arc<str>>,
    /// The purpose.
    pub purpose: Option<Arc<str>>,
    /// The refusal's code.
    pub code: Arc<str>,
    /// Whom it was about, for those without the key.
    pub tag: Option<SubjectTag>,
    /// What only the key opens; `None` without it, or if there is nothing.
    pub sealed: Option<Unsealed>,
    /// Which claims it brought; `None` if the record is older than that this is told.
    pub brought: Option<Brought>,
    /// The bundle that was in force; likewise.
    pub bundle: Option<Digest>,
    /// Where the connection came from.
    pub source: IpAddr,
}

/// The personal part of a record.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Unsealed {
    /// Whom it is about.
    pub subject: Option<Personal<String>>,
    /// What the agency claimed.
    pub claimed: Claimed,
}

/// The fields of a record schema in one bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// The bundle.
    pub bundle: Digest,
    /// The schema's name, such as `Citizen`.
    pub name: String,
    /// The fields' full names, by position.
    pub fields: Vec<String>,
}

impl Schema {
    /// The names of the fields in a set, without the schema's own.
    pub fn names(&self, set: FieldSet) -> impl Iterator<Item = &str> {
        set.iter().map(|at| {
            let name = self.fields.get(usize::from(at.0)).map_or("?", String::as_str);
            name.strip_prefix(self.name.as_str()).and_then(|rest| rest.strip_prefix('.')).unwrap_or(name)
        })
    }
}

/// Decodes the frames of one segment.
pub(super) struct Decoder {
    created: i64,
    key: Option<SegmentKey>,
    names: [Vec<Arc<str>>; 5],
    bundles: Vec<Digest>,
    schemas: Vec<Arc<Schema>>,
}

impl Decoder {
    pub(super) fn new(header: &Header, key: Option<&AuditKey>) -> Self {
        let key = key.filter(|key| key.id() == header.key).and_then(|key| key.segment(header.number, &header.salt));
        Self { created: header.created, key, names: Default::default(), bundles: Vec::new(), schemas: Vec::new() }
    }

    /// `Err` if the frame cannot be read; `Ok(None)` if it is no record. `seq` is the number that a record gets.
    pub(super) fn frame(&mut self, frame: &Frame<'_>, seq: u64) -> Result<Option<Entry>, ()> {
        let mut from = Reader::new(frame.payload);
        let entry = match frame.kind {
            Kind::Name => return self.name(&mut from).map(|()| None).ok_or(()),
            Kind::Schema => return self.schema(&mut from).map(|()| None).ok_or(()),
            Kind::Seal => return Ok(None),
            Kind::Intent => self.intent(&mut from, frame.payload, seq),
            Kind::Closing => self.closing(&mut from, seq),
            Kind::Refused => self.refused(&mut from, frame.payload, seq),
            Kind::Action => self.action(&mut from),
        };
        let (at, what) = entry.ok_or(())?;
        Ok(Some(Entry { seq, at, what }))
    }

    fn name(&mut self, from: &mut Reader<'_>) -> Option<()> {
        let table = from.byte()?;
        if table == BUNDLE {
            self.bundles.push(Digest(from.array()?));
            return Some(());
        }
        let table = self.names.get_mut(usize::from(table))?;
        table.push(Arc::from(std::str::from_utf8(from.rest()).ok()?));
        Some(())
    }

    fn schema(&mut self, from: &mut Reader<'_>) -> Option<()> {
        let bundle = Digest(from.array()?);
        let name = from.text()?.to_owned();
        let count = from.count()?;
        let fields = (0..count).map_while(|_| from.text().map(str::to_owned)).collect::<Vec<_>>();
        (fields.len() == count).then(|| self.schemas.push(Arc::new(Schema { bundle, name, fields })))
    }

    fn intent(&self, from: &mut Reader<'_>, payload: &[u8], seq: u64) -> Option<(Timestamp, What)> {
        let flags = from.byte()?;
        let disclosure = DisclosureId::from_bytes(from.array()?);
        let at = self.time(from)?;
        let system = self.named(SYSTEM, from.count()?)?;
        let operation = self.named(OPERATION, from.count()?)?;
        let purpose = self.named(PURPOSE, from.count()?)?;
        let schema = Arc::clone(self.schemas.get(from.count()?)?);
        let exchange = self.exchange(flags, from)?;
        let source = address(from, flags)?;
        let fields = fields(from)?;
        let tag = if flags & NOBODY == 0 { Some(SubjectTag(from.array()?)) } else { None };
        let purpose_source = if flags & DEFAULT_PURPOSE == 0 { PurposeSource::Header } else { PurposeSource::Default };
        let brought = (flags & TOLD != 0).then_some(brought(flags));
        let sealed = self.unseal(from, payload, seq);
        let entry = IntentEntry {
            disclosure,
            system,
            exchange,
            operation,
            purpose,
            purpose_source,
            schema,
            fields,
            tag,
            sealed,
            brought,
            source,
            closed: false,
        };
        Some((at, What::Intent(Box::new(entry))))
    }

    fn closing(&self, from: &mut Reader<'_>, seq: u64) -> Option<(Timestamp, What)> {
        let at = self.time(from)?;
        let intent = seq.checked_sub(from.varint()?)?;
        let outcome = match from.byte()? {
            COMPLETE => Ended::Complete(shown(from)?),
            PARTIAL => Ended::Partial(shown(from)?),
            NO_MATCH => Ended::NoMatch(*NoMatch::ALL.get(usize::from(from.byte()?))?),
            REFUSED => Ended::Refused(self.named(CODE, from.count()?)?),
            ABORTED => Ended::Aborted,
            _ => return None,
        };
        Some((at, What::Closing(ClosingEntry { intent, disclosure: None, schema: None, outcome })))
    }

    fn refused(&self, from: &mut Reader<'_>, payload: &[u8], seq: u64) -> Option<(Timestamp, What)> {
        let flags = from.byte()?;
        let disclosure = DisclosureId::from_bytes(from.array()?);
        let at = self.time(from)?;
        let system = if flags & NO_SYSTEM == 0 { Some(self.named(SYSTEM, from.count()?)?) } else { None };
        let exchange = self.exchange(flags, from)?;
        let operation = self.named_or_none(OPERATION, from.count()?)?;
        let purpose = self.named_or_none(PURPOSE, from.count()?)?;
        let code = self.named(CODE, from.count()?)?;
        let source = address(from, flags)?;
        let (brought, bundle) = match flags & MORE {
            0 => (None, None),
            _ => (Some(brought(from.byte()?)), Some(*self.bundles.get(from.count()?)?)),
        };
        let tag = if flags & SUBJECT == 0 { None } else { Some(SubjectTag(from.array()?)) };
        let sealed = self.unseal(from, payload, seq);
        let entry = RefusedEntry {
            disclosure,
            system,
            exchange,
            operation,
            purpose,
            code,
            tag,
            sealed,
            brought,
            bundle,
            source,
        };
        Some((at, What::Refused(Box::new(entry))))
    }

    fn action(&self, from: &mut Reader<'_>) -> Option<(Timestamp, What)> {
        let flags = from.byte()?;
        let at = self.time(from)?;
        let until = if flags & UNTIL == 0 { None } else { Some(self.time(from)?) };
        let mut text = || from.text().map(str::to_owned);
        let (by, what, target, reason) = (text()?, text()?, text()?, text()?);
        Some((at, What::Action(Box::new(Action { by, what, target, reason, until }))))
    }

    fn time(&self, from: &mut Reader<'_>) -> Option<Timestamp> {
        Timestamp::from_microsecond(self.created.checked_add(from.signed()?)?).ok()
    }

    fn exchange(&self, flags: u8, from: &mut Reader<'_>) -> Option<Option<Arc<str>>> {
        if flags & BY_EXCHANGE == 0 { Some(None) } else { self.named(EXCHANGE, from.count()?).map(Some) }
    }

    fn named(&self, table: u8, number: usize) -> Option<Arc<str>> {
        self.names.get(usize::from(table))?.get(number).cloned()
    }

    fn named_or_none(&self, table: u8, number: usize) -> Option<Option<Arc<str>>> {
        match number.checked_sub(1) {
            None => Some(None),
            Some(number) => self.named(table, number).map(Some),
        }
    }

    /// What is left of the payload is sealed, and authenticates what was before it.
    fn unseal(&self, from: &Reader<'_>, payload: &[u8], seq: u64) -> Option<Unsealed> {
        let sealed = from.rest();
        let clear = payload.get(..payload.len() - sealed.len())?;
        let opened = self.key.as_ref()?.open(seq, clear, sealed)?;
        let mut from = Reader::new(&opened);
        let present = from.byte()?;
        let mut part = |place: u8| {
            (present & 1 << place != 0).then(|| from.text().map(|text| Personal::new(text.to_owned()))).flatten()
        };
        let subject = part(0);
        let (user, case, assurance, request_id) = (part(1), part(2), part(3), part(4));
        let (represented, client) = (part(5), part(6));
        Some(Unsealed { subject, claimed: Claimed { user, case, assurance, request_id, represented, client } })
    }
}

fn address(from: &mut Reader<'_>, flags: u8) -> Option<IpAddr> {
    Some(if flags & IPV6 == 0 {
        IpAddr::V4(Ipv4Addr::from(from.array::<4>()?))
    } else {
        IpAddr::V6(Ipv6Addr::from(from.array::<16>()?))
    })
}

fn brought(flags: u8) -> Brought {
    let has = |flag| flags & flag != 0;
    Brought { user: has(USER), case: has(CASE), assurance: has(ASSURANCE) }
}

fn shown(from: &mut Reader<'_>) -> Option<Shown> {
    Some(Shown { revealed: fields(from)?, masked: fields(from)?, matched: fields(from)? })
}

fn fields(from: &mut Reader<'_>) -> Option<FieldSet> {
    let short = from.short()?;
    let mut bytes = [0; 16];
    bytes.get_mut(..short.len())?.copy_from_slice(short);
    Some(FieldSet::from_bytes(bytes))
}
