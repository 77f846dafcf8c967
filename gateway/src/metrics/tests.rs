//! What metrics promise.

use super::*;
use crate::refusal::Refusal;

/// The sample lines; panics if a line is not of the text format.
fn samples(text: &str) -> Vec<(&str, f64)> {
    let mut typed = Vec::new();
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            typed.push(rest.split_once(' ').unwrap().0);
        } else if !line.starts_with("# HELP ") {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let family = name.split('{').next().unwrap();
            assert!(typed.iter().any(|known| family.starts_with(known)), "{line}");
            found.push((name, value.parse().unwrap()));
        }
    }
    found
}

fn value(text: &str, name: &str) -> f64 {
    samples(text).into_iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("{name} in {text}")).1
}

#[test]
fn requests_are_counted_by_operation_and_code() {
    let metrics = Metrics::new();
    let table = metrics.operations(["citizen.read", "citizen.lookup"]);
    table.record(Some(1), Code::OK, Duration::from_micros(300));
    table.record(Some(1), Code::of(&Refusal::NoMatch), Duration::from_micros(300));
    table.record(None, Code::of(&Refusal::OperationUnknown), Duration::from_micros(3));
    let text = metrics.encode();
    assert_eq!(value(&text, "popgate_requests_total{code=\"ok\",operation=\"citizen.lookup\"}"), 1.0);
    assert_eq!(value(&text, "popgate_requests_total{code=\"no_match\",operation=\"citizen.lookup\"}"), 1.0);
    assert_eq!(value(&text, "popgate_requests_total{code=\"operation_unknown\",operation=\"none\"}"), 1.0);
    assert_eq!(value(&text, "popgate_refusals_total{code=\"no_match\"}"), 1.0);
    assert_eq!(value(&text, "popgate_request_duration_seconds_count{operation=\"citizen.lookup\"}"), 2.0);
    assert!(!text.contains("citizen.read\",code"), "pairs that never happened are not shown");
}

#[test]
fn counts_go_on_over_a_reload() {
    let metrics = Metrics::new();
    metrics.operations(["a"]).record(Some(0), Code::OK, Duration::ZERO);
    metrics.operations(["b", "a"]).record(Some(1), Code::OK, Duration::ZERO);
    assert_eq!(value(&metrics.encode(), "popgate_requests_total{code=\"ok\",operation=\"a\"}"), 2.0);
}

#[test]
fn the_text_has_every_family_with_help_and_base_units() {
    let metrics = Metrics::new();
    metrics.register("population").took(Duration::from_millis(3));
    metrics.handshakes("ok").inc();
    metrics.certificate_expiry("server", 1_900_000_000);
    let text = metrics.encode();
    assert!(samples(&text).len() > 60);
    assert_eq!(value(&text, "popgate_upstream_duration_seconds_sum{register=\"population\"}"), 0.003);
    assert!(value(&text, "process_resident_memory_bytes") > 1e5);
    assert!(value(&text, "process_cpu_seconds_total") >= 0.0);
    for line in text.lines().filter_map(|line| line.strip_prefix("# HELP ")) {
        assert!(line.ends_with('.'), "{line}");
    }
}

#[test]
fn what_others_count_is_followed_and_never_goes_down() {
    let metrics = Metrics::new();
    for total in [3, 7, 5] {
        follow(&metrics.guesses_failed, total);
    }
    assert_eq!(value(&metrics.encode(), "popgate_guesses_failed_total"), 7.0);
}

#[test]
fn only_the_bundle_in_force_is_shown() {
    let metrics = Metrics::new();
    metrics.bundle_info.with_label_values(&["old"]).set(1);
    metrics.bundle_info.reset();
    metrics.bundle_info.with_label_values(&["new"]).set(1);
    let text = metrics.encode();
    assert!(text.contains("popgate_bundle_info{digest=\"new\"} 1"));
    assert!(!text.contains("\"old\""));
}
