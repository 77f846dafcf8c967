//! Promise: a node that has more to do than it can refuses early who asks too much, tells when to come again, and lets those alone who ask
//! little; a register that is asked as much as it can bear is not asked more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;
use popgate_demo::client::{Http, get, post};
use popgate_demo::deployment::Options;
use popgate_demo::register::demo::HOA;
use popgate_demo::register::{Fault, population};
use popgate_demo::scenario::{LOOKUP, keys_of_hoa, read_path};
use popgate_tests::made::edit;
use popgate_tests::{Harness, eventually, refusal};

#[tokio::test]
async fn who_floods_a_node_is_shed_and_who_asks_little_is_not() {
    let loud = "rate = \"200/s\", burst = 400, concurrent = 64 }";
    let unbounded = "rate = \"1000000/s\", concurrent = 4000 }";
    let harness = Arc::new(Harness::start_made(
        "[overload]\nmode = \"enforce\"\ntarget = \"1ms\"\n",
        |site| edit(site, "agencies/tax.toml", loud, unbounded),
        |config| config.cores = 1,
    ));
    let (over, shed, served) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut floods = Vec::new();
    for _ in 0..48 {
        let session = harness.client_over("tax/etax", Http::Two).connect().await.unwrap();
        let (over, shed, served) = (Arc::clone(&over), Arc::clone(&shed), Arc::clone(&served));
        floods.push(tokio::spawn(async move {
            let mut session = session;
            while !over.load(Ordering::Relaxed) {
                let answer = session.send(get(&read_path(HOA.number), None)).await.unwrap();
                match answer.status {
                    StatusCode::OK => served.fetch_add(1, Ordering::Relaxed),
                    _ => {
                        assert_eq!(refusal(&answer), "503 overloaded");
                        let wait: u64 = answer.headers.get("retry-after").unwrap().to_str().unwrap().parse().unwrap();
                        assert!((1..=20).contains(&wait), "{wait}");
                        shed.fetch_add(1, Ordering::Relaxed)
                    }
                };
            }
        }));
    }
    let mut quiet = harness.session("telecom-a/crm").await;
    let begun = Instant::now();
    let (mut asked, mut refused) = (0, 0);
    while begun.elapsed() < Duration::from_secs(6)
        || (shed.load(Ordering::Relaxed) == 0 && begun.elapsed() < Duration::from_secs(30))
    {
        let answer = quiet.send(post(LOOKUP, None, &keys_of_hoa())).await.unwrap();
        asked += 1;
        refused += u32::from(answer.status != StatusCode::OK);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    over.store(true, Ordering::Relaxed);
    for flood in floods {
        flood.await.unwrap();
    }
    let (shed, served) = (shed.load(Ordering::Relaxed), served.load(Ordering::Relaxed));
    assert!(shed > 0, "{served} served and none shed");
    assert!(served > 0, "what can be done is done");
    assert!(refused <= 1 + asked / 20, "{refused} of {asked} of a quiet agency's were refused");
    // When it is over, nothing is shed any more.
    let standing = || harness.deployment.gateway.node().overload.as_ref().unwrap().standing();
    eventually("the node is no longer overloaded", || !standing().overloaded).await;
    assert_eq!(refusal(&quiet.send(post(LOOKUP, None, &keys_of_hoa())).await.unwrap()), "200 ");
    assert!(harness.metric("popgate_overload_shed_total{class=\"interactive\"}").await >= shed);
}

#[tokio::test]
async fn a_register_is_asked_no_more_than_the_site_says() {
    let population = "limit = { most = 10 }".to_owned();
    let harness = Harness::start_options(&Options { population, ..Options::default() });
    let faults = &harness.deployment.register.faults;
    faults.set_everyone(Fault { delay_head: Some(Duration::from_secs(1)), ..Fault::default() });
    let mut waiting = Vec::new();
    // Interactive requests leave a tenth to emergencies.
    for n in 0..9 {
        let mut session = harness.session("tax/etax").await;
        let request = get(&read_path(population::citizen(n)), None);
        waiting.push(tokio::spawn(async move { session.send(request).await }));
    }
    eventually("all have reached the register", || faults.requests() == 9).await;
    let mut session = harness.session("tax/etax").await;
    let over = session.send(get(&read_path(population::citizen(100)), None)).await.unwrap();
    assert_eq!(refusal(&over), "503 register_busy");
    assert_eq!(over.headers.get("proxy-status").unwrap(), "popgate; error=connection_limit_reached");
    for task in waiting {
        assert_eq!(task.await.unwrap().unwrap().status, StatusCode::OK);
    }
    assert_eq!(refusal(&session.send(get(&read_path(population::citizen(100)), None)).await.unwrap()), "200 ");
    assert_eq!(harness.metric("popgate_upstream_requests_total{outcome=\"busy\",register=\"population\"}").await, 1);
}
