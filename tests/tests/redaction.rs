//! What a caller gets of a record is what the treatments say, for any record, any treatments and any split into chunks.

use bytes::Bytes;
use popgate_policy::contract::{Field, Kind, ObjectShape, RecordSchema, Shape};
use popgate_policy::disclose::json::{Captured, LONG_RUN, Redactor, capture};
use popgate_policy::disclose::mask::Pseudonym;
use popgate_policy::disclose::matching::matches;
use popgate_policy::disclose::{PseudonymKey, Tally, Treatments, Unreadable};
use popgate_policy::model::{AgencyId, FieldIx, FieldSet, MaskKind, PurposeId, Treatment};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Map, Value};

mod cases;

use cases::{Tree, case, schema, spoil};

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_answer_equals_a_naive_oracle(case in case()) {
        let schema = schema(&case.tree);
        let treatments = Treatments(case.treatments.clone().into());
        let (out, tally) = redact(&schema, &treatments, &[case.text.as_bytes()]).unwrap();
        let record: Value = serde_json::from_str(&case.text).unwrap();
        let mut oracle = Oracle { treatments: &treatments, schema: &schema, tally: Tally::default() };
        let expected = oracle.object(&schema.shape, record.as_object().unwrap()).unwrap_or_default();
        let shown: Value = serde_json::from_slice(&out).expect("an answer parses");
        // By text, so that the order of members is compared too.
        prop_assert_eq!(shown.to_string(), Value::Object(expected).to_string());
        prop_assert_eq!(Tally { copied: 0, ..tally }, oracle.tally);
    }

    #[test]
    fn every_split_into_chunks_gives_the_same_bytes(case in case(), cuts in vec(any::<Index>(), 0..12)) {
        let schema = schema(&case.tree);
        let treatments = Treatments(case.treatments.clone().into());
        let bytes = case.text.as_bytes();
        let (whole, _) = redact(&schema, &treatments, &[bytes]).unwrap();
        for chunks in [split(bytes, &cuts), bytes.chunks(1).collect()] {
            let (out, _) = redact(&schema, &treatments, &chunks).unwrap();
            prop_assert_eq!(&out, &whole);
        }
    }

    #[test]
    fn what_is_withheld_leaves_no_trace(case in case()) {
        let schema = schema(&case.tree);
        let none = Treatments(case.treatments.iter().map(|_| Treatment::Match).collect());
        let (out, tally) = redact(&schema, &none, &[case.text.as_bytes()]).unwrap();
        prop_assert_eq!(out, b"{}");
        prop_assert!(tally.revealed.is_empty() && tally.masked.is_empty() && tally.mistyped == 0);
    }

    #[test]
    fn a_captured_value_is_the_records_and_bears_itself_out(case in case()) {
        let schema = schema(&case.tree);
        let bytes = Bytes::from(case.text.clone());
        let captures = capture(&schema, all(&schema), &bytes).unwrap();
        let record: Value = serde_json::from_str(&case.text).unwrap();
        for field in &schema.fields {
            let mut expected = Vec::new();
            occurrences(&record, &field.path, &mut expected);
            let captured: Vec<Value> = captures.values(field.index).map(plain).collect();
            let expected: Vec<Value> = expected.into_iter().map(|value| typed(value, field)).collect();
            prop_assert_eq!(captured, expected);
            for value in captures.values(field.index) {
                if let (Kind::String, Captured::Text(text)) = (field.kind, value) {
                    prop_assert_eq!(matches(field, text, value), !text.trim().is_empty());
                }
            }
        }
    }

    #[test]
    fn arbitrary_bytes_are_refused_or_read_but_never_panic(case in case(), bytes in vec(any::<u8>(), 0..200), cuts in vec(any::<Index>(), 0..6)) {
        let schema = schema(&case.tree);
        let _answer = same_for_every_split(&schema, &case.treatments, &bytes, &cuts)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_spoiled_record_is_read_only_if_serde_json_reads_it(
        case in case(), edits in vec((any::<Index>(), spoil()), 1..4), cuts in vec(any::<Index>(), 0..4)
    ) {
        let mut bytes = case.text.clone().into_bytes();
        for (at, edit) in edits {
            edit.apply(&mut bytes, at);
        }
        let schema = schema(&case.tree);
        let answer = same_for_every_split(&schema, &case.treatments, &bytes, &cuts)?;
        let read = std::str::from_utf8(&bytes).is_ok() && readable(&bytes);
        match answer {
            Ok(_) => prop_assert!(read, "serde_json refuses {:?}", String::from_utf8_lossy(&bytes)),
            // The stricter rules, each listed in the engine's documentation.
            Err(Unreadable::Duplicate { .. } | Unreadable::Depth { .. } | Unreadable::Shape { .. } | Unreadable::TooLarge) => {}
            Err(error) => prop_assert!(!read, "{error}: {:?}", String::from_utf8_lossy(&bytes)),
        }
    }
}

#[test]
fn a_long_kept_run_is_a_slice_of_the_input() {
    let schema = schema(&[leaf("photo"), leaf("id"), leaf("secret")]);
    let treatments = Treatments(Box::new([Treatment::Reveal, Treatment::Reveal, Treatment::Withhold]));
    for length in [LONG_RUN, 5 * LONG_RUN, 60_000] {
        let photo = "ễ".repeat(length / 3 + 1);
        let input = Bytes::from(format!(r#"{{ "id": "7", "photo": "{photo}", "secret": "{photo}" }}"#));
        let mut out = Vec::new();
        let tally = push(&schema, &treatments, std::slice::from_ref(&input), &mut out).unwrap();
        let answer = out.concat();
        assert_eq!(answer, format!(r#"{{"id":"7","photo":"{photo}"}}"#).as_bytes());
        let inside: usize = out.iter().filter(|chunk| lies_in(chunk, &input)).map(Bytes::len).sum();
        assert_eq!(inside, photo.len() + 2, "the string with its quotes");
        assert_eq!(tally.copied, answer.len() - inside, "and only the rest is copied");
    }
}

#[test]
fn a_record_that_passes_whole_is_one_slice_of_the_input() {
    let schema = schema(&[leaf("a"), leaf("b"), ("c".to_owned(), Tree::Array(vec![leaf("d")]))]);
    let treatments = Treatments(Box::new([Treatment::Reveal; 3]));
    let rows = vec![r#"{"d":"x\u0041y"}"#; 200].join(",");
    let input = Bytes::from(format!(r#"{{"b":"Lê","a":null,"c":[{rows}]}}"#));
    let mut out = Vec::new();
    let tally = push(&schema, &treatments, std::slice::from_ref(&input), &mut out).unwrap();
    assert_eq!(out, std::slice::from_ref(&input));
    assert!(lies_in(&out[0], &input));
    assert_eq!(tally.copied, 0);
}

#[test]
fn short_runs_are_gathered_once_into_one_buffer() {
    let names: Vec<String> = (0..40).map(|at| format!("field_{at:02}")).collect();
    let schema = schema(&names.iter().map(|name| leaf(name)).collect::<Vec<_>>());
    let every_third = |at| if at % 3 == 0 { Treatment::Reveal } else { Treatment::Withhold };
    let treatments = Treatments((0..40).map(every_third).collect());
    let members: Vec<String> = names.iter().map(|name| format!(r#""{name}":"some value""#)).collect();
    let input = Bytes::from(format!("{{{}}}", members.join(",")));
    let mut out = Vec::new();
    let tally = push(&schema, &treatments, &[input], &mut out).unwrap();
    assert_eq!(out.len(), 1);
    assert_eq!(tally.copied, out[0].len());
    assert_eq!(tally.revealed.len(), 14);
}

/// The redaction of a parsed record, field by field, as plainly as it can be said.
struct Oracle<'a> {
    treatments: &'a Treatments,
    schema: &'a RecordSchema,
    tally: Tally,
}

impl Oracle<'_> {
    fn object(&mut self, shape: &ObjectShape, object: &Map<String, Value>) -> Option<Map<String, Value>> {
        let mut shown = Map::new();
        for (name, value) in object {
            let Some((_, shape)) = shape.member(name.as_bytes()) else {
                self.tally.undeclared += 1;
                continue;
            };
            let value = match (shape, value) {
                (Shape::Leaf(field), value) => self.leaf(*field, value),
                (Shape::Object(shape), Value::Object(object)) => self.object(shape, object).map(Value::Object),
                (Shape::Array(shape), Value::Array(elements)) => {
                    let objects = elements.iter().filter_map(Value::as_object);
                    let shown: Vec<Value> =
                        objects.filter_map(|object| self.object(shape, object)).map(Value::Object).collect();
                    (!shown.is_empty()).then_some(Value::Array(shown))
                }
                _ => None,
            };
            if let Some(value) = value {
                shown.insert(name.clone(), value);
            }
        }
        (!shown.is_empty()).then_some(shown)
    }

    fn leaf(&mut self, at: FieldIx, value: &Value) -> Option<Value> {
        let field = self.schema.field(at).unwrap();
        let treatment = self.treatments.of(at);
        if matches!(treatment, Treatment::Match | Treatment::Withhold) {
            return None;
        }
        let shown = match (value, field.array) {
            (Value::Array(elements), true) => {
                let fit: Vec<&Value> = elements.iter().filter(|element| fits(field.kind, element)).collect();
                self.tally.mistyped += (elements.len() - fit.len()) as u32;
                if treatment == Treatment::Mask(MaskKind::Exists) {
                    Some(Value::Bool(fit.iter().any(|element| !element.is_null())))
                } else {
                    Some(fit.into_iter().filter_map(|element| self.scalar(treatment, element)).collect())
                }
            }
            (Value::Null, _) => self.scalar(treatment, value),
            (value, false) if fits(field.kind, value) => self.scalar(treatment, value),
            _ => {
                self.tally.mistyped += 1;
                None
            }
        };
        if shown.is_some() {
            match treatment {
                Treatment::Reveal => self.tally.revealed.insert(at),
                _ => self.tally.masked.insert(at),
            }
        }
        shown
    }

    fn scalar(&mut self, treatment: Treatment, value: &Value) -> Option<Value> {
        let shown = match treatment {
            Treatment::Reveal => Some(value.clone()),
            Treatment::Mask(MaskKind::Exists) => Some(Value::Bool(!value.is_null())),
            _ if value.is_null() => Some(Value::Null),
            Treatment::Mask(MaskKind::Year) => year(value).map(Value::from),
            Treatment::Mask(MaskKind::Decade) => year(value).map(|year| Value::from(year - year % 10)),
            Treatment::Mask(MaskKind::Last3) => value.as_str().map(|text| {
                let hidden = text.chars().count().checked_sub(3).filter(|hidden| *hidden > 0);
                let tail = hidden.map_or(String::new(), |hidden| text.chars().skip(hidden).collect());
                Value::String(format!("*{tail}"))
            }),
            _ => unreachable!("the cases use no other treatment"),
        };
        self.tally.mistyped += u32::from(shown.is_none());
        shown
    }
}

fn year(value: &Value) -> Option<i64> {
    let date = value.as_str()?;
    // Among the cases, only dates are so long and have a hyphen there.
    (date.len() == 10 && date.as_bytes()[4] == b'-').then(|| date[..4].parse().unwrap())
}

fn fits(kind: Kind, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(_) => matches!(kind, Kind::String | Kind::Date),
        // The cases write every fraction so that it stays one.
        Value::Number(number) => kind == Kind::Number || kind == Kind::Integer && !number.is_f64(),
        Value::Bool(_) => kind == Kind::Boolean,
        Value::Array(_) | Value::Object(_) => false,
    }
}

fn occurrences<'v>(value: &'v Value, path: &[String], found: &mut Vec<&'v Value>) {
    match (path.split_first(), value) {
        (None, value) => found.push(value),
        (Some(_), Value::Array(elements)) => elements.iter().for_each(|element| occurrences(element, path, found)),
        (Some((name, rest)), value) => value.get(name).into_iter().for_each(|value| occurrences(value, rest, found)),
    }
}

/// A value as [`plain`] gives it: what does not fit the field is said to be mistyped.
fn typed(value: &Value, field: &Field) -> Value {
    let mistyped = || Value::String("<mistyped>".to_owned());
    let scalar = |value: &Value| if fits(field.kind, value) { value.clone() } else { mistyped() };
    match value {
        Value::Array(elements) if field.array => elements.iter().map(scalar).collect(),
        Value::Null => Value::Null,
        _ if field.array => mistyped(),
        value => scalar(value),
    }
}

fn plain(value: &Captured<'_>) -> Value {
    match value {
        Captured::Absent => unreachable!("an occurrence is there"),
        Captured::Null => Value::Null,
        Captured::Text(text) => Value::String(text.clone().into_owned()),
        Captured::Number(number) => serde_json::from_str(number).unwrap(),
        Captured::Boolean(value) => Value::Bool(*value),
        Captured::Array(elements) => elements.iter().map(|element| plain(element)).collect(),
        Captured::Mistyped => Value::String("<mistyped>".to_owned()),
    }
}

fn leaf(name: &str) -> (String, Tree) {
    (name.to_owned(), Tree::Leaf(Kind::String, false))
}

fn all(schema: &RecordSchema) -> FieldSet {
    schema.fields.iter().map(|field| field.index).collect()
}

fn push(
    schema: &RecordSchema,
    treatments: &Treatments,
    chunks: &[Bytes],
    out: &mut Vec<Bytes>,
) -> Result<Tally, Unreadable> {
    let (key, agency, purpose) = (PseudonymKey::new([7; 32]), AgencyId::new("tax"), PurposeId::new("assessment"));
    let mut redactor = Redactor::new(schema, treatments, Pseudonym::new(&key, &agency, &purpose));
    for chunk in chunks {
        redactor.push(chunk.clone(), out)?;
    }
    redactor.finish()
}

fn redact(schema: &RecordSchema, treatments: &Treatments, chunks: &[&[u8]]) -> Result<(Vec<u8>, Tally), Unreadable> {
    let chunks: Vec<Bytes> = chunks.iter().map(|chunk| Bytes::copy_from_slice(chunk)).collect();
    let mut out = Vec::new();
    let tally = push(schema, treatments, &chunks, &mut out)?;
    Ok((out.concat(), tally))
}

/// Reads hostile bytes whole, cut and byte by byte, and through `capture`: one answer, or one and the same error.
fn same_for_every_split(
    schema: &RecordSchema,
    treatments: &[Treatment],
    bytes: &[u8],
    cuts: &[Index],
) -> Result<Result<Vec<u8>, Unreadable>, TestCaseError> {
    let treatments = Treatments(treatments.into());
    let answer = |chunks: &[&[u8]]| redact(schema, &treatments, chunks).map(|(out, _)| out);
    let whole = answer(&[bytes]);
    prop_assert_eq!(&answer(&split(bytes, cuts)), &whole);
    prop_assert_eq!(&answer(&bytes.chunks(1).collect::<Vec<_>>()), &whole);
    let captured = capture(schema, all(schema), &Bytes::copy_from_slice(bytes)).err();
    prop_assert_eq!(captured, whole.as_ref().err().copied());
    if let Ok(out) = &whole {
        prop_assert!(readable(out));
    }
    Ok(whole)
}

/// Whether serde_json reads it; a number beyond its range is one to it no longer, and still is to us.
fn readable(bytes: &[u8]) -> bool {
    match serde_json::from_slice::<Value>(bytes) {
        Ok(_) => true,
        Err(error) if error.to_string().starts_with("number out of range") => {
            // As it is but for the number: what is read raw is not looked at closely enough, half a surrogate passes there.
            let mut smaller = Vec::new();
            let (mut digits, mut in_string, mut escaped) = (0, false, false);
            for byte in bytes {
                in_string ^= *byte == b'"' && !escaped;
                escaped = in_string && *byte == b'\\' && !escaped;
                digits = match byte {
                    _ if in_string => 0,
                    b'e' | b'E' => 1,
                    b'+' | b'-' if digits == 1 => 1,
                    b'0'..=b'9' if digits > 0 => digits + 1,
                    _ => 0,
                };
                if digits < 3 {
                    smaller.push(*byte);
                }
            }
            serde_json::from_slice::<&serde_json::value::RawValue>(bytes).is_ok()
                && serde_json::from_slice::<Value>(&smaller).is_ok()
        }
        Err(_) => false,
    }
}

fn split<'b>(bytes: &'b [u8], cuts: &[Index]) -> Vec<&'b [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

fn lies_in(chunk: &Bytes, input: &Bytes) -> bool {
    input.as_ptr_range().contains(&chunk.as_ptr()) && chunk.as_ptr_range().end <= input.as_ptr_range().end
}
