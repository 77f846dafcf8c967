//! What happened between two readings.

use std::collections::{BTreeMap, BTreeSet};

use super::scrape::Scrape;

/// What happened between two readings, a second.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Figures {
    pub(super) requests: f64,
    pub(super) refused: f64,
    pub(super) latency: Latency,
    pub(super) operations: Vec<Operation>,
    /// By code, the most first.
    pub(super) codes: Vec<(String, f64)>,
    /// By how records were come by.
    pub(super) cache: BTreeMap<String, f64>,
    pub(super) audit: Audit,
    pub(super) connections_open: f64,
    /// New ones by protocol.
    pub(super) connections: BTreeMap<String, f64>,
    pub(super) registers: Vec<Register>,
    /// As `kind id`.
    pub(super) suspended: Vec<String>,
    pub(super) alarms: Vec<String>,
}

/// Seconds; `None` if nothing was measured, infinite if it lies past the last bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Latency {
    pub(super) p50: Option<f64>,
    pub(super) p95: Option<f64>,
    pub(super) p99: Option<f64>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Operation {
    pub(super) name: String,
    pub(super) requests: f64,
    pub(super) refused: f64,
    pub(super) latency: Latency,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Audit {
    pub(super) records: f64,
    /// Seconds: of the last durable write.
    pub(super) sync: f64,
    pub(super) queue: f64,
    /// 0 to 1.
    pub(super) free: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Register {
    pub(super) name: String,
    pub(super) requests: f64,
    /// Failed, too late, or out of reach.
    pub(super) failed: f64,
    pub(super) latency: Latency,
}

impl Figures {
    /// `today` is in seconds since 1970.
    pub(super) fn between(before: &Scrape, now: &Scrape, seconds: f64, today: i64) -> Self {
        let two = Two { before, now, seconds: if seconds > 0.0 { seconds } else { 1.0 } };
        let gauge = |name: &str| now.sum(name, &[]).unwrap_or_default();
        let mut codes: Vec<_> =
            two.by("popgate_requests_total", "code").into_iter().filter(|(_, rate)| *rate > 0.0).collect();
        codes.sort_by(|a, b| b.1.total_cmp(&a.1));
        let requests = two.rate("popgate_requests_total", &[]);
        let ok = two.rate("popgate_requests_total", &[("code", "ok")]);
        Self {
            requests,
            refused: requests - ok,
            latency: two.latency("popgate_request_duration_seconds", &[]),
            operations: two.operations(),
            codes,
            cache: two.by("popgate_cache_requests_total", "result"),
            audit: Audit {
                records: two.rate("popgate_audit_records_total", &[]),
                sync: gauge("popgate_audit_fsync_seconds"),
                queue: gauge("popgate_audit_queue_depth"),
                free: gauge("popgate_audit_disk_free_ratio"),
            },
            connections_open: gauge("popgate_connections_open"),
            connections: two.by("popgate_connections_total", "protocol"),
            registers: two.registers(),
            suspended: now
                .all("popgate_suspended")
                .iter()
                .map(|sample| format!("{} {}", sample.label("kind"), sample.label("id")))
                .collect(),
            alarms: two.alarms(today),
        }
    }

    /// The share of records that came out of the cache, of those that may stand in it; `None` if none was wanted.
    pub(super) fn hit_rate(&self) -> Option<f64> {
        let of = |result: &str| self.cache.get(result).copied().unwrap_or_default();
        let all = of("hit") + of("miss") + of("stale") + of("collapsed");
        (all > 0.0).then(|| of("hit") / all)
    }
}

struct Two<'a> {
    before: &'a Scrape,
    now: &'a Scrape,
    seconds: f64,
}

impl Two<'_> {
    /// How much a counter grew. One that went back began anew: the node was started again.
    fn growth(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let now = self.now.sum(name, labels).unwrap_or_default();
        let before = self.before.sum(name, labels).unwrap_or_default();
        if now < before { now } else { now - before }
    }

    fn rate(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.growth(name, labels) / self.seconds
    }

    fn values(&self, name: &str, label: &str) -> BTreeSet<&str> {
        self.now.all(name).iter().map(|sample| sample.label(label)).collect()
    }

    fn by(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let values = self.values(name, label).into_iter();
        values.map(|value| (value.to_owned(), self.rate(name, &[(label, value)]))).collect()
    }

    fn operations(&self) -> Vec<Operation> {
        let of = |name: &str| {
            let requests = self.rate("popgate_requests_total", &[("operation", name)]);
            let ok = self.rate("popgate_requests_total", &[("operation", name), ("code", "ok")]);
            let latency = self.latency("popgate_request_duration_seconds", &[("operation", name)]);
            Operation { name: name.to_owned(), requests, refused: requests - ok, latency }
        };
        let all = self.values("popgate_requests_total", "operation").into_iter().map(of);
        all.filter(|operation| operation.requests > 0.0).collect()
    }

    fn registers(&self) -> Vec<Register> {
        let name = "popgate_upstream_requests_total";
        let of = |register: &str| Register {
            name: register.to_owned(),
            requests: self.rate(name, &[("register", register)]),
            failed: ["failed", "timeout", "unavailable"]
                .map(|outcome| self.rate(name, &[("register", register), ("outcome", outcome)]))
                .iter()
                .sum(),
            latency: self.latency("popgate_upstream_duration_seconds", &[("register", register)]),
        };
        self.values(name, "register").into_iter().map(of).collect()
    }

    fn latency(&self, name: &str, labels: &[(&str, &str)]) -> Latency {
        let bucket = format!("{name}_bucket");
        let bounds = self.values(&bucket, "le");
        let mut buckets: Vec<(f64, f64)> = bounds
            .into_iter()
            .filter_map(|le| {
                let bound = if le == "+Inf" { f64::INFINITY } else { le.parse().ok()? };
                Some((bound, self.growth(&bucket, &[labels, &[("le", le)]].concat())))
            })
            .collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let at = |share| quantile(&buckets, share);
        Latency { p50: at(0.5), p95: at(0.95), p99: at(0.99) }
    }

    fn alarms(&self, today: i64) -> Vec<String> {
        let gauge = |name: &str| self.now.sum(name, &[]);
        let mut alarms = Vec::new();
        let mut raise = |is: bool, what: String| {
            if is {
                alarms.push(what);
            }
        };
        raise(
            gauge("popgate_audit_serving") == Some(0.0),
            "the audit log cannot record: nothing is disclosed".to_owned(),
        );
        raise(gauge("popgate_draining") == Some(1.0), "the node drains".to_owned());
        let free = gauge("popgate_audit_disk_free_ratio").unwrap_or(1.0);
        raise(free < LITTLE, format!("{:.0} % of the audit disk are free", free * 100.0));
        for (name, what) in STANDING {
            raise(gauge(name).is_some_and(|value| value > 0.0), (*what).to_owned());
        }
        for (name, what) in COUNTED {
            let count = self.growth(name, &[]);
            raise(count > 0.0, format!("{count:.0} {what}"));
        }
        for (name, label, what) in [
            ("popgate_certificate_expiry_timestamp_seconds", "certificate", "certificate"),
            ("popgate_crl_next_update_timestamp_seconds", "issuer", "revocation list of"),
        ] {
            for sample in self.now.all(name).iter().filter(|sample| sample.value > 0.0) {
                let left = sample.value - today as f64;
                let within = if label == "certificate" { MONTH } else { 0.0 };
                raise(left < within, format!("{what} {}: {:.1} days left", sample.label(label), left / DAY));
            }
        }
        alarms
    }
}

/// Within a bucket, as if what is in it were spread evenly: Prometheus reckons so, too.
fn quantile(buckets: &[(f64, f64)], share: f64) -> Option<f64> {
    let total = buckets.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
    let wanted = share * total;
    let (mut below, mut counted) = (0.0, 0.0);
    for (bound, count) in buckets {
        if *count >= wanted && *count > counted {
            if bound.is_infinite() {
                return Some(f64::INFINITY);
            }
            return Some(below + (bound - below) * (wanted - counted) / (count - counted));
        }
        (below, counted) = (*bound, *count);
    }
    None
}

const STANDING: &[(&str, &str)] = &[
    ("popgate_suspensions_stale", "the file of suspensions is refused or gone: those before it stay"),
    ("popgate_suspensions_ignored", "a suspension names a policy that forbids, and is ignored"),
    ("popgate_suspensions_unrecorded", "suspensions are not in the audit log yet"),
];
const COUNTED: &[(&str, &str)] = &[
    ("popgate_audit_failures_total", "writes of the audit log failed"),
    ("popgate_audit_lost_refusals_total", "refusals could not be recorded"),
    ("popgate_policy_errors_total", "fields withheld because a policy failed"),
    ("popgate_subject_mismatch_total", "answers of registers about somebody else"),
    ("popgate_plugin_failures_total", "failures of plugins"),
    ("popgate_connections_refused_total", "connections refused: there are too many"),
    ("popgate_floods_total", "connections ended for a flood of frames"),
    ("popgate_guesses_throttled_total", "requests throttled for their guesses"),
];
/// The design's alarm: long before the disk is full.
const LITTLE: f64 = 0.2;
const DAY: f64 = 86_400.0;
const MONTH: f64 = 30.0 * DAY;

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(before: &str, now: &str, seconds: f64) -> Figures {
        Figures::between(&Scrape::parse(before).unwrap(), &Scrape::parse(now).unwrap(), seconds, 0)
    }

    #[test]
    fn rates_are_of_the_time_between_and_survive_a_restart() {
        let line = |ok: u32, no: u32| {
            format!(
                "popgate_requests_total{{code=\"ok\",operation=\"a\"}} {ok}\npopgate_requests_total{{code=\"no_match\",operation=\"a\"}} {no}\n"
            )
        };
        let found = figures(&line(100, 5), &line(120, 7), 2.0);
        assert_eq!((found.requests, found.refused), (11.0, 1.0));
        assert_eq!(found.codes, [("ok".to_owned(), 10.0), ("no_match".to_owned(), 1.0)]);
        assert_eq!((found.operations[0].requests, found.operations[0].refused), (11.0, 1.0));
        assert_eq!(figures(&line(100, 5), &line(4, 0), 2.0).requests, 2.0);
    }

    #[test]
    fn quantiles_are_of_what_came_between() {
        let buckets = |counts: [u32; 3]| {
            let bounds = ["0.001", "0.01", "+Inf"].into_iter().zip(counts);
            let line = |(le, count)| {
                format!("popgate_request_duration_seconds_bucket{{operation=\"a\",le=\"{le}\"}} {count}\n")
            };
            bounds.map(line).collect::<String>()
        };
        // Of 100: 50 within 1 ms, 49 within 10 ms, 1 later. What was before is all slow, and does not count.
        let latency = figures(&buckets([0, 0, 1000]), &buckets([50, 99, 1100]), 1.0).latency;
        assert_eq!(latency.p50, Some(0.001));
        assert!((latency.p95.unwrap() - (0.001 + 0.009 * 45.0 / 49.0)).abs() < 1e-9);
        assert_eq!(latency.p99, Some(0.01));
        assert_eq!(figures(&buckets([0, 0, 5]), &buckets([0, 0, 9]), 1.0).latency.p50, Some(f64::INFINITY));
        assert_eq!(figures(&buckets([1, 1, 1]), &buckets([1, 1, 1]), 1.0).latency.p99, None);
    }

    #[test]
    fn alarms_are_what_stands_and_what_happened() {
        let calm = "popgate_audit_serving 1\npopgate_draining 0\npopgate_audit_disk_free_ratio 0.5\npopgate_policy_errors_total 9\n";
        assert_eq!(figures(calm, calm, 1.0).alarms, Vec::<String>::new());
        let bad = "popgate_audit_serving 0\npopgate_audit_disk_free_ratio 0.1\npopgate_policy_errors_total 12\n\
                   popgate_certificate_expiry_timestamp_seconds{certificate=\"server\"} 86400\n";
        let alarms = figures(calm, bad, 1.0).alarms;
        assert_eq!(alarms.len(), 4, "{alarms:?}");
        assert!(alarms[2].starts_with("3 fields") && alarms[3] == "certificate server: 1.0 days left", "{alarms:?}");
    }
}
