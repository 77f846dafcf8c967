//! Plugins that fail in every way, in a whole gateway.

use std::sync::Arc;
use std::time::Duration;

use popgate_demo::register::demo::HOA;
use popgate_plugins::{
    AppliesTo, Blueprint, Configured, Decision, Failed, Files, Narrowing, OnError, Plugin, Scope, Seen, Unusable,
};
use popgate_tests::{Harness, refusal};

use super::{failures, read, recorded};

#[derive(Clone, Copy, Debug)]
enum Failing {
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
        assert!(!matches!(self, Self::PanicAtOnce), "at once");
        assert!(seen.subject.is_some() && !seen.fields.is_empty());
        Box::pin(async move {
            match self {
                Self::Error => Err(Failed("it cannot")),
                Self::PanicAtOnce | Self::PanicLater => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    panic!("later");
                }
                Self::Hang => std::future::pending().await,
                Self::Garbage => Ok(Narrowing::NONE.withhold(Scope::parse("Citizen.no.such.field"))),
            }
        })
    }
}

impl Blueprint for Failing {
    fn open(&self, _: &dyn Files) -> Result<Box<dyn Plugin>, Unusable> {
        Ok(Box::new(*self))
    }
}

fn with(failing: Failing, on_error: OnError) -> Harness {
    let plugin = Configured {
        name: Arc::from("failing"),
        applies_to: AppliesTo { sectors: Some(vec!["tax".to_owned()]), ..AppliesTo::default() },
        deadline: Duration::from_millis(100),
        on_error,
        blueprint: Arc::new(failing),
        mentions: Vec::new(),
    };
    Harness::start_made("", |_| {}, |config| config.plugins.push(plugin))
}

#[tokio::test]
async fn whatever_a_plugin_does_the_request_is_refused_and_the_gateway_goes_on() {
    for failing in [Failing::Error, Failing::PanicAtOnce, Failing::PanicLater, Failing::Hang, Failing::Garbage] {
        let harness = with(failing, OnError::Refuse);
        let mut session = harness.session("tax/etax").await;
        for _ in 0..2 {
            let answer = session.send(read(&HOA, "assessment")).await.unwrap();
            assert_eq!(refusal(&answer), "503 plugin_failed", "{failing:?}");
            assert_eq!(answer.headers.get("retry-after").unwrap(), "1");
            assert!(!answer.told("detail").contains("Citizen"), "{}", answer.told("detail"));
        }
        assert_eq!(failures(&harness, "failing").await, 2, "{failing:?}");
        assert_eq!(harness.deployment.register.faults.requests(), 0);
        // On the same core, or the other one: who the plugin is not about.
        for _ in 0..2 {
            let mut other = harness.session("hospital-north/his").await;
            assert_eq!(refusal(&other.send(read(&HOA, "treatment")).await.unwrap()), "200 ", "{failing:?}");
        }
        assert_eq!(recorded(&harness).await, ["complete", "complete"]);
    }
}

#[tokio::test]
async fn a_failure_is_ignored_only_where_the_table_says_so_and_counted_all_the_same() {
    for failing in [Failing::Error, Failing::PanicLater, Failing::Hang] {
        let harness = with(failing, OnError::Ignore);
        let mut session = harness.session("tax/etax").await;
        assert_eq!(refusal(&session.send(read(&HOA, "assessment")).await.unwrap()), "200 ", "{failing:?}");
        assert_eq!(failures(&harness, "failing").await, 1, "{failing:?}");
    }
}
