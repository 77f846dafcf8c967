//! Promise: a site can take away what its policies permit, by hours, networks, opt-outs and consents, and add nothing; where a
//! plugin fails, nothing is disclosed.

mod consent;
mod failing;
mod opt_out;
mod tables;

use http::Request;
use http_body_util::Full;
use popgate::audit::read::{entries, verify};
use popgate::audit::{Ended, What};
use popgate_demo::client::{Answer, get, post};
use popgate_demo::deployment::Site;
use popgate_demo::register::demo::{HOA, Known};
use popgate_demo::scenario::{LOOKUP, read_path};
use popgate_tests::made::zone_where_it_is;
use popgate_tests::{Harness, eventually, refusal};
use serde_json::{Value, json};

/// A deployment with plugins, at noon.
fn with_plugins(settings: &str, site: impl FnOnce(&Site)) -> Harness {
    Harness::start_made(settings, site, |config| config.time_zone = zone_where_it_is(12))
}

async fn ask(harness: &Harness, system: &str, request: Request<Full<bytes::Bytes>>) -> Answer {
    harness.client(system).send(request).await.unwrap()
}

fn read(known: &Known, purpose: &str) -> Request<Full<bytes::Bytes>> {
    get(&read_path(known.number), Some(purpose))
}

fn lookup(known: &Known, purpose: &str) -> Request<Full<bytes::Bytes>> {
    let keys: Value = json!({
        "id": known.number.to_string(),
        "full_name": known.full_name,
        "date_of_birth": known.date_of_birth.to_string(),
    });
    post(LOOKUP, Some(purpose), &keys)
}

/// Answers without what differs from request to request.
fn same(answer: &Answer) -> Value {
    let mut told = answer.json();
    for own in ["request_id", "instance"] {
        told.as_object_mut().map(|members| members.remove(own));
    }
    told
}

/// What the log says of refusals and of how disclosures ended, in order.
async fn recorded(harness: &Harness) -> Vec<String> {
    let dir = harness.deployment.site.audit();
    eventually("every closing is written", || verify(&dir).unwrap().open == 0).await;
    let said = entries(&dir, None).unwrap().filter_map(|entry| match entry.unwrap().what {
        What::Refused(refused) => Some(refused.code.to_string()),
        What::Closing(closing) => Some(match closing.outcome {
            Ended::NoMatch(reason) => reason.as_str().to_owned(),
            Ended::Complete(_) => "complete".to_owned(),
            other => format!("{other:?}"),
        }),
        What::Intent(_) | What::Action(_) => None,
    });
    said.collect()
}

async fn failures(harness: &Harness, plugin: &str) -> u64 {
    harness.metric(&format!("popgate_plugin_failures_total{{plugin=\"{plugin}\"}}")).await
}

const EVERY_DAY: &str = "weekdays = [\"mon\", \"tue\", \"wed\", \"thu\", \"fri\", \"sat\", \"sun\"]";

#[tokio::test]
async fn outside_of_its_hours_an_agency_is_refused_or_gets_less_and_others_do_not() {
    let hours = |agency: &str, from: &str, to: &str, more: &str| {
        format!(
            "[plugins.of-{agency}]\nkind = \"office-hours\"\napplies_to = {{ agencies = [\"{agency}\"] }}\n{EVERY_DAY}\n\
             from = \"{from}\"\nto = \"{to}\"\n{more}\n"
        )
    };
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::get(&zone_where_it_is(12)).unwrap()).date();
    let less = "withhold = [\"Citizen.permanent_residence\"]\ncap = { \"Citizen.date_of_birth\" = \"year\" }";
    // It is noon.
    let settings = hours("tax", "11:00", "14:00", "")
        + &hours("hospital-north", "14:00", "24:00", "")
        + &hours("ha-noi", "14:00", "24:00", less)
        + &hours("hospital-south", "11:00", "14:00", &format!("holidays = [{today}]"));
    let harness = with_plugins(&settings, |_| {});
    for (system, purpose) in [("hospital-north/his", "treatment"), ("hospital-south/his", "treatment")] {
        let answer = ask(&harness, system, read(&HOA, purpose)).await;
        assert_eq!(refusal(&answer), "403 plugin_refused", "{system}");
        assert!(answer.told("detail").contains("within the hours"), "{}", answer.told("detail"));
    }
    assert_eq!(harness.deployment.register.faults.requests(), 0, "what is refused is not asked for");
    let shown = ask(&harness, "tax/etax", read(&HOA, "assessment")).await.json();
    assert_eq!(shown["date_of_birth"], "1987-03-14");
    assert!(shown.get("permanent_residence").is_some());
    let shown = ask(&harness, "ha-noi/portal", read(&HOA, "residence-management")).await.json();
    assert_eq!((&shown["full_name"], &shown["date_of_birth"]), (&json!(HOA.full_name), &json!(1987)));
    assert_eq!(shown.get("permanent_residence"), None);
    assert_eq!(recorded(&harness).await, ["plugin_refused", "plugin_refused", "complete", "complete"]);
    let refused = "popgate_plugin_decisions_total{decision=\"refused\",plugin=\"of-hospital-north\"}";
    assert_eq!(harness.metric(refused).await, 1);
    assert_eq!(failures(&harness, "of-hospital-north").await, 0);
}

#[tokio::test]
async fn each_network_list_that_is_about_a_request_must_hold_its_address() {
    let settings = r#"
[plugins.networks]
kind     = "network"
agencies = { tax = ["127.0.0.0/8"], hospital-north = ["10.0.0.0/8"] }
systems  = { "tax/inspection" = ["10.0.0.0/8"] }
purposes = { assessment = ["127.0.0.1"], subscriber-verification = ["2001:db8::/32"] }
"#;
    let harness = with_plugins(settings, |_| {});
    for (system, request, expected) in [
        ("tax/etax", read(&HOA, "assessment"), "200 "),
        ("tax/inspection", read(&HOA, "assessment"), "403 plugin_refused"),
        ("hospital-north/his", read(&HOA, "treatment"), "403 plugin_refused"),
        ("telecom-a/crm", lookup(&HOA, "subscriber-verification"), "403 plugin_refused"),
        ("ha-noi/portal", read(&HOA, "residence-management"), "200 "),
    ] {
        let answer = ask(&harness, system, request).await;
        assert_eq!(refusal(&answer), expected, "{system}");
        assert!(answer.told("detail").is_empty() || answer.told("detail").contains("network"), "{system}");
    }
    assert_eq!(harness.deployment.register.faults.requests(), 1, "one record, fetched once for both");
}

#[tokio::test]
async fn plugins_are_asked_in_the_order_of_the_configuration() {
    // By name the other way round.
    let settings = format!(
        "[plugins.z-first]\nkind = \"network\"\nnetworks = [\"10.0.0.0/8\"]\n\
         [plugins.a-second]\nkind = \"office-hours\"\n{EVERY_DAY}\nfrom = \"14:00\"\nto = \"24:00\"\n"
    );
    let harness = with_plugins(&settings, |_| {});
    let answer = ask(&harness, "tax/etax", read(&HOA, "assessment")).await;
    assert!(answer.told("detail").contains("network"), "{}", answer.told("detail"));
    let names: Vec<_> = harness.deployment.gateway.node().plugins.names().map(ToString::to_string).collect();
    assert_eq!(names, ["z-first", "a-second"]);
}
