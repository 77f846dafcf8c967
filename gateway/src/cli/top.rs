//! `popgate top`: what a node does now, seen from two readings of its metrics.

use std::error::Error;
use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use super::node::{Node, NodeArgs};
use super::{colours, unnamed};
use crate::app::config::units;
use crate::clock::Clock;
use figures::Figures;
use scrape::Scrape;

mod figures;
mod frame;
mod live;
mod quantile;
mod scrape;

/// Watch what a node does: requests, latencies, registers, cache, audit log, connections, suspensions, alarms
///
/// Every figure is of the time between two readings of the node's metrics, latencies too. Keys: q quits, p pauses; r, e, l
/// and n sort by requests, refusals, latency and name. Where it does not write to a terminal, it prints one frame as with --once.
/// NO_COLOR is respected.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  popgate top --node https://gateway-1:9443 --cert me.pem --key me.key --ca site.pem
  popgate top --once --interval 10s --sort p99
  popgate top --once --json | jq .requests.p99

As JSON, counts are a second, times and latencies are seconds; a latency above the last bound of its histogram is that bound.

Needs the role viewer. Exit codes: 0 ended by q, or printed, 1 no answer, 2 usage")]
pub struct Args {
    /// Print one frame as text and end
    #[arg(long)]
    once: bool,
    /// Print one frame as one JSON object and end
    #[arg(long)]
    json: bool,
    /// The time between two readings, from 200ms to 1h
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = interval)]
    interval: Duration,
    /// By what operations are sorted
    #[arg(long, value_name = "COLUMN", default_value = "requests")]
    sort: Sort,
    #[command(flatten)]
    remote: NodeArgs,
}

/// By what operations are sorted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(super) enum Sort {
    /// The most requests first.
    Requests,
    /// The most refusals first.
    Refused,
    /// The slowest first.
    P99,
    /// By name.
    Name,
}

/// Runs the subcommand.
///
/// # Errors
/// If the node gives no answer, or the terminal or `out` cannot be written.
pub fn run(args: &Args, clock: &Clock, out: &mut dyn Write) -> Result<ExitCode, Box<dyn Error>> {
    let Some(node) = args.remote.node()? else { return Ok(unnamed("the node with --node")) };
    if !args.once && !args.json && io::stdout().is_terminal() && io::stdin().is_terminal() {
        // Before the screen is taken: a node that gives no answer is said as everywhere.
        let first = Reading::of(&node, clock)?;
        let options = live::Options { interval: args.interval, sort: args.sort, colour: colours(&io::stdout()) };
        live::run(Arc::new(node), clock, first, options)?;
        return Ok(ExitCode::SUCCESS);
    }
    let before = Reading::of(&node, clock)?;
    std::thread::sleep(args.interval);
    let figures = Reading::of(&node, clock)?.since(&before, clock);
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&Told { node: node.to_string(), figures })?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let head = frame::Head { node: node.to_string(), note: format!("over {}", shown(args.interval)), sort: args.sort };
    for row in frame::rows(&head, &figures, frame::Size::ENDLESS) {
        writeln!(out, "{}", row.text.trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What `--json` prints.
#[derive(serde::Serialize)]
struct Told {
    node: String,
    #[serde(flatten)]
    figures: Figures,
}

/// A node's metrics, and when they were read.
struct Reading {
    scrape: Scrape,
    at: std::time::Instant,
}

impl Reading {
    fn of(node: &Node, clock: &Clock) -> Result<Self, Box<dyn Error>> {
        let text = node.get("/metrics")?.body;
        Ok(Self { scrape: Scrape::parse(&text)?, at: clock.now() })
    }

    fn since(&self, before: &Self, clock: &Clock) -> Figures {
        let seconds = self.at.saturating_duration_since(before.at).as_secs_f64();
        Figures::between(&before.scrape, &self.scrape, seconds, clock.wall().as_second())
    }
}

fn shown(interval: Duration) -> String {
    format!("{:.1} s", interval.as_secs_f64())
}

fn interval(typed: &str) -> Result<Duration, String> {
    match units::duration(typed) {
        Ok(interval) if (LEAST..=MOST).contains(&interval) => Ok(interval),
        Ok(_) => Err("must be from 200ms to 1h".to_owned()),
        Err(reason) => Err(format!("{reason}; {}", units::DURATION_HELP)),
    }
}

const LEAST: Duration = Duration::from_millis(200);
const MOST: Duration = Duration::from_secs(3600);
