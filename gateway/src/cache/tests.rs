//! What may be answered from what is stored, and who waits for whom.

use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use popgate_policy::contract::{CacheRule, Method};
use popgate_policy::disclose::Raw;
use popgate_policy::model::Personal;

use super::*;
use crate::clock::Moment;
use crate::forward::{Answer, Unanswered};

const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);
const RULE: CacheRule = CacheRule {
    scope: CacheScope::Shared,
    fresh: MINUTE,
    stale_if_error: Duration::ZERO,
    stale_while_revalidate: Duration::ZERO,
    no_match: Duration::ZERO,
};

struct World {
    cache: Cache,
    start: Moment,
}

impl World {
    fn new() -> Self {
        let settings = Settings { capacity_bytes: 1 << 20, shelter: None, share: None, key: [7; 16] };
        let clock = Clock::system("UTC").unwrap();
        let cache = Cache::new(settings, &[RegisterId::new("population")], &clock).unwrap();
        Self { cache, start: Moment { now: clock.now(), wall: SystemTime::UNIX_EPOCH + 20_000 * 86_400 * SECOND } }
    }

    fn after(&self, time: Duration) -> Moment {
        Moment { now: self.start.now + time, wall: self.start.wall + time }
    }

    /// About the person of that number, under a rule.
    fn question(&self, number: u32, rule: CacheRule) -> Arc<Question> {
        Arc::new(self.made(number, rule))
    }

    fn made(&self, number: u32, rule: CacheRule) -> Question {
        let (register, agency) = (RegisterId::new("population"), AgencyId::new("tax"));
        let target = Personal::new(format!("/persons/{number}"));
        let upstream = UpstreamRequest { register, method: Method::Get, target };
        let cache = Arc::clone(&self.cache.0);
        Question {
            key: cache.key(&upstream, &agency, rule.scope, false),
            cache,
            upstream,
            person: Some(Personal::new(number.to_string())),
            agency,
            rule,
            most_bytes: 1 << 16,
            class: Class::Interactive,
            list: false,
            worth: Worth::Usual,
            sealed: false,
        }
    }

    fn lookup(&self, number: u32, rule: CacheRule, at: Duration) -> Lookup {
        self.question(number, rule).lookup(Wish::default(), self.after(at))
    }

    /// Asks the register at that time, and gets that.
    fn fetch(&self, number: u32, rule: CacheRule, answer: Result<Answer, Unanswered>, at: Duration) -> Told {
        match self.lookup(number, rule, at) {
            Lookup::Lead(leader) => leader.land(answer, self.after(at)),
            other => panic!("{other:?}"),
        }
    }

    fn purge(&self, number: u32, kind: popgate_caching::purges::Kind) {
        let clock = Clock::system("UTC").unwrap();
        self.cache.purge(&[order::What::Subject(Personal::new(number.to_string()))], kind, Duration::ZERO, &clock);
    }
}

type Told = Result<Fetched, Refusal>;

fn record(text: &'static str, fields: &[(&'static str, &'static str)]) -> Result<Answer, Unanswered> {
    Ok(answer(Some(Found::Record(Raw::seal(Bytes::from_static(text.as_bytes())))), StatusCode::OK, fields))
}

fn not_modified(fields: &[(&'static str, &'static str)]) -> Result<Answer, Unanswered> {
    Ok(answer(None, StatusCode::NOT_MODIFIED, fields))
}

fn unknown() -> Result<Answer, Unanswered> {
    Ok(answer(Some(Found::Unknown), StatusCode::NOT_FOUND, &[]))
}

fn failing() -> Result<Answer, Unanswered> {
    Err(Unanswered { refusal: Refusal::RegisterFailed, failing: true })
}

fn answer(found: Option<Found>, status: StatusCode, fields: &[(&'static str, &'static str)]) -> Answer {
    let field = |(name, value): &(&'static str, &'static str)| {
        (http::HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    Answer { found, status, headers: fields.iter().map(field).collect(), origin: Origin::default() }
}

/// How a record is come by: by what kind of hit, or not.
fn how(lookup: &Lookup) -> &'static str {
    match lookup {
        Lookup::Hit(hit) => hit.fetched.source.as_str(),
        Lookup::Follow(_) => "follow",
        Lookup::Lead(leader) if !leader.compared().validators().is_empty() => "lead, validating",
        Lookup::Lead(_) => "lead",
    }
}

#[test]
fn a_stored_record_does_not_hold_the_buffer_that_it_was_read_into() {
    let world = World::new();
    let buffer = Bytes::from(vec![b'1'; 64 << 10]);
    let found = Found::Record(Raw::seal(buffer.slice(..16)));
    let answer = answer(Some(found), StatusCode::OK, &[("cache-control", "max-age=60")]);
    drop(world.fetch(1, RULE, Ok(answer), Duration::ZERO));
    assert_eq!(how(&world.lookup(1, RULE, SECOND)), "hit");
    assert!(buffer.is_unique());
}

#[test]
fn each_operations_rule_shortens_for_itself_whoever_stored_the_record() {
    let world = World::new();
    drop(world.fetch(1, RULE, record("{}", &[("cache-control", "max-age=30")]), Duration::ZERO));
    let short = CacheRule { fresh: 10 * SECOND, ..RULE };
    let stale = CacheRule { stale_while_revalidate: 10 * SECOND, ..short };
    let none = CacheRule { scope: CacheScope::Off, ..RULE };
    let at = |rule, seconds: u32| how(&world.lookup(1, rule, seconds * SECOND));
    assert_eq!([at(RULE, 29), at(short, 9), at(stale, 9), at(none, 1)], ["hit", "hit", "hit", "lead"]);
    assert_eq!([at(short, 11), at(stale, 11), at(stale, 21), at(RULE, 31)], ["lead", "meanwhile", "lead", "lead"]);
}

#[test]
fn how_stale_a_record_may_be_the_register_says_and_the_contract_shortens_or_where_it_says_nothing_allows() {
    let rule = CacheRule { stale_if_error: 60 * SECOND, ..RULE };
    for (says, until) in [
        ("max-age=10", 70),
        ("max-age=10, stale-if-error=20", 30),
        ("max-age=10, stale-if-error=600", 70),
        ("max-age=10, stale-if-error=0", 10),
        ("max-age=10, must-revalidate", 10),
        ("s-maxage=10", 10),
    ] {
        let world = World::new();
        drop(world.fetch(1, rule, record("{}", &[("cache-control", says), ("etag", "\"1\"")]), Duration::ZERO));
        let stood_in = |at| world.fetch(1, rule, failing(), at * SECOND);
        for (at, good) in [(11, until > 11), (until - 1, until > 11), (until + 1, false)] {
            let told = (at > 10).then(|| stood_in(at));
            assert!(told.is_none_or(|told| told.is_ok() == good), "`{says}` at {at}");
        }
    }
}

#[test]
fn what_was_purged_is_not_answered_with_nor_does_it_stand_in() {
    use popgate_caching::purges::Kind;
    let rule = CacheRule { stale_if_error: MINUTE, ..RULE };
    for (kind, then) in [(Kind::Soft, "lead, validating"), (Kind::Hard, "lead")] {
        let world = World::new();
        let says = [("cache-control", "max-age=60"), ("etag", "\"1\"")];
        drop(world.fetch(1, rule, record("{}", &says), Duration::ZERO));
        drop(world.fetch(2, rule, record("{}", &says), Duration::ZERO));
        world.purge(1, kind);
        assert_eq!(how(&world.lookup(1, rule, SECOND)), then);
        assert!(world.fetch(1, rule, failing(), SECOND).is_err());
        assert_eq!(how(&world.lookup(2, rule, SECOND)), "hit");
        if kind == Kind::Soft {
            let source = world.fetch(1, rule, not_modified(&says), SECOND).unwrap().source;
            assert_eq!((source, how(&world.lookup(1, rule, SECOND))), (Source::Validated, "hit"));
        }
    }
}

/// RFC 9111, section 4.3.4.
#[test]
fn a_304_about_another_record_tells_nothing() {
    let world = World::new();
    drop(world.fetch(1, RULE, record("{}", &[("cache-control", "max-age=0"), ("etag", "\"1\"")]), Duration::ZERO));
    let Lookup::Lead(leader) = world.lookup(1, RULE, SECOND) else { panic!() };
    let compared = leader.compared();
    assert!(!compared.validators().is_empty());
    let tells = |fields: &[_]| not_modified(fields).is_ok_and(|answer| !compared.tells_nothing(&answer));
    assert!(tells(&[("etag", "\"1\"")]) && tells(&[]) && !tells(&[("etag", "\"2\"")]));
}

#[tokio::test]
async fn a_fetch_that_fails_fails_no_follower_twice_and_one_of_before_a_purge_serves_nobody_after() {
    let world = World::new();
    let lead = |wish| world.question(1, RULE).lookup(wish, world.start);
    let (Lookup::Lead(leader), Lookup::Follow(mut follower)) = (lead(Wish::default()), lead(Wish::default())) else {
        panic!()
    };
    assert!(leader.is_awaited());
    assert!(leader.land(failing(), world.start).is_err());
    assert!(matches!(follower.landed(|| world.start).await, Followed::Failed(Refusal::RegisterFailed)));
    // The next fetch is another.
    let wish = Wish { avoided: Some(follower.flight()), ..Wish::default() };
    let (Lookup::Lead(leader), Lookup::Follow(mut early)) = (lead(wish), lead(wish)) else { panic!() };
    // Who came before the purge may have its answer; who comes after may not.
    world.purge(1, popgate_caching::purges::Kind::Hard);
    let Lookup::Follow(mut late) = lead(Wish::default()) else { panic!() };
    assert!(leader.land(record("{}", &[("cache-control", "max-age=60")]), world.start).is_ok());
    assert!(matches!(late.landed(|| world.start).await, Followed::Again));
    assert!(matches!(early.landed(|| world.start).await, Followed::Again), "that it came before is not known");
    assert_eq!(how(&lead(Wish::default())), "lead", "nor is it kept");
    // One that takes long is not waited for twice.
    let (Lookup::Lead(slow), Lookup::Follow(waits)) = (lead(Wish::default()), lead(Wish::default())) else { panic!() };
    let wish = Wish { avoided: Some(waits.flight()), ..Wish::default() };
    let (Lookup::Lead(second), Lookup::Follow(_)) = (lead(wish), lead(wish)) else { panic!() };
    drop(slow);
    assert_eq!(how(&lead(Wish::default())), "follow", "the first is over, and not the second");
    drop(second);
    assert_eq!(how(&lead(Wish::default())), "lead");
}

#[tokio::test]
async fn who_may_have_more_does_not_fail_with_who_may_have_less() {
    let world = World::new();
    let Lookup::Lead(leader) = world.lookup(1, RULE, Duration::ZERO) else { panic!() };
    let mut question = world.made(1, RULE);
    question.most_bytes *= 2;
    let question = Arc::new(question);
    let (Lookup::Follow(mut same), Lookup::Follow(mut more)) =
        (world.lookup(1, RULE, Duration::ZERO), question.lookup(Wish::default(), world.start))
    else {
        panic!()
    };
    let too_large = Unanswered { refusal: Refusal::RecordTooLarge, failing: false };
    assert!(leader.land(Err(too_large), world.start).is_err());
    assert!(matches!(same.landed(|| world.start).await, Followed::Failed(Refusal::RecordTooLarge)));
    assert!(matches!(more.landed(|| world.start).await, Followed::Again));
}

/// How soon "no match" comes depends on when the register was last asked, not on whether it knows anybody.
#[test]
fn no_match_needs_the_register_alike_whether_or_not_there_is_a_record() {
    let rule = CacheRule { no_match: 5 * SECOND, ..RULE };
    let world = World::new();
    let says = [("cache-control", "max-age=60")];
    // Before a record of the register was seen nothing is known of how long they are fresh.
    drop(world.fetch(9, rule, unknown(), Duration::ZERO));
    assert_eq!(how(&world.lookup(9, rule, SECOND)), "lead");
    drop(world.fetch(8, rule, record("{}", &says), Duration::ZERO));
    drop(world.fetch(1, rule, record("{}", &says), Duration::ZERO));
    drop(world.fetch(2, rule, unknown(), Duration::ZERO));
    // Whether "no match" about that number is answered without the register.
    let without = |number, at| match world.lookup(number, rule, at) {
        Lookup::Hit(hit) => matches!(hit.fetched.kept, Kept::Lately),
        Lookup::Lead(_) => false,
        Lookup::Follow(_) => panic!(),
    };
    for at in [0, 1, 4, 5, 6, 30] {
        let at = at * SECOND;
        assert_eq!((without(1, at), without(2, at)), (at < 5 * SECOND, at < 5 * SECOND), "{at:?}");
    }
    // Asked again about both, it is known again about both.
    let Lookup::Hit(hit) = world.lookup(1, rule, 10 * SECOND) else { panic!() };
    assert!(matches!(hit.fetched.kept, Kept::Unasked));
    let wish = Wish { unstored: true, ..Wish::default() };
    let Lookup::Lead(leader) = world.question(1, rule).lookup(wish, world.after(10 * SECOND)) else { panic!() };
    drop(leader.land(record("{}", &says), world.after(10 * SECOND)));
    drop(world.fetch(2, rule, unknown(), 10 * SECOND));
    assert!(without(1, 14 * SECOND) && without(2, 14 * SECOND));
    // A register whose records are not fresh for so long: not for longer than they are.
    drop(world.fetch(3, rule, record("{}", &[("cache-control", "max-age=2"), ("etag", "\"1\"")]), 20 * SECOND));
    drop(world.fetch(4, rule, unknown(), 20 * SECOND));
    let pairs = [1, 3].map(|at| (without(3, (20 + at) * SECOND), without(4, (20 + at) * SECOND)));
    assert_eq!(pairs, [(true, true), (false, false)]);
    // One that lets nothing be kept: never.
    drop(world.fetch(5, rule, record("{}", &[("cache-control", "no-store")]), 20 * SECOND));
    drop(world.fetch(6, rule, unknown(), 20 * SECOND));
    assert!(!without(5, 20 * SECOND) && !without(6, 20 * SECOND));
}

#[test]
fn an_agency_is_told_of_what_it_filled_itself_alone() {
    let world = World::new();
    drop(world.fetch(1, RULE, record("{}", &[("cache-control", "max-age=60"), ("age", "3")]), Duration::ZERO));
    let mut other = world.made(1, RULE);
    other.agency = AgencyId::new("bank");
    let other = Arc::new(other);
    let hit = |lookup| match lookup {
        Lookup::Hit(hit) => (hit.fetched.own, hit.fetched.life.map(|life| (life.age.as_secs(), life.ttl))),
        other => panic!("{other:?}"),
    };
    assert_eq!(hit(world.lookup(1, RULE, 5 * SECOND)), (true, Some((8, 52))));
    assert!(!hit(other.lookup(Wish::default(), world.after(5 * SECOND))).0);
}

#[test]
fn who_wants_it_younger_has_the_register_asked_and_waits_for_nobody() {
    let world = World::new();
    drop(world.fetch(1, RULE, record("{}", &[("cache-control", "max-age=60")]), Duration::ZERO));
    let young = |seconds| {
        let wish = Wish { youngest: Some(seconds * SECOND), ..Wish::default() };
        how(&world.question(1, RULE).lookup(wish, world.after(5 * SECOND)))
    };
    assert_eq!([young(0), young(4), young(6)], ["lead", "lead", "hit"]);
    let (Lookup::Lead(_first), Lookup::Lead(_)) = (
        world.lookup(2, RULE, SECOND),
        world.question(2, RULE).lookup(Wish { youngest: Some(SECOND), ..Wish::default() }, world.after(SECOND)),
    ) else {
        panic!()
    };
}

#[test]
fn what_cannot_all_be_tagged_is_not_kept() {
    let world = World::new();
    let long = "x".repeat(300).leak();
    drop(world.fetch(1, RULE, record("{}", &[("cache-control", "max-age=60"), ("cache-tag", long)]), Duration::ZERO));
    assert_eq!(how(&world.lookup(1, RULE, SECOND)), "lead");
}

/// What a reader gets was in the register when, or after, the last purge that was over when the reader began: in any interleaving of
/// readers that lead, follow and hit, and of a register that is slow by chance.
#[test]
fn no_read_that_begins_after_a_purge_sees_what_was_before_it() {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
    const PURGES: u64 = 400;
    const READERS: u64 = 4;
    let world = World::new();
    let (register, purged, over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let (hits, reads) = (AtomicU64::new(0), AtomicU64::new(0));
    let version = |found: &Found| found.record().map_or(0, |raw| raw.len() as u64);
    let read = async |chance: &mut u64| {
        let mut wish = Wish::default();
        loop {
            match world.question(1, RULE).lookup(wish, world.start) {
                Lookup::Hit(hit) => {
                    hits.fetch_add(1, SeqCst);
                    return version(&hit.fetched.found);
                }
                Lookup::Follow(mut follower) => match follower.landed(|| world.start).await {
                    Followed::Served(fetched) => return version(&fetched.found),
                    Followed::Again | Followed::Alone => {}
                    Followed::Failed(_) => wish.avoided = Some(follower.flight()),
                },
                Lookup::Lead(leader) => {
                    // What the register has when it is asked; its answer may be late, or lost with whoever asked.
                    let now = usize::try_from(register.load(SeqCst)).unwrap();
                    *chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    for _ in 0..(*chance >> 60) {
                        thread::yield_now();
                        tokio::task::yield_now().await;
                    }
                    if *chance >> 56 & 7 == 0 {
                        drop(leader);
                        continue;
                    }
                    let found = Found::Record(Raw::seal(Bytes::from(vec![b'1'; now])));
                    let answer =
                        answer(Some(found), StatusCode::OK, &[("cache-control", "max-age=60"), ("etag", "\"1\"")]);
                    return version(&leader.land(Ok(answer), world.start).unwrap().found);
                }
            }
        }
    };
    thread::scope(|scope| {
        for reader in 0..READERS {
            let (read, reads, purged, over) = (&read, &reads, &purged, &over);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                let mut chance = reader + 1;
                runtime.block_on(async {
                    while !over.load(SeqCst) {
                        let least = purged.load(SeqCst);
                        let seen = read(&mut chance).await;
                        assert!(seen >= least, "version {seen} was read after {least} was purged");
                        reads.fetch_add(1, SeqCst);
                    }
                });
            });
        }
        scope.spawn(|| {
            for next in 1..=PURGES {
                register.store(next, SeqCst);
                let kinds = [popgate_caching::purges::Kind::Hard, popgate_caching::purges::Kind::Soft];
                world.purge(1, kinds[usize::try_from(next % 2).unwrap()]);
                purged.store(next, SeqCst);
                // A few reads, or some that are under way.
                let (until, since) = (reads.load(SeqCst) + next % 32, Instant::now());
                while reads.load(SeqCst) < until && since.elapsed() < SECOND {
                    thread::yield_now();
                }
            }
            over.store(true, SeqCst);
        });
    });
    assert!(hits.load(SeqCst) > PURGES, "many reads are hits: {}", hits.load(SeqCst));
}

/// RFC 9111, sections 4 and 5.2.2.5.
#[tokio::test]
async fn what_the_register_gives_to_one_is_for_nobody_who_waited() {
    for (says, shared) in
        [("max-age=60", true), ("max-age=0", true), ("no-store", false), ("private", false), ("no-cache", false)]
    {
        let world = World::new();
        let (Lookup::Lead(leader), Lookup::Follow(mut follower)) =
            (world.lookup(1, RULE, Duration::ZERO), world.lookup(1, RULE, Duration::ZERO))
        else {
            panic!()
        };
        assert!(leader.land(record("{}", &[("cache-control", says), ("etag", "\"1\"")]), world.start).is_ok());
        let followed = follower.landed(|| world.start).await;
        assert_eq!(matches!(followed, Followed::Served(_)), shared, "`{says}`: {followed:?}");
        assert_eq!(matches!(followed, Followed::Alone), !shared, "`{says}`");
        // What is not known about somebody is told apart by nothing: it is for others where records are.
        let (Lookup::Lead(leader), Lookup::Follow(mut follower)) =
            (world.lookup(2, RULE, Duration::ZERO), world.lookup(2, RULE, Duration::ZERO))
        else {
            panic!()
        };
        assert!(leader.land(unknown(), world.start).is_ok());
        assert_eq!(matches!(follower.landed(|| world.start).await, Followed::Served(_)), shared, "`{says}`");
    }
}

#[tokio::test]
async fn whom_the_register_still_bears_does_not_fail_with_whom_it_does_not() {
    let world = World::new();
    let ranked = |class| {
        let question = Question { class, ..world.made(1, RULE) };
        Arc::new(question).lookup(Wish::default(), world.start)
    };
    let (Lookup::Lead(leader), Lookup::Follow(mut batch), Lookup::Follow(mut emergency)) =
        (ranked(Class::Batch), ranked(Class::Batch), ranked(Class::Emergency))
    else {
        panic!()
    };
    let busy = Unanswered { refusal: Refusal::RegisterBusy { retry_after: SECOND }, failing: true };
    assert!(leader.land(Err(busy), world.start).is_err());
    assert!(matches!(batch.landed(|| world.start).await, Followed::Failed(Refusal::RegisterBusy { .. })));
    assert!(matches!(emergency.landed(|| world.start).await, Followed::Again));
}

#[test]
fn a_late_answer_does_not_displace_that_of_a_later_fetch() {
    let world = World::new();
    let young = |at: u32| {
        let wish = Wish { youngest: Some(Duration::ZERO), ..Wish::default() };
        match world.question(1, RULE).lookup(wish, world.after(at * SECOND)) {
            Lookup::Lead(leader) => leader,
            other => panic!("{other:?}"),
        }
    };
    let found = |at: u32| match world.lookup(1, RULE, at * SECOND) {
        Lookup::Hit(hit) => hit.fetched.found.record().map_or(0, Raw::len),
        other => panic!("{other:?}"),
    };
    let says = [("cache-control", "max-age=60")];
    let (slow, later) = ([young(0), young(0), young(0)], young(1));
    assert!(later.land(record("later", &says), world.after(SECOND)).is_ok());
    let late = [record("late", &says), unknown(), record("late", &[("cache-control", "no-store")])];
    for (slow, late) in slow.into_iter().zip(late) {
        // It serves whoever asked for it, and is not kept.
        assert!(slow.land(late, world.after(2 * SECOND)).is_ok());
        assert_eq!(found(3), 5);
    }
}

#[test]
fn a_clock_that_is_set_back_keeps_nothing_fresh() {
    let world = World::new();
    drop(world.fetch(1, RULE, record("{}", &[("cache-control", "max-age=86400")]), Duration::ZERO));
    let back = Moment { now: world.start.now + 61 * SECOND, wall: world.start.wall - 3_600 * SECOND };
    assert_eq!(how(&world.question(1, RULE).lookup(Wish::default(), back)), "lead");
}

#[test]
fn who_wants_it_younger_gets_no_stale_record_though_the_register_fails() {
    let rule = CacheRule { stale_if_error: 600 * SECOND, ..RULE };
    let world = World::new();
    drop(world.fetch(1, rule, record("{}", &[("cache-control", "max-age=60")]), Duration::ZERO));
    for (youngest, good) in
        [(None, true), (Some(Duration::ZERO), false), (Some(80 * SECOND), false), (Some(100 * SECOND), true)]
    {
        let wish = Wish { youngest, ..Wish::default() };
        let at = world.after(90 * SECOND);
        let Lookup::Lead(leader) = world.question(1, rule).lookup(wish, at) else { panic!("{youngest:?}") };
        let told = leader.land(failing(), at);
        assert_eq!(told.is_ok(), good, "{youngest:?}");
        assert!(
            told.is_err() || told.is_ok_and(|fetched| fetched.own && fetched.life.is_some_and(|life| life.ttl == -30))
        );
    }
}

#[test]
fn a_list_is_purged_with_anybody_who_may_be_in_it() {
    let world = World::new();
    let question = Arc::new(Question { list: true, ..world.made(1, RULE) });
    let look = || question.lookup(Wish::default(), world.start);
    let Lookup::Lead(leader) = look() else { panic!() };
    assert!(leader.land(record("[]", &[("cache-control", "max-age=60")]), world.start).is_ok());
    assert_eq!(how(&look()), "hit");
    world.purge(2, popgate_caching::purges::Kind::Hard);
    assert_eq!(how(&look()), "lead");
}

#[test]
fn a_record_that_is_too_long_for_a_request_comes_neither_from_the_store_nor_by_a_304() {
    let world = World::new();
    let says = [("cache-control", "max-age=60"), ("etag", "\"1\"")];
    drop(world.fetch(1, RULE, record("{\"a\": 1}", &says), Duration::ZERO));
    let short = Arc::new(Question { most_bytes: 4, ..world.made(1, RULE) });
    for at in [SECOND, 2 * MINUTE] {
        assert_eq!(how(&short.lookup(Wish::default(), world.after(at))), "lead", "{at:?}");
        assert_ne!(how(&world.lookup(1, RULE, at)), "lead", "{at:?}");
    }
}
