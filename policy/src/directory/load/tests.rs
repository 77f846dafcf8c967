//! What agencies and purposes mean, and what is refused of them.

use super::*;
use crate::directory::{Identity, Requirement, TlsVersion};

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
    assert_eq!((etax.limits.default.count.get(), etax.limits.default.per.as_secs()), (200, 60));
    assert_eq!((etax.limits.default.burst.get(), etax.limits.concurrent.get()), (400, 64));
    assert_eq!(etax.limits.operations["citizen.verify"].burst.get(), 50);
    let batch = directory.identify([&Identity::Uri("spiffe://gov.vn/tax/batch".to_owned())]).unwrap();
    assert_eq!((batch.limits.default.burst.get(), batch.limits.concurrent.get()), (5, 2));
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
