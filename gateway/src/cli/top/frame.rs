//! One frame as rows of text, for a screen of any size. What has no room is counted; below 20 rows the tables are cut off.

use std::collections::BTreeMap;

use super::Sort;
use super::figures::{Cache, Connections, Due, Figures, Operation, Register, Requests, State, Suspended};

/// What stands in the first row, and how operations are sorted.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) node: String,
    pub(super) note: String,
    pub(super) sort: Sort,
}

/// How much there may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

/// A row, no wider than the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) tone: Tone,
    pub(super) text: String,
}

/// What a row is shown like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Heading,
    Alarm,
    /// To be known, and no alarm.
    Notice,
    Faint,
}

impl Size {
    /// For what is no screen.
    pub(super) const ENDLESS: Self = Self { columns: usize::MAX, rows: usize::MAX };
}

impl Row {
    pub(super) fn new(tone: Tone, text: &str, size: Size) -> Self {
        Self { tone, text: cut(text, size.columns) }
    }

    /// A sentence too long for one row, broken between words; at most four rows.
    pub(super) fn broken(tone: Tone, title: &str, text: &str, size: Size) -> Vec<Self> {
        let mut lines = vec![format!("{title:<INDENT$}")];
        for word in text.split(' ') {
            let width = |line: &String| line.chars().count();
            match lines.last_mut() {
                Some(line) if width(line) <= INDENT || width(line) + 1 + word.chars().count() <= size.columns => {
                    line.push_str(if width(line) <= INDENT { "" } else { " " });
                    line.push_str(word);
                }
                _ => lines.push(format!("{:<INDENT$}{word}", "")),
            }
        }
        lines.iter().take(4).map(|line| Self::new(tone, line, size)).collect()
    }
}

/// The rows of a frame.
pub(super) fn rows(head: &Head, figures: &Figures, size: Size) -> Vec<Row> {
    let mut rows = vec![Row::new(Tone::Heading, &format!("popgate top  {}  {}", head.node, head.note), size)];
    let row = |tone, title: &str, parts: Vec<String>| Row { tone, text: titled(title, &parts, size.columns) };
    let alarms = few(&figures.alarms, size.rows / 6);
    rows.extend(alarms.iter().map(|alarm| row(Tone::Alarm, "ALARM", vec![alarm.clone()])));
    match figures.alarms.len() - alarms.len() {
        0 if alarms.is_empty() => rows.push(row(Tone::Plain, "alarms", vec!["none".to_owned()])),
        0 => {}
        more => rows.push(row(Tone::Alarm, "ALARM", vec![format!("and {more} more")])),
    }
    let Figures { requests, audit, .. } = figures;
    rows.push(row(
        Tone::Plain,
        "requests",
        vec![
            format!("{:.1}/s", requests.all),
            format!("ok {:.1}", requests.ok),
            format!("refused {:.1}", requests.refused),
            format!("failed {:.1}", requests.failed),
        ],
    ));
    rows.push(row(Tone::Plain, "refusals", rates(&figures.refusals)));
    rows.push(row(Tone::Plain, "cache", cache(&figures.cache)));
    rows.push(row(
        Tone::Plain,
        "audit",
        vec![
            format!("{:.1} records/s", audit.records),
            format!("queue {:.0}", audit.queue),
            format!("sync {}", audit.sync()),
            format!("{:.0} % of the disk free", audit.disk_free_ratio * 100.0),
        ],
    ));
    rows.push(row(Tone::Plain, "connections", connections(&figures.connections)));
    for (title, by) in [("exchanges", &figures.exchanges), ("TLS 1.2", &figures.tls12)] {
        if !by.is_empty() {
            rows.push(row(Tone::Plain, title, rates(by)));
        }
    }
    let tone = if figures.suspended.is_empty() { Tone::Plain } else { Tone::Notice };
    rows.push(row(tone, "suspended", suspended(&figures.suspended)));
    rows.push(row(Tone::Plain, "ends", ends(figures)));
    tables(&mut rows, head.sort, figures, size);
    rows.truncate(size.rows);
    rows
}

/// Operations, then registers, in what room there is.
fn tables(rows: &mut Vec<Row>, sort: Sort, figures: &Figures, size: Size) {
    let registers = busiest(&figures.registers);
    let operations = sorted(&figures.operations, sort);
    let names = registers.iter().map(|it| &it.name).chain(operations.iter().map(|it| &it.name));
    let longest = names.map(|name| name.chars().count()).max().unwrap_or_default();
    let width = longest.clamp(16, 60).min(size.columns.saturating_sub(NUMBERS).max(8));
    let line = |tone, name: &str, numbers: String| Row {
        tone,
        text: cut(&format!("{:<width$}{numbers}", cut(name, width)), size.columns),
    };
    let heading = |title: &str, second: &str| {
        let titles = format!("{:>9} {second:>8} {:>8} {:>9} {:>9} {:>9}", "REQ/S", "FAILED", "P50", "P95", "P99");
        [Row { tone: Tone::Plain, text: String::new() }, line(Tone::Heading, title, titles)]
    };
    let others = |all: usize, some: usize| {
        (some < all).then(|| Row::new(Tone::Faint, &format!("and {} more", all - some), size))
    };
    let mut below = Vec::new();
    if !registers.is_empty() {
        let some = few(&registers, size.rows / 6);
        below.extend(heading("REGISTER", "STATE"));
        below.extend(some.iter().map(|register| {
            let (word, tone) = match register.state {
                State::Idle => ("idle", Tone::Faint),
                State::Good => ("good", Tone::Plain),
                State::Failing => ("failing", Tone::Notice),
                State::Down => ("DOWN", Tone::Alarm),
            };
            line(tone, &register.name, numbers(register.requests, word, register.failed, &register.latency))
        }));
        below.extend(others(registers.len(), some.len()));
    }
    rows.extend(heading("OPERATION", "REFUSED"));
    let of = |name: &str, requests: &Requests| {
        let refused = format!("{:.1}", requests.refused);
        line(Tone::Plain, name, numbers(requests.all, &refused, requests.failed, &requests.latency))
    };
    if operations.is_empty() {
        rows.push(Row::new(Tone::Faint, "no requests", size));
    } else {
        rows.push(of("all", &figures.requests));
        let some = few(&operations, size.rows.saturating_sub(rows.len() + below.len()));
        rows.extend(some.iter().map(|operation| of(&operation.name, &operation.requests)));
        rows.extend(others(operations.len(), some.len()));
    }
    rows.append(&mut below);
}

fn numbers(requests: f64, second: &str, failed: f64, latency: &super::quantile::Latency) -> String {
    let [p50, p95, p99] = [latency.p50, latency.p95, latency.p99]
        .map(|quantile| quantile.map_or_else(|| "-".to_owned(), |time| time.to_string()));
    format!("{requests:>9.1} {second:>8} {failed:>8.1} {p50:>9} {p95:>9} {p99:>9}")
}

/// Those in trouble first, then those with the most requests.
fn busiest(registers: &[Register]) -> Vec<&Register> {
    let mut busiest: Vec<&Register> = registers.iter().collect();
    busiest.sort_by(|a, b| b.failed.total_cmp(&a.failed).then(b.requests.total_cmp(&a.requests)));
    busiest
}

fn sorted(operations: &[Operation], sort: Sort) -> Vec<&Operation> {
    let mut sorted: Vec<&Operation> = operations.iter().collect();
    let descending = |sorted: &mut Vec<&Operation>, of: fn(&Requests) -> f64| {
        // Those of equal rank stay in the order of their names, from frame to frame.
        sorted.sort_by(|a, b| of(&b.requests).total_cmp(&of(&a.requests)));
    };
    match sort {
        Sort::Requests => descending(&mut sorted, |it| it.all),
        Sort::Refused => descending(&mut sorted, |it| it.refused + it.failed),
        Sort::P99 => descending(&mut sorted, |it| it.latency.p99.map_or(0.0, |time| time.seconds)),
        Sort::Name => sorted.sort_by(|a, b| a.name.cmp(&b.name)),
    }
    sorted
}

fn cache(cache: &Cache) -> Vec<String> {
    let hits =
        cache.hit_ratio.map_or_else(|| "no hit, no miss".to_owned(), |ratio| format!("{:.1} % hits", ratio * 100.0));
    let mut parts = vec![hits, format!("{:.0} records", cache.entries)];
    let busy = ["hit", "meanwhile", "unknown", "miss", "validated", "stale", "collapsed", "off"].map(|result| {
        let rate = cache.requests.get(result).copied().filter(|rate| *rate > 0.0)?;
        Some(format!("{} {rate:.1}/s", if result == "off" { "not cached" } else { result }))
    });
    parts.extend(busy.into_iter().flatten());
    parts
}

fn connections(connections: &Connections) -> Vec<String> {
    let mut parts = vec![format!("{:.0} open", connections.open)];
    let new = most(&connections.new).into_iter().filter(|(_, rate)| **rate > 0.0);
    parts.extend(new.map(|(protocol, rate)| format!("new {protocol} {rate:.1}/s")));
    if parts.len() == 1 {
        parts.push("none new".to_owned());
    }
    let failed = most(&connections.failed);
    parts.extend(failed.iter().map(|(why, rate)| format!("refused {why} {rate:.1}/s")));
    parts
}

fn suspended(suspended: &[Suspended]) -> Vec<String> {
    match suspended {
        [] => vec!["nothing".to_owned()],
        some => some.iter().map(|Suspended { kind, id }| format!("{kind} {id}")).collect(),
    }
}

fn ends(figures: &Figures) -> Vec<String> {
    let certificates = figures.certificates.iter().map(|due| format!("certificate {} {}", due.name, due.left()));
    // The first only: lists are renewed by machines, one as often as another.
    let list = |due: &Due| format!("next revocation list {}", due.left());
    let list = figures.revocation_lists.first().map(list);
    let mut parts: Vec<String> = certificates.collect();
    parts.splice(parts.len().min(1)..parts.len().min(1), list);
    if parts.is_empty() { vec!["nothing that is known".to_owned()] } else { parts }
}

fn rates(by: &BTreeMap<String, f64>) -> Vec<String> {
    match most(by) {
        none if none.is_empty() => vec!["none".to_owned()],
        some => some.iter().map(|(name, rate)| format!("{name} {rate:.1}/s")).collect(),
    }
}

/// The most first.
fn most(by: &BTreeMap<String, f64>) -> Vec<(&String, &f64)> {
    let mut most: Vec<(&String, &f64)> = by.iter().collect();
    most.sort_by(|a, b| b.1.total_cmp(a.1));
    most
}

/// As many as there is room for, with a row left to count the others in.
fn few<T: Clone>(all: &[T], room: usize) -> Vec<T> {
    let some = if all.len() > room { room.saturating_sub(1).max(1) } else { all.len() };
    all.iter().take(some).cloned().collect()
}

/// A title and what stands behind it, separated by commas, as much as there is room for.
fn titled(title: &str, parts: &[String], columns: usize) -> String {
    let mut text = format!("{title:<INDENT$}");
    for (at, part) in parts.iter().enumerate() {
        let part = if at == 0 { part.clone() } else { format!(", {part}") };
        let left = parts.len() - at - 1;
        let more = if left > 0 { format!(", and {left} more") } else { String::new() };
        if at > 0 && text.chars().count() + part.chars().count() + more.chars().count() > columns {
            text.push_str(&format!(", and {} more", left + 1));
            break;
        }
        text.push_str(&part);
    }
    cut(&text, columns)
}

/// At most so many characters; controls are shown as such.
fn cut(text: &str, columns: usize) -> String {
    let shown: String = text.chars().map(|char| if char.is_control() { '?' } else { char }).collect();
    if shown.chars().count() <= columns {
        return shown;
    }
    shown.chars().take(columns.saturating_sub(1)).chain((columns > 0).then_some('…')).collect()
}

/// Where what stands behind a title begins.
const INDENT: usize = 13;
/// What the columns of numbers take.
const NUMBERS: usize = 57;

#[cfg(test)]
mod tests {
    use super::super::quantile::{Latency, Time};
    use super::*;

    fn operation(name: &str, all: f64, p99: f64) -> Operation {
        let [p50, p95, p99] = [0.000_2, 0.02, p99].map(|seconds| Some(Time::exactly(seconds)));
        let requests = Requests { all, ok: all, latency: Latency { p50, p95, p99 }, ..Requests::default() };
        Operation { name: name.to_owned(), requests }
    }

    fn register(name: &str, state: State) -> Register {
        let failed = if state == State::Down { 1.0 } else { 0.0 };
        Register { name: name.to_owned(), state, requests: failed, failed, latency: Latency::default() }
    }

    fn full() -> Figures {
        let suspended = Suspended { kind: "agency".into(), id: "with-a-long-name".into() };
        Figures {
            operations: (0..40).map(|at| operation(&format!("citizen.read-{at:02}"), f64::from(at), 0.5)).collect(),
            registers: (0..10).map(|at| register(&format!("register-{at}"), State::Idle)).collect(),
            suspended: vec![suspended; 9],
            alarms: (0..9).map(|at| format!("alarm {at}")).collect(),
            ..Figures::default()
        }
    }

    fn shown(figures: &Figures, columns: usize, rows: usize) -> Vec<String> {
        let head = Head { node: "https://gateway-1:9443".into(), note: "every 2.0 s".into(), sort: Sort::Requests };
        super::rows(&head, figures, Size { columns, rows }).into_iter().map(|row| row.text).collect()
    }

    #[test]
    fn a_frame_fits_every_screen_and_says_what_does_not() {
        for (columns, rows) in [(80, 24), (120, 40), (40, 10), (10, 3), (1, 1), (0, 0)] {
            let lines = shown(&full(), columns, rows);
            assert!(lines.len() <= rows, "{columns}x{rows}: {lines:#?}");
            assert!(lines.iter().all(|line| line.chars().count() <= columns), "{columns}x{rows}: {lines:#?}");
        }
        let lines = shown(&full(), 80, 24);
        assert!(lines.iter().any(|line| line.starts_with("suspended    agency with-a-long-name, ")));
        assert!(lines.iter().any(|line| line.ends_with(", and 7 more")), "{lines:#?}");
        assert!(lines.iter().any(|line| line.ends_with("200 µs   20.0 ms    500 ms")), "{lines:#?}");
        assert_eq!(lines.iter().filter(|line| line.starts_with("and ")).count(), 2, "{lines:#?}");
        assert!(lines.iter().any(|line| line.starts_with("citizen.read-39")), "{lines:#?}");
    }

    #[test]
    fn what_is_no_screen_gets_all_of_it() {
        let lines = shown(&full(), usize::MAX, usize::MAX);
        assert_eq!(lines.iter().filter(|line| line.starts_with("citizen.read-")).count(), 40);
        assert_eq!(lines.iter().filter(|line| line.starts_with("ALARM ")).count(), 9);
        assert_eq!(lines.iter().filter(|line| line.starts_with("register-")).count(), 10);
        assert!(lines.iter().all(|line| !line.contains("more") && line.trim_end().len() < 300), "{lines:#?}");
    }

    #[test]
    fn who_is_in_trouble_is_seen_first() {
        let mut figures = full();
        figures.registers.push(register("land", State::Down));
        let lines = shown(&figures, 80, 24);
        let at = lines.iter().position(|line| line.starts_with("REGISTER")).unwrap();
        assert!(lines[at + 1].starts_with("land") && lines[at + 1].contains("DOWN"), "{lines:#?}");
    }

    #[test]
    fn operations_are_sorted_as_wanted() {
        let operations = [operation("a", 1.0, 0.9), operation("b", 3.0, 0.1), operation("c", 2.0, 0.5)];
        let names = |sort| sorted(&operations, sort).iter().map(|it| it.name.clone()).collect::<String>();
        assert_eq!([Sort::Requests, Sort::P99, Sort::Name].map(names), ["bca", "acb", "abc"]);
    }

    #[test]
    fn a_long_sentence_is_broken_between_words() {
        let size = Size { columns: 30, rows: 24 };
        let rows = Row::broken(Tone::Alarm, "ALARM", "no answer for 4 s: cannot connect to it", size);
        let lines: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
        let indented = |text| format!("{:INDENT$}{text}", "");
        assert_eq!(lines, ["ALARM        no answer for 4", &indented("s: cannot connect"), &indented("to it")]);
    }

    #[test]
    fn a_control_in_a_name_reaches_no_terminal() {
        assert_eq!(cut("a\u{1b}[2Jb\n", 80), "a?[2Jb?");
    }
}
