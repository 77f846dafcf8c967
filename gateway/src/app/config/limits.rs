//! `[limits]`, `[harvest]` and `[overload]`: what becomes of limits on this node, when a party counts as one that copies a register, and
//! when the node has too much to do.

use std::time::Duration;

use super::read;
use super::section::Section;
use crate::admit::harvest::{Action, Change, Density, Misses};

/// `[limits]`.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Whether limits refuse, or what they would refuse is only counted.
    pub enforced: bool,
}

/// `[harvest]`. How many persons a party may ask about is in its agency's file.
#[derive(Clone, Debug)]
pub struct Harvest {
    /// Whether trips have their effects, or are only told.
    pub enforced: bool,
    /// What follows where more persons are asked about than the agency's file allows.
    pub persons: Action,
    /// At so many of 100 of these it is warned.
    pub near_percent: Option<u32>,
    /// Numbers that follow each other.
    pub density: Option<Density>,
    /// Requests that find nobody.
    pub misses: Option<Misses>,
    /// More than is usual for the party.
    pub change: Option<Change>,
    /// How long a trip stays at least.
    pub hold: Duration,
}

/// `[overload]`.
#[derive(Clone, Debug)]
pub struct Overload {
    /// Whether the node watches how late it is.
    pub on: bool,
    /// Whether anything is shed, or what would be is only counted.
    pub enforced: bool,
    /// The delay of a core's loop that is overload when it stands.
    pub target: Duration,
}

pub(super) fn overload(section: Section<'_>) -> Overload {
    let modes = [("enforce", (true, true)), ("dry-run", (true, false)), ("off", (false, false))];
    let mode = section.optional("mode", |reader, value| read::one_of(reader, value, &modes));
    let (on, enforced) = mode.unwrap_or((true, true));
    let target = section.optional("target", read::duration).unwrap_or(Duration::from_millis(5));
    section.finish();
    Overload { on, enforced, target }
}

pub(super) fn parse(section: Section<'_>) -> Limits {
    let enforced = mode(&section);
    section.finish();
    Limits { enforced }
}

pub(super) fn harvest(section: Section<'_>) -> Harvest {
    let enforced = mode(&section);
    let slow = section.optional("slow", read::duration).unwrap_or(Duration::from_secs(2));
    let persons = action(&section, "persons", slow).unwrap_or(Action::Stop);
    let near_percent = section.optional("near_percent", read::count(0, 100)).unwrap_or(80);
    let hold = section.optional("hold", read::duration).unwrap_or(Duration::from_secs(900));
    // A rule whose threshold is 0 is off.
    let rule = |key: &'static str, name: &'static str, threshold: u32, least: u32| {
        let section = section.section(key);
        let threshold = section.optional(name, read::count(0, 1_000_000)).unwrap_or(threshold);
        let least = section.optional("least", read::count(1, u32::MAX)).unwrap_or(least);
        let action = action(&section, "action", slow).unwrap_or(Action::Warn);
        section.finish();
        (threshold > 0).then_some((threshold, u64::from(least), action))
    };
    let harvest = Harvest {
        enforced,
        persons,
        near_percent: (near_percent > 0).then_some(near_percent),
        density: rule("density", "persons", 3, 200).map(|(persons, least, action)| Density { persons, least, action }),
        misses: rule("misses", "percent", 50, 100).map(|(percent, least, action)| Misses { percent, least, action }),
        change: rule("change", "times", 8, 1000).map(|(times, least, action)| Change { times, least, action }),
        hold,
    };
    section.finish();
    harvest
}

fn mode(section: &Section<'_>) -> bool {
    let modes = [("enforce", true), ("dry-run", false)];
    section.optional("mode", |reader, value| read::one_of(reader, value, &modes)).unwrap_or(true)
}

fn action(section: &Section<'_>, key: &'static str, slow: Duration) -> Option<Action> {
    let known = [("warn", Action::Warn), ("slow", Action::Slow(slow)), ("stop", Action::Stop)];
    section.optional(key, |reader, value| read::one_of(reader, value, &known))
}
