//! Promise: who does not know a person's keys learns nothing, not even whether there is such a person; and who guesses is counted.

use std::collections::HashMap;
use std::time::Duration;

use http::{HeaderMap, Request, StatusCode};
use http_body_util::Full;
use popgate::audit::NoMatch;
use popgate::audit::read::{entries, verify};
use popgate::audit::{Ended, What};
use popgate_demo::client::{Answer, Http, get, post};
use popgate_demo::register::demo::{HOA, HUSBAND, Known, MINOR, RESIDENT_OF_079, SON};
use popgate_demo::register::{Citizen, Fault, population};
use popgate_demo::scenario::{LOOKUP, VERIFY, read_path};
use popgate_tests::{Harness, eventually, refusal};
use serde_json::{Value, json};

/// Why somebody gets the answer "no match".
#[derive(Clone, Copy, PartialEq, Debug)]
enum Why {
    Unknown,
    WrongName,
    WrongDate,
    BothWrong,
    Hidden,
    Throttled,
}

const EVERY: [Why; 6] = [Why::Unknown, Why::WrongName, Why::WrongDate, Why::BothWrong, Why::Hidden, Why::Throttled];

impl Why {
    /// What the log says, and it alone.
    fn recorded(self) -> NoMatch {
        match self {
            Self::Unknown => NoMatch::Unknown,
            Self::WrongName | Self::WrongDate | Self::BothWrong => NoMatch::Guard,
            Self::Hidden => NoMatch::Hidden,
            Self::Throttled => NoMatch::Throttled,
        }
    }

    fn keys(self, person: &Citizen) -> Value {
        let mut keys = keys_of(person);
        let mut set = |name: &str, value: &str| keys[name] = json!(value);
        match self {
            // No province has that code.
            Self::Unknown => set("id", &format!("999{}", &person.id.to_string()[3..])),
            Self::WrongName => set("full_name", "Trần Văn Sai"),
            Self::WrongDate => set("date_of_birth", "1901-01-01"),
            Self::BothWrong => {
                set("full_name", "Trần Văn Sai");
                set("date_of_birth", "1901-01-01");
            }
            Self::Hidden | Self::Throttled => {}
        }
        keys
    }
}

#[tokio::test]
async fn no_match_is_one_answer_whatever_the_reason_and_only_the_log_knows_it() {
    const PER_SUBJECT: usize = 4;
    let harness = Harness::start_with(&format!("[guesses]\nper_subject = {PER_SUBJECT}\n"));
    let faults = &harness.deployment.register.faults;
    let mut residents = residents_of("001");
    let mut elsewhere = residents_of("079");
    let mut reasons = HashMap::new();
    let mut seen = Vec::new();
    for http in [Http::One, Http::Two] {
        let mut session = harness.client_over("ha-noi/portal", http).connect().await.unwrap();
        for why in EVERY {
            let person = if why == Why::Hidden { elsewhere.next() } else { residents.next() }.unwrap();
            if why == Why::Throttled {
                let mut guesser = harness.session("tax/etax").await;
                for _ in 0..PER_SUBJECT {
                    let guess = guesser.send(lookup("assessment", &Why::WrongDate.keys(&person))).await.unwrap();
                    assert_eq!(refusal(&guess), "404 no_match");
                }
            }
            // The register is asked each time, whatever is stored by then: time must not tell either.
            for cached in [false, true] {
                let asked = faults.requests();
                let answer = session.send(lookup("residence-management", &why.keys(&person))).await.unwrap();
                assert_eq!(faults.requests() - asked, 1, "{why:?}");
                assert_eq!(refusal(&answer), "404 no_match", "{why:?} over {http:?}");
                reasons.insert(request_id(&answer), why);
                seen.push((why, http, cached, answer));
            }
        }
    }
    let (_, _, _, first) = &seen[0];
    for (why, http, cached, answer) in &seen {
        let which = format!("{why:?} over {http:?}, cached {cached}");
        assert_eq!(answer.body, first.body, "{which}");
        assert_eq!(told_apart_by(&answer.headers), told_apart_by(&first.headers), "{which}");
    }

    // Each went through the same stages: one intent, equally wide, and one closing, with the reason.
    let dir = harness.deployment.site.audit();
    eventually("every closing is written", || verify(&dir).unwrap().open == 0).await;
    let mut intents: HashMap<String, Vec<_>> = HashMap::new();
    let mut closings: HashMap<String, Vec<_>> = HashMap::new();
    for entry in entries(&dir, None).unwrap().map(Result::unwrap) {
        match entry.what {
            What::Intent(intent) => intents.entry(intent.disclosure.to_string()).or_default().push(intent),
            What::Closing(closing) => {
                closings.entry(closing.disclosure.unwrap().to_string()).or_default().push(closing.outcome);
            }
            other @ (What::Refused(_) | What::Action(_)) => panic!("{other:?}"),
        }
    }
    let widest = intents[&request_id(first)][0].fields;
    for (id, why) in &reasons {
        assert_eq!(intents[id].len(), 1, "{why:?}");
        assert_eq!(intents[id][0].fields, widest, "{why:?}");
        assert_eq!(closings[id], [Ended::NoMatch(why.recorded())], "{why:?}");
    }
}

#[tokio::test]
async fn names_are_compared_as_people_write_them_and_nothing_else_is_forgiven() {
    let harness = Harness::start();
    let mut session = harness.session("tax/etax").await;
    let mut ask = async |name: &str| {
        let keys = json!({"id": RESIDENT_OF_079.number.to_string(), "full_name": name, "date_of_birth": "1975-08-22"});
        refusal(&session.send(lookup("assessment", &keys)).await.unwrap())
    };
    for right in [
        "Nguyễn Văn Đông",
        // Decomposed, and partly so.
        "Nguye\u{302}\u{303}n Va\u{306}n Đo\u{302}ng",
        "Nguy\u{ea}\u{303}n V\u{103}n Đ\u{f4}ng",
        "NGUYỄN VĂN ĐÔNG",
        "nguyễn văn đông",
        "  Nguyễn  Văn\u{a0}Đông ",
        "Nguyen Van Dong",
        "NGUYEN  VAN  DONG",
    ] {
        assert_eq!(ask(right).await, "200 ", "{right:?}");
    }
    for wrong in ["Nguyễn Đông", "Nguyễn Văn Đôn", "NguyễnVăn Đông", "Đông Văn Nguyễn", "Nguyễn Văn Bông", "."]
    {
        assert_eq!(ask(wrong).await, "404 no_match", "{wrong:?}");
    }
}

#[tokio::test]
async fn verify_answers_each_claim_and_nothing_if_none_is_right() {
    let harness = Harness::start();
    let mut session = harness.session("bank-a/ekyc").await;
    let mut ask = async |claims: Value| {
        let mut body = claims;
        body["id"] = json!(HOA.number.to_string());
        session.send(post(VERIFY, Some("e-kyc"), &body)).await.unwrap()
    };
    let (name, date, phone) = (HOA.full_name, "1987-03-14", "0912345678");
    for (claims, answered) in [
        (json!({"full_name": name}), json!({"full_name": true})),
        (json!({"full_name": "LE THI HOA", "phone": phone}), json!({"full_name": true, "phone": true})),
        (
            json!({"date_of_birth": date, "phone": "0900000000", "sex": "male", "permanent_residence_province": "ha noi"}),
            json!({"date_of_birth": true, "phone": false, "sex": false, "permanent_residence_province": true}),
        ),
    ] {
        assert_eq!(ask(claims).await.json(), answered);
    }
    // One right is shown; none right, or none made, is the answer for nobody.
    let nobody = ask(json!({"full_name": "Trần Văn Sai", "phone": "0900000000"})).await;
    let none = ask(json!({})).await;
    let unknown =
        session.send(post(VERIFY, Some("e-kyc"), &json!({"id": "001187999999", "phone": phone}))).await.unwrap();
    for answer in [&nobody, &none, &unknown] {
        assert_eq!(refusal(answer), "404 no_match");
        assert_eq!((&answer.body, told_apart_by(&answer.headers)), (&nobody.body, told_apart_by(&nobody.headers)));
    }
}

#[tokio::test]
async fn failed_guesses_about_a_person_count_over_all_agencies_and_then_the_truth_is_not_believed() {
    let harness = Harness::start_with("[guesses]\nper_subject = 3\n");
    let right = |known: &Known| keys_of(&Citizen::of(known.number).unwrap());
    let ask = async |system, request| harness.client(system).send(request).await.unwrap();
    let verify = |claims: &[(&str, &str)]| {
        let mut body = json!({"id": HOA.number.to_string()});
        claims.iter().for_each(|(name, value)| body[*name] = json!(value));
        post(VERIFY, Some("e-kyc"), &body)
    };
    // Two fail by two agencies; a wrong claim among right ones is the third.
    let wrong = Why::WrongDate.keys(&Citizen::of(HOA.number).unwrap());
    assert_eq!(refusal(&ask("telecom-a/crm", lookup("subscriber-verification", &wrong)).await), "404 no_match");
    assert_eq!(refusal(&ask("tax/etax", lookup("assessment", &wrong)).await), "404 no_match");
    let shown = ask("bank-a/ekyc", lookup("assessment", &right(&HOA))).await;
    assert_eq!(refusal(&shown), "403 purpose_not_enrolled", "a refusal is no guess");
    let partly = ask("bank-a/ekyc", verify(&[("full_name", HOA.full_name), ("phone", "0900000000")])).await;
    assert_eq!(partly.json(), json!({"full_name": true, "phone": false}));

    // From now on nobody who must know the keys is told anything, over any operation.
    let unknown = ask("tax/etax", lookup("assessment", &Why::Unknown.keys(&Citizen::of(HOA.number).unwrap()))).await;
    for answer in [
        ask("tax/etax", lookup("assessment", &right(&HOA))).await,
        ask("ha-noi/portal", lookup("residence-management", &right(&HOA))).await,
        ask("hospital-north/his", lookup("treatment", &right(&HOA))).await,
        ask("bank-b/ekyc", verify(&[("full_name", HOA.full_name)])).await,
        ask("tax/etax", lookup("assessment", &wrong)).await,
    ] {
        // Which view and which limits are whose is no secret of the person's.
        let told = |headers| {
            let mut headers = told_apart_by(headers);
            headers.remove("gateway-view").unwrap();
            headers.remove("ratelimit-policy").unwrap();
            headers
        };
        assert_eq!((&answer.body, told(&answer.headers)), (&unknown.body, told(&unknown.headers)));
    }
    // Other persons, and those who need no keys, are not affected.
    assert_eq!(ask("tax/etax", lookup("assessment", &right(&HUSBAND))).await.status, StatusCode::OK);
    assert_eq!(ask("tax/etax", get(&read_path(HOA.number), Some("assessment"))).await.status, StatusCode::OK);
    assert_eq!(harness.metric("popgate_guesses_throttled_total").await, 5);
}

#[tokio::test]
async fn failed_guesses_of_an_agency_count_over_all_persons_and_systems() {
    let harness = Harness::start_with("[guesses]\nper_agency = 3\n");
    let ask = async |system, purpose, known: &Known, why: Why| {
        let keys = why.keys(&Citizen::of(known.number).unwrap());
        refusal(&harness.client(system).send(lookup(purpose, &keys)).await.unwrap())
    };
    let right = Why::Throttled;
    assert_eq!(ask("tax/etax", "assessment", &SON, right).await, "200 ");
    for (system, known) in [("tax/etax", &HOA), ("tax/inspection", &HUSBAND), ("tax/etax", &MINOR)] {
        assert_eq!(ask(system, "assessment", known, Why::WrongName).await, "404 no_match");
    }
    for system in ["tax/etax", "tax/inspection"] {
        assert_eq!(ask(system, "assessment", &SON, right).await, "404 no_match", "{system}");
    }
    for (system, purpose, known) in
        [("telecom-a/crm", "subscriber-verification", &HOA), ("ha-noi/portal", "residence-management", &SON)]
    {
        assert_eq!(ask(system, purpose, known, right).await, "200 ", "{system}");
    }
}

#[tokio::test]
async fn guesses_made_all_at_once_are_answered_no_more_often_than_one_by_one() {
    let harness = Harness::start_with("[guesses]\nper_subject = 3\n");
    // All of them wait for one fetch, and come to their answers together.
    let slow = Fault { delay_head: Some(Duration::from_secs(1)), ..Fault::default() };
    harness.deployment.register.faults.set(HOA.number, slow);
    let mut guesses = Vec::new();
    for n in 0..20 {
        let mut session = harness.client("bank-a/ekyc").connect().await.unwrap();
        // Each would be told that the name is right and the phone is not.
        let claims =
            json!({"id": HOA.number.to_string(), "full_name": HOA.full_name, "phone": format!("09000000{n:02}")});
        guesses.push(tokio::spawn(async move { session.send(post(VERIFY, Some("e-kyc"), &claims)).await.unwrap() }));
    }
    let mut answered = 0;
    for guess in guesses {
        answered += usize::from(guess.await.unwrap().status == StatusCode::OK);
    }
    assert_eq!(answered, 3);
}

fn lookup(purpose: &str, keys: &Value) -> Request<Full<bytes::Bytes>> {
    post(LOOKUP, Some(purpose), keys)
}

fn keys_of(person: &Citizen) -> Value {
    json!({
        "id": person.id.to_string(),
        "full_name": person.full_name,
        "date_of_birth": person.date_of_birth.to_string(),
    })
}

/// Citizens who live there.
fn residents_of(province: &'static str) -> impl Iterator<Item = Citizen> {
    let citizens = (0..population::size()).filter_map(|n| Citizen::of(population::citizen(n)));
    citizens.filter(move |citizen| citizen.permanent_residence.province_code == province)
}

fn request_id(answer: &Answer) -> String {
    answer.headers["gateway-request-id"].to_str().unwrap().to_owned()
}

/// The headers without the two that differ from answer to answer.
fn told_apart_by(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    headers.remove("gateway-request-id").unwrap();
    headers.remove("date").unwrap();
    headers.remove("ratelimit");
    headers
}

/// A stored record is not found sooner, nor while the register fails: both would tell that there is such a person.
#[tokio::test]
async fn a_wrong_guess_about_a_stored_record_asks_the_register_as_one_about_nobody_does() {
    let harness = Harness::start();
    let faults = &harness.deployment.register.faults;
    let person = Citizen::of(HOA.number).unwrap();
    let mut session = harness.session("tax/etax").await;
    let stored = session.send(get(&read_path(HOA.number), Some("assessment"))).await.unwrap();
    assert_eq!(refusal(&stored), "200 ");
    for why in [Why::WrongName, Why::Unknown] {
        for _ in 0..2 {
            let before = faults.requests();
            let answer = session.send(post(LOOKUP, Some("assessment"), &why.keys(&person))).await.unwrap();
            assert_eq!((refusal(&answer), faults.requests() - before), ("404 no_match".into(), 1), "{why:?}");
        }
    }
    faults.set_everyone(Fault { status: Some(StatusCode::SERVICE_UNAVAILABLE), ..Fault::default() });
    for why in [Why::WrongName, Why::Unknown] {
        let answer = session.send(post(LOOKUP, Some("assessment"), &why.keys(&person))).await.unwrap();
        assert_eq!(refusal(&answer), "503 register_unavailable", "{why:?}");
    }
    // Who knows the keys is still answered out of the cache.
    let answer = session.send(post(LOOKUP, Some("assessment"), &keys_of(&person))).await.unwrap();
    assert_eq!(refusal(&answer), "200 ");
}
