//! What a node asks Redis, and what Redis answers: the arguments of three scripts and their replies.

use std::sync::LazyLock;

/// What a node settles of one rate limit.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RateArgs {
    pub(super) key: String,
    pub(super) run: u64,
    /// All that this run ever owed of this limit.
    pub(super) due: u64,
    /// What of it is owed if Redis does not know the node.
    pub(super) unknown: u64,
    /// The most to charge.
    pub(super) most: u64,
    /// The level of a bucket that Redis does not know.
    pub(super) level: f64,
    /// Tokens a microsecond.
    pub(super) speed: f64,
    pub(super) capacity: f64,
    pub(super) credit: f64,
    pub(super) nodes: u32,
}

/// What a node settles of one quota in one period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct QuotaArgs {
    pub(super) key: String,
    pub(super) run: u64,
    pub(super) call: u64,
    /// What earlier runs of this node counted, if it knows.
    pub(super) base: Option<u64>,
    /// What this run counted.
    pub(super) since: u64,
    /// What it may still spend.
    pub(super) left: u64,
    pub(super) credit: u64,
    pub(super) quota: u64,
    pub(super) nodes: u32,
    /// The most that this node ever heard all nodes counted: Redis may have lost some of it.
    pub(super) known: u64,
    /// Milliseconds.
    pub(super) kept: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Call {
    Rate(RateArgs),
    Quota(QuotaArgs),
    /// The node lives.
    Beat,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Reply {
    Rate { grant: u64, level: f64, time: u64 },
    Quota { current: bool, base: u64, total: u64, left: u64, run: u64, time: u64 },
    Beat { nodes: u32 },
}

/// One of the scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    Rate,
    Quota,
    Beat,
}

impl Script {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Rate => include_str!("rate.lua"),
            Self::Quota => include_str!("quota.lua"),
            Self::Beat => include_str!("beat.lua"),
        }
    }

    /// What Redis calls it.
    pub(super) fn hash(self) -> &'static str {
        static HASHES: LazyLock<[String; 3]> = LazyLock::new(|| {
            [Script::Rate, Script::Quota, Script::Beat].map(|it| redis::Script::new(it.text()).get_hash().to_owned())
        });
        let [rate, quota, beat] = &*HASHES;
        match self {
            Self::Rate => rate,
            Self::Quota => quota,
            Self::Beat => beat,
        }
    }
}

impl Call {
    pub(super) fn script(&self) -> Script {
        match self {
            Self::Rate(_) => Script::Rate,
            Self::Quota(_) => Script::Quota,
            Self::Beat => Script::Beat,
        }
    }

    /// The one key that the script touches, and its arguments.
    pub(super) fn parts(&self, prefix: &str, node: &str) -> (String, Vec<String>) {
        match self {
            Self::Rate(args) => (
                format!("{prefix}r:{{{}}}", args.key),
                vec![
                    node.to_owned(),
                    args.due.to_string(),
                    args.unknown.to_string(),
                    args.most.to_string(),
                    format!("{:e}", args.level),
                    format!("{:e}", args.speed),
                    format!("{:e}", args.capacity),
                    format!("{:e}", args.credit),
                    args.nodes.to_string(),
                    args.run.to_string(),
                ],
            ),
            Self::Quota(args) => (
                format!("{prefix}q:{{{}}}", args.key),
                vec![
                    node.to_owned(),
                    args.run.to_string(),
                    args.call.to_string(),
                    args.base.map_or_else(|| "-1".to_owned(), |base| base.to_string()),
                    args.since.to_string(),
                    args.left.to_string(),
                    args.credit.to_string(),
                    args.quota.to_string(),
                    args.nodes.to_string(),
                    args.known.to_string(),
                    LEASE_LIFE.to_string(),
                    args.kept.to_string(),
                ],
            ),
            Self::Beat => (format!("{prefix}nodes"), vec![node.to_owned(), BEAT_LIFE.to_string()]),
        }
    }

    /// Reads the reply, given as integers and strings. `None` if it is none of this script.
    pub(super) fn reply(&self, fields: &[Field]) -> Option<Reply> {
        match (self, fields) {
            (Self::Rate(_), [grant, level, time]) => {
                Some(Reply::Rate { grant: grant.whole()?, level: level.number()?, time: time.whole()? })
            }
            (Self::Quota(_), [current, base, total, left, run, time]) => Some(Reply::Quota {
                current: current.whole()? == 1,
                base: base.whole()?,
                total: total.whole()?,
                left: left.whole()?,
                run: run.whole()?,
                time: time.whole()?,
            }),
            (Self::Beat, [nodes]) => Some(Reply::Beat { nodes: u32::try_from(nodes.whole()?).ok()? }),
            _ => None,
        }
    }
}

/// One field of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Whole(i64),
    Text(String),
}

impl Field {
    fn whole(&self) -> Option<u64> {
        match self {
            Self::Whole(it) => u64::try_from(*it).ok(),
            Self::Text(it) => it.parse().ok(),
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Self::Whole(_) => None,
            Self::Text(it) => it.parse().ok().filter(|it: &f64| it.is_finite()),
        }
    }
}

/// How long a node is believed to live after it last said so, in microseconds.
pub(super) const BEAT_LIFE: u64 = 3_000_000;
/// How long what a node leased of a quota is kept for it after it last settled, in microseconds.
pub(super) const LEASE_LIFE: u64 = 20_000_000;
