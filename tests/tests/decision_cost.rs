//! Promise: a decision allocates nothing, however many policies have conditions, once it was decided the same way before.

use std::hint::black_box;
use std::path::Path;

use popgate::app::bundle_files;
use popgate_policy::bundle::Bundle;
use popgate_policy::permit::Env;

#[test]
fn a_decision_allocates_nothing() {
    let source = bundle_files::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/bundle")).unwrap();
    let bundle = Bundle::load(&source).unwrap().bundle;
    let mut decisions = 0;
    let mut ask = |env: &Env| {
        for system in bundle.directory().systems() {
            for operation in bundle.contracts().operations() {
                for purpose in &system.purposes {
                    black_box(bundle.trial(system, operation, purpose, env).unwrap());
                    decisions += 1;
                }
            }
        }
    };
    let times = [at(3), at(10), Env { claimed_user: true, claimed_case: true, ..at(10) }];
    times.iter().for_each(&mut ask);
    let counted = allocation_counter::measure(|| times.iter().for_each(&mut ask));
    assert_eq!((counted.count_total, counted.bytes_total), (0, 0), "in {decisions} decisions");
    assert!(decisions > 10_000, "{decisions}");
}

fn at(hour: i8) -> Env {
    Env {
        date: jiff::civil::date(2026, 11, 20),
        hour,
        minute: 30,
        source: [10, 20, 0, 5].into(),
        claimed_assurance: None,
        claimed_user: false,
        claimed_case: false,
    }
}
