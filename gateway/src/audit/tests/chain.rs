//! The chain notices every change, and a writer that was stopped anywhere loses nothing that it had promised.

use std::fs;

use super::*;

/// A closed log of two segments with several batches each; and its files.
fn small_log(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    for number in 0..2 {
        let (audit, _) = open(dir);
        for each in 0..3 {
            disclose(&audit, intent(&tiny(), number * 10 + each));
        }
        audit.refused(refusal("policy_denied"));
        audit.close();
    }
    ["0000000001.log", "0000000002.log"].map(|name| (dir.join(name), fs::read(dir.join(name)).unwrap())).to_vec()
}

fn tiny() -> Arc<RecordSchema> {
    let schema = schema();
    Arc::new(RecordSchema { name: schema.name.clone(), fields: schema.fields[..2].to_vec(), ..clone_shape(&schema) })
}

fn clone_shape(schema: &RecordSchema) -> RecordSchema {
    RecordSchema {
        name: String::new(),
        fields: Vec::new(),
        shape: schema.shape.clone(),
        subject: schema.subject,
        attributes: Vec::new(),
        references: Vec::new(),
    }
}

#[test]
fn every_flipped_byte_is_noticed() {
    let dir = scratch();
    let files = small_log(dir.path());
    read::verify(dir.path()).unwrap();
    for (file, good) in &files {
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(file, &bad).unwrap();
            let damage = read::verify(dir.path()).expect_err(&format!("byte {at} of {}", file.display()));
            assert_eq!(damage.segment, file.file_name().unwrap().to_str().unwrap(), "byte {at}: {damage}");
            assert!(damage.offset <= at as u64, "byte {at}: {damage}");
        }
        fs::write(file, good).unwrap();
    }
}

#[test]
fn damage_is_named_with_its_place() {
    let dir = scratch();
    let files = small_log(dir.path());
    let (file, good) = &files[0];
    let mut bad = good.clone();
    let at = memchr::memmem::find(&bad, b"tax/etax").unwrap();
    bad[at] = b'T';
    fs::write(file, &bad).unwrap();
    let said = read::verify(dir.path()).unwrap_err().to_string();
    let rest = said.strip_prefix("hash mismatch in the batch at byte ").unwrap();
    assert!(rest.ends_with(" of 0000000001.log"), "{said}");
    let broken = Audit::open(dir.path(), options(), key(), clock()).unwrap_err();
    assert!(broken.to_string().contains(&said), "{broken}");
    assert_eq!(fs::read(file).unwrap(), bad, "a broken log is left as it is");
    assert!(!dir.path().join("0000000003.log").exists());
}

#[test]
fn a_missing_segment_is_noticed() {
    let dir = scratch();
    let files = small_log(dir.path());
    open(dir.path()).0.close();
    fs::remove_file(&files[1].0).unwrap();
    let damage = read::verify(dir.path()).unwrap_err();
    assert_eq!((damage.segment.as_str(), damage.wrong), ("0000000003.log", Wrong::Order));
    fs::remove_file(&files[0].0).unwrap();
    assert_eq!(read::verify(dir.path()).unwrap_err().wrong, Wrong::Order);
}

#[test]
fn what_is_appended_to_a_finished_segment_is_noticed() {
    let dir = scratch();
    let files = small_log(dir.path());
    let (file, good) = &files[0];
    fs::write(file, [&good[..], b"more"].concat()).unwrap();
    let damage = read::verify(dir.path()).unwrap_err();
    assert_eq!((damage.offset, damage.wrong), (good.len() as u64, Wrong::Excess));
    fs::write(file, &good[..good.len() - 1]).unwrap();
    assert_eq!(read::verify(dir.path()).unwrap_err().wrong, Wrong::Short);
}

#[test]
fn a_writer_stopped_at_any_byte_loses_no_durable_record() {
    let dir = scratch();
    let files = small_log(dir.path());
    let (file, good) = &files[1];
    let whole = all(dir.path(), None).len() as u64;
    let mut held = 0;
    for length in 0..good.len() {
        let copy = scratch();
        fs::write(copy.path().join("0000000001.log"), &files[0].1).unwrap();
        fs::write(copy.path().join(file.file_name().unwrap()), &good[..length]).unwrap();
        let before = read::verify(copy.path()).unwrap_or_else(|damage| panic!("{length}: {damage}"));
        let records = before.intents + before.closings + before.refusals;
        assert!(records >= held && records <= whole, "a longer log holds no less");
        held = records;

        let (audit, opened) = open(copy.path());
        assert_eq!((opened.records, &opened.torn), (records, &before.torn), "{length}");
        let torn: u64 = opened.torn.iter().map(|torn| torn.bytes).sum();
        if let Some(torn) = opened.torn.first() {
            assert_eq!(torn.offset + torn.bytes, length as u64);
        }
        disclose(&audit, intent(&schema(), 99));
        audit.close();
        let after = read::verify(copy.path()).unwrap_or_else(|damage| panic!("{length}: {damage}"));
        assert_eq!(after.intents + after.closings + after.refusals, records + 2, "{length}");
        let kept = copy.path().join("0000000002.torn").exists();
        assert!(torn == 0 || kept || after.torn == opened.torn, "{length}: what was torn stays to be seen");
    }
    assert!(held > 0);
}

#[test]
fn after_a_loss_of_power_only_the_last_write_may_be_forgotten() {
    let dir = scratch();
    let (audit, _) = open(dir.path());
    for number in 0..3 {
        let (pending, closing) = audit.intend(intent(&tiny(), number)).unwrap();
        drop(wait(pending.durable()).unwrap());
        std::mem::forget(closing);
    }
    let path = dir.path().join("0000000001.log");
    let good = fs::read(&path).unwrap();
    std::mem::forget(audit);
    let commits: Vec<_> = memchr::memmem::find_iter(&good, b"\xC7\x28\xFE\xC0\xFF\xEE").collect();
    let last_batch = commits[commits.len() - 2] + 42;

    let try_open = |bytes: &[u8]| {
        let copy = scratch();
        fs::write(copy.path().join("0000000001.log"), bytes).unwrap();
        Audit::open(copy.path(), options(), key(), clock()).map(|(audit, opened)| (audit.close(), opened).1)
    };
    // The last write's pages may survive in any order: a hole anywhere in it is a torn tail.
    for at in last_batch..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        let opened = try_open(&bad).unwrap_or_else(|error| panic!("byte {at}: {error}"));
        assert_eq!((opened.records, opened.torn[0].offset), (2, last_batch as u64), "byte {at}");
    }
    for hole in [last_batch..good.len(), last_batch..last_batch + 9, good.len() - 40..good.len()] {
        let mut bad = good.clone();
        bad[hole].fill(0);
        assert_eq!(try_open(&bad).unwrap().records, 2);
    }
    // Before it, everything was durable: damage is not passed over.
    for at in 0..last_batch {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert!(matches!(try_open(&bad), Err(AuditError::Broken { .. })), "byte {at}");
    }
}

#[test]
fn segments_are_chained_and_names_begin_anew_in_each() {
    let dir = scratch();
    let small = Options { segment_bytes: 1000, ..options() };
    let (audit, _) = Audit::open(dir.path(), small, key(), clock()).unwrap();
    let schema = schema();
    let (pending, early) = audit.intend(intent(&schema, 1000)).unwrap();
    drop(wait(pending.durable()).unwrap());
    for number in 0..40 {
        disclose(&audit, intent(&schema, number));
    }
    early.close(Outcome::Complete(shown()));
    audit.close();
    let report = read::verify(dir.path()).unwrap();
    assert!(report.segments > 5, "{report}");
    assert!(report.closed, "wherever the last segment ended");
    assert_eq!((report.intents, report.closings, report.open), (41, 41, 0));
    let entries = all(dir.path(), Some(&key()));
    let seqs: Vec<_> = entries.iter().map(|entry| entry.seq).collect();
    assert_eq!(seqs, (1..=82).collect::<Vec<_>>());
    let early = entries.iter().rev().find_map(|entry| match &entry.what {
        What::Closing(closing) if closing.intent == 1 => Some(closing),
        _ => None,
    });
    let early = early.unwrap();
    assert_eq!(early.disclosure, Some(DisclosureId::from_random(1000)));
    assert_eq!(early.schema.as_ref().unwrap().names(fields([39])).collect::<Vec<_>>(), ["f39"]);
}

#[test]
fn a_log_is_read_while_it_is_written() {
    let dir = scratch();
    let small = Options { segment_bytes: 8000, ..options() };
    let (audit, _) = Audit::open(dir.path(), small, key(), clock()).unwrap();
    let writer = {
        let audit = audit.clone();
        std::thread::spawn(move || (0..400).for_each(|number| disclose(&audit, intent(&schema(), number))))
    };
    let mut last = 0;
    while !writer.is_finished() {
        let report = read::verify(dir.path()).unwrap();
        assert!(report.intents >= last);
        last = report.intents;
        assert!(all(dir.path(), None).len() as u64 >= last);
    }
    writer.join().unwrap();
    audit.close();
    assert_eq!(read::verify(dir.path()).unwrap().intents, 400);
}
