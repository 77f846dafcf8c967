//! A log that was changed.

use std::fs;

use popgate::audit::read;
use popgate_demo::client::{Http, get};
use popgate_demo::deployment::Options;
use popgate_demo::register::population;
use popgate_demo::scenario::read_path;
use popgate_tests::{Harness, node};

#[tokio::test]
#[expect(clippy::print_stdout, reason = "the seed repeats the run")]
async fn a_flipped_bit_anywhere_in_a_stopped_log_is_found_and_its_segment_named() {
    let audit = Some("min_free = \"1MiB\"\nsegment = \"64KiB\"".to_owned());
    let harness = Harness::start_options(&Options { audit, ..Options::default() });
    let mut session = harness.client_over("tax/etax", Http::Two).connect().await.unwrap();
    for n in 0..380 {
        session.send(get(&read_path(population::citizen(n)), Some("assessment"))).await.unwrap();
    }
    drop(session);
    let (site, dir) = harness.stop().await;
    let folder = site.audit();
    let whole = read::verify(&folder).unwrap();
    assert!(whole.closed && whole.open == 0 && whole.segments >= 2, "{whole}");

    let segments: Vec<_> = (1..=whole.segments).map(|number| format!("{number:010}.log")).collect();
    let bytes: Vec<_> = segments.iter().map(|name| fs::read(folder.join(name)).unwrap()).collect();
    let total: usize = bytes.iter().map(Vec::len).sum();
    let seed = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    println!("seed {seed}: {total} bytes in {} segments", segments.len());
    let mut random = seed;
    for _ in 0..200 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut at = (random >> 33) as usize % total;
        let which = bytes
            .iter()
            .position(|segment| {
                if at < segment.len() {
                    true
                } else {
                    at -= segment.len();
                    false
                }
            })
            .unwrap();
        let mut changed = bytes[which].clone();
        changed[at] ^= 1 << (random >> 29 & 7);
        fs::write(folder.join(&segments[which]), changed).unwrap();
        let found = read::verify(&folder);
        let damage =
            found.err().unwrap_or_else(|| panic!("seed {seed}: byte {at} of {} was changed unseen", segments[which]));
        assert_eq!(damage.segment, segments[which], "seed {seed}: byte {at}: {damage}");
        assert!(damage.offset <= at as u64, "seed {seed}: byte {at}: {damage}");
        fs::write(folder.join(&segments[which]), &bytes[which]).unwrap();
    }

    // As an auditor sees it.
    let mut changed = bytes[0].clone();
    changed[total / segments.len() / 2] ^= 1;
    fs::write(folder.join(&segments[0]), changed).unwrap();
    let output = node::run(&["audit", "verify", folder.to_str().unwrap()]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(!output.status.success() && said.contains("0000000001.log"), "{said}");
    fs::write(folder.join(&segments[0]), &bytes[0]).unwrap();

    // A segment that is gone, in the middle or at the end of what an auditor kept the head of.
    fs::rename(folder.join(&segments[0]), folder.join("elsewhere")).unwrap();
    assert!(read::verify(&folder).is_err());
    fs::rename(folder.join("elsewhere"), folder.join(&segments[0])).unwrap();
    assert_eq!(read::verify(&folder).unwrap().head, whole.head);
    fs::remove_file(folder.join(segments.last().unwrap())).unwrap();
    assert_ne!(read::verify(&folder).map(|report| report.head), Ok(whole.head));
    drop(dir);
}
