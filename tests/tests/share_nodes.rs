//! Promise: two gateways that share limits let an agency have together what one would, say so when they cannot, and never let it have more
//! than that because Redis is gone.

use http::StatusCode;
use popgate::share::State;
use popgate_demo::client::{Answer, Session, post};
use popgate_demo::scenario::{LOOKUP, keys_of_hoa};
use popgate_tests::made::write;
use popgate_tests::{Harness, eventually, refusal};

use super::share::server::Server;

#[tokio::test]
async fn an_agency_s_limits_hold_over_both_nodes_and_over_the_loss_of_redis() {
    let mut redis = Server::start(&[]);
    let (first, second) = (node(&redis, "gateway-1"), node(&redis, "gateway-2"));
    for harness in [&first, &second] {
        eventually("the limits are shared", || share(harness).state() == State::Shared && share(harness).nodes() == 2)
            .await;
    }
    let mut sessions = [first.session("telecom-c/crm").await, second.session("telecom-c/crm").await];
    let shown = until_refused(&mut sessions).await;
    assert!((30..=41).contains(&shown), "both nodes: {shown} of 40");
    assert_eq!(first.metric("popgate_share_local").await, 0);

    redis.kill();
    eventually("the node knows that it is alone", || share(&first).state() != State::Shared).await;
    assert_eq!(first.metric("popgate_share_local").await, 1);
    // What was used stays used: no limit begins anew with a node's own share.
    let more = until_refused(&mut sessions).await;
    assert!(more <= 3, "{more} more without Redis");
    redis.again();
    eventually("the limits are shared again", || share(&first).state() == State::Shared).await;
    let more = until_refused(&mut sessions).await;
    assert!(more <= 3, "{more} more with an empty Redis");
}

fn share(harness: &Harness) -> &popgate::share::Share {
    harness.deployment.gateway.node().share().unwrap()
}

/// Both of these nodes have one agency that may ask forty times a day.
fn node(redis: &Server, name: &str) -> Harness {
    let settings = format!("[share]\nredis = \"{}\"\nnode = \"{name}\"\nnodes = 2\n", redis.url());
    let agency = "name = { vi = \"Viễn thông Mây Trắng\", en = \"May Trang Telecom\" }\nsector = \"telecom\"\nlevel = \"private\"\n\
         purposes = [\"subscriber-verification\"]\nlimits = { per_day = 40 }\n\
         [systems.crm]\nidentity = \"spiffe://gov.vn/telecom-c/crm\"\nlimits = { rate = \"1000/s\", burst = 2000 }\n";
    Harness::start_made(&settings, |site| write(site, "agencies/telecom-c.toml", agency), |_| {})
}

/// Asks both in turn until both have refused a few times in a row; how many were answered.
async fn until_refused(sessions: &mut [Session; 2]) -> u32 {
    let (mut shown, mut refused) = (0, 0);
    while refused < 40 {
        for session in sessions.iter_mut() {
            let answer: Answer = session.send(post(LOOKUP, None, &keys_of_hoa())).await.unwrap();
            match answer.status {
                StatusCode::OK => (shown, refused) = (shown + 1, 0),
                _ => {
                    // What is in hand may be on its way.
                    assert!(
                        ["429 quota_exceeded", "429 rate_exceeded"].contains(&&*refusal(&answer)),
                        "{}",
                        refusal(&answer)
                    );
                    refused += 1;
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                }
            }
        }
    }
    shown
}
