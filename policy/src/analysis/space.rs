//! The circumstances and records that conditions can tell apart: one value of each class, and every combination of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use jiff::ToSpan as _;
use jiff::civil::Date;

use super::unknown::{Axis, Uses};
use crate::contract::{Attribute, Derive, RecordSchema};
use crate::directory::{Agency, Purpose, Requirement};
use crate::engine::Fact;
use crate::permit::Env;

/// Every combination of one value a class. Numbered; the last axis turns fastest.
#[derive(Debug)]
pub(super) struct Space {
    pub(super) axes: Vec<(Axis, Vec<Class>)>,
    /// Why the classes may not be all there are; empty if they are.
    pub(super) unsure: BTreeSet<String>,
}

/// Values that no condition can tell apart, and one of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Class {
    /// From the first day to the day before the other, of one weekday (Monday is 1) if they matter.
    Day {
        some: Date,
        from: Option<Date>,
        to: Option<Date>,
        weekday: Option<i8>,
    },
    /// From the first minute of the day to before the other.
    Minutes {
        from: i16,
        to: i16,
    },
    /// An address, the networks that are asked about and hold it, and the version of IP if it matters.
    Source {
        some: IpAddr,
        within: Vec<IpNet>,
        version: Option<u8>,
    },
    /// A text that is compared with, another one, or none.
    Text(Text),
    Truth(Option<bool>),
    /// Two attributes of one name in two bundles, taken from a person of one age.
    Truths(Option<bool>, Option<bool>),
}

/// The class of a text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Text {
    None,
    Literal(String),
    /// The agency's own attribute of that name.
    Own(String, String),
    Other(String),
}

/// Who asks for what, of the old and of the new bundle.
pub(super) struct Asker<'a> {
    pub(super) agency: [Option<&'a Agency>; 2],
    pub(super) purpose: [Option<&'a Purpose>; 2],
    pub(super) record: [Option<&'a RecordSchema>; 2],
}

/// One combination: circumstances and, by attribute name, what a record says in the old and in the new bundle.
pub(super) struct Point<'a> {
    pub(super) env: Env,
    record: BTreeMap<&'a str, &'a Class>,
}

impl Space {
    pub(super) fn of(uses: &Uses, asker: &Asker<'_>) -> Self {
        let mut unsure = uses.unsure.clone();
        let axes = uses.axes.iter().map(|axis| (axis.clone(), classes(axis, uses, asker, &mut unsure))).collect();
        let mut space = Self { axes, unsure };
        if space.combinations() > MOST_POINTS {
            space
                .unsure
                .insert(format!("there are {} combinations, of which {MOST_POINTS} were tried", space.combinations()));
        }
        space
    }

    /// Whether every combination is tried.
    pub(super) fn is_whole(&self) -> bool {
        self.combinations() <= MOST_POINTS
    }

    /// The numbers of the combinations to try: all, or some from everywhere.
    pub(super) fn numbers(&self) -> impl Iterator<Item = usize> {
        let all = self.combinations();
        (0..all.min(MOST_POINTS)).map(move |at| if all > MOST_POINTS { at.wrapping_mul(STRIDE) % all } else { at })
    }

    /// How many combinations share their circumstances and are numbered in a row: those of the record's axes, which are the last.
    pub(super) fn records(&self) -> usize {
        self.axes.iter().filter(|(axis, _)| matches!(axis, Axis::Record(_))).map(|(_, classes)| classes.len()).product()
    }

    pub(super) fn point(&self, number: usize) -> Point<'_> {
        let mut point = Point { env: anywhere(), record: BTreeMap::new() };
        let mut rest = number;
        for (axis, classes) in self.axes.iter().rev() {
            let class = classes.get(rest % classes.len().max(1));
            rest /= classes.len().max(1);
            if let Some(class) = class {
                point.set(axis, class);
            }
        }
        point
    }

    fn combinations(&self) -> usize {
        self.axes.iter().fold(1, |all, (_, classes)| all.saturating_mul(classes.len()))
    }
}

impl<'a> Point<'a> {
    fn set(&mut self, axis: &'a Axis, class: &'a Class) {
        match (axis, class) {
            (Axis::Record(name), class) => {
                self.record.insert(name, class);
            }
            (_, Class::Day { some, .. }) => self.env.date = *some,
            (_, Class::Minutes { from, .. }) => {
                (self.env.hour, self.env.minute) = ((from / 60) as i8, (from % 60) as i8);
            }
            (_, Class::Source { some, .. }) => self.env.source = *some,
            (Axis::Case, Class::Truth(named)) => self.env.claimed_case = *named == Some(true),
            (_, Class::Truth(named)) => self.env.claimed_user = *named == Some(true),
            (_, Class::Text(text)) => self.env.claimed_assurance = text.value().map(str::to_owned),
            (_, Class::Truths(..)) => {}
        }
    }

    /// What a record of the old (0) or new (1) bundle's schema says there.
    pub(super) fn facts(&self, record: &RecordSchema, side: usize) -> Vec<Option<Fact<'a>>> {
        let fact = |attribute: &Attribute| match self.record.get(attribute.name.as_str())? {
            Class::Text(text) => text.value().map(Fact::Text),
            Class::Truth(truth) => truth.map(Fact::Truth),
            Class::Truths(old, new) => if side == 0 { *old } else { *new }.map(Fact::Truth),
            _ => None,
        };
        record.attributes.iter().map(fact).collect()
    }
}

impl Text {
    fn value(&self) -> Option<&str> {
        match self {
            Self::None => None,
            Self::Literal(value) | Self::Own(_, value) | Self::Other(value) => Some(value),
        }
    }
}

fn classes(axis: &Axis, uses: &Uses, asker: &Asker<'_>, unsure: &mut BTreeSet<String>) -> Vec<Class> {
    match axis {
        Axis::Day => days(uses, asker),
        Axis::Minute => minutes(uses),
        Axis::Source => sources(uses),
        Axis::Assurance => texts(axis, uses, asker, asker.always(Requirement::Assurance)),
        Axis::User => truths(asker.always(Requirement::User)),
        Axis::Case => truths(asker.always(Requirement::Case)),
        Axis::Record(name) => attribute(axis, name, uses, asker, unsure),
    }
}

impl Asker<'_> {
    /// Whether every request for the purpose brings that, in both bundles.
    fn always(&self, what: Requirement) -> bool {
        let mut purposes = self.purpose.iter().flatten().peekable();
        purposes.peek().is_some() && purposes.all(|purpose| purpose.requires.contains(&what))
    }

    /// The values of an attribute of the principal.
    fn own(&self, attribute: &str) -> BTreeSet<String> {
        let of = |agency: &&Agency| match attribute {
            "province" => agency.province.clone(),
            "sector" => Some(agency.sector.clone()),
            "level" => Some(agency.level.clone()),
            _ => None,
        };
        self.agency.iter().flatten().filter_map(of).collect()
    }
}

/// Whether an end user or a case is named; always, where the purpose requires it.
fn truths(always: bool) -> Vec<Class> {
    let all = [Class::Truth(Some(true)), Class::Truth(Some(false))];
    all.into_iter().take(if always { 1 } else { 2 }).collect()
}

fn attribute(axis: &Axis, name: &str, uses: &Uses, asker: &Asker<'_>, unsure: &mut BTreeSet<String>) -> Vec<Class> {
    let known = |record: &Option<&RecordSchema>| {
        let record = (*record)?;
        let attribute = record.attributes.iter().find(|attribute| attribute.name == name)?;
        Some((attribute.derive, record.field(attribute.from)?.name.clone()))
    };
    let [old, new] = [0, 1].map(|side| asker.record.get(side).and_then(known));
    let either = [Some(true), Some(false), None];
    match (old, new) {
        (Some((Derive::Value, _)), None | Some((Derive::Value, _))) | (None, Some((Derive::Value, _))) => {
            if uses.free.contains(name) {
                unsure.insert(format!("`record.{name}` is not compared with a literal"));
            }
            texts(axis, uses, asker, false)
        }
        // Who is younger than the one is younger than the other.
        (Some((Derive::Under(old), before)), Some((Derive::Under(new), after))) if old != new && before == after => {
            let between = Class::Truths(Some(old > new), Some(new > old));
            [Some(true), Some(false), None].map(|both| Class::Truths(both, both)).into_iter().chain([between]).collect()
        }
        (Some(old), Some(new)) if old != new => {
            unsure.insert(format!("`record.{name}` means something else in the new contract"));
            either.iter().flat_map(|old| either.map(|new| Class::Truths(*old, new))).collect()
        }
        _ => either.map(Class::Truth).to_vec(),
    }
}

fn texts(axis: &Axis, uses: &Uses, asker: &Asker<'_>, always: bool) -> Vec<Class> {
    let mut classes = BTreeMap::new();
    for literal in uses.texts.get(axis).into_iter().flatten() {
        classes.insert(literal.clone(), Text::Literal(literal.clone()));
    }
    for (_, attribute) in uses.own.iter().filter(|(of, _)| of == axis) {
        for value in asker.own(attribute) {
            classes.insert(value.clone(), Text::Own(attribute.clone(), value));
        }
    }
    let mut other = "another".to_owned();
    while classes.contains_key(&other) {
        other.push('_');
    }
    let known = classes.into_values().chain([Text::Other(other)]);
    known.chain((!always).then_some(Text::None)).map(Class::Text).collect()
}

fn minutes(uses: &Uses) -> Vec<Class> {
    let mut cuts: BTreeSet<i16> =
        uses.minutes.iter().filter_map(|at| i16::try_from(*at).ok()).filter(|at| (0..1440).contains(at)).collect();
    cuts.insert(0);
    let ends = cuts.iter().skip(1).copied().chain([1440]);
    cuts.iter().zip(ends).map(|(from, to)| Class::Minutes { from: *from, to }).collect()
}

fn days(uses: &Uses, asker: &Asker<'_>) -> Vec<Class> {
    let mut cuts = uses.days.clone();
    // A purpose that is not valid gives nothing, whatever the policies say.
    for purpose in asker.purpose.iter().flatten() {
        cuts.extend(purpose.valid_from);
        cuts.extend(purpose.valid_until.and_then(|day| day.tomorrow().ok()));
    }
    let starts = std::iter::once(None).chain(cuts.iter().copied().map(Some));
    let ends = cuts.iter().copied().map(Some).chain([None]);
    let weekdays: Vec<Option<i8>> = if uses.weekdays { (1..=7).map(Some).collect() } else { vec![None] };
    let mut classes = Vec::new();
    for (from, to) in starts.zip(ends) {
        for weekday in &weekdays {
            let first = from.or_else(|| to.and_then(|to| to.checked_sub(8.days()).ok())).unwrap_or(MONDAY);
            let mut week = (0..7)
                .filter_map(|days| first.checked_add(days.days()).ok())
                .filter(|day| to.is_none_or(|to| *day < to));
            let some = week.find(|day| weekday.is_none_or(|weekday| day.weekday().to_monday_one_offset() == weekday));
            classes.extend(some.map(|some| Class::Day { some, from, to, weekday: *weekday }));
        }
    }
    classes.retain(|class| match class {
        Class::Day { some, .. } => asker.purpose.iter().flatten().any(|purpose| purpose.is_valid_on(*some)),
        _ => true,
    });
    classes
}

fn sources(uses: &Uses) -> Vec<Class> {
    let mut seen = BTreeSet::new();
    let mut candidates: Vec<IpAddr> = vec![IpAddr::V4(ELSEWHERE), IpAddr::V6(ELSEWHERE_6)];
    for network in &uses.networks {
        candidates.extend([network.network(), network.broadcast()]);
        candidates.extend([before(network.network()), after(network.broadcast())].into_iter().flatten());
    }
    let mut classes = Vec::new();
    // What is in the networks first, and what is in none last, where it is read as the rest.
    candidates.sort_by_key(|address| {
        std::cmp::Reverse(uses.networks.iter().filter(|network| network.contains(address)).count())
    });
    for some in candidates {
        let within: Vec<IpNet> = uses.networks.iter().filter(|network| network.contains(&some)).copied().collect();
        let version = uses.families.then(|| if some.is_ipv4() { 4 } else { 6 });
        if seen.insert((within.clone(), version)) {
            classes.push(Class::Source { some, within, version });
        }
    }
    classes
}

fn before(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => u32::from(address).checked_sub(1).map(|bits| Ipv4Addr::from(bits).into()),
        IpAddr::V6(address) => u128::from(address).checked_sub(1).map(|bits| Ipv6Addr::from(bits).into()),
    }
}

fn after(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => u32::from(address).checked_add(1).map(|bits| Ipv4Addr::from(bits).into()),
        IpAddr::V6(address) => u128::from(address).checked_add(1).map(|bits| Ipv6Addr::from(bits).into()),
    }
}

/// Circumstances that nobody asks about.
fn anywhere() -> Env {
    Env {
        date: MONDAY,
        hour: 12,
        minute: 0,
        source: IpAddr::V4(ELSEWHERE),
        claimed_assurance: None,
        claimed_user: false,
        claimed_case: false,
    }
}

const MONDAY: Date = jiff::civil::date(2026, 6, 15);
/// Documentation addresses (RFC 5737, RFC 3849), of classes with them in no network.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const ELSEWHERE_6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// The most combinations that are tried for one table.
pub(super) const MOST_POINTS: usize = 50_000;
/// Coprime to what products of small numbers can be: it reaches all of a space before it comes back.
const STRIDE: usize = 1_000_003;
