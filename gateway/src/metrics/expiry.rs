//! Policies and purposes that end: how many do so soon, and when the next one does.

use popgate_policy::expiry::{Expiring, Expiry};
use prometheus::{IntGaugeVec, Opts, Registry, Result};

/// `popgate_expiring{kind,within}` and `popgate_next_expiry_timestamp_seconds{kind}`.
#[derive(Debug, Clone)]
pub struct ExpiryMetrics {
    expiring: IntGaugeVec,
    next: IntGaugeVec,
}

impl ExpiryMetrics {
    pub(super) fn new(r: &Registry) -> Result<Self> {
        let help = "Policies and purposes in force that end within so long; `over`: that are no longer in force.";
        let expiring = IntGaugeVec::new(Opts::new("popgate_expiring", help), &["kind", "within"])?;
        r.register(Box::new(expiring.clone()))?;
        let help = "When the next policy or purpose in force ends, in seconds since 1970; not there if none does.";
        let next = IntGaugeVec::new(Opts::new("popgate_next_expiry_timestamp_seconds", help), &["kind"])?;
        r.register(Box::new(next.clone()))?;
        Ok(Self { expiring, next })
    }

    /// Shows what ends, as seen on that day; `end_of` tells when a day is over.
    pub fn show(
        &self,
        expiries: &[Expiry],
        today: jiff::civil::Date,
        end_of: impl Fn(jiff::civil::Date) -> Option<jiff::Timestamp>,
    ) {
        self.next.reset();
        for kind in Expiring::ALL {
            let of_kind = || expiries.iter().filter(move |expiry| expiry.what == kind);
            let show = |within: &str, count: usize| {
                let gauge = self.expiring.with_label_values(&[kind.as_str(), within]);
                gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
            };
            show("over", of_kind().filter(|expiry| expiry.until < today).count());
            for (within, days) in HORIZONS {
                show(within, of_kind().filter(|expiry| (0..=days).contains(&expiry.days_left(today))).count());
            }
            let next = of_kind().find(|expiry| expiry.until >= today).and_then(|expiry| end_of(expiry.until));
            if let Some(next) = next {
                self.next.with_label_values(&[kind.as_str()]).set(next.as_second());
            }
        }
    }
}

const HORIZONS: [(&str, i32); 3] = [("1d", 1), ("7d", 7), ("30d", 30)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_soon_is_counted_by_horizon_and_the_next_is_timed() {
        let registry = Registry::new();
        let metrics = ExpiryMetrics::new(&registry).unwrap();
        let expiry = |what: Expiring, until: &str| Expiry {
            until: until.parse().unwrap(),
            what,
            id: until.to_owned(),
            file: String::new(),
            line: None,
        };
        let expiries =
            ["2026-11-01", "2026-11-21", "2026-11-25", "2026-12-30"].map(|day| expiry(Expiring::Policy, day));
        let day_after = |day: jiff::civil::Date| Some(day.tomorrow().ok()?.in_tz("UTC").ok()?.timestamp());
        metrics.show(&expiries, "2026-11-21".parse().unwrap(), day_after);
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for line in [
            "popgate_expiring{kind=\"policy\",within=\"over\"} 1",
            "popgate_expiring{kind=\"policy\",within=\"1d\"} 1",
            "popgate_expiring{kind=\"policy\",within=\"7d\"} 2",
            "popgate_expiring{kind=\"policy\",within=\"30d\"} 2",
            "popgate_expiring{kind=\"purpose\",within=\"over\"} 0",
            "popgate_next_expiry_timestamp_seconds{kind=\"policy\"} 1795305600",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} in {text}");
        }
        assert!(!text.contains("seconds{kind=\"purpose\"}"), "{text}");
    }
}
