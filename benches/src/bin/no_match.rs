//! Whether how soon "no match" comes tells an unknown person from one whose birth date was guessed wrong: a distinguisher's best guess,
//! by rank statistics over many of each, in turn by chance, with the register asked and without.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use http::StatusCode;
use popgate_benches::{Common, Failure, Rig, say};
use popgate_demo::client::{Session, get, post};
use popgate_demo::register::{Citizen, Number};
use popgate_demo::scenario::{LOOKUP, read_path};
use serde_json::json;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How well the time of "no match" tells unknown persons from wrong guesses.
#[derive(Parser)]
struct Args {
    /// How many persons of each kind
    #[arg(long, default_value_t = 4_000)]
    persons: u64,
    #[command(flatten)]
    common: Common,
}

fn main() -> ExitCode {
    let args = Args::parse();
    args.common.run(|| measure(&args))
}

fn measure(args: &Args) -> Result<(), Failure> {
    let rig = Rig::start_made(
        &args.common,
        "\n[guesses]\nper_subject = 1000000\nper_agency = 1000000000\n[harvest]\nmode = \"dry-run\"\n",
        |site| {
            let file = site.bundle().join("contracts/population.openapi.yaml");
            let text = std::fs::read_to_string(&file)?;
            Ok(std::fs::write(&file, text.replace("fresh: 60s,", "fresh: 60s, no-match: 60s,"))?)
        },
    )?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        rig.ready().await?;
        let mut session = rig.client.connect().await?;
        // How long records are fresh must have been seen.
        session.send(get(&read_path(rig.citizen(1)), None)).await?;
        say("register  kind     p50 µs  p99 µs\n")?;
        let mut chance = 0x2545_f491_4f6c_dd1d_u64;
        for (kind, first) in [("asked", true), ("not asked", false)] {
            let (mut unknown, mut wrong) = (Vec::new(), Vec::new());
            // Those who are asked about without the register were asked about shortly before.
            for block in 0..args.persons / BLOCK {
                let offset = block * BLOCK + if first { 0 } else { args.persons };
                let mut order: Vec<(bool, u64)> =
                    (offset..offset + BLOCK).flat_map(|n| [(true, n), (false, n)]).collect();
                for at in (1..order.len()).rev() {
                    chance ^= chance << 13;
                    chance ^= chance >> 7;
                    chance ^= chance << 17;
                    order.swap(at, usize::try_from(chance % (at as u64 + 1))?);
                }
                if !first {
                    for (is_known, n) in &order {
                        ask(&mut session, person(&rig, *is_known, *n)?).await?;
                    }
                }
                for (is_known, n) in order {
                    let micros = ask(&mut session, person(&rig, is_known, n)?).await?;
                    if is_known { wrong.push(micros) } else { unknown.push(micros) }
                }
            }
            for (name, times) in [("unknown", &mut unknown), ("wrong", &mut wrong)] {
                times.sort_by(f64::total_cmp);
                let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied().unwrap_or_default();
                say(&format!("{kind:<9} {name:<8} {:>6.0}  {:>6.0}\n", at(0.5), at(0.99)))?;
            }
            let (auc, half) = distinguished(&unknown, &wrong);
            say(&format!("{kind:<9} P(unknown is slower) {auc:.3} ± {half:.3} (95 %; 0.500 tells nothing)\n"))?;
        }
        Ok(())
    })
}

/// Somebody known, or nobody, each number once.
fn person(rig: &Rig, is_known: bool, n: u64) -> Result<Number, Failure> {
    if is_known {
        return Ok(rig.citizen(10 + n));
    }
    // The number of a cohort's end, where there is nobody any more.
    let number: Number = format!("001{:03}{:06}", n / 40_000, 999_999 - n % 40_000).parse()?;
    match Citizen::of(number) {
        None => Ok(number),
        Some(_) => Err(format!("`{number}` is somebody").into()),
    }
}

/// Microseconds until "no match".
async fn ask(session: &mut Session, number: Number) -> Result<f64, Failure> {
    let keys = json!({"id": number.to_string(), "full_name": "Ai Đó", "date_of_birth": "1890-01-01"});
    let request = post(LOOKUP, Some("assessment"), &keys);
    let since = Instant::now();
    let answer = session.send(request).await?;
    let took = since.elapsed();
    if answer.status != StatusCode::NOT_FOUND {
        return Err(format!("status {}: {}", answer.status, answer.code()).into());
    }
    Ok(took.as_secs_f64() * 1e6)
}

/// The probability that one of the first is greater than one of the second (Mann and Whitney's U), and half of its 95 % interval where
/// they are alike. Both sorted.
fn distinguished(first: &[f64], second: &[f64]) -> (f64, f64) {
    let (n, m) = (first.len() as f64, second.len() as f64);
    let below: f64 = first
        .iter()
        .map(|it| {
            let less = second.partition_point(|other| other < it) as f64;
            let same = second.partition_point(|other| other <= it) as f64 - less;
            less + same / 2.0
        })
        .sum();
    (below / (n * m), 1.96 * ((n + m + 1.0) / (12.0 * n * m)).sqrt())
}

/// Persons of each kind that are asked about by chance in turn, well within the window.
const BLOCK: u64 = 200;
