//! Whether an order counts, and everything that is against it.

use std::time::Duration;

use jiff::Timestamp;
use popgate_policy::bundle::Bundle;
use popgate_policy::problem::Problem;

use super::{Entry, Sealed};
use crate::signed::Keys;

/// What `[break_glass]` says an order must be.
#[derive(Clone, Debug)]
pub struct Rules {
    /// This site's name.
    pub site: String,
    /// The longest that an order may last.
    pub longest: Duration,
    /// How many of the keys must have signed.
    pub signatures: usize,
    /// Who may sign.
    pub keys: Keys,
}

/// What was found of an order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Judged {
    /// Whose keys have signed it.
    pub signed_by: Vec<String>,
    /// Everything against it; empty if it counts.
    pub refused: Vec<Refused>,
}

/// Why an order does not count.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// Too few have signed.
    #[error(
        "{have} of the {need} signatures that it needs are good ({signers}{}); have it signed with `popgate break-glass sign` by \
         others of `[break_glass.keys]`",
        nobodys(*bad)
    )]
    Signatures {
        /// How many different keys have signed.
        have: usize,
        /// How many must have.
        need: usize,
        /// Whose they are.
        signers: String,
        /// How many signatures no key verifies: of an unknown key, or over other bytes.
        bad: usize,
    },
    /// Another site's.
    #[error("it is for the site `{site}`, and this is `{own}`; draft one with `--site {own}`")]
    Site {
        /// Whose.
        site: String,
        /// This one.
        own: String,
    },
    /// It would last too long.
    #[error("it would last {lasts}, and `longest` is {most}; draft a shorter one")]
    Long {
        /// How long.
        lasts: String,
        /// How long it may.
        most: String,
    },
    /// No such purpose.
    #[error("the bundle has no purpose `{purpose}`{help}")]
    Purpose {
        /// Which.
        purpose: String,
        /// What may have been meant.
        help: String,
    },
    /// A purpose that is not lent.
    #[error(
        "the purpose `{purpose}` is not lent: enrol the agency for it, or draft an order for one with `break_glass = true`"
    )]
    Ordinary {
        /// Which.
        purpose: String,
    },
    /// No such system.
    #[error("the bundle has no system `{system}`{help}")]
    System {
        /// Which.
        system: String,
        /// What may have been meant.
        help: String,
    },
    /// Its time is over.
    #[error("it was over at {until}; draft a new one")]
    Over {
        /// When.
        until: Timestamp,
    },
    /// It was ended.
    #[error("it was ended at {at} by {by}, and an id that was ended never counts again; draft a new one")]
    Ended {
        /// When.
        at: Timestamp,
        /// By whom.
        by: String,
    },
    /// Another order has its id.
    #[error("another order had the id `{id}` before; draft a new one")]
    Taken {
        /// The id.
        id: String,
    },
}

impl Refused {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Signatures { .. } => "signatures_missing",
            Self::Site { .. } => "other_site",
            Self::Long { .. } => "too_long",
            Self::Purpose { .. } => "unknown_purpose",
            Self::Ordinary { .. } => "purpose_not_lent",
            Self::System { .. } => "unknown_system",
            Self::Over { .. } => "over",
            Self::Ended { .. } => "ended",
            Self::Taken { .. } => "id_taken",
        }
    }

    /// Whether the order only had its time: that is how orders end, and nobody must mend it.
    pub fn is_past(&self) -> bool {
        matches!(self, Self::Over { .. } | Self::Ended { .. })
    }
}

/// Finds everything against an order. `known` is what the ledger has under its id.
pub fn judge(sealed: &Sealed, rules: &Rules, bundle: &Bundle, known: Option<&Entry>, now: Timestamp) -> Judged {
    let (order, mut refused) = (sealed.order(), Vec::new());
    let (signed_by, bad) = sealed.envelope().signers(&rules.keys);
    if signed_by.len() < rules.signatures {
        let signers = if signed_by.is_empty() { "nobody's".to_owned() } else { signed_by.join(", ") };
        refused.push(Refused::Signatures { have: signed_by.len(), need: rules.signatures, signers, bad });
    }
    if order.site != rules.site {
        refused.push(Refused::Site { site: order.site.clone(), own: rules.site.clone() });
    }
    let lasts = Duration::try_from(order.until.duration_since(order.from)).unwrap_or(Duration::MAX);
    if lasts > rules.longest {
        refused.push(Refused::Long { lasts: said(lasts), most: said(rules.longest) });
    }
    let directory = bundle.directory();
    match directory.purpose(&order.purpose) {
        Some(purpose) if purpose.break_glass => {}
        Some(_) => refused.push(Refused::Ordinary { purpose: order.purpose.clone() }),
        None => {
            let lent = directory.purposes().filter(|purpose| purpose.break_glass);
            let help = meant(&order.purpose, lent.map(|purpose| purpose.id.as_str()));
            refused.push(Refused::Purpose { purpose: order.purpose.clone(), help });
        }
    }
    for system in &order.systems {
        let systems = || directory.systems().iter().map(|known| known.id.as_str());
        if !systems().any(|known| known == system) {
            refused.push(Refused::System { system: system.clone(), help: meant(system, systems()) });
        }
    }
    match known {
        Some(entry) if entry.digest != sealed.digest() => refused.push(Refused::Taken { id: order.id.clone() }),
        Some(Entry { ended: Some(deed), .. }) => refused.push(Refused::Ended { at: deed.at, by: deed.by.clone() }),
        _ if order.until <= now => refused.push(Refused::Over { until: order.until }),
        _ => {}
    }
    Judged { signed_by, refused }
}

/// `4h`, `1h 30m`, `40s`.
pub(crate) fn said(time: Duration) -> String {
    let seconds = time.as_secs();
    let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let parts: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    if parts.is_empty() { "no time".to_owned() } else { parts.join(" ") }
}

fn meant<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> String {
    let problem = Problem::error("", "", "").suggest(typed, known);
    problem.help.map(|help| format!("; {help}")).unwrap_or_default()
}

fn nobodys(bad: usize) -> String {
    match bad {
        0 => String::new(),
        1 => "; 1 is of an unknown key or over another text".to_owned(),
        many => format!("; {many} are of unknown keys or over another text"),
    }
}
