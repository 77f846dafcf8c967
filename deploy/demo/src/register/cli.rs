//! The subcommand `register`.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use clap::Subcommand;
use rustls::ServerConfig;
use tokio::{net::TcpListener, sync::watch};

use super::{Citizen, Faults, Number, RegisterError, population, serve, server_config};

/// The synthetic population register: serves it over TLS, or prints of it. All of it is made up.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    print: Option<Print>,
    #[command(flatten)]
    listen: Option<Listen>,
}

#[derive(Debug, Subcommand)]
enum Print {
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
    /// Threads, each with its own runtime [default: one a core].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

/// Runs the subcommand; serving ends with Ctrl-C.
///
/// # Errors
/// Files, addresses and TLS material that cannot be used; an unknown number.
pub fn run(args: Args) -> Result<(), RegisterError> {
    let mut out = io::stdout().lock();
    let printed = match (args.print, args.listen) {
        (Some(Print::Show { number }), _) => {
            let citizen = Citizen::of(number).ok_or(RegisterError::Unknown)?;
            serde_json::to_writer_pretty(&mut out, &citizen).map_err(io::Error::from).and_then(|()| writeln!(out))
        }
        (Some(Print::Sample { count, from }), _) => {
            (from..from.saturating_add(count)).try_for_each(|n| writeln!(out, "{}", population::citizen(n)))
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

impl Listen {
    fn run(self) -> Result<(), RegisterError> {
        let tls = server_config(&read(&self.certificate)?, &read(&self.key)?, &read(&self.client_ca)?)?;
        let address = self.listen.to_string();
        let listener = std::net::TcpListener::bind(self.listen).map_err(io_error(&address))?;
        listener.set_nonblocking(true).map_err(io_error(&address))?;
        let bound = listener.local_addr().map_err(io_error(&address))?;
        writeln!(io::stdout(), "population register on https://{bound} (synthetic data)")
            .map_err(io_error("standard output"))?;

        let cores = thread::available_parallelism().map_or(1, usize::from);
        let (stop, stopping) = watch::channel(());
        thread::scope(|scope| {
            let mut others = Vec::new();
            for _ in 1..self.threads.unwrap_or(cores) {
                let (listener, tls) = (listener.try_clone().map_err(io_error(&address))?, tls.clone());
                let mut stopping = stopping.clone();
                let stopped = async move { while stopping.changed().await.is_ok() {} };
                others.push(scope.spawn(|| serve_here(listener, tls, stopped)));
            }
            let result = serve_here(listener, tls, async {
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
    shutdown: impl Future<Output = ()>,
) -> Result<(), RegisterError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(io_error("runtime"))?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener).map_err(io_error("listener"))?;
        serve(listener, tls, Faults::new(), shutdown).await;
        Ok(())
    })
}

fn read(path: &Path) -> Result<Vec<u8>, RegisterError> {
    std::fs::read(path).map_err(io_error(&path.display().to_string()))
}

fn io_error(what: &str) -> impl FnOnce(io::Error) -> RegisterError + use<> {
    let what = what.to_owned();
    move |cause| RegisterError::Io { what, cause }
}
