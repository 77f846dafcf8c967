//! A small bundle, built by hand, for the tests of engine and disclosure. All names and numbers are synthetic.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::bundle::Source;
use crate::contract::*;
use crate::directory::*;
use crate::disclose::cursor::CursorKey;
use crate::disclose::{PseudonymKey, Raw, Redacted, Secrets};
use crate::engine::Engine;
use crate::model::*;
use crate::permit::{Ask, Denial, Env, Permit, Unopened};
use crate::problem::{Problem, Severity};

/// Contracts, directory and the engine over some policies.
pub(crate) struct World {
    pub(crate) contracts: Contracts,
    pub(crate) directory: Directory,
    pub(crate) engine: Engine,
    pub(crate) warnings: Vec<Problem>,
}

/// What the register says of the person whom every test asks about: lives in province 001, is 39.
pub(crate) const HOA: &str = r#"{"id":"001187000017","full_name":"Lê Thị Hoa","date_of_birth":"1987-03-14","sex":"female",
    "permanent_residence":{"province":"Hà Nội","province_code":"001"},"phone":"0912345678","date_of_death":null,
    "religion":"none","old_number":"123456789"}"#;
pub(crate) const HOA_ID: &str = "001187000017";

impl World {
    /// A world whose policies load.
    pub(crate) fn new(policies: &str) -> Self {
        Self::load(policies).unwrap_or_else(|problems| panic!("{}", show(&problems)))
    }

    pub(crate) fn load(policies: &str) -> Result<Self, Vec<Problem>> {
        Self::with(contracts(), directory(), policies)
    }

    pub(crate) fn with(contracts: Contracts, directory: Directory, policies: &str) -> Result<Self, Vec<Problem>> {
        let source = Source { files: BTreeMap::from([("policies/test.cedar".to_owned(), policies.to_owned())]) };
        let mut problems = Vec::new();
        let engine = Engine::compile(&source, &contracts, &directory, None, &mut problems);
        if let Some(engine) = &engine {
            engine.warn(&source, &directory, &mut problems);
        }
        match engine {
            Some(engine) if problems.iter().all(|problem| problem.severity == Severity::Warning) => {
                Ok(Self { contracts, directory, engine, warnings: problems })
            }
            _ => Err(problems),
        }
    }

    pub(crate) fn system(&self, id: &str) -> &Arc<System> {
        self.directory.systems().iter().find(|system| system.id.as_str() == id).unwrap()
    }

    /// Decides a request about Hoa with further parameters.
    pub(crate) fn decide(
        &self,
        who: &str,
        what: &str,
        why: &str,
        more: &[(&str, &str)],
        env: Env,
    ) -> Result<Permit, Denial> {
        let operation = self.contracts.operation(what).unwrap();
        let value = |parameter: &Parameter| {
            let given = more.iter().find(|(name, _)| *name == parameter.name).map(|(_, value)| *value);
            given.or((parameter.name == "id").then_some(HOA_ID)).map(|value| Personal::new(value.to_owned()))
        };
        let ask = Ask {
            disclosure: DisclosureId::from_random(7),
            system: self.system(who),
            operation,
            purpose: self.directory.purpose(why).unwrap(),
            arguments: Arguments(operation.parameters.iter().map(value).collect()),
            env,
            cursors: &secrets().cursors,
            seals: None,
        };
        self.engine.decide(ask).map_err(|denied| denied.why)
    }

    /// Asks `citizen.read` at ten o'clock.
    pub(crate) fn read(&self, who: &str, why: &str, record: &str) -> Result<Redacted, Unopened> {
        open(self.decide(who, "citizen.read", why, &[], ten()).unwrap(), record)
    }
}

pub(crate) fn open(permit: Permit, record: &str) -> Result<Redacted, Unopened> {
    permit.open(&Raw::seal(Bytes::copy_from_slice(record.as_bytes())), &secrets())
}

pub(crate) fn secrets() -> Secrets {
    Secrets { pseudonyms: PseudonymKey::new([7; 32]), cursors: CursorKey::new([8; 32]) }
}

/// The answer as JSON.
pub(crate) fn json(redacted: Redacted) -> serde_json::Value {
    let bytes: Vec<u8> = redacted.into_chunks().into_iter().flat_map(|chunk| chunk.into_bytes().to_vec()).collect();
    serde_json::from_slice(&bytes).unwrap()
}

pub(crate) fn ten() -> Env {
    Env {
        date: jiff::civil::date(2026, 11, 21),
        hour: 10,
        minute: 0,
        source: "10.20.0.5".parse().unwrap(),
        claimed_assurance: None,
        claimed_user: false,
        claimed_case: false,
    }
}

pub(crate) fn show(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// A policy with its required annotations.
pub(crate) fn policy(id: &str, rest: &str) -> String {
    let (annotations, body) =
        rest.find("permit").into_iter().chain(rest.find("forbid")).min().map_or(("", rest), |at| rest.split_at(at));
    format!("@id(\"{id}\") @basis(\"Law 1, art. 2\") {annotations}\n{body}\n")
}

pub(crate) fn contracts() -> Contracts {
    let citizen = Arc::new(record(
        "Citizen",
        CITIZEN,
        [
            Attribute { name: "province".into(), from: FieldIx(5), derive: Derive::Value },
            Attribute { name: "minor".into(), from: FieldIx(2), derive: Derive::Under(18) },
            Attribute { name: "deceased".into(), from: FieldIx(7), derive: Derive::Present },
        ],
    ));
    let line = Arc::new(record("Line", &CITIZEN[..1], []));
    let line = Arc::new(RecordSchema {
        fields: line.fields.iter().cloned().chain(phone_of_line()).collect(),
        shape: shape(&["id", "phone"]),
        ..Arc::into_inner(line).unwrap()
    });
    let operations = vec![
        operation(0, "citizen.read", &citizen, Answer::Record, &["id"], &[]),
        operation(1, "citizen.lookup", &citizen, Answer::Record, &["id", "full_name", "date_of_birth"], &[1, 2]),
        operation(
            2,
            "citizen.verify",
            &citizen,
            Answer::Match,
            &["id", "full_name", "date_of_birth", "sex", "phone"],
            &[],
        ),
        operation(3, "line.read", &line, Answer::Record, &["id"], &[]),
        searched_by_name(operation(4, "citizen.search", &citizen, Answer::Record, &["id", "full_name"], &[])),
    ];
    Contracts { operations, records: vec![citizen, line], ..Contracts::default() }
}

type Leaf = (&'static str, &'static str, Kind, &'static [MaskKind]);

const CITIZEN: &[Leaf] = &[
    ("id", "identity", Kind::String, &[]),
    ("full_name", "identity", Kind::String, &[MaskKind::Initials]),
    ("date_of_birth", "identity", Kind::Date, &[MaskKind::Month, MaskKind::Year]),
    ("sex", "identity", Kind::String, &[]),
    ("permanent_residence.province", "residence", Kind::String, &[]),
    ("permanent_residence.province_code", "residence", Kind::String, &[]),
    ("phone", "contact", Kind::String, &[MaskKind::Last3]),
    ("date_of_death", "civil", Kind::Date, &[MaskKind::Exists]),
    ("religion", "belief", Kind::String, &[MaskKind::Exists]),
    ("old_number", "legacy", Kind::String, &[]),
];

fn record<const N: usize>(name: &str, leaves: &[Leaf], attributes: [Attribute; N]) -> RecordSchema {
    let fields = leaves.iter().enumerate().map(|(at, leaf)| field(name, at, leaf)).collect();
    let names: Vec<&str> = leaves.iter().map(|leaf| leaf.0).collect();
    RecordSchema {
        name: name.into(),
        fields,
        shape: shape(&names),
        subject: FieldIx(0),
        attributes: attributes.into(),
        references: vec![],
    }
}

fn phone_of_line() -> [Field; 1] {
    [field("Line", 1, &CITIZEN[6])]
}

fn field(record: &str, at: usize, (path, group, kind, masks): &Leaf) -> Field {
    let implies: &[&str] = if *path == "old_number" { &["Citizen.date_of_birth"] } else { &[] };
    Field {
        index: FieldIx(at as u16),
        name: FieldName::new(&format!("{record}.{path}")),
        path: path.split('.').map(str::to_owned).collect(),
        kind: *kind,
        array: false,
        group: GroupId::new(group),
        class: if *group == "belief" { Class::Sensitive } else { Class::Basic },
        masks: masks.to_vec(),
        implies: implies.iter().map(|name| FieldName::new(name)).collect(),
        compare: if *path == "full_name" { Compare::Folded } else { Compare::Exact },
        whole: false,
    }
}

fn shape(paths: &[&str]) -> ObjectShape {
    let mut members: Vec<(Box<str>, Shape)> = Vec::new();
    let mut nested: Vec<(Box<str>, Shape)> = Vec::new();
    for (at, path) in paths.iter().enumerate() {
        let leaf = Shape::Leaf(FieldIx(at as u16));
        match path.split_once('.') {
            Some((_, name)) => nested.push((name.into(), leaf)),
            None => members.push(((*path).into(), leaf)),
        }
    }
    if !nested.is_empty() {
        members.push(("permanent_residence".into(), Shape::Object(ObjectShape::new(nested).unwrap())));
    }
    ObjectShape::new(members).unwrap()
}

fn operation(
    index: usize,
    id: &str,
    record: &Arc<RecordSchema>,
    answer: Answer,
    parameters: &[&str],
    guard: &[usize],
) -> Arc<Operation> {
    let parameter = |name: &&str| Parameter {
        name: (*name).to_owned(),
        location: Location::Body,
        role: Role::Asks,
        field: record.fields.iter().find(|field| field.path == [*name]).unwrap().index,
        required: *name == "id",
        kind: Kind::String,
        pattern: None,
        max_length: 200,
    };
    Arc::new(Operation {
        index,
        id: OperationId::new(id),
        summary: String::new(),
        method: Method::Post,
        template: Arc::from("/x"),
        upstream: UpstreamTemplate {
            register: RegisterId::new("population"),
            method: Method::Get,
            segments: vec![Segment::Literal("/persons/".into()), Segment::Parameter(ParamIx(0))],
            query: vec![],
        },
        answer,
        bulk: false,
        subject: Some(ParamIx(0)),
        guard: guard.iter().map(|at| ParamIx(*at)).collect(),
        parameters: parameters.iter().map(parameter).collect(),
        record: Arc::clone(record),
        pushdown: None,
        cache: CacheRule {
            scope: CacheScope::Off,
            fresh: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            stale_while_revalidate: Duration::ZERO,
            no_match: Duration::ZERO,
        },
        lifecycle: None,
        priority: None,
        max_body: None,
        checks: Default::default(),
    })
}

/// The operation, asking the register by its second parameter too.
fn searched_by_name(operation: Arc<Operation>) -> Arc<Operation> {
    let mut operation = Arc::into_inner(operation).unwrap();
    operation.upstream.segments.extend([Segment::Literal("/".into()), Segment::Parameter(ParamIx(1))]);
    Arc::new(operation)
}

pub(crate) fn directory() -> Directory {
    let mut directory = Directory::default();
    for id in PURPOSES {
        let purpose = Purpose {
            id: PurposeId::new(id),
            name: BTreeMap::new(),
            basis: "Law 1".into(),
            requires: vec![],
            valid_from: None,
            valid_until: None,
            break_glass: false,
        };
        directory.purposes.insert(purpose.id.clone(), Arc::new(purpose));
    }
    for (id, sector, level, province, systems) in [
        ("tax", "tax", "central", None, &["etax", "portal"][..]),
        ("hanoi", "local", "province", Some("001"), &["desk"]),
        ("hue", "local", "province", Some("046"), &["desk"]),
        ("mobi", "telecom", "private", None, &["kyc"]),
        ("clinic", "health", "private", None, &["his"]),
    ] {
        let agency = Arc::new(Agency {
            id: AgencyId::new(id),
            name: BTreeMap::new(),
            sector: sector.into(),
            level: level.into(),
            province: province.map(str::to_owned),
            purposes: PURPOSES.iter().map(|id| PurposeId::new(id)).collect(),
            limits: Limits::default(),
        });
        directory.agencies.insert(agency.id.clone(), Arc::clone(&agency));
        for system in systems {
            let one = NonZeroU32::MIN;
            directory.systems.push(Arc::new(System {
                index: directory.systems.len(),
                id: SystemId::new(&format!("{id}/{system}")),
                agency: Arc::clone(&agency),
                identities: vec![],
                networks: vec![],
                purposes: agency.purposes.clone(),
                limits: Limits {
                    each: Some(Rate { count: one, per: Duration::from_secs(1), burst: one }),
                    concurrent: Some(one),
                    ..Limits::default()
                },
                priority: None,
                min_tls: TlsVersion::Tls12,
                xroad: None,
            }));
        }
    }
    directory.identities = HashMap::new();
    directory
}

const PURPOSES: [&str; 4] = ["assessment", "residence", "subscriber", "treatment"];
