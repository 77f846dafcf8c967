//! What may come into force: the folder's bundle, or one that was in force before.

use std::sync::Arc;

use jiff::Timestamp;
use popgate_policy::analysis;
use popgate_policy::bundle::{Bundle, Digest, Loaded, Source};

use super::{RollbackError, rollback_target};
use crate::app::bundle_files;
use crate::app::bundle_store::{Entry, History, How, NotFound, Rollback, Store};
use crate::app::config::Config;
use crate::app::node::ReloadError;
use crate::manifest::{self, Held, Inspected, Refused};
use crate::suspend::{MOST_REASON, is_plain};

/// What becomes of the folder's bundle.
pub(super) enum Offered {
    /// It may come into force.
    New(Box<Offer>),
    /// This one stays: it is the same, or a rollback set the folder's aside.
    Stays(Digest),
}

/// A bundle that may come into force.
pub(super) struct Offer {
    pub(super) source: Source,
    pub(super) manifest: Option<String>,
    pub(super) loaded: Loaded,
    pub(super) entry: Entry,
}

/// What the folder offers. `baseline` is the bundle that is in force under signatures; of `after`, the one that is in force, everything
/// is kept that did not change.
pub(super) fn offer(
    config: &Config,
    history: &History,
    (by, how, at): (&str, How, Timestamp),
    baseline: impl FnOnce() -> Result<Option<Arc<Bundle>>, ReloadError>,
    after: Option<(&Source, &Bundle)>,
) -> Result<Offered, ReloadError> {
    let source = bundle_files::read(&config.bundle)?;
    let manifest = bundle_files::read_manifest(&config.bundle)?;
    let (digest, required) = (Digest::of(&source), config.signing.required);
    let held = history.held();
    let mut found = manifest::inspect(manifest.as_deref(), &source, &config.signing.keys, held.as_ref());
    let about = found.signed.as_ref().map(|signed| signed.manifest().clone());
    let about = about.filter(|_| !found.refused.iter().any(|refused| matches!(refused, Refused::Files(_))));
    let version = about.as_ref().map(|about| about.version);
    if let Some(last) = history.last().filter(|_| history.is_set_aside(&digest, version)) {
        return Ok(Offered::Stays(last.digest));
    }
    let refuse = |found: &Inspected| ReloadError::Bundle { dir: config.bundle.clone(), problems: found.problems() };
    if required && !found.refused.is_empty() {
        return Err(refuse(&found));
    }
    if history.last().is_some_and(|last| last.digest == digest && (!required || last.signatures > 0)) {
        return Ok(Offered::Stays(digest));
    }
    let loaded = compiled(&source, config, after)?;
    if required {
        let before = baseline()?;
        found.weigh(before.map(|before| analysis::diff(&before, &loaded.bundle)).as_ref());
        if !found.refused.is_empty() {
            return Err(refuse(&found));
        }
    }
    let signatures = if required { found.needed.unwrap_or_default() } else { 0 };
    let entry = Entry {
        digest,
        version,
        at,
        how,
        by: by.to_owned(),
        why: about.as_ref().map(|about| about.note.clone()).unwrap_or_default(),
        signed_by: if about.is_some() { found.signed_by } else { Vec::new() },
        signatures,
        allow_widening: about.and_then(|about| about.allow_widening),
        instead_of: None,
        widened: Vec::new(),
        recorded: false,
    };
    Ok(Offered::New(Box::new(Offer { source, manifest: manifest.filter(|_| version.is_some()), loaded, entry })))
}

/// A bundle that was in force, to be so again; `before` is the one that is. Who signed it must still be of those who may: what the
/// state folder says of signatures is not believed.
pub(super) fn again(
    store: &Store,
    history: &History,
    order: &Rollback,
    config: &Config,
    before: Option<&Bundle>,
    at: Timestamp,
) -> Result<Offer, RollbackError> {
    let to = &order.to;
    let then = history.latest(to).ok_or(RollbackError::NotFound(NotFound::Unknown(to.to_string())))?;
    let kept = store.load(to).map_err(ReloadError::from)?;
    if config.signing.required {
        let held = Held { digest: *to, signatures: then.signatures.max(1), highest: 0 };
        let stands = |manifest: &String| {
            manifest::inspect(Some(manifest), &kept.source, &config.signing.keys, Some(&held)).refused.is_empty()
        };
        if !kept.manifests.iter().any(stands) {
            return Err(RollbackError::Unsigned(*to));
        }
    }
    let (source, loaded) = load(store, to)?;
    let change = before.map(|before| analysis::diff(before, &loaded.bundle));
    let folder = bundle_files::read(&config.bundle).ok().map(|source| Digest::of(&source));
    let entry = Entry {
        at,
        how: How::Rollback,
        by: order.by.clone(),
        why: order.reason.clone(),
        instead_of: folder.or_else(|| history.last().map(|last| last.digest)).filter(|folder| folder != to),
        recorded: false,
        widened: change.map(|change| change.sensitive).unwrap_or_default(),
        ..then.clone()
    };
    Ok(Offer { source, manifest: None, loaded, entry })
}

pub(super) fn checked(order: &Rollback, history: &History, config: &Config) -> Result<(), RollbackError> {
    is_plain(&order.reason, MOST_REASON).map_err(RollbackError::Reason)?;
    if let Some(last) = history.last().filter(|last| last.at > order.at) {
        return Err(RollbackError::Late(last.at));
    }
    rollback_target(history, Some(&order.to.to_string()), config.signing.required).map(drop)
}

/// What an operator beside the node ordered; it is ordered once.
pub(super) fn take_rollback(store: &Store) -> Option<Rollback> {
    let order = store.rollback().unwrap_or_else(|error| {
        tracing::error!(%error, "a rollback cannot be read");
        None
    });
    store.end_rollback();
    order
}

pub(super) fn load(store: &Store, digest: &Digest) -> Result<(Source, Loaded), ReloadError> {
    let source = store.load(digest)?.source;
    let loaded =
        Bundle::load(&source).map_err(|problems| ReloadError::Bundle { dir: store.dir().to_owned(), problems })?;
    Ok((source, loaded))
}

pub(super) fn compiled(
    source: &Source,
    config: &Config,
    after: Option<(&Source, &Bundle)>,
) -> Result<Loaded, ReloadError> {
    let loaded = after.map_or_else(|| Bundle::load(source), |after| Bundle::load_after(source, after));
    loaded.map_err(|problems| ReloadError::Bundle { dir: config.bundle.clone(), problems })
}
