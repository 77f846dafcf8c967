//! `popgate check`: every mistake of a bundle and of a configuration, before it goes live.

use std::collections::BTreeSet;
use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use popgate_policy::bundle::{Bundle, Loaded};
use popgate_policy::problem::{Problem, Severity};
use serde_json::json;

use super::node::NodeArgs;
use super::report::{self, GREEN, RED, YELLOW, paint, plural};
use super::unnamed;
use crate::admin::ProblemStatus;
use crate::app::config::Config;
use crate::app::diff::Counts;
use crate::app::status::SOON;
use crate::app::{bundle_files, bundles};
use crate::clock::Clock;

mod remote;

/// Check a bundle, and a configuration, before they go live
///
/// Reports every mistake with its file, line, the offending text and a suggestion. A running gateway refuses exactly the
/// bundles that have an error here.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  popgate check /etc/popgate/bundle
  popgate check --config /etc/popgate/gateway.toml            and the bundle that it names
  popgate check ./bundle --config gateway.toml --json
  popgate check --node https://gateway-1:9443 --cert me.pem --key me.key --ca site.pem

With --node: what the node finds in the bundle that it was offered last; needs the role viewer.
Exit codes: 0 no errors (there may be warnings), 1 errors, 2 usage")]
pub struct Args {
    /// The bundle's folder; the one that the configuration names if not given
    #[arg(value_name = "DIR", conflicts_with = "node")]
    dir: Option<PathBuf>,
    /// Check this gateway.toml, too
    #[arg(long, value_name = "FILE", conflicts_with = "node")]
    config: Option<PathBuf>,
    /// Warn of operations that should have ended by this day, such as 2027-06-30, and of policies and purposes that end within 30
    /// days after it; today if not given
    #[arg(long, value_name = "DAY")]
    on: Option<jiff::civil::Date>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: NodeArgs,
}

/// Runs the subcommand. What it finds goes to `out`.
///
/// # Errors
/// If the node gives no answer, or `out` cannot be written.
pub fn run(args: &Args, colour: bool, out: &mut dyn Write) -> Result<ExitCode, Box<dyn Error>> {
    if args.dir.is_none() && args.config.is_none() {
        return match args.remote.node()? {
            Some(node) => remote::run(&node, args.json, colour, out),
            None => Ok(unnamed("the bundle's folder, a configuration with --config, or a node with --node")),
        };
    }
    let findings = Findings::of(args);
    if args.json {
        writeln!(out, "{}", findings.json())?;
    } else {
        findings.write(colour, out)?;
    }
    Ok(if findings.good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[derive(Default)]
struct Findings {
    problems: Vec<Problem>,
    config: Option<Config>,
    /// The bundle's digest, and how much is in it.
    bundle: Option<(String, Counts)>,
}

impl Findings {
    fn of(args: &Args) -> Self {
        let mut findings = Self::default();
        if let Some(file) = &args.config {
            match Config::read(file) {
                Ok(config) => findings.config = Some(config),
                Err(errors) => findings.problems.extend(errors.problems),
            }
        }
        let named = findings.config.as_ref().map(|config| config.bundle.clone());
        if let Some(dir) = args.dir.clone().or(named) {
            findings.check_bundle(&dir, args.on);
        }
        findings
    }

    fn check_bundle(&mut self, dir: &Path, on: Option<jiff::civil::Date>) {
        let source = match bundle_files::read(dir) {
            Ok(source) => source,
            Err(error) => {
                let file = dir.display().to_string();
                self.problems.push(Problem::error("unreadable-bundle", &file, error.to_string()));
                return;
            }
        };
        match Bundle::load(&source) {
            Ok(Loaded { bundle, warnings }) => {
                self.problems.extend(warnings);
                let day = on.or_else(|| self.today());
                self.problems.extend(day.map_or(Vec::new(), |day| bundle.past_sunset(day)));
                self.problems.extend(day.map_or(Vec::new(), |day| bundle.expiring(day, SOON)));
                self.check_registers(&bundle);
                self.check_plugins(&bundle);
                self.check_break_glass(&bundle);
                self.check_manifest(dir);
                self.bundle = Some((bundle.digest().to_string(), Counts::of(&source, &bundle)));
            }
            Err(problems) => self.problems.extend(problems),
        }
    }

    /// The day where the gateway stands.
    fn today(&self) -> Option<jiff::civil::Date> {
        let zone = self.config.as_ref().map_or("UTC", |config| config.time_zone.as_str());
        Clock::system(zone).ok().map(|clock| clock.local().date())
    }

    /// A register that a contract names must be configured for its operations to answer.
    fn check_registers(&mut self, bundle: &Bundle) {
        let Some(config) = &self.config else { return };
        let named: BTreeSet<_> =
            bundle.contracts().operations().iter().map(|operation| &operation.upstream.register).collect();
        for register in named.into_iter().filter(|register| !config.registers.contains_key(*register)) {
            let file = config.file.display().to_string();
            let message = format!("the contracts ask register `{register}`, which is not configured");
            let problem = Problem::warning("register-not-configured", &file, message);
            self.problems.push(problem.suggest(register.as_str(), config.registers.keys().map(|id| id.as_str())));
        }
    }

    /// What a plugin's table names must be there for the plugin to do what its author means.
    fn check_plugins(&mut self, bundle: &Bundle) {
        let plugins = self.config.iter().flat_map(|config| &config.plugins);
        self.problems.extend(plugins.flat_map(|plugin| plugin.unknown_in(bundle)));
    }

    /// Where signatures are required, what was not signed is refused.
    fn check_manifest(&mut self, dir: &Path) {
        let Some(config) = self.config.as_ref().filter(|config| config.signing.required) else { return };
        let config = Config { bundle: dir.to_owned(), ..config.clone() };
        let Ok(clock) = Clock::system(&config.time_zone) else { return };
        self.problems.extend(bundles::refused(&config, clock.wall()));
    }

    /// What only orders lend is for nobody where none are taken.
    fn check_break_glass(&mut self, bundle: &Bundle) {
        let Some(config) = self.config.as_ref().filter(|config| config.break_glass.is_none()) else { return };
        let file = config.file.display().to_string();
        for purpose in bundle.directory().purposes().filter(|purpose| purpose.break_glass) {
            let message = format!("nobody can ever use the break-glass purpose `{}`: no orders are taken", purpose.id);
            let problem = Problem::warning("break-glass-unusable", &file, message);
            self.problems.push(problem.help("add a section `[break_glass]`; `deploy/gateway.toml` shows one"));
        }
    }

    fn good(&self) -> bool {
        self.problems.iter().all(|problem| problem.severity == Severity::Warning)
    }

    fn write(&self, colour: bool, out: &mut dyn Write) -> io::Result<()> {
        report::write(&self.problems, colour, out)?;
        if let Some(summary) = report::summary(&self.problems) {
            writeln!(out, "{}", paint(&summary, if self.good() { YELLOW } else { RED }, colour))?;
        }
        if let Some(config) = &self.config {
            let ok = paint("configuration ok", GREEN, colour);
            let registers = plural(config.registers.len(), "register");
            let operators = plural(config.admin.operators.len(), "operator");
            let plugins = match config.plugins.len() {
                0 => String::new(),
                count => format!(", {}", plural(count, "plugin")),
            };
            writeln!(out, "{ok}: {registers}, {operators}{plugins}")?;
        }
        if let Some((digest, counts)) = &self.bundle {
            write_bundle(digest, counts, colour, out)?;
        }
        Ok(())
    }

    fn json(&self) -> serde_json::Value {
        let problems: Vec<ProblemStatus> = self.problems.iter().map(ProblemStatus::from).collect();
        let bundle = self.bundle.as_ref().map(|(digest, counts)| json!({ "digest": digest, "counts": counts }));
        json!({ "ok": self.good(), "problems": problems, "bundle": bundle })
    }
}

fn write_bundle(digest: &str, counts: &Counts, colour: bool, out: &mut dyn Write) -> io::Result<()> {
    let listed = [
        plural(counts.contracts, "contract"),
        plural(counts.operations, "operation"),
        plural(counts.agencies, "agency"),
        plural(counts.systems, "system"),
        plural(counts.purposes, "purpose"),
        plural(counts.policies, "policy"),
    ];
    writeln!(out, "{}: {}, digest {digest}", paint("bundle ok", GREEN, colour), listed.join(", "))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn reference() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/bundle")
    }

    /// A copy of the reference bundle with one file edited.
    fn edited(file: &str, edit: impl FnOnce(String) -> String) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in &bundle_files::read(&reference()).unwrap().files {
            let to = dir.path().join(path);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::write(to, text).unwrap();
        }
        let path = dir.path().join(file);
        fs::write(&path, edit(fs::read_to_string(&path).unwrap())).unwrap();
        dir
    }

    fn check(dir: Option<&Path>, config: Option<&Path>, json: bool) -> (bool, String) {
        let (dir, config) = (dir.map(Into::into), config.map(Into::into));
        let args = Args { dir, config, json, on: None, remote: NodeArgs::default() };
        let mut out = Vec::new();
        let good = run(&args, false, &mut out).unwrap() == ExitCode::SUCCESS;
        (good, String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_reference_bundle_is_good_and_counted() {
        let (good, out) = check(Some(&reference()), None, false);
        assert!(good, "{out}");
        let last = out.lines().last().unwrap();
        let contracts = fs::read_dir(reference().join("contracts")).unwrap().count();
        assert!(last.starts_with(&format!("bundle ok: {contracts} contracts, ")), "{out}");
        let digest = last.rsplit_once("digest ").unwrap().1;
        assert_eq!(digest.len(), 64);
    }

    #[test]
    fn a_mistake_is_shown_with_its_place_text_and_suggestion() {
        let dir = edited("agencies/tax.toml", |text| text.replacen("sector", "secter", 1));
        let (good, out) = check(Some(dir.path()), None, false);
        assert!(!good);
        assert!(out.contains("agencies/tax.toml\n  "), "{out}");
        assert!(out.contains("`secter`") && out.contains("did you mean `sector`?"), "{out}");
        assert!(out.lines().last().unwrap().contains(" error"), "{out}");
        assert!(!out.contains("bundle ok"));
    }

    #[test]
    fn json_has_the_same_findings() {
        let dir = edited("agencies/tax.toml", |text| text.replacen("sector", "secter", 1));
        let (_, out) = check(Some(dir.path()), None, true);
        let found: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(found["ok"], false);
        assert!(found["bundle"].is_null());
        let problems = found["problems"].as_array().unwrap();
        let typo = problems.iter().find(|p| p["message"].as_str().unwrap().contains("`secter`")).unwrap();
        assert_eq!(typo["file"], "agencies/tax.toml");
        assert_eq!(typo["severity"], "error");
        assert!(typo["line"].as_u64().unwrap() > 0);
        let (_, out) = check(Some(&reference()), None, true);
        let found: serde_json::Value = serde_json::from_str(&out).unwrap();
        let contracts = fs::read_dir(reference().join("contracts")).unwrap().count();
        assert_eq!(found["bundle"]["counts"]["contracts"], contracts);
    }

    #[test]
    fn a_configuration_is_checked_with_the_bundle_that_it_names() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("gateway.toml");
        let reference_config = reference().join("../gateway.toml");
        let text = fs::read_to_string(reference_config).unwrap();
        let text = text.replace("/etc/popgate/bundle", reference().to_str().unwrap());
        fs::write(&file, &text).unwrap();
        let (good, out) = check(None, Some(&file), false);
        assert!(good, "{out}");
        assert!(out.contains("configuration ok: 1 register, 2 operators\nbundle ok: "), "{out}");
        assert!(out.contains("nobody can ever use the break-glass purpose `disaster-response`"), "{out}");
        fs::write(&file, text.replace("[registers.population]", "[registers.people]")).unwrap();
        let (good, out) = check(None, Some(&file), false);
        assert!(good, "{out}");
        assert!(out.contains("the contracts ask register `population`, which is not configured"), "{out}");
        fs::write(&file, text.replace("[cache]", "[cash]")).unwrap();
        let (good, out) = check(None, Some(&file), false);
        assert!(!good);
        assert!(out.contains("unknown key or section `cash`") && out.contains("did you mean `cache`?"), "{out}");
    }

    #[test]
    fn a_folder_that_is_not_there_is_a_finding() {
        let (good, out) = check(Some(Path::new("no/such/bundle")), None, false);
        assert!(!good);
        assert!(out.contains("cannot read `no/such/bundle`"), "{out}");
        assert!(out.ends_with("1 error in 1 file\n"), "{out}");
    }
}
