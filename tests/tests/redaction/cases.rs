//! Random schemas, treatments and records, and ways to spoil a record.

use popgate_policy::contract::{Class, Compare, Field, Kind, ObjectShape, RecordSchema, Shape};
use popgate_policy::model::{FieldIx, FieldName, GroupId, MaskKind, Treatment};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::Value;

/// A declared JSON value, before its leaves are numbered.
#[derive(Clone, Debug)]
pub(crate) enum Tree {
    Leaf(Kind, bool),
    Object(Vec<(String, Tree)>),
    Array(Vec<(String, Tree)>),
}

/// A record, its schema and its treatments; `text` is the record as somebody wrote it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) tree: Vec<(String, Tree)>,
    pub(crate) treatments: Vec<Treatment>,
    pub(crate) text: String,
}

/// One way to spoil a record.
#[derive(Clone, Debug)]
pub(crate) enum Spoil {
    Replace(Vec<u8>),
    Insert(Vec<u8>),
    Remove(usize),
    Truncate,
    Repeat(usize),
}

impl Spoil {
    pub(crate) fn apply(self, bytes: &mut Vec<u8>, at: Index) {
        let at = at.index(bytes.len() + 1);
        let upto = |length: usize| (at + length).min(bytes.len());
        match self {
            Self::Replace(with) => drop(bytes.splice(at..upto(with.len()), with)),
            Self::Insert(what) => drop(bytes.splice(at..at, what)),
            Self::Remove(length) => drop(bytes.drain(at..upto(length))),
            Self::Truncate => bytes.truncate(at),
            Self::Repeat(length) => {
                let again = bytes[at..upto(length)].to_vec();
                drop(bytes.splice(at..at, again));
            }
        }
    }
}

pub(crate) fn spoil() -> impl Strategy<Value = Spoil> {
    let tokens: Vec<&[u8]> = vec![
        b"\"",
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"0",
        b"1",
        b"-",
        b".",
        b"e",
        b"+",
        b" ",
        b"\n",
        b"\0",
        b"\x7f",
        b"\x80",
        b"\xc3",
        b"\xe1\xbb",
        b"\xff",
        b"\xef\xbb\xbf",
        b"null",
        b"true",
        b"\\u",
        b"\\ud800",
        b"\\udc00",
        b"\\ud83d\\ude00",
        b"\\x",
        b"01",
        b"1e999",
    ];
    let token = select(tokens).prop_map(<[u8]>::to_vec);
    prop_oneof![
        3 => token.clone().prop_map(Spoil::Replace),
        3 => token.prop_map(Spoil::Insert),
        2 => (1usize..6).prop_map(Spoil::Remove),
        1 => Just(Spoil::Truncate),
        1 => (1usize..20).prop_map(Spoil::Repeat),
    ]
}

pub(crate) fn case() -> impl Strategy<Value = Case> {
    members(2).prop_flat_map(|tree| {
        let leaves = schema(&tree).fields.len();
        let treatments = vec(treatment(), leaves);
        let text = object_text(&tree, true).boxed();
        (Just(tree), treatments, text).prop_map(|(tree, treatments, text)| Case { tree, treatments, text })
    })
}

fn treatment() -> impl Strategy<Value = Treatment> {
    select(vec![
        Treatment::Reveal,
        Treatment::Reveal,
        Treatment::Reveal,
        Treatment::Withhold,
        Treatment::Match,
        Treatment::Mask(MaskKind::Exists),
        Treatment::Mask(MaskKind::Year),
        Treatment::Mask(MaskKind::Decade),
        Treatment::Mask(MaskKind::Last3),
    ])
}

const NAMES: [&str; 8] = ["id", "name", "tên", "a\"b", "a", "ab", "phone\n", "Ω"];

fn members(depth: u32) -> BoxedStrategy<Vec<(String, Tree)>> {
    let kind = select(vec![Kind::String, Kind::String, Kind::Date, Kind::Integer, Kind::Number, Kind::Boolean]);
    let leaf = (kind, prop::bool::weighted(0.25)).prop_map(|(kind, array)| Tree::Leaf(kind, array));
    let node = match depth {
        0 => leaf.boxed(),
        _ => {
            let (object, array) = (members(depth - 1).prop_map(Tree::Object), members(depth - 1).prop_map(Tree::Array));
            prop_oneof![4 => leaf, 1 => object, 1 => array].boxed()
        }
    };
    prop::sample::subsequence(NAMES.to_vec(), 1..=5)
        .prop_flat_map(move |names| {
            let length = names.len();
            (Just(names), vec(node.clone(), length))
        })
        .prop_map(|(names, nodes)| names.into_iter().map(str::to_owned).zip(nodes).collect())
        .boxed()
}

/// An object as somebody wrote it: any order, some members missing, some not declared, any spacing, any escapes.
fn object_text(tree: &[(String, Tree)], root: bool) -> BoxedStrategy<String> {
    let declared: Vec<BoxedStrategy<Option<String>>> = tree
        .iter()
        .map(|(name, node)| {
            let member =
                (string_text(name.clone()), space(), node_text(node)).prop_map(|(k, s, v)| format!("{k}{s}:{s}{v}"));
            prop::option::weighted(0.85, member).boxed()
        })
        .collect();
    let undeclared = ("x[a-z]{0,3}", any_text(2)).prop_map(|(name, value)| format!("\"{name}\":{value}"));
    // Of two undeclared members, the oracle's parser would keep one.
    let undeclared = prop::option::weighted(if root { 0.6 } else { 0.3 }, undeclared);
    (declared, undeclared, space(), any::<Index>(), any::<bool>())
        .prop_map(|(declared, undeclared, space, turn, back)| {
            let mut members: Vec<String> = declared.into_iter().chain([undeclared]).flatten().collect();
            if !members.is_empty() {
                let turn = turn.index(members.len());
                members.rotate_left(turn);
            }
            if back {
                members.reverse();
            }
            format!("{{{space}{}{space}}}", members.join(&format!("{space},{space}")))
        })
        .boxed()
}

fn node_text(node: &Tree) -> BoxedStrategy<String> {
    match node {
        Tree::Leaf(kind, false) => prop_oneof![6 => scalar_text(*kind), 1 => any_text(1)].boxed(),
        Tree::Leaf(kind, true) => {
            let element = prop_oneof![6 => scalar_text(*kind), 1 => any_text(0)];
            let list = (vec(element, 0..4), space())
                .prop_map(|(list, space)| format!("[{space}{}{space}]", list.join(&space_comma(space))));
            prop_oneof![6 => list, 1 => Just("null".to_owned()), 1 => any_text(0)].boxed()
        }
        Tree::Object(members) => prop_oneof![9 => object_text(members, false), 1 => Just("null".to_owned())].boxed(),
        Tree::Array(members) => {
            let element = prop_oneof![9 => object_text(members, false), 1 => Just("null".to_owned())];
            vec(element, 0..4).prop_map(|list| format!("[{}]", list.join(","))).boxed()
        }
    }
}

fn space_comma(space: &str) -> String {
    format!("{space},{space}")
}

fn scalar_text(kind: Kind) -> BoxedStrategy<String> {
    let value = match kind {
        Kind::String => text().prop_flat_map(string_text).boxed(),
        Kind::Date => {
            // No day that some month lacks: the oracle takes every such text for a date.
            prop_oneof![4 => "19[0-9]{2}-0[1-9]-[12][0-8]", 1 => "[0-9-]{0,4}"].prop_flat_map(string_text).boxed()
        }
        Kind::Integer => any::<i64>().prop_map(|number| number.to_string()).boxed(),
        Kind::Number => prop_oneof!["-?[1-9][0-9]{0,8}", "-?(0|[1-9][0-9]{0,4})\\.[0-9]{1,6}([eE][+-]?[0-9])?"].boxed(),
        Kind::Boolean => any::<bool>().prop_map(|value| value.to_string()).boxed(),
    };
    prop_oneof![8 => value, 1 => Just("null".to_owned())].boxed()
}

/// Any JSON value.
fn any_text(depth: u32) -> BoxedStrategy<String> {
    let kinds = vec![Kind::String, Kind::Integer, Kind::Number, Kind::Boolean];
    let scalar = select(kinds).prop_flat_map(scalar_text);
    if depth == 0 {
        return scalar.boxed();
    }
    let list = vec(any_text(depth - 1), 0..3).prop_map(|list| format!("[{}]", list.join(" ,")));
    let object = vec((select(NAMES.to_vec()), any_text(depth - 1)), 0..3).prop_map(|members| {
        let members: Vec<String> =
            members.into_iter().map(|(name, value)| format!("{}: {value}", Value::from(name))).collect();
        format!("{{{}}}", members.join(","))
    });
    prop_oneof![3 => scalar, 1 => list, 1 => object].boxed()
}

fn text() -> impl Strategy<Value = String> {
    // Composed already, so that what counts characters and what composes them agree.
    let letter = prop_oneof![6 => "[a-z0-9 ]", 2 => "[ễĐươ😀]", 1 => "[\"\\\\/\n\t\u{1}\u{7f}]"];
    let short = vec(letter, 0..12).prop_map(|letters| letters.concat());
    prop_oneof![12 => short.clone(), 1 => short.prop_map(|text| text.repeat(400))]
}

/// A JSON string of that text, some of its characters escaped in one of the ways they can be.
fn string_text(text: String) -> BoxedStrategy<String> {
    let escapes = select(vec![0u8, 0, 0, 1, 2]);
    (Just(text), escapes, any::<u64>())
        .prop_map(|(text, escapes, seed)| {
            let mut json = String::from("\"");
            for (at, character) in text.chars().enumerate() {
                let chosen = escapes > 0 && seed.rotate_left(at as u32) & 3 == 0;
                match character {
                    _ if chosen => {
                        for unit in character.encode_utf16(&mut [0; 2]) {
                            let digits = if escapes == 1 { format!("\\u{unit:04x}") } else { format!("\\u{unit:04X}") };
                            json.push_str(&digits);
                        }
                    }
                    '"' | '\\' => json.extend(['\\', character]),
                    '\n' => json.push_str("\\n"),
                    '\t' => json.push_str("\\t"),
                    '\0'..='\u{1f}' => json.push_str(&format!("\\u{:04x}", u32::from(character))),
                    _ => json.push(character),
                }
            }
            json.push('"');
            json
        })
        .boxed()
}

fn space() -> impl Strategy<Value = &'static str> {
    select(vec!["", "", "", " ", "\r\n\t "])
}

/// The schema of that tree.
pub(crate) fn schema(tree: &[(String, Tree)]) -> RecordSchema {
    let mut fields = Vec::new();
    let shape = shape(tree, &[], &mut fields);
    RecordSchema {
        name: "Record".to_owned(),
        fields,
        shape,
        subject: FieldIx(0),
        attributes: vec![],
        references: vec![],
    }
}

fn shape(tree: &[(String, Tree)], path: &[String], fields: &mut Vec<Field>) -> ObjectShape {
    let members: Vec<(Box<str>, Shape)> = tree
        .iter()
        .map(|(name, node)| {
            let path = [path, std::slice::from_ref(name)].concat();
            let shape = match node {
                Tree::Object(members) => Shape::Object(shape(members, &path, fields)),
                Tree::Array(members) => Shape::Array(shape(members, &path, fields)),
                Tree::Leaf(kind, array) => {
                    let index = FieldIx(fields.len() as u16);
                    fields.push(Field {
                        index,
                        name: FieldName::new(&format!("Record.{}", path.join("."))),
                        path,
                        kind: *kind,
                        array: *array,
                        group: GroupId::new("any"),
                        class: Class::Basic,
                        masks: vec![],
                        implies: vec![],
                        compare: Compare::Exact,
                        whole: false,
                    });
                    Shape::Leaf(index)
                }
            };
            (name.as_str().into(), shape)
        })
        .collect();
    ObjectShape::new(members).unwrap()
}
