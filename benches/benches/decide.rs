//! Decide and open: from a request to the bytes that this caller may see, without sockets, log or cache.

#![expect(missing_docs, reason = "`criterion_group` makes a public function")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a bench that cannot be set up has nothing to say")]

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use jiff::civil::date;
use popgate::app::bundle_files;
use popgate_demo::deployment::reference_bundle;
use popgate_demo::register::Citizen;
use popgate_demo::register::demo::HOA;
use popgate_policy::bundle::Bundle;
use popgate_policy::contract::{RequestParts, Route};
use popgate_policy::disclose::cursor::CursorKey;
use popgate_policy::disclose::{PseudonymKey, Raw, Secrets};
use popgate_policy::model::DisclosureId;
use popgate_policy::permit::{Ask, Env, Permit};

fn benches(criterion: &mut Criterion) {
    let source = bundle_files::read(&reference_bundle()).unwrap();
    let bundle = Bundle::load(&source).unwrap().bundle;
    let raw = Raw::seal(Bytes::from(Citizen::of(HOA.number).unwrap().to_json()));
    let secrets = Secrets { pseudonyms: PseudonymKey::new([7; 32]), cursors: CursorKey::new([8; 32]) };
    let body =
        format!(r#"{{"id":"{}","full_name":"{}","date_of_birth":"{}"}}"#, HOA.number, HOA.full_name, HOA.date_of_birth);
    for (system, purpose) in [
        ("tax/etax", "assessment"),
        ("ha-noi/portal", "residence-management"),
        ("hospital-north/his", "treatment"),
        ("telecom-a/crm", "subscriber-verification"),
    ] {
        let ask = || decide(&bundle, system, purpose, body.as_bytes());
        criterion
            .bench_function(&format!("arguments and decide, {system}"), |bencher| bencher.iter(|| black_box(ask())));
        criterion.bench_function(&format!("open, {system}"), |bencher| {
            bencher.iter_batched(
                ask,
                |permit| black_box(permit.open(&raw, &secrets)),
                criterion::BatchSize::SmallInput,
            );
        });
    }
    criterion.bench_function("load the reference bundle", |bencher| bencher.iter(|| Bundle::load(&source).is_ok()));
}

fn decide(bundle: &Bundle, system: &str, purpose: &str, body: &[u8]) -> Permit {
    let Route::Operation(operation, captures) = bundle.contracts().route("POST", "/population/v1/citizens/lookup")
    else {
        panic!("no such operation")
    };
    let arguments = operation.arguments(RequestParts { captures: &captures, query: "", body }).unwrap();
    let system = bundle.directory().systems().iter().find(|known| known.id.as_str() == system).unwrap();
    let env = Env {
        date: date(2026, 1, 1),
        hour: 9,
        minute: 0,
        source: [127, 0, 0, 1].into(),
        claimed_assurance: None,
        claimed_user: false,
        claimed_case: false,
    };
    let purpose = bundle.directory().purpose(purpose).unwrap();
    let disclosure = DisclosureId::from_random(1);
    let ask = Ask {
        disclosure,
        system,
        operation: &Arc::clone(operation),
        purpose,
        arguments,
        env,
        cursors: &CursorKey::new([8; 32]),
        seals: None,
    };
    bundle.decide(ask).unwrap()
}

criterion_group!(all, benches);
criterion_main!(all);
