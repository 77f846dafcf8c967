//! Redact: from a raw record to what this caller may see, or to the one answer for "nothing to see".

use popgate_policy::disclose::{Raw, Redacted, Secrets, Strays, Tally, Unreadable};
use popgate_policy::permit::{Permit, Unopened, WholePermit};

use crate::audit::NoMatch;
use crate::refusal::Refusal;

/// What became of a fetched record.
#[derive(Debug)]
pub enum Opened<T = Redacted> {
    /// Something may be shown.
    Shown(T),
    /// The caller gets the answer for an unknown person; why is for the audit alone.
    NoMatch(NoMatch, Tally),
}

/// Opens a record, or a list of records, with its permit. `strays` is told what of it no contract declares.
///
/// # Errors
/// If it cannot be read strictly, lacks what it must have, or is about somebody else.
pub fn open(permit: Permit, record: Option<&Raw>, secrets: &Secrets, strays: &mut Strays) -> Result<Opened, Refusal> {
    let Some(raw) = record else { return Ok(unknown(&permit)) };
    opened(permit.open_naming(raw, secrets, strays))
}

/// Opens the record that decides about a field given by itself.
///
/// # Errors
/// As [`open`].
pub fn open_record_of_whole(
    permit: Permit,
    record: Option<&Raw>,
    strays: &mut Strays,
) -> Result<Opened<WholePermit>, Refusal> {
    let Some(raw) = record else { return Ok(unknown(&permit)) };
    opened(permit.open_record_of_whole(raw, strays))
}

/// Passes a field on as the register gives it.
///
/// # Errors
/// If it is too long.
pub fn open_whole(permit: WholePermit, field: Option<&Raw>) -> Result<Opened, Refusal> {
    let Some(raw) = field else { return Ok(Opened::NoMatch(NoMatch::Unknown, permit.tally())) };
    opened(permit.open(raw))
}

/// Nobody is there for this caller.
fn unknown<T>(permit: &Permit) -> Opened<T> {
    Opened::NoMatch(if permit.is_sealed() { NoMatch::Sealed } else { NoMatch::Unknown }, Tally::default())
}

fn opened<T>(opened: Result<T, Unopened>) -> Result<Opened<T>, Refusal> {
    match opened {
        Ok(shown) => Ok(Opened::Shown(shown)),
        Err(Unopened::NoMatch(hidden, tally)) => Ok(Opened::NoMatch(hidden.into(), tally)),
        Err(Unopened::SubjectMismatch) => Err(Refusal::SubjectMismatch),
        Err(Unopened::Unfiltered) => {
            tracing::error!("the register does not filter as it was told to; nothing of its list was shown");
            Err(Refusal::RegisterFailed)
        }
        Err(Unopened::Incomplete(field)) => {
            // The name is the contract's.
            tracing::warn!(%field, "the register's record lacks a field that it must have");
            Err(Refusal::RecordIncomplete)
        }
        Err(Unopened::Unreadable(Unreadable::TooLarge)) => Err(Refusal::RecordTooLarge),
        Err(Unopened::Unreadable(error)) => {
            tracing::warn!(%error, "the register's record cannot be read strictly");
            Err(Refusal::RecordUnreadable)
        }
    }
}
