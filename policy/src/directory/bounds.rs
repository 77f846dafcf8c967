//! What bounds a request, by the names that clients and operators are told.
//!
//! The names and forms are those of `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10, section 3): `q` requests or bytes in a
//! window of `w` seconds.

use serde_json::{Value, json};

use super::{Limits, Rate, System, Volume};
use crate::model::PurposeId;

/// One limit that a request counts against.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bound {
    /// Its name, the same in headers, views, refusals, logs and metrics.
    pub name: &'static str,
    /// How much.
    pub amount: Amount,
}

/// How much a limit allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Amount {
    /// Requests by a token bucket.
    Rate(Rate),
    /// Requests in a calendar day or month: how many, and the period's seconds (a month's are those of 30 days).
    Quota(u32, u64),
    /// Bytes by a token bucket.
    Volume(Volume),
    /// Requests in flight.
    InFlight(u32),
}

impl System {
    /// Every bound of a request of this system, its own first, then those of its agency. With a purpose, those of the purpose too.
    pub fn bounds(&self, operation: &str, purpose: Option<&PurposeId>) -> Vec<Bound> {
        let mut bounds = self.limits.bounds(&Names::SYSTEM, operation, purpose);
        bounds.extend(self.agency.limits.bounds(&Names::AGENCY, operation, purpose));
        bounds
    }
}

/// What the limits of one level are called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Names {
    /// Of an operation by itself.
    pub operation: &'static str,
    /// Of all operations together.
    pub total: &'static str,
    /// Of a purpose.
    pub purpose: &'static str,
    /// Of a calendar day.
    pub day: &'static str,
    /// Of a calendar month.
    pub month: &'static str,
    /// Of bytes.
    pub bytes: &'static str,
    /// Of requests in flight.
    pub concurrent: &'static str,
}

impl Names {
    /// A system's own.
    pub const SYSTEM: Self = Self {
        operation: "operation",
        total: "total",
        purpose: "purpose",
        day: "day",
        month: "month",
        bytes: "bytes",
        concurrent: "concurrent",
    };
    /// Those of its agency.
    pub const AGENCY: Self = Self {
        operation: "agency-operation",
        total: "agency-total",
        purpose: "agency-purpose",
        day: "agency-day",
        month: "agency-month",
        bytes: "agency-bytes",
        concurrent: "agency-concurrent",
    };
}

impl Limits {
    /// What bounds a request, by the names of a level.
    pub fn bounds(&self, names: &Names, operation: &str, purpose: Option<&PurposeId>) -> Vec<Bound> {
        let rate = |name, rate: Option<&Rate>| rate.map(|rate| Bound { name, amount: Amount::Rate(*rate) });
        let quota = |name, count: u32, seconds| Bound { name, amount: Amount::Quota(count, seconds) };
        let each = [
            rate(names.operation, self.of(operation)),
            rate(names.total, self.total.as_ref()),
            rate(names.purpose, purpose.and_then(|purpose| self.purposes.get(purpose))),
            self.per_day.map(|count| quota(names.day, count.get(), DAY)),
            self.per_month.map(|count| quota(names.month, count.get(), 30 * DAY)),
            self.bytes.map(|volume| Bound { name: names.bytes, amount: Amount::Volume(volume) }),
            self.concurrent.map(|most| Bound { name: names.concurrent, amount: Amount::InFlight(most.get()) }),
        ];
        each.into_iter().flatten().collect()
    }
}

impl Bound {
    /// As views say it.
    pub(crate) fn to_json(self, purpose: Option<&str>) -> Value {
        let (quota, seconds) = self.amount.quota();
        let mut said = json!({ "name": self.name, "quota": quota });
        if let Some(said) = said.as_object_mut() {
            said.extend(seconds.map(|seconds| ("seconds".to_owned(), seconds.into())));
            said.insert("unit".to_owned(), self.amount.unit().into());
            said.extend(purpose.map(|purpose| ("purpose".to_owned(), purpose.into())));
        }
        said
    }
}

impl Amount {
    /// The quota and its window in seconds. Of a token bucket: its burst, and the time in which that is refilled.
    pub fn quota(self) -> (u64, Option<u64>) {
        match self {
            Self::Rate(rate) => {
                let nanos = rate.per.as_nanos() * u128::from(rate.burst.get());
                (rate.burst.get().into(), Some(window(nanos, rate.count.get().into())))
            }
            Self::Quota(count, seconds) => (count.into(), Some(seconds)),
            Self::Volume(volume) => {
                let nanos = volume.per.as_nanos().saturating_mul(volume.burst.get().into());
                (volume.burst.get(), Some(window(nanos, volume.bytes.get().into())))
            }
            Self::InFlight(most) => (most.into(), None),
        }
    }

    /// What is counted (`qu`).
    pub fn unit(self) -> &'static str {
        match self {
            Self::Rate(_) | Self::Quota(..) => "requests",
            Self::Volume(_) => "content-bytes",
            Self::InFlight(_) => "concurrent-requests",
        }
    }
}

/// Whole seconds, rounded up, of `nanos` shared by `count`.
fn window(nanos: u128, count: u128) -> u64 {
    u64::try_from(nanos.div_ceil(count.max(1)).div_ceil(1_000_000_000)).unwrap_or(u64::MAX)
}

const DAY: u64 = 86_400;
