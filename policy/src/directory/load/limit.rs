//! How much a system may ask.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::directory::{Limits, Rate};
use crate::document::{Node, Sheet, Span, Table, Value};

/// Reads `limits`. `operations` are the ids that may be named; `None` if they are not known.
pub(super) fn read(sheet: &mut Sheet<'_>, node: &Node, operations: Option<&[&str]>) -> Option<Limits> {
    let place = "`limits`";
    let table = sheet.table(node, place)?;
    sheet.check_keys(table, place, &["rate", "burst", "concurrent", "operations"]);
    let default = rate(sheet, table, &node.span, place);
    let concurrent = match table.node("concurrent") {
        Some(node) => positive(sheet, node, "`concurrent`"),
        None => NonZeroU32::new(CONCURRENT),
    };
    let mut limits = BTreeMap::new();
    let named = table.node("operations").and_then(|node| sheet.table(node, "`operations`"));
    for entry in named.map(|named| named.entries.as_slice()).unwrap_or_default() {
        let id = entry.key.as_str();
        if let Some(known) = operations.filter(|known| !known.contains(&id)) {
            let problem = sheet.error("unknown-operation", &entry.at, format!("there is no operation `{id}`"));
            sheet.push(problem.suggest(id, known.iter().copied()));
        }
        let place = format!("the limit of `{id}`");
        let Some(table) = sheet.table(&entry.node, &place) else { continue };
        sheet.check_keys(table, &place, &["rate", "burst"]);
        if let Some(rate) = rate(sheet, table, &entry.at, &place) {
            limits.insert(id.to_owned(), rate);
        }
    }
    Some(Limits { default: default?, operations: limits, concurrent: concurrent? })
}

fn rate(sheet: &mut Sheet<'_>, table: &Table, at: &Span, place: &str) -> Option<Rate> {
    let node = sheet.required(table, at, place, "rate")?;
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
        let problem = sheet.error("zero-rate", &node.span, format!("the rate `{typed}` lets nothing pass"));
        sheet.push(problem.help("remove the system instead, or the policies that permit it"));
        return None;
    };
    let burst = match table.node("burst") {
        Some(node) => positive(sheet, node, "`burst`")?,
        None => count,
    };
    Some(Rate { count, per, burst })
}

fn parse(typed: &str) -> Option<(u32, Duration)> {
    let (count, unit) = typed.split_once('/')?;
    let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let count = count.bytes().all(|byte| byte.is_ascii_digit()).then(|| count.parse().ok())??;
    Some((count, Duration::from_secs(*seconds)))
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
    let number = match node.value {
        Value::Integer(number) => u32::try_from(number).ok().and_then(NonZeroU32::new),
        _ => None,
    };
    if number.is_none() {
        sheet.push(sheet.error("bad-number", &node.span, format!("{what} must be a number of at least 1")));
    }
    number
}

const UNITS: [(&str, u64); 4] = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];

/// Requests in flight where the file does not say.
const CONCURRENT: u32 = 64;
