//! How long a replay of an audit log takes: a log of a million records is made over the reference bundle, and held against a candidate.
//!
//! `cargo run --release -p popgate-benches --bin replay -- [--records N] [--dir DIR]`
#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Parser;
use popgate::app::bundle_files;
use popgate::audit::{
    Audit, AuditKey, Claimed, Intent, NoMatch, Options, Outcome, PurposeSource, Refused, Shown, read,
};
use popgate::clock::Clock;
use popgate::replay::{Before, Replay, Wanted};
use popgate_benches::Failure;
use popgate_policy::bundle::{Bundle, Source};
use popgate_policy::contract::Operation;
use popgate_policy::engine::mirror::Mirror;
use popgate_policy::model::{DisclosureId, FieldSet, Personal, PurposeId, SystemId, Treatment};
use popgate_policy::permit::Env;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long a replay of an audit log takes.
#[derive(Debug, Parser)]
struct Args {
    /// How many records
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// Where the log is made; a folder that goes afterwards if not given
    #[arg(long)]
    dir: Option<PathBuf>,
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let made = tempfile::tempdir()?;
    let dir = args.dir.clone().unwrap_or_else(|| made.path().to_owned());
    let source = bundle_files::read(&popgate_demo::deployment::reference_bundle())?;
    let live = load(&source)?;
    let kinds = kinds(&live);
    println!("{} kinds of requests (system, operation, purpose)", kinds.len());
    let began = Instant::now();
    write(&dir, &live, &kinds, args.records)?;
    println!("log of {} records written in {:.1} s", args.records, began.elapsed().as_secs_f64());
    let candidate = load(&edited(&source)?)?;
    for unsealed in [false, true] {
        let key = unsealed.then(|| AuditKey::new(KEY));
        let began = Instant::now();
        let known = Arc::clone(&live);
        let mut find = move |digest: &_| (known.digest() == *digest).then(|| Mirror::of(Arc::clone(&known)));
        let before = Before::Records(&mut find);
        let clock = Clock::system("Asia/Ho_Chi_Minh")?;
        let mut replay = Replay::new(Mirror::of(Arc::clone(&candidate)), before, clock, Wanted::default(), 3);
        let mut entries = read::once(&dir, key.as_ref(), None)?;
        let bytes = entries.bytes();
        let mut records = 0u64;
        entries.try_for_each(|entry| {
            records += 1;
            entry.map(|entry| replay.take(entry))
        })?;
        let report = replay.end();
        let seconds = began.elapsed().as_secs_f64();
        println!(
            "{records} records ({} MB), claims {}: replayed in {seconds:.2} s, {:.0} records/s; {} requests, {} differ",
            bytes / 1_000_000,
            if unsealed { "opened" } else { "sealed" },
            records as f64 / seconds,
            report.total.requests,
            report.total.differing(),
        );
    }
    Ok(())
}

fn load(source: &Source) -> Result<Arc<Bundle>, Failure> {
    Bundle::load(source).map(|loaded| loaded.bundle).map_err(|problems| format!("{problems:?}").into())
}

/// A mask fewer, and a forbid more.
fn edited(source: &Source) -> Result<Source, Failure> {
    let mut source = source.clone();
    for (file, old, new) in [
        ("policies/telecom.cedar", "@mask(\"year\")\n", ""),
        (
            "policies/tax.cedar",
            "",
            "@id(\"bench\") @basis(\"a bench\") forbid (principal in Agency::\"tax\", action, resource in Group::\"residence\");\n",
        ),
    ] {
        let text = source.files.get_mut(file).ok_or("the reference bundle has another file")?;
        *text = if old.is_empty() { format!("{new}{text}") } else { text.replacen(old, new, 1) };
    }
    Ok(source)
}

/// A kind of request that is answered, with what it is shown.
struct Kind {
    system: SystemId,
    operation: Arc<Operation>,
    purpose: PurposeId,
    shown: Shown,
}

fn kinds(bundle: &Bundle) -> Vec<Kind> {
    let noon = Env {
        date: jiff::civil::date(2026, 11, 20),
        hour: 12,
        minute: 0,
        source: [10, 20, 0, 7].into(),
        claimed_assurance: Some("high".to_owned()),
        claimed_user: true,
        claimed_case: true,
    };
    let mut kinds = Vec::new();
    for system in bundle.directory().systems() {
        for purpose in &system.purposes {
            for operation in bundle.contracts().operations() {
                let Some(trial) = bundle.trial(system, operation, purpose, &noon) else { continue };
                let fields = operation.record.fields.iter().map(|field| field.index);
                let with = |wanted: fn(Treatment) -> bool| -> FieldSet {
                    fields.clone().filter(|field| wanted(trial.most(*field))).collect()
                };
                let revealed = with(|treatment| treatment == Treatment::Reveal);
                let masked = with(|treatment| matches!(treatment, Treatment::Mask(_)));
                if !revealed.union(masked).is_empty() {
                    let shown = Shown { revealed, masked, matched: FieldSet::EMPTY };
                    let (system, operation, purpose) = (system.id.clone(), Arc::clone(operation), purpose.clone());
                    kinds.push(Kind { system, operation, purpose, shown });
                }
            }
        }
    }
    kinds
}

/// Of each ten requests one is refused and one is about an unknown person; the others are answered.
fn write(dir: &Path, bundle: &Bundle, kinds: &[Kind], records: u64) -> Result<(), Failure> {
    let options = Options { slots: 1 << 18, ..Options::default() };
    let (audit, _) = Audit::open(dir, options, AuditKey::new(KEY), Clock::system("UTC")?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let (mut written, mut number) = (0, 0u64);
    while written < records {
        let mut waiting = Vec::new();
        for _ in 0..20_000 {
            if written >= records {
                break;
            }
            number += 1;
            let at = usize::try_from(number.wrapping_mul(2_654_435_761) >> 7).unwrap_or_default() % kinds.len().max(1);
            let Some(kind) = kinds.get(at) else { return Err("no kind of request".into()) };
            let claimed = Claimed {
                case: Some(Personal::new(format!("CASE-{number}"))),
                user: Some(Personal::new("user-7".to_owned())),
                assurance: Some(Personal::new("high".to_owned())),
                ..Claimed::default()
            };
            if number.is_multiple_of(10) {
                audit.refused(refused(kind, bundle, number, claimed));
                written += 1;
                continue;
            }
            let (pending, closing) = audit.intend(intent(kind, bundle, number, claimed))?;
            let is_unknown = number % 10 == 1;
            waiting.push((
                pending,
                closing,
                if is_unknown { Outcome::NoMatch(NoMatch::Unknown) } else { Outcome::Complete(kind.shown) },
            ));
            written += 2;
        }
        for (pending, closing, outcome) in waiting {
            let receipt = runtime.block_on(pending.durable())?;
            drop(receipt);
            closing.close(outcome);
        }
    }
    audit.close();
    Ok(())
}

fn intent(kind: &Kind, bundle: &Bundle, number: u64, claimed: Claimed) -> Intent {
    Intent {
        disclosure: DisclosureId::from_random(number.into()),
        system: kind.system.clone(),
        exchange: None,
        operation: kind.operation.id.clone(),
        purpose: kind.purpose.clone(),
        purpose_source: PurposeSource::Header,
        subject: Some(Personal::new(format!("001087{:06}", number % 1_000_000))),
        record: Arc::clone(&kind.operation.record),
        fields: kind.shown.revealed.union(kind.shown.masked),
        bundle: bundle.digest(),
        claimed,
        source: [10, 20, 0, 7].into(),
    }
}

fn refused(kind: &Kind, bundle: &Bundle, number: u64, claimed: Claimed) -> Refused {
    Refused {
        disclosure: DisclosureId::from_random(number.into()),
        system: Some(kind.system.clone()),
        exchange: None,
        operation: Some(kind.operation.id.clone()),
        purpose: Some(kind.purpose.clone()),
        code: "parameter_denied",
        bundle: bundle.digest(),
        subject: None,
        claimed,
        source: [10, 20, 0, 7].into(),
    }
}

const KEY: [u8; 32] = [5; 32];
