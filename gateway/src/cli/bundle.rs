//! `popgate bundle`: what several people sign, which version is in force, and how an older one comes back.

use std::error::Error;
use std::fs;
use std::io::{BufRead, Write};
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use jiff::Timestamp;
use popgate_policy::analysis::{Diff, Verdict, diff};
use popgate_policy::bundle::{Bundle, Digest, Source};
use serde_json::{Value, json};

use super::break_glass::{confirmed, make_key, signing_key};
use super::node::encoded;
use super::suspend::{CONFIG, Place, local_user};
use super::{report, unnamed};
use crate::app::bundle_files::{self, MANIFEST};
use crate::app::bundle_store::{Kept, Rollback, Store};
use crate::app::bundles::{BundlesStatus, rollback_target};
use crate::app::config::Config;
use crate::beside;
use crate::clock::Clock;
use crate::manifest::{Manifest, Signed};
use crate::signed::SigningKey;
use crate::suspend::{MOST_REASON, is_plain};

pub(super) mod text;
mod verify;

/// Build, sign, verify and list bundles, and bring an older one back
///
/// Where `[bundle] require_signatures` is on, a gateway takes nothing but a bundle whose manifest operators have signed: one for what
/// is shown only to narrow, two for everything else.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  popgate bundle key nguyen-an
  popgate bundle build ./bundle --from /etc/popgate/bundle --note \"CR-118: phone numbers for hospitals\"
  popgate bundle sign ./bundle --key nguyen-an.key --from /etc/popgate/bundle
  popgate bundle verify ./bundle --config /etc/popgate/gateway.toml
  popgate bundle list
  popgate bundle rollback --reason \"INC-91: hospitals are refused\"
  popgate bundle rollback 7 --reason INC-91 --node https://gateway-1:9443 --cert me.pem --key me.key --ca site.pem

Exit codes: 0 done (verify: it may come into force), 1 not, 2 usage")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a private key, and print the line that `[bundle.keys]` needs
    Key {
        /// Whose it is: lower-case letters, digits and `-`
        name: String,
        /// Where it goes; NAME.key if not given
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Write a bundle's manifest, which nobody has signed yet, and say what the bundle changes
    Build(Build),
    /// Show what a bundle's manifest says and what the bundle changes, and sign it
    ///
    /// The change is shown against the bundle that it follows: in the folder that --from names, else as the gateway of the configuration
    /// has kept it.
    Sign {
        /// The bundle's folder; the signature is added to its manifest
        dir: PathBuf,
        /// Your private key
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// The key's name in `[bundle.keys]`; that of its file if not given
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// The folder of the bundle that it follows
        #[arg(long, value_name = "OLD")]
        from: Option<PathBuf>,
        /// The configuration of a gateway on this machine; /etc/popgate/gateway.toml, if not given
        #[arg(long, value_name = "FILE", conflicts_with = "from")]
        config: Option<PathBuf>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Say whether a bundle may come into force by its manifest, and everything that is against it
    Verify(verify::Args),
    /// List which bundles came into force: when, why, and who had signed
    List {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Have a node read its bundle's folder now
    ///
    /// It does so by itself when files change. Needs the role author, approver or sre.
    Reload {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Put a bundle that was in force in force again
    ///
    /// It stays until the folder holds another one than now (where signatures are required: one with a higher version). Over the admin
    /// listener it needs the role sre or approver.
    Rollback {
        /// A version, a digest, or its first 8 digits or more; the bundle that was in force before, if not given
        to: Option<String>,
        /// Why; it must name no person
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        place: Place,
    },
    /// Write a bundle that was in force into a folder
    Export {
        /// A version, a digest, or its first 8 digits or more
        name: String,
        /// A folder that is not there yet, or empty
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, clap::Args)]
struct Build {
    /// The bundle's folder; `manifest.json` is written into it
    dir: PathBuf,
    /// What it follows: a bundle's folder, or the version or digest of one that was in force
    #[arg(long, value_name = "OLD", conflicts_with = "first")]
    from: Option<String>,
    /// It follows none
    #[arg(long, required_unless_present = "from")]
    first: bool,
    /// Why it was made; it must name no person
    #[arg(long, value_name = "TEXT")]
    note: String,
    /// Why more is shown of sensitive fields; without it, such a bundle is not built
    #[arg(long, value_name = "REASON")]
    allow_widening: Option<String>,
    /// Its version; the one after OLD's, if not given
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    version: Option<u64>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

type Failed = Box<dyn Error>;

/// Runs the subcommand.
///
/// # Errors
/// If nothing was done, or `out` cannot be written.
pub fn run(args: &Args, clock: &Clock, input: &mut dyn BufRead, out: &mut dyn Write) -> Result<ExitCode, Failed> {
    match &args.command {
        Command::Key { name, out: file } => make_key(name, file.as_deref(), "bundle", out)?,
        Command::Build(build) => return build.run(clock.wall(), out),
        Command::Sign { dir, key, name, from, config, yes } => {
            let key = signing_key(key, name.as_deref())?;
            let followed = |follows: &Digest| followed(follows, from.as_deref(), config.as_deref());
            return sign(dir, &key, followed, *yes, input, out);
        }
        Command::Verify(args) => return verify::run(args, out),
        Command::List { json, place } => {
            let told = listed(place)?;
            if *json { writeln!(out, "{told}")? } else { text::list(&told, out)? }
        }
        Command::Reload { json, place } => {
            let Some(node) = place.node()? else { return Ok(unnamed("the node with --node")) };
            let told = node.post("/bundle/reload", &json!({}))?.json();
            if *json { writeln!(out, "{told}")? } else { text::done(&told, &format!("in force on {node}"), out)? }
        }
        Command::Rollback { to, reason, place } => roll_back(to.as_deref(), reason, place, clock.wall(), out)?,
        Command::Export { name, to, place } => export(name, to, place, out)?,
    }
    Ok(ExitCode::SUCCESS)
}

impl Build {
    fn run(&self, now: Timestamp, out: &mut dyn Write) -> Result<ExitCode, Failed> {
        let source = bundle_files::read(&self.dir)?;
        let Some(bundle) = loaded(&source, &self.dir.display().to_string(), out)? else {
            return Ok(ExitCode::FAILURE);
        };
        let old = self.from.as_deref().map(|name| named(name, &self.place)).transpose()?;
        let change = match &old {
            Some(old) => {
                let Some(before) = loaded(&old.source, &old.name, out)? else { return Ok(ExitCode::FAILURE) };
                Some(diff(&before, &bundle))
            }
            None => None,
        };
        let sensitive = change.as_ref().map(|change| change.sensitive.clone()).unwrap_or_default();
        if !sensitive.is_empty() && self.allow_widening.is_none() {
            if let Some(change) = &change {
                text::change(change, out)?;
            }
            let fields = sensitive.join("`, `");
            return Err(format!(
                "more is shown of the sensitive `{fields}`; if that is meant, say why with --allow-widening REASON"
            )
            .into());
        }
        let next = old.as_ref().and_then(|old| old.highest).map_or(1, |highest| highest.saturating_add(1));
        let follows = old.as_ref().map(|old| Digest::of(&old.source));
        let version = self.version.unwrap_or(next);
        let mut manifest = Manifest::of(&source, version, follows, &local_user(), now, &self.note);
        manifest.allow_widening.clone_from(&self.allow_widening);
        manifest.check().map_err(|wrong| format!("the manifest {wrong}"))?;
        let signed = Signed::unsigned(manifest);
        let file = self.dir.join(MANIFEST);
        beside::replace(&file, &signed.to_json())
            .map_err(|error| format!("cannot write `{}`: {error}", file.display()))?;
        if self.json {
            let told = json!({
                "manifest": signed.manifest(), "verdict": change.as_ref().map(|change| change.verdict),
                "sensitive": sensitive, "signatures": needed(change.as_ref()),
            });
            writeln!(out, "{told}")?;
            return Ok(ExitCode::SUCCESS);
        }
        text::manifest(signed.manifest(), out)?;
        if let Some(change) = &change {
            text::change(change, out)?;
        }
        let people = if needed(change.as_ref()) == 1 { "one person" } else { "two people" };
        writeln!(
            out,
            "wrote {}, which nobody has signed; {people} must: popgate bundle sign {} --key FILE",
            file.display(),
            self.dir.display()
        )?;
        Ok(ExitCode::SUCCESS)
    }
}

fn needed(change: Option<&Diff>) -> usize {
    match change.map(|change| change.verdict) {
        Some(Verdict::Equal | Verdict::Narrows) => 1,
        Some(Verdict::Widens | Verdict::Undecided) | None => 2,
    }
}

fn sign(
    dir: &Path,
    key: &SigningKey,
    followed: impl FnOnce(&Digest) -> Result<Result<Source, Failed>, Failed>,
    yes: bool,
    input: &mut dyn BufRead,
    out: &mut dyn Write,
) -> Result<ExitCode, Failed> {
    let file = dir.join(MANIFEST);
    let mut signed = manifest_of(dir)?;
    let source = bundle_files::read(dir)?;
    let differences = signed.manifest().differences(&source);
    if !differences.is_empty() {
        let said = differences.join(", ");
        return Err(format!("the manifest is of other files: {said}; build it anew with `popgate bundle build`").into());
    }
    text::manifest(signed.manifest(), out)?;
    match signed.manifest().follows.as_ref().map(followed).transpose()? {
        None => writeln!(out, "change   it follows none: everything that it shows is new")?,
        Some(Err(why)) => writeln!(
            out,
            "change   not shown: the bundle that it follows is not here ({why}); name its folder with --from"
        )?,
        Some(Ok(old)) => {
            let before = loaded(&old, "that it follows", out)?;
            let after = loaded(&source, &dir.display().to_string(), out)?;
            let Some((before, after)) = before.zip(after) else { return Ok(ExitCode::FAILURE) };
            text::change(&diff(&before, &after), out)?;
        }
    }
    if !confirmed(key, yes, input, out)? {
        return Ok(ExitCode::FAILURE);
    }
    signed.sign(key)?;
    beside::replace(&file, &signed.to_json()).map_err(|error| format!("cannot write `{}`: {error}", file.display()))?;
    let by = signed.claimed().collect::<Vec<_>>().join(", ");
    writeln!(out, "signed as {}; {} has the signatures of {by}", key.name(), file.display())?;
    Ok(ExitCode::SUCCESS)
}

/// The files of the bundle that a manifest follows, or why they cannot be had.
///
/// # Errors
/// If another one was named.
fn followed(follows: &Digest, from: Option<&Path>, config: Option<&Path>) -> Result<Result<Source, Failed>, Failed> {
    let Some(dir) = from else {
        let config = Config::read(config.unwrap_or(Path::new(CONFIG)));
        let kept = config.map_err(Failed::from).and_then(|config| Ok(Store::new(&config.state).load(follows)?));
        return Ok(kept.map(|kept| kept.source));
    };
    let source = bundle_files::read(dir)?;
    let digest = Digest::of(&source);
    if digest != *follows {
        return Err(format!("`{}` is bundle {digest}, and the manifest follows {follows}", dir.display()).into());
    }
    Ok(Ok(source))
}

fn listed(place: &Place) -> Result<Value, Failed> {
    if let Some(node) = place.node()? {
        return Ok(node.get("/bundles")?.json());
    }
    let config = place.config()?;
    let store = Store::new(&config.state);
    Ok(serde_json::to_value(BundlesStatus::of(&store.history()?, &store, config.signing.required))?)
}

fn roll_back(to: Option<&str>, reason: &str, place: &Place, now: Timestamp, out: &mut dyn Write) -> Result<(), Failed> {
    is_plain(reason, MOST_REASON).map_err(|wrong| format!("the reason {wrong}"))?;
    if let Some(node) = place.node()? {
        let told = node.post("/bundle/rollback", &json!({ "to": to, "reason": reason }))?.json();
        return Ok(text::done(&told, &format!("in force on {node}"), out)?);
    }
    let config = place.config()?;
    let store = Store::new(&config.state);
    let history = store.history()?;
    let to = rollback_target(&history, to, config.signing.required)?;
    store.load(&to)?;
    store.order_rollback(&Rollback { to, by: local_user(), reason: reason.to_owned(), at: now })?;
    let version = history.latest(&to).and_then(|entry| entry.version);
    let version = version.map(|version| format!(" version {version}")).unwrap_or_default();
    writeln!(out, "ordered a rollback to bundle {to}{version}")?;
    writeln!(out, "a gateway that watches {} takes it up within seconds", store.rollback_file().display())?;
    Ok(())
}

fn export(name: &str, to: &Path, place: &Place, out: &mut dyn Write) -> Result<(), Failed> {
    let old = named_stored(name, place)?;
    if to.exists() && fs::read_dir(to)?.next().is_some() {
        return Err(format!("`{}` is not empty: name a folder that is not there yet", to.display()).into());
    }
    let manifest = old.manifest.iter().map(|text| (MANIFEST, text.as_str()));
    let files = old.source.files.iter().map(|(path, text)| (path.as_str(), text.as_str()));
    for (path, text) in files.chain(manifest) {
        // What is kept is the gateway user's, and who exports it may be root.
        if !Path::new(path).components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(format!(
                "the bundle has a file `{path}`, which is not below its folder: nothing is trusted of it"
            )
            .into());
        }
        let file = to.join(path);
        let failed = |error: std::io::Error| format!("cannot write `{}`: {error}", file.display());
        fs::create_dir_all(file.parent().unwrap_or(to)).map_err(failed)?;
        fs::File::create_new(&file).and_then(|mut new| new.write_all(text.as_bytes())).map_err(failed)?;
    }
    writeln!(out, "wrote bundle {} into {}", Digest::of(&old.source), to.display())?;
    Ok(())
}

/// A bundle that was named.
struct Old {
    name: String,
    source: Source,
    manifest: Option<String>,
    /// The version that the next one must exceed.
    highest: Option<u64>,
}

/// In a folder, or one that was in force.
fn named(name: &str, place: &Place) -> Result<Old, Failed> {
    let dir = Path::new(name);
    if !dir.is_dir() {
        return named_stored(name, place);
    }
    let manifest = bundle_files::read_manifest(dir)?;
    let highest = manifest.as_deref().map(Signed::parse).transpose();
    let highest = highest.map_err(|error| format!("`{}`: {error}", dir.join(MANIFEST).display()))?;
    let highest = highest.map(|signed| signed.manifest().version);
    Ok(Old { name: name.to_owned(), source: bundle_files::read(dir)?, manifest, highest })
}

fn named_stored(name: &str, place: &Place) -> Result<Old, Failed> {
    let (kept, highest): (Kept, Option<u64>) = match place.node()? {
        Some(node) => {
            let told: BundlesStatus = serde_json::from_value(node.get("/bundles")?.json())?;
            let highest = told.bundles.iter().filter_map(|told| told.entry.version).max();
            (serde_json::from_value(node.get(&format!("/bundles/{}", encoded(name)))?.json())?, highest)
        }
        None => {
            let store = Store::new(&place.config()?.state);
            let history = store.history()?;
            let highest = history.entries.iter().filter_map(|entry| entry.version).max();
            (store.load(&history.find(name)?)?, highest)
        }
    };
    Ok(Old { name: name.to_owned(), source: kept.source, manifest: kept.manifests.last().cloned(), highest })
}

/// Compiles a bundle; what is wrong with it is written, and `None` returned.
fn loaded(source: &Source, name: &str, out: &mut dyn Write) -> Result<Option<std::sync::Arc<Bundle>>, Failed> {
    match Bundle::load(source) {
        Ok(loaded) => Ok(Some(loaded.bundle)),
        Err(problems) => {
            report::write(&problems, false, out)?;
            writeln!(out, "the bundle `{name}` has errors")?;
            Ok(None)
        }
    }
}

fn manifest_of(dir: &Path) -> Result<Signed, Failed> {
    let file = dir.join(MANIFEST);
    let text = bundle_files::read_manifest(dir)?;
    let text = text.ok_or_else(|| format!("there is no `{}`: make one with `popgate bundle build`", file.display()))?;
    Signed::parse(&text).map_err(|error| format!("`{}`: {error}", file.display()).into())
}
