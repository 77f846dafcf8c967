//! The directory: agencies, their systems, and purposes.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use ipnet::IpNet;

use crate::model::{AgencyId, PurposeId, SystemId};

mod load;

pub(crate) use load::load;

/// Who is enrolled, and for what.
#[derive(Debug, Default)]
pub struct Directory {
    pub(crate) agencies: BTreeMap<AgencyId, Arc<Agency>>,
    pub(crate) systems: Vec<Arc<System>>,
    pub(crate) purposes: BTreeMap<PurposeId, Arc<Purpose>>,
    pub(crate) identities: HashMap<Identity, usize>,
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

    /// The system that the certificate's identities are enrolled for; `None` if none is, or if they are those of several: who
    /// could be two systems is neither.
    pub fn identify<'a>(&self, identities: impl IntoIterator<Item = &'a Identity>) -> Option<&Arc<System>> {
        let mut found = identities.into_iter().filter_map(|identity| self.identities.get(identity));
        let first = found.next()?;
        if found.all(|other| other == first) { self.systems.get(*first) } else { None }
    }

    /// How many systems the certificate's identities are enrolled for; only one may be.
    pub fn claimants<'a>(&self, identities: impl IntoIterator<Item = &'a Identity>) -> usize {
        let found = identities.into_iter().filter_map(|identity| self.identities.get(identity));
        found.collect::<std::collections::BTreeSet<_>>().len()
    }
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
    /// The oldest TLS version that it may use.
    pub min_tls: TlsVersion,
}

impl System {
    /// Whether it may come from that address.
    pub fn admits_source(&self, source: IpAddr) -> bool {
        let source = source.to_canonical();
        self.networks.is_empty() || self.networks.iter().any(|network| network.contains(&source))
    }
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

/// How much a system may ask.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// For each operation that has no limit of its own.
    pub default: Rate,
    /// By operation id.
    pub operations: BTreeMap<String, Rate>,
    /// Requests in flight, bodies that are still being sent included.
    pub concurrent: NonZeroU32,
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
