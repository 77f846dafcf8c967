//! `popgate pki inspect`: what the gateway sees of a certificate file, and what it would have against it.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use popgate_policy::bundle::Bundle;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;

use crate::accept::Trust;
use crate::app::bundle_files;
use crate::app::config::Config;
use crate::clock::Clock;
use crate::pki::PkiError;
use crate::whoami::checks::{self, Check, Outcome, Shown};
use crate::whoami::text;

/// Show what the gateway sees of a certificate, and which checks would fail
///
/// The file holds the client's certificate and the intermediate ones behind it, as the client sends them (PEM, or one in DER). A
/// private key in it is not looked at. With a configuration the chain is held against its authorities, revocation lists and
/// directory, as the running gateway would, by this machine's clock.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  popgate pki inspect clients/etax.pem
  popgate pki inspect clients/etax.pem --config /etc/popgate/gateway.toml

Exit codes: 0 no check fails, 1 one does, or the file cannot be read, 2 usage")]
pub struct Args {
    /// The certificate's file
    file: PathBuf,
    /// Hold it against this gateway.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// If the file, or the configuration and what it names, cannot be read, or nothing can be written.
pub(super) fn run(args: &Args, clock: &Clock, out: &mut dyn Write) -> Result<ExitCode, PkiError> {
    let shown = Shown::new(read(&args.file)?);
    let mut report = Report { system: None, warnings: Vec::new(), checks: Vec::new() };
    match &args.config {
        None => report.checks = checks::of_certificate(&shown, None, clock.wall()),
        Some(file) => report.hold_against(file, &shown, clock)?,
    }
    let written = if args.json { report.json(&args.file, &shown) } else { report.text(&args.file, &shown) };
    let stdout = |source: io::Error| PkiError::Io { file: PathBuf::from("standard output"), source };
    out.write_all(written.as_bytes()).map_err(stdout)?;
    let fails = report.checks.iter().any(|check| check.outcome == Outcome::Fail);
    Ok(if fails { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

struct Report {
    /// Who is enrolled for it.
    system: Option<String>,
    /// What is wrong with the gateway's own files, not with the certificate.
    warnings: Vec<String>,
    checks: Vec<Check>,
}

impl Report {
    fn hold_against(&mut self, file: &Path, shown: &Shown, clock: &Clock) -> Result<(), PkiError> {
        let config = Config::read(file).map_err(|errors| PkiError::Invalid(errors.to_string()))?;
        let (verifier, warnings) =
            Trust::verifier_of(&config.tls, clock).map_err(|error| PkiError::Invalid(error.to_string()))?;
        self.warnings = warnings.iter().map(ToString::to_string).collect();
        let bundle = |what: String| PkiError::Content { file: config.bundle.clone(), problem: what };
        let source = bundle_files::read(&config.bundle).map_err(|error| bundle(error.to_string()))?;
        let loaded = Bundle::load(&source).map_err(|problems| {
            bundle(format!("the bundle has {} error(s); run `popgate check` to see them", problems.len()))
        })?;
        let directory = loaded.bundle.directory();
        let examination = verifier.examine(&shown.chain, clock.unix());
        let vouched = checks::is_vouched_for(&examination);
        self.system = vouched
            .then(|| directory.identify(&shown.identities))
            .flatten()
            .map(|system| system.id.as_str().to_owned());
        self.checks = checks::of_certificate(shown, Some(&examination), clock.wall());
        self.checks.push(checks::of_handshake(&examination));
        self.checks.extend(checks::of_system(shown, vouched, directory, None));
        Ok(())
    }

    fn text(&self, file: &Path, shown: &Shown) -> String {
        let mut text = String::new();
        for (at, facts) in shown.facts.iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{}, certificate {} of {}", file.display(), at + 1, shown.facts.len());
            match facts {
                Some(facts) => text::certificate(&mut text, facts),
                None => text.push_str("  cannot be read\n"),
            }
        }
        for warning in &self.warnings {
            let _ = writeln!(text, "the gateway's own files: {warning}");
        }
        text.push_str("checks\n");
        text::checks(&mut text, &self.checks);
        text
    }

    fn json(&self, file: &Path, shown: &Shown) -> String {
        let report = json!({
            "file": file.display().to_string(),
            "certificates": shown.facts,
            "system": self.system,
            "warnings": self.warnings,
            "checks": self.checks,
        });
        format!("{report:#}\n")
    }
}

fn read(file: &Path) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    let bytes = std::fs::read(file).map_err(|source| PkiError::Io { file: file.to_owned(), source })?;
    let content = |problem: &str| PkiError::Content { file: file.to_owned(), problem: problem.to_owned() };
    if memchr::memmem::find(&bytes, b"-----BEGIN").is_none() {
        return match bytes.first() {
            Some(0x30) => Ok(vec![bytes.into()]),
            _ => Err(content("neither PEM nor DER; give the certificate's file")),
        };
    }
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err(content("no certificate in it; give the file with `BEGIN CERTIFICATE`")),
        Err(_) => Err(content("its PEM cannot be read; export it again")),
    }
}
