//! The subcommand `register`.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use clap::{Subcommand, ValueEnum};
use indicatif::{HumanCount, ProgressBar, ProgressState, ProgressStyle};
use rustls::ServerConfig;
use tokio::{net::TcpListener, sync::watch};

use super::{
    Citizen, Faults, Number, RegisterError, Service, Source,
    database::{Database, seed},
    population, serve_one, server_config,
};

/// The synthetic registers: serves one over TLS, prints of the population, or puts it into PostgreSQL. All is made up.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    listen: Option<Listen>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the record of an identity number.
    Show {
        /// 12 digits.
        number: Number,
    },
    /// Print identity numbers of citizens from all over the country, one a line.
    Sample {
        /// How many.
        count: u64,
        /// The index of the first, in a fixed order of all citizens.
        #[arg(long, default_value_t = 0)]
        from: u64,
    },
    /// Put citizens into a PostgreSQL database, from which `--database` then serves: whole households, families together.
    Seed {
        #[command(flatten)]
        database: AtDatabase,
        /// How many; the last household is completed.
        #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(population::LEAST..))]
        citizens: u64,
        /// Replace the citizens that the database has.
        #[arg(long)]
        replace: bool,
    },
}

#[derive(Debug, clap::Args)]
struct AtDatabase {
    /// Such as postgres://register@localhost/register; PGPASSWORD holds the password, if there is one.
    #[arg(long, value_name = "URL")]
    database: String,
}

#[derive(Debug, clap::Args)]
struct Listen {
    /// Where to listen, such as 127.0.0.1:8600.
    #[arg(long, value_name = "ADDR")]
    listen: SocketAddr,
    /// PEM of the server's certificate chain.
    #[arg(long, value_name = "PEM")]
    certificate: PathBuf,
    /// PEM of its private key.
    #[arg(long, value_name = "PEM")]
    key: PathBuf,
    /// PEM of the authorities whose client certificates are accepted.
    #[arg(long, value_name = "PEM")]
    client_ca: PathBuf,
    /// Which register to serve.
    #[arg(long, value_enum, value_name = "NAME", default_value_t = Which::Population)]
    register: Which,
    /// Serve the population from this PostgreSQL database, which was seeded.
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Threads, each with its own runtime [default: one a core].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Which {
    Population,
    HealthInsurance,
    CivilStatus,
}

/// Runs the subcommand; serving ends with Ctrl-C.
///
/// # Errors
/// Files, addresses and TLS material that cannot be used; an unknown number.
pub fn run(args: Args) -> Result<(), RegisterError> {
    let mut out = io::stdout().lock();
    let printed = match (args.command, args.listen) {
        (Some(Command::Show { number }), _) => {
            let citizen = Citizen::of(number).ok_or(RegisterError::Unknown)?;
            serde_json::to_writer_pretty(&mut out, &citizen).map_err(io::Error::from).and_then(|()| writeln!(out))
        }
        (Some(Command::Sample { count, from }), _) => {
            (from..from.saturating_add(count)).try_for_each(|n| writeln!(out, "{}", population::citizen(n)))
        }
        (Some(Command::Seed { database, citizens, replace }), _) => {
            let told = seeded(&database.open()?, citizens, replace)?;
            writeln!(out, "{told}")
        }
        (None, Some(listen)) => {
            drop(out);
            return listen.run();
        }
        (None, None) => Ok(()),
    };
    match printed {
        // Whoever reads has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed.map_err(io_error("standard output")),
    }
}

impl AtDatabase {
    fn open(&self) -> Result<Database, RegisterError> {
        let database = Database::new(&self.database)?;
        // Where PostgreSQL's own programs look.
        Ok(match std::env::var("PGPASSWORD") {
            Ok(password) => database.with_password(&password),
            Err(_) => database,
        })
    }
}

fn seeded(database: &Database, citizens: u64, replace: bool) -> Result<String, RegisterError> {
    let progress = ProgressBar::new(citizens);
    if let Ok(style) =
        ProgressStyle::with_template("{bar:40} {human_pos} of {human_len} citizens, {rate} a second{msg}")
    {
        progress.set_style(style.with_key("rate", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            // What cannot be shown is not worth a failure.
            let _ = write!(out, "{}", HumanCount(state.per_sec() as u64));
        }));
    }
    let done = runtime()?.block_on(seed(database, citizens, replace, &progress))?;
    progress.finish_and_clear();
    let rate = done.citizens as f64 / done.loading.as_secs_f64().max(f64::EPSILON);
    Ok(format!(
        "{} citizens in {:.1} s ({} a second), indices in {:.1} s",
        HumanCount(done.citizens),
        done.loading.as_secs_f64(),
        HumanCount(rate as u64),
        done.indexing.as_secs_f64(),
    ))
}

impl Listen {
    fn service(&self) -> Result<Service, RegisterError> {
        let database = match self.database.clone() {
            Some(url) if self.register == Which::Population => AtDatabase { database: url }.open()?,
            Some(_) => return Err(RegisterError::OnlyPopulation),
            None => {
                return Ok(match self.register {
                    Which::Population => Service::default(),
                    Which::HealthInsurance => Service::HealthInsurance,
                    Which::CivilStatus => Service::CivilStatus,
                });
            }
        };
        // What is missing is better said now than in each answer.
        runtime()?.block_on(database.citizens())?;
        Ok(Service::Population(Source::Database(database)))
    }

    fn run(self) -> Result<(), RegisterError> {
        let service = self.service()?;
        let tls = server_config(&read(&self.certificate)?, &read(&self.key)?, &read(&self.client_ca)?)?;
        let address = self.listen.to_string();
        let listener = std::net::TcpListener::bind(self.listen).map_err(io_error(&address))?;
        listener.set_nonblocking(true).map_err(io_error(&address))?;
        let bound = listener.local_addr().map_err(io_error(&address))?;
        writeln!(io::stdout(), "{} register on https://{bound} (synthetic data)", service.id())
            .map_err(io_error("standard output"))?;

        let cores = thread::available_parallelism().map_or(1, usize::from);
        let (stop, stopping) = watch::channel(());
        thread::scope(|scope| {
            let mut others = Vec::new();
            for _ in 1..self.threads.unwrap_or(cores) {
                let (listener, tls) = (listener.try_clone().map_err(io_error(&address))?, tls.clone());
                let service = service.clone();
                let mut stopping = stopping.clone();
                let stopped = async move { while stopping.changed().await.is_ok() {} };
                others.push(scope.spawn(|| serve_here(listener, tls, service, stopped)));
            }
            let result = serve_here(listener, tls, service, async {
                // Without a handler for it, Ctrl-C ends the process anyway.
                if tokio::signal::ctrl_c().await.is_err() {
                    std::future::pending().await
                }
                drop(stop);
            });
            others.into_iter().filter_map(|other| other.join().ok()).chain([result]).collect()
        })
    }
}

fn serve_here(
    listener: std::net::TcpListener,
    tls: Arc<ServerConfig>,
    service: Service,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RegisterError> {
    runtime()?.block_on(async {
        let listener = TcpListener::from_std(listener).map_err(io_error("listener"))?;
        serve_one(listener, tls, service, Faults::new(), shutdown).await;
        Ok(())
    })
}

fn runtime() -> Result<tokio::runtime::Runtime, RegisterError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(io_error("runtime"))
}

fn read(path: &Path) -> Result<Vec<u8>, RegisterError> {
    std::fs::read(path).map_err(io_error(&path.display().to_string()))
}

fn io_error(what: &str) -> impl FnOnce(io::Error) -> RegisterError + use<> {
    let what = what.to_owned();
    move |cause| RegisterError::Io { what, cause }
}
