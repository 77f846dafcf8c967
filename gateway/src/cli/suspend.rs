//! `popgate suspend`, `popgate resume` and `popgate suspensions`: the kill switch, on the node or over its admin listener.

use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use popgate_policy::bundle::Bundle;
use serde_json::{Value, json};

use super::node::{Node, NodeArgs, NodeError, encoded};
use super::report::plural;
use crate::app::bundle_files;
use crate::app::config::{Config, ConfigErrors, units};
use crate::clock::Clock;
use crate::suspend::{self, Concern, Done, Kind, Order, Store, Suspension, Target};

/// Suspend an agency, system, purpose, policy or register at once
///
/// In force within a second on live connections. It only takes away: a policy that forbids cannot be suspended. What is
/// suspended is refused without a reason; the reason is for operators and auditors, and must name no person.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  popgate suspend agency bank-a --reason \"asks for thousands by night, INC-77\" --for 2h
  popgate suspend policy telecom-phone-hint --reason \"under review\" --until 2026-12-01T00:00:00+07:00
  popgate suspend system tax/etax --reason \"key lost\" --node https://gateway-1:9443 --cert me.pem --key me.key --ca site.pem

Exit codes: 0 suspended, 1 not, 2 usage")]
pub struct SuspendArgs {
    #[command(flatten)]
    what: What,
    /// Why, for operators and auditors; it must name no person
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// When it ends by itself, such as 2026-11-21T18:00:00+07:00
    #[arg(long, value_name = "TIME", conflicts_with = "lasting")]
    until: Option<Timestamp>,
    /// After how long it ends by itself, such as 30m, 2h or 7d
    #[arg(long = "for", id = "lasting", value_name = "TIME", value_parser = lasting)]
    lasting: Option<Duration>,
    /// Also if the bundle has no such id
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    place: Place,
}

/// End a suspension before its time
#[derive(Debug, clap::Args)]
pub struct ResumeArgs {
    #[command(flatten)]
    what: What,
    /// Why, for operators and auditors; it must name no person
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    #[command(flatten)]
    place: Place,
}

/// List what is suspended
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
struct What {
    /// agency, system, purpose, policy or register
    kind: Kind,
    /// Its id in the bundle: tax, tax/etax, assessment, ...
    id: String,
}

impl What {
    fn target(&self) -> Target {
        Target { kind: self.kind, id: self.id.clone() }
    }
}

/// Where an operator works: on the node itself, or over its admin listener.
#[derive(Debug, clap::Args)]
pub(super) struct Place {
    /// On the node itself: its configuration; /etc/popgate/gateway.toml, unless a node is named
    #[arg(long, value_name = "FILE", conflicts_with = "node")]
    pub(super) config: Option<PathBuf>,
    #[command(flatten)]
    remote: NodeArgs,
}

impl Place {
    /// The node to ask, unless a configuration is named.
    pub(super) fn node(&self) -> Result<Option<Node>, NodeError> {
        if self.config.is_some() { Ok(None) } else { self.remote.node() }
    }

    pub(super) fn config(&self) -> Result<Config, ConfigErrors> {
        Config::read(self.config.as_deref().unwrap_or(Path::new(CONFIG)))
    }
}

/// Where a node's configuration stands.
pub(super) const CONFIG: &str = "/etc/popgate/gateway.toml";

type Failed = Box<dyn Error>;

/// Runs `popgate suspend`.
///
/// # Errors
/// If nothing was suspended, or `out` cannot be written.
pub fn suspend(args: &SuspendArgs, clock: &Clock, out: &mut dyn Write) -> Result<ExitCode, Failed> {
    let now = clock.wall();
    let now = Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now);
    let until = match args.lasting {
        Some(lasting) => Some(now.checked_add(jiff::SignedDuration::try_from(lasting)?)?),
        None => args.until,
    };
    let order = Order { target: args.what.target(), reason: args.reason.clone(), until, force: args.force };
    if let Some(node) = args.place.node()? {
        let Order { target: Target { kind, id }, reason, until, force } = &order;
        let body = json!({ "kind": kind, "id": id, "reason": reason, "until": until, "force": force });
        let done = serde_json::from_value(node.post("/suspensions", &body)?.json())?;
        write_done(&done, now, out)?;
        writeln!(out, "in force on {node}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let config = args.place.config()?;
    let store = Store::new(&config.state);
    let by = local_user();
    // What needs nothing of the bundle does not wait until that is compiled: whether a policy forbids, and whether there is such
    // an id, is known from the bundle only.
    let (bundle, before) = if order.target.kind == Kind::Policy || !order.force {
        let bundle = bundle_of(&config);
        order.check(now, bundle.as_deref().ok(), config.registers.keys())?;
        (bundle, order.carry_out(&store, &by, now)?)
    } else {
        order.check(now, None, config.registers.keys())?;
        let before = order.carry_out(&store, &by, now)?;
        (bundle_of(&config), before)
    };
    if let Err(why) = &bundle {
        writeln!(out, "warning: {why}; whom this concerns is not known")?;
    }
    let bundle = bundle.ok();
    let concern = bundle.as_deref().map(|bundle| Concern::of(bundle, &order.target));
    write_done(&Done { target: order.target, by, until, before, concern }, now, out)?;
    writeln!(out, "a gateway that watches {} takes it up within a second", store.file().display())?;
    Ok(ExitCode::SUCCESS)
}

/// Runs `popgate resume`.
///
/// # Errors
/// If nothing was resumed, or `out` cannot be written.
pub fn resume(args: &ResumeArgs, clock: &Clock, out: &mut dyn Write) -> Result<ExitCode, Failed> {
    let target = args.what.target();
    let (lifted, tail): (Suspension, String) = match args.place.node()? {
        Some(node) => {
            let mut path = format!("/suspensions/{}/{}", target.kind.as_str(), encoded(&target.id));
            if !args.reason.is_empty() {
                path.push_str(&format!("?reason={}", encoded(&args.reason)));
            }
            (serde_json::from_value(node.delete(&path)?.json())?, format!("in force on {node}"))
        }
        None => {
            let store = Store::new(&args.place.config()?.state);
            let lifted = suspend::resume(&store, &target, &local_user(), &args.reason, clock.wall())?;
            (lifted, format!("a gateway that watches {} takes it up within a second", store.file().display()))
        }
    };
    writeln!(out, "resumed {} `{}`, suspended {}", target.kind.as_str(), target.id, about(&lifted))?;
    writeln!(out, "{tail}")?;
    Ok(ExitCode::SUCCESS)
}

/// Runs `popgate suspensions`.
///
/// # Errors
/// If they cannot be read, or `out` cannot be written.
pub fn list(args: &ListArgs, clock: &Clock, out: &mut dyn Write) -> Result<ExitCode, Failed> {
    let (listed, problems) = match args.place.node()? {
        Some(node) => {
            let answer = node.get("/suspensions")?.json();
            let part = |name: &str| answer.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
            (part("suspended"), part("problems"))
        }
        None => {
            let found = Store::new(&args.place.config()?.state).read()?;
            let in_force = found.book.in_force(clock.wall());
            (in_force.map(|(target, suspension)| flat(target, suspension)).collect(), Vec::new())
        }
    };
    if args.json {
        writeln!(out, "{}", json!({ "suspended": listed, "problems": problems }))?;
        return Ok(ExitCode::SUCCESS);
    }
    for problem in &problems {
        let part = |name: &str| problem.get(name).and_then(Value::as_str).unwrap_or_default();
        let line = problem.get("line").map(|line| format!(":{line}")).unwrap_or_default();
        writeln!(out, "{}: {}{line}: {}", part("severity"), part("file"), part("message"))?;
    }
    for entry in &listed {
        let target: Target = serde_json::from_value(entry.clone())?;
        let suspension: Suspension = serde_json::from_value(entry.clone())?;
        writeln!(out, "{:8} {}  {}", target.kind.as_str(), target.id, about(&suspension))?;
    }
    if listed.is_empty() {
        writeln!(out, "nothing is suspended")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write_done(done: &Done, now: Timestamp, out: &mut dyn Write) -> io::Result<()> {
    let Done { target, until, before, concern, .. } = done;
    let end = match until {
        Some(until) => format!("until {until} ({} from now)", rounded(*until, now)),
        None => "until it is resumed".to_owned(),
    };
    writeln!(out, "suspended {} `{}` {end}", target.kind.as_str(), target.id)?;
    if let Some(Concern { systems, operations }) = concern {
        writeln!(out, "concerned: {}, {}", plural(*systems, "system"), plural(*operations, "operation"))?;
    }
    if let Some(before) = before {
        writeln!(out, "in place of what was suspended {}", about(before))?;
    }
    Ok(())
}

fn about(suspension: &Suspension) -> String {
    let Suspension { reason, by, since, until } = suspension;
    let until = until.map(|until| format!(" until {until}")).unwrap_or_default();
    format!("since {since}{until} by {by}: {reason}")
}

fn flat(target: &Target, suspension: &Suspension) -> Value {
    let Suspension { reason, by, since, until } = suspension;
    json!({ "kind": target.kind, "id": target.id, "reason": reason, "by": by, "since": since, "until": until })
}

/// To whole seconds: `2h`, `6d 23h`.
fn rounded(until: Timestamp, now: Timestamp) -> String {
    let seconds = (until.duration_since(now).as_millis() + 500) / 1000;
    let parts = [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s")];
    let parts = parts.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count} {unit}"));
    parts.collect::<Vec<_>>().join(" ")
}

/// The bundle on the disk; a gateway that runs may have another in force.
pub(super) fn bundle_of(config: &Config) -> Result<Arc<Bundle>, String> {
    let dir = config.bundle.display();
    let source = bundle_files::read(&config.bundle).map_err(|error| format!("the bundle in `{dir}`: {error}"))?;
    let loaded = Bundle::load(&source).map_err(|_| format!("the bundle in `{dir}` has errors, see `popgate check`"))?;
    Ok(loaded.bundle)
}

/// Who the operating system says it is; with sudo also who it says it was.
pub(super) fn local_user() -> String {
    let uid = nix::unistd::getuid();
    let name = nix::unistd::User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
    match std::env::var("SUDO_USER") {
        Ok(asked) if uid.is_root() && asked != name && !asked.chars().any(char::is_control) && asked.len() <= 64 => {
            format!("local:{name} (sudo: {asked})")
        }
        _ => format!("local:{name}"),
    }
}

pub(super) fn lasting(typed: &str) -> Result<Duration, String> {
    match units::duration(typed) {
        Ok(lasting) if lasting.is_zero() => Err("must be longer than zero".to_owned()),
        Ok(lasting) => Ok(lasting),
        Err(reason) => Err(format!("{reason}; {}", units::DURATION_HELP)),
    }
}
