//! What the whole-process benches share: a gateway as a process of its own, pinned to one processor, before a population.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;
use std::{fs, io};

use http::StatusCode;
use popgate::app::config::Config;
use popgate_demo::client::{Client, Http, get};
use popgate_demo::deployment::{Options, Register, Site};
use popgate_demo::postgres::Postgres;
use popgate_demo::register::{Number, population};
use popgate_demo::scenario::read_path;
use tempfile::TempDir;

pub mod confine;
pub mod fault_table;
pub mod faulty;
pub mod load;
pub mod overload;
pub mod peers;
pub mod plot;
pub mod probe;
pub mod register;
pub mod site;
pub mod synthetic;
pub mod zipf;

/// Why there is no figure.
pub type Failure = Box<dyn Error + Send + Sync>;

/// What every such bench may be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Common {
    /// Read the population from a throw-away PostgreSQL, not from functions: needs Debian's package postgresql
    #[arg(long)]
    postgres: bool,
    /// Serve that configuration: how this program starts the gateway
    #[arg(long, hide = true)]
    serve: Option<PathBuf>,
}

impl Common {
    /// Measures, or is the gateway that is measured.
    pub fn run(&self, measure: impl FnOnce() -> Result<(), Failure>) -> ExitCode {
        let result = match &self.serve {
            Some(file) => serve(file),
            None => measure(),
        };
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                report(&*error);
                ExitCode::FAILURE
            }
        }
    }
}

fn serve(file: &Path) -> Result<(), Failure> {
    popgate::app::serve(Config::read(file).map_err(|errors| errors.to_string())?).map_err(Into::into)
}

/// A gateway with one data-plane thread, the population behind it, and a client of the tax department's system.
#[derive(Debug)]
pub struct Rig {
    /// The gateway.
    pub gateway: Gateway,
    /// The client.
    pub client: Client,
    /// Those of the database; without one anybody is there.
    seeded: Vec<Number>,
    _register: Register,
    _postgres: Option<Postgres>,
    _dir: TempDir,
}

impl Rig {
    /// Starts it, with these settings besides the reference's.
    ///
    /// # Errors
    /// If a part of it does not start.
    pub fn start(common: &Common, settings: &str) -> Result<Self, Failure> {
        Self::start_made(common, settings, |_| Ok(()))
    }

    /// The same of a site whose files may be changed first.
    ///
    /// # Errors
    /// As [`Rig::start`], and what the change comes to.
    pub fn start_made(
        common: &Common,
        settings: &str,
        change: impl FnOnce(&Site) -> Result<(), Failure>,
    ) -> Result<Self, Failure> {
        let dir = tempfile::tempdir()?;
        let site = Site::make(dir.path())?;
        lift_limits(&site)?;
        change(&site)?;
        let postgres = common.postgres.then(Postgres::start).transpose()?;
        let (register, seeded) = match &postgres {
            Some(postgres) => {
                (Register::start_on(&site, postgres.seeded(SEEDED)?)?, population::seeded(SEEDED).collect())
            }
            None => (Register::start(&site)?, Vec::new()),
        };
        let port = free_port()?;
        let options = Options { port, cores: 1, settings: settings.to_owned(), ..Options::default() };
        site.write_config(register.address, &options)?;
        let gateway = Gateway::start(&site)?;
        let client = Client::new(([127, 0, 0, 1], port).into(), &site.credentials("tax/etax")?, Http::One)?;
        Ok(Self { gateway, client, seeded, _register: register, _postgres: postgres, _dir: dir })
    }

    /// One of the population; each index is somebody else, until all were there.
    pub fn citizen(&self, n: u64) -> Number {
        let at = usize::try_from(n).unwrap_or(usize::MAX).checked_rem(self.seeded.len());
        at.and_then(|at| self.seeded.get(at).copied()).unwrap_or_else(|| population::citizen(n))
    }

    /// Waits until the gateway answers.
    ///
    /// # Errors
    /// If it does not within ten seconds.
    pub async fn ready(&self) -> Result<(), Failure> {
        for _ in 0..200 {
            match self.client.send(get(&read_path(self.citizen(0)), None)).await {
                Ok(answer) if answer.status == StatusCode::OK => return Ok(()),
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        Err("the gateway does not answer within 10 s".into())
    }
}

/// A gateway in a process of its own. Dropped, it is killed.
#[derive(Debug)]
pub struct Gateway(Child);

impl Gateway {
    /// This very program again with `--serve`, on the first processor.
    fn start(site: &Site) -> Result<Self, Failure> {
        let child = Command::new("taskset")
            .args(["--cpu-list", "0"])
            .arg(std::env::current_exe()?)
            .arg("--serve")
            .arg(site.config_file())
            .stdin(Stdio::null())
            .spawn()
            .map_err(|error| format!("taskset (Debian package util-linux): {error}"))?;
        Ok(Self(child))
    }

    /// Bytes that it holds in memory (`VmRSS`).
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn resident(&self) -> Result<u64, Failure> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? << 10)
    }

    /// CPU time of all its threads, from the scheduler's nanoseconds.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn cpu(&self) -> Result<Duration, Failure> {
        let mut nanos = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.0.id()))? {
            let stat = fs::read_to_string(task?.path().join("schedstat"))?;
            nanos += stat.split(' ').next().unwrap_or_default().parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanos))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The reference limits are for people; this measures what the machine can do.
fn lift_limits(site: &Site) -> Result<(), Failure> {
    let file = site.bundle().join("agencies/tax.toml");
    let text = fs::read_to_string(&file)?;
    let lifted = text.replace(
        r#"rate = "200/s", burst = 400, concurrent = 64"#,
        r#"rate = "1000000/s", burst = 1000000, concurrent = 100000"#,
    );
    if lifted == text {
        return Err(format!("`{}` has other limits than this bench expects", file.display()).into());
    }
    Ok(fs::write(&file, lifted)?)
}

/// A port that nobody listens on.
fn free_port() -> io::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Prints at once.
///
/// # Errors
/// If nobody reads.
pub fn say(text: &str) -> io::Result<()> {
    use std::io::Write as _;
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Says on standard error why there is no figure.
#[expect(clippy::print_stderr, reason = "the last word of a command line program")]
pub fn report(error: &dyn Error) {
    eprintln!("error: {error}");
}

/// How many citizens a database gets: more than are asked for in a run, so that none is stored already.
const SEEDED: u64 = 200_000;
