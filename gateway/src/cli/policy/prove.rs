//! `popgate policy diff --prove`: that nobody sees more, shown by a solver for every request that the schema allows.

use std::collections::BTreeSet;
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
    proof.proven = proof.counterexamples.is_empty() && proof.open.is_empty();
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

/// Who asks for what, what for, and what is known of it.
fn words(found: &Env) -> Vec<String> {
    let request = &found.request;
    let named = |uid: Option<&EntityUid>| uid.map_or_else(|| "anybody".to_owned(), ToString::to_string);
    let mut words = vec![format!(
        "{} asks {} about {}",
        named(request.principal()),
        named(request.action()),
        named(request.resource())
    )];
    words.extend(request.context().map(|context| format!("context {context}")));
    let text = found.to_string();
    let entities = text.lines().map(str::trim).filter(|line| line.ends_with(','));
    let mentioned: BTreeSet<&str> = entities.filter(|line| !line.starts_with("Action::")).collect();
    words.extend(mentioned.into_iter().map(|line| line.trim_end_matches(',').to_owned()));
    words
}

fn no_solver(error: &dyn std::error::Error) -> String {
    format!(
        "the solver does not start ({error}): install cvc5 (Debian's package `cvc5`), or name it by the variable CVC5"
    )
}

/// For one question; what takes longer is not shown.
const LIMIT: &str = "--tlimit-per=20000";
