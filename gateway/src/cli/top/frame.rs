//! One frame as text: 80 columns, and as many rows as there are.

use super::Sort;
use super::figures::{Figures, Latency, Operation};

/// What stands in the first line, and how operations are sorted.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) node: String,
    pub(super) note: String,
    pub(super) sort: Sort,
}

/// The lines of a frame, at most so many: what falls off is said.
pub(super) fn lines(head: &Head, figures: &Figures, most: usize) -> Vec<String> {
    let Figures { requests, refused, latency, cache, audit, .. } = figures;
    let cached = |result: &str| cache.get(result).copied().unwrap_or_default();
    let hits = figures.hit_rate().map_or_else(|| "-".to_owned(), |rate| format!("{:.1} %", rate * 100.0));
    let protocols = figures.connections.iter().map(|(protocol, rate)| format!("{protocol} {rate:.1}/s"));
    let mut lines = vec![
        format!("popgate top  {}  {}", head.node, head.note),
        format!("requests     {requests:.1}/s, refused {refused:.1}/s, {}", quantiles(latency)),
        format!(
            "cache        hits {hits}: hit {:.1}/s, miss {:.1}/s, stale {:.1}/s, not cached {:.1}/s",
            cached("hit"),
            cached("miss"),
            cached("stale"),
            cached("off")
        ),
        format!(
            "audit        {:.1} records/s, sync {}, queue {:.0}, {:.0} % of the disk free",
            audit.records,
            time(Some(audit.sync)),
            audit.queue,
            audit.free * 100.0
        ),
        format!("connections  {:.0} open, new: {}", figures.connections_open, protocols.collect::<Vec<_>>().join(", ")),
    ];
    // Only busy registers have a row, unless there are few.
    let is_shown = |requests: f64| requests > 0.0 || figures.registers.len() <= 3;
    lines.extend(figures.registers.iter().filter(|register| is_shown(register.requests)).map(|register| {
        let (name, requests, failed) = (&register.name, register.requests, register.failed);
        format!("register     {name}: {requests:.1}/s, failed {failed:.1}/s, {}", quantiles(&register.latency))
    }));
    let suspended = if figures.suspended.is_empty() { "nothing".to_owned() } else { figures.suspended.join(", ") };
    lines.push(format!("suspended    {suspended}"));
    if figures.alarms.is_empty() {
        lines.push("alarms       none".to_owned());
    }
    lines.extend(figures.alarms.iter().map(|alarm| format!("ALARM        {alarm}")));
    let codes = figures.codes.iter().map(|(code, rate)| format!("{code} {rate:.1}/s")).collect::<Vec<_>>().join(", ");
    lines.push(format!("codes        {}", if codes.is_empty() { "none" } else { &codes }));
    lines.push(String::new());
    lines.push(format!("{:<30} {:>8} {:>8} {:>9} {:>9} {:>9}", "OPERATION", "REQ/S", "REFUSED", "P50", "P95", "P99"));
    let operations = sorted(&figures.operations, head.sort);
    let room = most.saturating_sub(lines.len());
    let shown = if operations.len() > room { room.saturating_sub(1) } else { operations.len() };
    lines.extend(operations.iter().take(shown).map(|operation| {
        let Operation { name, requests, refused, latency: Latency { p50, p95, p99 } } = operation;
        let [p50, p95, p99] = [p50, p95, p99].map(|quantile| time(*quantile));
        format!("{:<30} {requests:>8.1} {refused:>8.1} {p50:>9} {p95:>9} {p99:>9}", cut(name, 30))
    }));
    if operations.is_empty() {
        lines.push("no requests".to_owned());
    } else if shown < operations.len() {
        lines.push(format!("and {} more", operations.len() - shown));
    }
    lines.truncate(most);
    lines.iter().map(|line| cut(line, WIDTH)).collect()
}

fn sorted(operations: &[Operation], sort: Sort) -> Vec<&Operation> {
    let mut sorted: Vec<&Operation> = operations.iter().collect();
    // Those of equal rank stay in the order of their names, from frame to frame.
    match sort {
        Sort::Requests => sorted.sort_by(|a, b| b.requests.total_cmp(&a.requests)),
        Sort::Refused => sorted.sort_by(|a, b| b.refused.total_cmp(&a.refused)),
        Sort::P99 => {
            let of = |operation: &Operation| operation.latency.p99.unwrap_or_default();
            sorted.sort_by(|a, b| of(b).total_cmp(&of(a)));
        }
        Sort::Name => sorted.sort_by(|a, b| a.name.cmp(&b.name)),
    }
    sorted
}

fn quantiles(latency: &Latency) -> String {
    format!("p50 {}, p95 {}, p99 {}", time(latency.p50), time(latency.p95), time(latency.p99))
}

/// Three digits and a unit.
fn time(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(seconds) if seconds.is_infinite() => "> 2.5 s".to_owned(),
        Some(seconds) if seconds < 0.001 => format!("{:.0} µs", seconds * 1e6),
        Some(seconds) if seconds < 0.1 => format!("{:.1} ms", seconds * 1e3),
        Some(seconds) if seconds < 1.0 => format!("{:.0} ms", seconds * 1e3),
        Some(seconds) => format!("{seconds:.2} s"),
    }
}

/// At most so many characters; controls are shown as such.
fn cut(text: &str, width: usize) -> String {
    let shown: String = text.chars().map(|char| if char.is_control() { '?' } else { char }).collect();
    if shown.chars().count() <= width {
        return shown;
    }
    shown.chars().take(width - 1).chain(['…']).collect()
}

const WIDTH: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(name: &str, requests: f64, p99: f64) -> Operation {
        let latency = Latency { p50: Some(0.000_2), p95: Some(0.02), p99: Some(p99) };
        Operation { name: name.to_owned(), requests, refused: 0.0, latency }
    }

    #[test]
    fn a_frame_fits_a_small_terminal_and_says_what_does_not() {
        let operations = (0..40).map(|at| operation(&format!("citizen.read-{at:02}"), f64::from(at), 0.5)).collect();
        let suspended = vec!["agency with-a-long-name".to_owned(); 9];
        let figures = Figures { operations, suspended, ..Figures::default() };
        let head = Head { node: "https://gateway-1:9443".into(), note: "over 2.0 s".into(), sort: Sort::Requests };
        let lines = lines(&head, &figures, 24);
        assert_eq!(lines.len(), 24);
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{lines:#?}");
        assert!(lines[23].starts_with("and ") && lines.iter().any(|line| line.starts_with("citizen.read-39")));
        assert!(lines.iter().any(|line| line.ends_with("200 µs   20.0 ms    500 ms")), "{lines:#?}");
    }

    #[test]
    fn operations_are_sorted_as_wanted() {
        let operations = [operation("a", 1.0, 0.9), operation("b", 3.0, 0.1), operation("c", 2.0, 0.5)];
        let names = |sort| sorted(&operations, sort).iter().map(|it| it.name.clone()).collect::<String>();
        assert_eq!([Sort::Requests, Sort::P99, Sort::Name].map(names), ["bca", "acb", "abc"]);
    }
}
