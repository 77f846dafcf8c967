//! What is refused of a plugin's table, and how it is said.

use std::path::PathBuf;

use popgate_policy::narrow::Narrowing;

use super::*;
use crate::plugin::{Decision, Files, Plugin, Seen, Unusable};

/// The one table of a text, or what is wrong with it: `line:column: message = help`.
fn parse_with(kinds: &Registry, text: &str) -> Result<Configured, Vec<String>> {
    let whole = DeTable::parse(text).unwrap();
    let (name, table) = whole.get_ref().get("plugins").unwrap().get_ref().as_table().unwrap().iter().next().unwrap();
    let document =
        Document::new("gateway.toml", text, std::path::Path::new("/etc/popgate"), &["consent", "population"]);
    let read = kinds.read(&document, name.get_ref(), name.span(), table.get_ref().as_table().unwrap());
    let problems = document.into_problems();
    if problems.is_empty() {
        return Ok(read.expect("what has no mistake is read"));
    }
    Err(problems
        .into_iter()
        .map(|problem| {
            let (line, column) = problem.at.unwrap();
            format!("{line}:{column}: {} = {}", problem.message, problem.help.unwrap_or_default())
        })
        .collect())
}

fn parse(text: &str) -> Result<Configured, Vec<String>> {
    parse_with(&Registry::built_in(), text)
}

const HOURS: &str = r#"[plugins.night]
kind = "office-hours"
applies_to = { sectors = ["bank"], purposes = ["e-kyc"] }
deadline = "200ms"
on_error = "ignore"
weekdays = ["mon", "fri"]
from = "07:30"
to = "17:30"
holidays = [2026-09-02, "2027-02-05/2027-02-11"]
outside = "narrow"
withhold = ["contact", "Citizen.phone"]
cap = { "Citizen.date_of_birth" = "year", identity = "match" }
"#;
const CONSENT: &str = r#"[plugins.consent]
kind = "consent"
register = "consent"
path = "/consents/{pseudonym}?purpose={purpose}"
key = "keys/consent.key"
remember_yes = "10m"
remembered = 1_000
"#;
const NETWORK: &str = r#"[plugins.networks]
kind = "network"
networks = ["10.0.0.0/8", "2001:db8::/32", "203.0.113.7"]
agencies = { tax = ["10.20.0.0/16"] }
"#;
const OPT_OUT: &str = "[plugins.opt-out]\nkind = \"opt-out\"\nlist = \"opt-out.list\"\nkey = \"keys/o.key\"\n";

#[test]
fn what_is_said_is_what_is_configured() {
    let night = parse(HOURS).unwrap();
    assert_eq!((&*night.name, night.deadline, night.on_error), ("night", Duration::from_millis(200), OnError::Ignore));
    let some = |name: &str| Some(vec![name.to_owned()]);
    assert_eq!(night.applies_to, AppliesTo { sectors: some("bank"), purposes: some("e-kyc"), ..AppliesTo::default() });
    assert_eq!(night.mentions.len(), 6);
    for (text, files) in
        [(CONSENT, vec!["keys/consent.key"]), (NETWORK, vec![]), (OPT_OUT, vec!["opt-out.list", "keys/o.key"])]
    {
        let plugin = parse(text).unwrap();
        assert_eq!((plugin.deadline, plugin.on_error), (Duration::from_millis(500), OnError::Refuse));
        let files: Vec<PathBuf> = files.into_iter().map(|file| PathBuf::from("/etc/popgate").join(file)).collect();
        assert_eq!(plugin.blueprint.files(), files);
    }
    assert!(parse(OPT_OUT).unwrap().blueprint.keyed_list().is_some());
}

/// What to replace, by what; then the place and message, and a part of the help.
const BROKEN: &[(&str, &str, &str, &str, &str)] = &[
    (HOURS, "plugins.night", "plugins.Night", "1:10: `Night` is not a plugin's name", ""),
    (HOURS, "kind = \"office-hours\"\n", "", "1:10: `kind` is missing in `[plugins.night]`", ""),
    (HOURS, "office-hours", "office-hour", "2:8: unknown choice `office-hour`", "did you mean `office-hours`?"),
    (HOURS, "sectors =", "sector =", "3:16: unknown key `sector` in `[plugins.night.applies_to]`", "`sectors`?"),
    (HOURS, "[\"bank\"]", "[]", "3:26: the list is empty", "remove the key"),
    (HOURS, "[\"bank\"]", "\"bank\"", "3:26: expected a list in brackets, found a value of type string", ""),
    (HOURS, "{ sectors = [\"bank\"], purposes = [\"e-kyc\"] }", "\"bank\"", "3:14: expected a table in braces", ""),
    (HOURS, "200ms", "200", "4:12: `200` is not a duration", "such as"),
    (HOURS, "200ms", "0s", "4:12: `0s` is not a duration", "above zero"),
    (HOURS, "200ms", "31s", "4:12: `31s` is too long: at most 30 s", ""),
    (HOURS, "ignore", "ignored", "5:12: unknown choice `ignored`", "did you mean `ignore`?"),
    (HOURS, "\"mon\"", "\"monday\"", "6:13: unknown choice `monday`", "`mon`"),
    (HOURS, "weekdays", "weekday", "6:1: unknown key `weekday` in `[plugins.night]`", "did you mean `weekdays`?"),
    (HOURS, "weekdays", "weekday", "1:10: `weekdays` is missing in `[plugins.night]`", ""),
    (HOURS, "07:30", "7:30", "7:8: `7:30` is not a time of day", "such as"),
    (HOURS, "07:30", "24:30", "7:8: `24:30` is not a time of day", "such as"),
    (HOURS, "17:30", "07:30", "8:6: `to` is the same time as `from`", "the whole day"),
    (HOURS, "2026-09-02,", "2026-09-02T10:00:00,", "9:13: `2026-09-02T10:00:00` is neither a day", "such as"),
    (HOURS, "02-05/2027", "02-12/2027", "9:25: `2027-02-12/2027-02-11` is neither a day", "such as"),
    (
        HOURS,
        "\"narrow\"",
        "\"refuse\"",
        "11:12: fields are named, and the whole answer is taken",
        "`outside = \"narrow\"`",
    ),
    (HOURS, "\"narrow\"", "\"hide\"", "10:11: unknown choice `hide`", "`unknown`"),
    (HOURS, "\"year\"", "\"years\"", "12:35: unknown choice `years`", "did you mean `year`?"),
    (HOURS, "contact", "", "11:13: the text must not be empty", ""),
    (OPT_OUT, "list = \"opt-out.list\"\n", "", "1:10: `list` is missing in `[plugins.opt-out]`", ""),
    (OPT_OUT, "key =", "answer = \"narrow\"\nkey =", "4:10: no field is named", "withhold = ["),
    (
        CONSENT,
        "register = \"consent\"",
        "register = \"consents\"",
        "3:12: there is no section `[registers.consents]`",
        "`consent`?",
    ),
    (CONSENT, "{pseudonym}", "{person}", "4:8: `/consents/{person}?purpose={purpose}` has `{person}`", "such as"),
    (CONSENT, "key = \"keys/consent.key\"\n", "", "4:8: a pseudonym needs a key", "popgate pki key"),
    (CONSENT, "{pseudonym}", "{number}", "5:7: there is a `key`, and no `{pseudonym}`", "name the person"),
    (CONSENT, "10m", "25h", "6:16: `25h` is too long: at most 86400 s", ""),
    (CONSENT, "1_000", "-1", "7:14: `-1` is out of range: from 0 to 10000000", ""),
    (NETWORK, "10.0.0.0/8", "10.1.0.0/8", "3:13: `10.1.0.0/8` has bits beyond its prefix", "`\"10.0.0.0/8\"`"),
    (NETWORK, "203.0.113.7", "gateway", "3:44: `gateway` is neither a network nor an address", "such as"),
    (NETWORK, "agencies", "agency", "4:1: unknown key `agency` in `[plugins.networks]`", "`agencies`?"),
    (
        NETWORK,
        "networks = [\"10.0.0.0/8\", \"2001:db8::/32\", \"203.0.113.7\"]\nagencies = { tax = [\"10.20.0.0/16\"] }\n",
        "",
        "1:10: no network is listed",
        "add `networks",
    ),
];

#[test]
fn every_mistake_is_reported_with_its_place_and_what_to_do() {
    for (good, from, to, place, help) in BROKEN {
        assert!(good.contains(from), "{from}");
        let found = parse(&good.replacen(from, to, 1)).expect_err(place);
        let hit = found.iter().any(|line| line.starts_with(place) && line.contains(help));
        assert!(hit, "`{from}` -> `{to}`: wanted `{place}` = `{help}`, found\n{}", found.join("\n"));
    }
}

#[derive(Debug)]
struct Foreign;

impl Plugin for Foreign {
    fn looks_at_subject(&self) -> bool {
        false
    }

    fn decide<'a>(&'a self, _: Seen<'a>) -> Decision<'a> {
        Box::pin(async { Ok(Narrowing::NONE) })
    }
}

impl Blueprint for Foreign {
    fn open(&self, _: &dyn Files) -> Result<Box<dyn Plugin>, Unusable> {
        Ok(Box::new(Self))
    }
}

#[test]
fn a_kind_from_elsewhere_is_a_constructor_more() {
    let kinds = Registry::built_in().with("foreign", |settings| {
        let _ = settings.required("module", |settings, value| settings.path(value))?;
        Some(Arc::new(Foreign))
    });
    assert!(parse_with(&kinds, "[plugins.x]\nkind = \"foreign\"\nmodule = \"guest.wasm\"\n").is_ok());
    let missing = parse_with(&kinds, "[plugins.x]\nkind = \"foreign\"\n").unwrap_err();
    assert_eq!(missing, ["1:10: `module` is missing in `[plugins.x]` = "]);
    let unknown = parse("[plugins.x]\nkind = \"foreign\"\n").unwrap_err();
    assert!(unknown[0].contains("unknown choice `foreign`"), "{unknown:?}");
}
