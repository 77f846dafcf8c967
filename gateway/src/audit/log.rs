//! The chain: walks a log from segment to segment and believes nothing that its hashes do not bear out.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use popgate_policy::model::DisclosureId;

use super::decode::{Decoder, Entry, Schema, What};
use super::key::AuditKey;
use super::storage::{file_name, segments};
use super::wire::{Flaw, Frame, Hash, Header, Kind, Next, may_be_one_write, next_batch};

/// Where a log is broken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{wrong} at byte {offset} of {segment}")]
pub struct Damage {
    /// The segment's file name.
    pub segment: String,
    /// Bytes from its start.
    pub offset: u64,
    /// What is wrong there.
    pub wrong: Wrong,
}

/// What is wrong with a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wrong {
    /// A batch is not what was written.
    Hash,
    /// A batch holds what no writer writes.
    Frame,
    /// A file does not begin like a segment.
    Header,
    /// A segment continues another one than the file before it, or is named as another.
    Order,
    /// A segment continues another state of the log than the segment before it ends with.
    Link,
    /// A segment ends before the place where the next one says it does.
    Short,
    /// A segment goes on after the place where the next one says it ends.
    Excess,
    /// A closing names an intent that is not open.
    Closing,
    /// A file cannot be read: nothing is known of what it holds.
    Unreadable(Unread),
}

/// Why a file could not be read, in the system's own words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unread {
    kind: io::ErrorKind,
    code: Option<i32>,
}

impl From<&io::Error> for Unread {
    fn from(error: &io::Error) -> Self {
        Self { kind: error.kind(), code: error.raw_os_error() }
    }
}

impl From<Unread> for io::Error {
    fn from(unread: Unread) -> Self {
        unread.code.map_or_else(|| Self::from(unread.kind), Self::from_raw_os_error)
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hash => "hash mismatch in the batch",
            Self::Frame => "malformed frame in the batch",
            Self::Header => "not the header of a segment",
            Self::Order => "the segment that this one continues is missing",
            Self::Link => "the segment continues another log",
            Self::Short => "the segment ends too early",
            Self::Excess => "something was appended to a finished segment",
            Self::Closing => "a closing without an open intent",
            Self::Unreadable(unread) => return write!(f, "cannot be read ({})", io::Error::from(*unread)),
        })
    }
}

/// The end of a segment that a stopped writer left: not part of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Torn {
    /// The segment's file name.
    pub segment: String,
    /// Where the log ends in it.
    pub offset: u64,
    /// How many bytes are after that; 0 if they could be cut off.
    pub bytes: u64,
}

impl fmt::Display for Torn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "torn tail: {} bytes after byte {} of {} are no part of the log",
            self.bytes, self.offset, self.segment
        )
    }
}

/// How the end of the last segment is judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Judge {
    /// As an auditor: a batch that is there to its end, but is not right, is damage.
    Audit,
    /// As the next writer: it may be the remains of one write that lost power under way, which nobody was told was durable.
    Recovery,
}

/// Where the chain stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail {
    pub(super) number: u64,
    pub(super) end: u64,
    /// Whether there are bytes after `end`.
    pub(super) torn: bool,
    pub(super) hash: Hash,
    pub(super) next_seq: u64,
}

/// A batch that the chain bears out.
pub(super) struct Batch {
    pub(super) entries: Vec<Entry>,
}

/// Walks a log, batch by batch.
pub(super) struct Walker {
    dir: PathBuf,
    key: Option<AuditKey>,
    judge: Judge,
    waiting: VecDeque<Segment>,
    current: Option<Current>,
    /// Whether older segments are passed over.
    amid: bool,
    first_seq: u64,
    open: HashMap<u64, (DisclosureId, Arc<Schema>)>,
    /// Where the chain stands after the last batch.
    pub(super) tail: Tail,
    /// What stopped and failed writes left.
    pub(super) torn: Vec<Torn>,
    /// Segments that have no durable batch.
    pub(super) unborn: Vec<u64>,
    /// Segments walked.
    pub(super) segments: u64,
    /// Whether the last batch closes the log.
    pub(super) sealed: bool,
}

struct Segment {
    number: u64,
    /// Not read yet, if `None`.
    bytes: Option<(Header, Vec<u8>)>,
}

struct Current {
    number: u64,
    bytes: Vec<u8>,
    at: usize,
    decoder: Decoder,
}

impl Walker {
    /// Prepares to walk the newest segments, up to `newest` bytes of them (the last one whatever it takes).
    pub(super) fn new(dir: &Path, key: Option<&AuditKey>, judge: Judge, newest: u64) -> Result<Self, Damage> {
        let unreadable = |at: &Path, error: &io::Error| Damage {
            segment: at.display().to_string(),
            offset: 0,
            wrong: Wrong::Unreadable(error.into()),
        };
        let (mut numbers, _) = segments(dir).map_err(|error| unreadable(dir, &error))?;
        let mut walker = Self {
            dir: dir.to_owned(),
            key: key.cloned(),
            judge,
            waiting: VecDeque::new(),
            current: None,
            amid: false,
            first_seq: 1,
            open: HashMap::new(),
            tail: Tail { next_seq: 1, ..Tail::default() },
            torn: Vec::new(),
            unborn: Vec::new(),
            segments: 0,
            sealed: false,
        };
        while let Some(last) = numbers.pop() {
            if let Some(segment) = walker.born(last)? {
                walker.waiting.push_front(segment);
                break;
            }
        }
        let mut bytes = 0;
        while let Some(number) = numbers.pop() {
            let path = dir.join(file_name(number));
            bytes += std::fs::metadata(&path).map_err(|error| unreadable(&path, &error))?.len();
            if bytes > newest {
                walker.amid = true;
                break;
            }
            walker.waiting.push_front(Segment { number, bytes: None });
        }
        Ok(walker)
    }

    /// The next batch; `None` at the log's end.
    pub(super) fn batch(&mut self) -> Result<Option<Batch>, Damage> {
        loop {
            let Some(mut current) = self.current.take() else {
                match self.waiting.pop_front() {
                    Some(segment) => self.enter(segment)?,
                    None => return Ok(None),
                }
                continue;
            };
            if self.ends_here(&current)? {
                continue;
            }
            let step = next_batch(&current.bytes, current.at, &self.tail.hash);
            let (frames, end, hash) = match step {
                Next::Batch { frames, end, hash } => (frames, end, hash),
                Next::End => {
                    self.last(&current, Wrong::Short)?;
                    continue;
                }
                Next::Torn => {
                    self.last(&current, Wrong::Short)?;
                    self.leave_torn(&current);
                    continue;
                }
                Next::Damaged(flaw) => {
                    self.last(&current, flaw.into())?;
                    let rest = current.bytes.get(current.at..).unwrap_or_default();
                    if self.judge == Judge::Audit || !may_be_one_write(rest) {
                        return Err(damage(current.number, current.at, flaw.into()));
                    }
                    self.leave_torn(&current);
                    continue;
                }
            };
            let entries = self.entries(current.number, &mut current.decoder, &frames)?;
            current.at = end;
            self.tail.end = end as u64;
            self.tail.hash = hash;
            self.current = Some(current);
            return Ok(Some(Batch { entries }));
        }
    }

    /// The numbers of the intents without a closing.
    pub(super) fn open(&self) -> impl Iterator<Item = u64> {
        self.open.keys().copied()
    }

    /// Begins a segment, whose header MUST continue where the chain stands.
    fn enter(&mut self, segment: Segment) -> Result<(), Damage> {
        let number = segment.number;
        let (header, bytes) = match segment.bytes {
            Some(read) => read,
            None => self.read(number)?,
        };
        if self.amid && self.segments == 0 {
            self.tail.number = header.previous;
            self.tail.hash = header.previous_hash;
            self.tail.next_seq = header.first_seq;
            self.first_seq = header.first_seq;
        }
        if header.number != number || header.previous != self.tail.number {
            return Err(damage(number, 0, Wrong::Order));
        }
        if header.previous_hash != self.tail.hash || header.first_seq != self.tail.next_seq {
            return Err(damage(number, 0, Wrong::Link));
        }
        let decoder = Decoder::new(&header, self.key.as_ref());
        self.segments += 1;
        self.tail.number = number;
        self.tail.end = 0;
        self.tail.torn = false;
        self.current = Some(Current { number, bytes, at: 0, decoder });
        Ok(())
    }

    /// Whether the next segment says that this one ends here. Leaves the segment then.
    fn ends_here(&mut self, current: &Current) -> Result<bool, Damage> {
        let Some(number) = self.waiting.front().map(|next| next.number) else { return Ok(false) };
        if self.waiting.front().is_some_and(|next| next.bytes.is_none()) {
            let read = self.read(number)?;
            if let Some(next) = self.waiting.front_mut() {
                next.bytes = Some(read);
            }
        }
        let Some((header, _)) = self.waiting.front().and_then(|next| next.bytes.as_ref()) else { return Ok(false) };
        if header.previous != current.number {
            return Err(damage(number, 0, Wrong::Order));
        }
        if current.at == 0 || (current.at as u64) < header.previous_end {
            return Ok(false);
        }
        if current.at as u64 != header.previous_end {
            return Err(damage(number, 0, Wrong::Link));
        }
        if header.previous_torn {
            self.leave_torn(current);
        } else if current.bytes.len() > current.at {
            return Err(damage(current.number, current.at, Wrong::Excess));
        }
        Ok(true)
    }

    /// A segment whose bytes end here MUST be the last one; else `wrong` is what is wrong with it.
    fn last(&self, current: &Current, wrong: Wrong) -> Result<(), Damage> {
        if self.waiting.is_empty() { Ok(()) } else { Err(damage(current.number, current.at, wrong)) }
    }

    fn leave_torn(&mut self, current: &Current) {
        self.tail.torn = true;
        self.torn.push(Torn {
            segment: file_name(current.number),
            offset: current.at as u64,
            bytes: (current.bytes.len() - current.at) as u64,
        });
    }

    fn entries(&mut self, number: u64, decoder: &mut Decoder, frames: &[Frame<'_>]) -> Result<Vec<Entry>, Damage> {
        let mut entries = Vec::with_capacity(frames.len());
        self.sealed = false;
        for frame in frames {
            self.sealed = frame.kind == Kind::Seal;
            let entry = decoder.frame(frame, self.tail.next_seq);
            let Some(mut entry) = entry.map_err(|()| damage(number, frame.at, Wrong::Frame))? else { continue };
            if frame.kind.is_record() {
                self.tail.next_seq = self.tail.next_seq.saturating_add(1);
            }
            match &mut entry.what {
                What::Intent(intent) => {
                    self.open.insert(entry.seq, (intent.disclosure, Arc::clone(&intent.schema)));
                }
                What::Closing(closing) => match self.open.remove(&closing.intent) {
                    Some((disclosure, schema)) => {
                        closing.disclosure = Some(disclosure);
                        closing.schema = Some(schema);
                    }
                    // The intent may be older than what is walked.
                    None if closing.intent < self.first_seq => {}
                    None => return Err(damage(number, frame.at, Wrong::Closing)),
                },
                What::Refused(_) | What::Action(_) => {}
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    /// A segment's bytes, if its own first batch bears its header out.
    fn read(&self, number: u64) -> Result<(Header, Vec<u8>), Damage> {
        let bytes = std::fs::read(self.dir.join(file_name(number)))
            .map_err(|error| damage(number, 0, Wrong::Unreadable((&error).into())))?;
        let header = Header::read(&bytes).ok_or_else(|| damage(number, 0, Wrong::Header))?;
        match next_batch(&bytes, 0, &header.previous_hash) {
            Next::Batch { .. } => Ok((header, bytes)),
            Next::Damaged(flaw) => Err(damage(number, 0, flaw.into())),
            Next::End | Next::Torn => Err(damage(number, 0, Wrong::Short)),
        }
    }

    /// The last segment, unless its first batch never became durable.
    fn born(&mut self, number: u64) -> Result<Option<Segment>, Damage> {
        let bytes = match std::fs::read(self.dir.join(file_name(number))) {
            Ok(bytes) => bytes,
            // The writer took back a segment whose first write failed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(damage(number, 0, Wrong::Unreadable((&error).into()))),
        };
        let header = Header::read(&bytes);
        let previous = header.as_ref().map_or(Hash::default(), |header| header.previous_hash);
        match (next_batch(&bytes, 0, &previous), header) {
            (Next::Batch { .. }, Some(header)) => return Ok(Some(Segment { number, bytes: Some((header, bytes)) })),
            (Next::Damaged(flaw), _) if self.judge == Judge::Audit || !may_be_one_write(&bytes) => {
                return Err(damage(number, 0, flaw.into()));
            }
            _ => {}
        }
        self.unborn.push(number);
        if !bytes.is_empty() {
            self.torn.push(Torn { segment: file_name(number), offset: 0, bytes: bytes.len() as u64 });
        }
        Ok(None)
    }
}

impl From<Flaw> for Wrong {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::Header => Self::Header,
            Flaw::Frame => Self::Frame,
            Flaw::Commit => Self::Hash,
        }
    }
}

fn damage(number: u64, offset: usize, wrong: Wrong) -> Damage {
    Damage { segment: file_name(number), offset: offset as u64, wrong }
}
