//! What should be looked at now.

use super::{Due, Figures, State, Two};

/// What stands, then what happened between the readings.
pub(super) fn of(figures: &Figures, two: &Two<'_>) -> Vec<String> {
    let gauge = |name: &str| two.now.sum(name, &[]);
    let mut alarms = Vec::new();
    let mut raise = |is: bool, what: String| {
        if is {
            alarms.push(what);
        }
    };
    raise(gauge("popgate_audit_serving") == Some(0.0), "the audit log cannot record: nothing is disclosed".to_owned());
    raise(figures.restarted, "the node was started again: what was counted is since then".to_owned());
    raise(gauge("popgate_draining") == Some(1.0), "the node drains".to_owned());
    raise(
        gauge("popgate_changes_connected") == Some(0.0),
        "what registers change is not heard: records are served for as long as they are fresh".to_owned(),
    );
    let free = gauge("popgate_audit_disk_free_ratio").unwrap_or(1.0);
    raise(free < LITTLE, format!("{:.0} % of the audit disk is free", free * 100.0));
    for register in figures.registers.iter().filter(|register| register.state == State::Down) {
        raise(true, format!("register {} answers nothing", register.name));
    }
    for due in figures.certificates.iter().filter(|due| due.seconds < SOON) {
        raise(true, format!("certificate {} {}", due.name, due.ends("ends", "ended")));
    }
    for due in figures.revocation_lists.iter().filter(|due| due.seconds < 0.0) {
        raise(true, format!("the revocation list of {} {}", due.name, due.ends("is due", "was due")));
    }
    for (name, what) in STANDING {
        raise(gauge(name).is_some_and(|value| value > 0.0), (*what).to_owned());
    }
    for (name, what) in COUNTED {
        let count = two.growth(name, &[]);
        raise(count > 0.0, format!("{count:.0} {what}"));
    }
    for (name, what) in RELOADS {
        let count = two.growth(name, &[("outcome", "refused")]);
        raise(count > 0.0, format!("{what} were refused: the last good ones stay, see popgate status"));
    }
    alarms
}

impl Due {
    /// `ends in 3 days`, `ended 2 hours ago`.
    fn ends(&self, will: &str, did: &str) -> String {
        match self.seconds {
            left if left < 0.0 => format!("{did} {} ago", span(-left)),
            left => format!("{will} in {}", span(left)),
        }
    }

    /// How long it still is, briefly; `over` if it is no more.
    pub(in super::super) fn left(&self) -> String {
        if self.seconds < 0.0 { "over".to_owned() } else { span(self.seconds) }
    }
}

fn span(seconds: f64) -> String {
    if seconds < 2.0 * HOUR {
        format!("{:.0} min", (seconds / 60.0).floor())
    } else if seconds < 2.0 * DAY {
        format!("{:.0} h", (seconds / HOUR).floor())
    } else {
        format!("{:.0} days", (seconds / DAY).floor())
    }
}

const STANDING: &[(&str, &str)] = &[
    ("popgate_suspensions_stale", "the file of suspensions is refused or gone: those before it stay"),
    ("popgate_suspensions_ignored", "a suspension names a policy that forbids, and is ignored"),
    ("popgate_cache_alone", "purges of other nodes are not known: what is stored is validated first"),
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
    ("popgate_changes_gaps_total", "times what registers changed was not known: all that is stored is validated first"),
    ("popgate_guesses_throttled_total", "requests throttled for their guesses"),
];
const RELOADS: &[(&str, &str)] = &[
    ("popgate_bundle_reloads_total", "changes of the bundle"),
    ("popgate_trust_reloads_total", "changes of certificates or revocation lists"),
    ("popgate_plugin_reloads_total", "changes of files of plugins"),
    ("popgate_suspensions_reloads_total", "changes of suspensions"),
    ("popgate_sealed_reloads_total", "changes of sealed persons"),
];
/// The design's alarm: long before the disk is full.
const LITTLE: f64 = 0.2;
const HOUR: f64 = 3600.0;
const DAY: f64 = 86_400.0;
/// Time to order a certificate in, and less than those live that are renewed by machines each month.
const SOON: f64 = 14.0 * DAY;

#[cfg(test)]
mod tests {
    use super::super::super::scrape::Scrape;
    use super::*;

    fn alarms(before: &str, now: &str) -> Vec<String> {
        Figures::between(&Scrape::parse(before).unwrap(), &Scrape::parse(now).unwrap(), 1.0, 0).alarms
    }

    #[test]
    fn alarms_are_what_stands_and_what_happened() {
        let calm = "popgate_audit_serving 1\npopgate_draining 0\npopgate_audit_disk_free_ratio 0.5\npopgate_policy_errors_total 9\n\
                    popgate_certificate_expiry_timestamp_seconds{certificate=\"server\"} 2000000\n";
        assert_eq!(alarms(calm, calm), Vec::<String>::new());
        let bad = "popgate_audit_serving 0\npopgate_audit_disk_free_ratio 0.1\npopgate_policy_errors_total 12\n\
                   popgate_certificate_expiry_timestamp_seconds{certificate=\"server\"} 260000\n\
                   popgate_bundle_reloads_total{outcome=\"refused\"} 1\npopgate_changes_connected 0\n\
                   popgate_changes_gaps_total 1\n";
        assert_eq!(
            alarms(calm, bad),
            [
                "the audit log cannot record: nothing is disclosed",
                "what registers change is not heard: records are served for as long as they are fresh",
                "10 % of the audit disk is free",
                "certificate server ends in 3 days",
                "3 fields withheld because a policy failed",
                "1 times what registers changed was not known: all that is stored is validated first",
                "changes of the bundle were refused: the last good ones stay, see popgate status",
            ]
        );
    }

    #[test]
    fn a_revocation_list_is_late_only_once_it_is_due() {
        let line = |due: i64| format!("popgate_crl_next_update_timestamp_seconds{{issuer=\"CN=agencies\"}} {due}\n");
        assert_eq!(alarms("", &line(60)), Vec::<String>::new());
        assert_eq!(alarms("", &line(-8000)), Vec::<String>::new(), "the node writes 0 if a list does not say");
        let late =
            Figures { revocation_lists: vec![Due { name: "CN=a".into(), seconds: -8000.0 }], ..Figures::default() };
        let nothing = Scrape::default();
        let two = Two { before: &nothing, now: &nothing, seconds: 1.0, today: 8000 };
        assert_eq!(of(&late, &two), ["the revocation list of CN=a was due 2 h ago"]);
    }
}
