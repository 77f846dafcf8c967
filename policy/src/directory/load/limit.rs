//! How much a system may ask, and all systems of an agency together.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use crate::directory::{Limits, Rate, Volume};
use crate::document::{Entry, Node, Sheet, Span, Table, Value};
use crate::model::PurposeId;

/// What limits may name.
#[derive(Clone, Copy)]
pub(super) struct Names<'a> {
    /// The ids of operations; `None` if they are not known.
    pub(super) operations: Option<&'a [&'a str]>,
    /// The purposes of the agency or system.
    pub(super) purposes: &'a [PurposeId],
}

/// Reads `limits` of a system: it has a rate and a number of requests in flight in any case.
pub(super) fn of_system(sheet: &mut Sheet<'_>, node: &Node, names: Names<'_>) -> Option<Limits> {
    let table = sheet.table(node, "`limits`")?;
    let rate = sheet.required(table, &node.span, "`limits`", "rate").is_some();
    let mut limits = read(sheet, table, "`limits`", names, Kind::System);
    if !table.keys().any(|key| key == "concurrent") {
        limits.concurrent = NonZeroU32::new(CONCURRENT);
    }
    let complete = rate && limits.each.is_some() && limits.concurrent.is_some();
    complete.then_some(limits)
}

/// Reads `limits` of an agency: what it does not bound is bounded by those of its systems alone.
pub(super) fn of_agency(sheet: &mut Sheet<'_>, node: &Node, names: Names<'_>) -> Option<Limits> {
    let table = sheet.table(node, "`limits`")?;
    let limits = read(sheet, table, "`limits`", names, Kind::Agency);
    if table.entries.is_empty() {
        let problem = sheet.error("empty-limits", &node.span, "the agency's `limits` bound nothing");
        sheet.push(problem.help("say what they bound, such as `total = \"500/s\"`, or leave `limits` out"));
    }
    Some(limits)
}

/// Whose limits they are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    System,
    Agency,
    Soft,
}

impl Kind {
    fn keys(self) -> Vec<&'static str> {
        let mut keys = KEYS.to_vec();
        match self {
            Self::System => keys.extend(["connections", "soft"]),
            Self::Agency => keys.push("soft"),
            Self::Soft => {}
        }
        keys
    }
}

fn read(sheet: &mut Sheet<'_>, table: &Table, place: &str, names: Names<'_>, kind: Kind) -> Limits {
    sheet.check_keys(table, place, &kind.keys());
    if let (Some(burst), None) = (table.entry("burst"), table.node("rate")) {
        sheet.push(
            sheet.error("burst-alone", &burst.at, "a `burst` without its `rate`").help("add `rate`, or remove it"),
        );
    }
    let each = table.node("rate").and_then(|node| rate(sheet, node, table.node("burst")));
    let count =
        |sheet: &mut Sheet<'_>, key: &str| table.node(key).and_then(|node| positive(sheet, node, &format!("`{key}`")));
    let limits = Limits {
        each,
        operations: operations(sheet, table, names),
        total: table.node("total").and_then(|node| bucket(sheet, node, "`total`")),
        purposes: purposes(sheet, table, names),
        concurrent: count(sheet, "concurrent"),
        connections: count(sheet, "connections"),
        per_day: count(sheet, "per_day"),
        per_month: count(sheet, "per_month"),
        bytes: table.node("bytes").and_then(|node| volume(sheet, node)),
        persons_per_hour: count(sheet, "persons_per_hour"),
        persons_per_day: count(sheet, "persons_per_day"),
        soft: table.node("soft").and_then(|node| {
            let soft = sheet.table(node, "`soft`")?;
            Some(Box::new(read(sheet, soft, "`soft`", names, Kind::Soft)))
        }),
    };
    for (short, long) in [("persons_per_hour", "persons_per_day"), ("per_day", "per_month")] {
        let number = |key| table.node(key).and_then(|node| whole(&node.value));
        if let (Some(fewer), Some(more), Some(at)) = (number(short), number(long), table.entry(long))
            && more < fewer
        {
            let message = format!("`{long}` is less than `{short}`: the shorter one could never be reached");
            sheet.push(sheet.error("limits-crossed", &at.at, message).help("raise it, or remove the other"));
        }
    }
    limits
}

fn operations(sheet: &mut Sheet<'_>, table: &Table, names: Names<'_>) -> BTreeMap<String, Rate> {
    let check = |sheet: &mut Sheet<'_>, entry: &Entry| {
        let id = entry.key.as_str();
        if let Some(known) = names.operations.filter(|known| !known.contains(&id)) {
            let problem = sheet.error("unknown-operation", &entry.at, format!("there is no operation `{id}`"));
            sheet.push(problem.suggest(id, known.iter().copied()));
        }
    };
    named(sheet, table, "operations", check).into_iter().collect()
}

fn purposes(sheet: &mut Sheet<'_>, table: &Table, names: Names<'_>) -> BTreeMap<PurposeId, Rate> {
    let check = |sheet: &mut Sheet<'_>, entry: &Entry| {
        let id = entry.key.as_str();
        if !names.purposes.iter().any(|known| known.as_str() == id) {
            let message = format!("the purpose `{id}` is none that may be used here");
            let problem = sheet.error("foreign-purpose", &entry.at, message);
            sheet.push(problem.suggest(id, names.purposes.iter().map(PurposeId::as_str)));
        }
    };
    named(sheet, table, "purposes", check).into_iter().map(|(id, rate)| (PurposeId::new(&id), rate)).collect()
}

/// A table of rates by name.
fn named(
    sheet: &mut Sheet<'_>,
    table: &Table,
    key: &str,
    check: impl Fn(&mut Sheet<'_>, &Entry),
) -> Vec<(String, Rate)> {
    let named = table.node(key).and_then(|node| sheet.table(node, &format!("`{key}`")));
    let mut rates = Vec::new();
    for entry in named.map(|named| named.entries.as_slice()).unwrap_or_default() {
        check(sheet, entry);
        if let Some(rate) = bucket(sheet, &entry.node, &format!("the limit of `{}`", entry.key)) {
            rates.push((entry.key.clone(), rate));
        }
    }
    rates
}

/// A rate alone, or a table of it with its burst.
fn bucket(sheet: &mut Sheet<'_>, node: &Node, place: &str) -> Option<Rate> {
    if matches!(node.value, Value::Text(_)) {
        return rate(sheet, node, None);
    }
    let table = sheet.table(node, place)?;
    sheet.check_keys(table, place, &["rate", "burst"]);
    let typed = sheet.required(table, &node.span, place, "rate")?;
    rate(sheet, typed, table.node("burst"))
}

fn rate(sheet: &mut Sheet<'_>, node: &Node, burst: Option<&Node>) -> Option<Rate> {
    let typed = sheet.text(node, "`rate`")?;
    let Some((count, per)) = parse(typed) else {
        let problem = sheet.error("bad-rate", &node.span, format!("`{typed}` is not a rate"));
        let help = match closest(typed) {
            Some(rate) => format!("did you mean `{rate}`?"),
            None => "a number per second, minute, hour or day: `200/s`, `50/m`, `10/h`, `5/d`".to_owned(),
        };
        sheet.push(problem.help(help));
        return None;
    };
    let Some(count) = NonZeroU32::new(count) else {
        zero(sheet, &node.span, typed);
        return None;
    };
    let burst = match burst {
        Some(node) => positive(sheet, node, "`burst`")?,
        None => count,
    };
    Some(Rate { count, per, burst })
}

/// `10MB/s`, or a table of it with its burst.
fn volume(sheet: &mut Sheet<'_>, node: &Node) -> Option<Volume> {
    let (typed, burst) = match &node.value {
        Value::Text(_) => (node, None),
        _ => {
            let table = sheet.table(node, "`bytes`")?;
            sheet.check_keys(table, "`bytes`", &["rate", "burst"]);
            (sheet.required(table, &node.span, "`bytes`", "rate")?, table.node("burst"))
        }
    };
    let text = sheet.text(typed, "`rate`")?;
    let parsed = text.split_once('/').and_then(|(amount, unit)| Some((amount_of(amount)?, period(unit)?)));
    let Some((bytes, per)) = parsed else {
        let problem = sheet.error("bad-rate", &typed.span, format!("`{text}` is not a rate of bytes"));
        sheet.push(problem.help("an amount per second, minute, hour or day: `10MB/s`, `500MiB/h`"));
        return None;
    };
    let Some(bytes) = NonZeroU64::new(bytes) else {
        zero(sheet, &typed.span, text);
        return None;
    };
    let burst = match burst {
        Some(node) => {
            let text = sheet.text(node, "`burst`")?;
            let burst = amount_of(text).and_then(NonZeroU64::new);
            if burst.is_none() {
                let problem = sheet.error("bad-size", &node.span, format!("`{text}` is not an amount of bytes"));
                sheet.push(problem.help("such as `40MB` or `64MiB`"));
            }
            burst?
        }
        None => bytes,
    };
    Some(Volume { bytes, per, burst })
}

fn zero(sheet: &mut Sheet<'_>, at: &Span, typed: &str) {
    let problem = sheet.error("zero-rate", at, format!("the rate `{typed}` lets nothing pass"));
    sheet.push(problem.help("remove the system instead, or the policies that permit it"));
}

fn parse(typed: &str) -> Option<(u32, Duration)> {
    let (count, unit) = typed.split_once('/')?;
    let count = count.bytes().all(|byte| byte.is_ascii_digit()).then(|| count.parse().ok())??;
    Some((count, period(unit)?))
}

fn period(unit: &str) -> Option<Duration> {
    let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
    Some(Duration::from_secs(*seconds))
}

fn amount_of(typed: &str) -> Option<u64> {
    let digits = typed.find(|char: char| !char.is_ascii_digit()).unwrap_or(typed.len());
    let (count, unit) = typed.split_at_checked(digits)?;
    let (_, factor) = SIZES.iter().find(|(name, _)| *name == unit.trim_start())?;
    count.parse::<u64>().ok()?.checked_mul(*factor)
}

/// What was meant by `200 / sec`, `200 per minute`, `200`.
fn closest(typed: &str) -> Option<String> {
    let digits = typed.trim().find(|char: char| !char.is_ascii_digit()).unwrap_or(typed.trim().len());
    let (count, rest) = typed.trim().split_at_checked(digits)?;
    let rest = rest.trim().trim_start_matches('/').trim_start();
    let unit = rest.strip_prefix("per").unwrap_or(rest).trim_start().chars().next().unwrap_or('s').to_ascii_lowercase();
    let known = UNITS.iter().any(|(name, _)| name.starts_with(unit));
    (known && count.parse::<u32>().is_ok()).then(|| format!("{count}/{unit}"))
}

fn positive(sheet: &mut Sheet<'_>, node: &Node, what: &str) -> Option<NonZeroU32> {
    let number = whole(&node.value).and_then(NonZeroU32::new);
    if number.is_none() {
        sheet.push(sheet.error("bad-number", &node.span, format!("{what} must be a number of at least 1")));
    }
    number
}

fn whole(value: &Value) -> Option<u32> {
    match value {
        Value::Integer(number) => u32::try_from(*number).ok(),
        _ => None,
    }
}

/// What limits of any kind may bound.
const KEYS: [&str; 11] = [
    "rate",
    "burst",
    "operations",
    "total",
    "purposes",
    "concurrent",
    "per_day",
    "per_month",
    "bytes",
    "persons_per_hour",
    "persons_per_day",
];

const UNITS: [(&str, u64); 4] = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];

const SIZES: [(&str, u64); 8] = [
    ("", 1),
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// Requests in flight where the file does not say.
const CONCURRENT: u32 = 64;
