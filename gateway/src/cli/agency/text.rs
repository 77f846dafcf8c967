//! Lists as people read them: columns as wide as they must be.

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::listing::{
    AgencyLine, AgencySheet, Allowed, LimitsSheet, OperationLine, PurposeLine, RateSheet, SystemSheet,
};

/// `popgate agency list`.
pub(super) fn agencies(lines: &[AgencyLine], out: &mut dyn Write) -> io::Result<()> {
    let mut rows = vec![row(["AGENCY", "SECTOR", "LEVEL", "SYSTEMS", "PURPOSES", "NAME"])];
    rows.extend(lines.iter().map(|line| {
        let level = line.province.as_ref().map_or_else(|| line.level.clone(), |code| format!("{} {code}", line.level));
        let (systems, purposes) = (line.systems.to_string(), line.purposes.len().to_string());
        row([&line.id, &line.sector, &level, &systems, &purposes, name(&line.name)])
    }));
    table(&rows, "", out)
}

/// `popgate agency show`.
pub(super) fn agency(sheet: &AgencySheet, out: &mut dyn Write) -> io::Result<()> {
    let AgencySheet { line, bundle, today, purpose, limits: of_agency, system } = sheet;
    writeln!(out, "{}  {}", line.id, line.name.values().cloned().collect::<Vec<_>>().join(" / "))?;
    let province = line.province.as_ref().map(|code| format!(", province {code}")).unwrap_or_default();
    writeln!(out, "sector {}, level {}{province}; bundle {bundle}, as of {today}", line.sector, line.level)?;
    writeln!(out, "\npurposes")?;
    let mut rows = Vec::new();
    rows.extend(
        purpose.iter().map(|purpose| {
            row(["", &purpose.id, validity(purpose), &dates(purpose), &requires(purpose), &purpose.basis])
        }),
    );
    table(&rows, "", out)?;
    if *of_agency != LimitsSheet::default() {
        writeln!(out, "\nall systems together")?;
        limits("limits", of_agency, out)?;
    }
    system.iter().try_for_each(|system| one(system, out))
}

/// `popgate purpose list`.
pub(super) fn purposes(lines: &[PurposeLine], out: &mut dyn Write) -> io::Result<()> {
    let mut rows = vec![row(["PURPOSE", "TODAY", "VALID", "REQUIRES", "AGENCIES", "BASIS"])];
    rows.extend(lines.iter().map(|line| {
        let agencies = if line.break_glass { "by order".to_owned() } else { line.agencies.to_string() };
        row([&line.id, validity(line), &dates(line), &requires(line), &agencies, &line.basis])
    }));
    table(&rows, "", out)
}

/// `popgate operation list`.
pub(super) fn operations(lines: &[OperationLine], out: &mut dyn Write) -> io::Result<()> {
    let mut rows = vec![row(["OPERATION", "REGISTER", "ANSWER", "FIELDS", "ROUTE", "SUMMARY"])];
    rows.extend(lines.iter().map(|line| {
        let answer = if line.bulk { format!("{} bulk", line.answer) } else { line.answer.clone() };
        let route = format!("{} {}", line.method, line.path);
        row([&line.id, &line.register, &answer, &line.fields.to_string(), &route, &line.summary])
    }));
    table(&rows, "", out)
}

fn one(system: &SystemSheet, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\nsystem {}", system.id)?;
    for identity in &system.identities {
        writeln!(out, "  identity    {identity}")?;
    }
    let networks = if system.networks.is_empty() { "any".to_owned() } else { system.networks.join(", ") };
    writeln!(out, "  networks    {networks}")?;
    writeln!(out, "  tls         {} or newer", system.min_tls)?;
    limits("limits", &system.limits, out)?;
    if let Some(priority) = &system.priority {
        writeln!(out, "  priority    {priority}")?;
    }
    writeln!(out, "  purposes    {}", system.purposes.join(", "))?;
    if system.operations.is_empty() {
        return writeln!(out, "  may do nothing: no policy shows it a field");
    }
    writeln!(out, "  may do, with the most fields that an answer can hold")?;
    let mut rows = vec![row(["PURPOSE", "OPERATION", "REVEALED", "MASKED", "MATCHED", "CONDITIONAL"])];
    rows.extend(system.operations.iter().map(|allowed| {
        let Allowed { purpose, operation, revealed, masked, matched, conditional } = allowed;
        let [revealed, masked, matched, conditional] =
            [revealed, masked, matched, conditional].map(|count| count.to_string());
        row([purpose, operation, &revealed, &masked, &matched, &conditional])
    }));
    table(&rows, "    ", out)
}

fn validity(purpose: &PurposeLine) -> &'static str {
    if purpose.valid { "valid" } else { "not valid" }
}

fn dates(purpose: &PurposeLine) -> String {
    match (purpose.valid_from, purpose.valid_until) {
        (None, None) => "always".to_owned(),
        (Some(from), None) => format!("from {from}"),
        (None, Some(until)) => format!("until {until}"),
        (Some(from), Some(until)) => format!("{from} to {until}"),
    }
}

fn requires(purpose: &PurposeLine) -> String {
    if purpose.requires.is_empty() { "-".to_owned() } else { purpose.requires.join(", ") }
}

/// Limits, one a line, the first beside their name.
fn limits(name: &str, limits: &LimitsSheet, out: &mut dyn Write) -> io::Result<()> {
    let mut said: Vec<String> = Vec::new();
    let in_flight = limits.concurrent.map(|most| format!("{most} in flight"));
    let first: Vec<String> = limits.rate.as_ref().map(rate).into_iter().chain(in_flight).collect();
    if !first.is_empty() {
        said.push(first.join(", "));
    }
    said.extend(limits.operations.iter().map(|(operation, limit)| format!("{operation}: {}", rate(limit))));
    said.extend(limits.total.iter().map(|limit| format!("all operations: {}", rate(limit))));
    said.extend(limits.purposes.iter().map(|(purpose, limit)| format!("for {purpose}: {}", rate(limit))));
    said.extend(
        limits.bytes.iter().map(|it| format!("{} bytes/{}, burst {}", it.bytes, per(it.per_seconds), it.burst)),
    );
    said.extend(limits.counts.iter().map(|(what, count)| format!("{what}: {count}")));
    for (at, line) in said.iter().enumerate() {
        writeln!(out, "  {:<12}{line}", if at == 0 { name } else { "" })?;
    }
    limits.soft.iter().try_for_each(|soft| self::limits("warned of", soft, out))
}

fn rate(rate: &RateSheet) -> String {
    format!("{}/{}, burst {}", rate.count, per(rate.per_seconds), rate.burst)
}

fn per(seconds: u64) -> String {
    match seconds {
        1 => "s".to_owned(),
        60 => "min".to_owned(),
        3600 => "h".to_owned(),
        86_400 => "day".to_owned(),
        seconds => format!("{seconds} s"),
    }
}

/// The English name, which every agency has.
fn name(names: &BTreeMap<String, String>) -> &str {
    names.get("en").or_else(|| names.values().next()).map_or("", String::as_str)
}

type Row = [String; 6];

fn row(cells: [&str; 6]) -> Row {
    cells.map(str::to_owned)
}

fn table(rows: &[Row], indent: &str, out: &mut dyn Write) -> io::Result<()> {
    let width = |at: usize| {
        rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..6).map(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        writeln!(out, "{indent}{}", line.trim_end())?;
    }
    Ok(())
}
