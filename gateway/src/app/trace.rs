//! Which request, which rule: one request of the audit log, and why each field of its answer was shown or not, by the bundle that was in
//! force then.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use popgate_policy::analysis::{Explanation, Situation, explain};
use popgate_policy::bundle::{Bundle, Digest};
use popgate_policy::engine::mirror::{Found, Mirror, Named, Turned};
use popgate_policy::model::{DisclosureId, FieldSet};
use popgate_policy::permit::Env;
use serde::Serialize;

use crate::app::bundle_store::Store;
use crate::audit::{Action, AuditKey, Brought, Damage, Ended, Schema, Shown, What, read};
use crate::clock::Clock;

/// What the log has of one request.
#[derive(Debug)]
pub struct Traced {
    id: DisclosureId,
    at: Timestamp,
    system: Option<Arc<str>>,
    exchange: Option<Arc<str>>,
    operation: Option<Arc<str>>,
    purpose: Option<Arc<str>>,
    source: IpAddr,
    bundle: Option<Digest>,
    schema: Option<Arc<Schema>>,
    /// The most that may have been shown.
    widest: FieldSet,
    brought: Option<Brought>,
    assurance: Option<String>,
    became: Became,
    /// Persons whom only the answer named.
    persons: usize,
    /// Permits that were suspended then.
    suspended: BTreeSet<String>,
}

#[derive(Debug)]
enum Became {
    Refused(Arc<str>),
    Ended(Ended),
    Open,
}

/// One request, explained.
#[derive(Debug, Serialize)]
pub struct Trace {
    /// `Gateway-Request-Id`.
    pub request_id: String,
    /// When.
    pub at: String,
    /// Who.
    pub system: Option<String>,
    /// The exchange server that spoke for it.
    pub exchange: Option<String>,
    /// What.
    pub operation: Option<String>,
    /// What for.
    pub purpose: Option<String>,
    /// From where.
    pub source: String,
    /// What became of it: `complete`, `partial`, `possibly seen`, `no match (...)`, `refused: code`, `aborted`.
    pub outcome: String,
    /// Persons whom only the answer named; each has an entry of its own in the log.
    pub persons: usize,
    /// The bundle that was in force.
    pub bundle: Option<String>,
    /// Permits that were suspended then.
    pub suspended: BTreeSet<String>,
    /// Each gate, in the order in which they are asked.
    pub gates: Vec<GateTraced>,
    /// Each field of the answer.
    pub fields: Vec<FieldTraced>,
    /// What is to be known about it.
    pub notes: Vec<String>,
    /// Why it is not explained, if it is not.
    pub unexplained: Option<String>,
}

/// A gate.
#[derive(Debug, Serialize)]
pub struct GateTraced {
    /// Its name.
    pub gate: &'static str,
    /// Whether it let the request pass; `None` if it was not asked, or that is not known.
    pub agreed: Option<bool>,
    /// The refusal's code.
    pub code: Option<&'static str>,
}

/// A field, with what was shown of it.
#[derive(Debug, Serialize)]
pub struct FieldTraced {
    /// `revealed`, `masked`, `matched`, `possibly seen` or `not shown`.
    pub shown: &'static str,
    /// What the policies made of it, and why.
    #[serde(flatten)]
    pub explained: popgate_policy::analysis::FieldExplained,
}

/// Finds a request in a log. With the key, what it claimed is known.
///
/// # Errors
/// If the log cannot be read, or is damaged before the request's end.
pub fn find(dir: &Path, key: Option<&AuditKey>, id: DisclosureId) -> Result<Option<Traced>, Damage> {
    let mut suspended = BTreeMap::new();
    let mut traced: Option<Traced> = None;
    let (mut first, mut open) = (None, BTreeSet::new());
    for entry in read::once(dir, key, None)? {
        let entry = entry?;
        match entry.what {
            What::Action(action) => note(&mut suspended, *action),
            What::Intent(intent) if intent.disclosure == id => {
                open.insert(entry.seq);
                if let Some(traced) = &mut traced {
                    traced.persons += 1;
                    continue;
                }
                first = Some(entry.seq);
                let assurance = intent.sealed.as_ref().and_then(|sealed| sealed.claimed.assurance.as_ref());
                traced = Some(Traced {
                    id,
                    at: entry.at,
                    system: Some(intent.system),
                    exchange: intent.exchange,
                    operation: Some(intent.operation),
                    purpose: Some(intent.purpose),
                    source: intent.source,
                    bundle: Some(intent.schema.bundle),
                    widest: intent.fields,
                    brought: brought(intent.brought, intent.sealed.as_ref()),
                    assurance: assurance.map(|value| value.expose().clone()),
                    schema: Some(intent.schema),
                    became: Became::Open,
                    persons: 0,
                    suspended: in_force(&suspended, entry.at),
                });
            }
            What::Closing(closing) if open.remove(&closing.intent) => {
                if let Some(traced) = traced.as_mut().filter(|_| first == Some(closing.intent)) {
                    traced.became = Became::Ended(closing.outcome);
                }
                if open.is_empty() {
                    break;
                }
            }
            What::Refused(refused) if refused.disclosure == id => {
                let assurance = refused.sealed.as_ref().and_then(|sealed| sealed.claimed.assurance.as_ref());
                traced = Some(Traced {
                    id,
                    at: entry.at,
                    system: refused.system,
                    exchange: refused.exchange,
                    operation: refused.operation,
                    purpose: refused.purpose,
                    source: refused.source,
                    bundle: refused.bundle,
                    schema: None,
                    widest: FieldSet::EMPTY,
                    brought: brought(refused.brought, refused.sealed.as_ref()),
                    assurance: assurance.map(|value| value.expose().clone()),
                    became: Became::Refused(refused.code),
                    persons: 0,
                    suspended: in_force(&suspended, entry.at),
                });
                break;
            }
            What::Intent(_) | What::Closing(_) | What::Refused(_) => {}
        }
    }
    Ok(traced)
}

impl Traced {
    /// Explains it by the bundle that was in force, if that is kept.
    pub fn explain(&self, store: &Store, clock: &Clock) -> Trace {
        let mut trace = Trace {
            request_id: self.id.to_string(),
            at: format!("{:.6}", self.at),
            system: self.system.as_deref().map(str::to_owned),
            exchange: self.exchange.as_deref().map(str::to_owned),
            operation: self.operation.as_deref().map(str::to_owned),
            purpose: self.purpose.as_deref().map(str::to_owned),
            source: self.source.to_string(),
            outcome: self.outcome(),
            persons: self.persons,
            bundle: self.bundle.map(|bundle| bundle.to_string()),
            suspended: self.suspended.clone(),
            gates: Vec::new(),
            fields: Vec::new(),
            notes: Vec::new(),
            unexplained: None,
        };
        trace.unexplained = self.by_its_bundle(store, clock, &mut trace).err();
        trace
    }

    fn by_its_bundle(&self, store: &Store, clock: &Clock, trace: &mut Trace) -> Result<(), String> {
        let digest = self.bundle.ok_or("the record is older than that refusals name the bundle that was in force")?;
        let (Some(system), Some(operation), Some(purpose)) = (&self.system, &self.operation, &self.purpose) else {
            return Err(
                "it was refused before it was known who asked what for what purpose: no policy had a say".to_owned()
            );
        };
        let kept = store.load(&digest).map_err(|error| error.to_string())?;
        let loaded = Bundle::load(&kept.source)
            .map_err(|_| format!("bundle {digest} is kept, and this version of popgate does not accept it"))?;
        let mirror = Mirror::of(Arc::new(loaded.bundle.without(&self.suspended)));
        let named = Named { system, exchange: self.exchange.as_deref(), operation, purpose };
        let found = mirror.find(named).map_err(|gone| format!("bundle {digest} has no such {}", gone.as_str()))?;
        let env = self.env(clock);
        let trial = mirror.trial(&found, &env).ok_or("the bundle that is kept has no table for it")?;
        let given = found.given(|_| false);
        let turned = found.gates(&env, self.brought.is_some()).err().or_else(|| found.denial(&trial, &given));
        trace.gates = self.gates(turned);
        let situation = Situation {
            bundle: mirror.bundle(),
            system: found.system(),
            operation: found.operation(),
            purpose: found.purpose(),
            env: &env,
            record: None,
        };
        let parameters = found.operation().parameters.iter().map(|parameter| parameter.field).collect();
        let explained = explain(&situation, found.answered().union(parameters));
        let Explanation { fields, disagreements } = explained.ok_or("the bundle that is kept has no table for it")?;
        trace.fields = fields
            .into_iter()
            .map(|explained| FieldTraced { shown: self.shown(&explained.field), explained })
            .collect();
        trace.notes.extend(disagreements);
        self.remark(&found, trace);
        Ok(())
    }

    /// What policies cannot tell.
    fn remark(&self, found: &Found, trace: &mut Trace) {
        let asks = |claim: &str| found.asks().about(claim);
        if self.brought.is_none() && ["claimed_user", "claimed_case", "claimed_assurance"].into_iter().any(asks) {
            trace.notes.push(
                "policies ask what the request claimed, which this older record has sealed alone: name the audit key"
                    .to_owned(),
            );
        } else if self.brought.is_some_and(|brought| brought.assurance)
            && self.assurance.is_none()
            && asks("claimed_assurance")
        {
            trace
                .notes
                .push("policies ask which assurance was claimed, which is sealed: name the audit key".to_owned());
        }
        let is_more = |field: &FieldTraced| {
            field.shown == NOT_SHOWN
                && !field.explained.waits_for_record
                && SHOWN_WORDS.iter().any(|word| field.explained.answered.starts_with(word))
        };
        if matches!(self.became, Became::Ended(Ended::Complete(_) | Ended::Partial(_)))
            && trace.fields.iter().any(is_more)
        {
            trace.notes.push("a field that policies show and that was not shown: the record did not have it, or a plugin or a sealed person stood in the way".to_owned());
        }
    }

    /// Those before the one that was shut let it pass; those after it were not asked.
    fn gates(&self, turned: Option<Turned>) -> Vec<GateTraced> {
        let at = turned.and_then(|turned| GATES.iter().position(|(_, all)| all.contains(&turned)));
        let gate = |(place, (gate, _)): (usize, &(&'static str, &[Turned]))| {
            let told = *gate != "evidence" || self.brought.is_some();
            GateTraced {
                gate,
                agreed: match at {
                    Some(shut) if place == shut => Some(false),
                    Some(shut) if place > shut => None,
                    _ => told.then_some(true),
                },
                code: turned.filter(|_| at == Some(place)).map(Turned::code),
            }
        };
        GATES.iter().enumerate().map(gate).collect()
    }

    fn env(&self, clock: &Clock) -> Env {
        let local = clock.local_at(self.at);
        let brought = self.brought.unwrap_or_default();
        Env {
            date: local.date(),
            hour: local.hour(),
            minute: local.minute(),
            source: self.source,
            claimed_assurance: self.assurance.clone().or_else(|| brought.assurance.then(String::new)),
            claimed_user: brought.user,
            claimed_case: brought.case,
        }
    }

    fn outcome(&self) -> String {
        match &self.became {
            Became::Refused(code) => format!("refused: {code}"),
            Became::Open => "possibly seen".to_owned(),
            Became::Ended(Ended::Complete(_)) => "complete".to_owned(),
            Became::Ended(Ended::Partial(_)) => "partial".to_owned(),
            Became::Ended(Ended::NoMatch(reason)) => format!("no match ({})", reason.as_str()),
            Became::Ended(Ended::Refused(code)) => format!("refused: {code}"),
            Became::Ended(Ended::Aborted) => "aborted".to_owned(),
        }
    }

    /// What was shown of a field, by its full name.
    fn shown(&self, field: &str) -> &'static str {
        let at = self.schema.as_ref().and_then(|schema| schema.fields.iter().position(|name| name == field));
        let Some(at) = at.and_then(|at| u16::try_from(at).ok()).map(popgate_policy::model::FieldIx) else {
            return NOT_SHOWN;
        };
        match &self.became {
            Became::Ended(Ended::Complete(shown) | Ended::Partial(shown)) => {
                let Shown { revealed, masked, matched } = shown;
                let all = [(revealed, "revealed"), (masked, "masked"), (matched, "matched")];
                all.into_iter().find(|(set, _)| set.contains(at)).map_or(NOT_SHOWN, |(_, how)| how)
            }
            Became::Open if self.widest.contains(at) => "possibly seen",
            _ => NOT_SHOWN,
        }
    }
}

fn brought(told: Option<Brought>, sealed: Option<&crate::audit::Unsealed>) -> Option<Brought> {
    told.or_else(|| sealed.map(|sealed| Brought::from(&sealed.claimed)))
}

/// Keeps which policies are suspended, and until when.
fn note(suspended: &mut BTreeMap<String, Option<Timestamp>>, action: Action) {
    let Some(policy) = action.target.strip_prefix("policy ") else { return };
    match action.what.as_str() {
        "suspend" => {
            suspended.insert(policy.to_owned(), action.until);
        }
        "resume" => {
            suspended.remove(policy);
        }
        _ => {}
    }
}

fn in_force(suspended: &BTreeMap<String, Option<Timestamp>>, at: Timestamp) -> BTreeSet<String> {
    let still = suspended.iter().filter(|(_, until)| until.is_none_or(|until| at < until));
    still.map(|(policy, _)| policy.clone()).collect()
}

const NOT_SHOWN: &str = "not shown";
const SHOWN_WORDS: [&str; 2] = ["revealed", "masked"];
/// In the order in which they are asked.
const GATES: [(&str, &[Turned]); 6] = [
    ("network", &[Turned::Network]),
    ("exchange", &[Turned::Exchange]),
    ("directory", &[Turned::NotEnrolled]),
    ("registry", &[Turned::Expired]),
    ("evidence", &[Turned::Evidence]),
    ("policies", &[Turned::Policies, Turned::Parameter]),
];
