//! The scenario's report as people read it, in at most 120 columns; commands to copy are as long as they are.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use crate::deployment::{Deployment, DeploymentError};
use crate::register::demo::HOA;
use crate::scenario::table::{Cell, Column, FIELDS};
use crate::scenario::{LOOKUP, Report};

/// Whether the report is coloured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Colour {
    /// On a terminal.
    On,
    /// Anywhere else.
    Off,
}

/// The whole report.
pub fn report(report: &Report, colour: Colour) -> String {
    let paint = Paint(colour);
    let mut out = String::new();
    table(&mut out, &report.columns, paint);
    let _ = writeln!(out, "{}", paint.strong("Refused"));
    let width = report.refusals.iter().map(|refused| refused.code.chars().count()).max().unwrap_or_default();
    for refused in &report.refusals {
        let indent = width + 3;
        let remedy = wrapped(&refused.remedy, WIDTH - indent, indent);
        let _ = writeln!(out, " {}  {remedy}", pad(&refused.code, width));
    }
    let cost = &report.cost;
    let _ = writeln!(
        out,
        "{}    miss {} µs, hit {} µs of gateway CPU a request; bytes copied {} of {}",
        paint.strong("Cost"),
        cost.miss.as_micros(),
        cost.hit.as_micros(),
        grouped(cost.copied.0),
        grouped(cost.copied.1),
    );
    let log = &report.log;
    let _ = writeln!(
        out,
        "{}   {} requests, {} records: {} disclosures ({} shown or looked up, {} open) and {} refusals; log verified",
        paint.strong("Proof"),
        report.requests,
        log.intents + log.refusals,
        log.intents,
        log.closings,
        log.open,
        log.refusals,
    );
    out
}

/// What to try next, as commands for this very deployment.
///
/// # Errors
/// If a client's certificate cannot be made.
pub fn now_you(deployment: &Deployment, colour: Colour) -> Result<String, DeploymentError> {
    let paint = Paint(colour);
    let site = &deployment.site;
    let authority = site.gateway_authority();
    let body =
        format!(r#"{{"id":"{}","full_name":"{}","date_of_birth":"{}"}}"#, HOA.number, HOA.full_name, HOA.date_of_birth);
    let curl = |system: &str, purpose: &str| -> Result<String, DeploymentError> {
        Ok(format!(
            "curl --silent --cacert {} --cert {} -H 'Gateway-Purpose: {purpose}' --json '{body}' https://localhost:{}{LOOKUP}",
            authority.display(),
            site.identity(system)?.display(),
            deployment.gateway.https().port(),
        ))
    };
    let mut out = String::new();
    let _ = writeln!(out, "{}", paint.strong("Now you"));
    let _ = writeln!(out, " 1 {}", curl("tax/etax", "assessment")?);
    let _ = writeln!(out, " 2 {}", curl("telecom-a/crm", "subscriber-verification")?);
    let telecom = site.bundle().join("policies/telecom.cedar");
    let _ = writeln!(
        out,
        " 3 edit {}: delete @mask(\"year\"), save: the gateway reloads and says what changed; repeat 2",
        telecom.display()
    );
    let log = site.audit();
    let _ = writeln!(out, " 4 cargo run --quiet --release --package popgate -- audit verify {}", log.display());
    let segment = log.join("0000000001.log");
    let _ = writeln!(
        out,
        " 5 flip one byte of the log, repeat 4: printf {} | dd of={} bs=1 seek={FLIPPED} conv=notrunc status=none",
        another_byte(&segment).unwrap_or('x'),
        segment.display()
    );
    if let Some(admin) = deployment.gateway.admin() {
        let _ = writeln!(
            out,
            " 6 curl --silent --cacert {} --cert {} https://localhost:{}/metrics",
            authority.display(),
            site.dir().join("clients/operator-linh.pem").display(),
            admin.port(),
        );
    }
    if let Some(whoami) = deployment.gateway.whoami() {
        let _ = writeln!(
            out,
            " 7 curl --silent --cacert {} --cert {} -H 'Accept: text/plain' https://localhost:{}/",
            authority.display(),
            site.identity("tax/etax")?.display(),
            whoami.port(),
        );
    }
    Ok(out)
}

fn table(out: &mut String, columns: &[Column], paint: Paint) {
    let titles = FIELDS.iter().map(|row| row.title).chain(COUNTS);
    let first = titles.map(|title| title.chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = columns.iter().map(|column| column.width()).collect();
    let heading = "One citizen, five callers";
    let total = 1 + first + widths.iter().map(|width| width + 2).sum::<usize>();
    let synthetic = "(synthetic data)";
    let gap = total.saturating_sub(heading.chars().count() + synthetic.len());
    let _ = writeln!(out, "{}{}{synthetic}", paint.strong(heading), " ".repeat(gap));
    let mut line = |title: &str, cells: Vec<String>| {
        let mut text = format!(" {}", pad(title, first));
        for cell in cells {
            text.push_str("  ");
            text.push_str(&cell);
        }
        let _ = writeln!(out, "{}", text.trim_end());
    };
    let each = |text: &dyn Fn(&Column) -> String| -> Vec<String> {
        columns.iter().zip(&widths).map(|(column, width)| pad(&text(column), *width)).collect()
    };
    line("", each(&|column| column.title.to_owned()));
    line("purpose", each(&|column| column.purpose.to_owned()));
    for (at, row) in FIELDS.iter().enumerate() {
        let cells = columns.iter().zip(&widths).map(|(column, width)| match column.cells.get(at) {
            Some(cell) => paint.cell(cell, &pad(&cell.text(), *width)),
            None => pad("", *width),
        });
        line(row.title, cells.collect());
    }
    for (at, title) in COUNTS.into_iter().enumerate() {
        line(title, each(&|column| column.counts.get(at).map(usize::to_string).unwrap_or_default()));
    }
}

/// The rows of [`Column::counts`]: over all fields of the record, not only those of the table.
const COUNTS: [&str; 4] = ["fields revealed", "fields masked", "fields matched", "fields withheld"];

/// The widest line, commands apart.
const WIDTH: usize = 120;

/// Where the log is damaged: within the records that the scenario made.
const FLIPPED: u64 = 2000;

/// What to write there, so that the byte surely changes.
fn another_byte(segment: &Path) -> io::Result<char> {
    let mut file = fs::File::open(segment)?;
    file.seek(SeekFrom::Start(FLIPPED))?;
    let mut byte = [0];
    file.read_exact(&mut byte)?;
    Ok(if byte == *b"x" { 'y' } else { 'x' })
}

impl Column {
    fn width(&self) -> usize {
        let cells = self.cells.iter().map(|cell| cell.text().chars().count());
        cells.chain([self.title.len(), self.purpose.len()]).max().unwrap_or_default()
    }
}

#[derive(Clone, Copy)]
struct Paint(Colour);

impl Paint {
    fn strong(self, text: &str) -> String {
        self.with("1", text)
    }

    fn cell(self, cell: &Cell, text: &str) -> String {
        match cell {
            Cell::Shown(_) => text.to_owned(),
            Cell::Masked(_) => self.with("33", text),
            Cell::Matched(_) => self.with("36", text),
            Cell::Withheld => self.with("2", text),
        }
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.0 == Colour::On { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

fn pad(text: &str, width: usize) -> String {
    // One column a character: every name is in composed form.
    format!("{text}{}", " ".repeat(width.saturating_sub(text.chars().count())))
}

/// Breaks a text between words; lines after the first are indented.
fn wrapped(text: &str, width: usize, indent: usize) -> String {
    let mut out = String::new();
    let mut used = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            let _ = write!(out, "\n{}", " ".repeat(indent));
            used = 0;
        } else if used > 0 {
            out.push(' ');
            used += 1;
        }
        out.push_str(word);
        used += length;
    }
    out
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
