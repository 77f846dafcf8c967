//! What happened between two readings. Labels are names of the bundle and the configuration: nothing here is about a person.

use std::collections::{BTreeMap, BTreeSet};

use http::StatusCode;
use serde::Serialize;

use super::quantile::{Latency, Time};
use super::scrape::Scrape;
use crate::refusal::refusable;

mod alarms;

/// What happened between two readings: counts are a second, times are in seconds. As JSON it is what `--json` prints.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Figures {
    /// Between the readings.
    pub(super) seconds: f64,
    /// The node was started again in between: what was counted is since then.
    pub(super) restarted: bool,
    /// All that should be looked at now, in words.
    pub(super) alarms: Vec<String>,
    /// All operations together.
    pub(super) requests: Requests,
    /// Those that had a request.
    pub(super) operations: Vec<Operation>,
    /// Refusals by code.
    pub(super) refusals: BTreeMap<String, f64>,
    pub(super) cache: Cache,
    pub(super) audit: Audit,
    pub(super) connections: Connections,
    /// Requests by the exchange server that they came by.
    pub(super) exchanges: BTreeMap<String, f64>,
    /// Requests over TLS 1.2 by system: who should move to TLS 1.3.
    pub(super) tls12: BTreeMap<String, f64>,
    pub(super) registers: Vec<Register>,
    pub(super) suspended: Vec<Suspended>,
    /// The node's own and its authorities', the first to end first.
    pub(super) certificates: Vec<Due>,
    /// The next revocation list by issuer, the first to come first; those that do not say when are left out.
    pub(super) revocation_lists: Vec<Due>,
}

/// Requests that ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Requests {
    pub(super) all: f64,
    pub(super) ok: f64,
    /// The agency's side: statuses 4xx.
    pub(super) refused: f64,
    /// The register's side or the node's: statuses 5xx.
    pub(super) failed: f64,
    #[serde(flatten)]
    pub(super) latency: Latency,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Operation {
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) requests: Requests,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Cache {
    /// The share that came out of the cache, of the records that may stand in it; `None` if none was wanted.
    pub(super) hit_ratio: Option<f64>,
    /// By how records were come by.
    pub(super) requests: BTreeMap<String, f64>,
    pub(super) entries: f64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Audit {
    pub(super) records: f64,
    /// Of the last durable write.
    pub(super) sync: f64,
    /// Records that wait now.
    pub(super) queue: f64,
    /// 0 to 1.
    pub(super) disk_free_ratio: f64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Connections {
    pub(super) open: f64,
    /// New ones by protocol.
    pub(super) new: BTreeMap<String, f64>,
    /// Handshakes that failed, by why.
    pub(super) failed: BTreeMap<String, f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Register {
    pub(super) name: String,
    pub(super) state: State,
    pub(super) requests: f64,
    /// Failed, too late, or out of reach.
    pub(super) failed: f64,
    #[serde(flatten)]
    pub(super) latency: Latency,
}

/// What can be told of a register by how its requests ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// It was not asked.
    Idle,
    /// Every request was answered.
    Good,
    /// Some were not.
    Failing,
    /// None was.
    Down,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Suspended {
    pub(super) kind: String,
    pub(super) id: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Due {
    pub(super) name: String,
    /// Until then; negative afterwards.
    pub(super) seconds: f64,
}

impl Figures {
    /// `today` is in seconds since 1970.
    pub(super) fn between(before: &Scrape, now: &Scrape, seconds: f64, today: i64) -> Self {
        let cpu = |scrape: &Scrape| scrape.sum("process_cpu_seconds_total", &[]).unwrap_or_default();
        let restarted = cpu(now) < cpu(before);
        let nothing = Scrape::default();
        let before = if restarted { &nothing } else { before };
        let two = Two { before, now, seconds: if seconds > 0.0 { seconds } else { 1.0 }, today };
        let gauge = |name: &str| now.sum(name, &[]).unwrap_or_default();
        let registers = two.registers();
        let certificates = two.due("popgate_certificate_expiry_timestamp_seconds", "certificate");
        let revocation_lists = two.due("popgate_crl_next_update_timestamp_seconds", "issuer");
        let mut failed = two.busy("popgate_handshakes_total", "outcome");
        failed.remove("ok");
        let mut figures = Self {
            seconds,
            restarted,
            alarms: Vec::new(),
            requests: two.requests(&[]),
            operations: two.operations(),
            refusals: two.busy("popgate_refusals_total", "code"),
            cache: two.cache(),
            audit: Audit {
                records: two.rate("popgate_audit_records_total", &[]),
                sync: gauge("popgate_audit_fsync_seconds"),
                queue: gauge("popgate_audit_queue_depth"),
                disk_free_ratio: gauge("popgate_audit_disk_free_ratio"),
            },
            connections: Connections {
                open: gauge("popgate_connections_open"),
                new: two.by("popgate_connections_total", "protocol"),
                failed,
            },
            exchanges: two.busy("popgate_exchange_requests_total", "exchange"),
            tls12: two.busy("popgate_tls12_requests_total", "system"),
            registers,
            suspended: two.suspended(),
            certificates,
            revocation_lists,
        };
        figures.alarms = alarms::of(&figures, &two);
        figures
    }
}

impl Audit {
    pub(super) fn sync(&self) -> Time {
        Time::exactly(self.sync)
    }
}

/// Two readings and the time between them.
struct Two<'a> {
    before: &'a Scrape,
    now: &'a Scrape,
    seconds: f64,
    today: i64,
}

impl Two<'_> {
    /// How much a counter grew. One that went back began anew.
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

    /// As [`Self::by`], without those that did not grow.
    fn busy(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let mut all = self.by(name, label);
        all.retain(|_, rate| *rate > 0.0);
        all
    }

    fn requests(&self, of: &[(&str, &str)]) -> Requests {
        let mut requests =
            Requests { latency: self.latency("popgate_request_duration_seconds", of), ..Requests::default() };
        for code in self.values("popgate_requests_total", "code") {
            let rate = self.rate("popgate_requests_total", &[of, &[("code", code)]].concat());
            requests.all += rate;
            match code {
                "ok" => requests.ok += rate,
                code if is_failure(code) => requests.failed += rate,
                _ => requests.refused += rate,
            }
        }
        requests
    }

    fn operations(&self) -> Vec<Operation> {
        let of = |name: &str| Operation { name: name.to_owned(), requests: self.requests(&[("operation", name)]) };
        let all = self.values("popgate_requests_total", "operation").into_iter().map(of);
        all.filter(|operation| operation.requests.all > 0.0).collect()
    }

    fn cache(&self) -> Cache {
        let requests = self.by("popgate_cache_requests_total", "result");
        let of = |result: &str| requests.get(result).copied().unwrap_or_default();
        let hits = of("hit") + of("meanwhile") + of("unknown");
        let all = hits + of("miss") + of("validated") + of("stale") + of("collapsed");
        let hit_ratio = (all > 0.0).then(|| hits / all);
        Cache { hit_ratio, entries: self.now.sum("popgate_cache_entries", &[]).unwrap_or_default(), requests }
    }

    fn registers(&self) -> Vec<Register> {
        let name = "popgate_upstream_requests_total";
        let of = |register: &str| {
            let requests = self.rate(name, &[("register", register)]);
            let failed: f64 = ["failed", "timeout", "unavailable"]
                .map(|outcome| self.rate(name, &[("register", register), ("outcome", outcome)]))
                .iter()
                .sum();
            let state = match (requests, failed) {
                (requests, _) if requests <= 0.0 => State::Idle,
                (_, failed) if failed <= 0.0 => State::Good,
                (requests, failed) if failed < requests => State::Failing,
                _ => State::Down,
            };
            let latency = self.latency("popgate_upstream_duration_seconds", &[("register", register)]);
            Register { name: register.to_owned(), state, requests, failed, latency }
        };
        self.values(name, "register").into_iter().map(of).collect()
    }

    fn suspended(&self) -> Vec<Suspended> {
        let all = self.now.all("popgate_suspended").iter();
        let all = all.map(|it| Suspended { kind: it.label("kind").to_owned(), id: it.label("id").to_owned() });
        let mut all: Vec<Suspended> = all.collect();
        all.sort();
        all
    }

    fn due(&self, name: &str, label: &str) -> Vec<Due> {
        let stated = self.now.all(name).iter().filter(|sample| sample.value > 0.0);
        let mut due: Vec<Due> = stated
            .map(|sample| Due { name: sample.label(label).to_owned(), seconds: sample.value - self.today as f64 })
            .collect();
        due.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        due
    }

    fn latency(&self, name: &str, labels: &[(&str, &str)]) -> Latency {
        let bucket = format!("{name}_bucket");
        let bounds = self.values(&bucket, "le").into_iter().filter_map(|le| {
            let bound = if le == "+Inf" { f64::INFINITY } else { le.parse().ok()? };
            Some((bound, self.growth(&bucket, &[labels, &[("le", le)]].concat())))
        });
        let mut buckets: Vec<(f64, f64)> = bounds.collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        Latency::of(&buckets)
    }
}

/// Whether the fault is not the agency's. A code of another version's node is a refusal.
fn is_failure(code: &str) -> bool {
    refusable().iter().any(|known| known.code == code && known.status >= StatusCode::INTERNAL_SERVER_ERROR.as_u16())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(before: &str, now: &str, seconds: f64) -> Figures {
        Figures::between(&Scrape::parse(before).unwrap(), &Scrape::parse(now).unwrap(), seconds, 0)
    }

    fn counted(ok: u32, unknown: u32, unavailable: u32) -> String {
        let line =
            |code: &str, count: u32| format!("popgate_requests_total{{code=\"{code}\",operation=\"a\"}} {count}\n");
        [line("ok", ok), line("no_match", unknown), line("register_unavailable", unavailable)].concat()
    }

    #[test]
    fn requests_are_of_the_time_between_and_told_apart_by_whose_fault_it_was() {
        let found = figures(&counted(100, 5, 1), &counted(120, 7, 5), 2.0);
        let Requests { all, ok, refused, failed, .. } = found.requests;
        assert_eq!((all, ok, refused, failed), (13.0, 10.0, 1.0, 2.0));
        assert_eq!(found.operations, [Operation { name: "a".into(), requests: found.requests }]);
        assert_eq!(figures(&counted(120, 7, 5), &counted(120, 7, 5), 2.0).operations, []);
    }

    #[test]
    fn a_node_that_was_started_again_counts_from_nothing() {
        let with = |cpu: f64, counts: String| format!("process_cpu_seconds_total {cpu}\n{counts}");
        let found = figures(&with(9.5, counted(100, 5, 0)), &with(0.4, counted(101, 0, 0)), 2.0);
        assert!(found.restarted && found.alarms[0].contains("started again"), "{:?}", found.alarms);
        assert_eq!((found.requests.ok, found.requests.refused), (50.5, 0.0));
        assert!(!figures(&with(0.4, counted(1, 0, 0)), &with(0.4, counted(1, 0, 0)), 2.0).restarted);
    }

    #[test]
    fn latencies_are_of_what_came_between() {
        let buckets = |counts: [u32; 3]| {
            let bounds = ["0.001", "0.01", "+Inf"].into_iter().zip(counts);
            let line = |(le, count)| {
                format!("popgate_request_duration_seconds_bucket{{operation=\"a\",le=\"{le}\"}} {count}\n")
            };
            bounds.map(line).collect::<String>()
        };
        // Of 100: 50 within 1 ms, 49 within 10 ms, 1 later. What was before is all slow, and does not count.
        let latency = figures(&buckets([0, 0, 1000]), &buckets([50, 99, 1100]), 1.0).requests.latency;
        assert_eq!(latency.p50, Some(Time::exactly(0.001)));
        assert!((latency.p99.unwrap().seconds - 0.01).abs() < 1e-9, "{latency:?}");
        assert_eq!(figures(&buckets([1, 1, 1]), &buckets([1, 1, 1]), 1.0).requests.latency, Latency::default());
    }

    #[test]
    fn a_registers_state_is_told_by_how_its_requests_ended() {
        let line = |register: &str, outcome: &str, count: u32| {
            format!("popgate_upstream_requests_total{{register=\"{register}\",outcome=\"{outcome}\"}} {count}\n")
        };
        let before =
            ["a", "b", "c", "d"].map(|register| line(register, "ok", 1) + &line(register, "timeout", 1)).concat();
        let now = [
            line("a", "ok", 1) + &line("a", "timeout", 1),
            line("b", "ok", 4) + &line("b", "timeout", 1),
            line("c", "ok", 4) + &line("c", "timeout", 2),
            line("d", "ok", 1) + &line("d", "timeout", 2),
        ];
        let found = figures(&before, &now.concat(), 1.0);
        let states: Vec<State> = found.registers.iter().map(|register| register.state).collect();
        assert_eq!(states, [State::Idle, State::Good, State::Failing, State::Down]);
        assert_eq!(found.alarms, ["register d answers nothing"]);
    }

    #[test]
    fn what_ends_first_stands_first() {
        let line = |name: &str, at: i64| {
            format!("popgate_certificate_expiry_timestamp_seconds{{certificate=\"{name}\"}} {at}\n")
        };
        let text = [line("CN=agencies", 900_000_000), line("server", 300), line("CN=old", 0)].concat();
        let found = figures("", &text, 1.0).certificates;
        let names: Vec<&str> = found.iter().map(|due| due.name.as_str()).collect();
        assert_eq!(names, ["server", "CN=agencies"]);
    }
}
