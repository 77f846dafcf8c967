//! Plugins that fail in every way, in a whole gateway.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use popgate_demo::register::demo::HOA;
use popgate_plugins::{
    AppliesTo, Blueprint, Configured, Decision, Failed, Files, Narrowing, OnError, Plugin, Scope, Seen, Unusable,
};
use popgate_tests::{Harness, refusal};

use super::{failures, read, recorded};

/// What the plugin does now.
#[derive(Clone, Debug)]
struct Failing(Arc<Mutex<Way>>);

#[derive(Clone, Copy, Debug)]
enum Way {
    Error,
    PanicAtOnce,
    PanicLater,
    Hang,
    Garbage,
}

impl Plugin for Failing {
    fn looks_at_subject(&self) -> bool {
        false
    }

    fn decide<'a>(&'a self, seen: Seen<'a>) -> Decision<'a> {
        let way = *self.0.lock().unwrap();
        assert!(!matches!(way, Way::PanicAtOnce), "at once");
        assert!(seen.subject.is_some() && !seen.fields.is_empty());
        Box::pin(async move {
            match way {
                Way::Error => Err(Failed("it cannot")),
                Way::PanicAtOnce | Way::PanicLater => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    panic!("later");
                }
                Way::Hang => std::future::pending().await,
                Way::Garbage => Ok(Narrowing::NONE.withhold(Scope::parse("Citizen.no.such.field"))),
            }
        })
    }
}

impl Blueprint for Failing {
    fn open(&self, _: &dyn Files) -> Result<Box<dyn Plugin>, Unusable> {
        Ok(Box::new(self.clone()))
    }
}

/// A deployment whose plugin does what the switch says.
fn with(on_error: OnError) -> (Harness, Arc<Mutex<Way>>) {
    let way = Arc::new(Mutex::new(Way::Error));
    let plugin = Configured {
        name: Arc::from("failing"),
        applies_to: AppliesTo { sectors: Some(vec!["tax".to_owned()]), ..AppliesTo::default() },
        deadline: Duration::from_millis(100),
        on_error,
        blueprint: Arc::new(Failing(Arc::clone(&way))),
        mentions: Vec::new(),
    };
    (Harness::start_made("", |_| {}, |config| config.plugins.push(plugin)), way)
}

const EVERY: [Way; 5] = [Way::Error, Way::PanicAtOnce, Way::PanicLater, Way::Hang, Way::Garbage];

#[tokio::test]
async fn whatever_a_plugin_does_the_request_is_refused_and_the_gateway_goes_on() {
    let (harness, way) = with(OnError::Refuse);
    let mut session = harness.session("tax/etax").await;
    for (at, failing) in (1..).zip(EVERY) {
        *way.lock().unwrap() = failing;
        for _ in 0..2 {
            let answer = session.send(read(&HOA, "assessment")).await.unwrap();
            assert_eq!(refusal(&answer), "503 plugin_failed", "{failing:?}");
            assert_eq!(answer.headers.get("retry-after").unwrap(), "1");
            assert!(!answer.told("detail").contains("Citizen"), "{}", answer.told("detail"));
        }
        assert_eq!(failures(&harness, "failing").await, 2 * at, "{failing:?}");
    }
    assert_eq!(harness.deployment.register.faults.requests(), 0);
    // On the same core, or the other one: who the plugin is not about.
    for _ in 0..2 {
        let mut other = harness.session("hospital-north/his").await;
        assert_eq!(refusal(&other.send(read(&HOA, "treatment")).await.unwrap()), "200 ");
    }
    assert_eq!(recorded(&harness).await, ["complete", "complete"]);
}

#[tokio::test]
async fn a_failure_is_ignored_only_where_the_table_says_so_and_counted_all_the_same() {
    let (harness, way) = with(OnError::Ignore);
    let mut session = harness.session("tax/etax").await;
    for (at, failing) in (1..).zip(EVERY) {
        *way.lock().unwrap() = failing;
        assert_eq!(refusal(&session.send(read(&HOA, "assessment")).await.unwrap()), "200 ", "{failing:?}");
        assert_eq!(failures(&harness, "failing").await, at, "{failing:?}");
    }
}
