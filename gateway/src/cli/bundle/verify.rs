//! `popgate bundle verify`: what a gateway would say of a bundle's manifest.

use popgate_policy::problem::Severity;

use super::*;
use crate::admin::ProblemStatus;
use crate::app::config;
use crate::manifest::inspect;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The bundle's folder
    dir: PathBuf,
    /// Whose signatures count: a file with a section `[bundle.keys]`, in place of a configuration's
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "node"])]
    trust: Option<PathBuf>,
    /// What it is compared with: a bundle's folder, or the version or digest of one that was in force; what is in force under the
    /// configuration, if not given
    #[arg(long, value_name = "OLD")]
    from: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<ExitCode, Failed> {
    let source = bundle_files::read(&args.dir)?;
    let manifest = bundle_files::read_manifest(&args.dir)?;
    let (keys, history) = match &args.trust {
        Some(file) => {
            let text =
                fs::read_to_string(file).map_err(|error| format!("cannot read `{}`: {error}", file.display()))?;
            (config::trust(&text, file)?, None)
        }
        None => {
            let config = args.place.config()?;
            let store = Store::new(&config.state);
            (config.signing.keys, Some((store.history()?, store)))
        }
    };
    let held = history.as_ref().and_then(|(history, _)| history.held());
    let old = match (&args.from, &history) {
        (Some(name), _) => Some(named(name, &args.place)?.source),
        (None, Some((_, store))) => {
            let signed = held.filter(|held| held.signatures > 0);
            signed.map(|held| store.load(&held.digest)).transpose()?.map(|kept| kept.source)
        }
        (None, None) => None,
    };
    let mut found = inspect(manifest.as_deref(), &source, &keys, held.as_ref());
    let is_in_force = held.is_some_and(|held| held.signatures > 0 && held.digest == Digest::of(&source));
    let mut problems = found.problems();
    let mut change = None;
    match Bundle::load(&source) {
        Ok(loaded) => {
            let before = old.as_ref().map(Bundle::load).transpose();
            let before = before.map_err(|_| "what it is compared with has errors, see `popgate check`")?;
            change = before.map(|before| diff(&before.bundle, &loaded.bundle));
            if !is_in_force {
                found.weigh(change.as_ref());
                problems = found.problems();
            }
        }
        Err(wrong) => problems.extend(wrong.into_iter().filter(|it| it.severity == Severity::Error)),
    }
    let good = problems.is_empty();
    if args.json {
        let told: Vec<ProblemStatus> = problems.iter().map(ProblemStatus::from).collect();
        let told = json!({
            "ok": good, "manifest": found.signed.as_ref().map(Signed::manifest), "signed_by": found.signed_by,
            "strangers": found.strangers, "signatures": found.needed,
            "verdict": change.as_ref().map(|change| change.verdict), "problems": told,
        });
        writeln!(out, "{told}")?;
        return Ok(code(good));
    }
    if let Some(signed) = &found.signed {
        text::manifest(signed.manifest(), out)?;
        let by = if found.signed_by.is_empty() { "nobody".to_owned() } else { found.signed_by.join(", ") };
        let needed = found.needed.map(|needed| format!("; {needed} must")).unwrap_or_default();
        writeln!(out, "signed   by {by}{needed}")?;
    }
    if let Some(change) = &change {
        text::change(change, out)?;
    }
    report::write(&problems, false, out)?;
    writeln!(out, "{}", if good { "it may come into force" } else { "it may not come into force" })?;
    Ok(code(good))
}

fn code(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
