//! The directory: agencies, their systems, and purposes.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;

use ipnet::IpNet;

use crate::model::{AgencyId, ExchangeId, PurposeId, SystemId};
use crate::xroad::{ClientId, MemberId};

mod bounds;
mod load;

pub use bounds::{Amount, Bound, Names};
pub(crate) use load::load;

/// Who is enrolled, and for what.
#[derive(Debug, Default)]
pub struct Directory {
    pub(crate) agencies: BTreeMap<AgencyId, Arc<Agency>>,
    pub(crate) systems: Vec<Arc<System>>,
    pub(crate) exchanges: Vec<Arc<Exchange>>,
    pub(crate) purposes: BTreeMap<PurposeId, Arc<Purpose>>,
    pub(crate) identities: HashMap<Identity, Held>,
    pub(crate) clients: HashMap<ClientId, usize>,
}

impl Directory {
    /// Every agency, by id.
    pub fn agencies(&self) -> impl Iterator<Item = &Arc<Agency>> {
        self.agencies.values()
    }

    /// Every system; [`System::index`] is the position.
    pub fn systems(&self) -> &[Arc<System>] {
        &self.systems
    }

    /// Every enrolled purpose, by id.
    pub fn purposes(&self) -> impl Iterator<Item = &Arc<Purpose>> {
        self.purposes.values()
    }

    /// The purpose of that id, valid or not.
    pub fn purpose(&self, id: &str) -> Option<&Arc<Purpose>> {
        self.purposes.get(&PurposeId::new(id))
    }

    /// Every exchange server; [`Held::Exchange`] is the position.
    pub fn exchanges(&self) -> &[Arc<Exchange>] {
        &self.exchanges
    }

    /// Who the certificate's identities are enrolled for; `None` if nobody is, or if they are those of several: who could be
    /// two is neither.
    pub fn holder<'a>(&self, identities: impl IntoIterator<Item = &'a Identity>) -> Option<Holder> {
        let mut found = identities.into_iter().filter_map(|identity| self.identities.get(identity));
        let first = found.next()?;
        if !found.all(|other| other == first) {
            return None;
        }
        match *first {
            Held::System(at) => self.systems.get(at).cloned().map(Holder::System),
            Held::Exchange(at) => self.exchanges.get(at).cloned().map(Holder::Exchange),
        }
    }

    /// The system that the certificate's identities are enrolled for, as [`Directory::holder`] finds it.
    pub fn identify<'a>(&self, identities: impl IntoIterator<Item = &'a Identity>) -> Option<&Arc<System>> {
        match self.holder(identities)? {
            Holder::System(system) => self.systems.get(system.index),
            Holder::Exchange(_) => None,
        }
    }

    /// The system that is that X-Road client.
    pub fn client(&self, client: &ClientId) -> Option<&Arc<System>> {
        self.systems.get(*self.clients.get(client)?)
    }

    /// How many systems and exchange servers the certificate's identities are enrolled for; only one may be.
    pub fn claimants<'a>(&self, identities: impl IntoIterator<Item = &'a Identity>) -> usize {
        let found = identities.into_iter().filter_map(|identity| self.identities.get(identity));
        found.collect::<std::collections::BTreeSet<_>>().len()
    }
}

/// Who a certificate is enrolled for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A system, which speaks for itself.
    System(Arc<System>),
    /// An exchange server, which speaks for the systems of its members.
    Exchange(Arc<Exchange>),
}

/// Whose an identity is: a position in [`Directory::systems`] or in [`Directory::exchanges`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Held {
    /// A system's.
    System(usize),
    /// An exchange server's.
    Exchange(usize),
}

/// An enrolled organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agency {
    /// The stem of its file.
    pub id: AgencyId,
    /// Its names by language tag; `vi` and `en` are always there.
    pub name: BTreeMap<String, String>,
    /// Such as `tax`, `health`, `telecom`, `bank`.
    pub sector: String,
    /// `central`, `province` or `private`.
    pub level: String,
    /// The province code (three digits) of an agency of level `province`.
    pub province: Option<String>,
    /// The purposes that it may use.
    pub purposes: Vec<PurposeId>,
    /// How much all its systems may ask together.
    pub limits: Limits,
}

/// An information system of an agency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    /// Its position in [`Directory::systems`].
    pub index: usize,
    /// `agency/system`.
    pub id: SystemId,
    /// Whose it is.
    pub agency: Arc<Agency>,
    /// What its client certificate may show; any one is enough.
    pub identities: Vec<Identity>,
    /// Where it may come from; empty means anywhere.
    pub networks: Vec<IpNet>,
    /// The purposes that it may use: the agency's, or its own subset.
    pub purposes: Vec<PurposeId>,
    /// How much it may ask.
    pub limits: Limits,
    /// How its requests rank among others'; `None` if its file does not say.
    pub priority: Option<Priority>,
    /// The oldest TLS version that it may use.
    pub min_tls: TlsVersion,
    /// The X-Road client that it is, for exchange servers that speak for its member.
    pub xroad: Option<ClientId>,
}

impl System {
    /// Whether it may come from that address.
    pub fn admits_source(&self, source: IpAddr) -> bool {
        admits(&self.networks, source)
    }
}

/// An exchange server: no system itself, it may ask nothing for itself and speaks for its members' systems alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// `agency/exchange`.
    pub id: ExchangeId,
    /// Whose it is.
    pub agency: Arc<Agency>,
    /// What its certificate may show; any one is enough.
    pub identities: Vec<Identity>,
    /// Where it may come from; empty means anywhere. Those of the systems that it speaks for are not asked about.
    pub networks: Vec<IpNet>,
    /// Whom it speaks for.
    pub members: Vec<MemberId>,
    /// The oldest TLS version that it may use.
    pub min_tls: TlsVersion,
}

impl Exchange {
    /// Whether it may come from that address.
    pub fn admits_source(&self, source: IpAddr) -> bool {
        admits(&self.networks, source)
    }

    /// Whether the client's member is one of those that it speaks for.
    pub fn speaks_for(&self, client: &ClientId) -> bool {
        self.members.iter().any(|member| member.as_str() == client.member())
    }
}

fn admits(networks: &[IpNet], source: IpAddr) -> bool {
    let source = source.to_canonical();
    networks.is_empty() || networks.iter().any(|network| network.contains(&source))
}

/// What a client certificate shows of who holds it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Identity {
    /// A URI in the subject alternative name, such as `spiffe://gov.vn/tax/etax`.
    Uri(String),
    /// The subject's distinguished name after RFC 4514, such as `CN=etax,O=Tax Department,C=VN`.
    Subject(String),
    /// SHA-256 of the subject public key info, 64 lower-case hex digits; written `pin:sha256:...`.
    Pin(String),
}

/// TLS versions, oldest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246), ECDHE and AEAD suites only.
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

/// How much a system may ask, or all systems of an agency together.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Limits {
    /// For each operation by itself that has no rate of its own. A system always has one.
    pub each: Option<Rate>,
    /// By operation id.
    pub operations: BTreeMap<String, Rate>,
    /// Over all operations together.
    pub total: Option<Rate>,
    /// By purpose.
    pub purposes: BTreeMap<PurposeId, Rate>,
    /// Requests in flight, bodies that are still being sent included. A system always has it.
    pub concurrent: Option<NonZeroU32>,
    /// Connections of a system's certificate at once, on each node.
    pub connections: Option<NonZeroU32>,
    /// Requests in a calendar day of the gateway's time zone.
    pub per_day: Option<NonZeroU32>,
    /// Requests in a calendar month, likewise.
    pub per_month: Option<NonZeroU32>,
    /// Bytes of requests' bodies and of answers.
    pub bytes: Option<Volume>,
    /// Different persons in an hour, estimated.
    pub persons_per_hour: Option<NonZeroU32>,
    /// Different persons in a day, estimated.
    pub persons_per_day: Option<NonZeroU32>,
    /// What is only warned of: never more of these than of the others.
    pub soft: Option<Box<Limits>>,
}

impl Limits {
    /// The rate of an operation by itself.
    pub fn of(&self, operation: &str) -> Option<&Rate> {
        self.operations.get(operation).or(self.each.as_ref())
    }

    /// Whether nothing is bounded.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A token bucket (GCRA).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// Requests per [`Rate::per`].
    pub count: NonZeroU32,
    /// The period.
    pub per: std::time::Duration,
    /// The most requests at once.
    pub burst: NonZeroU32,
}

/// A token bucket of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Volume {
    /// Bytes per [`Volume::per`].
    pub bytes: NonZeroU64,
    /// The period.
    pub per: std::time::Duration,
    /// The most bytes at once.
    pub burst: NonZeroU64,
}

/// Who is served first where not everybody can be. Lower ones are refused before higher ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Priority {
    /// Nobody waits for it.
    Batch,
    /// Somebody waits for it.
    Interactive,
    /// A life may depend on it.
    Emergency,
}

impl Priority {
    /// Every class, the lowest first.
    pub const ALL: [Self; 3] = [Self::Batch, Self::Interactive, Self::Emergency];

    /// The name used in bundles and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Interactive => "interactive",
            Self::Emergency => "emergency",
        }
    }

    /// The class of a request, by what the directory says of its system and the contract of its operation: the lower of the two; where
    /// only one of them says something, that; interactive, if neither does.
    #[must_use]
    pub fn of(system: Option<Self>, operation: Option<Self>) -> Self {
        match (system, operation) {
            (Some(system), Some(operation)) => system.min(operation),
            (one, other) => one.or(other).unwrap_or(Self::Interactive),
        }
    }
}

/// A purpose with its legal basis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purpose {
    /// Its id.
    pub id: PurposeId,
    /// Its names by language tag.
    pub name: BTreeMap<String, String>,
    /// The law and article; citizens see it.
    pub basis: String,
    /// What a request for it must bring.
    pub requires: Vec<Requirement>,
    /// The first day on which it may be used.
    pub valid_from: Option<jiff::civil::Date>,
    /// The last day on which it may be used.
    pub valid_until: Option<jiff::civil::Date>,
    /// Nobody is enrolled for it: it is lent to systems in an emergency, by a signed order, for a time.
    // INVARIANT: no agency and no system has it among its purposes, and `requires` holds case and user.
    pub break_glass: bool,
}

impl Purpose {
    /// Whether it may be used on that day (the gateway's local date).
    pub fn is_valid_on(&self, day: jiff::civil::Date) -> bool {
        self.valid_from.is_none_or(|from| from <= day) && self.valid_until.is_none_or(|until| day <= until)
    }
}

/// What a request for a purpose must bring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Requirement {
    /// `Gateway-Case`.
    Case,
    /// `Gateway-User`.
    User,
    /// `Gateway-Assurance`.
    Assurance,
}
