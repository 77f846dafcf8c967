//! What a register's record must have (`x-gateway-strict`): members by name, known to the reader as bits.

use std::collections::BTreeSet;

use super::{Answer, ObjectShape, Operation, RecordSchema, Shape};
use crate::model::FieldIx;

impl ObjectShape {
    /// The same, of which every object must have the members of those names. A name that is not declared counts for nothing.
    #[must_use]
    pub fn requiring<'n>(mut self, names: impl IntoIterator<Item = &'n str>) -> Self {
        let ordinals = names.into_iter().filter_map(|name| self.member(name.as_bytes())).map(|(ordinal, _)| ordinal);
        let required = ordinals.fold(0, |bits, ordinal| bits | 1 << ordinal);
        self.required = required;
        self
    }

    /// Whether an object with the members of those ordinals (as bits) has all that it must have.
    #[inline]
    pub(crate) fn is_complete(&self, seen: u128) -> bool {
        self.required & !seen == 0
    }

    /// The first member, by name, that an object with those members must have and has not.
    pub(crate) fn lacking(&self, seen: u128) -> Option<&Shape> {
        let missing = self.required & !seen;
        let ordinal = usize::try_from(missing.trailing_zeros()).ok().filter(|_| missing != 0)?;
        self.members.get(ordinal).map(|(_, shape)| shape)
    }
}

impl Shape {
    /// A leaf in it, and how many names deeper that stands: by those a member without a field of its own is named.
    pub(crate) fn leaf(&self) -> Option<(FieldIx, usize)> {
        match self {
            Self::Leaf(field) => Some((*field, 0)),
            Self::Object(shape) | Self::Array(shape) => {
                let (field, below) = shape.members().find_map(|(_, member)| member.leaf())?;
                Some((field, below + 1))
            }
        }
    }
}

impl RecordSchema {
    /// The full name of the member that holds that leaf so many names deeper.
    fn member_name(&self, leaf: FieldIx, below: usize) -> String {
        let name = self.field(leaf).map(|field| field.name.as_str()).unwrap_or_default();
        let parts = name.split('.').count().saturating_sub(below);
        name.split('.').take(parts).collect::<Vec<_>>().join(".")
    }
}

impl Operation {
    /// The full name of what a record of this operation lacks: the member that holds that leaf so many names deeper.
    pub(crate) fn lacked(&self, leaf: FieldIx, below: usize) -> String {
        let name = self.record.member_name(leaf, below);
        match &self.answer {
            // All of its records: what is cut to the record's own name is the member of the envelope that holds them.
            Answer::List(list) if !name.contains('.') => format!("{}.{}", list.page.name, list.records),
            Answer::List(_) | Answer::Record | Answer::Match | Answer::Whole(_) => name,
        }
    }

    /// The full names of all that a register's answer must have, at every level.
    pub(crate) fn must_have(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let shape = match &self.answer {
            Answer::List(list) => &list.page.shape,
            Answer::Record | Answer::Match | Answer::Whole(_) => &self.record.shape,
        };
        self.collect(shape, &mut found);
        found
    }

    fn collect(&self, shape: &ObjectShape, found: &mut BTreeSet<String>) {
        for (ordinal, (_, member)) in shape.members().enumerate() {
            if shape.required & (1 << ordinal) != 0 {
                found.extend(member.leaf().map(|(leaf, below)| self.lacked(leaf, below)));
            }
            if let Shape::Object(inner) | Shape::Array(inner) = member {
                self.collect(inner, found);
            }
        }
    }
}
