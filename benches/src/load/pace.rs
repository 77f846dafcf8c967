//! One generator thread: hands requests out when they are due, whatever became of those before.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::{sleep, sleep_until, timeout};

use super::arrivals::Clock;
use super::desk::Desk;
use super::tally::micros;
use super::{Agent, Plan, Share, connection};
use crate::Failure;

/// Connects the agents and says so; begins when it is told, and returns when the last request has ended.
pub(super) fn run(
    agents: Vec<Agent>,
    plan: Plan,
    connected: &mpsc::Sender<Result<(), Failure>>,
    started: oneshot::Receiver<Instant>,
) -> Result<Share, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let desks = agents.into_iter().map(|agent| Desk::new(agent, &plan).map(Arc::new));
        let desks = desks.collect::<Result<Vec<_>, _>>()?;
        // Nobody to tell: whoever started the load has gone.
        let _ = connected.send(connect(&desks, plan.connect_within).await);
        let begin = started.await.map_err(|_| "another load thread did not begin")?;
        desks.iter().for_each(|desk| desk.begin(begin, &plan));
        let lag = hand_out(&desks, begin, &plan).await?;
        settle(&desks, begin, &plan).await;
        let agents = desks.iter().map(|desk| (desk.agent.label.clone(), desk.finish())).collect();
        Ok(Share { agents, lag })
    })
}

async fn connect(desks: &[Arc<Desk>], within: Duration) -> Result<(), Failure> {
    let (connected, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let door = Arc::new(Semaphore::new(HANDSHAKES));
    let mut missing: usize = 0;
    for desk in desks {
        for _ in 0..desk.agent.connections.max(1) {
            tokio::spawn(connection::keep(Arc::clone(desk), Arc::clone(&door), connected.clone()));
            missing += 1;
        }
    }
    if within.is_zero() {
        return Ok(());
    }
    let all = timeout(within, async {
        while missing > 0 && heard.recv().await.is_some() {
            missing -= 1;
        }
    });
    if all.await.is_ok() {
        return Ok(());
    }
    let why: Vec<String> = desks.iter().map(|desk| desk.last_trouble()).filter(|why| why != "no answer").collect();
    let why = why.first().map_or("no answer", String::as_str);
    Err(format!("{missing} connections are not there after {} s: {why}", within.as_secs()).into())
}

/// Every request at its time; returns by how much it was late for each, in microseconds.
async fn hand_out(desks: &[Arc<Desk>], begin: Instant, plan: &Plan) -> Result<Histogram<u64>, Failure> {
    let mut lag = micros()?;
    let mut clocks: Vec<(Arc<Desk>, Clock)> =
        desks.iter().map(|desk| (Arc::clone(desk), desk.agent.arrivals.clock(desk.agent.seed))).collect();
    let mut heap = BinaryHeap::new();
    for (at, (_, clock)) in clocks.iter_mut().enumerate() {
        heap.extend(clock.next().map(|due| Reverse((due, at))));
    }
    let ticker = Ticker::start()?;
    while let Some(Reverse((due, at))) = heap.pop() {
        if due >= plan.whole() {
            continue;
        }
        let due = begin + due;
        let now = Instant::now();
        if due > now {
            ticker.wait(due.max(now + FINEST)).await?;
        }
        lag.saturating_record(u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX));
        if let Some((desk, clock)) = clocks.get_mut(at) {
            desk.push(due);
            heap.extend(clock.next().map(|due| Reverse((due, at))));
        }
    }
    Ok(lag)
}

/// Waits until the time is over and no request is in flight; patience ends for each of them.
async fn settle(desks: &[Arc<Desk>], begin: Instant, plan: &Plan) {
    let end = begin + plan.whole();
    sleep_until(end.into()).await;
    let patience = desks.iter().map(|desk| desk.agent.timeout).max().unwrap_or_default();
    while end.elapsed() < patience + GRACE && !desks.iter().all(|desk| desk.is_idle()) {
        sleep(Duration::from_millis(10)).await;
    }
}

/// Wakes the thread's tasks at moments that are finer than the runtime's own timer, which knows milliseconds only.
struct Ticker {
    due: mpsc::Sender<Instant>,
    tick: Arc<Notify>,
}

impl Ticker {
    fn start() -> Result<Self, Failure> {
        let (due, asked) = mpsc::channel::<Instant>();
        let tick = Arc::new(Notify::new());
        let ticking = Arc::clone(&tick);
        std::thread::Builder::new().name("ticker".into()).spawn(move || {
            while let Ok(due) = asked.recv() {
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                ticking.notify_one();
            }
        })?;
        Ok(Self { due, tick })
    }

    async fn wait(&self, due: Instant) -> Result<(), Failure> {
        self.due.send(due).map_err(|_| "the ticker has ended")?;
        self.tick.notified().await;
        Ok(())
    }
}

/// Handshakes at once before the begin.
const HANDSHAKES: usize = 8;
/// The thread is not woken more often than that.
const FINEST: Duration = Duration::from_micros(100);
/// Past the last patience: timers are late under load.
const GRACE: Duration = Duration::from_millis(300);
