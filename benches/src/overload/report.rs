//! What was found: lines while it runs, JSON, and a table.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::experiment::{Load, Point};
use super::{CLASSES, Kind};
use crate::load::Figures;

/// What a run found.
#[derive(Clone, Debug)]
pub struct Found {
    /// In the order in which they were measured.
    pub points: Vec<Point>,
    /// What ran.
    pub versions: Vec<(Kind, String)>,
    /// The share of a processor that each proxy had, in percent.
    pub percent: u32,
    /// How long each load was counted.
    pub measure: Duration,
}

impl Found {
    /// What a proxy could do, in answers a second; 0 if that was not measured.
    pub fn capacity(&self, kind: Kind) -> f64 {
        let point = self.points.iter().find(|point| point.proxy == kind && point.load == Load::Saturating);
        point.map_or(0.0, |point| point.outcome.goodput(&point.outcome.total()))
    }

    /// The points of a proxy under the mixed load: multiple of its capacity, point.
    pub fn mixed(&self, kind: Kind) -> Vec<(f64, &Point)> {
        let mixed = self.points.iter().filter(|point| point.proxy == kind);
        mixed
            .filter_map(|point| if let Load::Mix(factor) = point.load { Some((factor, point)) } else { None })
            .collect()
    }

    /// What the quiet agencies saw at that load.
    pub fn quiet(&self, kind: Kind, load: Load) -> Option<Figures> {
        let point = self.points.iter().find(|point| point.proxy == kind && point.load == load)?;
        Some(point.outcome.merged(|label| label == "quiet"))
    }

    /// Everything.
    pub fn json(&self) -> Value {
        let versions: serde_json::Map<String, Value> =
            self.versions.iter().map(|(kind, version)| (kind.name().to_owned(), json!(version))).collect();
        json!({
            "versions": versions,
            "processor_percent": self.percent,
            "measured_seconds": self.measure.as_secs_f64(),
            "points": self.points.iter().map(Point::json).collect::<Vec<_>>(),
        })
    }
}

impl Point {
    /// CPU time of the proxy by what it answered: an answer with data, and any answer. Zero where there was none.
    pub fn cpu_each(&self) -> (Duration, Duration) {
        let all = self.outcome.total();
        let by =
            |count: u64| u32::try_from(count).ok().and_then(|count| self.cpu.checked_div(count)).unwrap_or_default();
        (by(all.ok), by(all.ok + all.refused))
    }

    pub(super) fn line(&self) -> String {
        let all = self.outcome.total();
        let (ok, answer) = self.cpu_each();
        format!(
            "{:<8} {:<12} offered {:>6.0}/s  ok {:>6.0}/s  refused {:>6.0}/s  lost {:>6.0}/s  p50 {:>7.1}  p99 {:>7.1} ms  \
             CPU {:>5.2} s, µs: {:>6.1} an ok, {:>6.1} an answer  late {:>5.1} ms\n",
            self.proxy.name(),
            self.load.name(),
            self.outcome.per_second(all.offered),
            self.outcome.per_second(all.ok),
            self.outcome.per_second(all.refused),
            self.outcome.per_second(all.failed + all.timed_out + all.dropped),
            millis(all.percentile(0.5)),
            millis(all.percentile(0.99)),
            self.cpu.as_secs_f64(),
            ok.as_secs_f64() * 1e6,
            answer.as_secs_f64() * 1e6,
            self.outcome.lag.value_at_quantile(0.99) as f64 / 1e3,
        )
    }

    fn json(&self) -> Value {
        let (ok, answer) = self.cpu_each();
        let factor = if let Load::Mix(factor) = self.load { json!(factor) } else { Value::Null };
        json!({
            "proxy": self.proxy.name(),
            "load": self.load.name(),
            "times_capacity": factor,
            "cpu_seconds": self.cpu.as_secs_f64(),
            "cpu_micros_per_ok": ok.as_secs_f64() * 1e6,
            "cpu_micros_per_answer": answer.as_secs_f64() * 1e6,
            "resident_bytes": self.resident,
            "outcome": self.outcome.json(),
        })
    }
}

impl Load {
    /// As in tables.
    pub fn name(self) -> String {
        match self {
            Self::Saturating => "saturating".to_owned(),
            Self::Mix(factor) => format!("{factor} x"),
            Self::Quiet => "quiet alone".to_owned(),
            Self::Noisy => "with noisy".to_owned(),
            Self::Limited => "limited".to_owned(),
        }
    }
}

/// The tables of a run, as Markdown.
pub fn markdown(found: &Found) -> String {
    let mut text = String::new();
    for (kind, version) in &found.versions {
        let _ = writeln!(text, "- {}: {version}; {:.0} answers a second at most", kind.name(), found.capacity(*kind));
    }
    if found.points.iter().any(|point| point.load == Load::Limited) {
        costs(&mut text, found);
    } else {
        mixed(&mut text, found);
        neighbours(&mut text, found);
    }
    text
}

fn mixed(text: &mut String, found: &Found) {
    text.push_str("\n| proxy | offered | goodput | of capacity | refused | lost |");
    for (class, _) in CLASSES {
        let _ = write!(text, " {class} ok | p99 |");
    }
    text.push_str(" refusal p99 | CPU µs an ok |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n");
    for (kind, _) in &found.versions {
        for (factor, point) in found.mixed(*kind) {
            let all = point.outcome.total();
            let share = |count: u64| 100.0 * count as f64 / all.offered.max(1) as f64;
            let _ = write!(
                text,
                "| {} | {factor} x | {:.0}/s | {:.0} % | {:.1} % | {:.1} % |",
                kind.name(),
                point.outcome.goodput(&all),
                100.0 * point.outcome.goodput(&all) / found.capacity(*kind).max(1.0),
                share(all.refused),
                share(all.failed + all.timed_out + all.dropped),
            );
            for (class, _) in CLASSES {
                let of = point.outcome.merged(|label| label == class);
                let _ = write!(text, " {:.1} % | {} |", 100.0 * (1.0 - of.loss()), latency(&of, 0.99));
            }
            let refusal = if all.refusals.is_empty() {
                "-".to_owned()
            } else {
                format!("{:.0} ms", all.refusals.value_at_quantile(0.99) as f64 / 1e3)
            };
            let _ = writeln!(text, " {refusal} | {:.0} |", point.cpu_each().0.as_secs_f64() * 1e6);
        }
    }
}

fn neighbours(text: &mut String, found: &Found) {
    text.push_str("\n| the 99 quiet agencies | ok | p50 | p90 | p99 | p99.9 |\n|---|---|---|---|---|---|\n");
    for (kind, _) in &found.versions {
        for load in [Load::Quiet, Load::Noisy] {
            let Some(quiet) = found.quiet(*kind, load) else { continue };
            let _ = write!(text, "| {}, {} | {:.2} % |", kind.name(), load.name(), 100.0 * (1.0 - quiet.loss()));
            for share in [0.5, 0.9, 0.99, 0.999] {
                let _ = write!(text, " {} |", latency(&quiet, share));
            }
            text.push('\n');
        }
    }
}

fn costs(text: &mut String, found: &Found) {
    text.push_str("\n| load | answered | refused | CPU µs an answer |\n|---|---|---|---|\n");
    for point in &found.points {
        let all = point.outcome.total();
        let _ = writeln!(
            text,
            "| {} | {:.0}/s | {:.0}/s | {:.1} |",
            point.load.name(),
            point.outcome.per_second(all.ok),
            point.outcome.per_second(all.refused),
            point.cpu_each().1.as_secs_f64() * 1e6,
        );
    }
    let median = |load: Load| {
        let of = found.points.iter().filter(|point| point.load == load);
        let mut costs: Vec<_> = of.map(|point| point.cpu_each().1).collect();
        costs.sort_unstable();
        costs.get(costs.len() / 2).copied().unwrap_or_default().as_secs_f64() * 1e6
    };
    let (served, refused) = (median(Load::Saturating), median(Load::Limited));
    let _ = writeln!(
        text,
        "\nmedians: {served:.1} µs an answer with data, {refused:.1} µs a refusal: {:.0} % of it",
        100.0 * refused / served.max(f64::MIN_POSITIVE)
    );
}

fn latency(figures: &Figures, share: f64) -> String {
    if figures.latency.is_empty() { "-".to_owned() } else { format!("{:.1} ms", millis(figures.percentile(share))) }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
