//! Strict records, and the names of what is not declared: in records, lists and whole fields, whoever asks.

use super::*;

const SOME: (&str, &str) =
    ("some", r#"permit(principal, action, resource) unless { resource == Field::"Person.name" };"#);

/// Whose persons must have an id and a name, its pages records, and its homes a ward.
fn strict() -> String {
    let pairs = [("Person", "id, name"), ("Page", "items"), ("Home", "ward")];
    pairs.into_iter().fold(contract(), |text, (name, required)| {
        let old = format!("    {name}:\n      type: object\n");
        assert_eq!(text.matches(&old).count(), 1, "{name}");
        text.replace(&old, &format!("{old}      x-gateway-strict: true\n      required: [{required}]\n"))
    })
}

fn raw(text: &str) -> Raw {
    Raw::seal(Bytes::copy_from_slice(text.as_bytes()))
}

fn lacks<T: std::fmt::Debug>(opened: Result<T, Unopened>) -> String {
    match opened {
        Err(Unopened::Incomplete(field)) => field,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_record_that_lacks_what_it_must_have_is_shown_to_nobody() {
    let nameless = |id: &str| format!(r#"{{"id":"{id}","born":"1987-03-14","province":"001"}}"#);
    let home = |members: &str, ward: &str| format!(r#"{{"members":[{members}]{ward}}}"#);
    // Whether the caller may see the name, or the record at all, makes no difference.
    for (policies, system) in [(&[ALL][..], "tax/desk"), (&[SOME], "tax/desk"), (&[ALL, OWN], "hanoi/desk")] {
        let world = World::of(strict(), policies);
        let ask = |path: &str| world.ask(system, "GET", path, "").unwrap();
        assert_eq!(lacks(open(ask("/persons/1"), &nameless("1"))), "Person.name");
        assert_eq!(lacks(open(ask("/persons/1"), r#"{"province":"046"}"#)), "Person.id", "the first by name");
        let ward = r#","ward":"W""#;
        assert_eq!(lacks(open(ask("/persons/1/home"), &home(&row("1", "001"), ""))), "Home.ward");
        let other = home(&[row("1", "001"), nameless("2")].join(","), ward);
        assert_eq!(lacks(open(ask("/persons/1/home"), &other)), "Person.name");
        let search = || world.ask(system, "POST", "/find", r#"{"born":"1987-03-14"}"#).unwrap();
        assert_eq!(lacks(open(search(), &page(&[row("1", "001"), nameless("2")], ""))), "Person.name");
        assert_eq!(lacks(open(search(), r#"{"total":0}"#)), "Page.items");
        assert_eq!(lacks(search().persons(&raw(&page(&[nameless("2")], "")))), "Person.name");
        assert!(open(ask("/persons/1"), &row("1", "001")).is_ok(), "what is complete is shown as ever");
        assert!(open(ask("/persons/1/home"), &home(&row("1", "001"), ward)).is_ok());
        assert!(open(search(), &page(&[], "")).is_ok());
    }
    let world = World::of(strict(), &[ALL]);
    let face = world.ask("tax/desk", "GET", "/persons/1/face", "").unwrap();
    assert_eq!(lacks(face.open_record_of_whole(&raw(&nameless("1")), &mut Strays::default())), "Person.name");
}

#[test]
fn without_the_word_a_missing_field_is_absent() {
    let world = World::new(&[ALL]);
    let shown = open(world.ask("tax/desk", "GET", "/persons/1", "").unwrap(), r#"{"id":"1"}"#).unwrap();
    assert_eq!(text(shown), r#"{"id":"1"}"#);
    assert_eq!(text(open(world.search("tax/desk", "{}"), "{}").unwrap()), r#"{"items":[]}"#);
}

fn told(strays: &Strays) -> Vec<String> {
    strays.iter().map(|(name, count)| format!("{name} {count}")).collect()
}

#[test]
fn what_is_not_declared_is_told_by_name_whatever_is_shown() {
    let answer = raw(&page(&[row("1", "001"), row("2", "046")], r#", "hint": [1], "001187000001": 2"#));
    for (policies, system) in [(&[ALL][..], "tax/desk"), (&[ALL, OWN], "hanoi/desk")] {
        let world = World::new(policies);
        let mut strays = Strays::default();
        let search = world.ask(system, "POST", "/find", r#"{"born":"1987-03-14"}"#).unwrap();
        let shown = search.open_naming(&answer, &secrets(), &mut strays).unwrap();
        assert_eq!(
            (shown.tally().undeclared, told(&strays).join(", ")),
            (4, "Page.items.secret 2, Page.hint 1".into())
        );
        // Of a record that is hidden, too; and of one that a whole field hangs on.
        for province in ["001", "046"] {
            let record = raw(&row("1", province));
            let mut strays = Strays::default();
            let read = world.ask(system, "GET", "/persons/1", "").unwrap();
            let counted = match read.open_naming(&record, &secrets(), &mut strays) {
                Ok(shown) => shown.tally(),
                Err(Unopened::NoMatch(Hidden::Record, tally)) => tally,
                Err(other) => panic!("{other:?}"),
            };
            assert_eq!((counted.undeclared, told(&strays).join(", ")), (1, "Person.secret 1".into()));
            let mut strays = Strays::default();
            let face = world.ask(system, "GET", "/persons/1/face", "").unwrap();
            let _ = face.open_record_of_whole(&record, &mut strays);
            assert_eq!(told(&strays), ["Person.secret 1"]);
        }
    }
    let mut strays = Strays::default();
    let read = World::new(&[ALL]).ask("tax/desk", "GET", "/persons/1", "").unwrap();
    read.open_naming(&raw(r#"{"id":"1","name":"N"}"#), &secrets(), &mut strays).unwrap();
    assert_eq!(strays, Strays::default());
}
