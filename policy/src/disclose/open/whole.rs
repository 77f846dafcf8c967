//! Opening a field that is given by itself. Its bytes do not say whom they are about, nor anything that a policy asks: the record does,
//! so that it is fetched first and opened like any other, and only then the field.

use bytes::Bytes;

use super::{SEALED, errors, examine, redacted, stamp};
use crate::contract::Answer;
use crate::disclose::{Raw, Redacted, Strays, Tally, Unreadable};
use crate::model::Treatment;
use crate::permit::{Hidden, Permit, Unopened, WholePermit};

/// See [`Permit::open_record_of_whole`].
pub(crate) fn open_record_of_whole(permit: Permit, raw: &Raw, strays: &mut Strays) -> Result<WholePermit, Unopened> {
    if permit.is_sealed() {
        return Err(SEALED);
    }
    let Answer::Whole(whole) = &permit.operation.answer else {
        return Err(Unopened::NoMatch(Hidden::Record, Tally::default()));
    };
    let examined = examine(&permit, raw.bytes(), Some(strays))?;
    let nothing =
        Tally { undeclared: examined.found.undeclared(), policy_errors: errors(&examined.outcome), ..Tally::default() };
    let revealed = examined.outcome.treatments.of(whole.field) == Treatment::Reveal;
    let upstream = permit.operation.whole_request(&permit.arguments);
    match (examined.hidden, examined.guarded, revealed, upstream) {
        (false, true, true, Some(upstream)) => Ok(WholePermit {
            disclosure: permit.disclosure,
            field: whole.field,
            media_type: whole.media_type.clone(),
            most_bytes: whole.most_bytes,
            upstream,
            tally: nothing,
        }),
        (false, false, _, _) => Err(Unopened::NoMatch(Hidden::Guard, nothing)),
        _ => Err(Unopened::NoMatch(Hidden::Record, nothing)),
    }
}

/// See [`WholePermit::open`].
pub(crate) fn open_whole(permit: WholePermit, raw: &Raw) -> Result<Redacted, Unopened> {
    let bytes: &Bytes = raw.bytes();
    if bytes.len() > permit.most_bytes {
        return Err(Unopened::Unreadable(Unreadable::TooLarge));
    }
    let mut tally = permit.tally;
    tally.revealed.insert(permit.field);
    let chunk = stamp(permit.disclosure, 0, bytes.clone());
    Ok(redacted(permit.disclosure, vec![chunk], tally, Vec::new(), Some(permit.media_type)))
}
