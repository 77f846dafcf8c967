//! Decide: the three gates of the purpose, then the policies. What comes out is a permit.

use std::sync::Arc;

use popgate_policy::bundle::Bundle;
use popgate_policy::contract::Arguments;
use popgate_policy::directory::{Purpose, Requirement, System};
use popgate_policy::disclose::cursor::CursorKey;
use popgate_policy::model::DisclosureId;
use popgate_policy::permit::{Ask, Denial, Denied, Env, Permit};
use popgate_policy::seal::Seals;
use popgate_policy::shadow::Note;

use crate::accept::Connection;
use crate::audit::PurposeSource;
use crate::break_glass::Lending;
use crate::clock::Clock;
use crate::identify::Caller;
use crate::refusal::Refusal;
use crate::route::{Call, Claims};

/// A purpose that the registry and the directory agree on; the policies are still to be asked.
#[derive(Clone, Debug)]
pub struct Agreed {
    purpose: Arc<Purpose>,
    /// Whether the request named it.
    pub source: PurposeSource,
}

impl Agreed {
    /// The purpose.
    pub fn purpose(&self) -> &Arc<Purpose> {
        &self.purpose
    }
}

/// Finds the purpose: the first two gates, and what the purpose requires of a request. A purpose that is lent to the system now is
/// as if it were enrolled.
///
/// # Errors
/// A refusal that names the gate that did not agree.
pub fn purpose(
    bundle: &Bundle,
    caller: &Caller,
    claims: &Claims,
    lending: &Lending,
    clock: &Clock,
) -> Result<Agreed, Refusal> {
    let system = caller.system();
    let enrolled = || system.purposes.iter().map(|purpose| purpose.as_str().to_owned()).collect();
    let (name, source) = match (&claims.purpose, system.purposes.as_slice()) {
        (Some(named), _) => (named.as_str(), PurposeSource::Header),
        (None, [only]) => (only.as_str(), PurposeSource::Default),
        (None, _) => return Err(Refusal::PurposeMissing { enrolled: enrolled() }),
    };
    let purpose = bundle.directory().purpose(name).ok_or(Refusal::PurposeUnknown)?;
    may_use(purpose, caller, lending, clock)?;
    if !purpose.is_valid_on(clock.local().date()) {
        return Err(Refusal::PurposeExpired);
    }
    let by_exchange = caller.exchange().is_some();
    for requirement in &purpose.requires {
        let (given, header) = match requirement {
            Requirement::Case if by_exchange => (claims.case.is_some(), "X-Road-Issue or Gateway-Case"),
            Requirement::User if by_exchange => (claims.user.is_some(), "X-Road-UserId or Gateway-User"),
            Requirement::Case => (claims.case.is_some(), "Gateway-Case"),
            Requirement::User => (claims.user.is_some(), "Gateway-User"),
            Requirement::Assurance => (claims.assurance.is_some(), "Gateway-Assurance"),
        };
        if !given {
            return Err(Refusal::EvidenceMissing { header });
        }
    }
    Ok(Agreed { purpose: Arc::clone(purpose), source })
}

/// Whether the caller may use the purpose now: asked again where a request takes long, for what is lent ends.
///
/// # Errors
/// [`Refusal::PurposeNotEnrolled`].
pub fn may_use(purpose: &Purpose, caller: &Caller, lending: &Lending, clock: &Clock) -> Result<(), Refusal> {
    let system = caller.system();
    if system.purposes.contains(&purpose.id) || lending.lends(purpose, system, clock) {
        return Ok(());
    }
    Err(not_enrolled(system))
}

fn not_enrolled(system: &System) -> Refusal {
    let enrolled = system.purposes.iter().map(|purpose| purpose.as_str().to_owned()).collect();
    Refusal::PurposeNotEnrolled { enrolled }
}

/// A purpose that a view is asked for: it must be the caller's, though not today's.
///
/// # Errors
/// A refusal that names the gate that did not agree.
pub fn enrolled(bundle: &Bundle, caller: &Caller, named: &str) -> Result<Arc<Purpose>, Refusal> {
    let system = caller.system();
    let purpose = bundle.directory().purpose(named).ok_or(Refusal::PurposeUnknown)?;
    if system.purposes.contains(&purpose.id) {
        return Ok(Arc::clone(purpose));
    }
    Err(not_enrolled(system))
}

/// Asks the policies: the third gate. `noted` may keep what they are asked, for a candidate that runs beside them.
///
/// # Errors
/// If they show nothing, or do not let the caller use a parameter.
#[expect(clippy::too_many_arguments, reason = "each is the proof of one earlier stage")]
pub fn permit(
    disclosure: DisclosureId,
    bundle: &Bundle,
    connection: &Connection,
    caller: &Caller,
    call: &Call,
    agreed: &Agreed,
    arguments: Arguments,
    cursors: &CursorKey,
    seals: Option<&Arc<dyn Seals>>,
    clock: &Clock,
    noted: impl FnOnce(&Ask<'_>) -> Option<Note>,
) -> Result<Permit, Denied> {
    let local = clock.local();
    let env = Env {
        date: local.date(),
        hour: local.hour(),
        minute: local.minute(),
        source: connection.peer.ip().to_canonical(),
        claimed_assurance: call.claims.assurance.clone(),
        claimed_user: call.claims.user.is_some(),
        claimed_case: call.claims.case.is_some(),
    };
    let ask = Ask {
        disclosure,
        system: caller.system(),
        operation: &call.operation,
        purpose: &agreed.purpose,
        arguments,
        env,
        cursors,
        seals,
    };
    let note = noted(&ask);
    Ok(bundle.decide(ask)?.noted(note.as_ref()))
}

/// The refusal that a denial comes to.
pub fn refusal(denial: Denial) -> Refusal {
    match denial {
        Denial::Nothing => Refusal::PolicyDenied,
        Denial::Parameter { name } => Refusal::ParameterDenied { name },
        Denial::Missing { name } => {
            Refusal::ParameterInvalid { detail: format!("parameter `{name}` is missing"), errors: Vec::new() }
        }
        Denial::Cursor { name } => Refusal::ParameterInvalid {
            detail: format!("parameter `{name}` is not valid: it must be the cursor of the same question's last page"),
            errors: Vec::new(),
        },
    }
}
