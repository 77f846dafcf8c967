//! One trap a test. Every record here is read whole, byte by byte, and split in two everywhere, with one answer.

use super::*;
use crate::contract::{Class, Compare, Kind, ObjectShape, Shape};
use crate::disclose::{MAX_BUFFERED, PseudonymKey};
use crate::model::{AgencyId, FieldIx, FieldName, FieldSet, GroupId, PurposeId};

mod strict;

const ALL: &[&str] = &[
    "id",
    "born",
    "age",
    "score",
    "alive",
    "phones",
    "years",
    "home.province",
    "home.street",
    "kin.id",
    "kin.name",
    "q\"uote",
];

fn schema() -> RecordSchema {
    let kind = |name: &str| match name {
        "born" => Kind::Date,
        "age" | "years" => Kind::Integer,
        "score" => Kind::Number,
        "alive" => Kind::Boolean,
        _ => Kind::String,
    };
    let fields: Vec<Field> = ALL
        .iter()
        .enumerate()
        .map(|(at, name)| Field {
            index: FieldIx(at as u16),
            name: FieldName::new(&format!("Citizen.{name}")),
            path: name.split('.').map(str::to_owned).collect(),
            kind: kind(name),
            array: matches!(*name, "phones" | "years"),
            group: GroupId::new("g"),
            class: Class::Basic,
            masks: vec![],
            implies: vec![],
            compare: Compare::Exact,
            whole: false,
        })
        .collect();
    let leaf = |at: usize| Shape::Leaf(FieldIx(at as u16));
    let nested = |names: [(&str, usize); 2]| ObjectShape::new(names.map(|(name, at)| (name.into(), leaf(at)))).unwrap();
    let flat = [0, 1, 2, 3, 4, 5, 6, 11].map(|at| (Box::from(ALL[at]), leaf(at)));
    let home = ("home".into(), Shape::Object(nested([("province", 7), ("street", 8)])));
    let kin = ("kin".into(), Shape::Array(nested([("id", 9), ("name", 10)])));
    let shape = ObjectShape::new(flat.into_iter().chain([home, kin])).unwrap();
    RecordSchema {
        name: "Citizen".to_owned(),
        fields,
        shape,
        subject: FieldIx(0),
        attributes: vec![],
        references: vec![],
    }
}

type Answer = Result<(String, Tally), Unreadable>;

fn redact(chunks: &[&[u8]], shown: &[(&str, Treatment)]) -> Answer {
    redact_of(&schema(), chunks, shown)
}

fn redact_of(schema: &RecordSchema, chunks: &[&[u8]], shown: &[(&str, Treatment)]) -> Answer {
    let of = |name: &&str| shown.iter().find(|(shown, _)| shown == name).map_or(Treatment::Withhold, |(_, t)| *t);
    let treatments = Treatments(ALL.iter().map(of).collect());
    let (key, agency, purpose) = (PseudonymKey::new([7; 32]), AgencyId::new("tax"), PurposeId::new("assessment"));
    let mut redactor = Redactor::new(schema, &treatments, Pseudonym::new(&key, &agency, &purpose));
    let mut out = Vec::new();
    for chunk in chunks {
        redactor.push(Bytes::copy_from_slice(chunk), &mut out)?;
    }
    let tally = redactor.finish()?;
    Ok((String::from_utf8(out.concat()).unwrap(), tally))
}

/// The one answer, however the record is split.
fn read(json: &[u8], shown: &[(&str, Treatment)]) -> Answer {
    let neutral = |answer: Answer| answer.map(|(text, tally)| (text, Tally { copied: 0, ..tally }));
    let whole = neutral(redact(&[json], shown));
    if json.len() < 2000 {
        let bytewise: Vec<&[u8]> = json.chunks(1).collect();
        assert_eq!(neutral(redact(&bytewise, shown)), whole);
        for at in 0..=json.len() {
            assert_eq!(neutral(redact(&[&json[..at], &json[at..]], shown)), whole, "split at {at}");
        }
    }
    let bytes = Bytes::copy_from_slice(json);
    let schema = schema();
    let captured = capture(&schema, schema.fields.iter().map(|field| field.index).collect(), &bytes);
    assert_eq!(captured.err(), whole.as_ref().err().copied(), "capture and redactor read the same records");
    whole
}

fn reveal_all() -> Vec<(&'static str, Treatment)> {
    ALL.iter().map(|name| (*name, Treatment::Reveal)).collect()
}

fn text(json: &str, shown: &[(&str, Treatment)]) -> String {
    read(json.as_bytes(), shown).unwrap().0
}

fn refused(json: impl AsRef<[u8]>) -> Unreadable {
    let withheld = read(json.as_ref(), &[]).unwrap_err();
    assert_eq!(read(json.as_ref(), &reveal_all()).unwrap_err(), withheld, "whoever asks");
    withheld
}

const REVEAL: Treatment = Treatment::Reveal;

#[test]
fn members_come_out_in_the_order_of_the_record_without_white_space() {
    let json = " { \"age\" : 7 ,\n\"id\":\"a\" , \"home\": { \"street\" : \"s\", \"province\":\"p\" } } \r\n\t";
    assert_eq!(text(json, &reveal_all()), r#"{"age":7,"id":"a","home":{"street":"s","province":"p"}}"#);
    assert_eq!(text(json, &[("id", REVEAL)]), r#"{"id":"a"}"#);
    assert_eq!(text(json, &[("home.province", REVEAL), ("age", REVEAL)]), r#"{"age":7,"home":{"province":"p"}}"#);
    assert_eq!(text(json, &[]), "{}");
    assert_eq!(text("{}", &reveal_all()), "{}");
}

#[test]
fn a_withheld_name_inside_a_permitted_object_is_withheld() {
    let json = r#"{"kin":[{"id":"1","name":"x"}],"id":"2"}"#;
    assert_eq!(text(json, &[("id", REVEAL), ("kin.name", REVEAL)]), r#"{"kin":[{"name":"x"}],"id":"2"}"#);
    assert_eq!(text(json, &[("kin.id", REVEAL)]), r#"{"kin":[{"id":"1"}]}"#);
}

#[test]
fn containers_with_nothing_shown_are_left_out() {
    let json = r#"{"home":{"x":{"province":"p"}},"kin":[{"id":"1"},{},{"name":"n"},null,{"id":"2"}],"age":1}"#;
    let (out, tally) = read(json.as_bytes(), &reveal_all()).unwrap();
    assert_eq!(out, r#"{"kin":[{"id":"1"},{"name":"n"},{"id":"2"}],"age":1}"#);
    assert_eq!(tally.undeclared, 1, "what stands inside an undeclared member is not counted again");
    assert_eq!(text(json, &[("kin.name", REVEAL)]), r#"{"kin":[{"name":"n"}]}"#);
    assert_eq!(text(r#"{"kin":[],"home":{}}"#, &reveal_all()), "{}");
    assert_eq!(text(r#"{"kin":null,"home":null,"id":null}"#, &reveal_all()), r#"{"id":null}"#);
}

#[test]
fn undeclared_members_are_withheld_and_counted() {
    let (out, tally) = read(br#"{"x":1,"id":"a","x":[{"id":"b"}],"home":{"id":"c"},"":0}"#, &reveal_all()).unwrap();
    assert_eq!((out.as_str(), tally.undeclared), (r#"{"id":"a"}"#, 4));
}

#[test]
fn an_escaped_key_is_its_plain_form() {
    assert_eq!(text(r#"{"\u0069d":"a","q\u0022uote":"b","x\ny":1}"#, &reveal_all()), r#"{"id":"a","q\"uote":"b"}"#);
    assert_eq!(text(r#"{"q\"uote":"b"}"#, &reveal_all()), r#"{"q\"uote":"b"}"#);
    assert_eq!(text(r#"{"\u0069d":"a"}"#, &[("age", REVEAL)]), "{}");
}

#[test]
fn a_declared_key_stands_once_in_its_object() {
    for json in [r#"{"id":"a","id":"a"}"#, r#"{"id":"a","\u0069d":"b"}"#, r#"{"\u0069d":1,"x":0,"id":2}"#] {
        assert!(matches!(refused(json), Unreadable::Duplicate { offset: 8.. }), "{json}");
    }
    assert!(matches!(refused(r#"{"kin":[{"id":"1"},{"id":"2","id":"3"}]}"#), Unreadable::Duplicate { offset: 29 }));
    assert_eq!(text(r#"{"kin":[{"id":"1"},{"id":"2"}],"id":"3"}"#, &[("id", REVEAL)]), r#"{"id":"3"}"#);
}

#[test]
fn the_whole_grammar_holds_in_dropped_values_too() {
    let values = [
        "[1 2 3]",
        "01.2",
        "1.2.3",
        "-",
        "+1",
        ".5",
        "1.",
        "1e",
        "1e+",
        "0x1",
        "NaN",
        "[1,]",
        "[,1]",
        "{,}",
        r#"{"a":1,}"#,
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{a:1}"#,
        r#"{"a" 1}"#,
        r#"{"a":1 "b":2}"#,
        "tru",
        "True",
        "nulll",
        "truefalse",
        "'a'",
        "",
        "[}",
        "{]",
        r#"[{]}"#,
        r#""\x""#,
        r#""\u12g4""#,
        "\"a\nb\"",
        "\"\u{1}\"",
        "1 2",
        r#""a""b""#,
        "//c\n1",
        "\u{a0}1",
        "\u{feff}1",
    ];
    for value in values {
        for json in [format!("{{\"x\":{value}}}"), format!("{{\"id\":{value}}}"), format!("{{\"x\":[[{value}]]}}")] {
            if let ("", true) = (value, json.contains('[')) {
                continue;
            }
            let error = refused(&json);
            assert!(matches!(error, Unreadable::Grammar { .. } | Unreadable::Shape { .. }), "{json} {error:?}");
            assert!(serde_json::from_str::<serde_json::Value>(&json).is_err(), "{json}");
        }
    }
}

#[test]
fn nothing_follows_the_record_but_white_space() {
    for tail in ["x", "{}", ",", "\"", "\0", "\u{feff}", "]"] {
        assert!(matches!(refused(format!("{{}} {tail}")), Unreadable::Grammar { offset: 3 }), "{tail:?}");
    }
    assert_eq!(text("{} \r\n\t ", &[]), "{}");
}

#[test]
fn a_byte_order_mark_is_refused() {
    for mark in [&b"\xef\xbb\xbf{}"[..], b"\xfe\xff\0{\0}", b"\xff\xfe{\0}\0"] {
        assert_eq!(refused(mark), Unreadable::Unicode { offset: 0 });
    }
}

#[test]
fn text_is_utf8_everywhere() {
    let bad: &[&[u8]] = &[
        b"\xff",
        b"a\xc3",
        b"\xc3(",
        b"\xe1\xbb",
        b"\xe1\xbb(",
        b"\xf0\x9f\x98",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\x80",
        b"0123456789abcdef\xc3",
        b"01234567\xe1\xbbabcdefgh",
    ];
    for bad in bad {
        for (before, after) in
            [("{\"x\":\"", "\"}"), ("{\"id\":\"ễ", "\"}"), ("{\"", "\":1}"), ("{\"x\":{\"", "\":1}}")]
        {
            let json = [before.as_bytes(), bad, after.as_bytes()].concat();
            assert!(matches!(refused(&json), Unreadable::Unicode { .. }), "{json:?}");
        }
    }
    assert_eq!(text(r#"{"id":"Nguyễn 😀 Đỗ"}"#, &reveal_all()), r#"{"id":"Nguyễn 😀 Đỗ"}"#);
}

#[test]
fn escaped_lone_surrogates_are_refused() {
    for bad in [r"\ud800", r"\udc00", r"\ud83dx", r"\ud83d\n", r"\ud83d\u0041", r"\ud83d\ud83d", r"\uDFFF\uD800"] {
        for json in [format!(r#"{{"x":"{bad}"}}"#), format!(r#"{{"id":"{bad}"}}"#), format!(r#"{{"{bad}":1}}"#)] {
            assert!(matches!(refused(&json), Unreadable::Unicode { .. }), "{json}");
        }
    }
    assert_eq!(text(r#"{"id":"\ud83D\uDe00\u00e9\\ud800"}"#, &reveal_all()), r#"{"id":"\ud83D\uDe00\u00e9\\ud800"}"#);
}

#[test]
fn nesting_ends_at_the_limit() {
    for (open, close) in [("[", "]"), ("{\"x\":", "}")] {
        let nested = |depth: usize| format!("{{\"x\":{}0{}}}", open.repeat(depth), close.repeat(depth));
        assert_eq!(text(&nested(MAX_DEPTH - 1), &reveal_all()), "{}");
        assert!(matches!(refused(nested(MAX_DEPTH)), Unreadable::Depth { .. }));
        assert!(matches!(refused(open.repeat(100_000)), Unreadable::Depth { .. } | Unreadable::Shape { .. }));
    }
    let mixed = format!("{{\"x\":{}{}}}", "[{\"y\":".repeat(200), "}]".repeat(200));
    assert!(matches!(refused(mixed), Unreadable::Depth { .. }));
}

#[test]
fn a_truncated_record_is_refused_wherever_it_ends() {
    let json = r#"{"id":"ễ\n\ud83d\ude00","age":-12,"x":[1.5e3,{"a":true}],"home":{"street":null},"phones":["1"]}"#;
    for end in 0..json.len() {
        assert_eq!(refused(&json.as_bytes()[..end]), Unreadable::Truncated { offset: end });
    }
}

#[test]
fn a_leaf_of_another_type_is_withheld_and_counted() {
    let cases = [
        ("id", "7"),
        ("id", "true"),
        ("id", "[\"a\"]"),
        ("id", "{\"id\":\"a\"}"),
        ("born", "1987"),
        ("age", "\"7\""),
        ("age", "7.0"),
        ("age", "7e0"),
        ("age", "[7]"),
        ("score", "\"1\""),
        ("alive", "0"),
        ("alive", "\"true\""),
        ("phones", "\"1\""),
        ("phones", "{}"),
    ];
    for (name, value) in cases {
        let json = format!(r#"{{"{name}":{value},"home":{{"street":"s"}}}}"#);
        let (out, tally) = read(json.as_bytes(), &reveal_all()).unwrap();
        assert_eq!((out.as_str(), tally.mistyped), (r#"{"home":{"street":"s"}}"#, 1), "{json}");
        let (out, tally) = read(json.as_bytes(), &[(name, Treatment::Mask(MaskKind::Exists))]).unwrap();
        assert_eq!((out.as_str(), tally.mistyped, tally.masked), ("{}", 1, FieldSet::EMPTY), "{json}");
        assert_eq!(read(json.as_bytes(), &[]).unwrap().1.mistyped, 0, "nobody asked for it");
    }
}

#[test]
fn numbers_of_any_length_pass_as_they_are_written() {
    let digits = "9".repeat(400);
    let json = format!(r#"{{"age":-{digits},"score":{digits}.{digits}E+{digits}}}"#);
    assert_eq!(text(&json, &reveal_all()), json);
    assert_eq!(text(r#"{"age":-0,"score":0.10e-05}"#, &reveal_all()), r#"{"age":-0,"score":0.10e-05}"#);
}

#[test]
fn what_must_be_held_is_bounded() {
    let long = "9".repeat(MAX_BUFFERED + 1);
    for json in [
        format!(r#"{{"x":{long}}}"#),
        format!(r#"{{"age":{long}}}"#),
        format!(r#"{{"{long}":1}}"#),
        format!(r#"{{"x":{long}.x}}"#),
    ] {
        assert_eq!(refused(&json), Unreadable::TooLarge);
        for at in [10, MAX_BUFFERED - 1, MAX_BUFFERED + 7, json.len() - 2] {
            let (before, after) = json.as_bytes().split_at(at);
            assert_eq!(redact(&[before, after], &[]).unwrap_err(), Unreadable::TooLarge, "{at}");
        }
    }
    let json = format!(r#"{{"id":"{long}","born":"{long}","age":1}}"#);
    let shown =
        [("id", Treatment::Mask(MaskKind::Last3)), ("born", Treatment::Mask(MaskKind::Exists)), ("age", REVEAL)];
    for at in [7, 70_000, 80_000, json.len()] {
        let (before, after) = json.as_bytes().split_at(at);
        let (out, tally) = redact(&[before, after], &shown).unwrap();
        assert_eq!((out.as_str(), tally.mistyped), (r#"{"born":true,"age":1}"#, 1), "{at}");
    }
    assert_eq!(
        redact(&[json.as_bytes()], &[("id", REVEAL)]).unwrap().0.len(),
        long.len() + 9,
        "a passed string streams"
    );
}

#[test]
fn declared_containers_are_containers_or_null() {
    for json in
        [r#"{"home":[]}"#, r#"{"home":"x"}"#, r#"{"kin":{}}"#, r#"{"kin":1}"#, r#"{"kin":[1]}"#, r#"{"kin":[[]]}"#]
    {
        assert!(matches!(refused(json), Unreadable::Shape { .. }), "{json}");
    }
    for json in ["null", "[]", "1", "\"a\"", "true", "[{}]"] {
        assert_eq!(refused(json), Unreadable::Shape { offset: 0 }, "{json}");
    }
}

#[test]
fn an_array_leaf_holds_scalars_of_its_kind_or_null() {
    for json in [r#"{"phones":[["1"]]}"#, r#"{"phones":["1",{}]}"#, r#"{"years":[{"a":1}]}"#] {
        assert!(matches!(refused(json), Unreadable::Shape { .. }), "{json}");
    }
    let (out, tally) = read(br#"{"phones":[ "1" ,2, null,"3" ],"years":[1,1.5,"x",2]}"#, &reveal_all()).unwrap();
    assert_eq!((out.as_str(), tally.mistyped), (r#"{"phones":["1",null,"3"],"years":[1,2]}"#, 3));
    assert_eq!(text(r#"{"phones":[],"years":null}"#, &reveal_all()), r#"{"phones":[],"years":null}"#);
}

#[test]
fn masks_replace_values_and_elements() {
    let json =
        r#"{"born":"1987-03-14","phones":["0912345678",null,"\u0030\u0039\n"],"id":"\u004c\u00ea Hoa","age":null}"#;
    let mask = |name, kind| (name, Treatment::Mask(kind));
    let shown = [mask("born", MaskKind::Year), mask("phones", MaskKind::Last3), mask("id", MaskKind::Initials)];
    let (out, tally) = read(json.as_bytes(), &shown).unwrap();
    assert_eq!(out, r#"{"born":1987,"phones":["*678",null,"*"],"id":"L. H."}"#);
    assert_eq!((tally.masked.len(), tally.revealed.len(), tally.mistyped), (3, 0, 0));
    let shown = [mask("phones", MaskKind::Exists), mask("age", MaskKind::Exists), mask("born", MaskKind::Exists)];
    assert_eq!(text(json, &shown), r#"{"born":true,"phones":true,"age":false}"#);
    assert_eq!(text(r#"{"phones":[null]}"#, &shown), r#"{"phones":false}"#);
    assert_eq!(text(r#"{"phones":null}"#, &shown), r#"{"phones":false}"#);
    assert_eq!(text("{}", &shown), "{}", "what is absent stays absent");
    let (out, tally) =
        read(br#"{"born":"1987-02-30","id":"a"}"#, &[mask("born", MaskKind::Year), ("id", REVEAL)]).unwrap();
    assert_eq!((out.as_str(), tally.mistyped), (r#"{"id":"a"}"#, 1));
}

#[test]
fn match_shows_nothing() {
    assert_eq!(text(r#"{"id":"a","age":1}"#, &[("id", Treatment::Match), ("age", REVEAL)]), r#"{"age":1}"#);
}

#[test]
fn an_error_is_final() {
    let (schema, treatments) = (schema(), Treatments::default());
    let (key, agency, purpose) = (PseudonymKey::new([7; 32]), AgencyId::new("tax"), PurposeId::new("assessment"));
    let mut redactor = Redactor::new(&schema, &treatments, Pseudonym::new(&key, &agency, &purpose));
    let mut out = Vec::new();
    let error = redactor.push(Bytes::from_static(b"{]"), &mut out).unwrap_err();
    assert_eq!(redactor.push(Bytes::from_static(b"{}"), &mut out), Err(error));
    assert_eq!((out.len(), redactor.finish()), (0, Err(error)));
}

#[test]
fn captures_are_decoded_and_print_nothing() {
    let schema = schema();
    let bytes = Bytes::from_static(
        br#"{"id":"L\u00ea","age":12,"alive":true,"score":"x","phones":["1",null,2],"kin":[{"id":"a"},{"id":"b"}],"born":null,"x":1}"#,
    );
    let wanted = schema.fields.iter().map(|field| field.index).filter(|field| field.0 != 11).collect();
    let captures = capture(&schema, wanted, &bytes).unwrap();
    let value = |name: &str| captures.value(schema.field_named(&format!("Citizen.{name}")).unwrap().index).clone();
    assert_eq!(value("id"), Captured::Text("Lê".into()));
    assert_eq!(value("age"), Captured::Number("12".into()));
    assert_eq!(value("alive"), Captured::Boolean(true));
    assert_eq!(value("score"), Captured::Mistyped);
    assert_eq!(value("born"), Captured::Null);
    assert_eq!(value("home.street"), Captured::Absent);
    assert_eq!(value("phones"), Captured::Array(vec![Captured::Text("1".into()), Captured::Null, Captured::Mistyped]));
    assert_eq!(value("kin.id"), Captured::Text("a".into()));
    assert_eq!(captures.values(FieldIx(9)).count(), 2);
    assert_eq!(captures.undeclared(), 1);
    assert!(!format!("{captures:?}").contains("Lê"));
    let none = capture(&schema, FieldSet::EMPTY, &bytes).unwrap();
    assert_eq!(none.value(FieldIx(0)), &Captured::Absent);
}
