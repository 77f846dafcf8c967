//! A bound on the CPU time of a process, by a control group (version 1) of its own.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::Failure;

/// A control group. Dropped, it is removed, and its processes are free.
#[derive(Debug)]
pub struct Confined {
    folder: PathBuf,
}

/// So much CPU time in each period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// CPU time that the group has in a period; what is left of it may be used in the next one.
    pub time: Duration,
    /// The period: how long a group that used its time up must wait at most.
    pub period: Duration,
}

impl Confined {
    /// A group of that name with these processes in it, and no bound yet.
    ///
    /// # Errors
    /// If the machine has no such control groups, or they cannot be written.
    pub fn make(name: &str, processes: &[u32]) -> Result<Self, Failure> {
        let folder = PathBuf::from(GROUPS).join(format!("{name}-{}", std::process::id()));
        fs::create_dir(&folder).map_err(|error| format!("`{}`: {error}", folder.display()))?;
        let group = Self { folder };
        for process in processes {
            group.write("cgroup.procs", &process.to_string())?;
        }
        Ok(group)
    }

    /// Bounds it, or frees it.
    ///
    /// # Errors
    /// If the kernel does not take it.
    pub fn bound(&self, quota: Option<Quota>) -> Result<(), Failure> {
        // A burst above the quota would be refused, in whichever order they change.
        let _ = self.write("cpu.cfs_burst_us", "0");
        let Some(quota) = quota else { return self.write("cpu.cfs_quota_us", "-1") };
        let time = quota.time.as_micros().to_string();
        self.write("cpu.cfs_period_us", &quota.period.as_micros().to_string())?;
        self.write("cpu.cfs_quota_us", &time)?;
        // Kernels before 5.14 have none.
        let _ = self.write("cpu.cfs_burst_us", &time);
        Ok(())
    }

    fn write(&self, file: &str, text: &str) -> Result<(), Failure> {
        let file = self.folder.join(file);
        Ok(fs::write(&file, text).map_err(|error| format!("`{}`: {error}", file.display()))?)
    }
}

impl Drop for Confined {
    fn drop(&mut self) {
        let processes = fs::read_to_string(self.folder.join("cgroup.procs")).unwrap_or_default();
        for process in processes.lines() {
            let _ = fs::write(PathBuf::from(GROUPS).join("cgroup.procs"), process);
        }
        let _ = fs::remove_dir(&self.folder);
    }
}

const GROUPS: &str = "/sys/fs/cgroup/cpu";
