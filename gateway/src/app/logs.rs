//! Logs: one JSON object a line for machines, plain text for people at a terminal.
//!
//! What is logged holds no personal data: a request is logged by its route's template, never by its target, and what other
//! libraries say below a warning (they print targets and headers) is never written, at any level.

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::str::FromStr;

use tracing::Level;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry};

use crate::refusal::Blame;

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    /// Text at a terminal, JSON otherwise.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// How much of popgate's own is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verbosity(LevelFilter);

impl Verbosity {
    /// What the node does, and a line a refusal; a line a request is `debug`.
    pub const INFO: Self = Self(LevelFilter::INFO);
    /// Only what should be looked at.
    pub const WARN: Self = Self(LevelFilter::WARN);
}

/// Logs were started already in this process.
#[derive(Debug, thiserror::Error)]
#[error("logs were started already")]
pub struct AlreadyStarted;

/// Logs that run. Dropped, it writes what is still queued; keep it until the end.
#[must_use = "dropped, it ends the logs"]
#[derive(Debug)]
pub struct Started {
    _writer: WorkerGuard,
}

/// Starts logging to standard error. The first call in a process wins.
///
/// Lines are queued and written by a thread of their own: whoever reads the log and stops must not stop the data plane. When the
/// queue (of [`QUEUED_LINES`]) is full, lines are lost; the audit log is where nothing is.
///
/// # Errors
/// If logs were started already; nothing changes then.
pub fn init(format: Format, verbosity: Verbosity) -> Result<Started, AlreadyStarted> {
    let terminal = io::stderr().is_terminal();
    let format = match format {
        Format::Auto if terminal => Format::Text,
        Format::Auto => Format::Json,
        chosen => chosen,
    };
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let (writer, guard) =
        NonBlockingBuilder::default().buffered_lines_limit(QUEUED_LINES).thread_name("logs").finish(io::stderr());
    install(layer(format, verbosity, colour, writer))?;
    Ok(Started { _writer: guard })
}

/// The most lines that wait to be written.
pub const QUEUED_LINES: usize = 65_536;

/// As [`init`], to another writer (JSON unless text is asked for), without colours.
///
/// # Errors
/// As [`init`].
pub fn init_to<W>(format: Format, verbosity: Verbosity, writer: W) -> Result<(), AlreadyStarted>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    install(layer(format, verbosity, false, writer))
}

/// The record of one request, written when its answer ended. The field names are stable.
#[derive(Clone, Copy, Debug)]
pub struct RequestRecord<'a> {
    /// The gateway's own id of the request.
    pub request_id: &'a str,
    /// The agency, if one was identified.
    pub agency: Option<&'a str>,
    /// The system, if one was identified.
    pub system: Option<&'a str>,
    /// The exchange server that speaks for it, if there is one.
    pub exchange: Option<&'a str>,
    /// The operation, if one was routed to.
    pub operation: Option<&'a str>,
    /// The purpose, if it is an enrolled one: never what a client merely typed.
    pub purpose: Option<&'a str>,
    /// The HTTP status.
    pub status: u16,
    /// `ok`, or the refusal's code.
    pub code: &'a str,
    /// Whose fault a refusal is; `None` if something was disclosed.
    pub blame: Option<Blame>,
    /// From the end of the request's headers to the last byte of the answer.
    pub duration_us: u64,
    /// `http/1.1`, `h2`, `h3`.
    pub protocol: &'a str,
    /// Of a bulk request, the line.
    pub line: Option<u64>,
    /// How the record was come by, as in `popgate_cache_requests_total`; `None` if nothing was fetched.
    pub cache: Option<&'a str>,
    /// Seconds until a stored record is stale; below zero once it is.
    pub cache_ttl: Option<i64>,
}

impl RequestRecord<'_> {
    /// Writes the record: what was disclosed at `debug`, a refusal that is the agency's at `info`, any other at `warn`.
    pub fn emit(&self) {
        macro_rules! emit {
            ($level:expr) => {
                tracing::event!(
                    target: "popgate::request",
                    $level,
                    request_id = self.request_id,
                    agency = self.agency,
                    system = self.system,
                    exchange = self.exchange,
                    operation = self.operation,
                    purpose = self.purpose,
                    status = self.status,
                    code = self.code,
                    blame = self.blame.map(|blame| match blame {
                        Blame::Downstream => "downstream",
                        Blame::Upstream => "upstream",
                        Blame::Gateway => "gateway",
                    }),
                    duration_us = self.duration_us,
                    protocol = self.protocol,
                    line = self.line,
                    cache = self.cache,
                    cache_ttl = self.cache_ttl,
                    "request"
                )
            };
        }
        match self.blame {
            // The bulk request has its own record; its lines may be millions.
            None | Some(Blame::Downstream) if self.line.is_some() => emit!(Level::DEBUG),
            None => emit!(Level::DEBUG),
            Some(Blame::Downstream) => emit!(Level::INFO),
            Some(Blame::Upstream | Blame::Gateway) => emit!(Level::WARN),
        }
    }
}

impl FromStr for Format {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "auto" => Ok(Self::Auto),
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            _ => Err("one of auto, json, text"),
        }
    }
}

impl FromStr for Verbosity {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "off" | "error" | "warn" | "info" | "debug" | "trace" => {
                name.parse().map(Self).map_err(|_| "one of off, error, warn, info, debug, trace")
            }
            _ => Err("one of off, error, warn, info, debug, trace"),
        }
    }
}

impl fmt::Display for Verbosity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

fn layer<W>(format: Format, verbosity: Verbosity, colour: bool, writer: W) -> BoxedLayer
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let base = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colour);
    let filter = filter(verbosity);
    match format {
        Format::Text => base.with_filter(filter).boxed(),
        Format::Json | Format::Auto => {
            let json = base.json().flatten_event(true).with_current_span(false).with_span_list(false);
            json.with_filter(filter).boxed()
        }
    }
}

/// Other crates may warn, no more: what they say below that holds request targets and headers.
fn filter(verbosity: Verbosity) -> Targets {
    let others = verbosity.0.min(LevelFilter::from_level(Level::WARN));
    // What keeps a node from NATS is told once, by popgate: its client tells it again each time.
    let targets = Targets::new().with_default(others).with_target("async_nats", LevelFilter::OFF);
    targets.with_target("popgate", verbosity.0)
}

fn install(layer: BoxedLayer) -> Result<(), AlreadyStarted> {
    Registry::default().with(layer).try_init().map_err(|_| AlreadyStarted)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Captured {
        fn during(verbosity: Verbosity, run: impl FnOnce()) -> String {
            let captured = Self::default();
            let writer = captured.clone();
            let subscriber = Registry::default().with(layer(Format::Json, verbosity, false, move || writer.clone()));
            tracing::subscriber::with_default(subscriber, run);
            let bytes = captured.0.lock().unwrap().clone();
            String::from_utf8(bytes).unwrap()
        }
    }

    const RECORD: RequestRecord<'static> = RequestRecord {
        line: None,
        request_id: "01J",
        agency: Some("tax"),
        system: Some("tax/etax"),
        exchange: None,
        operation: Some("citizen.read"),
        purpose: None,
        status: 200,
        code: "ok",
        blame: None,
        duration_us: 412,
        protocol: "h2",
        cache: Some("hit"),
        cache_ttl: Some(41),
    };

    #[test]
    fn a_request_is_one_json_line_with_fixed_names() {
        let debug = "debug".parse().unwrap();
        let text = Captured::during(debug, || RECORD.emit());
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        let mut names: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        let expected =
            "agency cache cache_ttl code duration_us level message operation protocol request_id status system target";
        assert_eq!(names.join(" "), format!("{expected} timestamp"));
        assert_eq!(line["status"], 200);
        assert_eq!(line["duration_us"], 412);
        assert_eq!(line["operation"], "citizen.read");
    }

    #[test]
    fn at_info_there_is_a_line_a_refusal_and_at_warn_only_what_is_not_the_agencys_fault() {
        let refused = |blame| RequestRecord { status: 403, code: "policy_denied", blame: Some(blame), ..RECORD };
        let all = || {
            RECORD.emit();
            refused(Blame::Downstream).emit();
            refused(Blame::Upstream).emit();
        };
        let blamed = |text: String| -> Vec<String> {
            let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
            lines.map(|line| line["blame"].as_str().unwrap_or_default().to_owned()).collect()
        };
        assert_eq!(blamed(Captured::during(Verbosity::INFO, all)), ["downstream", "upstream"]);
        assert_eq!(blamed(Captured::during(Verbosity::WARN, all)), ["upstream"]);
    }

    #[test]
    fn other_crates_never_say_more_than_warnings() {
        let text = Captured::during("trace".parse().unwrap(), || {
            tracing::debug!(target: "h2::codec", "GET /persons/001");
            tracing::info!(target: "hyper::proto", "GET /persons/002");
            tracing::warn!(target: "rustls", "a warning");
            tracing::trace!(target: "popgate::forward", "own");
        });
        assert!(!text.contains("/persons/"), "{text}");
        assert_eq!(text.lines().count(), 2, "{text}");
    }

    #[test]
    fn off_means_off() {
        let text = Captured::during("off".parse().unwrap(), || {
            RECORD.emit();
            tracing::error!(target: "rustls", "an error");
        });
        assert_eq!(text, "");
        assert!("h2=trace".parse::<Verbosity>().is_err());
    }

    #[test]
    fn a_second_start_is_refused_not_fatal() {
        let quiet: Verbosity = "off".parse().unwrap();
        let first = init_to(Format::Json, quiet, io::sink);
        let second = init(Format::Json, quiet);
        assert!(first.is_ok());
        assert!(second.is_err());
    }
}
