//! Letting go of bundles that no record of the audit log names.

use jiff::SignedDuration;

use super::*;
use crate::audit::read::{self, Begun};

impl Store {
    /// Looks which of the bundles that were not in force lately no record names, and notes in the history where it found the others.
    /// Reads the segments of the time in which they were in force.
    ///
    /// # Errors
    /// If the log or the folder cannot be read: then nothing is known to be unnamed.
    pub fn unnamed(&self, history: &mut History, log: &Path) -> Result<Vec<Digest>, StoreError> {
        let recent = recent(history);
        let old: Vec<Digest> = self.digests()?.into_iter().filter(|digest| !recent.contains(digest)).collect();
        if old.is_empty() {
            return Ok(Vec::new());
        }
        let segments = read::segments(log).map_err(failed("read", log))?;
        history.named.retain(|_, number| segments.iter().any(|segment| segment.number == *number));
        let mut unnamed = Vec::new();
        for digest in old {
            if history.named.contains_key(&digest) {
                continue;
            }
            let mut found = None;
            for segment in of_its_time(&segments, history, &digest) {
                if read::names(log, segment, &digest).map_err(failed("read", log))? {
                    found = Some(segment);
                    break;
                }
            }
            match found {
                Some(segment) => {
                    history.named.insert(digest, segment);
                }
                None => unnamed.push(digest),
            }
        }
        Ok(unnamed)
    }

    /// Lets go of bundles, but for those that came into force meanwhile.
    pub fn remove(&self, unnamed: &[Digest], history: &History) {
        let recent = recent(history);
        for digest in unnamed.iter().filter(|digest| !recent.contains(digest)) {
            match fs::remove_file(self.file_of(digest)) {
                Ok(()) => tracing::info!(%digest, "a bundle that no record names is no longer kept"),
                Err(error) => tracing::warn!(%digest, %error, "a bundle that no record names cannot be removed"),
            }
        }
    }
}

/// The bundles that were in force last.
fn recent(history: &History) -> BTreeSet<Digest> {
    let mut recent = BTreeSet::new();
    for entry in history.entries.iter().rev() {
        if recent.len() == RECENT {
            break;
        }
        recent.insert(entry.digest);
        recent.extend(entry.instead_of.filter(|_| recent.len() < RECENT));
    }
    recent
}

/// The segments that were written while the bundle was in force, oldest first; all of them if that is not known.
fn of_its_time(segments: &[Begun], history: &History, digest: &Digest) -> Vec<u64> {
    let ends = history.entries.iter().skip(1).map(|entry| entry.at).map(Some).chain([None]);
    let times = history.entries.iter().zip(ends).filter(|(entry, _)| entry.digest == *digest);
    let times: Vec<(Timestamp, Option<Timestamp>)> = times.map(|(entry, end)| (entry.at, end)).collect();
    let next = segments.iter().skip(1).map(|segment| segment.at).map(Some).chain([None]);
    let within = |begun: Timestamp, end: Option<Timestamp>| {
        times.iter().any(|(from, until)| {
            let from = from.checked_sub(MARGIN).unwrap_or(Timestamp::MIN);
            let until = until.and_then(|until| until.checked_add(MARGIN).ok()).unwrap_or(Timestamp::MAX);
            begun <= until && end.is_none_or(|end| end >= from)
        })
    };
    let written = segments.iter().zip(next).filter(|(segment, end)| times.is_empty() || within(segment.at, *end));
    written.map(|(segment, _)| segment.number).collect()
}

/// A request sees one bundle from start to end, and clocks are set.
const MARGIN: SignedDuration = SignedDuration::from_hours(24);

#[cfg(test)]
mod tests {
    use super::super::history::tests::entry;
    use super::*;

    #[test]
    fn only_the_segments_of_its_time_are_looked_through() {
        let at = |day: u32| format!("2026-11-{day:02}T08:00:00Z");
        let segment = |number: u64, day: u32| Begun { number, at: at(day).parse().unwrap() };
        let segments = [segment(1, 1), segment(2, 5), segment(3, 10), segment(4, 20)];
        let mut history = History::default();
        for (byte, day) in [(1, 2), (2, 12), (1, 15)] {
            history.push(entry(byte, None, &at(day)));
        }
        assert_eq!(of_its_time(&segments, &history, &Digest([2; 32])), [3]);
        assert_eq!(of_its_time(&segments, &history, &Digest([1; 32])), [1, 2, 3, 4]);
        assert_eq!(of_its_time(&segments, &history, &Digest([9; 32])), [1, 2, 3, 4], "nobody knows when it was");
    }

    #[test]
    fn a_bundle_that_a_record_names_or_that_was_in_force_lately_is_kept() {
        let (state, log) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = Store::new(state.path());
        let bundles: Vec<Source> = (0..14).map(|n| super::super::tests::source(&format!("bundle {n}"))).collect();
        let mut history = History::default();
        for (bundle, day) in bundles.iter().zip(1..) {
            store.keep(bundle, None).unwrap();
            let at = format!("2026-11-{day:02}T08:00:00Z");
            history.push(Entry { digest: Digest::of(bundle), ..entry(0, None, &at) });
        }
        // The second one is named by a record of the log.
        let segment = read::tests::segment(1, "2026-11-01T00:00:00Z", &Digest::of(&bundles[1]));
        fs::write(log.path().join("0000000001.log"), segment).unwrap();
        let unnamed = store.unnamed(&mut history, log.path()).unwrap();
        let expected: BTreeSet<Digest> = [0, 2, 3].map(|n: usize| Digest::of(&bundles[n])).into();
        assert_eq!(unnamed.iter().copied().collect::<BTreeSet<_>>(), expected);
        // One of them comes back meanwhile.
        history.push(Entry { digest: Digest::of(&bundles[3]), ..entry(0, None, "2026-11-20T08:00:00Z") });
        store.remove(&unnamed, &history);
        let kept = store.digests().unwrap();
        assert_eq!(kept.len(), 12);
        assert!(kept.contains(&Digest::of(&bundles[1])) && kept.contains(&Digest::of(&bundles[3])));
        // The segment goes, and with it the last that named the second one.
        fs::remove_file(log.path().join("0000000001.log")).unwrap();
        let unnamed = store.unnamed(&mut history, log.path()).unwrap();
        assert!(unnamed.contains(&Digest::of(&bundles[1])), "{unnamed:?}");
        assert!(store.unnamed(&mut history, &log.path().join("none")).is_err(), "an unreadable log is no empty one");
    }
}
