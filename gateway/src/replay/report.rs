//! What a replay found, by agency and what it asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use jiff::Timestamp;
use popgate_policy::bundle::Digest;
use popgate_policy::engine::mirror::Gone;
use popgate_policy::model::DisclosureId;
use serde_json::{Map, Value, json};

use super::judge::{Class, Verdict, Why};
use super::{Asked, Before, Place, Replay, agency_of};

/// What a replay found.
#[derive(Debug)]
pub struct Report {
    /// The candidate.
    pub candidate: Digest,
    /// What it was compared with; `None`: with what the records say.
    pub against: Option<Digest>,
    /// The first and the last request that was looked at.
    pub period: Option<(Timestamp, Timestamp)>,
    /// All requests. Each person whom a list named counts as one.
    pub total: Tally,
    /// By agency, operation and purpose.
    pub rows: Vec<Row>,
    /// Bundles that decided and whose files were not found.
    pub unknown: BTreeSet<Digest>,
}

/// The requests of one agency for one operation and purpose.
#[derive(Debug)]
pub struct Row {
    /// Who.
    pub agency: String,
    /// What.
    pub operation: String,
    /// What for.
    pub purpose: String,
    /// How many of what.
    pub tally: Tally,
}

/// How many requests would be answered how.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// All of them.
    pub requests: u64,
    /// As then.
    pub same: u64,
    /// Refused, by code.
    pub refused_now: BTreeMap<&'static str, u64>,
    /// Answered, and were not.
    pub answered_now: u64,
    /// With other fields.
    pub differ: u64,
    /// Of those, by field, how many would show less of it.
    pub less: BTreeMap<String, u64>,
    /// Of those, by field, how many would show more of it.
    pub more: BTreeMap<String, u64>,
    /// Not to be told, and on what that depends.
    pub depends: BTreeMap<Why, u64>,
    /// With names that the candidate does not have.
    pub gone: BTreeMap<Gone, u64>,
    /// Refused then for a reason that is none of a bundle's.
    pub not_replayed: u64,
    /// Some requests, by kind.
    pub examples: BTreeMap<&'static str, Vec<DisclosureId>>,
}

impl Report {
    pub(super) fn of(replay: Replay<'_>) -> Self {
        let mut rows: BTreeMap<(String, String, String), Tally> = BTreeMap::new();
        let mut total = Tally::default();
        let most = replay.examples;
        for (asked, place) in &replay.places {
            let Asked { system, operation, purpose, .. } = asked;
            let row = (agency_of(system).to_owned(), operation.to_string(), purpose.to_string());
            let tally = rows.entry(row).or_default();
            for count in of(place) {
                tally.add(&count.verdict, count.count, &count.examples, most);
                total.add(&count.verdict, count.count, &[], 0);
            }
        }
        let rows = rows.into_iter().map(|((agency, operation, purpose), mut tally)| {
            tally.examples.values_mut().for_each(|some| some.sort_by_key(|id| id.to_bytes()));
            Row { agency, operation, purpose, tally }
        });
        Self {
            candidate: replay.candidate.bundle().digest(),
            against: match &replay.before {
                Before::Records(_) => None,
                Before::Bundle(mirror) => Some(mirror.bundle().digest()),
            },
            period: replay.first.zip(replay.last),
            total,
            rows: rows.collect(),
            unknown: replay.unknown.into_iter().collect(),
        }
    }

    /// Whether every request would be answered as then, for sure.
    pub fn is_same(&self) -> bool {
        self.total.differing() == 0 && self.total.depends.is_empty()
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        let row = |row: &Row| {
            let mut value = json!({ "agency": row.agency, "operation": row.operation, "purpose": row.purpose });
            merge(&mut value, row.tally.json());
            value
        };
        let mut value = json!({
            "candidate": self.candidate.to_string(),
            "against": self.against.map_or_else(|| "records".to_owned(), |digest| digest.to_string()),
            "from": self.period.map(|(first, _)| first.to_string()),
            "to": self.period.map(|(_, last)| last.to_string()),
            "unknown_bundles": self.unknown.iter().map(Digest::to_string).collect::<Vec<_>>(),
        });
        merge(&mut value, self.total.json());
        merge(&mut value, json!({ "by_agency": self.rows.iter().map(row).collect::<Vec<_>>() }));
        value
    }

    /// For people.
    ///
    /// # Errors
    /// If `out` cannot be written.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let total = &self.total;
        let against = match self.against {
            None => "what the records say".to_owned(),
            Some(digest) => format!("bundle {}", short(digest)),
        };
        writeln!(
            out,
            "{} requests against candidate {}, compared with {against}",
            total.requests,
            short(self.candidate)
        )?;
        if let Some((first, last)) = self.period {
            writeln!(out, "from {first:.0} to {last:.0}")?;
        }
        for (count, what) in total.lines() {
            if count > 0 || what == "answered the same" {
                writeln!(out, "{count:>10}  {what}")?;
            }
        }
        let mut agency = "";
        for row in self.rows.iter().filter(|row| row.tally.differing() + row.tally.unsure() > 0) {
            if row.agency != agency {
                agency = &row.agency;
                let of_agency = self.rows.iter().filter(|other| other.agency == agency);
                let (all, differ) = of_agency.fold((0, 0), |(all, differ), other| {
                    (all + other.tally.requests, differ + other.tally.differing())
                });
                writeln!(out, "\n{agency}: {differ} of {all} differ")?;
            }
            row.write(out)?;
        }
        if !self.unknown.is_empty() {
            let digests: Vec<String> = self.unknown.iter().map(|digest| short(*digest)).collect();
            writeln!(
                out,
                "\nnote: the files of {} that decided then were not found ({}): without them more depends on the record; name the node's state folder with --state, or a bundle to compare with with --against",
                if digests.len() == 1 { "the bundle" } else { "bundles" },
                digests.join(", "),
            )?;
        }
        if total.depends.contains_key(&Why::Claims) {
            writeln!(out, "\nnote: what agencies claimed is sealed: --audit-key opens it")?;
        }
        Ok(())
    }
}

impl Row {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let Tally { refused_now, answered_now, less, more, depends, gone, examples, .. } = &self.tally;
        writeln!(out, "  {} for {}", self.operation, self.purpose)?;
        let of = |kind: &str| {
            let some = examples.get(kind).map_or(&[][..], Vec::as_slice).iter().map(DisclosureId::to_string);
            let some = some.collect::<Vec<_>>();
            if some.is_empty() { String::new() } else { format!("  such as {}", some.join(" ")) }
        };
        for (code, count) in refused_now {
            writeln!(out, "{count:>10}  refused now: {code}{}", of(REFUSED_NOW))?;
        }
        if *answered_now > 0 {
            writeln!(out, "{answered_now:>10}  answered now{}", of(ANSWERED_NOW))?;
        }
        for (what, fields, kind) in [("less", less, LESS), ("more", more, MORE)] {
            for (at, (field, count)) in fields.iter().enumerate() {
                writeln!(out, "{count:>10}  {what} of {field}{}", if at == 0 { of(kind) } else { String::new() })?;
            }
        }
        for (why, count) in depends {
            writeln!(out, "{count:>10}  depends on the {}{}", why.as_str(), of(DEPENDS))?;
        }
        for (what, count) in gone {
            writeln!(out, "{count:>10}  the candidate does not have this {}{}", what.as_str(), of(GONE))?;
        }
        Ok(())
    }
}

impl Tally {
    fn add(&mut self, verdict: &Verdict, count: u64, some: &[DisclosureId], most: usize) {
        self.requests += count;
        let Verdict { class, less, more, .. } = verdict;
        let mut kinds = Vec::new();
        match class {
            Class::Same => self.same += count,
            Class::RefusedNow(code) => {
                *self.refused_now.entry(code).or_default() += count;
                kinds.push(REFUSED_NOW);
            }
            Class::AnsweredNow => {
                self.answered_now += count;
                kinds.push(ANSWERED_NOW);
            }
            Class::Differs => self.differ += count,
            Class::Depends(why) => {
                *self.depends.entry(*why).or_default() += count;
                kinds.push(DEPENDS);
            }
            Class::Gone(gone) => {
                *self.gone.entry(*gone).or_default() += count;
                kinds.push(GONE);
            }
            Class::NotReplayed => self.not_replayed += count,
        }
        for (fields, into, kind) in [(less, &mut self.less, LESS), (more, &mut self.more, MORE)] {
            for field in fields {
                *into.entry(field.clone()).or_default() += count;
            }
            if !fields.is_empty() {
                kinds.push(kind);
            }
        }
        for kind in kinds {
            let examples = self.examples.entry(kind).or_default();
            let room = most.saturating_sub(examples.len());
            examples.extend(some.iter().take(room));
        }
    }

    /// How many would be answered otherwise.
    pub fn differing(&self) -> u64 {
        self.refused_now.values().sum::<u64>() + self.answered_now + self.differ + self.gone.values().sum::<u64>()
    }

    fn unsure(&self) -> u64 {
        self.depends.values().sum()
    }

    fn lines(&self) -> [(u64, &'static str); 7] {
        [
            (self.same, "answered the same"),
            (self.refused_now.values().sum(), "refused now"),
            (self.answered_now, "answered now"),
            (self.differ, "answered with other fields"),
            (self.gone.values().sum(), "ask for what the candidate does not have"),
            (self.unsure(), "depend on what the log does not have"),
            (self.not_replayed, "refused then for a reason that is none of a bundle's"),
        ]
    }

    fn json(&self) -> Value {
        let by = |map: &mut dyn Iterator<Item = (&str, u64)>| -> Map<String, Value> {
            map.map(|(name, count)| (name.to_owned(), count.into())).collect()
        };
        let examples: Map<String, Value> = self
            .examples
            .iter()
            .filter(|(_, some)| !some.is_empty())
            .map(|(kind, some)| {
                ((*kind).to_owned(), some.iter().map(DisclosureId::to_string).collect::<Vec<_>>().into())
            })
            .collect();
        json!({
            "requests": self.requests,
            "same": self.same,
            "refused_now": by(&mut self.refused_now.iter().map(|(code, count)| (*code, *count))),
            "answered_now": self.answered_now,
            "differ": self.differ,
            "less": by(&mut self.less.iter().map(|(field, count)| (field.as_str(), *count))),
            "more": by(&mut self.more.iter().map(|(field, count)| (field.as_str(), *count))),
            "depends_on": by(&mut self.depends.iter().map(|(why, count)| (why.as_str(), *count))),
            "gone": by(&mut self.gone.iter().map(|(gone, count)| (gone.as_str(), *count))),
            "not_replayed": self.not_replayed,
            "examples": examples,
        })
    }
}

fn of(place: &Place) -> impl Iterator<Item = &super::judge::Count> {
    place.cases.values().flat_map(|case| case.seen.values())
}

fn merge(value: &mut Value, more: Value) {
    if let (Some(object), Value::Object(more)) = (value.as_object_mut(), more) {
        object.extend(more);
    }
}

/// Enough to tell bundles apart.
fn short(digest: Digest) -> String {
    digest.to_string().chars().take(12).collect()
}

const REFUSED_NOW: &str = "refused_now";
const ANSWERED_NOW: &str = "answered_now";
const LESS: &str = "less";
const MORE: &str = "more";
const DEPENDS: &str = "depends";
const GONE: &str = "gone";
