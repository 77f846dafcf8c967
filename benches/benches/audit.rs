//! What the audit log takes: durable disclosures a second (intent, receipt, closing) and how long a receipt takes.
//!
//! `cargo bench -p popgate-benches --bench audit -- [DIR]`: the figures are those of the disk under DIR (default: the current folder).
#![expect(clippy::print_stdout, clippy::expect_used, reason = "a program that prints figures")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use popgate::audit::{Audit, AuditKey, Claimed, Intent, Options, Outcome, PurposeSource, Shown, read};
use popgate::clock::Clock;
use popgate_policy::bundle::Digest;
use popgate_policy::contract::{Class, Compare, Field, Kind, ObjectShape, RecordSchema};
use popgate_policy::model::{
    DisclosureId, FieldIx, FieldName, FieldSet, GroupId, OperationId, Personal, PurposeId, SystemId,
};

fn main() {
    let parent =
        std::env::args().skip(1).find(|argument| !argument.starts_with("--")).map_or_else(|| ".".into(), PathBuf::from);
    println!(
        "{:>11} {:>14} {:>10} {:>10} {:>12} {:>14}",
        "concurrent", "disclosures/s", "p50 µs", "p99 µs", "batch", "bytes each"
    );
    for concurrent in [1, 64, 1024] {
        let dir = parent.join(format!("audit-bench-{}", std::process::id()));
        measure(&dir, concurrent);
        std::fs::remove_dir_all(&dir).expect("the folder was made here");
    }
}

fn measure(dir: &Path, concurrent: usize) {
    let clock = Clock::system("UTC").expect("UTC exists");
    let (audit, _) = Audit::open(dir, Options::default(), AuditKey::new([1; 32]), clock).expect("a writable folder");
    let before = audit.stats();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let end = Instant::now() + RUN;
    let started = Instant::now();
    let waits = runtime.block_on(async {
        let record = record();
        let tasks: Vec<_> =
            (0..concurrent).map(|task| tokio::spawn(disclose(audit.clone(), Arc::clone(&record), task, end))).collect();
        let mut all = Histogram::<u64>::new(3).expect("a histogram");
        for task in tasks {
            all.add(task.await.expect("no panic")).expect("the same range");
        }
        all
    });
    let seconds = started.elapsed().as_secs_f64();
    audit.clone().close();
    let stats = audit.stats();
    let disclosures = waits.len();
    println!(
        "{concurrent:>11} {:>14.0} {:>10} {:>10} {:>12.1} {:>14.1}",
        disclosures as f64 / seconds,
        waits.value_at_quantile(0.5),
        waits.value_at_quantile(0.99),
        (stats.records - before.records) as f64 / (stats.batches - before.batches) as f64,
        (stats.bytes - before.bytes) as f64 / disclosures as f64,
    );
    let checked = Instant::now();
    let report = read::verify(dir).expect("a whole log");
    assert_eq!((report.intents, report.closings), (disclosures, disclosures), "nothing is missing");
    println!("{:>11} {:.0} records/s", "verify", (report.intents * 2) as f64 / checked.elapsed().as_secs_f64());
}

async fn disclose(audit: Audit, record: Arc<RecordSchema>, task: usize, end: Instant) -> Histogram<u64> {
    let mut waits = Histogram::<u64>::new(3).expect("a histogram");
    let shown = Shown {
        revealed: (0..14).map(FieldIx).collect(),
        masked: [FieldIx(20)].into_iter().collect(),
        matched: FieldSet::EMPTY,
    };
    let mut intent = Intent {
        disclosure: DisclosureId::from_random(0),
        system: SystemId::new("tax/etax"),
        exchange: None,
        operation: OperationId::new("citizen.read"),
        purpose: PurposeId::new("assessment"),
        purpose_source: PurposeSource::Header,
        subject: Some(Personal::new("001087000123".to_owned())),
        record,
        fields: (0..15).map(FieldIx).collect(),
        bundle: Digest([7; 32]),
        claimed: Claimed { case: Some(Personal::new("CASE-2026-000123".to_owned())), ..Claimed::default() },
        source: [10, 20, 0, 7].into(),
    };
    for number in 0.. {
        let started = Instant::now();
        if started >= end {
            break;
        }
        intent.disclosure = DisclosureId::from_random((task as u128) << 64 | number);
        let (pending, closing) = audit.intend(intent.clone()).expect("a slot");
        let receipt = pending.durable().await.expect("a durable intent");
        let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        waits.record(micros).expect("an unbounded range");
        assert_eq!(receipt.disclosure(), intent.disclosure);
        closing.close(Outcome::Complete(shown));
    }
    waits
}

fn record() -> Arc<RecordSchema> {
    let field = |index: u16| Field {
        index: FieldIx(index),
        name: FieldName::new(&format!("Citizen.field_{index}")),
        path: vec![format!("field_{index}")],
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

const RUN: Duration = Duration::from_secs(3);
