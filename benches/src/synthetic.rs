//! Bundles of any size: the reference bundle's contracts and purposes, with as many agencies and policies as one likes.

use std::fmt::Write as _;

use popgate_policy::bundle::Source;

/// How large a bundle is, and of what.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Agencies, each with one system and two purposes.
    pub agencies: usize,
    /// Policies; nine of twenty have a condition on circumstances or record.
    pub policies: usize,
}

/// The files of such a bundle. The same size gives the same files.
pub fn source(reference: &Source, size: Size) -> Source {
    let kept = |path: &&String| path.starts_with("contracts/") || *path == "purposes.toml";
    let mut files: std::collections::BTreeMap<String, String> = reference
        .files
        .iter()
        .filter(|(path, _)| kept(path))
        .map(|(path, text)| (path.clone(), text.clone()))
        .collect();
    let mut dice = Dice(42);
    for at in 0..size.agencies {
        files.insert(format!("agencies/a{at}.toml"), agency(at));
    }
    // The more policies, the more agencies they name, up to what a country has.
    let named = size.agencies.min(NAMED);
    let mut texts = vec![String::new(); named.max(1)];
    for at in 0..size.policies {
        let agency = at % named.max(1);
        if let Some(text) = texts.get_mut(agency) {
            text.push_str(&policy(at, agency, &mut dice));
        }
    }
    for (at, text) in texts.into_iter().enumerate() {
        files.insert(format!("policies/a{at}.cedar"), text);
    }
    Source { files }
}

/// The id of the only system of an agency.
pub fn system(agency: usize) -> String {
    format!("a{agency}/main")
}

/// The two purposes of an agency.
pub fn purposes(agency: usize) -> [&'static str; 2] {
    [pick(&PURPOSES, agency), pick(&PURPOSES, agency + 1)]
}

fn agency(at: usize) -> String {
    let [one, two] = purposes(at);
    let level = pick(&LEVELS, at);
    let province = if level == "province" { format!("province = \"{:03}\"\n", 1 + at % 96) } else { String::new() };
    format!(
        "name = {{ vi = \"Cơ quan {at}\", en = \"Agency {at}\" }}\nsector = \"{}\"\nlevel = \"{level}\"\n{province}purposes = [\"{one}\", \
         \"{two}\"]\n[systems.main]\nidentity = \"spiffe://gov.vn/a{at}/main\"\nlimits = {{ rate = \"100/s\", burst = 200, concurrent = 64 }}\n",
        sector(at)
    )
}

fn sector(agency: usize) -> &'static str {
    pick(&SECTORS, agency)
}

fn policy(at: usize, agency: usize, dice: &mut Dice) -> String {
    let mut of = |list: &[&'static str]| pick(list, dice.roll());
    let (purpose, operation, group) = (of(&PURPOSES), of(&OPERATIONS), of(&GROUPS));
    let mut text = format!("@id(\"p{at}\") @basis(\"Law {at}\") ");
    let who = format!("principal in Agency::\"a{agency}\"");
    let sector = format!("principal in Sector::\"{}\"", sector(dice.roll()));
    let what = format!("action == Action::\"{operation}\", resource in Group::\"{group}\"");
    let why = format!("context.purpose == Purpose::\"{purpose}\"");
    let _ = match at % 20 {
        0..=8 => writeln!(text, "permit({who}, {what}) when {{ {why} }};"),
        9 | 10 => writeln!(text, "permit({sector}, {what}) when {{ {why} && resource in Class::\"basic\" }};"),
        11 | 12 => writeln!(text, "permit({who}, {what}) when {{ {why} && context.env.claimed_user }};"),
        13..=15 => {
            writeln!(text, "permit({who}, {what}) when {{ {why} && context.env.hour >= 7 && context.env.hour < 18 }};")
        }
        16 => writeln!(
            text,
            "permit({sector}, {what}) when {{ {why} && context.env.source.isInRange(ip(\"10.{}.0.0/16\")) }};",
            at % 256
        ),
        17 => writeln!(
            text,
            "forbid({sector}, action in Action::\"with-minor\", resource in Group::\"{group}\") when {{ context.record.minor }};"
        ),
        18 => writeln!(
            text,
            "forbid(principal in Level::\"province\", action in Action::\"with-province\", resource in Group::\"{group}\") unless {{ principal \
             has province && context.record.province == principal.province }};"
        ),
        _ => writeln!(text, "forbid({sector}, {what}) when {{ {why} && context.env.weekday > 5 }};"),
    };
    text
}

fn pick(list: &[&'static str], at: usize) -> &'static str {
    list.get(at % list.len().max(1)).copied().unwrap_or_default()
}

/// Numbers that look like chance and are the same each time (an LCG, the high bits).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 40).unwrap_or_default()
    }
}

const NAMED: usize = 85;
const SECTORS: [&str; 8] = ["health", "finance", "justice", "interior", "social", "education", "economy", "transport"];
const LEVELS: [&str; 3] = ["central", "province", "private"];
const PURPOSES: [&str; 6] =
    ["assessment", "treatment", "residence-management", "social-benefit", "public-service", "land-registration"];
const OPERATIONS: [&str; 3] = ["citizen.read", "citizen.lookup", "citizen.verify"];
const GROUPS: [&str; 7] = ["identity", "contact", "residence", "family", "civil", "origin", "registration"];
