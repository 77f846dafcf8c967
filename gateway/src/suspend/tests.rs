//! What the kill switch promises by itself.

use super::*;
use crate::clock::Clock;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn target(kind: Kind, id: &str) -> Target {
    Target { kind, id: id.to_owned() }
}

fn suspension(until: Option<&str>) -> Suspension {
    Suspension {
        reason: "asks for \"thousands\" by night \\ and 'day'".to_owned(),
        by: "local:minh".to_owned(),
        since: at("2026-11-21T08:00:00.123Z"),
        until: until.map(at),
    }
}

fn book() -> Book {
    let suspended = [
        (target(Kind::Agency, "bank-a"), suspension(None)),
        (target(Kind::System, "tax/etax"), suspension(Some("2026-11-21T10:00:00Z"))),
        (target(Kind::Policy, "odd \"id\""), suspension(None)),
    ];
    let lifted = Lifted {
        target: target(Kind::Purpose, "e-kyc"),
        by: "linh".to_owned(),
        at: at("2026-11-20T08:00:00Z"),
        reason: String::new(),
    };
    Book { suspended: suspended.into(), lifted: vec![lifted] }
}

#[test]
fn what_is_written_is_read_back() {
    let text = file::render(&book());
    let (read, places) =
        file::parse(&text, "suspensions.toml").unwrap_or_else(|problems| panic!("{problems:?}\n{text}"));
    assert_eq!(read, book());
    let line = text.lines().position(|line| line == "[system.\"tax/etax\"]").unwrap() + 1;
    assert_eq!(places[&target(Kind::System, "tax/etax")], (line, 9));
    assert_eq!(file::parse("# end 0", "x").unwrap().0, Book::default(), "everything is lifted in so many words");
}

#[test]
fn a_file_that_is_cut_off_anywhere_is_refused() {
    let text = file::render(&book());
    for (at, _) in text.char_indices().filter(|(at, _)| *at + 1 < text.len()) {
        assert!(file::parse(&text[..at], "f").is_err(), "cut off after {at} bytes:\n{}", &text[..at]);
    }
    let section = "[agency.tax]\nreason = \"r\"\nby = \"b\"\nsince = 2026-11-21T08:00:00Z\n";
    for (text, part) in [
        (String::new(), "must count its sections"),
        (section.to_owned(), "must count its sections"),
        (format!("{section}# end 2\n"), "the last line counts 2 sections, and there are 1"),
    ] {
        let problems = file::parse(&text, "f").unwrap_err();
        assert!(problems[0].message.contains(part), "{problems:?}");
        assert!(problems[0].help.as_deref().is_some_and(|help| help.contains("`popgate resume`")), "{problems:?}");
    }
}

#[test]
fn every_mistake_is_said_with_its_place() {
    let good = "[agency.tax]\nreason = \"r\"\nby = \"b\"\nsince = 2026-11-21T08:00:00Z\n# end 1\n";
    assert!(file::parse(good, "f").is_ok());
    for (from, to, place, part) in [
        ("[agency.tax]", "[agency.tax", 1, "this is not TOML"),
        ("agency", "agencyy", 1, "did you mean `agency`?"),
        ("agency.tax", "agency", 2, "this must be a section `[agency.\"reason\"]`"),
        ("reason = \"r\"\n", "", 1, "`reason` is missing in `[agency.\"tax\"]`"),
        ("reason", "reson", 2, "did you mean `reason`?"),
        ("\"r\"", "\" \"", 2, "`reason` in `[agency.\"tax\"]` is empty"),
        ("\"r\"", "\"a\\nb\"", 2, "holds a control character"),
        ("\"r\"", "3", 2, "must be a text in quotes"),
        ("by = \"b\"\n", "", 1, "`by` is missing"),
        ("08:00:00Z", "08:00:00", 4, "must be a time with its offset"),
        ("2026-11-21T08:00:00Z", "\"2026-11-21T08:00:00Z\"", 4, "without quotes"),
        ("2026-11-21T08:00:00Z", "2026-11-21T08:00:00Z\nuntil = 2026-11-21", 5, "`until` in"),
        ("[agency.tax]", "lifted = 3\n[agency.tax]", 1, "must be a list of sections `[[lifted]]`"),
        ("[agency.tax]", "[[lifted]]\nkind = \"all\"\n[agency.tax]", 1, "unknown kind `all`"),
    ] {
        assert!(good.contains(from), "{from}");
        let problems = file::parse(&good.replacen(from, to, 1), "suspensions.toml").expect_err(to);
        let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let place = format!("suspensions.toml:{place}:");
        assert!(said.iter().any(|said| said.contains(&place) && said.contains(part)), "`{to}`: {said:#?}");
    }
}

#[test]
fn who_did_what_is_known_from_two_versions_of_the_file() {
    let now = at("2026-11-21T09:00:00Z");
    let before = book();
    let said = |after: &Book, now| -> Vec<String> {
        let actions = after.actions_since(&before, now).into_iter();
        actions.map(|action| format!("{} {} {}", action.by, action.what, action.target)).collect()
    };
    assert!(said(&before, now).is_empty());
    let mut after = before.clone();
    let lifted = after.suspended.remove(&target(Kind::Agency, "bank-a"));
    assert!(lifted.is_some());
    assert_eq!(said(&after, now), ["unknown resume agency bank-a"], "somebody edited the file");
    let (target_of, reason) = (target(Kind::Agency, "bank-a"), "mended".to_owned());
    after.lifted.push(Lifted {
        target: target_of.clone(),
        by: "linh".to_owned(),
        at: at("2026-11-21T08:30:00Z"),
        reason,
    });
    assert_eq!(said(&after, now), ["linh resume agency bank-a"]);
    after.suspended.insert(target_of, Suspension { since: at("2026-11-21T08:40:00Z"), ..suspension(None) });
    assert_eq!(said(&after, now), ["linh resume agency bank-a", "local:minh suspend agency bank-a"]);
    // What ended by itself is nobody's doing.
    let mut tidy = before.clone();
    let later = at("2026-11-21T10:00:00Z");
    tidy.tidy(later);
    assert_eq!((tidy.suspended.len(), said(&tidy, later).len()), (2, 0));
    assert_eq!(said(&tidy, now), ["unknown resume system tax/etax"]);
}

#[test]
fn a_switch_knows_only_what_is_in_force_and_tells_of_each_change() {
    let clock = Clock::system("UTC").unwrap();
    let switch = Switch::new();
    let generations: Vec<u64> = [Book::default(), book(), book(), Book::default()]
        .iter()
        .map(|book| {
            switch.set(book, clock.wall());
            switch.generation()
        })
        .collect();
    assert_eq!(generations, [2, 5, 7, 8], "odd while something is suspended");
}

#[test]
fn a_file_that_is_lost_or_broken_lifts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(&dir.path().join("state"));
    assert!(store.read().unwrap().book.suspended.is_empty());
    let order = Order { target: target(Kind::Agency, "tax"), reason: "r".to_owned(), until: None, force: false };
    let now = at("2026-11-21T09:00:00Z");
    assert!(order.carry_out(&store, "linh", now).unwrap().is_none());
    assert!(order.carry_out(&store, "minh", now).unwrap().is_some_and(|before| before.by == "linh"));
    let book = store.read().unwrap().book;
    store.keep(&book).unwrap();
    std::fs::write(store.file(), "[agency").unwrap();
    assert!(matches!(order.carry_out(&store, "linh", now), Err(OrderError::Store(StoreError::Broken { .. }))));
    std::fs::write(store.file(), b"# \xff").unwrap();
    let error = store.read().unwrap_err().to_string();
    assert!(error.contains("suspensions.toml:1:3: this is not UTF-8"), "{error}");
    std::fs::remove_file(store.file()).unwrap();
    let found = store.read().unwrap();
    assert!(found.is_gone && found.book == book);
    // What is built on the copy holds it.
    let other = Order { target: target(Kind::Agency, "customs"), ..order };
    other.carry_out(&store, "linh", now).unwrap();
    assert_eq!(store.read().unwrap().book.suspended.len(), 2);
    assert!(resume(&store, &other.target, "linh", "", now).is_ok());
    assert!(matches!(resume(&store, &other.target, "linh", "", now), Err(OrderError::NotSuspended(_))));
}

#[test]
fn what_stands_in_the_folder_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    let victim = dir.path().join("victim");
    std::fs::write(&victim, "kept").unwrap();
    let order = Order { target: target(Kind::Agency, "tax"), reason: "r".to_owned(), until: None, force: false };
    let now = at("2026-11-21T09:00:00Z");
    std::os::unix::fs::symlink(&victim, dir.path().join("suspensions.toml.tmp")).unwrap();
    order.carry_out(&store, "linh", now).unwrap();
    assert_eq!(store.read().unwrap().book.suspended.len(), 1);
    let lock = dir.path().join("suspensions.lock");
    std::fs::remove_file(&lock).unwrap();
    std::os::unix::fs::symlink(&victim, &lock).unwrap();
    let error = order.carry_out(&store, "linh", now).unwrap_err().to_string();
    assert!(error.contains("suspensions.lock") && error.contains("it is a link"), "{error}");
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "kept");
}

#[test]
fn orders_that_make_no_sense_are_refused() {
    let now = at("2026-11-21T09:00:00Z");
    let order = Order { target: target(Kind::Agency, "tax"), reason: "r".to_owned(), until: None, force: false };
    let check = |order: Order| order.check(now, None, std::iter::empty()).map_err(|error| error.to_string());
    assert_eq!(check(order.clone()), Ok(()));
    for (order, part) in [
        (Order { reason: "  ".to_owned(), ..order.clone() }, "the reason is empty"),
        (Order { reason: "x".repeat(301), ..order.clone() }, "the reason is too long"),
        (Order { target: target(Kind::Agency, "a\nb"), ..order.clone() }, "the id holds a control character"),
        (Order { until: Some(now), ..order.clone() }, "is not in the future"),
        (Order { target: target(Kind::Policy, "p"), ..order }, "ask a node that runs, with --node"),
    ] {
        let error = check(order).expect_err(part);
        assert!(error.contains(part), "{error}");
    }
}
