//! What a request costs: CPU time of the gateway's own threads, read from the kernel before and after.

use std::fs;
use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use crate::client::{Session, get, post};
use crate::deployment::Deployment;
use crate::scenario::{LOOKUP, ScenarioError, expect, keys_of_hoa, open, read_path, send, strangers};

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Gateway CPU of a request whose record was fetched from the register.
    pub miss: Duration,
    /// Gateway CPU of a request whose record was cached.
    pub hit: Duration,
    /// Bytes of answers copied in user space, and bytes of answers.
    pub copied: (u64, u64),
    /// Requests sent for it.
    pub requests: u64,
}

/// How many requests of each kind.
const ROUNDS: u32 = 400;

/// Sends requests one after another, over one connection, and reads what the gateway's threads used.
///
/// # Errors
/// If a request is not answered as it must be.
pub async fn measure(deployment: &Deployment) -> Result<Cost, ScenarioError> {
    let mut session = open(deployment, SYSTEM).await?;
    let metrics = &deployment.gateway.node().metrics;
    let counted = || (metrics.copied_bytes.get(), metrics.disclosed_bytes.get());
    let before = counted();
    warm(&mut session).await?;
    let numbers = strangers(ROUNDS);
    let miss = timed(async {
        for number in numbers {
            let answer = send(&mut session, get(&read_path(number), None)).await?;
            expect("a fetched record", &answer, StatusCode::OK, "")?;
        }
        Ok(())
    })
    .await?;
    let hit = timed(async {
        for _ in 0..ROUNDS {
            let answer = send(&mut session, post(LOOKUP, None, &keys_of_hoa())).await?;
            expect("a cached record", &answer, StatusCode::OK, "")?;
        }
        Ok(())
    })
    .await?;
    let after = counted();
    Ok(Cost {
        miss: miss / ROUNDS,
        hit: hit / ROUNDS,
        copied: (after.0 - before.0, after.1 - before.1),
        requests: u64::from(ROUNDS) * 2 + WARM,
    })
}

const SYSTEM: &str = "tax/etax";
const WARM: u64 = 1;

async fn warm(session: &mut Session) -> Result<(), ScenarioError> {
    let answer = send(session, post(LOOKUP, None, &json!(keys_of_hoa()))).await?;
    expect("a first request", &answer, StatusCode::OK, "")
}

async fn timed(work: impl Future<Output = Result<(), ScenarioError>>) -> Result<Duration, ScenarioError> {
    let before = gateway_cpu();
    work.await?;
    Ok(gateway_cpu().saturating_sub(before))
}

/// CPU time used by the gateway's threads of this process (data plane, acceptor, audit, admin), to the scheduler's
/// nanosecond (`/proc/<pid>/task/<tid>/schedstat`). The client and the register run in the same process, on other threads.
pub fn gateway_cpu() -> Duration {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return Duration::ZERO };
    tasks
        .flatten()
        .filter(|task| {
            fs::read_to_string(task.path().join("comm"))
                .is_ok_and(|name| GATEWAY.iter().any(|own| name.starts_with(own)))
        })
        .filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok()?.split(' ').next()?.parse().ok())
        .map(Duration::from_nanos)
        .sum()
}

/// How the gateway's threads are named.
const GATEWAY: [&str; 5] = ["core-", "accept", "audit", "admin", "watch"];
