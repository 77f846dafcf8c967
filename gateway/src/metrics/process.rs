//! What the kernel knows of this process, under the names that Prometheus clients share.

use std::fmt::Write as _;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

/// Appends the process metrics that can be had; each costs a system call or a small file.
pub(super) fn append(text: &mut String) {
    if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
        let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
        let seconds = std::time::Duration::from_micros(micros.try_into().unwrap_or_default()).as_secs_f64();
        metric(text, "process_cpu_seconds_total", "counter", "User and system CPU time spent, in seconds.", seconds);
    }
    if let Some(bytes) = resident_bytes() {
        metric(text, "process_resident_memory_bytes", "gauge", "Resident memory, in bytes.", bytes);
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        metric(text, "process_open_fds", "gauge", "Open file descriptors.", files.count());
    }
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn metric(text: &mut String, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
}
