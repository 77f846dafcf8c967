//! What a plugin is, what it sees, and what the gateway gives it.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use popgate_policy::contract::Operation;
use popgate_policy::directory::{Purpose, System};
use popgate_policy::model::{FieldSet, Personal, RegisterId};
use popgate_policy::narrow::Narrowing;

/// Something that narrows permits.
///
/// One instance serves every core at once. It is asked only for requests that its table applies to, and never twice at once for the
/// same request.
pub trait Plugin: fmt::Debug + Send + Sync {
    /// Whether its decision depends on whom the request is about. Such a plugin is asked again for every person of a list, and
    /// persons that it was not asked about are not shown.
    fn looks_at_subject(&self) -> bool;

    /// Decides. Whatever it answers can only take away; if it does not answer within its deadline, or panics, it has failed.
    ///
    /// It MUST NOT block the thread, which other requests share; a deadline can only end what awaits.
    fn decide<'a>(&'a self, seen: Seen<'a>) -> Decision<'a>;

    /// Reads its files again; says what is in force now, without anything about persons. What was in force stays if they are wrong.
    ///
    /// # Errors
    /// What is wrong with a file.
    fn reload(&self, files: &dyn Files) -> Result<String, Unusable> {
        let _ = files;
        Ok("it has no files".into())
    }
}

/// A decision under way. It stays on the thread that asked.
pub type Decision<'a> = Pin<Box<dyn Future<Output = Result<Narrowing, Failed>> + 'a>>;

/// What a plugin sees of a request.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Who asks; its agency is in it.
    pub system: &'a System,
    /// What is asked.
    pub operation: &'a Operation,
    /// What for.
    pub purpose: &'a Purpose,
    /// The local time at the site.
    pub local: jiff::civil::DateTime,
    /// The address that the connection came from.
    pub source: IpAddr,
    /// Whom the request is about; `None` for a search, which is about nobody yet.
    pub subject: Option<&'a Personal<String>>,
    /// Whether that person is sealed against the caller: what is decided must be what it would be of somebody unknown, and take as long.
    pub sealed: bool,
    /// The fields that the permit could still disclose anything about.
    pub fields: FieldSet,
    /// Where more can be asked.
    pub lookup: &'a dyn Lookup,
    /// How long an answer to that may take.
    pub within: Duration,
}

/// A plugin could not decide. The reason is for the operator's log, so nothing about a person can be in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed(pub &'static str);

impl Failed {
    /// What it would have asked is suspended. That is never ignored: a suspension must not widen.
    pub const SUSPENDED: Self = Self("the register is suspended");
}

/// Asks a register of `gateway.toml` over the gateway's own connections.
pub trait Lookup: fmt::Debug {
    /// Asks one question with a yes or no for an answer.
    fn ask<'a>(&'a self, question: Question<'a>) -> Pin<Box<dyn Future<Output = Result<Answer, Unanswered>> + 'a>>;

    /// Whether operators have suspended the register: then nothing that it said before is used either.
    fn is_suspended(&self, register: &RegisterId) -> bool;
}

/// A question to a register: `GET` of a target.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Which register.
    pub register: &'a RegisterId,
    /// Path and query, percent-encoded. It may name a person.
    pub target: &'a Personal<String>,
    /// The member at the top of the answer's JSON object that is `true` or `false`.
    pub member: &'a str,
    /// How long anybody waits for the answer.
    pub within: Duration,
}

/// What a register answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 200 with that boolean.
    Said(bool),
    /// 404 or 410: there is no such thing.
    Unknown,
}

/// Why a register gave no answer; nothing about a person is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unanswered(pub &'static str);

/// What a plugin's table came to: everything that can be known without opening a file.
pub trait Blueprint: fmt::Debug + Send + Sync {
    /// Opens the files and makes the plugin.
    ///
    /// # Errors
    /// If a file cannot be used: the node does not start.
    fn open(&self, files: &dyn Files) -> Result<Box<dyn Plugin>, Unusable>;

    /// The files whose change [`Plugin::reload`] is to be called for.
    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// The list of persons that it reads, if it does: what `popgate plugin opt-out` edits.
    fn keyed_list(&self) -> Option<KeyedList<'_>> {
        None
    }
}

/// A list of persons who are known by keyed tags alone.
#[derive(Clone, Copy, Debug)]
pub struct KeyedList<'a> {
    /// The list.
    pub list: &'a Path,
    /// The key.
    pub key: &'a Path,
}

/// Reads files for plugins.
pub trait Files {
    /// A key of 32 bytes, which nobody but its owner can read.
    ///
    /// # Errors
    /// Why it cannot be used.
    fn key(&self, path: &Path) -> Result<[u8; 32], Unusable>;

    /// A text in UTF-8.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn text(&self, path: &Path) -> Result<String, Unusable>;
}

/// Why a file cannot be used: names the file, and the line where there is one, never what stands there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(pub String);
