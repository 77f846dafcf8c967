//! A register that fails as it is told: several endpoints of one child process, over mutual TLS and HTTP/1.1.
//!
//! The process is this very program with other arguments. It reads commands from its standard input, a line each, and
//! answers each with a line; it ends with its parent.

use std::fmt;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::str::FromStr;
use std::time::Duration;

mod endpoint;

pub use endpoint::{Record, serve};

/// How an endpoint answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// As it should, after [`SERVICE`].
    Well,
    /// The listener and all connections are closed: the port refuses.
    Killed,
    /// As a stopped process: the kernel takes connections, and nothing is answered, not even the handshake.
    Frozen,
    /// Requests are taken and never answered.
    Silent,
    /// The head is sent, the body never.
    HungAfterHead,
    /// A byte of the body each 100 ms.
    Drip,
    /// Half of the body, then a reset.
    ResetMidBody,
    /// `Content-Length` is larger than the body, which ends with the connection.
    LengthTooLarge,
    /// `Content-Length` is smaller than the body.
    LengthTooSmall,
    /// Bytes that are no HTTP.
    Garbage,
    /// A status, for so many of 100 requests; the others are answered well.
    Status(u16, u8),
    /// So many times slower.
    Slow(u32),
    /// A whole record, of somebody else.
    OtherPerson,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Well => f.write_str("well"),
            Self::Killed => f.write_str("killed"),
            Self::Frozen => f.write_str("frozen"),
            Self::Silent => f.write_str("silent"),
            Self::HungAfterHead => f.write_str("hung-after-head"),
            Self::Drip => f.write_str("drip"),
            Self::ResetMidBody => f.write_str("reset-mid-body"),
            Self::LengthTooLarge => f.write_str("length-too-large"),
            Self::LengthTooSmall => f.write_str("length-too-small"),
            Self::Garbage => f.write_str("garbage"),
            Self::Status(status, percent) => write!(f, "status-{status}-{percent}"),
            Self::Slow(times) => write!(f, "slow-{times}"),
            Self::OtherPerson => f.write_str("other-person"),
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("`{text}` is no fault");
        let number = |text: &str| text.parse::<u32>().map_err(|_| unknown());
        if let Some(times) = text.strip_prefix("slow-") {
            return Ok(Self::Slow(number(times)?));
        }
        if let Some((status, percent)) = text.strip_prefix("status-").and_then(|rest| rest.split_once('-')) {
            let status = u16::try_from(number(status)?).map_err(|_| unknown())?;
            return Ok(Self::Status(status, u8::try_from(number(percent)?).map_err(|_| unknown())?));
        }
        PLAIN.into_iter().find(|fault| fault.to_string() == text).ok_or_else(unknown)
    }
}

/// Files of the register, PEM.
#[derive(Clone, Debug)]
pub struct Files {
    /// Its chain.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authorities of its clients.
    pub client_ca: PathBuf,
}

/// The register, as its parent has it. Dropped, it is killed.
#[derive(Debug)]
pub struct Register {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    ports: Vec<u16>,
}

impl Register {
    /// This program again, as `register` with these arguments; it must call [`serve`].
    ///
    /// # Errors
    /// If it does not start, or does not say that it listens.
    pub fn start(arguments: &[&Path], ports: &[u16]) -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("register")
            .args(arguments)
            .args(ports.iter().map(ToString::to_string))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(commands), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("no pipes to the register"));
        };
        let mut register = Self { child, commands, answers: BufReader::new(answers), ports: ports.to_vec() };
        register.command("asked")?;
        Ok(register)
    }

    /// Where its endpoints listen.
    pub fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// From now on an endpoint answers so.
    ///
    /// # Errors
    /// If the process is gone, or there is no such endpoint.
    pub fn tell(&mut self, endpoint: usize, fault: Fault) -> io::Result<()> {
        let answer = self.command(&format!("{endpoint} {fault}"))?;
        if answer == "ok" { Ok(()) } else { Err(io::Error::other(answer)) }
    }

    /// How many requests each endpoint has had so far, checks left out.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn asked(&mut self) -> io::Result<Vec<u64>> {
        let answer = self.command("asked")?;
        answer.split(' ').map(|count| count.parse().map_err(io::Error::other)).collect()
    }

    fn command(&mut self, line: &str) -> io::Result<String> {
        writeln!(self.commands, "{line}")?;
        self.commands.flush()?;
        let mut answer = String::new();
        if self.answers.read_line(&mut answer)? == 0 {
            return Err(io::Error::other("the register has ended"));
        }
        Ok(answer.trim_end().to_owned())
    }
}

impl Drop for Register {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How long a register that is well takes.
pub const SERVICE: Duration = Duration::from_millis(5);

const PLAIN: [Fault; 11] = [
    Fault::Well,
    Fault::Killed,
    Fault::Frozen,
    Fault::Silent,
    Fault::HungAfterHead,
    Fault::Drip,
    Fault::ResetMidBody,
    Fault::LengthTooLarge,
    Fault::LengthTooSmall,
    Fault::Garbage,
    Fault::OtherPerson,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_read_as_it_is_written() {
        for fault in PLAIN.into_iter().chain([Fault::Status(503, 100), Fault::Slow(10)]) {
            assert_eq!(fault.to_string().parse(), Ok(fault));
        }
        for wrong in ["", "status-503", "status-99999-1", "slow-x", "dead"] {
            assert!(wrong.parse::<Fault>().is_err(), "{wrong}");
        }
    }
}
