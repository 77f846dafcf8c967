//! What redaction costs: whole-buffer records through [`Redactor`], and [`capture`] of three fields.

#![expect(missing_docs, reason = "`criterion_group` makes a public function")]

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use popgate_policy::contract::{Class, Compare, Field, Kind, ObjectShape, RecordSchema, Shape};
use popgate_policy::disclose::json::{Redactor, capture};
use popgate_policy::disclose::mask::Pseudonym;
use popgate_policy::disclose::{PseudonymKey, Treatments};
use popgate_policy::model::{AgencyId, FieldIx, FieldName, FieldSet, GroupId, PurposeId, Treatment};

const FIELDS: usize = 40;

fn redact(c: &mut Criterion) {
    let (key, agency, purpose) = (PseudonymKey::new([7; 32]), AgencyId::new("tax"), PurposeId::new("assessment"));
    let pseudonym = Pseudonym::new(&key, &agency, &purpose);
    // 15 of the 40 fields, spread over the record.
    let kept = |at: usize| if at * 15 % FIELDS < 15 { Treatment::Reveal } else { Treatment::Withhold };
    let some = Treatments((0..FIELDS).map(kept).collect());
    let every = Treatments(Box::new([Treatment::Reveal; FIELDS]));
    let (flat, nested) = (schema(false), schema(true));
    let rows = vec![object(14); 256].join(",");
    let cases = [
        ("1 KB, 15 of 40", &flat, &some, object(14)),
        ("1 KB, 40 of 40", &flat, &every, object(14)),
        ("16 KB, 15 of 40", &flat, &some, object(395)),
        ("256 KB of objects, 15 of 40", &nested, &some, format!(r#"{{"rows":[{rows}]}}"#)),
    ];
    let mut group = c.benchmark_group("redact");
    group.measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500)).sample_size(30);
    for (name, schema, treatments, record) in cases {
        let record = Bytes::from(record);
        group.throughput(Throughput::Bytes(record.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut out = Vec::with_capacity(4);
                let mut redactor = Redactor::new(schema, treatments, pseudonym);
                let pushed = redactor.push(record.clone(), &mut out);
                black_box((pushed, redactor.finish(), out))
            });
        });
    }
    let record = Bytes::from(object(14));
    let wanted: FieldSet = [0, 17, 33].into_iter().map(FieldIx).collect();
    group.throughput(Throughput::Bytes(record.len() as u64));
    group.bench_function("1 KB, capture 3", |b| b.iter(|| black_box(capture(&flat, wanted, &record).is_ok())));
    group.finish();
}

/// A record of 40 strings of so many bytes each: one in three with diacritics, the others numbers, dates and codes.
fn object(length: usize) -> String {
    let value = |text: &str| {
        let letters = text.chars().cycle().scan(0, |bytes, letter| {
            *bytes += letter.len_utf8();
            (*bytes <= length).then_some(letter)
        });
        letters.collect::<String>()
    };
    let values = [value("Lê Thị Hoa, phường Hàng Bạc "), value("0912345678 "), value("1987-03-14 ")];
    let members = values.iter().cycle().take(FIELDS).enumerate();
    let members: Vec<String> = members.map(|(at, value)| format!(r#""{}":"{value}""#, name(at))).collect();
    format!("{{{}}}", members.join(","))
}

/// Names that share beginnings, as those of real records do.
fn name(at: usize) -> String {
    let stem = ["birth", "home", "name", "tax", "kin"];
    format!("{}_{at:02}", stem.iter().cycle().nth(at * 7).copied().unwrap_or_default())
}

/// The record as it is, or rows of it.
fn schema(nested: bool) -> RecordSchema {
    let fields: Vec<Field> = (0..FIELDS)
        .map(|at| Field {
            index: FieldIx(at as u16),
            name: FieldName::new(&format!("Record.{}", name(at))),
            path: vec![name(at)],
            kind: Kind::String,
            array: false,
            group: GroupId::new("any"),
            class: Class::Basic,
            masks: vec![],
            implies: vec![],
            compare: Compare::Exact,
            whole: false,
        })
        .collect();
    let leaves = fields.iter().map(|field| (field.path.concat().into(), Shape::Leaf(field.index)));
    let object = ObjectShape::new(leaves).unwrap_or_default();
    let rows = || ObjectShape::new([("rows".into(), Shape::Array(object.clone()))]).unwrap_or_default();
    let shape = if nested { rows() } else { object };
    RecordSchema {
        name: "Record".to_owned(),
        fields,
        shape,
        subject: FieldIx(0),
        attributes: vec![],
        references: vec![],
    }
}

criterion_group!(benches, redact);
criterion_main!(benches);
