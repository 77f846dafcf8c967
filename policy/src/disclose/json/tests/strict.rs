//! Records that must have what their contract requires, and the names of what it does not declare.

use super::*;
use crate::disclose::Strays;

/// Of which every record must have `id`, `phones`, `home` with its province, and `kin` with an id each.
fn strict() -> RecordSchema {
    let mut schema = schema();
    let members = schema.shape.members().map(|(name, shape)| {
        let shape = match shape.clone() {
            Shape::Object(inner) => Shape::Object(inner.requiring(["province", "undeclared"])),
            Shape::Array(inner) => Shape::Array(inner.requiring(["id"])),
            leaf => leaf,
        };
        (Box::from(name), shape)
    });
    let shape = ObjectShape::new(members).unwrap().requiring(["id", "phones", "home", "kin"]);
    schema.shape = shape;
    schema
}

/// The one answer, whoever may see what, and however the record is split.
fn read_strictly(json: &str) -> Result<(), Unreadable> {
    let (schema, bytes) = (strict(), Bytes::copy_from_slice(json.as_bytes()));
    let captured = capture(&schema, FieldSet::EMPTY, &bytes).map(|_| ());
    for shown in [&[][..], &reveal_all()] {
        for at in 0..=json.len() {
            let split = redact_of(&schema, &[&bytes[..at], &bytes[at..]], shown).map(|_| ());
            assert_eq!(split, captured, "{json} split at {at}");
        }
    }
    captured
}

#[test]
fn what_a_record_must_have_is_there_if_only_as_null_or_of_another_type() {
    for json in [
        r#"{"id":"a","phones":["1"],"home":{"province":"1"},"kin":[{"id":"b"},{"name":"c","id":"d"}]}"#,
        r#"{"kin":[],"home":{"street":"s","province":null},"phones":[],"id":"a"}"#,
        r#"{"id":null,"phones":null,"home":null,"kin":null}"#,
        r#"{"\u0069d":"a","phones":7,"home":{"provinc\u0065":[]},"kin":[null,{"id":{}}]}"#,
    ] {
        assert_eq!(read_strictly(json), Ok(()), "{json}");
    }
}

#[test]
fn what_a_record_lacks_is_named_at_every_level() {
    let rest = r#""phones":[],"home":{"province":"1"},"kin":[]"#;
    let (id, home, province, kin_id, phones) = ((0, 0), (7, 1), (7, 0), (9, 0), (5, 0));
    for (json, lacks) in [
        (format!("{{{rest}}}"), id),
        (format!(r#"{{"Id":"a","x":{{"id":"a"}},{rest}}}"#), id),
        ("{}".to_owned(), home),
        (r#"{"id":"a","phones":[],"kin":[]}"#.to_owned(), home),
        (r#"{"id":"a","phones":[],"kin":[],"home":{}}"#.to_owned(), province),
        (r#"{"id":"a","phones":[],"kin":[],"home":{"street":"s","id":"x"}}"#.to_owned(), province),
        (r#"{"id":"a","phones":[],"kin":[{"id":"b"},{"name":"c"}],"home":null}"#.to_owned(), kin_id),
        (r#"{"id":"a","kin":[],"home":null}"#.to_owned(), phones),
    ] {
        match read_strictly(&json) {
            Err(Unreadable::Incomplete { offset, leaf, below }) => {
                assert_eq!((usize::from(leaf.0), below), lacks, "{json}");
                assert_eq!(json.as_bytes()[offset], b'}', "{json}");
            }
            other => panic!("{json}: {other:?}"),
        }
    }
    // Whatever else is wrong with it is wrong as ever.
    assert!(matches!(read_strictly(r#"{"id":"a""#), Err(Unreadable::Truncated { .. })));
    assert!(matches!(read_strictly("[]"), Err(Unreadable::Shape { .. })));
}

#[test]
fn nothing_is_required_unless_it_is_said() {
    assert_eq!(text("{}", &[]), "{}");
    assert_eq!(text(r#"{"home":{},"kin":[{}]}"#, &reveal_all()), "{}");
}

#[test]
fn undeclared_names_are_told_decoded_and_with_their_place() {
    let json = concat!(
        r#"{"hint":1,"h\u0069nt":{"id":"not one more"},"home":{"shade":"s","001187000001":"x"},"#,
        r#""kin":[{"secret":1,"id":"b"},{"secret":2,"\u0068eight":3}],"H\u00f2a":0}"#
    );
    let told = |strays: &Strays| strays.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>();
    let expected = ["Citizen.hint 2", "Citizen.home.shade 1", "Citizen.kin.secret 2", "Citizen.kin.height 1"];
    let (schema, treatments, bytes) = (schema(), Treatments::default(), Bytes::from_static(json.as_bytes()));
    let (key, agency, purpose) = (PseudonymKey::new([7; 32]), AgencyId::new("tax"), PurposeId::new("assessment"));
    for at in 0..=json.len() {
        let mut strays = Strays::default();
        let mut redactor = Redactor::new(&schema, &treatments, Pseudonym::new(&key, &agency, &purpose));
        redactor.naming(&mut strays);
        redactor.push(bytes.slice(..at), &mut Vec::new()).unwrap();
        redactor.push(bytes.slice(at..), &mut Vec::new()).unwrap();
        assert_eq!(redactor.finish().unwrap().undeclared, 8, "all are counted");
        assert_eq!(told(&strays), expected, "split at {at}");
    }
    let mut strays = Strays::default();
    let found = capture_naming(&schema, FieldSet::EMPTY, &mut strays, &bytes).unwrap();
    assert_eq!((found.undeclared(), told(&strays)), (8, expected.map(String::from).to_vec()));
}
