//! What the population service promises, whether it computes its records or reads them from a database.

use std::collections::HashSet;

use hyper::{Method, StatusCode, header};
use popgate_demo::register::{Citizen, Number, demo, portrait};
use serde_json::{Value, json};

use crate::served::{Answer, Client};

/// Asks everything. `everybody` are all citizens that there are, if that can be said.
pub(crate) async fn answers(client: &mut Client, numbers: impl Iterator<Item = Number>, everybody: Option<&[Citizen]>) {
    let there = everybody.map(|everybody| everybody.iter().map(|citizen| citizen.id).collect::<HashSet<_>>());
    for number in demo::ALL.into_iter().map(|known| known.number).chain(numbers) {
        record(client, number).await;
        household(client, number).await;
        picture(client, number).await;
    }
    for nobody in ["000000000000", "001187999999", "999999999999"] {
        for part in ["", "/household", "/portrait"] {
            let answer = get(client, &format!("/persons/{nobody}{part}")).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{nobody}{part}");
            assert_eq!(answer.headers[header::CONTENT_TYPE], "application/problem+json");
        }
    }
    for known in demo::ALL {
        let born = known.date_of_birth;
        let lives = Citizen::of(known.number).unwrap().permanent_residence;
        let query = format!("date_of_birth={born}&province_code={}", lives.province_code);
        let here = |citizen: &Citizen| {
            citizen.date_of_birth == born && citizen.permanent_residence.province_code == lives.province_code
        };
        let expected = everybody.map(|all| all.iter().filter(|citizen| here(citizen)).cloned().collect::<Vec<_>>());
        search(client, &query, known, expected).await;
    }
    if let Some(there) = there {
        // Relatives of whole households are there.
        for known in demo::ALL {
            let citizen = Citizen::of(known.number).unwrap();
            let relatives = [&citizen.father, &citizen.mother, &citizen.spouse].into_iter().flatten();
            assert!(relatives.map(|relative| relative.id).chain(citizen.children_ids).all(|id| there.contains(&id)));
        }
    }
    refusals(client).await;
}

async fn record(client: &mut Client, number: Number) {
    let first = client.person(number, &[]).await;
    assert_eq!(first.status, StatusCode::OK);
    assert_eq!(first.body, Citizen::of(number).unwrap().to_json(), "not the same bytes");
    assert_eq!(first.headers[header::CONTENT_TYPE], "application/json");
    unchanged(client, &format!("/persons/{number}"), &first).await;
}

/// By what the records of the members say, and not by how households are computed.
async fn household(client: &mut Client, number: Number) {
    let path = format!("/persons/{number}/household");
    let answer = get(client, &path).await;
    assert_eq!(answer.status, StatusCode::OK);
    let own = Citizen::of(number).unwrap();
    let relatives = |citizen: &Citizen| {
        let pointers = [&citizen.father, &citizen.mother, &citizen.spouse].into_iter().flatten();
        let ids: Vec<Number> = pointers.map(|relative| relative.id).chain(citizen.children_ids.clone()).collect();
        ids.into_iter().filter_map(Citizen::of).filter(|other| other.household.id == own.household.id)
    };
    // Siblings are children of a parent.
    let mut members: Vec<Citizen> = vec![own.clone()];
    for relative in relatives(&own).flat_map(|relative| relatives(&relative).chain([relative]).collect::<Vec<_>>()) {
        if !members.iter().any(|member| member.id == relative.id) {
            members.push(relative);
        }
    }
    let json: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(json.as_object().unwrap().keys().collect::<Vec<_>>(), ["id", "address", "members"]);
    assert_eq!((&json["id"], &json["address"]), (&json!(own.household.id), &json!(own.permanent_residence)));
    let ids = |members: &[Value]| members.iter().map(|member| member["id"].to_string()).collect::<HashSet<_>>();
    let expected: Vec<Value> = members.iter().map(|member| json!(member)).collect();
    let shown = json["members"].as_array().unwrap();
    assert_eq!((shown.len(), ids(shown)), (expected.len(), ids(&expected)));
    assert!(expected.iter().all(|member| shown.contains(member)));
    unchanged(client, &path, &answer).await;
}

async fn picture(client: &mut Client, number: Number) {
    let path = format!("/persons/{number}/portrait");
    let answer = get(client, &path).await;
    assert_eq!(
        (answer.status, &answer.headers[header::CONTENT_TYPE].to_str().unwrap()),
        (StatusCode::OK, &"image/jpeg")
    );
    assert_eq!(answer.body, portrait::jpeg(number));
    assert!(answer.body.starts_with(&[0xff, 0xd8]) && answer.body.ends_with(&[0xff, 0xd9]));
    unchanged(client, &path, &answer).await;
}

async fn search(client: &mut Client, query: &str, known: demo::Known, expected: Option<Vec<Citizen>>) {
    let all = pages(client, &format!("{query}&limit=100")).await;
    assert!(all.iter().any(|item| item["id"] == known.number.to_string()), "{query}");
    assert!(all.windows(2).all(|pair| pair[0]["id"].as_str() < pair[1]["id"].as_str()));
    for item in all.iter().take(5) {
        let number: Number = item["id"].as_str().unwrap().parse().unwrap();
        assert_eq!(*item, json!(Citizen::of(number).unwrap()));
    }
    if let Some(mut expected) = expected {
        expected.sort_by_key(|citizen| citizen.id);
        assert_eq!(all, expected.iter().map(|citizen| json!(citizen)).collect::<Vec<_>>());
    }
    let key = |item: &Value| (item["full_name"].as_str().unwrap().to_owned(), item["id"].as_str().unwrap().to_owned());
    let mut by_name = all.clone();
    by_name.sort_by_key(key);
    assert_eq!(pages(client, &format!("{query}&sort=full_name&limit=7")).await, by_name);
    assert_eq!(pages(client, &format!("{query}&sort=date_of_birth&limit=41")).await, all);
    let of = |name: &str, value: &str| -> Vec<Value> {
        let at = if name == "ward" { "/permanent_residence/ward".to_owned() } else { format!("/{name}") };
        all.iter().filter(|item| item.pointer(&at).unwrap() == value).cloned().collect()
    };
    let citizen = Citizen::of(known.number).unwrap();
    for (name, value) in [
        ("sex", "male"),
        ("sex", "female"),
        ("full_name", known.full_name),
        ("ward", &citizen.permanent_residence.ward),
        ("full_name", "Nobody"),
    ] {
        let encoded: String = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
        assert_eq!(pages(client, &format!("{query}&{name}={encoded}&limit=3")).await, of(name, value), "{name}");
    }
    assert!(of("full_name", known.full_name).iter().any(|item| item["id"] == known.number.to_string()));
}

/// Everything that the pages of a query hold, one after the other.
async fn pages(client: &mut Client, query: &str) -> Vec<Value> {
    let (mut items, mut cursor) = (Vec::new(), String::new());
    loop {
        let answer = get(client, &format!("/persons?{query}{cursor}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{query}{cursor}");
        let page: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(page.as_object().unwrap().keys().collect::<Vec<_>>(), ["items", "total", "next"]);
        items.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => {
                assert_eq!(items.len() as u64, page["total"].as_u64().unwrap(), "{query}");
                return items;
            }
        }
    }
}

async fn refusals(client: &mut Client) {
    let hoa = "date_of_birth=1987-03-14&province_code=001";
    let page: Value = serde_json::from_slice(&get(client, &format!("/persons?{hoa}&limit=1")).await.body).unwrap();
    let next = page["next"].as_str().map(str::to_owned);
    let forged = next.as_ref().map(|next| format!("{}000000000000", &next[..next.len() - 12]));
    let mut wrong = vec![
        (String::new(), "date_of_birth"),
        (format!("{hoa}&limit=1000"), "limit"),
        (format!("{hoa}&full_name=x&full_name=y"), "twice"),
        (format!("{hoa}&phone=0912345678"), "unknown"),
    ];
    wrong.extend(next.map(|next| (format!("{hoa}&sort=full_name&cursor={next}"), "cursor")));
    wrong.extend(forged.map(|forged| (format!("{hoa}&cursor={forged}"), "cursor")));
    for (query, told) in wrong {
        let answer = get(client, &format!("/persons?{query}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
        assert_eq!(answer.headers[header::CONTENT_TYPE], "application/problem+json");
        let detail = serde_json::from_slice::<Value>(&answer.body).unwrap()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(told) && !detail.contains("0912345678"), "{query}: {detail}");
    }
    let nobody = get(client, "/persons?date_of_birth=1987-03-14&province_code=999").await;
    assert_eq!(nobody.body, br#"{"items":[],"total":0,"next":null}"#);
}

async fn unchanged(client: &mut Client, path: &str, first: &Answer) {
    let etag = first.headers[header::ETAG].to_str().unwrap();
    let again = client.send(Method::GET, path, &[("if-none-match", etag)]).await.unwrap();
    assert_eq!((again.status, again.body.len()), (StatusCode::NOT_MODIFIED, 0));
    assert_eq!(first.headers[header::CACHE_CONTROL], "max-age=60");
    let key = |answer: &Answer| answer.headers["surrogate-key"].clone();
    assert_eq!(key(&again), key(first));
}

async fn get(client: &mut Client, path: &str) -> Answer {
    client.send(Method::GET, path, &[]).await.unwrap()
}
