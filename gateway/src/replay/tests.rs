//! What a replay says of requests, over the reference bundle and candidates that differ from it in one place.

use std::path::Path;
use std::sync::OnceLock;

use popgate_policy::bundle::{Bundle, Source};
use popgate_policy::contract::RecordSchema;
use popgate_policy::model::FieldIx;
use serde_json::{Value, json};

use super::*;
use crate::app::bundle_files;
use crate::audit::{PurposeSource, Shown};

const NOON: &str = "2026-11-20T05:00:00Z";
const TELECOM: (&str, &str, &str) = ("telecom-a/crm", "citizen.lookup", "subscriber-verification");
const PROVINCE: (&str, &str, &str) = ("ha-noi/portal", "citizen.lookup", "residence-management");
const VERIFY: (&str, &str, &str) = ("bank-a/ekyc", "citizen.verify", "e-kyc");
const STATISTICS: (&str, &str, &str) = ("statistics/warehouse", "citizen.read", "statistics");

const HOUSEHOLD: (&str, &str, &str) = ("social-insurance/claims", "household.read", "social-benefit");
const SEARCH: (&str, &str, &str) = ("ha-noi/portal", "citizen.search", "residence-management");

fn reference() -> &'static Source {
    static SOURCE: OnceLock<Source> = OnceLock::new();
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/bundle");
    SOURCE.get_or_init(|| bundle_files::read(&dir).unwrap())
}

fn live() -> &'static Arc<Bundle> {
    static BUNDLE: OnceLock<Arc<Bundle>> = OnceLock::new();
    BUNDLE.get_or_init(|| Bundle::load(reference()).unwrap().bundle)
}

/// The reference bundle with texts replaced.
fn edited(edits: &[(&str, &str, &str)]) -> Mirror {
    let mut source = reference().clone();
    for (file, old, new) in edits {
        let text = source.files.get_mut(*file).unwrap();
        assert!(text.contains(old), "{file}: {old}");
        *text = text.replacen(old, new, 1);
    }
    Mirror::of(Bundle::load(&source).unwrap_or_else(|problems| panic!("{problems:?}")).bundle)
}

fn record(operation: &str) -> &'static RecordSchema {
    &live().contracts().operation(operation).unwrap().record
}

fn fields(operation: &str, names: &[&str]) -> FieldSet {
    let names: Vec<String> = names.iter().map(|name| format!("Citizen.{name}")).collect();
    named(operation, &names.iter().map(String::as_str).collect::<Vec<_>>())
}

/// By full names.
fn named(operation: &str, names: &[&str]) -> FieldSet {
    names.iter().map(|name| record(operation).field_named(name).unwrap().index).collect()
}

/// A log that is written by hand.
#[derive(Default)]
struct Log {
    entries: Vec<Entry>,
    bundle: Option<Digest>,
    source: Option<&'static str>,
}

impl Log {
    fn intent(&mut self, asked: (&str, &str, &str), at: &str, brought: Option<Brought>, widest: FieldSet) -> u64 {
        let (system, operation, purpose) = asked;
        let seq = self.entries.len() as u64 + 1;
        let record = record(operation);
        let schema = Schema {
            bundle: self.bundle.unwrap_or_else(|| live().digest()),
            name: record.name.clone(),
            fields: record.fields.iter().map(|field| field.name.to_string()).collect(),
        };
        let intent = IntentEntry {
            disclosure: DisclosureId::from_random(seq.into()),
            system: system.into(),
            exchange: None,
            operation: operation.into(),
            purpose: purpose.into(),
            purpose_source: PurposeSource::Header,
            schema: Arc::new(schema),
            fields: widest,
            tag: Some(crate::audit::SubjectTag([1; 16])),
            sealed: None,
            brought,
            source: self.source.unwrap_or("10.20.0.7").parse().unwrap(),
            closed: true,
        };
        self.entries.push(Entry { seq, at: at.parse().unwrap(), what: What::Intent(Box::new(intent)) });
        seq
    }

    fn closing(&mut self, intent: u64, outcome: Ended) {
        let what = What::Closing(ClosingEntry { intent, disclosure: None, schema: None, outcome });
        let (seq, at) = (self.entries.len() as u64 + 1, NOON.parse().unwrap());
        self.entries.push(Entry { seq, at, what });
    }

    /// A request that was answered with these fields.
    fn answered(&mut self, asked: (&str, &str, &str), revealed: &[&str], masked: &[&str]) {
        let (revealed, masked) = (fields(asked.1, revealed), fields(asked.1, masked));
        let intent = self.intent(asked, NOON, Some(ALL), revealed.union(masked));
        self.closing(intent, Ended::Complete(Shown { revealed, masked, matched: FieldSet::EMPTY }));
    }

    fn refused(&mut self, (system, operation, purpose): (&str, &str, &str), code: &str) {
        let seq = self.entries.len() as u64 + 1;
        let refused = RefusedEntry {
            disclosure: DisclosureId::from_random(seq.into()),
            system: Some(system.into()),
            exchange: None,
            operation: Some(operation.into()),
            purpose: Some(purpose.into()),
            code: code.into(),
            tag: None,
            sealed: None,
            brought: Some(ALL),
            bundle: Some(live().digest()),
            source: "10.20.0.7".parse().unwrap(),
        };
        self.entries.push(Entry { seq, at: NOON.parse().unwrap(), what: What::Refused(Box::new(refused)) });
    }

    /// What a candidate makes of it; the files of the reference bundle are known, those of no other.
    fn against(&self, candidate: Mirror) -> Value {
        let mut find = |digest: &Digest| (live().digest() == *digest).then(|| Mirror::of(Arc::clone(live())));
        self.compared(candidate, Before::Records(&mut find))
    }

    fn compared(&self, candidate: Mirror, before: Before<'_>) -> Value {
        let clock = Clock::system("Asia/Ho_Chi_Minh").unwrap();
        let mut replay = Replay::new(candidate, before, clock, Wanted::default(), 3);
        self.entries.iter().cloned().for_each(|entry| replay.take(entry));
        let report = replay.end();
        let mut text = Vec::new();
        report.write(&mut text).unwrap();
        let json = report.json();
        let counted = ["same", "answered_now", "differ", "not_replayed"].map(|name| json[name].as_u64().unwrap());
        let maps = ["refused_now", "depends_on", "gone"].map(|name| json[name].as_object().unwrap().clone());
        let maps: u64 = maps.iter().flat_map(|map| map.values()).map(|count| count.as_u64().unwrap()).sum();
        assert_eq!(json["requests"], counted.iter().sum::<u64>() + maps, "each is counted once: {json}");
        json
    }
}

const ALL: Brought = Brought { user: true, case: true, assurance: false };
const YEAR: &str = "@mask(\"year\")\npermit (\n  principal in Sector::\"telecom\"";
const CLEAR: &str = "permit (\n  principal in Sector::\"telecom\"";

#[test]
fn the_bundle_that_decided_would_decide_the_same() {
    let mut log = Log::default();
    log.answered(TELECOM, &[], &["date_of_birth", "phone"]);
    log.answered(PROVINCE, &["id", "full_name", "permanent_residence.province"], &[]);
    let open = log.intent(TELECOM, NOON, Some(ALL), fields(TELECOM.1, &["date_of_birth", "phone"]));
    assert!(open > 0);
    let hidden = log.intent(PROVINCE, NOON, Some(ALL), fields(PROVINCE.1, &["id"]));
    log.closing(hidden, Ended::NoMatch(NoMatch::Hidden));
    let unknown = log.intent(TELECOM, NOON, Some(ALL), fields(TELECOM.1, &["phone"]));
    log.closing(unknown, Ended::NoMatch(NoMatch::Unknown));
    log.refused((TELECOM.0, "citizen.read", TELECOM.2), "policy_denied");
    // Claims that a record could hide, and did not.
    let matched = fields(VERIFY.1, &["full_name", "date_of_birth"]);
    let verified = log.intent(VERIFY, NOON, Some(ALL), matched);
    log.closing(verified, Ended::Complete(Shown { matched, ..Shown::default() }));
    let said = log.against(Mirror::of(Arc::clone(live())));
    assert_eq!((&said["requests"], &said["same"]), (&json!(7), &json!(7)), "{said}");
    assert_eq!(said["by_agency"][0]["agency"], "bank-a");
}

#[test]
fn a_mask_that_is_taken_away_shows_more_to_those_who_were_shown_it() {
    let mut log = Log::default();
    log.answered(TELECOM, &[], &["date_of_birth", "phone"]);
    log.answered(TELECOM, &[], &["phone"]);
    log.answered(PROVINCE, &["full_name"], &[]);
    let said = log.against(edited(&[("policies/telecom.cedar", YEAR, CLEAR)]));
    // The second person has no date of birth in the register.
    assert_eq!((&said["differ"], &said["more"]), (&json!(1), &json!({"Citizen.date_of_birth": 1})), "{said}");
    let row = &said["by_agency"][1];
    assert_eq!((&row["agency"], &row["examples"]["more"]), (&json!("telecom-a"), &json!([format!("{:032x}", 1)])));
    // The other way round.
    let back = edited(&[("policies/telecom.cedar", YEAR, CLEAR)]);
    let mut then = Log { bundle: Some(back.bundle().digest()), ..Log::default() };
    then.answered(TELECOM, &["date_of_birth"], &["phone"]);
    let said = then.against(Mirror::of(Arc::clone(live())));
    assert_eq!(said["less"], json!({"Citizen.date_of_birth": 1}), "{said}");
}

#[test]
fn a_permit_that_is_gone_refuses_and_one_that_is_new_answers() {
    let mut log = Log::default();
    log.answered(TELECOM, &[], &["date_of_birth"]);
    log.refused((TELECOM.0, "citizen.read", TELECOM.2), "policy_denied");
    log.refused((TELECOM.0, "citizen.read", "treatment"), "purpose_not_enrolled");
    log.refused((TELECOM.0, "citizen.read", "treatment"), "plugin_refused");
    let narrower = edited(&[(
        "policies/telecom.cedar",
        "when { context.purpose == Purpose::\"subscriber-verification\" };",
        "when { context.purpose == Purpose::\"subscriber-verification\" && false };",
    )]);
    let said = log.against(narrower);
    assert_eq!((&said["refused_now"], &said["same"]), (&json!({"parameter_denied": 1}), &json!(2)), "{said}");
    assert_eq!(said["not_replayed"], 1);
    let wider = "\n@id(\"telecom-reads\") @basis(\"a test\") permit (principal in Sector::\"telecom\", action == \
                 Action::\"citizen.read\", resource in Group::\"identity\");\n";
    let policy = &reference().files["policies/telecom.cedar"];
    let enrolled = edited(&[
        ("policies/telecom.cedar", policy, &format!("{policy}{wider}")),
        ("policies/common.cedar", "    Action::\"citizen.read\",\n", ""),
        (
            "agencies/telecom-a.toml",
            "purposes = [\"subscriber-verification\"]",
            "purposes = [\"subscriber-verification\", \"treatment\"]",
        ),
    ]);
    let said = log.against(enrolled);
    assert_eq!((&said["answered_now"], &said["refused_now"]), (&json!(2), &json!({})), "{said}");
    let gone = edited(&[("agencies/telecom-a.toml", "[systems.crm]", "[systems.other]")]);
    assert_eq!(log.against(gone)["gone"], json!({"system": 3}), "the plugin's refusal is not replayed");
}

#[test]
fn gates_and_circumstances_are_those_of_then() {
    let same = || Mirror::of(Arc::clone(live()));
    let mut log = Log { source: Some("10.60.0.7"), ..Log::default() };
    // 23:00 and 12:00 where the site is; at night the policies forbid all of it.
    for at in ["2026-11-20T16:00:00Z", NOON] {
        let asked = log.intent(STATISTICS, at, Some(ALL), fields(STATISTICS.1, &["sex"]));
        log.closing(asked, Ended::NoMatch(NoMatch::Unknown));
    }
    let said = log.against(same());
    assert_eq!((&said["same"], &said["refused_now"]), (&json!(1), &json!({"policy_denied": 1})), "{said}");
    log.source = Some("10.61.0.7");
    let asked = log.intent(STATISTICS, NOON, Some(ALL), fields(STATISTICS.1, &["sex"]));
    log.closing(asked, Ended::Refused("register_timeout".into()));
    assert_eq!(log.against(same())["refused_now"]["network_not_listed"], 1);

    let mut log = Log::default();
    for brought in [Some(Brought::default()), Some(ALL), None] {
        log.intent(TELECOM, NOON, brought, fields(TELECOM.1, &["date_of_birth"]));
    }
    let asked = ") when { context.purpose == Purpose::\"subscriber-verification\" };";
    let user = edited(&[("policies/telecom.cedar", asked, &asked.replace(" };", " && context.env.claimed_user };"))]);
    let said = log.against(user);
    assert_eq!(said["depends_on"], json!({"claims": 1}), "only of the older record it is not known: {said}");
    assert_eq!((&said["refused_now"], &said["same"]), (&json!({"parameter_denied": 1}), &json!(1)), "{said}");
    let purpose = "[subscriber-verification]";
    let expired = edited(&[("purposes.toml", purpose, &format!("{purpose}\nvalid_until = 2026-11-19"))]);
    assert_eq!(log.against(expired)["refused_now"], json!({"purpose_expired": 3}));
}

#[test]
fn what_hangs_on_the_record_is_told_where_what_was_shown_tells_it_and_is_not_guessed_elsewhere() {
    let adults = "forbid (\n  principal in Level::\"private\",\n  action in Action::\"with-minor\",\n  resource == Field::\"Citizen.date_of_birth\"\n) when { context.record.minor }";
    let all = adults.replace("context.record.minor", "true");
    let mut log = Log::default();
    log.answered(TELECOM, &[], &["date_of_birth", "phone"]);
    // Contact of a minor is only matched: who was shown a phone is none.
    let clear = edited(&[("policies/telecom.cedar", YEAR, CLEAR)]);
    let mut then = Log { bundle: Some(clear.bundle().digest()), ..Log::default() };
    then.answered(TELECOM, &["date_of_birth"], &[]);
    let narrowed = edited(&[("policies/telecom.cedar", YEAR, CLEAR), ("policies/common.cedar", adults, &all)]);
    let said = then.against(narrowed);
    assert_eq!(said["less"], json!({"Citizen.date_of_birth": 1}), "it was shown whole, and never would be: {said}");
    // Of a hidden record nothing is known.
    let mut log = Log::default();
    let hidden = log.intent(PROVINCE, NOON, Some(ALL), fields(PROVINCE.1, &["id"]));
    log.closing(hidden, Ended::NoMatch(NoMatch::Hidden));
    let other = edited(&[(
        "policies/province.cedar",
        "context.record.province == principal.province",
        "context.record.province == \"079\"",
    )]);
    assert_eq!(log.against(other)["depends_on"], json!({"record": 1}));
    let open = edited(&[(
        "policies/province.cedar",
        "context.purpose != Purpose::\"civil-status-registration\" }",
        "false }",
    )]);
    assert_eq!(log.against(open)["answered_now"], 1);
}

/// A household of two, with the fields of its address that are known by these names.
fn household(address: &[&str]) -> Log {
    let mut log = Log::default();
    let member = fields(HOUSEHOLD.1, &["id", "full_name", "date_of_birth", "household.relation_to_head"]);
    let envelope = named(HOUSEHOLD.1, &[&["Household.id"], address].concat());
    let all = named(HOUSEHOLD.1, &["Household.id", "Household.address.province"]).union(member);
    let asked = log.intent(HOUSEHOLD, NOON, Some(ALL), all);
    let other = log.intent(HOUSEHOLD, NOON, Some(ALL), member);
    for entry in &mut log.entries {
        if let What::Intent(intent) = &mut entry.what {
            intent.disclosure = DisclosureId::from_random(1);
        }
    }
    for (intent, revealed) in [(asked, member.union(envelope)), (other, member)] {
        log.closing(intent, Ended::Complete(Shown { revealed, ..Shown::default() }));
    }
    log
}

#[test]
fn what_goes_around_a_household_is_compared_once_with_the_person_who_was_asked_for() {
    let province = "    Field::\"Household.address.province\",\n";
    let wider = || {
        let more = format!("{province}    Field::\"Household.address.address\",\n");
        edited(&[("policies/several.cedar", province, &more)])
    };
    let narrower = || edited(&[("policies/several.cedar", province, "")]);
    let whole = household(&["Household.address.province"]);
    // A bundle that did not decide: only what both make of it is compared.
    let other = || Before::Bundle(Arc::new(edited(&[("policies/telecom.cedar", YEAR, CLEAR)])));
    for said in [whole.against(wider()), whole.compared(wider(), other())] {
        assert_eq!((&said["differ"], &said["same"]), (&json!(1), &json!(1)), "{said}");
        assert_eq!(said["more"], json!({"Household.address.address": 1}), "{said}");
    }
    for said in [whole.against(narrower()), whole.compared(narrower(), other())] {
        assert_eq!((&said["less"], &said["same"]), (&json!({"Household.address.province": 1}), &json!(1)), "{said}");
    }
    // A register that had no province had none to lose.
    assert_eq!(household(&[]).against(narrower())["same"], 2);
    // Without the files of the bundle of then: what might have been shown was written down.
    let said = whole.compared(wider(), Before::Records(&mut |_| None));
    assert_eq!((&said["more"], &said["same"]), (&json!({"Household.address.address": 1}), &json!(1)), "{said}");
    assert_eq!(whole.against(edited(&[]))["same"], 2);
}

#[test]
fn what_a_search_counts_depends_on_more_than_policies() {
    let mut log = Log::default();
    let counted = named(SEARCH.1, &["CitizenPage.total", "CitizenPage.next"]);
    for outcome in [Some(Ended::Complete(Shown { revealed: counted, ..Shown::default() })), Some(Ended::Aborted), None]
    {
        let asked = log.intent(SEARCH, NOON, Some(ALL), counted);
        if let Some(What::Intent(intent)) = log.entries.last_mut().map(|entry| &mut entry.what) {
            intent.tag = None;
        }
        if let Some(outcome) = outcome {
            log.closing(asked, outcome);
        }
    }
    assert_eq!(log.against(edited(&[]))["same"], 3);
    let uncounted = || edited(&[("policies/several.cedar", ", Group::\"paging\"]", "]")]);
    let said = log.against(uncounted());
    assert_eq!((&said["depends_on"], &said["same"]), (&json!({"record": 2}), &json!(1)), "{said}");
    let said = log.compared(uncounted(), Before::Records(&mut |_| None));
    assert_eq!(said["depends_on"], json!({"record": 2}), "{said}");
    let other = edited(&[("policies/telecom.cedar", YEAR, CLEAR)]);
    let said = log.compared(uncounted(), Before::Bundle(Arc::new(other)));
    assert_eq!(said["depends_on"], json!({"record": 3}), "{said}");
}

#[test]
fn against_another_bundle_only_what_both_make_of_the_requests_counts() {
    let mut log = Log::default();
    log.answered(TELECOM, &["date_of_birth"], &[]);
    log.refused(TELECOM, "policy_denied");
    let clear = || edited(&[("policies/telecom.cedar", YEAR, CLEAR)]);
    let before = |mirror| Before::Bundle(Arc::new(mirror));
    let same = log.compared(clear(), before(clear()));
    assert_eq!(same["same"], 2, "{same}");
    let said = log.compared(clear(), before(edited(&[])));
    // Of the one request the record says what was shown, and that it was shown by another bundle is not believed.
    assert!(
        said["more"]["Citizen.date_of_birth"].as_u64() >= Some(1) || said["depends_on"]["record"].as_u64() >= Some(1),
        "{said}"
    );
}

#[test]
fn a_field_that_the_candidate_does_not_have_is_named() {
    let mut log = Log::default();
    log.answered(TELECOM, &[], &["phone"]);
    let schema = Schema { bundle: Digest([3; 32]), name: "Citizen".into(), fields: vec!["Citizen.telex".into()] };
    if let Some(Entry { what: What::Intent(intent), .. }) = log.entries.first_mut() {
        intent.schema = Arc::new(schema);
        intent.fields = [FieldIx(0)].into_iter().collect();
    }
    if let Some(Entry { what: What::Closing(closing), .. }) = log.entries.last_mut() {
        let masked = [FieldIx(0)].into_iter().collect();
        closing.outcome = Ended::Complete(Shown { masked, ..Shown::default() });
    }
    let said = log.against(edited(&[]));
    assert_eq!((&said["gone"], &said["less"]), (&json!({"field": 1}), &json!({"Citizen.telex": 1})), "{said}");
    assert_eq!(said["unknown_bundles"], json!(["03".repeat(32)]));
}
