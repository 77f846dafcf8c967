//! The faults, one a run.

use std::time::Duration;

use super::Told;
use crate::faulty::Fault;

/// A fault, and at which of the four endpoints.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// As on the command line.
    pub name: &'static str,
    /// As in the table.
    pub what: &'static str,
    /// Who does what while it lasts.
    pub told: &'static [Told],
    /// How long it lasts, if not as long as most.
    pub lasts: Option<Duration>,
    /// How long it is watched afterwards.
    pub after: Duration,
}

/// All of them, in the order of the table.
pub fn cases() -> Vec<Case> {
    let one = |name, what, told| Case { name, what, told, lasts: None, after: AFTER };
    let all = |name, what| Case { name, what, told: &ALL_500, lasts: None, after: Duration::from_secs(9) };
    vec![
        one("killed", "one of four is killed: its port refuses", &[(0, Fault::Killed)]),
        one("half-killed", "two of four are killed", &[(0, Fault::Killed), (1, Fault::Killed)]),
        one("frozen", "one is stopped: it takes connections and does not even shake hands", &[(0, Fault::Frozen)]),
        one("silent", "one takes requests and never answers", &[(0, Fault::Silent)]),
        one("hung-after-head", "one sends the head and never the body", &[(0, Fault::HungAfterHead)]),
        one("drip", "one sends a byte each 100 ms", &[(0, Fault::Drip)]),
        one("slow", "one is ten times slower", &[(0, Fault::Slow(10))]),
        one("reset-mid-body", "one resets the connection amid the body", &[(0, Fault::ResetMidBody)]),
        one("length-too-large", "one says a greater length than it sends, and closes", &[(0, Fault::LengthTooLarge)]),
        one("length-too-small", "one says half of the length that it sends", &[(0, Fault::LengthTooSmall)]),
        one("garbage", "one sends random bytes", &[(0, Fault::Garbage)]),
        one("status-503", "one answers 503", &[(0, Fault::Status(503, 100))]),
        one("status-500-half", "one answers half of its requests with 500", &[(0, Fault::Status(500, 50))]),
        Case { lasts: Some(Duration::from_secs(3)), ..all("all-500", "all four answer 500 for 3 s") },
        // Longer than the window in which popgate's breaker counts.
        Case { lasts: Some(Duration::from_secs(12)), ..all("all-500-long", "all four answer 500 for 12 s") },
        one("other-person", "one answers about somebody else", &[(0, Fault::OtherPerson)]),
    ]
}

const ALL_500: [Told; 4] = [
    (0, Fault::Status(500, 100)),
    (1, Fault::Status(500, 100)),
    (2, Fault::Status(500, 100)),
    (3, Fault::Status(500, 100)),
];
const AFTER: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ() {
        let names: std::collections::HashSet<_> = cases().iter().map(|case| case.name).collect();
        assert_eq!(names.len(), cases().len());
    }
}
