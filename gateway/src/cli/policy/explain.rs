//! `popgate policy explain`: what a caller gets of each field, and which policies say so.

use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use jiff::civil::DateTime;
use popgate_policy::analysis::{Answer, Explanation, Facts, FieldExplained, PolicyExplained, Situation, explain};
use popgate_policy::bundle::Bundle;
use popgate_policy::contract::Operation;
use popgate_policy::directory::{Purpose, System};
use popgate_policy::model::FieldSet;
use popgate_policy::permit::Env;
use serde_json::json;

use super::{Place, unknown};
use crate::cli::report::{BOLD, GREEN, RED, YELLOW, paint};
use crate::clock::Clock;

/// Tell what a caller gets of each field, and which policies decide it
///
/// Each policy in whose scope a field is, with its file, its line and each of its conditions: what it was, and which one kept the policy from
/// applying. Without a record, what depends on it is told as such.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  popgate policy explain --agency telecom-a --operation citizen.lookup --bundle /etc/popgate/bundle
  popgate policy explain --system tax/etax --operation citizen.read --purpose assessment --field Citizen.phone --config gateway.toml
  popgate policy explain --agency bank-a --operation citizen.lookup --purpose credit-assessment --assurance high --at 2026-12-01T23:30 --bundle .
  popgate policy explain --agency ha-noi --operation citizen.read --purpose residence-management --record person.json --bundle . --json

The record is one as the register answers it; nothing of it is printed but what its conditions came to.
Exit codes: 0 explained, 1 not (also if table and text should ever disagree: a bug), 2 usage")]
pub struct Args {
    #[command(flatten)]
    caller: Caller,
    /// The operation, such as citizen.lookup
    #[arg(long, value_name = "ID")]
    operation: String,
    /// The purpose; the one that the system is enrolled for, if it is one
    #[arg(long, value_name = "ID")]
    purpose: Option<String>,
    /// Explain this field in full, and no others (repeatable)
    #[arg(long, value_name = "NAME")]
    field: Vec<String>,
    /// A file with the record that the register answers
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// The local time, such as 2026-12-01T09:30; now if not given
    #[arg(long, value_name = "TIME")]
    at: Option<DateTime>,
    /// The address that the request comes from; one of the system's networks if not given
    #[arg(long, value_name = "ADDRESS")]
    from: Option<IpAddr>,
    /// `Gateway-Assurance`, as the agency says
    #[arg(long, value_name = "LEVEL")]
    assurance: Option<String>,
    /// The agency names an end user
    #[arg(long)]
    user: bool,
    /// The agency names a case
    #[arg(long)]
    case: bool,
    #[command(flatten)]
    place: Place,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Caller {
    /// The system that asks, such as tax/etax
    #[arg(long, value_name = "AGENCY/SYSTEM")]
    system: Option<String>,
    /// The agency that asks, if its systems are all alike
    #[arg(long, value_name = "ID")]
    agency: Option<String>,
}

/// Runs the subcommand.
///
/// # Errors
/// If one of the names is not of the bundle, the record cannot be read, or `out` cannot be written.
pub fn run(args: &Args, colour: bool, out: &mut dyn Write) -> Result<ExitCode, Box<dyn Error>> {
    let Some((bundle, zone)) = args.place.load()? else { return Ok(Place::nowhere()) };
    let operations = || bundle.contracts().operations().iter().map(|operation| operation.id.as_str());
    let operation = bundle.contracts().operation(&args.operation);
    let operation = operation.ok_or_else(|| unknown("operation", &args.operation, operations()))?;
    let (system, purpose) = args.who(&bundle)?;
    let at = args.at.map_or_else(|| Clock::system(&zone).map(|clock| clock.local()), Ok)?;
    let env = Env {
        date: at.date(),
        hour: at.hour(),
        minute: at.minute(),
        source: args.from.unwrap_or_else(|| somewhere(&system)),
        claimed_assurance: args.assurance.clone(),
        claimed_user: args.user,
        claimed_case: args.case,
    };
    let record = args.record.as_ref().map(|file| -> Result<Facts, Box<dyn Error>> {
        let name = file.display();
        let record = fs::read(file).map_err(|error| format!("cannot read `{name}`: {error}"))?;
        let facts = Facts::read(operation, &Bytes::from(record), env.date);
        Ok(facts.map_err(|error| format!("the record in `{name}` is none of `{}`: {error}", operation.record.name))?)
    });
    let record = record.transpose()?;
    let facts = record.as_ref().map(Facts::facts);
    let situation = Situation {
        bundle: &bundle,
        system: &system,
        operation,
        purpose: &purpose,
        env: &env,
        record: facts.as_deref(),
    };
    let explanation = explain(&situation, args.fields(operation)?).ok_or("the bundle cannot be asked about that")?;
    let said = Said { situation: &situation, at, full: !args.field.is_empty(), colour };
    if args.json {
        writeln!(out, "{}", said.json(&explanation))?;
    } else {
        said.write(&explanation, out)?;
    }
    for disagreement in &explanation.disagreements {
        out.flush()?;
        let _ = writeln!(io::stderr(), "error: a bug of popgate, tell its makers: {disagreement}");
    }
    Ok(if explanation.disagreements.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Args {
    /// Who asks, and what for.
    fn who(&self, bundle: &Bundle) -> Result<(Arc<System>, Arc<Purpose>), Box<dyn Error>> {
        let systems = bundle.directory().systems();
        let meant: Vec<&Arc<System>> = match (&self.caller.system, &self.caller.agency) {
            (Some(id), _) => {
                let found = systems.iter().find(|system| system.id.as_str() == id);
                vec![found.ok_or_else(|| unknown("system", id, systems.iter().map(|system| system.id.as_str())))?]
            }
            (None, agency) => {
                let id = agency.as_deref().unwrap_or_default();
                let found: Vec<_> = systems.iter().filter(|system| system.agency.id.as_str() == id).collect();
                if found.is_empty() {
                    let known = bundle.directory().agencies().map(|agency| agency.id.as_str());
                    return Err(unknown("agency with a system", id, known));
                }
                found
            }
        };
        let named = self.purpose.as_deref().map(|id| {
            let known = bundle.directory().purposes().map(|purpose| purpose.id.as_str());
            bundle.directory().purpose(id).ok_or_else(|| unknown("purpose", id, known))
        });
        let named = named.transpose()?;
        let may = |system: &System, purpose: &Purpose| purpose.break_glass || system.purposes.contains(&purpose.id);
        let able: Vec<&&Arc<System>> =
            meant.iter().filter(|system| named.is_none_or(|purpose| may(system, purpose))).collect();
        let system = match (able.as_slice(), named) {
            ([], Some(purpose)) => {
                let names = meant.iter().map(|system| format!("`{}`", system.id)).collect::<Vec<_>>().join(", ");
                return Err(
                    format!("{names} may not use the purpose `{}`: it is not enrolled for it", purpose.id).into()
                );
            }
            ([], None) => return Err("no system may ask".into()),
            ([one], _) => Arc::clone(one),
            ([first, rest @ ..], _) => {
                let shape = |system: &System| (bundle.engine().shape_of(system), system.purposes.clone());
                if rest.iter().any(|other| shape(other) != shape(first)) {
                    let names = able.iter().map(|system| system.id.as_str()).collect::<Vec<_>>().join(", ");
                    return Err(format!("its systems are not all alike: name one of {names} with --system").into());
                }
                Arc::clone(first)
            }
        };
        let purpose = match (named, system.purposes.as_slice()) {
            (Some(purpose), _) => Arc::clone(purpose),
            (None, [one]) => {
                bundle.directory().purpose(one.as_str()).cloned().ok_or("its purpose is not of the bundle")?
            }
            (None, several) => {
                let names = several.iter().map(|purpose| purpose.as_str()).collect::<Vec<_>>().join(", ");
                return Err(
                    format!("`{}` may use several purposes: name one of {names} with --purpose", system.id).into()
                );
            }
        };
        Ok((system, purpose))
    }

    fn fields(&self, operation: &Operation) -> Result<FieldSet, Box<dyn Error>> {
        let all = &operation.record.fields;
        if self.field.is_empty() {
            return Ok(all.iter().map(|field| field.index).collect());
        }
        let mut wanted = FieldSet::EMPTY;
        for name in &self.field {
            let is = |field: &str| {
                field.strip_prefix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            let found: Vec<_> = all.iter().filter(|field| is(field.name.as_str())).collect();
            if found.is_empty() {
                let kind = format!("field in `{}` named", operation.id);
                return Err(unknown(&kind, name, all.iter().map(|field| field.name.as_str())));
            }
            found.iter().for_each(|field| wanted.insert(field.index));
        }
        Ok(wanted)
    }
}

/// An address that the system may come from.
fn somewhere(system: &System) -> IpAddr {
    let first = system.networks.first().and_then(|network| network.hosts().next());
    first.unwrap_or(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)))
}

/// How it is told.
struct Said<'a> {
    situation: &'a Situation<'a>,
    at: DateTime,
    /// Whether every policy is told, and not only what decides.
    full: bool,
    colour: bool,
}

impl Said<'_> {
    fn json(&self, explanation: &Explanation) -> serde_json::Value {
        let Situation { bundle, system, operation, purpose, env, record } = *self.situation;
        json!({
            "bundle": bundle.digest().to_string(),
            "system": system.id.as_str(),
            "operation": operation.id.as_str(),
            "purpose": purpose.id.as_str(),
            "at": self.at.strftime("%Y-%m-%dT%H:%M").to_string(),
            "from": env.source,
            "assurance": env.claimed_assurance,
            "user": env.claimed_user,
            "case": env.claimed_case,
            "record": record.is_some(),
            "valid": purpose.is_valid_on(env.date),
            "missing": self.missing(),
            "fields": explanation.fields,
            "disagreements": explanation.disagreements,
        })
    }

    /// What such a request is refused for before any policy is asked.
    fn missing(&self) -> Vec<String> {
        let Situation { system, purpose, env, .. } = *self.situation;
        let mut missing = Vec::new();
        if !purpose.is_valid_on(env.date) {
            missing.push(format!("the purpose `{}` is not valid on {}", purpose.id, env.date));
        }
        if !system.admits_source(env.source) {
            missing.push(format!("`{}` may not come from {}", system.id, env.source));
        }
        for what in &purpose.requires {
            use popgate_policy::directory::Requirement;
            let (there, option) = match what {
                Requirement::Case => (env.claimed_case, "--case"),
                Requirement::User => (env.claimed_user, "--user"),
                Requirement::Assurance => (env.claimed_assurance.is_some(), "--assurance"),
            };
            if !there {
                missing.push(format!("the purpose `{}` requires what {option} stands for", purpose.id));
            }
        }
        missing
    }

    fn write(&self, explanation: &Explanation, out: &mut dyn Write) -> io::Result<()> {
        let Situation { system, operation, purpose, env, record, .. } = *self.situation;
        let claims = [
            env.claimed_assurance.as_ref().map(|level| format!("assurance {level}")),
            env.claimed_user.then(|| "an end user".to_owned()),
            env.claimed_case.then(|| "a case".to_owned()),
            Some(if record.is_some() { "a record" } else { "no record" }.to_owned()),
        ];
        let claims = claims.into_iter().flatten().collect::<Vec<_>>().join(", ");
        writeln!(
            out,
            "{}",
            paint(&format!("{} asks {} for {}", system.id, operation.id, purpose.id), BOLD, self.colour)
        )?;
        writeln!(out, "at {} from {}, with {claims}", self.at.strftime("%Y-%m-%d %H:%M"), env.source)?;
        for missing in self.missing() {
            writeln!(out, "{}", paint(&format!("refused before any policy is asked: {missing}"), YELLOW, self.colour))?;
        }
        writeln!(out)?;
        explanation.fields.iter().try_for_each(|field| self.field(field, out))
    }

    fn field(&self, field: &FieldExplained, out: &mut dyn Write) -> io::Result<()> {
        let most = if field.waits_for_record { "at most " } else { "" };
        let colour = match field.treatment.as_str() {
            "revealed" => GREEN,
            "withheld" => RED,
            _ => YELLOW,
        };
        let treatment = paint(&format!("{most}{}", field.treatment), colour, self.colour);
        writeln!(out, "{} {treatment}: {}", paint(&field.field, BOLD, self.colour), field.because)?;
        if field.answered != field.treatment && !field.waits_for_record {
            writeln!(out, "    this operation's answers hold of it: {}", field.answered)?;
        }
        let mut told =
            field.policies.iter().filter(|policy| self.full || policy.decides || self.is_near(field, policy));
        told.try_for_each(|policy| {
            let whole = policy.decides || policy.state != Answer::False || self.is_near(field, policy);
            self.policy(policy, whole, out)
        })
    }

    /// Where nothing is permitted: a permit for this caller, purpose and field that something else keeps away.
    fn is_near(&self, field: &FieldExplained, policy: &PolicyExplained) -> bool {
        let constant = |text: &str| ["context.purpose", "resource", "principal"].iter().any(|part| text.contains(part));
        let mut stops = policy.conditions.iter().filter(|condition| condition.stops);
        field.treatment == "withheld"
            && policy.state == Answer::False
            && policy.effect.starts_with("permits")
            && stops.all(|condition| !constant(&condition.text))
    }

    fn policy(&self, policy: &PolicyExplained, whole: bool, out: &mut dyn Write) -> io::Result<()> {
        let state = match policy.state {
            Answer::True => "applies",
            Answer::False => "does not apply",
            Answer::Failed => "failed",
            Answer::WaitsForRecord => "waits for the record",
            Answer::NotAsked => "was not asked",
        };
        let PolicyExplained { policy: id, file, line, effect, .. } = policy;
        let mark = if policy.decides { "*" } else { " " };
        writeln!(out, "  {mark} `{id}` {effect}: {state} ({file}:{line})")?;
        // Of what has nothing to do with it, the first reason is enough.
        let conditions = policy.conditions.iter().filter(|condition| whole || condition.stops);
        for condition in conditions.take(if whole { usize::MAX } else { 1 }) {
            let is = match condition.is {
                Answer::True => "true",
                Answer::False => "false",
                Answer::Failed => "failed",
                Answer::WaitsForRecord => "waits",
                Answer::NotAsked => "not asked",
            };
            let line = format!("{is:<9} {} {{ {} }}", condition.kind, condition.text);
            let tells = condition.stops || condition.is == Answer::Failed;
            writeln!(out, "        {}", paint(&line, RED, tells && self.colour))?;
        }
        Ok(())
    }
}
