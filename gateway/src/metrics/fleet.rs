//! How registers' failures are borne.

use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry, Result};

use super::counters;
use crate::forward::health::{Cause, Standing};

/// The families, of which each register has its own.
#[derive(Debug, Clone)]
pub struct Fleets {
    tries: IntCounterVec,
    ejections: IntCounterVec,
    not_asked: IntCounterVec,
    unresolved: IntCounterVec,
    breaker: IntGaugeVec,
    standing: IntGaugeVec,
    in_flight: IntGaugeVec,
    latency: GaugeVec,
    limit: IntGaugeVec,
}

/// One register's counters.
#[derive(Debug, Clone)]
pub struct FleetMetrics {
    /// Requests that were tried again.
    pub retries: IntCounter,
    /// Requests that were not, for the budget was spent.
    pub retries_spent: IntCounter,
    /// Requests that a second target was asked as well.
    pub hedges: IntCounter,
    /// Of these, those that the second one answered first.
    pub hedges_won: IntCounter,
    /// Requests that were refused at once, because nearly everything failed.
    pub not_asked: IntCounter,
    /// Names that could not be resolved.
    pub unresolved: IntCounter,
    ejections: [IntCounter; 3],
}

impl Fleets {
    pub(super) fn new(r: &Registry) -> Result<Self> {
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            let gauges = IntGaugeVec::new(Opts::new(name, help), labels)?;
            r.register(Box::new(gauges.clone()))?;
            Ok::<_, prometheus::Error>(gauges)
        };
        let of_targets = &["register", "target"];
        let latency = GaugeVec::new(
            Opts::new(
                "popgate_upstream_target_latency_seconds",
                "Peak-sensitive moving average of a target's latency.",
            ),
            of_targets,
        )?;
        r.register(Box::new(latency.clone()))?;
        Ok(Self {
            tries: counters(
                r,
                "popgate_upstream_tries_total",
                "Second tries: `retry`, `retry_over_budget` (not made), `hedge`, `hedge_won`.",
                &["register", "kind"],
            )?,
            ejections: counters(r, "popgate_upstream_ejections_total", "Targets ejected.", &["register", "cause"])?,
            not_asked: counters(
                r,
                "popgate_upstream_breaker_refusals_total",
                "Requests refused at once, because nearly everything failed.",
                &["register"],
            )?,
            unresolved: counters(
                r,
                "popgate_upstream_resolve_failures_total",
                "Names of endpoints that could not be resolved: the addresses before stay.",
                &["register"],
            )?,
            breaker: gauges("popgate_upstream_breaker_open", "1 while a register is not asked.", &["register"])?,
            standing: gauges(
                "popgate_upstream_target_up",
                "1 for a target that gets requests; 0 for one that is ejected or unhealthy.",
                of_targets,
            )?,
            in_flight: gauges("popgate_upstream_target_in_flight", "Requests that wait for a target.", of_targets)?,
            latency,
            limit: gauges(
                "popgate_upstream_limit",
                "The most requests that a register is asked at once, as found or as configured.",
                &["register"],
            )?,
        })
    }

    pub(super) fn of(&self, register: &str) -> FleetMetrics {
        let tries = |kind| self.tries.with_label_values(&[register, kind]);
        let ejections = |cause: Cause| self.ejections.with_label_values(&[register, cause.as_str()]);
        FleetMetrics {
            retries: tries("retry"),
            retries_spent: tries("retry_over_budget"),
            hedges: tries("hedge"),
            hedges_won: tries("hedge_won"),
            not_asked: self.not_asked.with_label_values(&[register]),
            unresolved: self.unresolved.with_label_values(&[register]),
            ejections: [Cause::Consecutive, Cause::FailureShare, Cause::Trial].map(ejections),
        }
    }

    /// Shows how every register's targets stand, and forgets those that are gone.
    pub fn show(&self, registers: &crate::forward::registers::Registers, now: std::time::Instant) {
        self.standing.reset();
        self.in_flight.reset();
        self.latency.reset();
        for (id, register) in registers.all() {
            self.breaker.with_label_values(&[id.as_str()]).set(i64::from(register.fleet.is_open()));
            self.limit.with_label_values(&[id.as_str()]).set(i64::from(register.cap.standing().limit));
            for target in register.fleet.targets().iter() {
                let label = target.label();
                let labels = &[id.as_str(), label.as_str()];
                self.standing.with_label_values(labels).set(i64::from(target.standing(now) == Standing::In));
                self.in_flight.with_label_values(labels).set(i64::from(target.in_flight()));
                self.latency.with_label_values(labels).set(target.latency(now).as_secs_f64());
            }
        }
    }
}

impl FleetMetrics {
    /// Counts an ejection.
    pub fn ejected(&self, cause: Cause) {
        let [consecutive, share, trial] = &self.ejections;
        match cause {
            Cause::Consecutive => consecutive.inc(),
            Cause::FailureShare => share.inc(),
            Cause::Trial => trial.inc(),
        }
    }
}
