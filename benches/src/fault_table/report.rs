//! What the runs found, as JSON and as tables for people.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Case, Run, SLOW, Window};

/// Everything, a member a run. `about` says of what: versions, rate, machine.
pub fn json(about: Value, runs: &[Run]) -> Value {
    json!({ "about": about, "runs": runs.iter().map(run).collect::<Vec<_>>() })
}

fn run(run: &Run) -> Value {
    json!({
        "case": run.case,
        "proxy": run.proxy,
        "fault_seconds": run.lasted.as_secs_f64(),
        "calm": window(&run.calm),
        "fault": window(&run.fault),
        "after": window(&run.after),
        "last_failure_seconds": run.last_failure.map(|it| it.as_secs_f64()),
        "last_slow_seconds": run.last_slow.map(|it| it.as_secs_f64()),
        "tries_per_request": run.tries,
        "disturbed": run.is_disturbed(),
    })
}

fn window(window: &Window) -> Value {
    let refused: serde_json::Map<String, Value> =
        window.refused.iter().map(|(status, count)| (status.to_string(), json!(count))).collect();
    json!({
        "due": window.due,
        "right": window.right,
        "wrong": window.wrong,
        "refused": refused,
        "broken": window.broken,
        "late": window.late,
        "failed_percent": window.failed_percent(),
        "p50_ms": millis(window.p50),
        "p99_ms": millis(window.p99),
        "max_ms": millis(window.most),
        "right_p99_ms": millis(window.right_p99),
        "probe_lag_p99_ms": millis(window.lag_p99),
    })
}

/// Two tables, Markdown: what clients saw while the fault lasted, and for how long it was felt. Of several runs the
/// median.
pub fn table(cases: &[Case], proxies: &[&'static str], runs: &[Run]) -> String {
    let mut text = String::new();
    let head = |text: &mut String, first: &str| {
        let _ = writeln!(text, "| {first} | {} |\n|---|{}", proxies.join(" | "), "---|".repeat(proxies.len()));
    };
    let rows = |text: &mut String, cell: &dyn Fn(&[&Run]) -> String| {
        for case in cases {
            let cells: Vec<_> = proxies
                .iter()
                .map(|proxy| {
                    let of: Vec<&Run> = runs.iter().filter(|it| it.case == case.name && it.proxy == *proxy).collect();
                    if of.is_empty() { "–".to_owned() } else { cell(&of) }
                })
                .collect();
            let _ = writeln!(text, "| {} | {} |", case.what, cells.join(" | "));
        }
    };
    text.push_str(
        "While the fault lasts: requests that failed, 99th percentile of all requests in ms, wrong answers.\n\n",
    );
    head(&mut text, "fault");
    rows(&mut text, &|of| {
        let failed = median(of.iter().map(|it| it.fault.failed_percent()));
        let p99 = median(of.iter().map(|it| millis(it.fault.p99)));
        let wrong = median(of.iter().map(|it| (it.fault.wrong + it.after.wrong) as f64));
        let wrong = if wrong > 0.0 { format!("**{wrong:.0}**") } else { "0".to_owned() };
        // Then it is not the fault alone that is seen.
        let disturbed = if of.iter().any(|it| it.is_disturbed()) { " †" } else { "" };
        format!("{} · {p99:.0} · {wrong}{disturbed}", share(failed))
    });
    if runs.iter().any(Run::is_disturbed) {
        text.push_str(DISTURBED);
    }
    let _ = write!(
        text,
        "\nFrom the begin of the fault, in seconds: the last request that was not answered rightly · the last that took \
         longer than {} ms; and requests that the register had for each of the clients', to the end of the run.\n\n",
        SLOW.as_millis()
    );
    head(&mut text, "fault");
    rows(&mut text, &|of| {
        let last = |which: fn(&Run) -> Option<Duration>| {
            let none = of.iter().all(|it| which(it).is_none());
            let last = median(of.iter().map(|it| which(it).unwrap_or_default().as_secs_f64()));
            if none { "never".to_owned() } else { format!("{last:.1}") }
        };
        let tries = median(of.iter().map(|it| it.tries));
        format!("{} · {} · ×{tries:.2}", last(|it| it.last_failure), last(|it| it.last_slow))
    });
    text.push_str(NOTES);
    text
}

/// Small shares must not look like none.
fn share(percent: f64) -> String {
    match percent {
        none if none <= 0.0 => "0 %".to_owned(),
        small if small < 0.1 => format!("{small:.2} %"),
        some => format!("{some:.1} %"),
    }
}

/// The middle one; of an even number the lower of the two. Zero of none.
pub(super) fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e5).round() / 1e2
}

const DISTURBED: &str = "\n† Disturbed: more than one of 1,000 requests failed before the fault began, or the machine had no \
                         time for the probe (20 ms).\n";
/// What must be known to read the tables fairly.
const NOTES: &str = r"
What is alike: one second try, at another endpoint; 500 ms to connect, 1 s a try; an endpoint is out after five failures
in a row; connections, certificates and threads. What is not:

- HAProxy and Envoy make no second try once an answer's head is there: what breaks off or stops later is the client's to
  notice. Then Envoy's time for one try does not hold either, only its 2 s for the whole. HAProxy is told to wait for
  the whole body (`wait-for-body`), for 1 s.
- An answer that broke off after its head is no failure for HAProxy's judgement of a server (`observe layer7`).
- Neither of them knows what a record is. A wrong answer is one that they passed on as a success.
- HAProxy brings a server back after two checks that are answered (every 2 s; they fail as requests do), the others
  after 10 s. It may put all servers out; popgate and Envoy half of them at most.
- popgate's second tries are bounded (20 % of the requests, and 3 a second), those of the others are not.
- popgate's latencies have in them that a record of each disclosure is on the disk before the answer leaves. The others
  record nothing.
";

#[cfg(test)]
mod tests {
    use super::super::cases;
    use super::*;

    #[test]
    fn a_table_has_a_row_a_case_and_says_what_is_missing() {
        let window = Window { due: 1000, right: 999, broken: 1, p99: Duration::from_millis(7), ..Window::default() };
        let run = Run {
            case: "killed",
            proxy: "A",
            calm: Window::default(),
            fault: window,
            after: Window::default(),
            last_failure: Some(Duration::from_millis(20)),
            last_slow: None,
            lasted: Duration::from_secs(5),
            tries: 1.0,
        };
        let text = table(&cases(), &["A", "B"], &[run]);
        assert_eq!(text.lines().filter(|line| line.starts_with("| ")).count(), 2 * (cases().len() + 1));
        assert!(text.contains("| 0.1 % · 7 · 0 | – |") && text.contains("| 0.0 · never · ×1.00 | – |"), "{text}");
        assert_eq!((share(0.0), share(0.013)), ("0 %".to_owned(), "0.01 %".to_owned()));
        assert_eq!((median([3.0, 1.0, 2.0].into_iter()), median([].into_iter())), (2.0, 0.0));
    }
}
