//! What is said of an order: the same by a node and on the command line.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Judged, Order, Sealed, Stage};

/// What an order says, who signed it, and whether it would count.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Verdict {
    /// What it says.
    pub order: Order,
    /// SHA-256 of what is signed, in hex.
    pub digest: String,
    /// Whose signatures it claims to have: not verified.
    pub claimed: Vec<String>,
    /// What a site's rules make of it; `None` if none were asked.
    pub judged: Option<Judgement>,
}

/// What a site's rules make of an order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Judgement {
    /// Whose keys have signed it.
    pub signed_by: Vec<String>,
    /// Where it would be in its life, if it counts.
    pub stage: Option<Stage>,
    /// Everything against it, with what to do; empty if it counts.
    pub against: Vec<String>,
}

impl Verdict {
    /// Of an order, and what was found of it.
    pub fn of(sealed: &Sealed, judged: Option<&Judged>, now: Timestamp) -> Self {
        let order = sealed.order();
        let judged = judged.map(|Judged { signed_by, refused }| {
            let stage = if order.covers(now) { Stage::InForce } else { Stage::Waiting };
            let against = refused.iter().map(ToString::to_string).collect();
            Judgement { signed_by: signed_by.clone(), stage: refused.is_empty().then_some(stage), against }
        });
        let claimed = sealed.envelope().claimed().map(str::to_owned).collect();
        Self { order: order.clone(), digest: sealed.digest(), claimed, judged }
    }

    /// Whether it would count.
    pub fn counts(&self) -> bool {
        self.judged.as_ref().is_some_and(|judged| judged.against.is_empty())
    }
}
