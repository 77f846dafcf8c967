//! The log's promises.

use std::future::Future;
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use popgate_policy::bundle::Digest;
use popgate_policy::contract::{Class, Compare, Field, Kind, ObjectShape, RecordSchema};
use popgate_policy::model::{
    DisclosureId, FieldIx, FieldName, FieldSet, GroupId, OperationId, Personal, PurposeId, SystemId,
};

use super::*;

mod chain;
mod failure;

const SUBJECT: &str = "001087000123";
const USER: &str = "user-le-thi-hoa";
const CASE: &str = "CASE-2026-000123";

/// A record of forty fields, as large as the reference one.
fn schema() -> Arc<RecordSchema> {
    let field = |index: u16| Field {
        index: FieldIx(index),
        name: FieldName::new(&format!("Citizen.f{index}")),
        path: vec![format!("f{index}")],
        kind: Kind::String,
        array: false,
        group: GroupId::new("identity"),
        class: Class::Basic,
        masks: Vec::new(),
        implies: Vec::new(),
        compare: Compare::Exact,
        whole: false,
    };
    Arc::new(RecordSchema {
        name: "Citizen".to_owned(),
        fields: (0..40).map(field).collect(),
        shape: ObjectShape::default(),
        subject: FieldIx(0),
        attributes: Vec::new(),
        references: Vec::new(),
    })
}

fn fields(numbers: impl IntoIterator<Item = u16>) -> FieldSet {
    numbers.into_iter().map(FieldIx).collect()
}

fn intent(schema: &Arc<RecordSchema>, number: u128) -> Intent {
    Intent {
        disclosure: DisclosureId::from_random(number),
        system: SystemId::new("tax/etax"),
        exchange: None,
        operation: OperationId::new("citizen.read"),
        purpose: PurposeId::new("assessment"),
        purpose_source: PurposeSource::Default,
        subject: Some(Personal::new(SUBJECT.to_owned())),
        record: Arc::clone(schema),
        fields: fields([0, 1, 5, 17, 39]),
        bundle: Digest([7; 32]),
        claimed: Claimed::default(),
        source: IpAddr::V4(Ipv4Addr::new(10, 20, 0, 7)),
    }
}

fn claimed() -> Claimed {
    Claimed {
        user: Some(Personal::new(USER.to_owned())),
        case: Some(Personal::new(CASE.to_owned())),
        assurance: Some(Personal::new("assurance-high".to_owned())),
        request_id: Some(Personal::new("client-request-77".to_owned())),
        represented: Some(Personal::new("COM/12345".to_owned())),
        client: None,
    }
}

fn refusal(code: &'static str) -> Refused {
    Refused {
        disclosure: DisclosureId::from_random(9),
        system: Some(SystemId::new("tax/etax")),
        exchange: None,
        operation: Some(OperationId::new("citizen.read")),
        purpose: None,
        code,
        bundle: Digest([8; 32]),
        subject: Some(Personal::new(SUBJECT.to_owned())),
        claimed: Claimed::default(),
        source: "fd00::7".parse().unwrap(),
    }
}

fn shown() -> Shown {
    Shown { revealed: fields([0, 1]), masked: fields([5]), matched: FieldSet::EMPTY }
}

fn options() -> Options {
    Options { segment_bytes: 1 << 20, min_free_bytes: 0, slots: 4096 }
}

fn key() -> AuditKey {
    AuditKey::new([3; 32])
}

fn clock() -> Clock {
    Clock::system("Asia/Ho_Chi_Minh").unwrap()
}

fn open(dir: &Path) -> (Audit, Opened) {
    Audit::open(dir, options(), key(), clock()).unwrap()
}

/// A folder in memory where there is one: thousands of logs are opened, and no power is lost.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// One whole disclosure: its intent durable, then closed.
fn disclose(audit: &Audit, intent: Intent) {
    let (pending, closing) = audit.intend(intent).unwrap();
    drop(wait(pending.durable()).unwrap());
    closing.close(Outcome::Complete(shown()));
}

fn all(dir: &Path, key: Option<&AuditKey>) -> Vec<Entry> {
    read::entries(dir, key).unwrap().map(Result::unwrap).collect()
}

fn the_intent(entry: &Entry) -> &IntentEntry {
    match &entry.what {
        What::Intent(intent) => intent,
        other => panic!("{other:?} is not an intent"),
    }
}

#[test]
fn what_operators_do_is_read_back_without_the_key_also_when_the_disk_is_nearly_full() {
    let dir = tempfile::tempdir().unwrap();
    let action = |until: Option<&str>| Action {
        by: "local:minh".to_owned(),
        what: "suspend".to_owned(),
        target: "system bank-a/ekyc".to_owned(),
        reason: "asks for thousands by night".to_owned(),
        until: until.map(|until| until.parse().unwrap()),
    };
    let options = Options { min_free_bytes: u64::MAX, ..options() };
    let (audit, _) = Audit::open(dir.path(), options, key(), clock()).unwrap();
    assert!(audit.intend(intent(&schema(), 1)).is_err());
    let acted = [action(None), action(Some("2026-11-21T08:00:00.5Z"))].map(|action| audit.act(action).unwrap());
    assert_eq!(acted.map(Acted::durable), [Ok(()), Ok(())]);
    assert_eq!(audit.stats().queued, 0);
    audit.clone().close();
    assert!(audit.act(action(None)).is_err(), "a closed log takes nothing");
    let found: Vec<What> = all(dir.path(), None).into_iter().map(|entry| entry.what).collect();
    let expected = [None, Some("2026-11-21T08:00:00.5Z")].map(|until| What::Action(Box::new(action(until))));
    assert_eq!(found, expected);
    assert_eq!(read::verify(dir.path()).unwrap().actions, 2);
}

#[test]
fn what_was_recorded_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, opened) = open(dir.path());
    assert_eq!(opened, Opened { records: 0, torn: Vec::new(), clean: true });
    let (pending, closing) = audit.intend(Intent { claimed: claimed(), ..intent(&schema(), 42) }).unwrap();
    let receipt = wait(pending.durable()).unwrap();
    assert_eq!((receipt.disclosure(), receipt.durable_upto()), (DisclosureId::from_random(42), 0));
    closing.close(Outcome::Complete(shown()));
    audit.refused(refusal("policy_denied"));
    let (pending, closing) = audit.intend(intent(&schema(), 43)).unwrap();
    drop(wait(pending.durable()).unwrap());
    closing.close(Outcome::NoMatch(NoMatch::Guard));
    audit.close();

    let entries = all(dir.path(), Some(&key()));
    let first = the_intent(&entries[0]);
    assert_eq!(first.disclosure, DisclosureId::from_random(42));
    assert_eq!((&*first.system, &*first.operation, &*first.purpose), ("tax/etax", "citizen.read", "assessment"));
    assert_eq!(first.purpose_source, PurposeSource::Default);
    assert_eq!(first.schema.names(first.fields).collect::<Vec<_>>(), ["f0", "f1", "f5", "f17", "f39"]);
    assert_eq!(first.schema.bundle, Digest([7; 32]));
    assert_eq!(first.source.to_string(), "10.20.0.7");
    assert_eq!(first.tag, Some(key().tag(SUBJECT)));
    assert!(first.closed);
    let sealed = first.sealed.as_ref().unwrap();
    assert_eq!(sealed.subject.as_ref().unwrap().expose(), SUBJECT);
    assert_eq!(sealed.claimed, claimed());
    assert_eq!(first.brought, Some(Brought { user: true, case: true, assurance: true }));
    let What::Closing(closing) = &entries[1].what else { panic!() };
    assert_eq!((closing.intent, closing.disclosure), (1, Some(DisclosureId::from_random(42))));
    assert_eq!(closing.outcome, Ended::Complete(shown()));
    let What::Refused(refused) = &entries[2].what else { panic!() };
    assert_eq!((&*refused.code, refused.purpose.as_deref()), ("policy_denied", None));
    assert_eq!(refused.source.to_string(), "fd00::7");
    assert_eq!((refused.bundle, refused.brought), (Some(Digest([8; 32])), Some(Brought::default())));
    assert_eq!(refused.sealed.as_ref().unwrap().subject.as_ref().unwrap().expose(), SUBJECT);
    let What::Closing(closing) = &entries[4].what else { panic!() };
    assert_eq!(closing.outcome, Ended::NoMatch(NoMatch::Guard));

    let report = read::verify(dir.path()).unwrap();
    assert!(report.closed && report.torn.is_empty());
    let said = report.to_string();
    let expected = "2 intents, 2 closings, 0 open, 1 refusals, 1 segments, chain whole: verified, head ";
    assert!(said.starts_with(expected), "{said}");
}

#[test]
fn without_the_right_key_only_the_tag_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, _) = open(dir.path());
    disclose(&audit, Intent { claimed: claimed(), ..intent(&schema(), 1) });
    audit.close();
    for wrong in [None, Some(AuditKey::new([4; 32]))] {
        let entries = all(dir.path(), wrong.as_ref());
        assert_eq!(the_intent(&entries[0]).sealed, None);
        assert_eq!(the_intent(&entries[0]).tag, Some(key().tag(SUBJECT)));
    }
    assert_ne!(key().tag(SUBJECT), AuditKey::new([4; 32]).tag(SUBJECT));
}

#[test]
fn nothing_personal_is_in_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, _) = open(dir.path());
    disclose(&audit, Intent { claimed: claimed(), ..intent(&schema(), 1) });
    audit.refused(Refused { claimed: claimed(), ..refusal("policy_denied") });
    audit.close();
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        bytes.extend(std::fs::read(entry.unwrap().path()).unwrap());
    }
    let found = |text: &str| memchr::memmem::find(&bytes, text.as_bytes()).is_some();
    assert!(found("tax/etax") && found("policy_denied"), "the search finds what is in clear");
    for personal in [SUBJECT, USER, CASE, "assurance-high", "client-request-77"] {
        assert!(!found(personal), "{personal}");
    }
}

#[test]
fn a_dropped_closing_records_what_the_body_was_showing() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, _) = open(dir.path());
    let (pending, mut closing) = audit.intend(intent(&schema(), 1)).unwrap();
    drop(wait(pending.durable()).unwrap());
    closing.set(shown());
    drop(closing);
    let (pending, closing) = audit.intend(intent(&schema(), 2)).unwrap();
    drop((pending, closing));
    audit.close();
    let outcomes = all(dir.path(), None).into_iter().filter_map(|entry| match entry.what {
        What::Closing(closing) => Some(closing.outcome),
        _ => None,
    });
    assert_eq!(outcomes.collect::<Vec<_>>(), [Ended::Partial(shown()), Ended::Aborted]);
}

#[test]
fn an_intent_without_a_closing_reads_possibly_seen() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, _) = open(dir.path());
    let (pending, closing) = audit.intend(intent(&schema(), 1)).unwrap();
    drop(wait(pending.durable()).unwrap());
    assert_eq!(read::verify(dir.path()).unwrap().open, 1);
    assert!(!the_intent(&all(dir.path(), None)[0]).closed);
    audit.close();
    drop(closing);
    assert!(!the_intent(&all(dir.path(), None)[0]).closed);
}

#[test]
fn a_full_queue_refuses_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let small = Options { slots: 4, ..options() };
    let (audit, _) = Audit::open(dir.path(), small, key(), clock()).unwrap();
    let schema = schema();
    let first = audit.intend(intent(&schema, 1)).unwrap();
    let second = audit.intend(intent(&schema, 2)).unwrap();
    drop(wait(first.0.durable()).unwrap());
    drop(wait(second.0.durable()).unwrap());
    assert_eq!(audit.stats().queued, 2, "each holds its closing's slot");
    let third = audit.intend(intent(&schema, 3)).unwrap();
    assert_eq!(audit.intend(intent(&schema, 4)).err(), Some(Unavailable::QueueFull));
    drop(wait(third.0.durable()).unwrap());
    drop((first.1, second.1, third.1));
    while audit.stats().queued > 0 {
        std::thread::yield_now();
    }
    disclose(&audit, intent(&schema, 5));
    audit.close();
    assert_eq!(read::verify(dir.path()).unwrap().intents, 4);
}

#[test]
fn a_closed_log_accepts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, _) = open(dir.path());
    let other = audit.clone();
    audit.close();
    assert!(!other.is_serving());
    assert_eq!(other.intend(intent(&schema(), 1)).err(), Some(Unavailable::Closed));
}

#[test]
fn a_disclosure_costs_at_most_200_bytes() {
    const COUNT: u64 = 100;
    let dir = tempfile::tempdir().unwrap();
    let (audit, _) = open(dir.path());
    let schema = schema();
    disclose(&audit, intent(&schema, 1));
    // The closing may share a batch with the next intent, as it would in service.
    let before = audit.stats().bytes;
    for number in 0..COUNT {
        disclose(
            &audit,
            Intent { disclosure: DisclosureId::from_random(u128::MAX - u128::from(number)), ..intent(&schema, 1) },
        );
    }
    let each = (audit.stats().bytes - before) / COUNT;
    assert!(each <= 200, "{each} bytes, one at a time");

    let before = audit.stats().bytes;
    let batch: Vec<_> =
        (0..COUNT).map(|_| audit.intend(Intent { claimed: claimed(), ..intent(&schema, 1) }).unwrap()).collect();
    let closings: Vec<_> =
        batch.into_iter().map(|(pending, closing)| (wait(pending.durable()).unwrap(), closing).1).collect();
    closings.into_iter().for_each(|closing| closing.close(Outcome::Complete(shown())));
    audit.clone().close();
    let each = (audit.stats().bytes - before) / COUNT;
    assert!(each <= 200, "{each} bytes, with user, case, assurance and request id, in large batches");
}

#[test]
fn two_processes_cannot_write_one_log() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, _) = open(dir.path());
    assert!(matches!(Audit::open(dir.path(), options(), key(), clock()), Err(AuditError::Locked { .. })));
    let said: Vec<_> = said_by(&mut other_process(dir.path())).collect();
    assert!(said.iter().any(|line| line.contains("in use by another process")), "{said:?}");
    audit.close();
    open(dir.path()).0.close();
}

#[test]
fn a_process_killed_at_any_instant_keeps_what_it_promised() {
    let dir = tempfile::tempdir().unwrap();
    let mut promised = Vec::new();
    for round in 0..5 {
        let mut child = other_process(dir.path());
        promised.extend(said_by(&mut child).take(20 + round * 37));
        child.kill().unwrap();
        promised.extend(said_by(&mut child));
        child.wait().unwrap();
        read::verify(dir.path()).unwrap();
    }
    open(dir.path()).0.close();
    let entries = all(dir.path(), None);
    let recorded: std::collections::HashSet<_> = entries
        .iter()
        .filter(|entry| matches!(entry.what, What::Intent(_)))
        .map(|entry| the_intent(entry).disclosure.to_string())
        .collect();
    assert!(promised.len() > 400);
    for disclosure in promised {
        assert!(recorded.contains(&disclosure), "{disclosure}");
    }
}

/// The test binary once more, as [`what_the_other_process_does`].
fn other_process(dir: &Path) -> std::process::Child {
    std::process::Command::new(std::env::current_exe().unwrap())
        .args(["audit::tests::what_the_other_process_does", "--exact", "--nocapture", "--ignored"])
        .env(OTHER, dir)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap()
}

fn said_by(child: &mut std::process::Child) -> impl Iterator<Item = String> {
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines().map_while(Result::ok);
    lines.filter_map(|line| line.strip_prefix("child: ").map(str::to_owned))
}

#[test]
#[ignore = "not a test: what another process does in tests"]
#[expect(clippy::print_stdout, reason = "its way to tell the other process")]
fn what_the_other_process_does() {
    let Some(dir) = std::env::var_os(OTHER) else { return };
    let audit = match Audit::open(Path::new(&dir), Options { segment_bytes: 5000, ..options() }, key(), clock()) {
        Ok((audit, _)) => audit,
        Err(error) => return println!("\nchild: {error}"),
    };
    let schema = schema();
    println!();
    for number in 0.. {
        let disclosure = DisclosureId::from_random(u128::from(std::process::id()) << 64 | number);
        let (pending, closing) = audit.intend(Intent { disclosure, ..intent(&schema, 0) }).unwrap();
        let receipt = wait(pending.durable()).unwrap();
        println!("child: {}", receipt.disclosure());
        closing.close(Outcome::Complete(shown()));
    }
}

const OTHER: &str = "POPGATE_TEST_AUDIT_DIR";

#[test]
fn files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("audit");
    let (audit, _) = open(&dir);
    audit.close();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    for entry in std::fs::read_dir(&dir).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
}
