//! Overload: goodput, latency by class and fairness of popgate beside HAProxy and Envoy, each offered multiples of what
//! it can do.
//!
//! Proxies run on the first processor, with one thread for requests and a share of its time (a control group, version
//! 1), so that the load, which runs with the register on the second, can offer five times as much as they can answer.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use popgate_benches::load::Http;
use popgate_benches::overload::{Bench, Found, Kind, Settings, generator, markdown};
use popgate_benches::register::{self, Service};
use popgate_benches::{Failure, plot, say};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What a proxy does when more is asked of it than it can do: popgate beside HAProxy and Envoy.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// The gateway's program
    #[arg(long, default_value = "target/release/popgate")]
    popgate: PathBuf,
    /// HAProxy's program
    #[arg(long, default_value = "/usr/sbin/haproxy")]
    haproxy: PathBuf,
    /// Envoy's program
    #[arg(long, default_value = "envoy")]
    envoy: PathBuf,
    /// The bundle that the site begins with
    #[arg(long, default_value = "deploy/bundle")]
    bundle: PathBuf,
    /// Measure these only
    #[arg(long, value_delimiter = ',')]
    only: Vec<Kind>,
    /// How long each load is counted, in seconds
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// The loads, in multiples of each proxy's own capacity
    #[arg(long, value_delimiter = ',', default_value = "0.1,0.5,1,2,3,5")]
    factors: Vec<f64>,
    /// The share of a processor that each proxy has, in percent; 100 does not bound it
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(10..=100))]
    percent: u32,
    /// Leave priorities out of the directory, for a gateway that does not know them
    #[arg(long)]
    no_priority: bool,
    /// Clients speak HTTP/2
    #[arg(long)]
    http2: bool,
    /// How long clients wait, in milliseconds
    #[arg(long, default_value_t = 1000)]
    patience_ms: u64,
    /// How long the register takes for an answer, in microseconds
    #[arg(long, default_value_t = 0)]
    service_micros: u64,
    /// How many answers the register works on at once
    #[arg(long, default_value_t = 1_000_000)]
    capacity: usize,
    /// How much the gateway logs
    #[arg(long, default_value = "error")]
    log: String,
    /// Measure what an answer and a refusal cost the gateway, so many times in turn, and nothing else
    #[arg(long, value_name = "TIMES", num_args = 0..=1, default_missing_value = "3")]
    cost: Option<usize>,
    /// Write overload.json, overload.md and the plots there
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// A synthetic register
    Register {
        /// The site's folder of certificates
        #[arg(long)]
        pki: PathBuf,
        /// The authority of those who are let in, such as site.pem; cleartext without
        #[arg(long)]
        clients: Option<String>,
        /// Its port on loopback
        #[arg(long)]
        port: u16,
        /// How long an answer takes, in microseconds
        #[arg(long, default_value_t = 0)]
        service_micros: u64,
        /// How many answers it works on at once
        #[arg(long, default_value_t = 1_000_000)]
        capacity: usize,
    },
    /// How much load one thread can offer
    Generator {
        /// The bundle that the site begins with
        #[arg(long, default_value = "deploy/bundle")]
        bundle: PathBuf,
        /// How long each load is counted, in seconds
        #[arg(long, default_value_t = 3)]
        seconds: u64,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    let result = match &args.command {
        Some(Command::Register { pki, clients, port, service_micros, capacity }) => {
            let service = Service { time: Duration::from_micros(*service_micros), capacity: *capacity };
            register::serve(pki, clients.as_deref(), *port, service)
        }
        Some(Command::Generator { bundle, seconds }) => generator(bundle, Duration::from_secs(*seconds)),
        None => measure(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&*error);
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &Args) -> Result<(), Failure> {
    let programs = [(Kind::Popgate, &args.popgate), (Kind::Haproxy, &args.haproxy), (Kind::Envoy, &args.envoy)];
    let chosen = |kind: &Kind| match (args.cost, args.only.is_empty()) {
        (Some(_), _) => *kind == Kind::Popgate,
        (None, true) => true,
        (None, false) => args.only.contains(kind),
    };
    let proxies = programs.into_iter().filter(|(kind, _)| chosen(kind));
    let bench = Bench::start(Settings {
        bundle: args.bundle.clone(),
        proxies: proxies.map(|(kind, program)| (kind, program.clone())).collect(),
        measure: Duration::from_secs(args.seconds),
        // What a request costs is told by CPU time: no bound is needed, and small shares make each request dearer.
        percent: if args.cost.is_some() { 100 } else { args.percent },
        priority: !args.no_priority,
        log: args.log.clone(),
        http: if args.http2 { Http::Two } else { Http::One },
        patience: Duration::from_millis(args.patience_ms),
        service: Service { time: Duration::from_micros(args.service_micros), capacity: args.capacity },
    })?;
    let found = match args.cost {
        Some(times) => bench.cost(times)?,
        None => bench.overload(&args.factors)?,
    };
    drop(bench);
    let table = markdown(&found);
    say(&format!("\n{table}"))?;
    match &args.out {
        Some(folder) => write(folder, &found, &table, args.cost.is_some()),
        None => Ok(()),
    }
}

fn write(folder: &Path, found: &Found, table: &str, cost: bool) -> Result<(), Failure> {
    std::fs::create_dir_all(folder)?;
    let name = if cost { "overload-cost" } else { "overload" };
    std::fs::write(folder.join(format!("{name}.json")), serde_json::to_vec_pretty(&found.json())?)?;
    std::fs::write(folder.join(format!("{name}.md")), table)?;
    if !cost {
        plot::goodput(&folder.join("overload-goodput.svg"), found)?;
        plot::classes(&folder.join("overload-classes.svg"), found)?;
        plot::neighbours(&folder.join("overload-neighbours.svg"), found)?;
    }
    Ok(())
}

#[expect(clippy::print_stderr, reason = "the last word of a command line program")]
fn report(error: &dyn std::error::Error) {
    eprintln!("error: {error}");
}
