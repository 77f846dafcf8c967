//! Orders in words.

use std::io::{self, Write};
use std::time::Duration;

use jiff::Timestamp;
use popgate_policy::bundle::Bundle;
use serde_json::Value;

use crate::break_glass::{Judgement, Order, Verdict, said};

/// What an order says: what whoever signs it should read aloud.
pub(super) fn order(order: &Order, now: Timestamp, out: &mut dyn Write) -> io::Result<()> {
    let Order { id, site, purpose, systems, from, until, reason, case } = order;
    let span = |from: Timestamp, until: Timestamp| Duration::try_from(until.duration_since(from)).unwrap_or_default();
    let left = match (now < *from, now < *until) {
        (true, _) => format!("begins in {}", said(span(now, *from))),
        (false, true) => format!("{} left", said(span(now, *until))),
        (false, false) => "it is over".to_owned(),
    };
    writeln!(out, "order     {id}")?;
    writeln!(out, "lends     {purpose}")?;
    writeln!(out, "to        {}", systems.join(", "))?;
    writeln!(out, "from      {from} until {until}: {} ({left})", said(span(*from, *until)))?;
    writeln!(out, "at site   {site}")?;
    writeln!(out, "because   {reason} (case {case})")
}

/// What an order would show, one line an operation and system.
pub(super) fn shown(bundle: &Bundle, order: &Order) -> Vec<String> {
    let mut lines = Vec::new();
    let Some(purpose) = bundle.directory().purpose(&order.purpose) else { return lines };
    let systems =
        bundle.directory().systems().iter().filter(|system| order.systems.iter().any(|it| it == system.id.as_str()));
    for system in systems {
        for operation in bundle.contracts().operations() {
            let shows = bundle.shows(system, operation, &purpose.id);
            if !shows.is_nothing() {
                lines.push(format!(
                    "{} {}: {} fields, {} masked, {} matched; {} of them by circumstance or record",
                    system.id, operation.id, shows.revealed, shows.masked, shows.matched, shows.conditional
                ));
            }
        }
    }
    if lines.is_empty() {
        lines.push("nothing: no policy permits anything to these systems for this purpose".to_owned());
    }
    lines
}

/// `popgate break-glass show`.
pub(super) fn verdict(verdict: &Verdict, shows: &[String], now: Timestamp, out: &mut dyn Write) -> io::Result<()> {
    order(&verdict.order, now, out)?;
    writeln!(out, "sha256    {}", verdict.digest)?;
    let names = |names: &[String]| if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
    match &verdict.judged {
        None => {
            writeln!(out, "signed by {}, they say: not verified, name --config or --node", names(&verdict.claimed))?;
        }
        Some(Judgement { signed_by, stage, against }) => {
            writeln!(out, "signed by {}", names(signed_by))?;
            match stage {
                Some(stage) => writeln!(out, "it counts: once activated it is {}", stage.as_str())?,
                None => writeln!(out, "it does not count:")?,
            }
            for why in against {
                writeln!(out, "  {why}")?;
            }
        }
    }
    for (at, line) in shows.iter().enumerate() {
        writeln!(out, "{}{line}", if at == 0 { "shows     " } else { "          " })?;
    }
    Ok(())
}

/// `popgate break-glass list`, of what a node tells.
pub(super) fn list(told: &Value, out: &mut dyn Write) -> io::Result<()> {
    let array = |name: &str| told.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let word = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
    let words = |value: &Value, name: &str| -> String {
        let words = value.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        words.collect::<Vec<_>>().join(", ")
    };
    for problem in array("problems") {
        let line = problem.get("line").and_then(Value::as_u64).map(|line| format!(":{line}")).unwrap_or_default();
        writeln!(out, "{}: {}{line}: {}", word(problem, "severity"), word(problem, "file"), word(problem, "message"))?;
        if let Some(help) = problem.get("help").and_then(Value::as_str) {
            writeln!(out, "  {help}")?;
        }
    }
    if told.get("unrecorded") == Some(&Value::Bool(true)) {
        writeln!(out, "warning: what was done is not in the audit log yet; what it does not have is not lent")?;
    }
    let orders = array("orders");
    for order in orders {
        let stage = match (word(order, "stage").as_str(), order.get("lends")) {
            ("in_force", Some(Value::Bool(true))) => "in force",
            ("in_force", _) => "NOT LENT",
            ("waiting", _) => "waiting",
            ("ended", _) => "to be reviewed",
            _ => "reviewed",
        };
        let (id, purpose, systems) = (word(order, "id"), word(order, "purpose"), words(order, "systems"));
        writeln!(out, "{stage:<15}{id}  {purpose} to {systems}")?;
        let (from, until) = (word(order, "from"), word(order, "until"));
        writeln!(out, "{:15}{from} until {until}: {} (case {})", "", word(order, "reason"), word(order, "case"))?;
        let deed = |name: &str| {
            let deed = order.get(name).filter(|deed| deed.is_object())?;
            let why = deed.get("why").and_then(Value::as_str).filter(|why| !why.is_empty());
            let why = why.map(|why| format!(": {why}")).unwrap_or_default();
            Some(format!("{name} {} by {}{why}", word(deed, "at"), word(deed, "by")))
        };
        writeln!(out, "{:15}signed by {}", "", words(order, "signed_by"))?;
        for deed in ["activated", "ended", "reviewed"].into_iter().filter_map(deed) {
            writeln!(out, "{:15}{deed}", "")?;
        }
    }
    if orders.is_empty() {
        writeln!(out, "no order is in force, and none waits for its review")?;
    }
    Ok(())
}
