//! Redact: from a raw record to what this caller may see, or to the one answer for "nothing to see".

use popgate_policy::disclose::{PseudonymKey, Raw, Redacted, Tally, Unreadable};
use popgate_policy::permit::{Permit, Unopened};

use crate::audit::NoMatch;
use crate::refusal::Refusal;

/// What became of a fetched record.
#[derive(Debug)]
pub enum Opened {
    /// Something may be shown.
    Shown(Redacted),
    /// The caller gets the answer for an unknown person; why is for the audit alone.
    NoMatch(NoMatch, Tally),
}

/// Opens a record with its permit.
///
/// # Errors
/// If the record cannot be read strictly, or is about somebody else.
pub fn open(permit: Permit, record: Option<&Raw>, pseudonyms: &PseudonymKey) -> Result<Opened, Refusal> {
    let Some(raw) = record else { return Ok(Opened::NoMatch(NoMatch::Unknown, Tally::default())) };
    match permit.open(raw, pseudonyms) {
        Ok(redacted) => Ok(Opened::Shown(redacted)),
        Err(Unopened::NoMatch(hidden, tally)) => Ok(Opened::NoMatch(hidden.into(), tally)),
        Err(Unopened::SubjectMismatch) => Err(Refusal::SubjectMismatch),
        Err(Unopened::Unreadable(Unreadable::TooLarge)) => Err(Refusal::RecordTooLarge),
        Err(Unopened::Unreadable(error)) => {
            tracing::warn!(%error, "the register's record cannot be read strictly");
            Err(Refusal::RecordUnreadable)
        }
    }
}
