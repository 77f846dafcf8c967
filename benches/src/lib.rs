//! What the whole-process benches share: a gateway as a process of its own, pinned to one processor.

use std::error::Error;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{fs, io};

use http::StatusCode;
use popgate::app::config::Config;
use popgate_demo::client::{Client, get};
use popgate_demo::deployment::Site;
use popgate_demo::register::population;
use popgate_demo::scenario::read_path;

/// Why there is no figure.
pub type Failure = Box<dyn Error + Send + Sync>;

/// Serves that configuration until it is told to stop.
///
/// # Errors
/// If it cannot be read or started.
pub fn serve(file: &Path) -> Result<(), Failure> {
    popgate::app::serve(Config::read(file).map_err(|errors| errors.to_string())?).map_err(Into::into)
}

/// A gateway in a process of its own. Dropped, it is killed.
#[derive(Debug)]
pub struct Gateway(Child);

impl Gateway {
    /// Starts this very program again with `--serve`, on the first processor.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(site: &Site) -> Result<Self, Failure> {
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

    /// Waits until it answers.
    ///
    /// # Errors
    /// If it does not within ten seconds.
    pub async fn ready(&self, client: &Client) -> Result<(), Failure> {
        for _ in 0..200 {
            match client.send(get(&read_path(population::citizen(0)), None)).await {
                Ok(answer) if answer.status == StatusCode::OK => return Ok(()),
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        Err("the gateway does not answer within 10 s".into())
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
///
/// # Errors
/// If they are not as expected.
pub fn lift_limits(site: &Site) -> Result<(), Failure> {
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
///
/// # Errors
/// If there is none.
pub fn free_port() -> io::Result<u16> {
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
