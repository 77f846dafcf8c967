//! What takes long asks again.

use popgate_demo::register::{Citizen, population};
use popgate_tests::made::edit;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

/// Somebody's number, name and birth date.
fn line(n: u64) -> String {
    let record: Value = serde_json::from_slice(&Citizen::of(population::citizen(n)).unwrap().to_json()).unwrap();
    json!({"id": record["id"], "full_name": record["full_name"], "date_of_birth": record["date_of_birth"]}).to_string()
}

#[tokio::test]
async fn a_bulk_request_ends_with_the_order_that_it_came_under() {
    let signers = Signers::new();
    // Lists sent at once, too: as a site's bundle might.
    let site = |site: &Site| {
        let (one, both) =
            ("Action::\"citizen.lookup\", Action::\"household.read\"", "Action::\"citizen.lookup.bulk\", ");
        edit(site, "policies/rescue.cedar", one, &format!("{both}{one}"));
    };
    let harness = Harness::start_made(&signers.settings, site, |_| {});
    let operators = Operators::of(&harness);
    let order = signers.signed("wave", &[]);
    assert!(operators.glass("hanh", &["activate", order.to_str().unwrap()]).0);
    let tls = harness.client("health/registry").connect_tls().await.unwrap();
    let (mut receive, mut send) = tokio::io::split(tls);
    let head = format!(
        "POST /population/v1/bulk/lookup HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\n\
         gateway-purpose: {PURPOSE}\r\ngateway-user: u\r\ngateway-case: c\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    send.write_all(head.as_bytes()).await.unwrap();
    let write = async |send: &mut tokio::io::WriteHalf<_>, n| {
        let line = line(n);
        send.write_all(format!("{:x}\r\n{line}\n\r\n", line.len() + 1).as_bytes()).await.is_ok()
    };
    assert!(write(&mut send, 0).await);
    let mut read = Vec::new();
    let answered = |read: &[u8]| String::from_utf8_lossy(read).matches("\"status\":200").count();
    while answered(&read) < 1 {
        assert!(receive.read_buf(&mut read).await.unwrap() > 0, "{}", String::from_utf8_lossy(&read));
    }
    assert!(operators.glass("hanh", &["end", "wave", "--reason", "over"]).0);
    write(&mut send, 1).await;
    write(&mut send, 2).await;
    while receive.read_buf(&mut read).await.is_ok_and(|count| count > 0) {}
    let said = String::from_utf8_lossy(&read);
    assert_eq!(answered(&read), 1, "{said}");
    assert!(!said.ends_with("0\r\n\r\n"), "nobody takes it for complete: {said}");
}
