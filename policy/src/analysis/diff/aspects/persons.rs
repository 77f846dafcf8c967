//! Whom a record is about, and whose numbers it holds beside: what hides a sealed person in the records of others.

use std::collections::BTreeSet;

use super::{Direction, Found};
use crate::contract::{Class, RecordSchema, Reference};
use crate::model::{FieldIx, FieldSet};

impl Found {
    /// Of what both contracts have.
    pub(super) fn persons(&mut self, old: &RecordSchema, new: &RecordSchema) {
        let (before, after) = (name(old, old.subject), name(new, new.subject));
        if before != after {
            let said = format!("a record `{}` is about the person of `{after}` (was `{before}`)", new.name);
            self.say(Direction::Both, said);
        }
        for field in new.fields.iter().filter(|field| old.field_named(field.name.as_str()).is_some()) {
            let of = |record: &RecordSchema| {
                let leaf = record.field_named(field.name.as_str())?.index;
                record.references.iter().find(|reference| reference.leaf == leaf).copied()
            };
            match (of(old), of(new)) {
                (None, None) => {}
                (None, Some(_)) => {
                    let said = format!("`{}` is now another person's number: not shown of a sealed person", field.name);
                    self.say(Direction::Narrows, said);
                }
                (Some(_), None) => {
                    let said =
                        format!("`{}` is no longer another person's number: shown of a sealed person too", field.name);
                    self.say(Direction::Widens, said);
                    self.sensitive.extend((field.class == Class::Sensitive).then(|| field.name.to_string()));
                }
                (Some(before), Some(after)) => self.beside(field.name.as_str(), (old, before), (new, after)),
            }
        }
    }

    /// What tells of the same person as a number: the more of it, the less is shown of a sealed person.
    fn beside(&mut self, leaf: &str, old: (&RecordSchema, Reference), new: (&RecordSchema, Reference)) {
        let shared = |record: &RecordSchema, fields: FieldSet| -> BTreeSet<String> {
            let both = |name: &String| [old.0, new.0].iter().all(|record| record.field_named(name).is_some());
            fields.iter().map(|field| name(record, field)).filter(both).collect()
        };
        let beside =
            |(record, reference): (&RecordSchema, Reference)| shared(record, reference.with.union(reference.within));
        let already = self.aspects.len();
        self.demands(beside(old), beside(new), |field, added| {
            let verb = if added { "now goes" } else { "no longer goes" };
            format!("`{field}` {verb} with the person of `{leaf}`")
        });
        if self.aspects.len() > already {
            let lost = beside(old).difference(&beside(new)).cloned().collect::<Vec<_>>();
            let sensitive = |name: &String| new.0.field_named(name).is_some_and(|it| it.class == Class::Sensitive);
            self.sensitive.extend(lost.into_iter().filter(sensitive));
        }
    }
}

fn name(record: &RecordSchema, field: FieldIx) -> String {
    record.field(field).map(|field| field.name.to_string()).unwrap_or_default()
}
