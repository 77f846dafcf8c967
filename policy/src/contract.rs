//! Contracts: OpenAPI 3.1 documents with `x-gateway-*` extensions, read into operations, parameters and fields.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::directory::Priority;
use crate::model::{FieldIx, FieldName, FieldSet, GroupId, MaskKind, OperationId, RegisterId};
use crate::problem::Problem;
use crate::xroad::ServiceId;

mod arguments;
mod checks;
mod openapi;
mod route;
mod strict;
mod upstream;
mod written;

pub(crate) use arguments::decode;
pub use arguments::{ArgumentError, Arguments, RequestParts};
pub use checks::{Mistake, Place};
pub(crate) use openapi::load;
#[cfg(test)]
pub(crate) use openapi::tests as openapi_tests;
pub use route::{Captures, Route};
pub use upstream::UpstreamRequest;
pub(crate) use written::{Resolved, Written};

/// All contracts of one bundle.
#[derive(Debug, Default)]
pub struct Contracts {
    pub(crate) operations: Vec<Arc<Operation>>,
    pub(crate) records: Vec<Arc<RecordSchema>>,
    pub(crate) routes: route::Routes,
    /// `x-gateway-xroad`: the base path of each service.
    pub(crate) services: HashMap<ServiceId, Box<str>>,
    /// The documents as they are written.
    pub(crate) written: Vec<Written>,
    /// By operation, the position of its document.
    pub(crate) written_in: Vec<usize>,
    /// The days on which operations end, with what is to be said from then on.
    pub(crate) sunsets: Vec<(jiff::civil::Date, Problem)>,
}

impl Contracts {
    /// Every operation, in the order of the files and of the documents.
    pub fn operations(&self) -> &[Arc<Operation>] {
        &self.operations
    }

    /// Every record schema that some operation answers from: of a list, the record and the record with the envelope's leaves.
    pub fn records(&self) -> &[Arc<RecordSchema>] {
        &self.records
    }

    /// Every field of every record, each once: the fields of a person are part of a page of persons too.
    pub fn fields(&self) -> impl Iterator<Item = &Field> {
        let mut seen = HashSet::new();
        self.records.iter().flat_map(|record| &record.fields).filter(move |field| seen.insert(&field.name))
    }

    /// The path that those of an X-Road service begin with, such as `/population/v1`.
    pub fn service_base(&self, service: &ServiceId) -> Option<&str> {
        self.services.get(service).map(|base| &**base)
    }

    /// The document that an operation stands in.
    pub(crate) fn written(&self, operation: &Operation) -> Option<&Written> {
        self.written.get(*self.written_in.get(operation.index)?)
    }

    /// The operation of that id.
    pub fn operation(&self, id: &str) -> Option<&Arc<Operation>> {
        self.operations.iter().find(|operation| operation.id.as_str() == id)
    }
}

/// One operation of a contract.
#[derive(Debug)]
pub struct Operation {
    /// Its position in [`Contracts::operations`].
    pub index: usize,
    /// The `operationId`.
    pub id: OperationId,
    /// What it does, in the contract's own words (`summary`).
    pub summary: String,
    /// The downstream method.
    pub method: Method,
    /// The downstream path template, such as `/population/v1/citizens/{id}`: what logs and metrics carry.
    pub template: Arc<str>,
    /// Where the register is asked (`x-gateway-upstream`).
    pub upstream: UpstreamTemplate,
    /// What it answers with (`x-gateway-answer`).
    pub answer: Answer,
    /// Whether each line of its body is a request of its own (`application/x-ndjson`).
    pub bulk: bool,
    /// The parameter that holds the subject's number (`x-gateway-subject`); only a list can do without.
    pub subject: Option<ParamIx>,
    /// Parameters whose values the record must bear out before anything is shown (`x-gateway-guard`).
    pub guard: Vec<ParamIx>,
    /// Every parameter: path, query and body properties alike; those of the path first, in the template's order.
    pub parameters: Vec<Parameter>,
    /// The record that the register answers with. Of a list: one of its records, with the leaves of the envelope as further
    /// fields, so that one table decides about both.
    pub record: Arc<RecordSchema>,
    /// `x-gateway-pushdown`.
    pub pushdown: Option<Pushdown>,
    /// `x-gateway-cache`.
    pub cache: CacheRule,
    /// Since when it is deprecated, and until when it is there, if it is deprecated.
    pub lifecycle: Option<Lifecycle>,
    /// How its requests rank among others' (`x-gateway-priority`); a bulk request's lines are batch if it does not say.
    pub priority: Option<Priority>,
    /// The longest body of a request, in bytes (`x-gateway-max-body`); what the node allows if it does not say.
    pub max_body: Option<usize>,
    /// What JSON Schema says of its parameters.
    pub(crate) checks: checks::Checks,
}

impl Operation {
    /// Whether an answer bears out the value that was given for a parameter, though nothing of its field is shown: a guard,
    /// a claim, or what the register is asked by beside the subject's number.
    pub(crate) fn bears_out(&self, parameter: ParamIx) -> bool {
        let asked_by = || self.upstream.names(parameter);
        let asks = self.parameters.get(parameter.0).is_some_and(|known| known.role == Role::Asks);
        self.guard.contains(&parameter)
            || (asks && Some(parameter) != self.subject && (self.answer == Answer::Match || asked_by()))
    }

    /// The field that using a parameter with that value tells something about; `None` for a page size.
    pub(crate) fn asked_about(&self, parameter: ParamIx, value: &str) -> Option<FieldIx> {
        let known = self.parameters.get(parameter.0)?;
        match (&known.role, &self.answer) {
            (Role::Asks, _) => Some(known.field),
            (Role::Sort(keys), _) => keys.iter().find(|(key, _)| key == value).map(|(_, field)| *field),
            (Role::Cursor, Answer::List(list)) => list.cursor,
            (Role::Limit(_) | Role::Cursor, _) => None,
        }
    }

    /// Whether a request has a body.
    pub fn takes_body(&self) -> bool {
        self.parameters.iter().any(|known| known.location == Location::Body)
    }

    /// The parameters that an answer of yes or no is about: those that neither name the subject nor guard it.
    pub(crate) fn claims(&self) -> impl Iterator<Item = ParamIx> {
        let all = (0..self.parameters.len()).map(ParamIx);
        all.filter(|at| Some(*at) != self.subject && !self.guard.contains(at))
    }

    /// The largest answer of the register that is read, in bytes.
    pub fn most_bytes(&self) -> usize {
        match self.answer {
            Answer::Record | Answer::Match | Answer::Whole(_) => crate::disclose::MAX_BUFFERED,
            Answer::List(_) => crate::disclose::MAX_LIST,
        }
    }
}

/// The end of an operation (`x-gateway-deprecated-since`, `x-gateway-sunset`, `x-gateway-successor`). It is served as long as it is in
/// the bundle; what this says is for its callers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lifecycle {
    /// The day since which it is deprecated.
    pub deprecated: jiff::civil::Date,
    /// The day on which it ends.
    pub sunset: Option<jiff::civil::Date>,
    /// The operation to use in its place. There may be none of that name: that is a warning.
    pub successor: Option<OperationId>,
}

/// The position of a parameter in [`Operation::parameters`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParamIx(pub usize);

/// Methods that a read operation may use.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Method {
    /// `GET` (and, on the same route, `HEAD`).
    Get,
    /// `POST` with a JSON body.
    Post,
}

impl Method {
    /// The method's name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

/// How an operation answers (`x-gateway-answer`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The record, redacted.
    Record,
    /// Per claimed attribute whether it is right, computed here.
    Match,
    /// Records of several persons in an envelope: a household, a page of a search.
    List(List),
    /// One field that is no JSON: a portrait.
    Whole(Whole),
}

/// The envelope around the records of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct List {
    /// The whole answer: the fields are those of [`Operation::record`], at the same positions; the shape is the envelope's, with
    /// the records as its only array of objects.
    pub page: Arc<RecordSchema>,
    /// The member of the envelope that holds the records.
    pub records: Box<str>,
    /// The leaves of the envelope.
    pub envelope: FieldSet,
    /// The leaf that holds the next page's cursor (`x-gateway-role: cursor`).
    pub cursor: Option<FieldIx>,
}

/// A field that a register gives by itself, as it is (`x-gateway-whole`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Whole {
    /// The field; it MUST be one with [`Field::whole`].
    pub field: FieldIx,
    /// Its media type, such as `image/jpeg`: the register's `Content-Type` and ours.
    pub media_type: Box<str>,
    /// Where the register has it. [`Operation::upstream`] has the record, for subject and conditions.
    pub upstream: UpstreamTemplate,
    /// The most that is passed on, in bytes.
    pub most_bytes: usize,
}

/// A record attribute that the register can filter by, so that a condition on it need not hide what the register counted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pushdown {
    /// The position in [`RecordSchema::attributes`].
    pub attribute: usize,
    /// The parameter that filters by it. A request that leaves it out gets the agency's own province.
    pub parameter: ParamIx,
}

/// `x-gateway-upstream: population GET /persons/{path.id}`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UpstreamTemplate {
    /// The register.
    pub register: RegisterId,
    /// The upstream method; reads only, so always `GET` today.
    pub method: Method,
    /// The path as literal text and parameters in turn.
    pub segments: Vec<Segment>,
    /// The query: names and the parameters whose values they get; one that a request does not have is left out.
    pub query: Vec<(String, ParamIx)>,
}

impl UpstreamTemplate {
    /// Whether the register is told that parameter.
    pub fn names(&self, parameter: ParamIx) -> bool {
        self.segments.contains(&Segment::Parameter(parameter))
            || self.query.iter().any(|(_, named)| *named == parameter)
    }
}

/// A piece of an upstream path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Segment {
    /// Text as it stands.
    Literal(String),
    /// A parameter's value, percent-encoded as one path segment.
    Parameter(ParamIx),
}

/// One parameter of an operation, bound to the field that using it discloses something about.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// The name on the wire.
    pub name: String,
    /// Where it travels.
    pub location: Location,
    /// What it is for.
    pub role: Role,
    /// The field it is bound to (`x-gateway-field`): using it needs at least `match` on that field. A page size is bound to none,
    /// and a sort parameter to one by each of its values; theirs is the record's subject.
    pub field: FieldIx,
    /// Whether a request without it is refused.
    pub required: bool,
    /// The JSON type of its value: a string, a date, an integer or a boolean.
    pub kind: Kind,
    /// What its value must be, anchored on both ends.
    pub pattern: Option<regex::Regex>,
    /// Longest value in characters.
    pub max_length: usize,
}

/// What a parameter is for (`x-gateway-role`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Role {
    /// It says something about a field.
    Asks,
    /// How many records a page may hold: from one to that many.
    Limit(u32),
    /// Where the next page begins: opaque to the agency, and good for it and its question alone.
    Cursor,
    /// The order, each value with the field that it tells about (`x-gateway-sort`).
    Sort(Vec<(String, FieldIx)>),
}

/// Where a parameter travels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Location {
    /// In the path template.
    Path,
    /// In the query string.
    Query,
    /// A top-level property of the JSON body.
    Body,
}

/// `x-gateway-cache`: what the contract allows on top of what the register's answer allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CacheRule {
    /// Who may share a stored record.
    pub scope: CacheScope,
    /// The longest freshness, whatever the register says.
    pub fresh: Duration,
    /// How long past freshness a stored record may stand in for a register that fails (RFC 5861, section 4).
    pub stale_if_error: Duration,
    /// How long past freshness a stored record may be answered with while the register is asked anew (RFC 5861, section 3).
    pub stale_while_revalidate: Duration,
    /// How long after the register was asked "no match" may be answered without asking it again.
    pub no_match: Duration,
}

/// Who may share a stored record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CacheScope {
    /// Every agency, each through its own permit.
    Shared,
    /// Only the agency whose request stored it.
    Agency,
    /// Nothing is stored.
    Off,
}

/// A record as the register returns it: its fields, and the shape of the JSON that holds them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordSchema {
    /// The component schema's name, such as `Citizen`.
    pub name: String,
    /// Every leaf, in the schema's order; at most [`crate::model::FieldSet::CAPACITY`].
    pub fields: Vec<Field>,
    /// The shape of one record; always an object.
    pub shape: ObjectShape,
    /// The field that holds the number of the person whom the record is about (`x-gateway-subject` on the schema).
    pub subject: FieldIx,
    /// What policies may ask about the returned record (`x-gateway-attributes`).
    pub attributes: Vec<Attribute>,
    /// The leaves that hold other persons' numbers.
    pub references: Vec<Reference>,
}

/// A leaf that holds the number of another person than the record is about (`x-gateway-person`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The leaf: a number, or an array of numbers.
    pub leaf: FieldIx,
    /// Leaves elsewhere that tell of the same person (`x-gateway-person: [Birth.father_full_name]`).
    pub with: FieldSet,
    /// The other leaves of the object that the number stands in; none at the record's root, nor for an array of numbers.
    pub within: FieldSet,
}

impl RecordSchema {
    /// The field at that position.
    pub fn field(&self, field: FieldIx) -> Option<&Field> {
        self.fields.get(usize::from(field.0))
    }

    /// The field of that full name (`Citizen.date_of_birth`).
    pub fn field_named(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name.as_str() == name)
    }
}

/// A leaf of a response schema: a scalar, or an array of scalars.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Field {
    /// Its position in [`RecordSchema::fields`].
    pub index: FieldIx,
    /// Its full name: the schema's name and the path, joined by dots.
    pub name: FieldName,
    /// The path of property names from the record's root.
    pub path: Vec<String>,
    /// The JSON type of the value (or of each element).
    pub kind: Kind,
    /// Whether it is an array of such values.
    pub array: bool,
    /// What it is granted by (`x-gateway-group`).
    pub group: GroupId,
    /// How it is handled (`x-gateway-class`).
    pub class: Class,
    /// The masks allowed for it, least hiding first (`x-gateway-masks`).
    pub masks: Vec<MaskKind>,
    /// Full names of fields that can be derived from it (`x-gateway-implies`).
    pub implies: Vec<FieldName>,
    /// How a claimed value is compared with it (`x-gateway-compare`).
    pub compare: Compare,
    /// Whether it is given by itself and never as part of a JSON record (`x-gateway-whole`).
    pub whole: bool,
}

/// The JSON type of a leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A string.
    String,
    /// A string of `format: date`.
    Date,
    /// A number without fraction.
    Integer,
    /// Any number.
    Number,
    /// `true` or `false`.
    Boolean,
}

/// How a field is handled: caching and approval, never granting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// The default.
    Basic,
    /// Sensitive personal data (Law 91/2025 on personal data protection).
    Sensitive,
}

/// How a claimed string is compared with a field. Unicode NFC, letter case and runs of white space never matter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compare {
    /// Diacritics matter.
    Exact,
    /// Diacritics do not matter (`Le Thi Hoa` is `Lê Thị Hoa`).
    Folded,
}

/// An attribute of the returned record, for `context.record` in policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Its name in Cedar; operations that return such a record are in the action group `with-<name>`.
    pub name: String,
    /// The leaf it is taken from.
    pub from: FieldIx,
    /// How it is taken.
    pub derive: Derive,
}

/// How a record attribute is taken from its leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Derive {
    /// The string itself; a Cedar `String`.
    Value,
    /// Whether the person born on that date is younger than so many years today; a Cedar `Bool`.
    Under(u8),
    /// Whether the leaf is present and not null; a Cedar `Bool`.
    Present,
}

/// The shape of a JSON value in a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A leaf.
    Leaf(FieldIx),
    /// An object of declared members.
    Object(ObjectShape),
    /// An array of such objects.
    Array(ObjectShape),
}

/// The declared members of an object; what is not declared is withheld and counted.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ObjectShape {
    // INVARIANT: sorted by name (bytewise), no name twice, at most 128.
    members: Box<[(Box<str>, Shape)]>,
    // INVARIANT: a power of two, at least twice as many as members (or none for none): each member's ordinal plus one
    // stands at its name's slot or in the run of filled slots after it; 0 is an empty slot. Every key of every record is
    // looked up here: a binary search cost more than the rest of redaction together.
    slots: Box<[u8]>,
    // The ordinals of the members that an object must have, as bits: see `strict`.
    required: u128,
}

impl ObjectShape {
    /// The most members that one object may declare.
    pub const CAPACITY: usize = 128;

    /// Sorts the members. `None` if a name stands twice or there are more than [`ObjectShape::CAPACITY`].
    pub fn new(members: impl IntoIterator<Item = (Box<str>, Shape)>) -> Option<Self> {
        let mut members: Box<[_]> = members.into_iter().collect();
        members.sort_by(|(a, _): &(Box<str>, Shape), (b, _)| a.cmp(b));
        let twice = members.windows(2).any(|pair| matches!(pair, [(a, _), (b, _)] if a == b));
        if twice || members.len() > Self::CAPACITY {
            return None;
        }
        let size = if members.is_empty() { 0 } else { (members.len() * 2).next_power_of_two() };
        let mut slots = vec![0; size];
        for (number, (name, _)) in (1..).zip(&members) {
            let mut at = Self::slot(name.as_bytes());
            while let Some(slot) = slots.get_mut(at & (size - 1)) {
                if *slot == 0 {
                    *slot = number;
                    break;
                }
                at = at.wrapping_add(1);
            }
        }
        Some(Self { members, slots: slots.into(), required: 0 })
    }

    /// The member of that name: its ordinal (below [`ObjectShape::CAPACITY`]) and its shape.
    pub fn member(&self, name: &[u8]) -> Option<(usize, &Shape)> {
        let mut at = Self::slot(name);
        loop {
            // Half the slots are empty, so that the run ends.
            let slot = *self.slots.get(at & self.slots.len().wrapping_sub(1))?;
            let ordinal = usize::from(slot).checked_sub(1)?;
            let (known, shape) = self.members.get(ordinal)?;
            if known.as_bytes() == name {
                return Some((ordinal, shape));
            }
            at = at.wrapping_add(1);
        }
    }

    /// A hash of the name's length, beginning and end, in its low bits.
    fn slot(name: &[u8]) -> usize {
        let (first, last) = if let (Some(first), Some(last)) = (name.first_chunk::<8>(), name.last_chunk::<8>()) {
            (u64::from_le_bytes(*first), u64::from_le_bytes(*last))
        } else if let (Some(first), Some(last)) = (name.first_chunk::<4>(), name.last_chunk::<4>()) {
            (u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into())
        } else {
            (name.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)), 0)
        };
        let word = first ^ last.rotate_left(29) ^ name.len() as u64;
        // Fibonacci hashing; the high bits of the product depend on all bytes.
        let mixed = word.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 48) as usize
    }

    /// The members, sorted by name.
    pub fn members(&self) -> impl Iterator<Item = (&str, &Shape)> {
        self.members.iter().map(|(name, shape)| (&**name, shape))
    }
}
