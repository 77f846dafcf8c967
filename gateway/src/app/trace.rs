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
use popgate_policy::model::{DisclosureId, FieldIx, FieldSet};
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
    /// What was shown of each field, by its full name: of all persons, the most.
    seen: BTreeMap<String, How>,
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

/// How much of a field was shown: the later the more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum How {
    Matched,
    PossiblySeen,
    Masked,
    Revealed,
}

/// Why a request was not found.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// The log cannot be read, or is damaged before the request's end.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// Nobody waits for it any more.
    #[error("nobody waits for the request any more")]
    GivenUp,
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

/// Finds a request in a log. With the key, what it claimed is known. `is_given_up` is asked at each record: a log may be long.
///
/// # Errors
/// If the log cannot be read, is damaged before the request's end, or the search was given up.
pub fn find(
    dir: &Path,
    key: Option<&AuditKey>,
    id: DisclosureId,
    is_given_up: &dyn Fn() -> bool,
) -> Result<Option<Traced>, FindError> {
    let mut suspended = BTreeMap::new();
    let mut traced: Option<Traced> = None;
    let (mut first, mut open) = (None, BTreeMap::new());
    for entry in read::once(dir, key, None)? {
        let entry = entry?;
        if is_given_up() {
            return Err(FindError::GivenUp);
        }
        match entry.what {
            What::Action(action) => note(&mut suspended, *action),
            What::Intent(intent) if intent.disclosure == id => {
                open.insert(entry.seq, (Arc::clone(&intent.schema), intent.fields));
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
                    seen: BTreeMap::new(),
                    brought: brought(intent.brought, intent.sealed.as_ref()),
                    assurance: assurance.map(|value| value.expose().clone()),
                    became: Became::Open,
                    persons: 0,
                    suspended: in_force(&suspended, entry.at),
                });
            }
            What::Closing(closing) => {
                let Some((schema, _)) = open.remove(&closing.intent) else { continue };
                if let Some(traced) = &mut traced {
                    traced.closed(&schema, &closing.outcome);
                    if first == Some(closing.intent) {
                        traced.became = Became::Ended(closing.outcome);
                    }
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
                    seen: BTreeMap::new(),
                    brought: brought(refused.brought, refused.sealed.as_ref()),
                    assurance: assurance.map(|value| value.expose().clone()),
                    became: Became::Refused(refused.code),
                    persons: 0,
                    suspended: in_force(&suspended, entry.at),
                });
                break;
            }
            What::Intent(_) | What::Refused(_) => {}
        }
    }
    if let Some(traced) = &mut traced {
        open.values().for_each(|(schema, widest)| traced.saw(schema, *widest, How::PossiblySeen));
    }
    Ok(traced)
}

impl Traced {
    /// What a closing says was shown: the request's own, or that of a person whom only the answer named.
    fn closed(&mut self, schema: &Schema, ended: &Ended) {
        if let Ended::Complete(shown) | Ended::Partial(shown) = ended {
            let Shown { revealed, masked, matched } = *shown;
            for (fields, how) in [(revealed, How::Revealed), (masked, How::Masked), (matched, How::Matched)] {
                self.saw(schema, fields, how);
            }
        }
    }

    fn saw(&mut self, schema: &Schema, fields: FieldSet, how: How) {
        for name in fields.iter().filter_map(|FieldIx(at)| schema.fields.get(usize::from(at))) {
            let most = self.seen.entry(name.clone()).or_insert(how);
            *most = how.max(*most);
        }
    }

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
        let computed = found.gates(&env, self.brought.is_some()).err().or_else(|| found.denial(&trial, &given));
        let turned = self.turned(computed);
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
        let explained = explain(&situation, found.answered().union(found.counted()).union(parameters));
        let Explanation { fields, disagreements } = explained.ok_or("the bundle that is kept has no table for it")?;
        trace.fields = fields
            .into_iter()
            .map(|explained| FieldTraced { shown: self.shown(&explained.field), explained })
            .collect();
        trace.notes.extend(disagreements);
        trace.notes.extend(contradiction(turned, computed));
        self.remark(&found, trace);
        Ok(())
    }

    /// What shut a gate. The record has the last word: of the parameters that a request had, and of what was lent, it has nothing.
    fn turned(&self, computed: Option<Turned>) -> Option<Turned> {
        let of = |code: &str| GATES.iter().flat_map(|(_, all)| *all).copied().find(|turned| turned.code() == code);
        match &self.became {
            Became::Refused(code) => of(code).or(computed),
            Became::Ended(Ended::Refused(code)) => of(code),
            Became::Ended(_) | Became::Open => None,
        }
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
        if !matches!(self.became, Became::Ended(Ended::Complete(_) | Ended::Partial(_))) {
            return;
        }
        let is_more_of = |fields: FieldSet| {
            trace.fields.iter().any(|FieldTraced { shown, explained }| {
                *shown == NOT_SHOWN
                    && !explained.waits_for_record
                    && SHOWN_WORDS.iter().any(|word| explained.answered.starts_with(word))
                    && fields.iter().any(|field| found.name(field) == explained.field)
            })
        };
        // A search that found nobody had no record that could have a field.
        let had_record = found.operation().subject.is_some() || self.persons > 0;
        let (of_record, of_all) = (had_record && is_more_of(found.answered()), is_more_of(found.counted()));
        if of_record {
            trace.notes.push("a field that policies show and that was not shown: the record did not have it, or a plugin or a sealed person stood in the way".to_owned());
        }
        if of_all {
            trace.notes.push("what a search says of all that it found is shown only where the register says it and nobody of them can be hidden".to_owned());
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
        match self.seen.get(field) {
            Some(How::Revealed) => "revealed",
            Some(How::Masked) => "masked",
            Some(How::PossiblySeen) => "possibly seen",
            Some(How::Matched) => "matched",
            None => NOT_SHOWN,
        }
    }
}

/// That the record and what can be computed from it do not agree about the gates.
fn contradiction(turned: Option<Turned>, computed: Option<Turned>) -> Option<String> {
    match (turned, computed) {
        (turned, computed) if turned == computed => None,
        (Some(turned), _) => Some(format!(
            "it was refused with `{}`, and what brought that about is not in the log, such as the parameters that it had and what was lent",
            turned.code()
        )),
        (None, Some(computed)) => Some(format!(
            "every gate let it pass, though by what the log has it would have been refused with `{}`: what it claimed is sealed, or the log is of an older version",
            computed.code()
        )),
        (None, None) => None,
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
