//! What orders, signatures and the ledger come to, without files of a site.

use super::*;
use crate::audit::Action;
use crate::signed::{KeyError, Keys, PublicKey, SigningKey};

pub(super) fn order() -> Order {
    Order {
        id: "flood-hue-1".into(),
        site: "pop-hn-1".into(),
        purpose: "disaster-response".into(),
        systems: vec!["health/registry".into()],
        from: "2026-11-22T00:00:00Z".parse().unwrap(),
        until: "2026-11-22T04:00:00Z".parse().unwrap(),
        reason: "lũ ở Huế".into(),
        case: "PCTT-12".into(),
    }
}

fn entry() -> Entry {
    let sealed = Sealed::unsigned(order());
    let activated = Deed { by: "linh".into(), at: order().from, why: String::new() };
    let (digest, signed_by) = (sealed.digest(), vec!["an".into(), "binh".into()]);
    Entry { order: order(), digest, signed_by, activated, ended: None, reviewed: None }
}

fn ledger(entry: Entry) -> Ledger {
    Ledger { orders: [(entry.order.id.clone(), entry)].into() }
}

#[test]
fn an_order_is_read_strictly() {
    let good = String::from_utf8(order().to_payload()).unwrap();
    assert_eq!(Order::parse(good.as_bytes()), Ok(order()));
    let long = "x".repeat(301);
    for (old, new, says) in [
        ("\"id\":", "\"extra\":1,\"id\":", "unknown field `extra`"),
        ("\"id\":", "\"site\":\"a\",\"id\":", "duplicate field `site`"),
        ("flood-hue-1", "../ledger", "`id` that cannot be one"),
        ("flood-hue-1", "", "`id` that cannot be one"),
        ("[\"health/registry\"]", "[]", "must name 1 to 64 systems"),
        ("[\"health/registry\"]", "[\"a/b\",\"a/b\"]", "names a system twice"),
        ("04:00:00Z", "00:00:00Z", "before it begins"),
        ("lũ ở Huế", &long, "`reason` that is too long"),
        ("PCTT-12", "a\\u0007b", "`case` that holds a control character"),
        ("pop-hn-1", " ", "`site` that is empty"),
    ] {
        assert!(good.contains(old), "{old}");
        let error = Order::parse(good.replacen(old, new, 1).as_bytes()).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn a_signature_counts_once_whatever_it_is_called_and_only_over_its_own_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let make = |name: &str| SigningKey::make(name, &dir.path().join(format!("{name}.key"))).unwrap();
    let (an, binh, stranger) = (make("an"), make("binh"), make("stranger"));
    let mut keys = Keys::default();
    keys.add("an", an.public()).unwrap();
    keys.add("binh", binh.public()).unwrap();
    assert_eq!(keys.add("an-again", an.public()), Err("an".to_owned()));
    let read = SigningKey::read("binh", &dir.path().join("an.key")).unwrap();
    assert_eq!(read.public(), an.public());

    let mut sealed = Sealed::unsigned(order());
    assert_eq!(sealed.envelope().signers(&keys), (vec![], 0));
    sealed.sign(&an).unwrap();
    // The same key by another's name: the name is only a hint.
    sealed.sign(&read).unwrap();
    sealed.sign(&stranger).unwrap();
    assert_eq!(sealed.envelope().signers(&keys), (vec!["an".to_owned()], 1));
    sealed.sign(&binh).unwrap();
    assert_eq!(sealed.envelope().signers(&keys), (vec!["an".to_owned(), "binh".to_owned()], 1));
    // Other bytes under the same signatures.
    let other = Sealed::unsigned(Order { systems: vec!["bank-a/ekyc".into()], ..order() });
    let (text, other) = (sealed.to_json(), other.to_json());
    let payload = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["payload"].to_string();
    let forged = Sealed::parse(text.replace(&payload(&text), &payload(&other)).as_bytes()).unwrap();
    assert_eq!(forged.order().systems, ["bank-a/ekyc"]);
    assert_eq!(forged.envelope().signers(&keys), (vec![], 3));
}

#[test]
fn a_private_key_is_its_owners_alone_and_never_overwritten_nor_printed() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("an.key");
    let key = SigningKey::make("an", &file).unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(SigningKey::make("an", &file), Err(KeyError::Exists(_))));
    assert_eq!(format!("{key:?}"), "<private key of an>");
    assert_eq!(PublicKey::parse(&key.public().to_string()), Some(key.public()));
    assert!(matches!(SigningKey::make("An", &dir.path().join("x")), Err(KeyError::Name(_))));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(SigningKey::read("an", &file).unwrap_err().to_string().contains("chmod 600"));
}

#[test]
fn what_one_ledger_says_ended_is_ended() {
    let (open, deed) = (ledger(entry()), Deed::unknown(order().until, "x"));
    let ended = ledger(Entry { ended: Some(deed.clone()), ..entry() });
    for (mut one, other) in [(open.clone(), ended.clone()), (ended.clone(), open.clone())] {
        one.join(&other);
        assert_eq!(one, ended);
    }
    let mut none = Ledger::default();
    none.join(&ended);
    assert_eq!(none, ended);
    let reviewed = ledger(Entry { ended: Some(deed.clone()), reviewed: Some(deed), ..entry() });
    let said = |action: &Action| format!("{} {} {}", action.what, action.by, action.target);
    let since = |before: &Ledger| reviewed.actions_since(before).iter().map(said).collect::<Vec<_>>();
    let target = "order flood-hue-1: disaster-response to health/registry";
    let all = ["activate linh", "end unknown", "review unknown"].map(|what| format!("break-glass-{what} {target}"));
    assert_eq!(since(&Ledger::default()), all);
    assert_eq!(since(&open), all[1..]);
    assert_eq!(since(&reviewed), [""; 0]);
}

#[test]
fn time_ends_an_order_at_its_very_end() {
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let mut entry = entry();
    assert_eq!(entry.stage(at("2026-11-21T23:59:59.999Z")), Stage::Waiting);
    assert_eq!(entry.stage(at("2026-11-22T00:00:00Z")), Stage::InForce);
    assert_eq!(entry.stage(at("2026-11-22T03:59:59.999Z")), Stage::InForce);
    assert_eq!(entry.stage(at("2026-11-22T04:00:00Z")), Stage::Ended);
    assert!(entry.is_lapsed(at("2026-11-22T04:00:00Z")) && !order().covers(at("2026-11-22T04:00:00Z")));
    entry.lapse();
    assert_eq!(entry.ended.as_ref().map(|deed| (deed.by.as_str(), deed.at)), Some((TIME, order().until)));
    // Also if the clock goes back.
    assert_eq!(entry.stage(at("2026-11-22T01:00:00Z")), Stage::Ended);
}
