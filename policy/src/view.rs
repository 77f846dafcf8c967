//! The view: the contracts as one caller may use them, as an OpenAPI 3.1 document.
//!
//! A view holds no personal data: it is made of contracts, directory and policies alone. What a caller may not use or see is not in
//! it, nor is anything of what is behind the gateway (no extension of the contracts crosses). It does not depend on the day: a purpose
//! that is over is still named, with its last day, so that a view changes when the bundle does and at no other time.
//!
//! One schema describes what an operation answers for all purposes of the caller together, and the descriptions say what is shown
//! for which: `oneOf` over whole records would say the same more strictly, but no member of a record tells which purpose it was
//! disclosed for, and code generators make of such a choice a type that nobody can use. Only a leaf whose type differs (a date for one
//! purpose, its year for another) is an `anyOf` of scalars. Whoever wants exact types asks for the view of one purpose.

use std::fmt;
use std::sync::OnceLock;

use bytes::Bytes;

use crate::bundle::Bundle;
use crate::directory::{Limits, System};
use crate::model::PurposeId;

mod components;
mod example;
mod frame;
mod leaf;
mod offer;
mod operation;
mod record;
mod yaml;

#[cfg(test)]
mod tests;

/// What one caller may use and see. Made only by [`Bundle::view`].
#[derive(Debug)]
pub struct View {
    // INVARIANT: made of the bundle alone, so that it may be sent without a permit.
    json: Bytes,
    yaml: OnceLock<Bytes>,
    digest: ViewDigest,
}

/// The first 128 bits of SHA-256 over a view's JSON; printed as 32 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ViewDigest([u8; 16]);

/// What a view depends on of a system. Systems of one group have the same view.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ViewGroup {
    shape: Option<usize>,
    purposes: Vec<PurposeId>,
    limits: (Limits, Limits),
}

/// A refusal that a caller may meet, as the gateway declares it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusable {
    /// The stable code.
    pub code: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What it means.
    pub title: &'static str,
    /// Whether only a request with a body can meet it.
    pub of_bodies: bool,
}

impl View {
    /// The document as JSON.
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    /// The document as YAML; made when it is first asked for.
    pub fn yaml(&self) -> &Bytes {
        self.yaml.get_or_init(|| {
            let document: serde_json::Value = serde_json::from_slice(&self.json).unwrap_or_default();
            Bytes::from(yaml::text(&document))
        })
    }

    /// Which version of the document this is.
    pub fn digest(&self) -> ViewDigest {
        self.digest
    }

    fn of(document: &serde_json::Value) -> Self {
        let json = Bytes::from(document.to_string());
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &json);
        let digest = ViewDigest(hash.as_ref().first_chunk().copied().unwrap_or_default());
        Self { json, yaml: OnceLock::new(), digest }
    }
}

impl Bundle {
    /// What a system may use and see for some of its purposes. `refusals` are all that the gateway knows.
    ///
    /// Decides every operation for every purpose that was not decided before: it can take tens of milliseconds.
    pub fn view(&self, system: &System, purposes: &[PurposeId], refusals: &[Refusable]) -> View {
        View::of(&frame::document(self, system, purposes, refusals))
    }

    /// What [`Bundle::view`] depends on of a system.
    pub fn view_group(&self, system: &System) -> ViewGroup {
        let limits = (system.limits.clone(), system.agency.limits.clone());
        ViewGroup { shape: self.engine().shape(system), purposes: system.purposes.clone(), limits }
    }
}

impl fmt::Display for ViewDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ViewDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
