//! What a bundle enrols and offers, as operators list it: the same from a folder and from a node that runs.
//!
//! Nothing in it is about a person.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use jiff::civil::Date;
use popgate_policy::bundle::Bundle;
use popgate_policy::contract::{Answer, Operation};
use popgate_policy::directory::{Agency, Identity, Limits, Purpose, Rate, Requirement, System, TlsVersion};
use serde::{Deserialize, Serialize};

/// One agency in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgencyLine {
    /// Its id.
    pub id: String,
    /// Its names by language tag.
    pub name: BTreeMap<String, String>,
    /// Such as `tax`.
    pub sector: String,
    /// `central`, `province` or `private`.
    pub level: String,
    /// Of an agency of level `province`.
    pub province: Option<String>,
    /// How many systems it has.
    pub systems: usize,
    /// The purposes that it may use.
    pub purposes: Vec<String>,
}

/// All of one agency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgencySheet {
    /// As in a list.
    #[serde(flatten)]
    pub line: AgencyLine,
    /// The bundle that says so: 64 hex digits.
    pub bundle: String,
    /// The day for which purposes are said to be valid.
    pub today: Date,
    /// The purposes that it may use.
    pub purpose: Vec<PurposeLine>,
    /// How much all its systems may ask together.
    #[serde(default)]
    pub limits: LimitsSheet,
    /// Its systems.
    pub system: Vec<SystemSheet>,
}

/// One purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurposeLine {
    /// Its id.
    pub id: String,
    /// Its names by language tag.
    pub name: BTreeMap<String, String>,
    /// The law and article.
    pub basis: String,
    /// What a request for it must bring: `case`, `user`, `assurance`.
    pub requires: Vec<String>,
    /// The first day on which it may be used.
    pub valid_from: Option<Date>,
    /// The last one.
    pub valid_until: Option<Date>,
    /// Whether it may be used today.
    pub valid: bool,
    /// How many agencies may use it.
    pub agencies: usize,
    /// Whether it is lent by signed orders, and nobody is enrolled for it.
    #[serde(default)]
    pub break_glass: bool,
}

/// One system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemSheet {
    /// `agency/system`.
    pub id: String,
    /// What its certificate may show, as agencies' files write it.
    pub identities: Vec<String>,
    /// Where it may come from; empty means anywhere.
    pub networks: Vec<String>,
    /// The oldest TLS version that it may use.
    pub min_tls: String,
    /// The purposes that it may use.
    pub purposes: Vec<String>,
    /// How much it may ask.
    pub limits: LimitsSheet,
    /// How its requests rank among others', if its agency's file says.
    #[serde(default)]
    pub priority: Option<String>,
    /// What it may do: every pair of operation and purpose that could show it anything.
    pub operations: Vec<Allowed>,
}

/// How much a system or an agency may ask.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LimitsSheet {
    /// Of each operation without a rate of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<RateSheet>,
    /// Requests in flight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrent: Option<u32>,
    /// By operation.
    pub operations: BTreeMap<String, RateSheet>,
    /// Of all operations together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<RateSheet>,
    /// By purpose.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub purposes: BTreeMap<String, RateSheet>,
    /// What else is bounded: `connections`, `per_day`, `per_month`, `persons_per_hour`, `persons_per_day`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, u32>,
    /// Bytes of requests and answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<VolumeSheet>,
    /// What is only warned of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soft: Option<Box<LimitsSheet>>,
}

/// A token bucket of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeSheet {
    /// Bytes a period.
    pub bytes: u64,
    /// The period in seconds.
    pub per_seconds: u64,
    /// The most at once.
    pub burst: u64,
}

/// A token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateSheet {
    /// Requests a period.
    pub count: u32,
    /// The period in seconds.
    pub per_seconds: u64,
    /// The most at once.
    pub burst: u32,
}

/// How many fields an operation shows for a purpose at the most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowed {
    /// The purpose.
    pub purpose: String,
    /// The operation.
    pub operation: String,
    /// Fields as they are.
    pub revealed: usize,
    /// Fields through a mask.
    pub masked: usize,
    /// Fields of which is told whether a claimed value is right.
    pub matched: usize,
    /// Of all these, the ones that the circumstances or the record may take.
    pub conditional: usize,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationLine {
    /// Its id.
    pub id: String,
    /// The register that it asks.
    pub register: String,
    /// `GET` or `POST`.
    pub method: String,
    /// The path's template.
    pub path: String,
    /// `record`, `match`, `list` or `whole`.
    pub answer: String,
    /// Whether it takes many requests in one.
    pub bulk: bool,
    /// How many fields its record has.
    pub fields: usize,
    /// What it does, in the contract's words.
    pub summary: String,
}

/// Every agency, by id.
pub fn agencies(bundle: &Bundle) -> Vec<AgencyLine> {
    bundle.directory().agencies().map(|agency| AgencyLine::of(bundle, agency)).collect()
}

/// All of one agency, as of that day; `None` if the bundle has none of that id.
///
/// Decides what each of its systems may do: milliseconds an operation where nobody asked before, so never on a data-plane core.
pub fn agency(bundle: &Bundle, id: &str, today: Date) -> Option<AgencySheet> {
    let agency = bundle.directory().agencies().find(|agency| agency.id.as_str() == id)?;
    let purposes = purposes(bundle, today).into_iter();
    let systems = bundle.directory().systems().iter().filter(|system| system.agency.id == agency.id);
    Some(AgencySheet {
        line: AgencyLine::of(bundle, agency),
        bundle: bundle.digest().to_string(),
        today,
        limits: LimitsSheet::of(&agency.limits),
        purpose: purposes.filter(|line| agency.purposes.iter().any(|it| it.as_str() == line.id)).collect(),
        system: systems.map(|system| SystemSheet::of(bundle, system)).collect(),
    })
}

/// Every purpose, by id, as of that day.
pub fn purposes(bundle: &Bundle, today: Date) -> Vec<PurposeLine> {
    bundle.directory().purposes().map(|purpose| PurposeLine::of(bundle, purpose, today)).collect()
}

/// Every operation, in the order of the contracts.
pub fn operations(bundle: &Bundle) -> Vec<OperationLine> {
    bundle.contracts().operations().iter().map(|operation| OperationLine::of(operation)).collect()
}

impl AgencyLine {
    fn of(bundle: &Bundle, agency: &Agency) -> Self {
        Self {
            id: agency.id.to_string(),
            name: agency.name.clone(),
            sector: agency.sector.clone(),
            level: agency.level.clone(),
            province: agency.province.clone(),
            systems: bundle.directory().systems().iter().filter(|system| system.agency.id == agency.id).count(),
            purposes: agency.purposes.iter().map(ToString::to_string).collect(),
        }
    }
}

impl PurposeLine {
    fn of(bundle: &Bundle, purpose: &Purpose, today: Date) -> Self {
        let requires = purpose.requires.iter().map(|requirement| match requirement {
            Requirement::Case => "case",
            Requirement::User => "user",
            Requirement::Assurance => "assurance",
        });
        Self {
            id: purpose.id.to_string(),
            name: purpose.name.clone(),
            basis: purpose.basis.clone(),
            requires: requires.map(str::to_owned).collect(),
            valid_from: purpose.valid_from,
            valid_until: purpose.valid_until,
            valid: purpose.is_valid_on(today),
            agencies: bundle.directory().agencies().filter(|agency| agency.purposes.contains(&purpose.id)).count(),
            break_glass: purpose.break_glass,
        }
    }
}

impl SystemSheet {
    fn of(bundle: &Bundle, system: &System) -> Self {
        let mut operations = Vec::new();
        for purpose in &system.purposes {
            for operation in bundle.contracts().operations() {
                let shows = bundle.shows(system, operation, purpose);
                if !shows.is_nothing() {
                    operations.push(Allowed {
                        purpose: purpose.to_string(),
                        operation: operation.id.to_string(),
                        revealed: shows.revealed,
                        masked: shows.masked,
                        matched: shows.matched,
                        conditional: shows.conditional,
                    });
                }
            }
        }
        Self {
            id: system.id.to_string(),
            identities: system.identities.iter().map(written).collect(),
            networks: system.networks.iter().map(ToString::to_string).collect(),
            min_tls: match system.min_tls {
                TlsVersion::Tls12 => "1.2".to_owned(),
                TlsVersion::Tls13 => "1.3".to_owned(),
            },
            purposes: system.purposes.iter().map(ToString::to_string).collect(),
            limits: LimitsSheet::of(&system.limits),
            priority: system.priority.map(|class| class.as_str().to_owned()),
            operations,
        }
    }
}

impl LimitsSheet {
    fn of(limits: &Limits) -> Self {
        let counts = [
            ("connections", limits.connections),
            ("per_day", limits.per_day),
            ("per_month", limits.per_month),
            ("persons_per_hour", limits.persons_per_hour),
            ("persons_per_day", limits.persons_per_day),
        ];
        Self {
            rate: limits.each.as_ref().map(RateSheet::of),
            concurrent: limits.concurrent.map(NonZeroU32::get),
            operations: limits.operations.iter().map(|(id, rate)| (id.clone(), RateSheet::of(rate))).collect(),
            total: limits.total.as_ref().map(RateSheet::of),
            purposes: limits.purposes.iter().map(|(id, rate)| (id.to_string(), RateSheet::of(rate))).collect(),
            counts: counts.into_iter().filter_map(|(name, count)| Some((name.to_owned(), count?.get()))).collect(),
            bytes: limits.bytes.map(|volume| VolumeSheet {
                bytes: volume.bytes.get(),
                per_seconds: volume.per.as_secs(),
                burst: volume.burst.get(),
            }),
            soft: limits.soft.as_deref().map(|soft| Box::new(Self::of(soft))),
        }
    }
}

impl RateSheet {
    fn of(rate: &Rate) -> Self {
        Self { count: rate.count.get(), per_seconds: rate.per.as_secs(), burst: rate.burst.get() }
    }
}

impl OperationLine {
    fn of(operation: &Operation) -> Self {
        Self {
            id: operation.id.to_string(),
            register: operation.upstream.register.to_string(),
            method: operation.method.as_str().to_owned(),
            path: operation.template.to_string(),
            answer: match operation.answer {
                Answer::Record => "record",
                Answer::Match => "match",
                Answer::List(_) => "list",
                Answer::Whole(_) => "whole",
            }
            .to_owned(),
            bulk: operation.bulk,
            fields: operation.record.fields.len(),
            summary: operation.summary.clone(),
        }
    }
}

fn written(identity: &Identity) -> String {
    match identity {
        Identity::Uri(uri) => uri.clone(),
        Identity::Subject(subject) => subject.clone(),
        Identity::Pin(pin) => format!("pin:sha256:{pin}"),
    }
}
