//! What is shown and when, in words that a person can check.

use std::collections::BTreeSet;

use ipnet::IpNet;
use jiff::civil::Date;
use serde::Serialize;

use super::space::{Class, Space, Text};
use super::unknown::Axis;
use crate::model::Treatment;

/// What is shown of a field, by circumstances and record. What no case says is withheld.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Shown(pub Vec<Case>);

/// A treatment and when it is given.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Case {
    /// `revealed`, `masked (year)`, `matched` or `withheld`.
    pub treatment: String,
    /// In which circumstances, of which records; always, if `None`.
    pub when: Option<String>,
}

impl Shown {
    /// Nothing, ever.
    pub fn nothing() -> Self {
        Self(vec![Case { treatment: treatment_words(Treatment::Withhold), when: None }])
    }

    /// Whether that is nothing, ever.
    pub fn is_nothing(&self) -> bool {
        *self == Self::nothing()
    }

    /// Of the treatment at each point that was tried.
    pub(super) fn of(space: &Space, treatments: &[Treatment], rank: impl Fn(Treatment) -> usize) -> Self {
        let mut kinds: Vec<Treatment> = Vec::new();
        for treatment in treatments {
            if !kinds.contains(treatment) {
                kinds.push(*treatment);
            }
        }
        kinds.sort_by_key(|kind| rank(*kind));
        if let [only] = kinds.as_slice() {
            return Self(vec![Case { treatment: treatment_words(*only), when: None }]);
        }
        kinds.retain(|kind| *kind != Treatment::Withhold);
        let case = |kind: &Treatment| {
            let when = if space.is_whole() {
                let wanted: Vec<bool> = treatments.iter().map(|treatment| treatment == kind).collect();
                conditions(space, &wanted)
            } else {
                "in some circumstances".to_owned()
            };
            Case { treatment: treatment_words(*kind), when: Some(when) }
        };
        Self(kinds.iter().map(case).collect())
    }
}

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let case = |case: &Case| match &case.when {
            None => case.treatment.clone(),
            Some(when) => format!("{} ({when})", case.treatment),
        };
        f.write_str(&self.0.iter().map(case).collect::<Vec<_>>().join(", "))
    }
}

/// A treatment as operators call it.
pub fn treatment_words(treatment: Treatment) -> String {
    match treatment {
        Treatment::Reveal => "revealed".to_owned(),
        Treatment::Mask(mask) => format!("masked ({})", mask.as_str()),
        Treatment::Match => "matched".to_owned(),
        Treatment::Withhold => "withheld".to_owned(),
    }
}

/// Where a function over a whole space is true, in words. It is somewhere, and not everywhere.
fn conditions(space: &Space, wanted: &[bool]) -> String {
    let mut boxes = cover(space, 0, wanted);
    if wanted.len() <= MOST_TO_WIDEN {
        boxes.iter_mut().for_each(|one| widen(space, wanted, one));
        let all = boxes.clone();
        let mut at = 0;
        boxes.retain(|one| {
            at += 1;
            let within =
                |(other_at, other): (usize, &Box)| is_within(one, other) && (*one != *other || other_at + 1 < at);
            !all.iter().enumerate().any(within)
        });
    }
    let words = |one: &Box| {
        let axes = space
            .axes
            .iter()
            .zip(one)
            .filter_map(|((axis, classes), chosen)| Some(words_of(axis, classes, chosen.as_ref()?)));
        axes.collect::<Vec<_>>().join(" and ")
    };
    let more = boxes.len().saturating_sub(MOST_BOXES);
    let mut said: Vec<String> = boxes.iter().take(MOST_BOXES).map(words).collect();
    if more > 0 {
        said.push(format!("in {more} other cases"));
    }
    said.join("; or ")
}

/// By axis the chosen classes; all, if `None`.
type Box = Vec<Option<Vec<usize>>>;

/// Disjoint boxes that hold what is wanted.
fn cover(space: &Space, depth: usize, wanted: &[bool]) -> Vec<Box> {
    if !wanted.contains(&true) {
        return Vec::new();
    }
    let Some((_, classes)) = space.axes.get(depth) else { return vec![Vec::new()] };
    let parts: Vec<&[bool]> = wanted.chunks((wanted.len() / classes.len().max(1)).max(1)).collect();
    let mut groups: Vec<(&[bool], Vec<usize>)> = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        match groups.iter_mut().find(|(known, _)| known == part) {
            Some((_, members)) => members.push(at),
            None => groups.push((part, vec![at])),
        }
    }
    let all = groups.len() == 1;
    let below = |(part, members): (&[bool], Vec<usize>)| {
        let first = (!all).then_some(members);
        cover(space, depth + 1, part)
            .into_iter()
            .map(move |rest| [vec![first.clone()], rest].concat())
            .collect::<Vec<_>>()
    };
    groups.into_iter().flat_map(below).collect()
}

/// Gives up each restriction that is not needed.
fn widen(space: &Space, wanted: &[bool], one: &mut Box) {
    for axis in 0..one.len() {
        let mut wider = one.clone();
        if let Some(chosen) = wider.get_mut(axis) {
            *chosen = None;
        }
        if wanted.iter().enumerate().all(|(number, wanted)| *wanted || !holds(space, &wider, number)) {
            *one = wider;
        }
    }
}

fn holds(space: &Space, one: &Box, number: usize) -> bool {
    let mut rest = number;
    space.axes.iter().zip(one).rev().all(|((_, classes), chosen)| {
        let at = rest % classes.len().max(1);
        rest /= classes.len().max(1);
        chosen.as_ref().is_none_or(|chosen| chosen.contains(&at))
    })
}

fn is_within(one: &Box, other: &Box) -> bool {
    one.iter().zip(other).all(|(mine, theirs)| match (mine, theirs) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(mine), Some(theirs)) => mine.iter().all(|at| theirs.contains(at)),
    })
}

fn words_of(axis: &Axis, classes: &[Class], chosen: &[usize]) -> String {
    let of = |at: &usize| classes.get(*at);
    let chosen: Vec<&Class> = chosen.iter().filter_map(of).collect();
    let others: Vec<&Class> = classes.iter().filter(|class| !chosen.contains(class)).collect();
    match axis {
        Axis::Minute => minutes(&chosen),
        Axis::Day => days(classes, &chosen),
        Axis::Source => sources(&chosen, &others),
        Axis::Assurance => texts("claimed assurance", &chosen, &others),
        Axis::User => named("end user", &chosen),
        Axis::Case => named("case", &chosen),
        Axis::Record(name) if chosen.iter().chain(&others).any(|class| matches!(class, Class::Text(_))) => {
            texts(&format!("record.{name}"), &chosen, &others)
        }
        Axis::Record(name) => truths(name, &chosen),
    }
}

/// `07:00-18:00`; what goes on past midnight is one stretch.
fn minutes(chosen: &[&Class]) -> String {
    let mut stretches: Vec<(i16, i16)> = Vec::new();
    for class in chosen {
        let Class::Minutes { from, to } = class else { continue };
        match stretches.last_mut().filter(|(_, end)| end == from) {
            Some((_, end)) => *end = *to,
            None => stretches.push((*from, *to)),
        }
    }
    if let ([(0, _), .., (_, 1440)], true) = (stretches.as_slice(), stretches.len() > 1) {
        let (_, morning) = stretches.remove(0);
        if let Some((_, end)) = stretches.last_mut() {
            *end = morning;
        }
    }
    let time = |at: i16| format!("{:02}:{:02}", at / 60, at % 60);
    stretches.iter().map(|(from, to)| format!("{}-{}", time(*from), time(*to))).collect::<Vec<_>>().join(", ")
}

fn days(classes: &[Class], chosen: &[&Class]) -> String {
    // By period, in their order: the weekdays that it has and those that are chosen; 0 stands for all.
    let mut periods: Vec<(Period, BTreeSet<i8>, BTreeSet<i8>)> = Vec::new();
    for class in classes {
        let Class::Day { from, to, weekday, .. } = class else { continue };
        let period = (*from, *to);
        if periods.last().is_none_or(|(last, ..)| *last != period) {
            periods.push((period, BTreeSet::new(), BTreeSet::new()));
        }
        if let Some((_, has, wanted)) = periods.last_mut() {
            has.insert(weekday.unwrap_or_default());
            wanted.extend(chosen.contains(&class).then(|| weekday.unwrap_or_default()));
        }
    }
    // Periods that follow each other are one, if the same weekdays are chosen as far as they have them.
    let mut merged: Vec<(Period, BTreeSet<i8>, BTreeSet<i8>)> = Vec::new();
    for (period, has, wanted) in periods {
        let follows = merged.last_mut().filter(|((_, end), had, before)| {
            let both: BTreeSet<i8> = before.union(&wanted).copied().collect();
            let fits = |has: &BTreeSet<i8>, wanted: &BTreeSet<i8>| both.intersection(has).eq(wanted.iter());
            *end == period.0 && fits(had, before) && fits(&has, &wanted)
        });
        match follows {
            Some(((_, end), had, before)) => {
                *end = period.1;
                had.extend(has);
                before.extend(wanted);
            }
            None => merged.push((period, has, wanted)),
        }
    }
    let words = |((from, to), has, wanted): &(Period, BTreeSet<i8>, BTreeSet<i8>)| {
        let last = to.and_then(|day| day.yesterday().ok());
        let period = match (from, last) {
            (None, None) => String::new(),
            (Some(from), None) => format!("from {from}"),
            (None, Some(last)) => format!("until {last}"),
            (Some(from), Some(last)) if *from == last => format!("on {from}"),
            (Some(from), Some(last)) => format!("from {from} to {last}"),
        };
        let weekdays =
            if wanted == has { String::new() } else { weekday_words(&wanted.iter().copied().collect::<Vec<_>>()) };
        [weekdays, period].into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    };
    merged.iter().filter(|(_, _, wanted)| !wanted.is_empty()).map(words).collect::<Vec<_>>().join(", ")
}

/// From the first day to the day before the other.
type Period = (Option<Date>, Option<Date>);

fn weekday_words(weekdays: &[i8]) -> String {
    let name = |at: &i8| NAMES.get(usize::try_from(*at - 1).unwrap_or_default()).copied().unwrap_or_default();
    let (first, last) = (weekdays.first().copied().unwrap_or(1), weekdays.last().copied().unwrap_or(1));
    if weekdays.len() > 2 && usize::try_from(last - first + 1) == Ok(weekdays.len()) {
        return format!("{}-{}", name(&first), name(&last));
    }
    weekdays.iter().map(name).collect::<Vec<_>>().join(" ")
}

fn sources(chosen: &[&Class], others: &[&Class]) -> String {
    // The narrowest network says which class it is; one in no network is the rest.
    let narrowest = |class: &&Class| match class {
        Class::Source { within, .. } => within.iter().max_by_key(|network| network.prefix_len()).copied(),
        _ => None,
    };
    let version = |class: &&Class| match class {
        Class::Source { version, .. } => *version,
        _ => None,
    };
    let list = |classes: &[&Class], except: &[&Class]| -> Option<String> {
        let mut named: Vec<IpNet> = classes.iter().map(narrowest).collect::<Option<_>>()?;
        named.sort_unstable();
        named.dedup();
        let all = named.clone();
        named.retain(|network| !all.iter().any(|other| other != network && other.contains(network)));
        let mut holes: Vec<IpNet> = except.iter().filter_map(narrowest).collect();
        holes.retain(|hole| named.iter().any(|network| network.contains(hole)));
        holes.sort_unstable();
        holes.dedup();
        let words = |networks: &[IpNet]| networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
        Some(if holes.is_empty() { words(&named) } else { format!("{} but not {}", words(&named), words(&holes)) })
    };
    if let [Some(only), ..] = chosen.iter().map(version).collect::<Vec<_>>().as_slice()
        && chosen.iter().all(|class| version(class) == Some(*only))
        && others.iter().all(|class| version(class) != Some(*only))
    {
        return format!("by IPv{only}");
    }
    match (list(chosen, others), list(others, chosen)) {
        (Some(named), _) => format!("from {named}"),
        (None, Some(named)) => format!("not from {named}"),
        (None, None) => "from some networks".to_owned(),
    }
}

fn texts(name: &str, chosen: &[&Class], others: &[&Class]) -> String {
    let word = |class: &&Class| match class {
        Class::Text(Text::None) => Some("missing".to_owned()),
        Class::Text(Text::Literal(value)) => Some(format!("`{value}`")),
        Class::Text(Text::Own(attribute, _)) => Some(format!("the agency's own {attribute}")),
        _ => None,
    };
    let list = |classes: &[&Class]| classes.iter().map(word).collect::<Option<Vec<_>>>();
    match (list(chosen), list(others)) {
        (Some(named), _) => format!("{name} is {}", named.join(" or ")),
        (None, Some(named)) => format!("{name} is not {}", named.join(" or ")),
        (None, None) => format!("{name} is another"),
    }
}

fn named(what: &str, chosen: &[&Class]) -> String {
    let is = chosen.contains(&&Class::Truth(Some(true)));
    let article = if what.starts_with('e') { "an" } else { "a" };
    if is { format!("{article} {what} is named") } else { format!("no {what} is named") }
}

fn truths(name: &str, chosen: &[&Class]) -> String {
    let word = |class: &&Class| match class {
        Class::Truth(Some(true)) | Class::Truths(Some(true), Some(true)) => format!("record.{name}"),
        Class::Truth(Some(false)) | Class::Truths(Some(false), Some(false)) => format!("not record.{name}"),
        Class::Truths(Some(old), Some(new)) => format!("record.{name} was {old} and is {new}"),
        _ => format!("record.{name} is missing"),
    };
    let words: Vec<String> = chosen.iter().map(word).collect();
    match words.as_slice() {
        [yes, no] if *no == format!("not {yes}") => format!("{yes} is known"),
        words => words.join(" or "),
    }
}

const NAMES: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
/// The most combinations of cases that are told.
const MOST_BOXES: usize = 4;
/// The most points over which restrictions are given up one by one.
const MOST_TO_WIDEN: usize = 4_000;
