//! Records to bytes. One encoder a segment: names are written once a segment and then meant by number.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use popgate_policy::bundle::Digest;
use popgate_policy::contract::RecordSchema;
use popgate_policy::model::{ExchangeId, FieldSet, OperationId, Personal, PurposeId, SystemId};

use super::key::{AuditKey, SegmentKey};
use super::record::{Action, Brought, Claimed, Intent, NoMatch, Outcome, PurposeSource, Refused, Shown};
use super::wire::{Kind, frame, put_short, put_signed, put_varint};

/// Encodes the records of one segment.
pub(super) struct Encoder {
    key: AuditKey,
    sealing: SegmentKey,
    created: i64,
    systems: HashMap<SystemId, u64>,
    exchanges: HashMap<ExchangeId, u64>,
    operations: HashMap<OperationId, u64>,
    purposes: HashMap<PurposeId, u64>,
    codes: HashMap<&'static str, u64>,
    bundles: HashMap<Digest, u64>,
    /// Compared by address, which holding them keeps from being used again.
    schemas: Vec<(Digest, Arc<RecordSchema>)>,
    payload: Vec<u8>,
    personal: Vec<u8>,
}

impl Encoder {
    /// `created`: the segment's time in microseconds since 1970.
    pub(super) fn new(key: AuditKey, sealing: SegmentKey, created: i64) -> Self {
        Self {
            key,
            sealing,
            created,
            systems: HashMap::new(),
            exchanges: HashMap::new(),
            operations: HashMap::new(),
            purposes: HashMap::new(),
            codes: HashMap::new(),
            bundles: HashMap::new(),
            schemas: Vec::new(),
            payload: Vec::with_capacity(256),
            personal: Vec::with_capacity(128),
        }
    }

    /// `None` only if the cipher fails; nothing was appended then but names.
    pub(super) fn intent(&mut self, out: &mut Vec<u8>, seq: u64, at: i64, intent: &Intent) -> Option<()> {
        let system = number(&mut self.systems, SYSTEM, &intent.system, intent.system.as_str(), out);
        let operation = number(&mut self.operations, OPERATION, &intent.operation, intent.operation.as_str(), out);
        let purpose = number(&mut self.purposes, PURPOSE, &intent.purpose, intent.purpose.as_str(), out);
        let exchange = self.exchange(out, intent.exchange.as_ref());
        let schema = self.schema(out, intent.bundle, &intent.record);
        let source = intent.source.to_canonical();
        let mut flags = if source.is_ipv6() { IPV6 } else { 0 };
        if intent.purpose_source == PurposeSource::Default {
            flags |= DEFAULT_PURPOSE;
        }
        if intent.subject.is_none() {
            flags |= NOBODY;
        }
        if exchange.is_some() {
            flags |= BY_EXCHANGE;
        }
        let Brought { user, case, assurance } = Brought::from(&intent.claimed);
        flags |= TOLD;
        for (brought, flag) in [(user, USER), (case, CASE), (assurance, ASSURANCE)] {
            flags |= if brought { flag } else { 0 };
        }
        self.payload.clear();
        self.payload.push(flags);
        self.payload.extend_from_slice(&intent.disclosure.to_bytes());
        put_signed(&mut self.payload, at.wrapping_sub(self.created));
        for number in [system, operation, purpose, schema] {
            put_varint(&mut self.payload, number);
        }
        if let Some(exchange) = exchange {
            put_varint(&mut self.payload, exchange);
        }
        put_address(&mut self.payload, source);
        put_fields(&mut self.payload, intent.fields);
        if let Some(subject) = &intent.subject {
            self.payload.extend_from_slice(&self.key.tag(subject.expose()).0);
        }
        self.seal(seq, intent.subject.as_ref(), &intent.claimed)?;
        frame(out, Kind::Intent, &self.payload);
        Some(())
    }

    /// `seq - intent` is how the closing names its intent.
    pub(super) fn closing(&mut self, out: &mut Vec<u8>, seq: u64, at: i64, intent: u64, outcome: Outcome) {
        let code = match outcome {
            Outcome::Refused(code) => number(&mut self.codes, CODE, &code, code, out),
            _ => 0,
        };
        let payload = &mut self.payload;
        payload.clear();
        put_signed(payload, at.wrapping_sub(self.created));
        put_varint(payload, seq.wrapping_sub(intent));
        match outcome {
            Outcome::Complete(shown) => {
                payload.push(COMPLETE);
                put_shown(payload, shown);
            }
            Outcome::Partial(shown) => {
                payload.push(PARTIAL);
                put_shown(payload, shown);
            }
            Outcome::NoMatch(reason) => {
                let place = NoMatch::ALL.iter().position(|known| *known == reason).unwrap_or_default();
                payload.extend_from_slice(&[NO_MATCH, place as u8]);
            }
            Outcome::Refused(_) => {
                payload.push(REFUSED);
                put_varint(payload, code);
            }
            Outcome::Aborted => payload.push(ABORTED),
        }
        frame(out, Kind::Closing, payload);
    }

    /// `None` only if the cipher fails; nothing was appended then but names.
    pub(super) fn refused(&mut self, out: &mut Vec<u8>, seq: u64, at: i64, refused: &Refused) -> Option<()> {
        let system = refused.system.as_ref().map(|id| number(&mut self.systems, SYSTEM, id, id.as_str(), out));
        let exchange = self.exchange(out, refused.exchange.as_ref());
        let operation =
            refused.operation.as_ref().map(|id| number(&mut self.operations, OPERATION, id, id.as_str(), out));
        let purpose = refused.purpose.as_ref().map(|id| number(&mut self.purposes, PURPOSE, id, id.as_str(), out));
        let code = number(&mut self.codes, CODE, &refused.code, refused.code, out);
        let bundle = self.bundle(out, refused.bundle);
        let source = refused.source.to_canonical();
        let mut flags = MORE | if source.is_ipv6() { IPV6 } else { 0 };
        if refused.subject.is_some() {
            flags |= SUBJECT;
        }
        if exchange.is_some() {
            flags |= BY_EXCHANGE;
        }
        if system.is_none() {
            flags |= NO_SYSTEM;
        }
        self.payload.clear();
        self.payload.push(flags);
        self.payload.extend_from_slice(&refused.disclosure.to_bytes());
        put_signed(&mut self.payload, at.wrapping_sub(self.created));
        for known in [system, exchange].into_iter().flatten() {
            put_varint(&mut self.payload, known);
        }
        for optional in [operation, purpose] {
            put_varint(&mut self.payload, optional.map_or(0, |number| number + 1));
        }
        put_varint(&mut self.payload, code);
        put_address(&mut self.payload, source);
        let Brought { user, case, assurance } = Brought::from(&refused.claimed);
        let brought = [(user, USER), (case, CASE), (assurance, ASSURANCE)];
        self.payload.push(brought.into_iter().filter(|(brought, _)| *brought).map(|(_, flag)| flag).sum());
        put_varint(&mut self.payload, bundle);
        if let Some(subject) = &refused.subject {
            self.payload.extend_from_slice(&self.key.tag(subject.expose()).0);
        }
        if refused.subject.is_some() || refused.claimed != Claimed::default() {
            self.seal(seq, refused.subject.as_ref(), &refused.claimed)?;
        }
        frame(out, Kind::Refused, &self.payload);
        Some(())
    }

    /// Nothing in it is sealed or means a name by number: it is read by itself.
    pub(super) fn action(&mut self, out: &mut Vec<u8>, at: i64, action: &Action) {
        let payload = &mut self.payload;
        payload.clear();
        payload.push(if action.until.is_some() { UNTIL } else { 0 });
        put_signed(payload, at.wrapping_sub(self.created));
        if let Some(until) = action.until {
            put_signed(payload, until.as_microsecond().wrapping_sub(self.created));
        }
        for text in [&action.by, &action.what, &action.target, &action.reason] {
            put_short(payload, text.as_bytes());
        }
        frame(out, Kind::Action, payload);
    }

    /// Appends the sealed personal part to the payload, which it authenticates.
    fn seal(&mut self, seq: u64, subject: Option<&Personal<String>>, claimed: &Claimed) -> Option<()> {
        self.personal.clear();
        let parts = [
            subject,
            claimed.user.as_ref(),
            claimed.case.as_ref(),
            claimed.assurance.as_ref(),
            claimed.request_id.as_ref(),
            claimed.represented.as_ref(),
            claimed.client.as_ref(),
        ];
        let present = parts.iter().enumerate().fold(0, |mask, (at, part)| mask | u8::from(part.is_some()) << at);
        self.personal.push(present);
        for part in parts.into_iter().flatten() {
            put_short(&mut self.personal, part.expose().as_bytes());
        }
        self.sealing.seal(seq, &self.payload, &mut self.personal)?;
        self.payload.extend_from_slice(&self.personal);
        Some(())
    }

    fn exchange(&mut self, out: &mut Vec<u8>, exchange: Option<&ExchangeId>) -> Option<u64> {
        exchange.map(|id| number(&mut self.exchanges, EXCHANGE, id, id.as_str(), out))
    }

    /// Written down as it is, as in schemas: whoever wants to know whether a segment names a bundle looks for its bytes.
    fn bundle(&mut self, out: &mut Vec<u8>, bundle: Digest) -> u64 {
        if let Some(known) = self.bundles.get(&bundle) {
            return *known;
        }
        let number = self.bundles.len() as u64;
        frame(out, Kind::Name, &[[BUNDLE].as_slice(), &bundle.0].concat());
        self.bundles.insert(bundle, number);
        number
    }

    fn schema(&mut self, out: &mut Vec<u8>, bundle: Digest, record: &Arc<RecordSchema>) -> u64 {
        let known = self.schemas.iter().position(|(of, known)| *of == bundle && Arc::ptr_eq(known, record));
        if let Some(known) = known {
            return known as u64;
        }
        self.payload.clear();
        self.payload.extend_from_slice(&bundle.0);
        put_short(&mut self.payload, record.name.as_bytes());
        put_varint(&mut self.payload, record.fields.len() as u64);
        for field in &record.fields {
            put_short(&mut self.payload, field.name.as_str().as_bytes());
        }
        frame(out, Kind::Schema, &self.payload);
        self.schemas.push((bundle, Arc::clone(record)));
        self.schemas.len() as u64 - 1
    }
}

/// The number of a name; at its first use in a segment the name is written down.
fn number<K: Hash + Eq + Clone>(known: &mut HashMap<K, u64>, table: u8, key: &K, name: &str, out: &mut Vec<u8>) -> u64 {
    if let Some(number) = known.get(key) {
        return *number;
    }
    let number = known.len() as u64;
    let mut payload = Vec::with_capacity(name.len() + 1);
    payload.push(table);
    payload.extend_from_slice(name.as_bytes());
    frame(out, Kind::Name, &payload);
    known.insert(key.clone(), number);
    number
}

fn put_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => out.extend_from_slice(&address.octets()),
        IpAddr::V6(address) => out.extend_from_slice(&address.octets()),
    }
}

fn put_shown(out: &mut Vec<u8>, shown: Shown) {
    for fields in [shown.revealed, shown.masked, shown.matched] {
        put_fields(out, fields);
    }
}

/// The set's bytes without the zeros at their end.
fn put_fields(out: &mut Vec<u8>, fields: FieldSet) {
    let bytes = fields.to_bytes();
    let length = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    put_short(out, bytes.get(..length).unwrap_or_default());
}

/// A record's flags.
pub(super) const IPV6: u8 = 1;
pub(super) const DEFAULT_PURPOSE: u8 = 2;
pub(super) const SUBJECT: u8 = 4;
/// Of an intent, which else has a subject.
pub(super) const NOBODY: u8 = 8;
pub(super) const BY_EXCHANGE: u8 = 16;
/// Of a refusal, which else has a system.
pub(super) const NO_SYSTEM: u8 = 32;
/// Of a refusal: which claims it brought, and the bundle, are told.
pub(super) const MORE: u8 = 64;
/// Of an action.
pub(super) const UNTIL: u8 = 8;
/// Of an intent: which claims it brought is told by the three after this, which stand in a byte of their own in a refusal.
pub(super) const TOLD: u8 = 4;
pub(super) const USER: u8 = 32;
pub(super) const CASE: u8 = 64;
pub(super) const ASSURANCE: u8 = 128;

/// The tables of names.
pub(super) const SYSTEM: u8 = 0;
pub(super) const OPERATION: u8 = 1;
pub(super) const PURPOSE: u8 = 2;
pub(super) const CODE: u8 = 3;
pub(super) const EXCHANGE: u8 = 4;
pub(super) const BUNDLE: u8 = 5;

/// A closing's outcomes.
pub(super) const COMPLETE: u8 = 0;
pub(super) const PARTIAL: u8 = 1;
pub(super) const NO_MATCH: u8 = 2;
pub(super) const REFUSED: u8 = 3;
pub(super) const ABORTED: u8 = 4;
