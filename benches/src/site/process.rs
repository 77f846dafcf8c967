//! Processes that a run starts and ends: pinned, observed through `/proc`, ended by their number.

use std::ffi::OsStr;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, io};

use crate::Failure;

/// A process of the run. Dropped, it is asked to end, and killed if it does not.
#[derive(Debug)]
pub struct Process(Child);

/// A gateway that serves.
#[derive(Debug)]
pub struct Gateway {
    /// Its process.
    pub process: Process,
    /// How long it took from its start until it listened.
    pub started: Duration,
}

impl Process {
    /// Starts it; its words go to the file. `processors` is a list as `taskset` takes it.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start<A: AsRef<OsStr>>(
        program: &Path,
        arguments: &[A],
        processors: Option<&str>,
        words: &Path,
    ) -> Result<Self, Failure> {
        let words = fs::OpenOptions::new().create(true).append(true).open(words)?;
        // `taskset` becomes the program: the number stays.
        let mut command = match processors {
            Some(list) => {
                let mut command = Command::new("taskset");
                command.args(["--cpu-list", list]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.args(arguments).stdin(Stdio::null()).stdout(words.try_clone()?).stderr(words);
        let child = command.spawn().map_err(|error| format!("`{}`: {error}", program.display()))?;
        Ok(Self(child))
    }

    /// Waits until something listens on that port of loopback.
    ///
    /// # Errors
    /// If it ends before, or the time is over.
    pub fn wait(&mut self, port: u16, within: Duration) -> Result<(), Failure> {
        let began = Instant::now();
        while began.elapsed() < within {
            if let Some(status) = self.0.try_wait()? {
                return Err(format!("it ended with {status} before it listened").into());
            }
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(format!("it does not listen after {} s", within.as_secs()).into())
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// CPU time of all its threads that are alive, from the scheduler's nanoseconds.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn cpu(&self) -> Result<Duration, Failure> {
        let mut nanos = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.id()))? {
            // A thread may end between the two.
            let stat = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
            nanos += stat.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok()).unwrap_or_default();
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// Bytes that it holds in memory (`VmRSS`).
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn resident(&self) -> Result<u64, Failure> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? << 10)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg("-TERM").arg(self.id().to_string()).stderr(Stdio::null()).status();
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if matches!(self.0.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Gateway {
    pub(super) fn wait(mut process: Process, port: u16) -> Result<Self, Failure> {
        let began = Instant::now();
        process.wait(port, Duration::from_secs(30)).map_err(|error| format!("the gateway: {error}"))?;
        Ok(Self { process, started: began.elapsed() })
    }
}

/// A port of loopback that nobody listens on.
///
/// # Errors
/// If there is none.
pub fn free_port() -> io::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// From being asked to end until being killed.
const PATIENCE: Duration = Duration::from_secs(4);
