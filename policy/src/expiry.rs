//! What is in force until a day: policies and purposes that end.

use jiff::civil::Date;

use crate::bundle::Bundle;
use crate::problem::Problem;

/// Something that ends, or did.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expiry {
    /// Its last day.
    pub until: Date,
    /// What it is.
    pub what: Expiring,
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub file: String,
    /// The 1-based line, if it is known.
    pub line: Option<usize>,
}

/// What can end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Expiring {
    /// A policy with `@valid_until`.
    Policy,
    /// A purpose with `valid_until`.
    Purpose,
}

impl Expiring {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Policy, Self::Purpose];

    /// As it is called.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Purpose => "purpose",
        }
    }
}

impl Bundle {
    /// Everything that ends, or did, what ends first before what ends later.
    pub fn expiries(&self) -> Vec<Expiry> {
        let policies = self.engine().policies().iter().filter_map(|policy| {
            Some(Expiry {
                until: policy.validity.until?,
                what: Expiring::Policy,
                id: policy.id.clone(),
                file: policy.file.to_string(),
                line: Some(policy.line),
            })
        });
        let purposes = self.directory().purposes().filter_map(|purpose| {
            Some(Expiry {
                until: purpose.valid_until?,
                what: Expiring::Purpose,
                id: purpose.id.to_string(),
                file: "purposes.toml".to_owned(),
                line: None,
            })
        });
        let mut found: Vec<Expiry> = policies.chain(purposes).collect();
        found.sort();
        found
    }

    /// What is over on that day, or ends within so many days after it: warnings.
    pub fn expiring(&self, today: Date, days: i32) -> Vec<Problem> {
        self.expiries().iter().filter_map(|expiry| expiry.problem(today, days)).collect()
    }
}

impl Expiry {
    /// How many days it is still in force after that day: negative if it is over.
    pub fn days_left(&self, today: Date) -> i32 {
        // The difference of two dates is whole days, and less than a million of them.
        today.until(self.until).map_or(0, |span| span.get_days())
    }

    fn problem(&self, today: Date, days: i32) -> Option<Problem> {
        let Self { until, what, id, .. } = self;
        let what = what.as_str();
        let left = self.days_left(today);
        let (code, message, help) = match left {
            ..0 => {
                ("expired", format!("the {what} `{id}` was over after {until}"), "remove it, or write a later last day")
            }
            0 => ("expires", format!("the {what} `{id}` ends today"), EXPIRES),
            1 => ("expires", format!("the {what} `{id}` ends tomorrow, on {until}"), EXPIRES),
            left if left <= days => ("expires", format!("the {what} `{id}` ends on {until}, in {left} days"), EXPIRES),
            _ => return None,
        };
        let mut problem = Problem::warning(code, &self.file, message).help(help);
        problem.at = self.line.map(|line| (line, 1));
        Some(problem)
    }
}

const EXPIRES: &str = "if it is to go on, write a later last day";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_is_told_before_and_after_and_nothing_else() {
        let expiry = |until: &str| Expiry {
            until: until.parse().unwrap(),
            what: Expiring::Policy,
            id: "census-2026".into(),
            file: "policies/census.cedar".into(),
            line: Some(12),
        };
        let today = "2026-11-21".parse().unwrap();
        for (until, says) in [
            ("2026-11-20", "the policy `census-2026` was over after 2026-11-20"),
            ("2020-01-01", "the policy `census-2026` was over after 2020-01-01"),
            ("2026-11-21", "the policy `census-2026` ends today"),
            ("2026-11-22", "the policy `census-2026` ends tomorrow, on 2026-11-22"),
            ("2026-12-21", "the policy `census-2026` ends on 2026-12-21, in 30 days"),
        ] {
            let problem = expiry(until).problem(today, 30).unwrap();
            assert_eq!((problem.message.as_str(), problem.at), (says, Some((12, 1))));
        }
        assert_eq!(expiry("2026-12-22").problem(today, 30), None);
        assert_eq!(expiry("2028-11-21").days_left(today), 731);
    }
}
