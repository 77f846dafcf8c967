//! What agencies and purposes mean, and what is refused of them.

use super::*;
use crate::directory::{Identity, Priority, Requirement, TlsVersion};

const TAX: &str = r#"name     = { vi = "Cục Thuế", en = "Tax Department" }
sector   = "tax"
level    = "central"
purposes = ["assessment", "refund"]
[systems.etax]
identity = ["spiffe://gov.vn/tax/etax", "CN=etax, O=Tax Department"]
networks = ["10.20.0.0/16"]
purposes = ["refund"]
min_tls  = "1.3"
limits   = { rate = "200/m", burst = 400, operations = { "citizen.verify" = { rate = "50/s" } } }
[systems.batch]
identity = "spiffe://gov.vn/tax/batch"
limits   = { rate = "5/d", concurrent = 2 }
"#;

const PURPOSES_TOML: &str = r#"[assessment]
name  = { vi = "Tính thuế", en = "Tax assessment" }
basis = "Law, art. 1"
requires = ["case", "user"]
valid_from  = 2026-01-01
valid_until = 2027-12-31
[refund]
name  = { vi = "Hoàn thuế", en = "Tax refund" }
basis = "Law, art. 2"
"#;

fn read(tax: &str, purposes: &str) -> (Directory, Vec<String>) {
    let mut source = Source::default();
    source.files.insert("agencies/tax.toml".to_owned(), tax.to_owned());
    source.files.insert("purposes.toml".to_owned(), purposes.to_owned());
    let mut problems = Vec::new();
    let directory = load(&source, &crate::contract::openapi_tests::contracts(), &mut problems);
    (directory, problems.iter().map(ToString::to_string).collect())
}

#[test]
fn an_agency_is_read_as_it_is_written() {
    let (directory, problems) = read(TAX, PURPOSES_TOML);
    assert_eq!(problems, [] as [String; 0]);
    let etax = directory.identify([&Identity::Uri("spiffe://gov.vn/tax/etax".to_owned())]).unwrap();
    assert_eq!(etax.id.as_str(), "tax/etax");
    assert_eq!(etax.agency.name["vi"], "Cục Thuế");
    assert_eq!(etax.min_tls, TlsVersion::Tls13);
    assert!(etax.admits_source("10.20.3.4".parse().unwrap()) && !etax.admits_source("10.21.0.1".parse().unwrap()));
    assert_eq!(etax.purposes.iter().map(|known| known.as_str()).collect::<Vec<_>>(), ["refund"]);
    let by_subject = directory.identify([&Identity::Subject("CN=etax,O=Tax Department".to_owned())]).unwrap();
    assert_eq!(by_subject.index, etax.index);
    let (each, concurrent) = (etax.limits.each.unwrap(), etax.limits.concurrent.unwrap());
    assert_eq!((each.count.get(), each.per.as_secs(), each.burst.get(), concurrent.get()), (200, 60, 400, 64));
    assert_eq!(etax.limits.operations["citizen.verify"].burst.get(), 50);
    let batch = directory.identify([&Identity::Uri("spiffe://gov.vn/tax/batch".to_owned())]).unwrap();
    assert_eq!((batch.limits.each.unwrap().burst.get(), batch.limits.concurrent.unwrap().get()), (5, 2));
    assert_eq!(batch.purposes.len(), 2);
    assert_eq!(directory.systems()[batch.index].id, batch.id);
}

#[test]
fn a_purpose_is_valid_from_its_first_to_its_last_day() {
    let (directory, _) = read(TAX, PURPOSES_TOML);
    let purpose = directory.purpose("assessment").unwrap();
    assert_eq!(purpose.requires, [Requirement::Case, Requirement::User]);
    let on = |day: &str| purpose.is_valid_on(day.parse().unwrap());
    assert_eq!([on("2025-12-31"), on("2026-01-01"), on("2027-12-31"), on("2028-01-01")], [false, true, true, false]);
}

#[test]
fn rates_that_were_nearly_right_are_understood_in_the_suggestion() {
    for (typed, meant) in
        [("200/sec", "200/s"), ("200 / minute", "200/m"), ("10 per hour", "10/h"), ("7", "7/s"), ("5/D", "5/d")]
    {
        let (_, problems) = read(&TAX.replace("200/m", typed), PURPOSES_TOML);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains(&format!("did you mean `{meant}`?")), "{problems:?}");
    }
}

#[test]
fn every_mistake_is_reported_not_only_the_first() {
    let tax = TAX.replace("central", "centra").replace("10.20.0.0/16", "10.20.0.1/16").replace("\"5/d\"", "\"0/d\"");
    let (_, problems) = read(&tax, &PURPOSES_TOML.replace("\"case\"", "\"cases\""));
    assert_eq!(problems.len(), 4, "{problems:#?}");
}

#[test]
fn no_agency_however_mangled_is_read_without_an_end() {
    let lines: Vec<&str> = TAX.lines().collect();
    for at in 0..lines.len() {
        let without: Vec<&str> =
            lines.iter().enumerate().filter(|(line, _)| *line != at).map(|(_, line)| *line).collect();
        read(&without.join("\n"), PURPOSES_TOML);
        read(&without.join("\n"), &without.join("\n"));
    }
}

#[test]
fn an_empty_list_of_networks_does_not_mean_everywhere() {
    let (_, problems) = read(&TAX.replace("[\"10.20.0.0/16\"]", "[]"), PURPOSES_TOML);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with("error[bad-network]"), "{problems:?}");
}

#[test]
fn nobody_is_enrolled_for_a_break_glass_purpose_and_it_needs_case_and_user() {
    let lent = "[rescue]\nname = { vi = \"Cứu nạn\", en = \"Rescue\" }\nbasis = \"Law, art. 3\"\nbreak_glass = true\n";
    let (directory, problems) = read(TAX, &format!("{PURPOSES_TOML}{lent}requires = [\"assurance\", \"user\"]\n"));
    assert_eq!(problems, [] as [String; 0], "nor is it warned of as unused");
    let rescue = directory.purpose("rescue").unwrap();
    assert!(rescue.break_glass && !directory.purpose("refund").unwrap().break_glass);
    assert_eq!(rescue.requires, [Requirement::Assurance, Requirement::User, Requirement::Case]);
    let enrolled = TAX.replace("[\"assessment\", \"refund\"]", "[\"assessment\", \"refund\", \"rescue\"]");
    let (_, problems) = read(&enrolled, &format!("{PURPOSES_TOML}{lent}"));
    let [problem] = &problems[..] else { panic!("{problems:?}") };
    assert!(
        problem.contains("agencies/tax.toml:4:37") && problem.contains("break-glass purpose `rescue`"),
        "{problem}"
    );
    let (_, problems) = read(TAX, &format!("{PURPOSES_TOML}{}", lent.replace("= true", "= \"yes\"")));
    assert!(problems.iter().any(|it| it.contains("`true` or `false` without quotes")), "{problems:?}");
}

#[test]
fn limits_of_every_level_are_read_and_told_by_the_names_of_the_header() {
    let all = r#"limits = { rate = "20/s", total = { rate = "50/s", burst = 60 }, purposes = { refund = "5/s" },
        per_day = 1000, per_month = 20_000, bytes = "10MB/s", persons_per_hour = 100, persons_per_day = 500,
        connections = 4, soft = { total = "40/s", per_day = 800 }, operations = { "citizen.verify" = "1/m" } }
priority = "batch""#;
    let tax = TAX.replace("limits   = { rate = \"5/d\", concurrent = 2 }", all).replace(
        "[systems.etax]",
        "limits = { total = \"90/s\", concurrent = 7, per_day = 3000, operations = { \"citizen.verify\" = \"3/s\" } }\n[systems.etax]",
    );
    let (directory, problems) = read(&tax, PURPOSES_TOML);
    assert_eq!(problems, [] as [String; 0]);
    let batch = directory.identify([&Identity::Uri("spiffe://gov.vn/tax/batch".to_owned())]).unwrap();
    assert_eq!(batch.priority, Some(Priority::Batch));
    let soft = batch.limits.soft.as_ref().unwrap();
    assert_eq!((soft.total.unwrap().count.get(), soft.per_day.unwrap().get()), (40, 800));
    assert_eq!((batch.limits.connections.unwrap().get(), batch.limits.concurrent.unwrap().get()), (4, 64));
    let refund = PurposeId::new("refund");
    let told = |operation: &str| {
        let bounds = batch.bounds(operation, Some(&refund)).into_iter();
        bounds.map(|bound| format!("{} {:?}", bound.name, bound.amount.quota())).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(
        told("citizen.verify"),
        "operation (1, Some(60)), total (60, Some(2)), purpose (5, Some(1)), day (1000, Some(86400)), \
         month (20000, Some(2592000)), bytes (10000000, Some(1)), concurrent (64, None), agency-operation (3, Some(1)), \
         agency-total (90, Some(1)), agency-day (3000, Some(86400)), agency-concurrent (7, None)"
    );
    assert!(told("citizen.read").starts_with("operation (20, Some(1)), total"), "{}", told("citizen.read"));
    assert!(!told("citizen.read").contains("agency-operation"), "the agency bounds another operation alone");
}

#[test]
fn limits_that_mean_nothing_are_refused_with_what_is_meant() {
    let cases = [
        (r#"rate = "5/d", purposes = { other = "1/s" }"#, "[foreign-purpose]"),
        (r#"rate = "5/d", bytes = "10/s/s""#, "[bad-rate]"),
        (r#"rate = "5/d", bytes = { rate = "1MB/s", burst = "lots" }"#, "[bad-size]"),
        (r#"rate = "5/d", persons_per_hour = 9, persons_per_day = 5"#, "[limits-crossed]"),
        (r#"rate = "5/d", soft = { connections = 3 }"#, "[unknown-key]"),
        (r#"rate = "5/d", total = { burst = 5 }"#, "[missing-key]"),
        (r#"rate = "5/d", per_day = 0"#, "[bad-number]"),
        (r#"burst = 5"#, "[missing-key]"),
    ];
    for (typed, code) in cases {
        let (_, problems) = read(&TAX.replace("rate = \"5/d\", concurrent = 2", typed), PURPOSES_TOML);
        assert!(problems.iter().any(|it| it.contains(code)), "{typed}: {problems:?}");
    }
    let (_, problems) = read(&TAX.replace("[systems.batch]", "[systems.batch]\npriority = \"bach\""), PURPOSES_TOML);
    assert!(problems.iter().any(|it| it.contains("did you mean `batch`?")), "{problems:?}");
}

#[test]
fn the_lower_of_two_classes_counts_and_silence_does_not() {
    use Priority::{Batch, Emergency, Interactive};
    let of = Priority::of;
    assert_eq!([of(None, None), of(Some(Emergency), None), of(None, Some(Batch))], [Interactive, Emergency, Batch]);
    assert_eq!([of(Some(Emergency), Some(Batch)), of(Some(Interactive), Some(Emergency))], [Batch, Interactive]);
}
