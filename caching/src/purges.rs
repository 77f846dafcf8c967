//! What was purged and when: constant time, bounded for ever, and wrong only in the safe direction.
//!
//! Purges are numbered. A cell holds the number of the last purge that fell into it; a mark falls into two cells, and was last
//! purged no later than the smaller of both says. Cells are shared by chance: a record may be taken for purged that is not, never
//! the other way, so nothing has to be forgotten. What was fetched carries the number that was the last before it was asked for.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::mark::Mark;

/// What is purged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// What was asked by that upstream request, whoever shares it.
    Upstream(Mark),
    /// What is about a person.
    Subject(Mark),
    /// What has a tag.
    Tag(Mark),
    /// What a register answered.
    Register(Mark),
    /// Everything.
    All,
}

/// What becomes of what is purged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// It must be validated before it is served again.
    Soft,
    /// It is gone.
    Hard,
}

/// A purge, as it is asked for and as nodes tell each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Purge {
    /// What is purged.
    pub scope: Scope,
    /// What becomes of it.
    pub kind: Kind,
}

/// The last purge before a fetch. MUST be taken before the request is sent: what is purged after may be in its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ticket(pub(crate) u64);

/// What a record says about itself, for purges to find it.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The register that answered.
    pub register: Mark,
    /// Whom it is about.
    pub subjects: &'a [Mark],
    /// Its tags.
    pub tags: &'a [Mark],
}

/// Whether what was fetched may be served, as far as purges say.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verdict {
    /// It was not purged.
    Fresh,
    /// It must be validated first, and MUST NOT stand in for a register that fails.
    Stale,
    /// It is gone.
    Gone,
}

/// The purges of this node; shared by its cores.
#[derive(Debug)]
pub struct Purges {
    /// The last number that was given out.
    begun: AtomicU64,
    /// How many are in their cells.
    done: AtomicU64,
    all: Cell,
    persons: Box<[Cell]>,
    tags: Box<[Cell]>,
    /// Apart: a person's purge must not by chance take a register with it.
    registers: Box<[Cell]>,
}

/// Half of a mark, and in its lowest bits the kind of cells that it falls into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Slot(u64);

#[derive(Debug, Default)]
struct Cell {
    hard: AtomicU64,
    soft: AtomicU64,
}

impl Purge {
    /// As it is sent.
    pub fn to_bytes(self) -> [u8; 18] {
        let (scope, mark) = match self.scope {
            Scope::Upstream(mark) => (b'u', mark),
            Scope::Subject(mark) => (b's', mark),
            Scope::Tag(mark) => (b't', mark),
            Scope::Register(mark) => (b'r', mark),
            Scope::All => (b'*', Mark::from_bytes([0; 16])),
        };
        let kind = match self.kind {
            Kind::Soft => b's',
            Kind::Hard => b'h',
        };
        let mut bytes = [0; 18];
        let parts = [kind, scope].into_iter().chain(mark.to_bytes());
        bytes.iter_mut().zip(parts).for_each(|(byte, part)| *byte = part);
        bytes
    }

    /// As it was sent; `None` if no purge is sent like that.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&[kind, scope], mark) = bytes.split_first_chunk()?;
        let mark = Mark::from_bytes(mark.try_into().ok()?);
        let kind = match kind {
            b's' => Kind::Soft,
            b'h' => Kind::Hard,
            _ => return None,
        };
        let scope = match scope {
            b'u' => Scope::Upstream(mark),
            b's' => Scope::Subject(mark),
            b't' => Scope::Tag(mark),
            b'r' => Scope::Register(mark),
            b'*' => Scope::All,
            _ => return None,
        };
        Some(Self { scope, kind })
    }
}

impl Purges {
    /// None yet; 16 bytes for each of 2 to the power of `bits` cells for persons and requests, and a quarter of that for tags.
    pub fn new(bits: u32) -> Self {
        let cells = |bits: u32| (0..1_usize << bits.clamp(4, 30)).map(|_| Cell::default()).collect();
        Self {
            begun: AtomicU64::new(0),
            done: AtomicU64::new(0),
            all: Cell::default(),
            persons: cells(bits),
            tags: cells(bits.saturating_sub(2)),
            registers: cells(12),
        }
    }

    /// The ticket of a fetch that is sent from now on.
    pub fn ticket(&self) -> Ticket {
        Ticket(self.begun.load(Ordering::SeqCst))
    }

    /// Purges; every lookup that begins after this returns sees it, on every core.
    pub fn purge(&self, purge: Purge) {
        let number = self.begin();
        self.write(purge, number);
        self.finish();
    }

    /// Whether what was fetched with that ticket may be served.
    pub fn judge(&self, ticket: Ticket, upstream: Mark, about: About<'_>) -> Verdict {
        self.judge_slots(ticket, &slots(upstream, about))
    }

    /// How many purges there were.
    pub fn count(&self) -> u64 {
        self.done.load(Ordering::SeqCst)
    }

    /// The purge has its number: what is fetched from now on is newer than it.
    pub(crate) fn begin(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn write(&self, purge: Purge, number: u64) {
        let write = |cell: &Cell| {
            let generation = match purge.kind {
                Kind::Soft => &cell.soft,
                Kind::Hard => &cell.hard,
            };
            generation.fetch_max(number, Ordering::SeqCst);
        };
        let slot = match purge.scope {
            Scope::Upstream(mark) | Scope::Subject(mark) => Slot::of(mark, PERSONS),
            Scope::Tag(mark) => Slot::of(mark, TAGS),
            Scope::Register(mark) => Slot::of(mark, REGISTERS),
            Scope::All => return write(&self.all),
        };
        self.cells(slot).into_iter().flatten().for_each(write);
    }

    /// Writes one of the two cells, for schedules that stop between them.
    #[cfg(test)]
    pub(crate) fn write_half(&self, purge: Purge, number: u64, half: usize) {
        let (slot, kind) = match purge.scope {
            Scope::Upstream(mark) | Scope::Subject(mark) => (Slot::of(mark, PERSONS), purge.kind),
            Scope::Tag(mark) => (Slot::of(mark, TAGS), purge.kind),
            Scope::Register(mark) => (Slot::of(mark, REGISTERS), purge.kind),
            Scope::All => return self.write(purge, number),
        };
        if let Some(cell) = self.cells(slot)[half] {
            let generation = if kind == Kind::Soft { &cell.soft } else { &cell.hard };
            generation.fetch_max(number, Ordering::SeqCst);
        }
    }

    /// Lookups that saw this count saw the purge. It MUST come after the cells are written: a reader remembers the count.
    pub(crate) fn finish(&self) {
        self.done.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn judge_slots(&self, ticket: Ticket, slots: &[Slot]) -> Verdict {
        let mut verdict = self.all.verdict(ticket);
        for slot in slots {
            if verdict == Verdict::Gone {
                break;
            }
            let [one, other] = self.cells(*slot).map(|cell| cell.map_or(Verdict::Fresh, |cell| cell.verdict(ticket)));
            // Purged only if both cells say so. A cell that both purges fell into, soft and hard, counts as the harder.
            verdict = verdict.max(one.min(other));
        }
        verdict
    }

    fn cells(&self, slot: Slot) -> [Option<&Cell>; 2] {
        let cells = match slot.0 & 3 {
            REGISTERS => &self.registers,
            TAGS => &self.tags,
            _ => &self.persons,
        };
        // Two ranges of bits of an even hash; the lowest two are the kind. There is always a power of two of cells.
        let mask = cells.len().wrapping_sub(1);
        [slot.0 >> 2, slot.0 >> 33].map(|bits| cells.get(bits as usize & mask))
    }
}

impl Slot {
    fn of(mark: Mark, kind: u64) -> Self {
        Self(mark.halves().1 & !3 | kind)
    }
}

impl Cell {
    fn verdict(&self, ticket: Ticket) -> Verdict {
        if self.hard.load(Ordering::SeqCst) > ticket.0 {
            Verdict::Gone
        } else if self.soft.load(Ordering::SeqCst) > ticket.0 {
            Verdict::Stale
        } else {
            Verdict::Fresh
        }
    }
}

pub(crate) fn slots(upstream: Mark, about: About<'_>) -> Box<[Slot]> {
    let persons = about.subjects.iter().map(|mark| Slot::of(*mark, PERSONS));
    let tags = about.tags.iter().map(|mark| Slot::of(*mark, TAGS));
    [Slot::of(about.register, REGISTERS), Slot::of(upstream, PERSONS)].into_iter().chain(persons).chain(tags).collect()
}

const REGISTERS: u64 = 0;
const PERSONS: u64 = 1;
const TAGS: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mark::Marker;

    #[test]
    fn a_purge_reaches_what_was_fetched_before_and_nothing_that_is_fetched_after() {
        let marker = Marker::new(&[7; 16]);
        let (subjects, tags) = ([marker.subject(b"1")], [marker.tag(b"r", b"t")]);
        let about = About { register: marker.register(b"r"), subjects: &subjects, tags: &tags };
        let upstream = marker.upstream(&[b"/1"]);
        let reached = [
            Scope::Upstream(upstream),
            Scope::Subject(subjects[0]),
            Scope::Tag(tags[0]),
            Scope::Register(about.register),
            Scope::All,
        ];
        let purges = Purges::new(16);
        for scope in reached {
            for (kind, verdict) in [(Kind::Soft, Verdict::Stale), (Kind::Hard, Verdict::Gone)] {
                let ticket = purges.ticket();
                assert_eq!(purges.judge(ticket, upstream, about), Verdict::Fresh);
                let purge = Purge { scope, kind };
                assert_eq!(Purge::from_bytes(&purge.to_bytes()), Some(purge));
                purges.purge(purge);
                assert_eq!(purges.judge(ticket, upstream, about), verdict, "{purge:?}");
                assert_eq!(purges.judge(purges.ticket(), upstream, about), Verdict::Fresh);
            }
        }
        let ticket = purges.ticket();
        let others = [Scope::Subject(marker.subject(b"2")), Scope::Tag(marker.tag(b"q", b"t"))];
        others.into_iter().for_each(|scope| purges.purge(Purge { scope, kind: Kind::Hard }));
        assert_eq!(purges.judge(ticket, upstream, about), Verdict::Fresh);
        assert_eq!(Purge::from_bytes(b"x"), None);
    }

    #[test]
    fn however_many_purges_none_is_forgotten_and_few_reach_others() {
        let marker = Marker::new(&[7; 16]);
        let purges = Purges::new(16);
        let ticket = purges.ticket();
        let subject = |n: u32| marker.subject(&n.to_le_bytes());
        (0..1000).for_each(|n| purges.purge(Purge { scope: Scope::Subject(subject(n)), kind: Kind::Hard }));
        let gone = |n| {
            let about = About { register: marker.register(b"r"), subjects: &[subject(n)], tags: &[] };
            purges.judge(ticket, marker.upstream(&[&n.to_le_bytes()]), about) == Verdict::Gone
        };
        assert!((0..1000).all(gone));
        // Two marks, each by chance with (2000 / 65,536)^2.
        let by_chance = (1000..101_000).filter(|n| gone(*n)).count();
        assert!((50..400).contains(&by_chance), "{by_chance}");
    }
}
