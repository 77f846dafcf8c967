//! `popgate policy diff --prove`: that nobody sees more, shown by a solver for every request that the schema allows.

use std::io;

use cedar_policy::{EntityUid, PolicySet, RequestEnv, Schema};
use cedar_policy_symcc::solver::LocalSolver;
use cedar_policy_symcc::{CedarSymCompiler, CompiledPolicySet, Env};
use popgate_policy::analysis::{Obligation, obligations};
use popgate_policy::bundle::Bundle;
use serde::Serialize;

/// What came of it.
#[derive(Debug, Serialize)]
pub(super) struct Proof {
    /// Whether all was shown.
    pub(super) proven: bool,
    /// How many implications a solver had to show, and how many the same policies settle.
    pub(super) shown: usize,
    pub(super) settled: usize,
    /// Requests that the new policies allow and the old ones do not; the first of each that there are.
    pub(super) counterexamples: Vec<Counterexample>,
    /// What could not be shown, and why.
    pub(super) open: Vec<String>,
    /// What the proof does not speak of.
    pub(super) beyond: Vec<String>,
}

/// A request that gets more. The solver made it up: it may be about agencies that no directory has.
#[derive(Debug, Serialize)]
pub(super) struct Counterexample {
    pub(super) operation: String,
    pub(super) least: String,
    pub(super) request: Vec<String>,
}

/// Asks the solver that `CVC5` names, else `cvc5`.
pub(super) fn prove(old: &Bundle, new: &Bundle) -> Result<Proof, Box<dyn std::error::Error>> {
    let wanted = obligations(old, new);
    let mut proof = Proof {
        proven: false,
        shown: 0,
        settled: wanted.settled,
        counterexamples: Vec::new(),
        open: Vec::new(),
        beyond: wanted.beyond,
    };
    if !wanted.open.is_empty() {
        let (schema, _) = Schema::from_cedarschema_str(&wanted.schema).map_err(|error| error.to_string())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            for obligation in &wanted.open {
                let what = format!("{}, {}", obligation.operation, obligation.least);
                // Each has a solver of its own: one that ran out of time answers nothing more.
                let solver =
                    LocalSolver::cvc5_with_args([LIMIT]).map_err(|error| io::Error::other(no_solver(&error)))?;
                let mut solver = CedarSymCompiler::new(solver).map_err(|error| io::Error::other(error.to_string()))?;
                match shown(&mut solver, obligation, &schema).await {
                    Ok(None) => proof.shown += 1,
                    Ok(Some(found)) => proof.counterexamples.push(Counterexample {
                        operation: obligation.operation.clone(),
                        least: obligation.least.clone(),
                        request: words(&found),
                    }),
                    Err(message) => proof.open.push(format!("{what}: {message}")),
                }
            }
            Ok::<_, io::Error>(())
        })?;
    }
    proof.proven = proof.counterexamples.is_empty() && proof.open.is_empty() && wanted.unordered.is_empty();
    Ok(proof)
}

async fn shown(
    solver: &mut CedarSymCompiler<LocalSolver>,
    obligation: &Obligation,
    schema: &Schema,
) -> Result<Option<Env>, String> {
    let [old, new] = [&obligation.old, &obligation.new].map(|texts| policies(texts));
    let (old, new) = (old?, new?);
    let of = |env: &RequestEnv| env.action().id().unescaped() == obligation.operation;
    for env in schema.request_envs().filter(of) {
        let compile =
            |set: &PolicySet| CompiledPolicySet::compile(set, &env, schema).map_err(|error| error.to_string());
        let (old, new) = (compile(&old)?, compile(&new)?);
        let found =
            solver.check_implies_with_counterexample_opt(&new, &old).await.map_err(|error| error.to_string())?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn policies(texts: &[String]) -> Result<PolicySet, String> {
    texts.join("\n").parse::<PolicySet>().map_err(|error| error.to_string())
}

/// Who asks for what, what for, and what is so of caller, field, circumstances and record; not the rest of the world.
fn words(found: &Env) -> Vec<String> {
    let request = &found.request;
    let named = |uid: Option<&EntityUid>| uid.map_or_else(|| "anybody".to_owned(), ToString::to_string);
    let (principal, resource) = (named(request.principal()), named(request.resource()));
    let mut words = vec![format!("{principal} asks {} about {resource}", named(request.action()))];
    words.extend(request.context().map(|context| format!("context {context}")));
    let text = found.to_string();
    let mut is_wanted = false;
    for line in text.lines().skip_while(|line| *line != "entities: [").skip(1) {
        let said = line.trim().trim_end_matches([',', '{', '}']).trim_end();
        if !line.starts_with("    ") {
            let begins = |name: &String| said == name || said.starts_with(&format!("{name} in "));
            let kind = said.split("::").next().unwrap_or_default();
            is_wanted = [&principal, &resource].into_iter().any(begins) || kind == "Env" || kind.ends_with("Record");
            words.extend((is_wanted && !said.is_empty()).then(|| said.to_owned()));
        } else if let Some(entity) = words.last_mut().filter(|_| is_wanted) {
            entity.push_str(&format!("; {said}"));
        }
    }
    words
}

fn no_solver(error: &dyn std::error::Error) -> String {
    format!(
        "the solver does not start ({error}): install cvc5 (Debian's package `cvc5`), or name it by the variable CVC5"
    )
}

/// For one question; what takes longer is not shown.
const LIMIT: &str = "--tlimit-per=20000";
