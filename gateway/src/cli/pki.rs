//! `popgate pki`: a small certificate authority.

pub mod inspect;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use jiff::SignedDuration;

use crate::clock::Clock;
use crate::pki::{self, Authority, Client, PkiError, Serial, Usage, Validity};

/// Make keys and certificates for tests, demos and small sites
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A first authority, the gateway's certificate, and a client's:
  popgate pki init --ca tls/ca
  popgate pki server --ca tls/ca --out tls/gateway gateway.example.gov.vn 10.0.0.5
  popgate pki client --ca tls/ca --out clients/etax --uri spiffe://gov.vn/tax/etax etax
In gateway.toml: client_cas = \"tls/ca/ca.pem\" and crls = \"tls/ca/ca.crl\". The list must be renewed with `popgate pki crl`
before it is due; `popgate pki revoke` renews it, too. A running gateway takes the new list up by itself.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an authority: its certificate, its key and an empty revocation list
    Init {
        #[command(flatten)]
        ca: Ca,
        /// How long its certificate is valid
        #[arg(long, default_value_t = 3650)]
        days: u32,
    },
    /// Issue a server certificate: OUT.pem and OUT.key
    Server {
        #[command(flatten)]
        ca: Ca,
        #[command(flatten)]
        out: Out,
        /// DNS names and IP addresses of the server
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Issue a client certificate: OUT.pem and OUT.key
    Client {
        #[command(flatten)]
        ca: Ca,
        #[command(flatten)]
        out: Out,
        /// The URI that the agency's file names as `identity`, such as spiffe://gov.vn/tax/etax
        #[arg(long)]
        uri: Option<String>,
        /// The subject's organisation (O)
        #[arg(long)]
        organization: Option<String>,
        /// The subject's country (C)
        #[arg(long)]
        country: Option<String>,
        /// The extended key usage; the gateway accepts `client` and `any`
        #[arg(long, value_enum, default_value_t = KeyUsage::Client)]
        usage: KeyUsage,
        /// The subject's common name (CN)
        common_name: String,
    },
    /// Revoke a certificate and write the revocation list
    Revoke {
        #[command(flatten)]
        ca: Ca,
        #[command(flatten)]
        next: Next,
        /// The certificate's PEM file, or its serial number in hex
        certificate: String,
    },
    /// Write the revocation list again, with new dates
    Crl {
        #[command(flatten)]
        ca: Ca,
        #[command(flatten)]
        next: Next,
    },
    Inspect(inspect::Args),
    /// Make a file with a random 32-byte key (for `[keys]` in gateway.toml), readable by its owner alone
    Key {
        /// The file; it must not exist
        file: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct Ca {
    /// The authority's folder
    #[arg(long = "ca", value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// The authority's name: that of its files and its CN
    #[arg(long = "ca-name", value_name = "NAME", default_value = "ca")]
    name: String,
}

#[derive(Debug, clap::Args)]
struct Out {
    /// Where to write: OUT.pem and OUT.key, which must not exist
    #[arg(long)]
    out: PathBuf,
    /// How long the certificate is valid
    #[arg(long, default_value_t = 365)]
    days: u32,
}

#[derive(Debug, clap::Args)]
struct Next {
    /// In how many hours the next list is due
    #[arg(long, value_name = "HOURS", default_value_t = 168)]
    next_update: u32,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum KeyUsage {
    Client,
    Server,
    Any,
}

/// Runs it and says what was made, or seen. The exit code says whether what was seen is good.
///
/// # Errors
/// If it cannot be done, or said.
pub fn run(args: Args, clock: &Clock, out: &mut dyn Write) -> Result<ExitCode, PkiError> {
    let now = clock.wall();
    let said = match args.command {
        Command::Init { ca, days } => {
            let made = Authority::create(&ca.dir, &ca.name, Validity::days(now, days))?;
            format!("wrote {}, its key, and {}", made.certificate_file().display(), made.crl_file().display())
        }
        Command::Server { ca, out, names } => {
            let issued = ca.load()?.issue_server(&names, Validity::days(now, out.days))?;
            written(&issued, &out)?
        }
        Command::Client { ca, out, uri, organization, country, usage, common_name } => {
            let usage = match usage {
                KeyUsage::Client => Usage::Client,
                KeyUsage::Server => Usage::Server,
                KeyUsage::Any => Usage::Any,
            };
            let client = Client { uri, common_name, organization, country, usage };
            let issued = ca.load()?.issue_client(&client, Validity::days(now, out.days))?;
            written(&issued, &out)?
        }
        Command::Revoke { ca, next, certificate } => {
            let path = PathBuf::from(&certificate);
            let serial = if path.exists() { Serial::of(&path)? } else { Serial::parse(&certificate)? };
            let authority = ca.load()?;
            let new = authority.revoke(&serial, now, next.life())?;
            let was = if new { "revoked" } else { "was revoked before:" };
            format!("{was} {serial}; wrote {}", authority.crl_file().display())
        }
        Command::Crl { ca, next } => {
            let authority = ca.load()?;
            let revoked = authority.renew_crl(now, next.life())?;
            format!("wrote {}: {revoked} revoked", authority.crl_file().display())
        }
        Command::Inspect(args) => return inspect::run(&args, clock, out),
        Command::Key { file } => {
            pki::new_key(&file)?;
            format!("wrote {}", file.display())
        }
    };
    let written = writeln!(out, "{said}");
    written.map_err(|source| PkiError::Io { file: PathBuf::from("standard output"), source })?;
    Ok(ExitCode::SUCCESS)
}

impl Ca {
    fn load(&self) -> Result<Authority, PkiError> {
        Authority::load(&self.dir, &self.name)
    }
}

impl Next {
    fn life(&self) -> SignedDuration {
        SignedDuration::from_hours(i64::from(self.next_update))
    }
}

fn written(issued: &pki::Issued, out: &Out) -> Result<String, PkiError> {
    let (certificate, key) = issued.write(&out.out)?;
    Ok(format!("wrote {} and {}; serial {}", certificate.display(), key.display(), issued.serial))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn popgate(line: &str) -> Result<String, String> {
        let args = Cli::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())?.args;
        let mut out = Vec::new();
        run(args, &Clock::system("UTC").unwrap(), &mut out).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn an_authority_from_the_command_line() {
        use std::os::unix::fs::PermissionsExt as _;

        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().display().to_string();
        popgate(&format!("pki init --ca {at}/ca")).unwrap();
        popgate(&format!("pki server --ca {at}/ca --out {at}/gateway.test gateway.test 127.0.0.1")).unwrap();
        popgate(&format!("pki client --ca {at}/ca --out {at}/etax --uri spiffe://gov.test/tax/etax etax")).unwrap();
        let said = popgate(&format!("pki revoke --ca {at}/ca {at}/etax.pem")).unwrap();
        assert!(said.starts_with("revoked"), "{said}");
        let again = popgate(&format!("pki revoke --ca {at}/ca {at}/etax.pem")).unwrap();
        assert!(again.starts_with("was revoked before"), "{again}");
        let crl = popgate(&format!("pki crl --ca {at}/ca")).unwrap();
        assert!(crl.ends_with("ca.crl: 1 revoked\n"), "{crl}");
        popgate(&format!("pki key {at}/audit.key")).unwrap();
        assert!(crate::custody::symmetric_key(&dir.path().join("audit.key")).is_ok());
        let seen = popgate(&format!("pki inspect {at}/etax.pem")).unwrap();
        assert!(seen.contains("spiffe://gov.test/tax/etax") && seen.contains("clientAuth"), "{seen}");
        for key in ["ca/ca.key", "gateway.test.key", "etax.key", "audit.key"] {
            let mode = std::fs::metadata(dir.path().join(key)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{key}");
        }
    }

    #[test]
    fn mistakes_are_explained() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().display().to_string();
        popgate(&format!("pki init --ca {at}")).unwrap();
        assert!(popgate(&format!("pki init --ca {at}")).unwrap_err().contains("move it away first"));
        assert!(popgate(&format!("pki inspect {at}/ca.key")).unwrap_err().contains("no certificate in it"));
        assert!(popgate(&format!("pki revoke --ca {at} nonsense")).unwrap_err().contains("hex digits"));
        assert!(popgate(&format!("pki client --ca {at} --out {at}/x --uri bộ x")).unwrap_err().contains("ASCII"));
        assert!(popgate(&format!("pki server --ca {at}/nowhere --out {at}/y y.test")).unwrap_err().contains("ca.key"));
    }
}
