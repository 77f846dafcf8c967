//! `popgate break-glass`: orders that lend a purpose in an emergency, on the node or over its admin listener.

use std::error::Error;
use std::io::{self, BufRead, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::node::encoded;
use super::suspend::{CONFIG, Place, bundle_of, lasting, local_user};
use crate::admin::{OrderStatus, ProblemStatus};
use crate::app::config::{self, Config};
use crate::break_glass::{self, CarryError, Ledger, Order, Sealed, Store, Verdict, judge};
use crate::clock::Clock;
use crate::signed::{KeyError, SigningKey};

mod text;

/// Lend a purpose in an emergency, by an order that several have signed
///
/// What a purpose with `break_glass = true` shows is written and reviewed in the bundle; an order lends it to some systems, for a
/// time. Draft an order, have it signed, activate it; when it is over, have it reviewed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  popgate break-glass key nguyen-an
  popgate break-glass draft --purpose disaster-response --system health/registry --for 4h --reason \"flood in Hue\" --case PCTT-12 \\
      --site pop-hn-1 --id flood-hue-1
  popgate break-glass sign flood-hue-1.json --key nguyen-an.key
  popgate break-glass show flood-hue-1.json
  popgate break-glass activate flood-hue-1.json
  popgate break-glass end flood-hue-1 --reason \"all are accounted for\"
  popgate break-glass review flood-hue-1 --note \"412 records, all of the district\"

Exit codes: 0 done (show: the order counts, or no rules were asked), 1 not, 2 usage")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a private key, and print the line that `[break_glass.keys]` needs
    Key {
        /// Whose it is: lower-case letters, digits and `-`
        name: String,
        /// Where it goes; NAME.key if not given
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Write an order that nobody has signed yet
    Draft(Draft),
    /// Show what an order says, and sign it
    Sign {
        /// The order's file; the signature is added to it
        order: PathBuf,
        /// Your private key
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// The key's name in `[break_glass.keys]`; that of its file if not given
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Show what an order says, who signed it, and whether it would count
    ///
    /// Without a node and a configuration nothing is verified.
    Show {
        /// The order's file
        order: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Lend what an order lends
    ///
    /// The node verifies the signatures, whoever brings the order. Over the admin listener it needs the role sre or approver.
    Activate {
        /// The order's file
        order: PathBuf,
        #[command(flatten)]
        place: Place,
    },
    /// List the orders that are in force, will be, or were and are not reviewed
    List {
        /// Also those that are reviewed
        #[arg(long)]
        all: bool,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
    /// End an order before its time, at once
    ///
    /// Over the admin listener it needs the role sre or approver.
    End {
        /// The order's id
        id: String,
        /// Why; it must name no person
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        place: Place,
    },
    /// Note that what was done under an order was reviewed
    ///
    /// `popgate audit show` lists it, by purpose. Over the admin listener it needs the role approver or auditor, and somebody who
    /// neither activated nor ended the order.
    Review {
        /// The order's id
        id: String,
        /// What was found; it must name no person
        #[arg(long, value_name = "TEXT")]
        note: String,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, clap::Args)]
struct Draft {
    /// A purpose with `break_glass = true`
    #[arg(long, value_name = "ID")]
    purpose: String,
    /// To whom it is lent: `agency/system`; may be given several times
    #[arg(long = "system", value_name = "ID", required = true)]
    systems: Vec<String>,
    /// How long, such as 30m or 4h
    #[arg(long = "for", id = "lasting", value_name = "TIME", value_parser = lasting)]
    lasting: Duration,
    /// From when, such as 2026-11-21T18:00:00+07:00; from now if not given
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Why; it must name no person
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Under which number the emergency is known
    #[arg(long, value_name = "TEXT")]
    case: String,
    /// The site that it is for, as `[break_glass] site` says
    #[arg(long, value_name = "NAME")]
    site: String,
    /// Its id; made of purpose and time if not given
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Where it goes; ID.json if not given
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

type Failed = Box<dyn Error>;

/// Runs the subcommand.
///
/// # Errors
/// If nothing was done, or `out` cannot be written.
pub fn run(args: &Args, clock: &Clock, input: &mut dyn BufRead, out: &mut dyn Write) -> Result<ExitCode, Failed> {
    let now = clock.wall();
    match &args.command {
        Command::Key { name, out: file } => {
            make_key(name, file.as_deref(), "break_glass", out)?;
        }
        Command::Draft(draft) => draft.write(now, out)?,
        Command::Sign { order, key, name, yes } => {
            let key = signing_key(key, name.as_deref())?;
            return sign(order, &key, *yes, now, input, out);
        }
        Command::Show { order, json, place } => return show(order, *json, place, now, out),
        Command::Activate { order, place } => activate(order, place, now, out)?,
        Command::List { all, json, place } => list(*all, *json, place, now, out)?,
        Command::End { id, reason, place } => {
            let tail = match place.node()? {
                Some(node) => {
                    node.post(&format!("/break-glass/{}/end", encoded(id)), &json!({ "reason": reason }))?;
                    format!("no longer lent by {node}")
                }
                None => {
                    let site = Site::of(place)?;
                    break_glass::end(&site.store, &site.memory()?, id, &local_user(), reason, now)?;
                    site.watched()
                }
            };
            writeln!(out, "ended {id}: it never counts again, and is to be reviewed\n{tail}")?;
        }
        Command::Review { id, note, place } => {
            match place.node()? {
                Some(node) => {
                    node.post(&format!("/break-glass/{}/review", encoded(id)), &json!({ "note": note }))?;
                }
                None => {
                    let site = Site::of(place)?;
                    break_glass::review(&site.store, &site.memory()?, id, (&local_user(), false), note, now)?;
                }
            }
            writeln!(out, "reviewed {id}")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Draft {
    fn write(&self, now: Timestamp, out: &mut dyn Write) -> Result<(), Failed> {
        // To seconds: what is signed is read aloud.
        let from = Timestamp::from_second(self.from.unwrap_or(now).as_second())?;
        let until = from.checked_add(jiff::SignedDuration::try_from(self.lasting)?)?;
        let id = self.id.clone().unwrap_or_else(|| {
            let time = from.to_string().to_ascii_lowercase().replace(':', "");
            format!("{}-{time}", self.purpose)
        });
        let order = Order {
            id,
            site: self.site.clone(),
            purpose: self.purpose.clone(),
            systems: self.systems.clone(),
            from,
            until,
            reason: self.reason.clone(),
            case: self.case.clone(),
        };
        order.check().map_err(|wrong| format!("the order {wrong}"))?;
        let file = self.out.clone().unwrap_or_else(|| PathBuf::from(format!("{}.json", order.id)));
        if file.exists() {
            return Err(format!(
                "`{}` exists: an order is never overwritten; choose another --id or --out",
                file.display()
            )
            .into());
        }
        let sealed = Sealed::unsigned(order);
        break_glass::write(&file, &sealed.to_json())?;
        text::order(sealed.order(), now, out)?;
        writeln!(out, "wrote {}, which nobody has signed: popgate break-glass sign {0} --key FILE", file.display())?;
        Ok(())
    }
}

fn sign(
    file: &Path,
    key: &SigningKey,
    yes: bool,
    now: Timestamp,
    input: &mut dyn BufRead,
    out: &mut dyn Write,
) -> Result<ExitCode, Failed> {
    let mut sealed = read(file)?;
    text::order(sealed.order(), now, out)?;
    writeln!(out, "sha256    {}", sealed.digest())?;
    if !confirmed(key, yes, input, out)? {
        return Ok(ExitCode::FAILURE);
    }
    sealed.sign(key)?;
    break_glass::write(file, &sealed.to_json())?;
    let signed = sealed.envelope().claimed().collect::<Vec<_>>().join(", ");
    writeln!(out, "signed as {}; {} has the signatures of {signed}", key.name(), file.display())?;
    Ok(ExitCode::SUCCESS)
}

/// Makes a key, and says which line `gateway.toml` needs of it.
pub(super) fn make_key(name: &str, file: Option<&Path>, section: &str, out: &mut dyn Write) -> Result<(), Failed> {
    let file = file.map_or_else(|| PathBuf::from(format!("{name}.key")), Path::to_owned);
    let key = SigningKey::make(name, &file)?;
    writeln!(out, "wrote {}: keep it where only {name} can read it", file.display())?;
    writeln!(out, "for [{section}.keys] in gateway.toml:\n{name} = \"{}\"", key.public())?;
    Ok(())
}

/// Reads a private key, which has the name of its file if it is not told.
pub(super) fn signing_key(file: &Path, name: Option<&str>) -> Result<SigningKey, KeyError> {
    SigningKey::read(name.or_else(|| file.file_stem()?.to_str()).unwrap_or_default(), file)
}

/// Asks at a terminal whether to sign.
pub(super) fn confirmed(key: &SigningKey, yes: bool, input: &mut dyn BufRead, out: &mut dyn Write) -> io::Result<bool> {
    if yes || !io::stdin().is_terminal() {
        return Ok(true);
    }
    write!(out, "sign as {}? [y/N] ", key.name())?;
    out.flush()?;
    let mut answer = String::new();
    input.read_line(&mut answer)?;
    let is_wanted = matches!(answer.trim(), "y" | "Y" | "yes");
    if !is_wanted {
        writeln!(out, "not signed")?;
    }
    Ok(is_wanted)
}

fn show(file: &Path, json: bool, place: &Place, now: Timestamp, out: &mut dyn Write) -> Result<ExitCode, Failed> {
    let sealed = read(file)?;
    let mut shows = Vec::new();
    let verdict = if let Some(node) = place.node()? {
        serde_json::from_value(node.post("/break-glass/judge", &serde_json::from_str(&sealed.to_json())?)?.json())?
    } else if place.config.is_none() && !Path::new(CONFIG).exists() {
        Verdict::of(&sealed, None, now)
    } else {
        let site = Site::of(place)?;
        let (ledger, bundle) = (site.ledger()?, bundle_of(&site.config)?);
        shows = text::shown(&bundle, sealed.order());
        let judged = judge(&sealed, &site.orders.rules, &bundle, ledger.orders.get(&sealed.order().id), now);
        Verdict::of(&sealed, Some(&judged), now)
    };
    if json {
        writeln!(out, "{}", serde_json::to_string(&verdict)?)?;
    } else {
        text::verdict(&verdict, &shows, now, out)?;
    }
    Ok(if verdict.judged.is_none() || verdict.counts() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn activate(file: &Path, place: &Place, now: Timestamp, out: &mut dyn Write) -> Result<(), Failed> {
    let sealed = read(file)?;
    let order = sealed.order();
    let tail = match place.node()? {
        Some(node) => {
            let told = node.post("/break-glass", &serde_json::from_str(&sealed.to_json())?)?.json();
            match (told.get("lends"), order.covers(now)) {
                (Some(Value::Bool(true)), _) => format!("in force on {node}"),
                (_, false) => format!("{node} has it"),
                (_, true) => format!("{node} has it, and does not lend yet: see `popgate break-glass list`"),
            }
        }
        None => {
            let site = Site::of(place)?;
            let bundle = bundle_of(&site.config)?;
            let by = local_user();
            let done =
                break_glass::activate(&site.store, &site.orders.rules, &bundle, &sealed, &site.memory()?, &by, now)?;
            if done.before {
                writeln!(out, "it was activated at {} by {}", done.entry.activated.at, done.entry.activated.by)?;
            }
            site.watched()
        }
    };
    text::order(order, now, out)?;
    writeln!(out, "activated {}; to end it: popgate break-glass end {0} --reason TEXT\n{tail}", order.id)?;
    Ok(())
}

fn list(all: bool, json: bool, place: &Place, now: Timestamp, out: &mut dyn Write) -> Result<(), Failed> {
    let mut told = match place.node()? {
        Some(node) => node.get("/break-glass")?.json(),
        None => {
            let site = Site::of(place)?;
            let found = site.store.read()?;
            let mut ledger = found.ledger.unwrap_or_default();
            ledger.join(&site.memory()?);
            let is_open = |id: &str| ledger.orders.get(id).is_none_or(|entry| entry.ended.is_none());
            let broken = found.orders.iter().filter(|(id, _)| is_open(id)).filter_map(|(_, it)| it.as_ref().err());
            let problems: Vec<_> = broken.chain(&found.strangers).map(ProblemStatus::from).collect();
            let counts = |id: &str| found.orders.get(id).is_some_and(Result::is_ok);
            let orders = ledger.orders.values().map(|entry| OrderStatus::of(entry, now, counts(&entry.order.id)));
            json!({ "site": site.orders.rules.site, "orders": orders.collect::<Vec<_>>(), "problems": problems })
        }
    };
    if let Some(orders) = told.get_mut("orders").and_then(Value::as_array_mut).filter(|_| !all) {
        orders.retain(|order| order.get("stage").and_then(Value::as_str) != Some("reviewed"));
    }
    if json {
        writeln!(out, "{told}")?;
        return Ok(());
    }
    Ok(text::list(&told, out)?)
}

/// A site's orders, on the machine itself.
struct Site {
    config: Config,
    orders: config::BreakGlass,
    store: Store,
}

impl Site {
    fn of(place: &Place) -> Result<Self, Failed> {
        let config = place.config()?;
        let orders = config.break_glass.clone().ok_or(CarryError::Nowhere)?;
        Ok(Self { store: Store::new(&orders.folder), config, orders })
    }

    /// What the gateway remembers beside the ledger.
    fn memory(&self) -> Result<Ledger, Failed> {
        Ok(break_glass::read_ledger(&break_glass::memory_in(&self.config.state))?.unwrap_or_default())
    }

    fn ledger(&self) -> Result<Ledger, Failed> {
        let mut ledger = self.store.read()?.ledger.unwrap_or_default();
        ledger.join(&self.memory()?);
        Ok(ledger)
    }

    fn watched(&self) -> String {
        format!("a gateway that watches {} takes it up within a second", self.store.dir().display())
    }
}

fn read(file: &Path) -> Result<Sealed, Failed> {
    break_glass::read_order(file).map_err(|wrong| format!("`{}`: {wrong}", file.display()).into())
}
