//! Opening a raw record with a permit.

use crate::disclose::{PseudonymKey, Raw, Redacted, Unreadable};
use crate::permit::{Permit, Unopened};

/// See [`Permit::open`].
pub(crate) fn open(_permit: Permit, _raw: &Raw, _pseudonyms: &PseudonymKey) -> Result<Redacted, Unopened> {
    Err(Unopened::Unreadable(Unreadable::TooLarge))
}
