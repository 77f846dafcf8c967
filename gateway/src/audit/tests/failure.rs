//! A disk that fails or fills: no disclosure, nothing promised that is not kept, and recovery by itself.

use std::io;
use std::time::{Duration, Instant};

use super::storage::Space;
use super::*;

/// A real folder that fails on demand.
struct Failing {
    folder: Folder,
    faults: Arc<Mutex<Faults>>,
}

#[derive(Default)]
struct Faults {
    create: bool,
    /// So many bytes are still written before an append fails.
    append: Option<usize>,
    sync: bool,
    abandon: bool,
    free: Option<u64>,
}

impl Storage for Failing {
    fn create(&mut self, number: u64) -> io::Result<()> {
        if self.faults.lock().unwrap().create {
            return Err(io::Error::from(io::ErrorKind::ReadOnlyFilesystem));
        }
        self.folder.create(number)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.faults.lock().unwrap().append {
            None => self.folder.append(bytes),
            Some(room) => {
                self.folder.append(&bytes[..room.min(bytes.len())])?;
                Err(io::Error::from(io::ErrorKind::StorageFull))
            }
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.faults.lock().unwrap().sync {
            return Err(io::Error::other("input/output error"));
        }
        self.folder.sync()
    }

    fn abandon(&mut self, durable: u64) {
        if !self.faults.lock().unwrap().abandon {
            self.folder.abandon(durable);
        }
    }

    fn discard(&mut self, number: u64) -> io::Result<()> {
        self.folder.discard(number)
    }

    fn space(&mut self) -> io::Result<Space> {
        let space = self.folder.space()?;
        Ok(Space { free: self.faults.lock().unwrap().free.unwrap_or(space.free), ..space })
    }
}

fn failing(dir: &Path, options: Options) -> (Audit, Arc<Mutex<Faults>>) {
    let folder = Folder::open(dir).unwrap();
    let (_, tail) = recover(dir, &folder).unwrap();
    let faults = Arc::new(Mutex::new(Faults::default()));
    let storage = Failing { folder, faults: Arc::clone(&faults) };
    (Audit::start(storage, options, key(), clock(), tail).unwrap(), faults)
}

fn until(what: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !what() {
        assert!(Instant::now() < end, "nothing happened for ten seconds");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Fails one way, and shows that the log stays closed until it is well again, and is whole then.
fn survives(fail: impl Fn(&mut Faults)) -> read::Report {
    let dir = tempfile::tempdir().unwrap();
    let (audit, faults) = failing(dir.path(), options());
    let schema = schema();
    let (pending, shown_before) = audit.intend(intent(&schema, 1)).unwrap();
    drop(wait(pending.durable()).unwrap());

    fail(&mut faults.lock().unwrap());
    let (pending, closing) = audit.intend(intent(&schema, 2)).unwrap();
    assert_eq!(wait(pending.durable()).err(), Some(Unavailable::DiskFails));
    drop(closing);
    assert!(!audit.is_serving());
    assert_eq!(audit.intend(intent(&schema, 3)).err(), Some(Unavailable::DiskFails));
    let lost = audit.stats().lost_refusals;
    audit.refused(refusal("policy_denied"));
    assert_eq!(audit.stats().lost_refusals, lost + 1);
    shown_before.close(Outcome::Complete(shown()));
    until(|| audit.stats().failures >= 2);
    assert!(!audit.is_serving(), "one attempt to recover failed");

    *faults.lock().unwrap() = Faults::default();
    until(|| audit.is_serving());
    disclose(&audit, intent(&schema, 4));
    until(|| audit.stats().queued == 0);
    audit.close();
    let report = read::verify(dir.path()).unwrap();
    assert_eq!((report.intents, report.closings, report.open), (2, 2, 0), "the durable ones, closed");
    let entries = all(dir.path(), Some(&key()));
    assert!(the_intent(&entries[0]).sealed.is_some());
    // And the next process agrees.
    let (audit, opened) = open(dir.path());
    assert_eq!(opened.records, 4);
    audit.close();
    read::verify(dir.path()).unwrap()
}

#[test]
fn after_a_failed_fdatasync_the_segment_is_abandoned() {
    let report = survives(|faults| faults.sync = true);
    assert_eq!(report.torn.len(), 1, "the report names it");
    assert_eq!((report.torn[0].segment.as_str(), report.torn[0].bytes), ("0000000001.log", 0));
}

#[test]
fn a_batch_that_may_or_may_not_be_there_does_not_count() {
    let report = survives(|faults| (faults.sync, faults.abandon) = (true, true));
    assert!(report.torn[0].bytes > 42);
}

#[test]
fn after_a_failed_write_the_segment_is_abandoned() {
    let report = survives(|faults| (faults.append, faults.abandon) = (Some(30), true));
    assert_eq!(report.torn[0].bytes, 30);
    let report = survives(|faults| faults.append = Some(30));
    assert_eq!(report.torn[0].bytes, 0);
}

#[test]
fn a_folder_that_takes_no_new_segment_keeps_the_log_closed() {
    survives(|faults| (faults.sync, faults.create) = (true, true));
}

#[test]
fn a_closing_lost_with_its_batch_is_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, faults) = failing(dir.path(), options());
    let (pending, closing) = audit.intend(intent(&schema(), 1)).unwrap();
    drop(wait(pending.durable()).unwrap());
    faults.lock().unwrap().sync = true;
    closing.close(Outcome::Complete(shown()));
    until(|| !audit.is_serving());
    assert_eq!(audit.stats().queued, 1, "its slot stays its own");
    faults.lock().unwrap().sync = false;
    until(|| audit.is_serving() && audit.stats().queued == 0);
    audit.close();
    let report = read::verify(dir.path()).unwrap();
    assert_eq!((report.intents, report.closings), (1, 1));
}

#[test]
fn a_disk_that_is_well_again_gets_the_lost_closings_at_the_last_moment() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, faults) = failing(dir.path(), options());
    let (pending, closing) = audit.intend(intent(&schema(), 1)).unwrap();
    drop(wait(pending.durable()).unwrap());
    faults.lock().unwrap().sync = true;
    closing.close(Outcome::Complete(shown()));
    until(|| !audit.is_serving());
    faults.lock().unwrap().sync = false;
    audit.close();
    let report = read::verify(dir.path()).unwrap();
    assert_eq!((report.intents, report.closings, report.closed), (1, 1, true));
}

#[test]
fn a_full_disk_closes_the_log_but_not_what_is_under_way() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, faults) = failing(dir.path(), Options { min_free_bytes: 1000, ..options() });
    let (pending, closing) = audit.intend(intent(&schema(), 1)).unwrap();
    drop(wait(pending.durable()).unwrap());
    faults.lock().unwrap().free = Some(999);
    until(|| !audit.is_serving());
    assert_eq!(audit.intend(intent(&schema(), 2)).err(), Some(Unavailable::DiskFull));
    assert!(audit.stats().free_share() < 0.001);
    closing.close(Outcome::Complete(shown()));
    until(|| audit.stats().queued == 0);
    faults.lock().unwrap().free = Some(1000);
    until(|| audit.is_serving());
    disclose(&audit, intent(&schema(), 3));
    audit.close();
    let report = read::verify(dir.path()).unwrap();
    assert_eq!((report.intents, report.closings, report.segments), (2, 2, 1));
}

#[test]
fn a_disk_that_fails_at_the_start_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), b"").unwrap();
    let found = Audit::open(&dir.path().join("file/audit"), options(), key(), clock()).unwrap_err();
    assert!(matches!(found, AuditError::Io { .. }), "{found}");
}

#[test]
fn a_log_that_cannot_be_read_is_not_called_broken() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, _) = open(dir.path());
    audit.close();
    // A segment that is a folder: reading it fails, and says nothing of what was written.
    let segment = dir.path().join("0000000001.log");
    std::fs::remove_file(&segment).unwrap();
    std::fs::create_dir(&segment).unwrap();
    let found = Audit::open(dir.path(), options(), key(), clock()).unwrap_err();
    let said = found.to_string();
    assert!(matches!(found, AuditError::Io { .. }), "{said}");
    assert!(said.contains("0000000001.log`: Is a directory") && !said.contains("move it away"), "{said}");
}

#[test]
fn an_action_that_is_not_durable_is_said_not_to_be() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, faults) = failing(dir.path(), options());
    let action = || Action {
        by: "linh".to_owned(),
        what: "suspend".to_owned(),
        target: "agency bank-a".to_owned(),
        reason: String::new(),
        until: None,
    };
    faults.lock().unwrap().sync = true;
    assert_eq!(audit.act(action()).unwrap().durable(), Err(Unavailable::DiskFails));
    until(|| !audit.is_serving());
    assert_eq!(audit.act(action()).err(), Some(Unavailable::DiskFails));
    *faults.lock().unwrap() = Faults::default();
    until(|| audit.is_serving());
    assert_eq!(audit.act(action()).unwrap().durable(), Ok(()));
    until(|| audit.stats().queued == 0);
    audit.close();
    assert_eq!(read::verify(dir.path()).unwrap().actions, 1);
}
