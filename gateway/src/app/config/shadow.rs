//! `[shadow]`.

use std::path::{Path, PathBuf};

use super::read;
use super::section::{Reader, Section};

/// `[shadow]`: a candidate bundle that runs beside the live one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shadow {
    /// The candidate's folder. While there is none, nothing is compared.
    pub path: PathBuf,
    /// How many requests of a thousand are compared.
    pub per_mille: u32,
    /// The file of differences, a JSON object a line.
    pub log: PathBuf,
    /// The file is begun anew past that many bytes; one before it is kept.
    pub log_bytes: u64,
}

pub(super) fn parse(reader: &Reader<'_>, top: &Section<'_>, folder: &Path, state: &Path) -> Option<Shadow> {
    if !top.has("shadow") {
        return None;
    }
    let section = top.section("shadow");
    let path = section.required("path", read::path(folder));
    let per_mille = section.optional("per_mille", read::count(1, 1000)).unwrap_or(1000);
    let log = section.optional("log", read::path(folder)).unwrap_or_else(|| state.join("shadow/differences.jsonl"));
    let log_bytes = section.optional("log_size", read::size(4 << 10, 4 << 30)).unwrap_or(16 << 20);
    let place = section.place("log");
    section.finish();
    let path = path?;
    if log.starts_with(&path) {
        let message =
            "the file of differences must not be in the candidate's folder: each line would change the candidate";
        reader.wrong("log-in-bundle", place, message);
    }
    Some(Shadow { path, per_mille, log, log_bytes })
}
