//! What others' records say of sealed persons.

use popgate_demo::client::post;
use popgate_demo::register::demo::{HOA, HUSBAND, MINOR, SON};
use popgate_tests::refusal;
use serde_json::json;

use super::{ask, read, sealing};

#[tokio::test]
async fn a_reference_to_a_sealed_person_is_not_there_and_all_else_is() {
    let harness = sealing("", &[&HUSBAND, &SON]);
    let whole = ask(&harness, "tax/inspection", read(&HOA)).await.json();
    assert_eq!(whole["spouse"]["full_name"], HUSBAND.full_name);
    assert_eq!(whole["household"]["head_id"], HUSBAND.number.to_string());
    assert_eq!(whole["children_ids"], json!([SON.number.to_string(), MINOR.number.to_string()]));
    let shown = ask(&harness, "tax/etax", read(&HOA)).await.json();
    let mut expected = whole.clone();
    let members = expected.as_object_mut().unwrap();
    members.remove("spouse");
    members.remove("household");
    members.insert("children_ids".into(), json!([MINOR.number.to_string()]));
    assert_eq!(shown, expected);
    // Another's father, mother and representative.
    let minor = ask(&harness, "tax/etax", read(&MINOR)).await.json();
    assert_eq!((minor.get("father"), minor.get("legal_representative")), (None, None));
    assert_eq!(minor["mother"]["full_name"], HOA.full_name);
}

#[tokio::test]
async fn names_beside_a_number_go_with_it_and_claims_about_it_are_wrong() {
    let harness = sealing("", &[&HUSBAND]);
    let keys = json!({
        "id": HOA.number.to_string(), "full_name": HOA.full_name, "date_of_birth": HOA.date_of_birth.to_string(),
    });
    let lookup = || post("/civil-status/v1/marriages/lookup", Some("assessment"), &keys);
    let whole = ask(&harness, "tax/inspection", lookup()).await.json();
    assert_eq!(whole["spouse_id"], HUSBAND.number.to_string(), "{whole}");
    let shown = ask(&harness, "tax/etax", lookup()).await.json();
    let mut expected = whole.clone();
    for name in ["spouse_id", "spouse_full_name", "spouse_date_of_birth"] {
        assert!(expected.as_object_mut().unwrap().remove(name).is_some(), "{name}");
    }
    assert_eq!(shown, expected);
    let claims = json!({
        "id": HOA.number.to_string(), "full_name": HOA.full_name, "date_of_birth": HOA.date_of_birth.to_string(),
        "status": whole["status"], "spouse_id": HUSBAND.number.to_string(), "spouse_full_name": HUSBAND.full_name,
    });
    let verify = || post("/civil-status/v1/marriages/verify", Some("assessment"), &claims);
    let right = ask(&harness, "tax/inspection", verify()).await;
    assert_eq!(right.json(), json!({"status": true, "spouse_id": true, "spouse_full_name": true}));
    let wrong = ask(&harness, "tax/etax", verify()).await;
    assert_eq!(refusal(&wrong), "200 ");
    assert_eq!(wrong.json(), json!({"status": true, "spouse_id": false, "spouse_full_name": false}));
}
