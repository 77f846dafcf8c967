//! The whole job on one core: requests a second and CPU microseconds a request of the gateway process, cache hit and miss.
//!
//! The gateway runs as a process of its own with one data-plane thread, pinned to one processor; the load and the register
//! share the others. CPU time is that of the whole gateway process: data plane, acceptor, audit writer, admin thread.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use http::StatusCode;
use popgate_benches::{Common, Failure, Rig, say};
use popgate_demo::client::get;
use popgate_demo::scenario::read_path;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Requests a second and CPU a request of the whole job, on one core.
#[derive(Parser)]
struct Args {
    /// Kept-alive HTTP/1.1 connections
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// How long each run lasts, in seconds
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// How many runs of each kind, in turn
    #[arg(long, default_value_t = 5)]
    runs: usize,
    #[command(flatten)]
    common: Common,
}

fn main() -> ExitCode {
    let args = Args::parse();
    args.common.run(|| measure(&args))
}

fn measure(args: &Args) -> Result<(), Failure> {
    let rig = Arc::new(Rig::start(&args.common, "")?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        rig.ready().await?;
        say(&format!(
            "{} kept-alive HTTP/1.1 connections, TLS 1.3 with client certificates, citizen.read, {} s a run\n",
            args.connections, args.seconds
        ))?;
        say("run   kind  requests/s  CPU µs a request  gateway CPU  p50 µs  p99 µs\n")?;
        // Each miss asks for a citizen that was never asked for before.
        let fresh = Arc::new(AtomicU64::new(0));
        let mut figures = [Vec::new(), Vec::new()];
        for run in 1..=args.runs {
            for (kind, figures) in [Kind::Miss, Kind::Hit].into_iter().zip(&mut figures) {
                let figure = load(args, kind, &rig, &fresh).await?;
                say(&format!("{run:<5} {}\n", figure.row(kind)))?;
                figures.push(figure);
            }
        }
        for (kind, figures) in [Kind::Miss, Kind::Hit].into_iter().zip(&mut figures) {
            figures.sort_by(|a, b| a.cpu_micros.total_cmp(&b.cpu_micros));
            if let Some(median) = figures.get(figures.len() / 2) {
                say(&format!("median {}\n", median.row(kind)))?;
            }
        }
        Ok(())
    })
}

#[derive(Clone, Copy)]
enum Kind {
    Miss,
    Hit,
}

struct Figure {
    rate: f64,
    cpu_micros: f64,
    cpu_share: f64,
    p50: u64,
    p99: u64,
}

impl Figure {
    fn row(&self, kind: Kind) -> String {
        let name = match kind {
            Kind::Miss => "miss",
            Kind::Hit => "hit",
        };
        format!(
            "{name:<5} {:>10.0} {:>17.1} {:>11.0}% {:>7} {:>7}",
            self.rate,
            self.cpu_micros,
            self.cpu_share * 100.0,
            self.p50,
            self.p99
        )
    }
}

async fn load(args: &Args, kind: Kind, rig: &Arc<Rig>, fresh: &Arc<AtomicU64>) -> Result<Figure, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..args.connections {
        let (rig, stop, fresh) = (Arc::clone(rig), Arc::clone(&stop), Arc::clone(fresh));
        tasks.spawn(async move {
            let mut session = rig.client.connect().await?;
            let mut latencies = hdrhistogram::Histogram::<u64>::new(3)?;
            while !stop.load(Ordering::Relaxed) {
                let number = match kind {
                    Kind::Miss => rig.citizen(HOT + fresh.fetch_add(1, Ordering::Relaxed)),
                    Kind::Hit => rig.citizen(latencies.len() % HOT),
                };
                let since = Instant::now();
                let answer = session.send(get(&read_path(number), None)).await?;
                if answer.status != StatusCode::OK {
                    return Err(format!("status {}: {}", answer.status, answer.code()).into());
                }
                latencies.record(u64::try_from(since.elapsed().as_micros())?)?;
            }
            Ok::<_, Failure>(latencies)
        });
    }
    let (before, since) = (rig.gateway.cpu()?, Instant::now());
    tokio::time::sleep(Duration::from_secs(args.seconds)).await;
    let (after, took) = (rig.gateway.cpu()?, since.elapsed());
    stop.store(true, Ordering::Relaxed);
    let mut all = hdrhistogram::Histogram::<u64>::new(3)?;
    while let Some(latencies) = tasks.join_next().await {
        all.add(latencies??)?;
    }
    let used = after.saturating_sub(before);
    Ok(Figure {
        rate: all.len() as f64 / took.as_secs_f64(),
        cpu_micros: used.as_secs_f64() * 1e6 / all.len() as f64,
        cpu_share: used.as_secs_f64() / took.as_secs_f64(),
        p50: all.value_at_quantile(0.5),
        p99: all.value_at_quantile(0.99),
    })
}

/// How many citizens the hits are spread over: few enough to stay cached and fresh for a run.
const HOT: u64 = 1000;
