//! Promise: what broke once does not break again. Each test is named after what broke.

use std::thread;

use popgate_tests::Harness;

#[test]
fn of_two_reloads_at_once_none_is_lost_and_each_has_its_own_generation() {
    let harness = Harness::start();
    let node = harness.deployment.gateway.node();
    let before = node.trust().generation();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..5).for_each(|_| node.reload_trust().unwrap()));
        }
    });
    assert_eq!(node.trust().generation(), before + 20);
}
