//! `popgate purge`: has a node forget what it stored.

use std::error::Error;
use std::io::{self, BufRead, IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use popgate_policy::model::Personal;
use serde_json::{Value, json};

use super::keyed::{numbers, wrong};
use super::node::{Node, NodeArgs};
use super::report::plural;
use super::{USAGE, unnamed};

/// Have a node forget what it stored: about a person, of a tag, of a request, of a register, or everything
///
/// What is purged is gone, and the register is asked again; with --soft it may stay, and must be validated before it is
/// served. Other nodes are told. Persons' numbers, and targets, which may hold them, are read from standard input, one a line:
/// command lines are seen by others and kept in histories. Each purge is recorded in the audit log, persons by keyed tag.
/// Needs the role sre or approver.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  popgate purge subject --reason \"wrong record corrected, INC-81\" --node https://gateway-1:9443 < numbers
  popgate purge request population --reason INC-82 --node https://gateway-1:9443 < targets
  popgate purge tag population province-79 --soft --reason \"boundaries moved, CHG-12\" --node https://gateway-1:9443
  popgate purge register population --soft --reason \"restored from a backup, INC-83\" --node https://gateway-1:9443
  popgate purge all --soft --reason \"drill\" --node https://gateway-1:9443

Exit codes: 0 purged on all nodes, 1 not, or not on all, 2 usage")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Whatever is stored about persons, of every register; their numbers from standard input, one a line
    Subject(Order),
    /// What a register gave a tag
    Tag {
        /// The register's id in gateway.toml
        register: String,
        /// The tag; from standard input, one a line, if it is not there. One that names a person belongs there
        tag: Option<String>,
        #[command(flatten)]
        order: Order,
    },
    /// What a register answered to requests; their paths and queries from standard input, one a line
    Request {
        /// The register's id in gateway.toml
        register: String,
        #[command(flatten)]
        order: Order,
    },
    /// Whatever a register answered
    Register {
        /// The register's id in gateway.toml
        register: String,
        #[command(flatten)]
        order: Order,
    },
    /// Everything
    All(Order),
}

#[derive(Debug, clap::Args)]
struct Order {
    /// Keep it until the register has been asked whether it still holds: spares the register, and time
    #[arg(long)]
    soft: bool,
    /// Why, for operators and auditors; it must name no person
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// The cache is in the memory of a node that runs: no configuration leads to it
    #[arg(long, value_name = "FILE", hide = true)]
    config: Option<PathBuf>,
    #[command(flatten)]
    remote: NodeArgs,
}

/// Runs the subcommand; what may name a person comes from `input`.
///
/// # Errors
/// If the node gives no answer or refuses, the input cannot be read, or `out` cannot be written.
pub fn run(args: &Args, input: &mut dyn BufRead, out: &mut dyn Write) -> Result<ExitCode, Box<dyn Error>> {
    let order = args.what.order();
    if order.config.is_some() {
        let _ = writeln!(
            io::stderr(),
            "error: the cache is in the memory of a node that runs: leave --config out, and name the node with --node"
        );
        return Ok(ExitCode::from(USAGE));
    }
    let Some(node) = order.remote.node()? else { return Ok(unnamed("the node with --node")) };
    let wanted = args.what.wanted(input)?;
    let count = plural(wanted.len(), args.what.one());
    let mut everywhere = Value::Null;
    for (at, mut body) in wanted.into_iter().enumerate() {
        if let Value::Object(members) = &mut body {
            members.insert("soft".to_owned(), order.soft.into());
            members.insert("reason".to_owned(), order.reason.as_str().into());
        }
        let answer = node.post("/cache/purge", &body).inspect_err(|_| said_before(at, &node))?.json();
        let told = answer.get("everywhere").cloned().unwrap_or_default();
        if everywhere != Value::Bool(false) {
            everywhere = told;
        }
    }
    let how = if order.soft { "purged softly" } else { "purged" };
    writeln!(out, "{count} {how} on {node}; {}", others(&everywhere))?;
    Ok(if everywhere == Value::Bool(false) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl What {
    fn order(&self) -> &Order {
        match self {
            Self::Subject(order) | Self::All(order) => order,
            Self::Tag { order, .. } | Self::Request { order, .. } | Self::Register { order, .. } => order,
        }
    }

    fn one(&self) -> &'static str {
        match self {
            Self::Subject(_) => "person",
            Self::Tag { .. } => "tag",
            Self::Request { .. } => "request",
            Self::Register { .. } => "register",
            Self::All(_) => "cache",
        }
    }

    /// What is sent, a body each. Everything is read before anything is sent.
    fn wanted(&self, input: &mut dyn BufRead) -> io::Result<Vec<Value>> {
        let each = match self {
            Self::Subject(_) => {
                prompt("persons' numbers");
                numbers(input)?.into_iter().map(|number| json!({ "subject": number.expose() })).collect()
            }
            Self::Tag { register, tag: Some(tag), .. } => vec![json!({ "register": register, "tag": tag })],
            Self::Tag { register, tag: None, .. } => {
                prompt("tags");
                let tags = lines(input, "no tag", |line| !line.contains([' ', ',', '\t']))?;
                tags.iter().map(|tag| json!({ "register": register, "tag": tag.expose() })).collect()
            }
            Self::Request { register, .. } => {
                prompt("paths and queries");
                let targets = lines(input, "no path that begins with `/`", |line| line.starts_with('/'))?;
                targets.iter().map(|target| json!({ "register": register, "target": target.expose() })).collect()
            }
            Self::Register { register, .. } => vec![json!({ "register": register })],
            Self::All(_) => vec![json!({ "all": true })],
        };
        if each.is_empty() { Err(wrong("standard input names nothing; nothing was purged")) } else { Ok(each) }
    }
}

/// One a line. A line is named by its place, never by what stands there.
fn lines(input: &mut dyn BufRead, odd: &str, fits: impl Fn(&str) -> bool) -> io::Result<Vec<Personal<String>>> {
    let mut found = Vec::new();
    for (at, line) in (1..).zip(input.lines()) {
        let line = line.map_err(|error| wrong(format!("standard input, line {at}: {error}")))?;
        match line.trim() {
            "" => {}
            line if fits(line) => found.push(Personal::new(line.to_owned())),
            _ => return Err(wrong(format!("standard input, line {at}: {odd}; nothing was purged"))),
        }
    }
    Ok(found)
}

/// Who sits at a terminal is told what is waited for.
fn prompt(what: &str) {
    if io::stdin().is_terminal() {
        // If nobody can be told, nobody waits.
        let _ = writeln!(io::stderr(), "{what}, one a line; end with Ctrl-D:");
    }
}

/// Of several, some may be purged when one fails.
fn said_before(count: usize, node: &Node) {
    if count > 0 {
        let _ = writeln!(io::stderr(), "the first {count} of them were purged on {node}");
    }
}

fn others(everywhere: &Value) -> &'static str {
    match everywhere {
        Value::Bool(true) => "the other nodes know",
        Value::Bool(false) => {
            "NOT on every other node: what tells them does not answer; they hear of it when it does, if this node runs until \
             then: keep it running, or purge at each of them"
        }
        _ => "there are no other nodes",
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn what(arguments: &[&str]) -> What {
        Cli::try_parse_from([&["purge"], arguments, &["--reason", "INC-1"]].concat()).unwrap().args.what
    }

    #[test]
    fn numbers_and_targets_come_from_standard_input_alone() {
        let sent = |arguments: &[&str], input: &str| what(arguments).wanted(&mut input.as_bytes()).unwrap();
        assert_eq!(
            sent(&["subject"], " 000187000001 \n\n2-b\n"),
            [json!({"subject": "000187000001"}), json!({"subject": "2-b"})]
        );
        let target = json!({"register": "population", "target": "/persons/000187000001?full=1"});
        assert_eq!(sent(&["request", "population"], "/persons/000187000001?full=1\n"), [target]);
        assert_eq!(sent(&["tag", "population"], "a\n"), [json!({"register": "population", "tag": "a"})]);
        assert_eq!(sent(&["tag", "population", "b"], "a\n"), [json!({"register": "population", "tag": "b"})]);
        assert_eq!(sent(&["register", "land"], "x"), [json!({"register": "land"})]);
        assert_eq!(sent(&["all"], "x"), [json!({"all": true})]);
        for arguments in [&["subject", "000187000001"][..], &["request", "population", "/persons/000187000001"]] {
            assert!(Cli::try_parse_from([&["purge"], arguments, &["--reason", "r"]].concat()).is_err());
        }
    }

    #[test]
    fn a_line_that_is_wrong_is_named_by_its_place_and_nothing_is_sent() {
        let table: [(&[&str], &str, &str); 4] = [
            (&["subject"], "1\n000187000001 x\n", "standard input, line 2"),
            (&["request", "population"], "/a\n\npersons/000187000001\n", "standard input, line 3: no path"),
            (&["tag", "population"], "a 000187000001\n", "standard input, line 1: no tag"),
            (&["subject"], "\n", "standard input names nothing"),
        ];
        for (arguments, input, says) in table {
            let error = what(arguments).wanted(&mut input.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(says) && !error.contains("000187000001"), "{error}");
        }
    }
}
