//! Random bundles: what records hold, who asks, what for.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::dice::Dice;
use super::policies;
use crate::bundle::Source;

pub(super) const TEXTS: [&str; 6] = ["001", "046", "079", "", "00*", "00101"];
/// What texts of records and patterns are put together of.
const DIGITS: [&str; 4] = ["0", "1", "4", "6"];
pub(super) const ADDRESSES: [&str; 6] = ["10.20.0.5", "10.0.0.1", "127.0.0.1", "192.0.2.9", "2001:db8::5", "::1"];
pub(super) const LEVELS: [&str; 3] = ["low", "substantial", "high"];
pub(super) const GROUPS: [&str; 4] = ["identity", "contact", "residence", "civil"];
pub(super) const SECTORS: [&str; 3] = ["tax", "health", "local"];
pub(super) const PURPOSES: [&str; 3] = ["assessment", "treatment", "residence"];

/// A field that a policy can name, with its masks.
#[derive(Clone)]
pub(super) struct Leaf {
    pub(super) name: String,
    pub(super) masks: &'static [&'static str],
}

/// What policies can speak of.
pub(super) struct Names {
    pub(super) fields: Vec<Leaf>,
    pub(super) operations: Vec<String>,
    pub(super) agencies: Vec<String>,
    pub(super) systems: Vec<String>,
    /// Attributes that every record has: texts, and truths.
    pub(super) texts: Vec<&'static str>,
    pub(super) truths: Vec<&'static str>,
}

pub(super) fn source(dice: &mut Dice) -> Source {
    let mut files = BTreeMap::new();
    let mut names = Names {
        fields: Vec::new(),
        operations: Vec::new(),
        agencies: Vec::new(),
        systems: Vec::new(),
        texts: vec!["province"],
        truths: vec!["minor", "deceased"],
    };
    if dice.one_in(2) {
        names.texts.push("ward");
    }
    let contract = contract(dice, &mut names);
    files.insert("contracts/population.openapi.yaml".to_owned(), contract);
    // Every sector has an agency: policies may name any.
    for at in 0..SECTORS.len() + usize::from(dice.one_in(2)) {
        agency(at, dice, &mut names, &mut files);
    }
    let purposes: String = PURPOSES
        .iter()
        .map(|id| format!("[{id}]\nname = {{ vi = \"{id}\", en = \"{id}\" }}\nbasis = \"Law\"\n"))
        .collect();
    files.insert("purposes.toml".to_owned(), purposes);
    let policies = (0..3 + dice.below(10)).map(|at| policies::policy(at, &names, dice)).collect();
    files.insert("policies/all.cedar".to_owned(), policies);
    Source { files }
}

/// What a record may say in an attribute.
pub(super) fn text(dice: &mut Dice) -> String {
    if dice.one_in(2) { (*dice.of(&TEXTS)).to_owned() } else { (0..dice.below(7)).map(|_| *dice.of(&DIGITS)).collect() }
}

/// What `like` may want of it: wildcards, and between them texts of any length.
pub(super) fn pattern(dice: &mut Dice) -> String {
    (0..1 + dice.below(6)).map(|_| if dice.one_in(3) { "*" } else { *dice.of(&DIGITS) }).collect()
}

/// The same world after somebody changed a policy or two, an agency, or both.
pub(super) fn edited(source: &Source, dice: &mut Dice) -> Source {
    let mut source = source.clone();
    if !dice.one_in(4) {
        let text = source.files.get_mut("policies/all.cedar").unwrap();
        let policies: Vec<&str> = text.split_inclusive(";\n").collect();
        let kept = policies.iter().filter(|_| !dice.one_in(5)).copied().collect::<String>();
        *text = kept
            .replace("hour < 12", "hour < 13")
            .replace("\"001\"", if dice.one_in(2) { "\"001\"" } else { "\"046\"" });
    }
    if !dice.one_in(3) {
        let spare = source.files.contains_key("agencies/a3.toml");
        let agency = format!("agencies/a{}.toml", dice.below(3));
        let text = source.files.get_mut(&agency).unwrap();
        *text = match dice.below(6) {
            0 => text.replace("[\"assessment\"]", "[\"assessment\", \"treatment\"]"),
            1 => text.replace("level = \"central\"", "level = \"private\""),
            2..=4 if text.contains("\"001\"") => text.replace("\"001\"", "\"046\""),
            2..=4 if text.contains("\"046\"") => text.replace("\"046\"", "\"001\""),
            // Every sector keeps an agency: policies may name it.
            _ if spare => text.replace("sector = \"tax\"", "sector = \"health\""),
            _ => text.replace("spiffe://gov.vn/a0/s0", "spiffe://gov.vn/a0/moved"),
        };
    }
    source
}

fn agency(at: usize, dice: &mut Dice, names: &mut Names, files: &mut BTreeMap<String, String>) {
    let id = &format!("a{at}");
    let level = *dice.of(&["central", "province", "private", "province"]);
    let province =
        if level == "province" { format!("province = \"{}\"\n", dice.of(&["001", "046"])) } else { String::new() };
    let mut text = format!(
        "name = {{ vi = \"{id}\", en = \"{id}\" }}\nsector = \"{}\"\nlevel = \"{level}\"\n{province}purposes = [\"assessment\"]\n",
        SECTORS[at % SECTORS.len()]
    );
    for system in 0..=dice.below(2) {
        let _ = writeln!(
            text,
            "[systems.s{system}]\nidentity = \"spiffe://gov.vn/{id}/s{system}\"\nlimits = {{ rate = \"1/s\", burst = 1, concurrent = 1 }}"
        );
        names.systems.push(format!("{id}/s{system}"));
    }
    names.agencies.push(id.clone());
    files.insert(format!("agencies/{id}.toml"), text);
}

fn contract(dice: &mut Dice, names: &mut Names) -> String {
    let dates: [&'static [&'static str]; 4] = [&[], &["month", "year"], &["year", "month", "exists"], &["exists"]];
    let texts: [&'static [&'static str]; 4] = [&[], &["last3", "exists"], &["exists", "pseudonym"], &["initials"]];
    let mut properties = String::new();
    // The first few have every group: policies may name any.
    let mut groups = GROUPS.iter();
    let mut leaf = |name: &str, kind: &str, dice: &mut Dice, indent: &str| {
        let masks = *dice.of(if kind == "date" { &dates } else { &texts });
        let format = if kind == "date" { "type: [string, 'null'], format: date" } else { "type: [string, 'null']" };
        let class = if dice.one_in(3) { ", x-gateway-class: sensitive" } else { "" };
        let masks_said =
            if masks.is_empty() { String::new() } else { format!(", x-gateway-masks: [{}]", masks.join(", ")) };
        let short = name.rsplit('.').next().unwrap();
        let _ = writeln!(
            properties,
            "{indent}{short}: {{ {format}, x-gateway-group: {}{class}{masks_said} }}",
            groups.next().unwrap_or_else(|| dice.of(&GROUPS))
        );
        names.fields.push(Leaf { name: format!("Person.{name}"), masks });
    };
    leaf("born", "date", dice, "        ");
    leaf("died", "date", dice, "        ");
    leaf("province", "text", dice, "        ");
    leaf("ward", "text", dice, "        ");
    for at in 0..dice.below(6) {
        leaf(&format!("f{at}"), if dice.one_in(3) { "date" } else { "text" }, dice, "        ");
    }
    let ward = if names.texts.contains(&"ward") { ", ward: { from: ward }" } else { "" };
    let mut paths = String::new();
    for operation in ["read", "look"] {
        let _ = write!(
            paths,
            "  /v1/{operation}/{{id}}:
    get:
      operationId: person.{operation}
      x-gateway-upstream: population GET /persons/{{path.id}}
      x-gateway-effect: read
      x-gateway-subject: path.id
      parameters:
        - {{ name: id, in: path, required: true, schema: {{ type: string, pattern: '^[0-9]{{12}}$' }}, x-gateway-field: Person.id }}
      responses:
        '200':
          description: The person
          content: {{ application/json: {{ schema: {{ $ref: '#/components/schemas/Person' }} }} }}
"
        );
        names.operations.push(format!("person.{operation}"));
    }
    format!(
        "openapi: 3.1.0
info: {{ title: Register, version: 1.0.0 }}
x-gateway-register: population
paths:
{paths}components:
  schemas:
    Person:
      type: object
      x-gateway-subject: id
      x-gateway-attributes: {{ minor: {{ from: born, derive: under-18 }}, deceased: {{ from: died, derive: present }}, province: {{ from: province }}{ward} }}
      properties:
        id: {{ type: string, x-gateway-group: identity }}
{properties}"
    )
}
