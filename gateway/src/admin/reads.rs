//! What operators read of a node: who is enrolled for what, and the audit log.

use std::io::{self, Write};
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::civil::Date;
use popgate_policy::bundle::Bundle;
use popgate_policy::model::DisclosureId;
use tokio::sync::{mpsc, oneshot};

use super::AdminState;
use super::routes::{Who, json, problem};
use super::suspensions::decoded;
use crate::app::config::Role;
use crate::app::trace::{FindError, Trace};
use crate::listing;
use crate::records::{About, Form, Wanted};

/// What the admin listener reads of a node. Called on threads that may block.
pub trait Reads: Send + Sync {
    /// The bundle in force, without what is suspended, and the day; `None` while the node goes.
    fn bundle(&self) -> Option<(Arc<Bundle>, Date)>;

    /// Reads the audit log into `out`, which is not written to if it fails. Ends soon after `out` cannot be written.
    ///
    /// # Errors
    /// If the log may not or cannot be read so.
    fn log(&self, ask: &LogAsk, out: &mut dyn Write) -> Result<(), LogError>;

    /// Why one request was answered as it was; `None` if the log does not have it. Ends soon after `is_given_up` says so.
    ///
    /// # Errors
    /// If the log may not or cannot be read, or the search was given up.
    fn explain(&self, id: DisclosureId, is_given_up: &dyn Fn() -> bool) -> Result<Option<Trace>, LogError>;
}

/// What is asked of the audit log.
#[derive(Clone, Debug)]
pub enum LogAsk {
    /// Whether it is whole.
    Verify(Form),
    /// Its records.
    Entries {
        /// Which; its `subject` is not set.
        wanted: Wanted,
        /// About whom.
        about: Option<About>,
        /// How they are written.
        form: Form,
        /// Who wants what is sealed to be opened, and why; `None` for tags.
        unseal: Option<Unseal>,
    },
}

/// Why what is sealed is opened: recorded before anything of it is shown.
#[derive(Clone, Debug)]
pub struct Unseal {
    /// The operator.
    pub by: String,
    /// In the operator's words.
    pub reason: String,
}

/// Why the log is not read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Others read it.
    #[error("others read the log now; try again when they are done")]
    Busy,
    /// A person was named, and nothing says why.
    #[error("`subject` is no tag of 32 hex digits: to look for a person by number, say why with `gateway-reason`")]
    Unexplained,
    /// That it was opened cannot be recorded, so it is not.
    #[error("that the log is opened cannot be recorded: {0}")]
    Unrecorded(#[from] crate::audit::Unavailable),
    /// The key.
    #[error("the audit key: {0}")]
    Key(#[from] crate::custody::CustodyError),
    /// The log is damaged, or cannot be read.
    #[error("the log is not whole: {0}")]
    Damaged(#[from] crate::audit::Damage),
    /// The node goes.
    #[error("the node ends")]
    Ending,
    /// Nobody reads what is written any more.
    #[error("the answer was given up: {0}")]
    Given(#[from] io::Error),
}

impl From<FindError> for LogError {
    fn from(error: FindError) -> Self {
        match error {
            FindError::Damaged(damage) => Self::Damaged(damage),
            FindError::GivenUp => Self::Given(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

pub(super) fn routes() -> Router<AdminState> {
    Router::new()
        .route("/agencies", get(agencies))
        .route("/agencies/{id}", get(agency))
        .route("/purposes", get(purposes))
        .route("/operations", get(operations))
        .route("/explain/{id}", get(explain))
        .route("/audit/verify", get(verify))
        .route("/audit/entries", get(entries))
}

async fn agencies(who: Who, State(state): State<AdminState>) -> Response {
    listed(who, state, "/agencies", |bundle, _| Some(listing::agencies(bundle))).await
}

async fn agency(who: Who, State(state): State<AdminState>, Path(id): Path<String>) -> Response {
    listed(who, state, "/agencies/{id}", move |bundle, today| listing::agency(bundle, &id, today)).await
}

async fn purposes(who: Who, State(state): State<AdminState>) -> Response {
    listed(who, state, "/purposes", |bundle, today| Some(listing::purposes(bundle, today))).await
}

async fn operations(who: Who, State(state): State<AdminState>) -> Response {
    listed(who, state, "/operations", |bundle, _| Some(listing::operations(bundle))).await
}

/// What of the bundle in force is listed; made on a thread that may block: tables may have to be decided for it.
async fn listed<T: serde::Serialize + Send + 'static>(
    who: Who,
    state: AdminState,
    path: &'static str,
    list: impl FnOnce(&Bundle, Date) -> Option<T> + Send + 'static,
) -> Response {
    if let Some(refusal) = who.lacks_any(&[Role::Viewer, Role::Author, Role::Approver, Role::Auditor], path) {
        return refusal;
    }
    let made = tokio::task::spawn_blocking(move || {
        let (bundle, today) = state.reads.bundle()?;
        Some(list(&bundle, today))
    });
    let response = match made.await {
        Ok(Some(Some(listed))) => json(StatusCode::OK, &listed),
        Ok(Some(None)) => {
            let detail = "the bundle in force has no such agency; `/agencies` lists those that it has";
            problem(StatusCode::NOT_FOUND, "unknown_id", "there is no such agency", detail)
        }
        Ok(None) | Err(_) => internal(),
    };
    who.seen(path, response)
}

async fn explain(who: Who, State(state): State<AdminState>, Path(id): Path<String>) -> Response {
    if let Some(refusal) = who.lacks_any(&[Role::Auditor], EXPLAIN) {
        return refusal;
    }
    let digits = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let Some(id) = u128::from_str_radix(&id, 16).ok().filter(|_| digits).map(DisclosureId::from_random) else {
        let (title, detail) =
            ("the question cannot be read", "a request id is 32 hex digits, as in `Gateway-Request-Id`");
        return who.seen(EXPLAIN, problem(StatusCode::BAD_REQUEST, "query_invalid", title, detail));
    };
    let (answer, answered) = oneshot::channel();
    let reader = reader(move || {
        let explained = state.reads.explain(id, &|| answer.is_closed());
        // If nobody listens any more, nobody must be told.
        let _ = answer.send(explained);
    });
    if reader.is_err() {
        return who.seen(EXPLAIN, internal());
    }
    let response = match answered.await {
        Ok(Ok(Some(trace))) => json(StatusCode::OK, &trace),
        Ok(Ok(None)) => {
            let detail = "the log of this node has no request of that id; it may be another node's";
            problem(StatusCode::NOT_FOUND, "unknown_request", "there is no such request", detail)
        }
        Ok(Err(error)) => refused(&error),
        Err(_) => internal(),
    };
    who.seen(EXPLAIN, response)
}

async fn verify(who: Who, State(state): State<AdminState>, headers: HeaderMap) -> Response {
    match who.lacks_any(&[Role::Auditor], VERIFY) {
        Some(refusal) => refusal,
        None => who.seen(VERIFY, log(state, LogAsk::Verify(form(&headers)), form(&headers)).await),
    }
}

async fn entries(who: Who, State(state): State<AdminState>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    if let Some(refusal) = who.lacks_any(&[Role::Auditor], ENTRIES) {
        return refusal;
    }
    let asked = unseal(&headers, &who).and_then(|unseal| {
        let (wanted, about) = wanted(query.as_deref().unwrap_or_default())?;
        Ok(LogAsk::Entries { wanted, about, form: form(&headers), unseal })
    });
    match asked {
        Ok(ask) => who.seen(ENTRIES, log(state, ask, form(&headers)).await),
        Err(detail) => {
            let title = "the question cannot be read";
            who.seen(ENTRIES, problem(StatusCode::BAD_REQUEST, "query_invalid", title, &detail))
        }
    }
}

/// A thread of its own that reads the log. It ends with the process: a node that drains does not wait for it.
fn reader(read: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = std::thread::Builder::new().name("audit-reader".into()).spawn(read);
    thread.map(drop).inspect_err(|error| tracing::error!(%error, "no thread to read the audit log"))
}

/// Reads the log, and passes on what it writes as fast as the operator takes it.
async fn log(state: AdminState, ask: LogAsk, form: Form) -> Response {
    let (pieces, mut read) = mpsc::channel(PIECES);
    let reader = reader(move || {
        let mut out = Pieces { to: pieces.clone(), buffer: Vec::with_capacity(PIECE) };
        let ended = state.reads.log(&ask, &mut out).and_then(|()| Ok(out.flush()?));
        // If nobody listens any more, nobody must be told.
        let _ = pieces.blocking_send(Piece::End(ended));
    });
    if reader.is_err() {
        return internal();
    }
    let first = match read.recv().await {
        Some(Piece::Bytes(bytes)) => Some(bytes),
        Some(Piece::End(Ok(()))) => None,
        Some(Piece::End(Err(error))) => return refused(&error),
        None => return internal(),
    };
    let is_over = first.is_none();
    let pieces = futures_util::stream::unfold((first, read, is_over), |(first, mut read, is_over)| async move {
        if let Some(bytes) = first {
            return Some((Ok(bytes), (None, read, is_over)));
        }
        if is_over {
            return None;
        }
        match read.recv().await {
            Some(Piece::Bytes(bytes)) => Some((Ok(bytes), (None, read, false))),
            Some(Piece::End(Ok(()))) => None,
            // An answer that breaks off must not look like a whole one.
            Some(Piece::End(Err(error))) => Some((Err(io::Error::other(error)), (None, read, true))),
            None => Some((Err(io::Error::other("the reader failed")), (None, read, true))),
        }
    });
    let mut response = Body::from_stream(pieces).into_response();
    let kind = match form {
        Form::Json => HeaderValue::from_static("application/x-ndjson"),
        Form::Text => HeaderValue::from_static("text/plain; charset=utf-8"),
    };
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

enum Piece {
    Bytes(Bytes),
    End(Result<(), LogError>),
}

/// Writes into a channel, and waits while it is full.
struct Pieces {
    to: mpsc::Sender<Piece>,
    buffer: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE {
            self.flush()?;
        } else if self.to.is_closed() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE));
        self.to.blocking_send(Piece::Bytes(piece.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

fn refused(error: &LogError) -> Response {
    let detail = error.to_string();
    match error {
        LogError::Busy => problem(StatusCode::TOO_MANY_REQUESTS, "audit_busy", "the log is being read", &detail),
        LogError::Unexplained => {
            problem(StatusCode::BAD_REQUEST, "reason_missing", "a person is named without a reason", &detail)
        }
        LogError::Unrecorded(_) => {
            problem(StatusCode::SERVICE_UNAVAILABLE, "audit_unavailable", "nothing can be recorded now", &detail)
        }
        LogError::Key(_) | LogError::Damaged(_) | LogError::Ending | LogError::Given(_) => {
            problem(StatusCode::SERVICE_UNAVAILABLE, "audit_unreadable", "the log cannot be opened now", &detail)
        }
    }
}

/// Who wants what is sealed, and why; `None` without the header.
fn unseal(headers: &HeaderMap, who: &Who) -> Result<Option<Unseal>, String> {
    let Some(value) = headers.get(REASON) else { return Ok(None) };
    let reason = value.to_str().ok().and_then(decoded);
    let reason = reason.ok_or_else(|| format!("`{REASON}` is a percent-encoded text"))?;
    crate::suspend::is_plain(&reason, crate::suspend::MOST_REASON).map_err(|wrong| format!("`{REASON}` {wrong}"))?;
    Ok(Some(Unseal { by: who.name.clone(), reason }))
}

fn wanted(query: &str) -> Result<(Wanted, Option<About>), String> {
    let (mut wanted, mut about) = (Wanted::default(), None);
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let value = decoded(value).ok_or_else(|| format!("`{name}` is not percent-encoded"))?;
        let time = || value.parse().map_err(|_| format!("`{name}` is a time such as 2026-11-21T08:00:00Z"));
        match name {
            "since" => wanted.since = Some(time()?),
            "until" => wanted.until = Some(time()?),
            "system" => {
                crate::suspend::is_plain(&value, MOST_ID).map_err(|wrong| format!("`system` {wrong}"))?;
                wanted.system = Some(value);
            }
            "purpose" => {
                crate::suspend::is_plain(&value, MOST_ID).map_err(|wrong| format!("`purpose` {wrong}"))?;
                wanted.purpose = Some(value.into());
            }
            "subject" if value.is_empty() => return Err("`subject` is empty".to_owned()),
            "subject" => about = Some(About::parse(&value)),
            "limit" => match value.parse() {
                Ok(limit @ 1..=MOST_NEWEST) => wanted.limit = Some(limit),
                _ => return Err(format!("`limit` is a number from 1 to {MOST_NEWEST}")),
            },
            // Not quoted: it may hold anything.
            _ => return Err("the parameters are since, until, system, purpose, subject, limit".to_owned()),
        }
    }
    Ok((wanted, about))
}

fn form(headers: &HeaderMap) -> Form {
    match headers.get(header::ACCEPT).is_some_and(|accept| accept.as_bytes().starts_with(b"text/plain")) {
        true => Form::Text,
        false => Form::Json,
    }
}

fn internal() -> Response {
    problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the gateway failed", "see the log")
}

const EXPLAIN: &str = "/explain/{id}";
const VERIFY: &str = "/audit/verify";
const ENTRIES: &str = "/audit/entries";
/// Why what is sealed is to be opened, percent-encoded (RFC 3986, section 2.1): reasons need more than ASCII.
const REASON: &str = "gateway-reason";
const MOST_ID: usize = 200;
/// The newest records are held until the log's end is read: some 10 MB.
const MOST_NEWEST: usize = 10_000;
/// Bytes.
const PIECE: usize = 16 << 10;
/// That many pieces wait for a slow operator.
const PIECES: usize = 8;
