//! The log of purges at Redis: two scripts on one key.

use std::sync::LazyLock;

use popgate_caching::purges::Purge;
use popgate_caching::spread::{Life, Logged, Reading};
use redis::{FromRedisValue, RedisError};

use super::GIVE_UP;
use crate::share::wire::{Wire, why};
use crate::share::{Config, Place, Why};

/// A connection to it; a copy is the same connection.
#[derive(Clone)]
pub(super) struct Log {
    wire: Wire,
    key: String,
    channel: String,
    /// 16 digits that stand for the nodes' key.
    fingerprint: String,
}

impl Log {
    /// Connects. The caller limits the time.
    pub(super) async fn open(share: &Config, fingerprint: u64) -> Result<Self, Why> {
        let wire = Wire::open(&share.place, &share.login, GIVE_UP).await?;
        let key = format!("{}purges", share.prefix);
        let fingerprint = format!("{fingerprint:016x}");
        Ok(Self { wire, key, channel: channel(share).unwrap_or_default(), fingerprint })
    }

    /// What came after that number in that log, as far as it is there; all that there is in another log, because its numbers begin
    /// anew, and what is gone everywhere would be but stale here.
    pub(super) async fn read(&mut self, known: Option<Life>, after: u64) -> Result<Reading, Why> {
        let (after, known) = (after.to_string(), known.map(digits).unwrap_or_default());
        let (life, head, first, records): (String, u64, u64, Vec<u8>) =
            self.run(&READ, &[after.as_bytes(), known.as_bytes()]).await?;
        let life = life_of(life.as_bytes()).ok_or(Why::Unready)?;
        Ok(Reading { life, head, purges: logged(first, &records) })
    }

    /// Adds a purge, and tells it on the channel.
    pub(super) async fn publish(&mut self, purge: Purge) -> Result<(), Why> {
        let channel = self.channel.clone();
        let _number: u64 = self.run(&PUBLISH, &[&purge.to_bytes(), channel.as_bytes()]).await?;
        Ok(())
    }

    async fn run<T: FromRedisValue>(&mut self, script: &Script, more: &[&[u8]]) -> Result<T, Why> {
        match self.call("EVALSHA", &script.hash, more).await {
            // A server that was restarted, or took another's place.
            Err(error) if error.code() == Some("NOSCRIPT") => self.call("EVAL", script.text, more).await.map_err(why),
            answer => answer.map_err(why),
        }
    }

    async fn call<T: FromRedisValue>(&mut self, how: &str, script: &str, more: &[&[u8]]) -> Result<T, RedisError> {
        let mut command = redis::cmd(how);
        command.arg(script).arg(1).arg(&self.key).arg(new_id() + &self.fingerprint).arg(KEPT).arg(LIFE).arg(more);
        self.wire.query(&command).await
    }
}

/// Where purges are told; nowhere in a cluster, whose connections hear nothing.
pub(super) fn channel(share: &Config) -> Option<String> {
    match share.place {
        Place::One(_) | Place::Sentinel { .. } => Some(format!("{}purges", share.prefix)),
        Place::Cluster(_) => None,
    }
}

/// A purge as the channel tells it: 32 digits of whose log it is, the purge, and its number.
pub(super) fn told(message: &[u8]) -> Option<(Life, Logged)> {
    let (life, rest) = message.split_at_checked(32)?;
    let (purge, number) = rest.split_at_checked(RECORD)?;
    let number = std::str::from_utf8(number).ok()?.parse().ok()?;
    Some((life_of(life)?, Logged { number, purge: Purge::from_bytes(purge)? }))
}

/// Numbered from the first. What is no purge is left out: its number is then missing, and the log does not go on.
fn logged(first: u64, records: &[u8]) -> Vec<Logged> {
    let purge = |(number, record): (u64, &[u8])| Some(Logged { number, purge: Purge::from_bytes(record)? });
    (first..).zip(records.chunks(RECORD)).filter_map(purge).collect()
}

/// 16 digits for a log that is new; only one that is stored counts.
fn new_id() -> String {
    let mut id = [0; 8];
    // The generator fails only if the operating system gave it no seed.
    if aws_lc_rs::rand::fill(&mut id).is_err() {
        tracing::error!("the random number generator failed");
    }
    format!("{:016x}", u64::from_be_bytes(id))
}

fn digits(life: Life) -> String {
    format!("{:032x}", life.0)
}

fn life_of(digits: &[u8]) -> Option<Life> {
    u128::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok().map(Life)
}

struct Script {
    text: &'static str,
    /// What Redis calls it.
    hash: String,
}

impl Script {
    fn new(text: &'static str) -> Self {
        Self { text, hash: redis::Script::new(text).get_hash().to_owned() }
    }
}

static READ: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("log.lua"), include_str!("read.lua"))));
static PUBLISH: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("log.lua"), include_str!("publish.lua"))));

/// How many purges the log keeps, 18 bytes each. MUST be the same on all nodes: another number needs another key.
const KEPT: u64 = 65_536;
/// How long the log is kept after it was last used, in milliseconds: marks of persons do not stay when the nodes are gone.
const LIFE: u64 = 86_400_000;
/// What a purge is long, in bytes; the scripts know it too.
const RECORD: usize = 18;

#[cfg(test)]
mod tests {
    use popgate_caching::mark::Marker;
    use popgate_caching::purges::{Kind, Scope};

    use super::*;

    fn purge(person: u8) -> Purge {
        Purge { scope: Scope::Subject(Marker::new(&[1; 16]).subject(&[person])), kind: Kind::Hard }
    }

    #[test]
    fn what_is_told_is_read_and_nothing_else() {
        let message = [&b"0123456789abcdef0123456789abcdef"[..], &purge(1).to_bytes(), b"12"].concat();
        let logged = Logged { number: 12, purge: purge(1) };
        assert_eq!(told(&message), Some((Life(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef), logged)));
        for length in 0..message.len() - 1 {
            assert_eq!(told(&message[..length]), None, "{length}");
        }
        assert_eq!(told(&[&message, &b"x"[..]].concat()), None);
    }

    #[test]
    fn records_are_numbered_and_what_is_none_leaves_a_gap() {
        let mut records: Vec<u8> = (1..=3).flat_map(|person| purge(person).to_bytes()).collect();
        let all = |numbers: [u64; 3]| numbers.map(|number| Logged { number, purge: purge(number as u8 - 10) }).to_vec();
        assert_eq!(logged(11, &records), all([11, 12, 13]));
        records[RECORD] = b'?';
        let numbers = |records: &[u8]| logged(11, records).iter().map(|logged| logged.number).collect::<Vec<_>>();
        assert_eq!(numbers(&records), [11, 13]);
        records.pop();
        assert_eq!(numbers(&records), [11]);
    }
}
