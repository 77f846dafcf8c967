//! Thousands of schedules in virtual time: nodes under load, a Redis that is slow, loses messages, stops, forgets, and
//! nodes that are cut off. What may never happen is looked for at every step.

use std::num::NonZeroU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::*;
use crate::share::backoff::Backoff;
use crate::share::cell::{Desk, Exhausted};
use crate::share::model::Model;
use crate::share::terms::{Rate, as_tokens};

struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut it = self.0;
        it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        it ^ (it >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    fn within(&mut self, range: std::ops::Range<u64>) -> u64 {
        range.start + self.below(range.end - range.start)
    }
}

/// What befalls Redis, or the way to it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// Calls wait, and are done when it goes on.
    Stopped,
    /// Calls are lost.
    Gone,
    /// As gone, and it comes back empty.
    Emptied,
    /// A part of the calls, or of the replies, is lost.
    Lossy,
    /// One node is cut off.
    Cut(usize),
}

#[derive(Clone, Debug)]
struct Plan {
    nodes: usize,
    count: u32,
    burst: u32,
    quota: u64,
    /// Takes a second on each node.
    demand: Vec<u64>,
    faults: Vec<(Fault, u64, u64)>,
    /// One call of so many is slow.
    slow: u64,
    /// Ends a node's process and starts another in its place, at that time.
    restarts: Vec<(usize, u64)>,
    end: u64,
}

#[derive(Debug, Default)]
struct Outcome {
    /// How far any window was over the rate and the burst, in tokens.
    over: f64,
    admitted: u64,
    /// Admitted by the rate in the last four seconds.
    last: u64,
    counted: u64,
    remembered: u64,
    charged: u64,
    /// When the last node was back.
    shared: u64,
}

struct Node {
    ledger: Ledger,
    desk: Arc<Desk>,
    rate: Arc<SharedRate>,
    quota: Arc<SharedQuota>,
    /// Calls that are out: until when they are waited for.
    out: Option<(Vec<Ask>, u64, u64)>,
    next_round: u64,
    backoff: Backoff,
    demand: u64,
    batch: u64,
}

struct Message {
    at: u64,
    node: usize,
    batch: u64,
    /// None: on the way to Redis.
    replies: Option<Vec<Reply>>,
    asks: Vec<Ask>,
    lost: bool,
}

const STEP: u64 = 1_000;
const LIMIT: u64 = 200_000;
const PERIOD: u64 = 20_261_130;

fn rules(nodes: usize) -> Rules {
    Rules { nodes: u32::try_from(nodes).unwrap(), round: 10_000, stale: 1_000_000, lift: 3_000_000 }
}

fn node(plan: &Plan, at: usize, origin: Instant, now: u64) -> Node {
    let nodes = u32::try_from(plan.nodes).unwrap();
    let desk = Arc::new(Desk::new(origin, 1_000_000_000 + now, nodes));
    let rate = Rate {
        count: NonZeroU32::new(plan.count).unwrap(),
        per: Duration::from_secs(1),
        burst: NonZeroU32::new(plan.burst).unwrap(),
    };
    let rate = Arc::new(SharedRate::new(1, "rate", rate, nodes, Arc::clone(&desk)));
    let quota = Arc::new(SharedQuota::new(2, "quota", plan.quota, Arc::clone(&desk)));
    quota.expect(PERIOD);
    let mut ledger = Ledger::new(rules(plan.nodes));
    ledger.add_rate(Arc::clone(&rate), now);
    ledger.add_quota(Arc::clone(&quota), now);
    let demand = plan.demand[at];
    Node { ledger, desk, rate, quota, out: None, next_round: now, backoff: Backoff::default(), demand, batch: now }
}

fn run(seed: u64, plan: &Plan) -> Outcome {
    let origin = Instant::now();
    let mut chance = Chance(seed);
    let mut model = Model::default();
    let mut nodes: Vec<Node> = (0..plan.nodes).map(|at| node(plan, at, origin, 0)).collect();
    let mut messages: Vec<Message> = Vec::new();
    let mut outcome = Outcome::default();
    let speed = f64::from(plan.count) / 1e6;
    let burst = f64::from(plan.burst.max(u32::try_from(plan.nodes).unwrap()));
    let mut reference = burst;
    let mut due = vec![0; plan.nodes];
    let mut now = 0;
    while now < plan.end {
        now += STEP;
        reference = (reference + as_tokens(STEP) * speed).min(burst);
        let at = origin + Duration::from_micros(now);
        let fault = |fault: &dyn Fn(Fault) -> bool, at: u64| {
            plan.faults.iter().any(|(it, from, until)| fault(*it) && (*from..*until).contains(&at))
        };
        if plan.faults.iter().any(|(it, _, until)| *it == Fault::Emptied && *until / STEP == now / STEP) {
            model = Model::default();
        }
        for (it, _) in plan.restarts.iter().filter(|(_, when)| *when / STEP == now / STEP) {
            nodes[*it] = node(plan, *it, origin, now);
        }
        for (who, it) in nodes.iter_mut().enumerate() {
            due[who] += it.demand * STEP;
            let quiet = it.rate.low.load(Relaxed) == u64::MAX;
            while due[who] >= 1_000_000 {
                due[who] -= 1_000_000;
                if it.rate.take(1, at).is_ok() {
                    reference -= 1.0;
                    outcome.admitted += 1;
                    outcome.last += u64::from(now > plan.end - 4_000_000);
                }
                match it.quota.take(PERIOD, 1) {
                    Ok(_) => outcome.counted += 1,
                    Err(Exhausted::Spent | Exhausted::Soon(_)) => {}
                }
            }
            // The bell.
            if it.out.is_none() && !quiet && it.rate.pressing.load(Relaxed) && it.rate.low.load(Relaxed) == u64::MAX {
                it.next_round = it.next_round.min(now + STEP);
            }
        }
        outcome.over = outcome.over.max(-reference);
        // What arrives.
        let mut still = Vec::new();
        for mut message in std::mem::take(&mut messages) {
            if message.at > now {
                still.push(message);
                continue;
            }
            let cut = fault(&|it| it == Fault::Cut(message.node), now);
            let lossy = fault(&|it| it == Fault::Lossy, now) && chance.below(3) == 0;
            match message.replies.take() {
                None if fault(&|it| it == Fault::Stopped, now) => {
                    message.at = now + STEP;
                    still.push(message);
                }
                None => {
                    let gone = fault(&|it| matches!(it, Fault::Gone | Fault::Emptied), now);
                    if gone || cut || lossy || message.lost {
                        continue;
                    }
                    let name = format!("node-{}", message.node);
                    let call = |ask: &Ask| model.call(&name, &ask.call, 1_800_000_000_000_000 + now);
                    message.replies = Some(message.asks.iter().map(call).collect());
                    message.at = now + chance.within(50..1_500);
                    still.push(message);
                }
                Some(replies) => {
                    let it = &mut nodes[message.node];
                    let expected = it.out.as_ref().is_some_and(|_| it.batch == message.batch);
                    if cut || lossy || !expected {
                        continue;
                    }
                    it.out = None;
                    for (ask, reply) in message.asks.iter().zip(&replies) {
                        it.ledger.answered(ask, reply, now);
                    }
                    it.backoff.well();
                }
            }
        }
        messages = still;
        // What the nodes' drivers do.
        for (who, it) in nodes.iter_mut().enumerate() {
            for id in it.desk.marked() {
                it.ledger.mark(id, now);
            }
            it.ledger.tick(now);
            if it.ledger.standing() != Standing::Shared {
                outcome.shared = now;
            }
            if it.out.as_ref().is_some_and(|(_, _, limit)| now >= *limit) {
                let (asks, _, _) = it.out.take().unwrap();
                asks.iter().for_each(|ask| it.ledger.failed(ask, now));
                it.ledger.connected(now);
                let alone = it.ledger.standing() == Standing::Alone;
                let jitter = if alone { chance.below(500_000) } else { 0 };
                it.next_round = now + it.backoff.ill(chance.next()) + jitter;
            }
            if it.out.is_none() && now >= it.next_round {
                let asks = it.ledger.asks(100, now);
                it.next_round = now + 10_000;
                if asks.is_empty() {
                    continue;
                }
                it.batch += 1;
                let slow = chance.below(plan.slow) == 0;
                let message = Message {
                    at: now + if slow { chance.within(1_000..900_000) } else { chance.within(50..1_500) },
                    node: who,
                    batch: it.batch,
                    replies: None,
                    asks: asks.clone(),
                    lost: false,
                };
                messages.push(message);
                it.out = Some((asks, now, now + LIMIT));
            }
        }
    }
    outcome.remembered = model.counted(&format!("quota/{PERIOD}"));
    outcome.charged = model.charged;
    outcome
}

/// All of them in a release build; some where each step is slow.
fn seeds(all: u64) -> std::ops::Range<u64> {
    0..if cfg!(debug_assertions) { all / 20 } else { all }
}

fn plan(chance: &mut Chance) -> Plan {
    let nodes = usize::try_from(chance.within(1..6)).unwrap();
    let count = u32::try_from(chance.within(1..2_000)).unwrap();
    let burst = 1 + u32::try_from(chance.below(u64::from(count) * 2)).unwrap();
    let demand = (0..nodes).map(|_| [0, u64::from(count) / 8, u64::from(count), 3_000][chance.below(4) as usize]);
    let demand = demand.collect();
    Plan {
        nodes,
        count,
        burst,
        quota: chance.within(1..30_000),
        demand,
        faults: Vec::new(),
        slow: 500,
        restarts: Vec::new(),
        end: 10_000_000,
    }
}

#[test]
fn without_faults_no_window_is_over_and_no_count_is_lost_or_doubled() {
    for seed in seeds(400) {
        let mut chance = Chance(seed);
        let plan = plan(&mut chance);
        let outcome = run(seed, &plan);
        let said = || format!("seed {seed}: {plan:?}: {outcome:?}");
        assert!(outcome.over < 1e-3, "{}", said());
        assert!(outcome.counted < plan.quota + plan.nodes as u64, "{}", said());
        let lag = 3_100 * 250 / 1_000 * plan.nodes as u64;
        assert!(outcome.remembered <= outcome.counted && outcome.counted <= outcome.remembered + lag, "{}", said());
        assert!(outcome.shared < 2_000_000, "{}", said());
    }
}

#[test]
fn whatever_befalls_all_nodes_alike_no_window_is_over_and_all_are_back_soon() {
    let (mut worst, mut back) = (0_f64, 0);
    for seed in seeds(1_500) {
        let mut chance = Chance(seed);
        let mut plan = plan(&mut chance);
        plan.end = 24_000_000;
        let mut from = 0;
        for _ in 0..chance.within(1..3) {
            from += chance.within(4_000_000..6_000_000);
            let until = from + chance.within(50_000..4_000_000);
            let fault = [Fault::Stopped, Fault::Gone, Fault::Emptied][chance.below(3) as usize];
            plan.faults.push((fault, from, until));
            from = until;
        }
        let outcome = run(seed, &plan);
        let said = || format!("seed {seed}: {plan:?}: {outcome:?}");
        worst = worst.max(outcome.over / f64::from(plan.burst.max(plan.nodes as u32)));
        back = back.max(outcome.shared.saturating_sub(from));
        assert!(outcome.over < 1e-3, "{}", said());
        assert!(outcome.shared < from + 4_000_000, "{}", said());
        let over = plan.quota / plan.nodes as u64 + plan.nodes as u64;
        assert!(outcome.counted <= plan.quota + over, "{}", said());
        let lag = 3_100 * 250 / 1_000 * plan.nodes as u64;
        assert!(outcome.remembered <= outcome.counted && outcome.counted <= outcome.remembered + lag, "{}", said());
    }
    assert!(worst < 1e-6 && back < 4_000_000, "{worst} of a burst, {back} us");
}

#[test]
fn a_node_that_is_cut_off_adds_its_own_share_and_no_more() {
    for seed in seeds(300) {
        let mut chance = Chance(seed);
        let mut plan = plan(&mut chance);
        plan.end = 20_000_000;
        let (from, long) = (4_000_000, chance.within(100_000..5_000_000));
        let lossy = chance.below(2) == 0;
        let fault = if lossy { Fault::Lossy } else { Fault::Cut(chance.below(plan.nodes as u64) as usize) };
        plan.faults.push((fault, from, from + long));
        let outcome = run(seed, &plan);
        let said = || format!("seed {seed}: {plan:?}: {outcome:?}");
        // All but one may be taken for cut off where messages get lost; each comes back within four seconds.
        let shares = if lossy { plan.nodes as f64 - 1.0 } else { 1.0 } / plan.nodes as f64;
        let burst = f64::from(plan.burst.max(plan.nodes as u32));
        let most = shares * (f64::from(plan.count) * as_tokens(long + 4_000_000) / 1e6 + burst);
        assert!(outcome.over <= most + 1e-3, "at most {most}: {}", said());
        assert!(outcome.shared < from + long + 4_000_000, "{}", said());
        let lag = 3_100 * 250 / 1_000 * plan.nodes as u64;
        assert!(outcome.remembered <= outcome.counted && outcome.counted <= outcome.remembered + lag, "{}", said());
    }
}

#[test]
fn nodes_that_are_restarted_lose_and_double_nothing_but_their_last_round() {
    for seed in seeds(300) {
        let mut chance = Chance(seed);
        let mut plan = plan(&mut chance);
        plan.end = 16_000_000;
        for at in 0..plan.nodes {
            plan.restarts.push((at, 4_000_000 + chance.below(4_000_000)));
        }
        let outcome = run(seed, &plan);
        let said = || format!("seed {seed}: {plan:?}: {outcome:?}");
        // What a process that was killed had not settled is not counted: a round, or a call that was slow.
        let lag = 3_100 * 1_200 / 1_000 * plan.nodes as u64;
        assert!(outcome.remembered <= outcome.counted && outcome.counted <= outcome.remembered + lag, "{}", said());
        let burst = f64::from(plan.burst.max(plan.nodes as u32));
        assert!(outcome.over <= burst, "{}", said());
        assert!(outcome.counted <= plan.quota + lag + 2 * plan.nodes as u64, "{}", said());
    }
}

#[test]
fn all_of_a_rate_is_used_whether_one_node_is_busy_or_all() {
    for seed in seeds(200) {
        let mut chance = Chance(seed);
        let mut plan = plan(&mut chance);
        plan.count = plan.count.max(50);
        // A burst of less than a tenth of a second is too little to hand out to one of many in time.
        plan.burst = plan.burst.max(plan.count / 10).max(8 * plan.nodes as u32);
        plan.slow = u64::MAX;
        plan.demand = vec![0; plan.nodes];
        let busy = if seed % 2 == 0 { 1 } else { plan.nodes };
        plan.demand.iter_mut().take(busy).for_each(|it| *it = u64::from(plan.count) * 2);
        let outcome = run(seed, &plan);
        let used = as_tokens(outcome.last) / f64::from(plan.count) / 4.0;
        assert!(used >= 0.95 && outcome.over < 1e-3, "used {used}, seed {seed}: {plan:?}: {outcome:?}");
    }
}
