//! What is taken of an order, what is refused, and that no text about it holds a number.

use serde_json::json;

use super::*;

const NUMBER: &str = "000187000001";

fn order(body: &str) -> Result<Order, OrderError> {
    let known = ["land", "population"].map(RegisterId::new);
    Order::parse(body.as_bytes(), known.iter())
}

fn key() -> AuditKey {
    AuditKey::new([7; 32])
}

#[test]
fn each_thing_that_can_be_purged_is_read() {
    let register = || RegisterId::new("population");
    for (body, what) in [
        (json!({"subject": NUMBER}), What::Subject(Personal::new(NUMBER.to_owned()))),
        (
            json!({"register": "population", "tag": "province-79"}),
            What::Tag { register: register(), tag: "province-79".into() },
        ),
        (
            json!({"register": "population", "target": "/v1/citizens/000187000001?x=1"}),
            What::Request { register: register(), target: Personal::new("/v1/citizens/000187000001?x=1".into()) },
        ),
        (json!({"register": "population"}), What::Register(register())),
        (json!({"all": true}), What::All),
    ] {
        for soft in [None, Some(false), Some(true)] {
            let mut body = body.clone();
            body["reason"] = "đã sửa, INC-81".into();
            if let Some(soft) = soft {
                body["soft"] = soft.into();
            }
            let found = order(&body.to_string()).unwrap();
            assert!(
                found.what == what && found.soft == (soft == Some(true)) && found.reason == "đã sửa, INC-81",
                "{body}"
            );
        }
    }
}

/// A body, and how the refusal begins.
const REFUSED: &[(&str, &str)] = &[
    ("", "this is not JSON, from line 1 column 0 on"),
    (r#"{"subject": "000187000001""#, "this is not JSON, from line 1 column "),
    (r#""000187000001""#, "send a JSON object with `subject`, `register`"),
    ("[\"000187000001\"]", "send a JSON object with"),
    (r#"{"subjct": "000187000001", "reason": "r"}"#, "`subjct` is not known; there are `subject`, `register`"),
    (r#"{"000187000001": true, "reason": "r"}"#, "the member at 0 is not known"),
    (r#"{"subject": "000187000001", "subject": "2", "reason": "r"}"#, "`subject` stands there twice"),
    (r#"{"subject": 187000001, "reason": "r"}"#, "`subject` must be a text in quotes"),
    (r#"{"subject": "000187000001 ", "reason": "r"}"#, "`subject` is not one person's number"),
    (r#"{"subject": "", "reason": "r"}"#, "`subject` is not one person's number"),
    (r#"{"subject": "000187000001"}"#, "`reason` is missing"),
    (r#"{"subject": "000187000001", "reason": " "}"#, "`reason` is empty"),
    (r#"{"subject": "000187000001", "reason": "a\u0007b"}"#, "`reason` holds a control character"),
    (r#"{"subject": "000187000001", "reason": "r", "soft": "000187000001"}"#, "`soft` must be true or false"),
    (r#"{"subject": "000187000001", "reason": "wrong: 000187000001"}"#, "`reason` must name no person"),
    (r#"{"subject": "000187000001", "reason": "wrong: 0001 8700-0001"}"#, "`reason` must name no person"),
    (r#"{"subject": "B123", "reason": "of b-123"}"#, "`reason` must name no person"),
    (r#"{"register": "land", "reason": "000187000001"}"#, "`reason` must name no person"),
    (r#"{"register": "land", "target": "/p/AB-123456/x", "reason": "ab 123456"}"#, "`reason` must name no person"),
    (
        r#"{"register": "000187000001", "reason": "r"}"#,
        "`register` is none of this gateway's registers: `land`, `population`",
    ),
    (r#"{"tag": "t", "reason": "r"}"#, "`tag` needs the `register`"),
    (r#"{"register": "land", "tag": "a 000187000001", "reason": "r"}"#, "`tag` is not one tag"),
    (r#"{"register": "land", "tag": "a,b", "reason": "r"}"#, "`tag` is not one tag"),
    (r#"{"target": "/a", "reason": "r"}"#, "`target` needs the `register`"),
    (
        r#"{"register": "land", "target": "v1/000187000001", "reason": "r"}"#,
        "`target` is not what a register is asked for",
    ),
    (r#"{"register": "land", "target": "/a b", "reason": "r"}"#, "`target` is not what a register is asked for"),
    (r#"{"register": "land", "tag": "t", "target": "/a", "reason": "r"}"#, "name one thing to purge"),
    (r#"{"subject": "000187000001", "all": true, "reason": "r"}"#, "name one thing to purge"),
    (r#"{"all": false, "reason": "r"}"#, "`all` is false"),
    (r#"{"reason": "r"}"#, "name one thing to purge"),
];

#[test]
fn what_is_refused_is_named_and_what_was_sent_is_not_repeated() {
    for (body, says) in REFUSED {
        let error = order(body).unwrap_err();
        let (shown, debug) = (error.to_string(), format!("{error:?}"));
        assert!(shown.starts_with(says), "{body}: {shown}");
        assert!(!shown.contains("0187000001") && !debug.contains("0187000001"), "{body}: {shown} {debug}");
    }
    let long = json!({"register": "land", "tag": "x".repeat(TAG_BYTES + 1), "reason": "r"}).to_string();
    assert!(order(&long).unwrap_err().to_string().starts_with("`tag` is not one tag"));
    let long = json!({"all": true, "reason": "x".repeat(301)}).to_string();
    assert_eq!(order(&long).unwrap_err().to_string(), "`reason` is too long; at most 300 characters");
}

#[test]
fn a_reason_may_hold_dates_and_tickets() {
    for reason in ["INC-20261", "2026/117, 2026-11-21", "CHG 12", "yêu cầu của người dân"] {
        let body = json!({"subject": NUMBER, "reason": reason}).to_string();
        assert!(order(&body).is_ok(), "{reason}");
    }
}

#[test]
fn the_audit_log_is_told_a_tag_and_never_a_number() {
    let named = |body: serde_json::Value| {
        let what = order(&body.to_string()).unwrap().what;
        assert!(!format!("{what:?}").contains("0187"), "{what:?}");
        [what.named(|| Some(key())), what.named(|| None)]
    };
    let tag = |text: &str| key().tag(text).to_string();
    let register = "population";
    assert_eq!(
        named(json!({"subject": NUMBER, "reason": "r"})),
        [format!("subject#{}", tag(NUMBER)), "subject".to_owned()],
    );
    let target = "/v1/citizens/000187000001";
    assert_eq!(
        named(json!({"register": register, "target": target, "reason": "r"})),
        [format!("request population#{}", tag(target)), "request population".to_owned()],
    );
    let both = |name: &str| [name.to_owned(), name.to_owned()];
    assert_eq!(
        named(json!({"register": register, "tag": "province-79", "reason": "r"})),
        both("tag population/province-79")
    );
    assert_eq!(
        named(json!({"register": register, "tag": "person-000187000001", "reason": "r"})),
        [format!("tag population#{}", tag("person-000187000001")), "tag population".to_owned()],
    );
    assert_eq!(named(json!({"register": register, "reason": "r"})), both("register population"));
    assert_eq!(named(json!({"all": true, "reason": "r"})), both("all"));
}

#[test]
fn changes_are_taken_whole_or_not_at_all() {
    let changes = Changes::parse(br#"{"subjects": ["1", "2"], "tags": ["a"]}"#).unwrap();
    assert!(!changes.soft);
    let register = RegisterId::new("population");
    let kinds: Vec<_> = changes.into_whats(&register).iter().map(|what| what.named(|| None)).collect();
    assert_eq!(kinds, ["subject", "subject", "tag population/a"]);
    assert!(Changes::parse(br#"{"tags": ["a"], "soft": true}"#).unwrap().soft);
    for (body, says) in [
        (r#"{"subjects": ["1", "000187000001 x"]}"#, "`subjects[1]` is not one person's number"),
        (r#"{"subjects": ["1", 187000001]}"#, "`subjects[1]` must be a text in quotes"),
        (r#"{"subjects": "000187000001"}"#, "`subjects` must be a list of texts"),
        (r#"{"subjects": ["1"], "tags": ["a", "b", "a 000187000001"]}"#, "`tags[2]` is not one tag"),
        (r#"{"subjects": ["1"], "soft": 1}"#, "`soft` must be true or false"),
        (r#"{"subject": "000187000001"}"#, "`subject` is not known; there are `subjects`, `tags`, `soft`"),
        (r#"{"subjects": [], "tags": []}"#, "nothing changed"),
        ("{}", "nothing changed"),
    ] {
        let error = Changes::parse(body.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(says) && !error.contains("0187000001"), "{body}: {error}");
    }
    let most = |count: usize| json!({ "subjects": vec![NUMBER; count], "tags": vec!["a"; count] }).to_string();
    assert_eq!(Changes::parse(most(MOST_CHANGES).as_bytes()).unwrap().into_whats(&register).len(), 2 * MOST_CHANGES);
    let error = Changes::parse(most(MOST_CHANGES + 1).as_bytes()).unwrap_err().to_string();
    assert_eq!(error, "`subjects` names more than 1000: send the rest in another request");
}
