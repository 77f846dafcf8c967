//! What is shown and when, in words that a person can check.

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
        Axis::Day => days(&chosen, &others),
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

fn days(chosen: &[&Class], others: &[&Class]) -> String {
    let known = |class: &&Class| match class {
        Class::Day { from, to, weekday, .. } => Some(((*from, *to), *weekday)),
        _ => None,
    };
    let mut periods: Vec<((Option<Date>, Option<Date>), Vec<i8>)> = Vec::new();
    for (period, weekday) in chosen.iter().filter_map(known) {
        match periods.iter_mut().find(|(other, _)| *other == period) {
            Some((_, weekdays)) => weekdays.extend(weekday),
            None => periods.push((period, weekday.into_iter().collect())),
        }
    }
    // Periods that follow each other and hold the same weekdays are one.
    let mut merged: Vec<((Option<Date>, Option<Date>), Vec<i8>)> = Vec::new();
    for (period, weekdays) in periods {
        match merged.last_mut().filter(|((_, end), same)| *end == period.0 && end.is_some() && *same == weekdays) {
            Some(((_, end), _)) => *end = period.1,
            None => merged.push((period, weekdays)),
        }
    }
    let every = chosen.iter().chain(others).filter_map(known).any(|(_, weekday)| weekday.is_some());
    let words = |((from, to), weekdays): &((Option<Date>, Option<Date>), Vec<i8>)| {
        let last = to.and_then(|day| day.yesterday().ok());
        let period = match (from, last) {
            (None, None) => String::new(),
            (Some(from), None) => format!("from {from}"),
            (None, Some(last)) => format!("until {last}"),
            (Some(from), Some(last)) if *from == last => format!("on {from}"),
            (Some(from), Some(last)) => format!("from {from} to {last}"),
        };
        let weekdays = if every && weekdays.len() < 7 { weekday_words(weekdays) } else { String::new() };
        [weekdays, period].into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    };
    merged.iter().map(words).collect::<Vec<_>>().join(", ")
}

fn weekday_words(weekdays: &[i8]) -> String {
    let name = |at: &i8| NAMES.get(usize::try_from(*at - 1).unwrap_or_default()).copied().unwrap_or_default();
    let (first, last) = (weekdays.first().copied().unwrap_or(1), weekdays.last().copied().unwrap_or(1));
    if weekdays.len() > 2 && usize::try_from(last - first + 1) == Ok(weekdays.len()) {
        return format!("{}-{}", name(&first), name(&last));
    }
    weekdays.iter().map(name).collect::<Vec<_>>().join(" ")
}

fn sources(chosen: &[&Class], others: &[&Class]) -> String {
    let list = |classes: &[&Class]| -> Option<Vec<String>> {
        let words = |class: &&Class| match class {
            Class::Source { within, version, .. } => {
                // The narrowest says it.
                let narrowest = within.iter().max_by_key(|network| network.prefix_len());
                let version = version.map(|version| format!("IPv{version}"));
                Some(narrowest.map(ToString::to_string).or(version)?)
            }
            _ => None,
        };
        classes.iter().map(words).collect()
    };
    match (list(chosen), list(others)) {
        (Some(named), _) => format!("from {}", named.join(" or ")),
        (None, Some(named)) => format!("not from {}", named.join(" or ")),
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
