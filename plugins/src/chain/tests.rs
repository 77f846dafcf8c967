//! What the chain promises: a plugin takes away or fails, whatever it does.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::pending;
use std::time::Duration;

use bytes::Bytes;
use popgate_policy::disclose::Raw;
use popgate_policy::model::{FieldName, MaskKind, RegisterId, Treatment};
use popgate_policy::narrow::Scope;
use popgate_policy::permit::Unopened;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::configured::AppliesTo;
use crate::plugin::{Answer as Said, Blueprint, Decision, Question, Unanswered};

mod bundle;

use bundle::{HOA, RECORD, read};

/// What a plugin of the tests does.
#[derive(Clone, Debug)]
enum Act {
    Take(Narrowing),
    /// Of this person alone.
    Of(&'static str, Narrowing),
    Fail,
    Panic,
    PanicLater,
    PanicAtTheEnd(Narrowing),
    Hang,
    HangAndPanic,
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

impl Plugin for Act {
    fn looks_at_subject(&self) -> bool {
        matches!(self, Self::Of(..))
    }

    fn decide<'a>(&'a self, seen: Seen<'a>) -> Decision<'a> {
        if matches!(self, Self::Panic) {
            panic!("at once");
        }
        let act = self.clone();
        Box::pin(async move {
            match act {
                Self::Take(narrowing) => Ok(narrowing),
                Self::Of(person, narrowing) => {
                    tokio::task::yield_now().await;
                    let is_it = seen.subject.is_some_and(|subject| subject.expose() == person);
                    Ok(if is_it { narrowing } else { Narrowing::NONE })
                }
                Self::Fail => Err(Failed("it cannot")),
                Self::Panic | Self::PanicLater => {
                    tokio::task::yield_now().await;
                    panic!("later");
                }
                Self::PanicAtTheEnd(narrowing) => {
                    let _late = PanicsWhenDropped;
                    Ok(narrowing)
                }
                Self::Hang => pending().await,
                Self::HangAndPanic => {
                    let _late = PanicsWhenDropped;
                    pending().await
                }
            }
        })
    }
}

impl Blueprint for Act {
    fn open(&self, _: &dyn Files) -> Result<Box<dyn Plugin>, Unusable> {
        Ok(Box::new(self.clone()))
    }
}

struct NoFiles;

impl Files for NoFiles {
    fn key(&self, _: &std::path::Path) -> Result<[u8; 32], Unusable> {
        Err(Unusable("no files here".into()))
    }

    fn text(&self, _: &std::path::Path) -> Result<String, Unusable> {
        Err(Unusable("no files here".into()))
    }
}

#[derive(Debug)]
struct Nowhere;

impl Lookup for Nowhere {
    fn ask<'a>(&'a self, _: Question<'a>) -> Pin<Box<dyn Future<Output = Result<Said, Unanswered>> + 'a>> {
        Box::pin(async { Err(Unanswered("there is no register")) })
    }

    fn is_suspended(&self, _: &RegisterId) -> bool {
        false
    }
}

#[derive(Default)]
struct Log(RefCell<Vec<(usize, Decided)>>);

impl Observer for Log {
    fn decided(&self, plugin: usize, decided: Decided) {
        self.0.borrow_mut().push((plugin, decided));
    }
}

fn configured(at: usize, act: Act, on_error: OnError) -> Configured {
    Configured {
        name: Arc::from(format!("p{at}")),
        applies_to: AppliesTo::default(),
        deadline: Duration::from_millis(5),
        on_error,
        blueprint: Arc::new(act),
        mentions: Vec::new(),
    }
}

fn chain(acts: Vec<(Act, OnError)>) -> Chain {
    let configured: Vec<_> =
        acts.into_iter().enumerate().map(|(at, (act, on_error))| configured(at, act, on_error)).collect();
    Chain::open(&configured, &NoFiles).unwrap()
}

fn run<T>(ask: impl AsyncFnOnce(&Circumstances<'_>) -> T) -> (T, Vec<(usize, Decided)>) {
    let log = Log::default();
    let local = jiff::civil::date(2026, 11, 24).at(10, 0, 0, 0);
    let circumstances = Circumstances { local, source: [10, 20, 0, 5].into(), lookup: &Nowhere, observer: &log };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let output = runtime.block_on(ask(&circumstances));
    (output, log.0.into_inner())
}

fn narrowed(acts: Vec<(Act, OnError)>, permit: Permit) -> (Result<Permit, Stopped>, Vec<(usize, Decided)>) {
    let chain = chain(acts);
    run(async |circumstances| chain.narrow(permit, circumstances).await)
}

/// The answer's leaves by path; `None` for the answer "unknown".
fn shown(permit: Permit) -> Option<BTreeMap<String, Value>> {
    let raw = Raw::seal(Bytes::from_static(RECORD.as_bytes()));
    let redacted = match permit.open(&raw, &bundle::secrets()) {
        Ok(redacted) => redacted,
        Err(Unopened::NoMatch(..)) => return None,
        Err(other) => panic!("{other:?}"),
    };
    let bytes: Vec<u8> = redacted.into_chunks().into_iter().flat_map(|chunk| chunk.into_bytes().to_vec()).collect();
    let mut leaves = BTreeMap::new();
    flatten("", &serde_json::from_slice(&bytes).unwrap(), &mut leaves);
    Some(leaves)
}

fn flatten(path: &str, value: &Value, leaves: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| flatten(&format!("{path}.{name}"), value, leaves));
        }
        leaf => drop(leaves.insert(path.to_owned(), leaf.clone())),
    }
}

fn field(name: &str) -> Scope {
    Scope::Field(FieldName::new(name))
}

#[test]
fn each_plugin_is_asked_about_what_the_one_before_left() {
    let year = Narrowing::NONE.at_most(field("Citizen.date_of_birth"), Treatment::Mask(MaskKind::Year));
    let month = Narrowing::NONE.at_most(field("Citizen.date_of_birth"), Treatment::Mask(MaskKind::Month));
    let contact = Narrowing::NONE.withhold(Scope::parse("contact"));
    let acts = [year, month, contact, Narrowing::NONE].map(|narrowing| (Act::Take(narrowing), OnError::Refuse));
    let (permit, log) = narrowed(acts.to_vec(), read());
    let shown = shown(permit.unwrap()).unwrap();
    assert_eq!(shown[".date_of_birth"], 1987, "the stricter holds, whichever came first");
    assert!(!shown.contains_key(".phones") && shown.contains_key(".sex"));
    let narrowed = Decided::Narrowed;
    assert_eq!(log, [(0, narrowed), (1, narrowed), (2, narrowed), (3, Decided::Passed)]);
}

#[test]
fn the_first_that_refuses_ends_it_and_is_named() {
    let refuse = Act::Take(Narrowing::refuse("come by day"));
    let (stopped, log) = narrowed(vec![(refuse, OnError::Ignore), (Act::Panic, OnError::Refuse)], read());
    let stopped = stopped.unwrap_err();
    assert_eq!((&*stopped.plugin, stopped.stop), ("p0", Stop::Refused("come by day".into())));
    assert_eq!(log, [(0, Decided::Refused)]);
    let nothing = Act::Take(Narrowing::NONE.withhold(Scope::Everything));
    let (stopped, _) = narrowed(vec![(nothing, OnError::Ignore)], read());
    assert!(matches!(stopped.unwrap_err().stop, Stop::Refused(_)));
}

#[test]
fn every_failure_refuses_unless_the_table_says_otherwise() {
    let garbage = Act::Take(Narrowing::NONE.withhold(field("Citizen.phon")));
    for (act, failure) in [
        (Act::Fail, Failure::Error("it cannot")),
        (Act::Panic, Failure::Panicked),
        (Act::PanicLater, Failure::Panicked),
        (Act::PanicAtTheEnd(Narrowing::NONE), Failure::Panicked),
        (Act::Hang, Failure::Late),
        (Act::HangAndPanic, Failure::Late),
        (garbage, Failure::UnknownField("Citizen.phon".into())),
    ] {
        let (stopped, log) = narrowed(vec![(act.clone(), OnError::Refuse)], read());
        assert_eq!(stopped.unwrap_err().stop, Stop::Failed(failure));
        assert_eq!(log, [(0, Decided::Failed)]);
        let contact = Act::Take(Narrowing::NONE.withhold(Scope::parse("contact")));
        let (permit, log) = narrowed(vec![(act, OnError::Ignore), (contact, OnError::Refuse)], read());
        assert_eq!(shown(permit.unwrap()).unwrap().len(), 6, "all but the phones");
        assert_eq!(log, [(0, Decided::Ignored), (1, Decided::Narrowed)]);
    }
}

#[test]
fn a_plugin_is_asked_only_about_what_it_applies_to() {
    let some = |name: &str| Some(vec![name.to_owned()]);
    let all = AppliesTo::default;
    for (applies_to, applies) in [
        (all(), true),
        (AppliesTo { agencies: some("tax"), ..all() }, true),
        (AppliesTo { agencies: some("health"), ..all() }, false),
        (AppliesTo { agencies: some("health"), sectors: some("tax"), ..all() }, true),
        (AppliesTo { sectors: some("tax"), operations: some("citizen.read"), ..all() }, true),
        (AppliesTo { sectors: some("tax"), operations: some("citizen.verify"), ..all() }, false),
        (AppliesTo { purposes: some("assessment"), ..all() }, true),
        (AppliesTo { purposes: some("statistics"), ..all() }, false),
    ] {
        let plugin = Configured { applies_to: applies_to.clone(), ..configured(0, Act::Fail, OnError::Refuse) };
        let chain = Chain::open(&[plugin], &NoFiles).unwrap();
        let (stopped, _) = run(async |circumstances| chain.narrow(read(), circumstances).await);
        assert_eq!(stopped.is_err(), applies, "{applies_to:?}");
    }
}

#[test]
fn each_person_of_a_list_is_asked_about_and_nobody_else_is_shown() {
    let contact = Narrowing::NONE.withhold(Scope::parse("contact"));
    let acts = vec![
        (Act::Of(HOA, contact.clone()), OnError::Refuse),
        (Act::Of("2", Narrowing::refuse("no")), OnError::Refuse),
        // Looks at no subject: it was asked about the request.
        (Act::Take(Narrowing::NONE), OnError::Refuse),
    ];
    let all = chain(acts);
    let permit = read().each_person();
    let (about, log) = run(async |circumstances| {
        let hoa = all.about(&permit, &Personal::new(HOA.into()), circumstances).await;
        let two = all.about(&permit, &Personal::new("2".into()), circumstances).await;
        [hoa.unwrap(), two.unwrap()]
    });
    assert_eq!(about, [contact, Narrowing::hide()]);
    assert_eq!(log.len(), 4);
    let others: Vec<_> = (0..40).map(|at| Personal::new(at.to_string())).collect();
    let (permit, log) = run(async |circumstances| all.persons(permit, &others, circumstances).await);
    assert_eq!(log.len(), 80, "two plugins about each person");
    assert_eq!(log.iter().filter(|(_, decided)| *decided == Decided::Refused).count(), 1);
    assert_eq!(shown(permit.unwrap()), None, "nobody asked about her");
    let hoa = [Personal::new(HOA.to_owned())];
    let (permit, _) = run(async |circumstances| all.persons(read().each_person(), &hoa, circumstances).await);
    assert_eq!(shown(permit.unwrap()).unwrap().len(), 6, "all but the phones");
    // A failure about one person is one of the request.
    let failing = chain(vec![(Act::Of(HOA, Narrowing::NONE.withhold(field("Citizen.phon"))), OnError::Refuse)]);
    let persons = [Personal::new("1".to_owned()), Personal::new(HOA.to_owned())];
    let (stopped, _) = run(async |circumstances| failing.persons(read(), &persons, circumstances).await);
    assert!(matches!(stopped.unwrap_err().stop, Stop::Failed(Failure::UnknownField(_))));
}

fn scope() -> impl Strategy<Value = Scope> {
    let names = vec![
        "*",
        "identity",
        "contact",
        "residence",
        "nonsense",
        "",
        ".",
        "Citizen",
        "Citizen.",
        "Citizen.id",
        "Citizen.full_name",
        "Citizen.date_of_birth",
        "Citizen.sex",
        "Citizen.phones",
        "Citizen.residence",
        "Citizen.residence.street",
        "Card.level",
    ];
    prop_oneof![
        8 => prop::sample::select(names).prop_map(Scope::parse),
        1 => "\\PC{0,16}".prop_map(|name| Scope::parse(&name)),
        1 => "Citizen\\.[a-z.]{0,8}".prop_map(|name| Scope::parse(&name)),
    ]
}

fn narrowing() -> impl Strategy<Value = Narrowing> {
    let masks = prop::sample::select(MaskKind::ALL.to_vec()).prop_map(Treatment::Mask);
    let most = prop_oneof![1 => Just(Treatment::Reveal), 4 => masks, 1 => Just(Treatment::Match), 1 => Just(Treatment::Withhold)];
    let whole = prop_oneof![
        12 => Just(Narrowing::NONE),
        1 => Just(Narrowing::hide()),
        1 => Just(Narrowing::refuse("no")),
    ];
    let caps = prop::collection::vec((scope(), most), 0..5);
    (whole, caps).prop_map(|(whole, caps)| caps.into_iter().fold(whole, |all, (scope, most)| all.at_most(scope, most)))
}

fn act() -> impl Strategy<Value = (Act, OnError)> {
    let act = prop_oneof![
        10 => narrowing().prop_map(Act::Take),
        3 => narrowing().prop_map(|narrowing| Act::Of(HOA, narrowing)),
        1 => narrowing().prop_map(Act::PanicAtTheEnd),
        1 => prop::sample::select(vec![Act::Fail, Act::Panic, Act::PanicLater, Act::Hang, Act::HangAndPanic]),
    ];
    (act, prop_oneof![Just(OnError::Refuse), Just(OnError::Ignore)])
}

/// Whether a masked value says no more than the value.
fn says_no_more(after: &Value, before: &Value) -> bool {
    let masked = |kind: &str| match (kind, before.as_str()) {
        ("month", Some(date)) => Value::from(&date[..7]),
        ("year", Some(date)) => date[..4].parse::<i64>().map_or(Value::Null, Value::from),
        ("decade", Some(date)) => date[..3].parse::<i64>().map_or(Value::Null, |decade| Value::from(decade * 10)),
        (_, Some(_)) => Value::from("L. T. H."),
        _ => Value::Null,
    };
    after == before || ["month", "year", "decade", "initials"].iter().any(|kind| *after == masked(kind))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_plugin_widens_whatever_it_does(acts in prop::collection::vec(act(), 1..4)) {
        let fails = |act: &Act| !matches!(act, Act::Take(_) | Act::Of(..));
        let before = read();
        let record = before.operation().record.clone();
        let rank = |permit: &Permit| -> Vec<usize> {
            record.fields.iter().map(|field| match permit.most(field.index) {
                Treatment::Reveal => 0,
                Treatment::Mask(mask) => 1 + field.masks.iter().position(|known| *known == mask).unwrap(),
                Treatment::Match => 1 + field.masks.len(),
                Treatment::Withhold => 2 + field.masks.len(),
            }).collect()
        };
        let first_failing = acts.iter().position(|(act, on_error)| fails(act) && *on_error == OnError::Refuse);
        let (after, log) = narrowed(acts.clone(), read());
        match after {
            Ok(after) => {
                prop_assert_eq!(first_failing, None, "a failure refuses");
                prop_assert_eq!(log.len(), acts.len());
                let hidden = log.iter().any(|(_, decided)| *decided == Decided::Hidden);
                let (before_rank, after_rank) = (rank(&before), rank(&after));
                prop_assert!(before_rank.iter().zip(&after_rank).all(|(before, after)| before <= after));
                prop_assert_eq!(after.widest().union(before.widest()), before.widest());
                let (before, after) = (shown(before).unwrap(), shown(after));
                prop_assert!(!(hidden && after.is_some()));
                for (path, value) in after.into_iter().flatten() {
                    prop_assert!(before.get(&path).is_some_and(|before| says_no_more(&value, before)), "{path}: {value}");
                }
            }
            Err(stopped) => {
                let at: usize = stopped.plugin[1..].parse().unwrap();
                prop_assert!(first_failing.is_none_or(|first| at <= first));
                prop_assert_eq!(log.len(), at + 1, "nobody is asked after the end");
                let failed = matches!(stopped.stop, Stop::Failed(_));
                prop_assert_eq!(log.last().unwrap().1, if failed { Decided::Failed } else { Decided::Refused });
                prop_assert!(failed || !fails(&acts[at].0));
            }
        }
    }
}
