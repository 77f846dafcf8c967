//! A full disk.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use http::StatusCode;
use popgate::audit::read;
use popgate_demo::client::{Answer, post};
use popgate_demo::deployment::Options;
use popgate_demo::register::{Citizen, demo::HOA};
use popgate_demo::scenario::{LOOKUP, keys_of_hoa};
use popgate_tests::{Harness, eventually, refusal};

use super::{entries, id, intent};

/// Less is free than `min_free`: the log closes before the disk is full, and opens again by itself.
#[tokio::test]
async fn below_the_reserve_nothing_is_disclosed_until_there_is_room_again() {
    let disk = Disk::new();
    let harness = Harness::start_in(&disk.folder, &options(&format!("min_free = \"{}B\"", disk.reserve)));
    full_and_free_again(&harness, &disk, disk.margin).await;
}

/// The disk takes no byte more: writes fail, and nobody is told that they did not.
#[tokio::test]
#[expect(clippy::print_stdout, reason = "that something was not tried must not look like success")]
async fn when_writes_fail_nothing_is_disclosed_until_a_new_segment_is_durable() {
    let disk = Disk::new();
    if !disk.own {
        // Filling a disk to its last byte is done to one of our own only. The reserve is tested above all the same.
        println!("not run: mounting a disk of our own needs root");
        return;
    }
    let harness = Harness::start_in(&disk.folder, &options("min_free = \"0B\""));
    full_and_free_again(&harness, &disk, u64::MAX).await;
    let stats = harness.deployment.gateway.node().audit.stats();
    assert!(stats.failures > 0, "the writes were to fail: {stats:?}");
}

async fn full_and_free_again(harness: &Harness, disk: &Disk, filler: u64) {
    let mut session = harness.session("tax/etax").await;
    let mut ask = async || -> Answer { session.send(post(LOOKUP, Some("assessment"), &keys_of_hoa())).await.unwrap() };
    let mut shown = vec![ask().await];
    assert_eq!(shown[0].status, StatusCode::OK);

    disk.fill(filler);
    let mut closed = Vec::new();
    let since = std::time::Instant::now();
    while closed.len() < 20 {
        assert!(since.elapsed() < Duration::from_secs(20), "still open although the disk is full");
        match ask().await {
            answer if answer.status == StatusCode::OK => {
                assert!(closed.is_empty(), "open again although the disk is full");
                shown.push(answer);
            }
            answer => closed.push(answer),
        }
    }
    for answer in &closed {
        assert_eq!(refusal(answer), "503 audit_unavailable");
        assert_eq!(answer.headers["retry-after"], "1");
        let text = String::from_utf8_lossy(&answer.body);
        for leaf in [
            HOA.full_name,
            "1987",
            &HOA.number.to_string(),
            HOA.phone.unwrap(),
            &Citizen::of(HOA.number).unwrap().home_town,
        ] {
            assert!(!text.contains(leaf), "disclosed without a record");
        }
    }
    assert!(!harness.deployment.gateway.node().audit.is_serving());

    disk.free();
    let audit = &harness.deployment.gateway.node().audit;
    eventually("the log is open again", || audit.is_serving()).await;
    let again = ask().await;
    assert_eq!(again.status, StatusCode::OK, "{}", refusal(&again));
    shown.push(again);

    let site = &harness.deployment.site;
    read::verify(&site.audit()).unwrap();
    let entries = entries(site);
    for answer in &shown {
        assert!(intent(&entries, &id(answer)).is_some(), "shown without a record");
    }
}

fn options(audit: &str) -> Options {
    Options { audit: Some(audit.to_owned()), ..Options::default() }
}

/// A small disk for a deployment: mounted for this test (root), or else the memory disk that every Linux has.
struct Disk {
    folder: PathBuf,
    /// Free bytes that the log must leave.
    reserve: u64,
    /// A file of that size takes the disk below the reserve.
    margin: u64,
    own: bool,
    dir: tempfile::TempDir,
}

impl Disk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("disk");
        std::fs::create_dir(&folder).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs"]).arg(&folder).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Self { folder, reserve: 2 << 20, margin: 7 << 20, own: true, dir };
        }
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let free = free(dir.path());
        assert!(free > 64 << 20, "this test needs root to mount a small disk, or 64 MiB in /dev/shm");
        Self { folder: dir.path().to_owned(), reserve: free - (32 << 20), margin: 48 << 20, own: false, dir }
    }

    /// Writes a file of that size, or as much of it as there is room for.
    fn fill(&self, bytes: u64) {
        use std::io::Write as _;
        let mut file = std::fs::File::create(self.folder.join("filler")).unwrap();
        let mut left = bytes;
        // Smaller and smaller, to the disk's last byte.
        for piece in [1 << 20, 4096, 1] {
            while left > 0 && file.write_all(&vec![0; piece.min(left as usize)]).is_ok() {
                left -= piece.min(left as usize) as u64;
            }
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.folder.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.own {
            let _ = Command::new("umount").arg("--lazy").arg(&self.folder).output();
        }
        let _ = &self.dir;
    }
}

fn free(path: &Path) -> u64 {
    let found = nix::sys::statvfs::statvfs(path).unwrap();
    found.blocks_available() * found.fragment_size()
}
