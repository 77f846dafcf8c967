//! Finding what refers to persons who must not be shown, so that nothing of it is read again.

use std::ops::Range;

use super::Captured;
use super::reader::Reader;
use super::sink::{Frame, Scalar, Sink, Spot, Want};
use crate::contract::{Field, RecordSchema, Reference, Shape};
use crate::disclose::Unreadable;
use crate::model::{FieldIx, FieldSet};

/// What is to be taken out of one record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cut {
    // INVARIANT: sorted.
    offsets: Vec<usize>,
    /// Fields that are withheld from the whole record.
    pub(crate) withheld: FieldSet,
    /// Fields of which anything is taken out.
    pub(crate) touched: FieldSet,
}

impl Cut {
    /// Whether there is nothing to take out.
    pub(crate) fn is_empty(&self) -> bool {
        self.offsets.is_empty() && self.withheld.is_empty()
    }

    /// Where the values begin that are not there any more.
    pub(crate) fn offsets(&self) -> &[usize] {
        &self.offsets
    }
}

/// Finds the references of a record to persons of whom `hides` says so, and those that do not say to whom: the element of an array of
/// numbers; the object around a number; at the record's root the number, and what the contract says goes with it.
///
/// # Errors
/// The record is not strictly readable, as [`super::capture`].
pub(crate) fn cut(record: &RecordSchema, bytes: &[u8], hides: &dyn Fn(&str) -> bool) -> Result<Cut, Unreadable> {
    let mut reader = Reader::new(record);
    let mut finding = Finding { record, hides, clear: FieldSet::EMPTY, cut: Cut::default() };
    reader.feed(bytes, &mut finding)?;
    reader.finish()?;
    let Finding { clear, mut cut, .. } = finding;
    // Who is named beside a number that is not there, nobody can say.
    for (_, shape) in record.shape.members() {
        let Shape::Leaf(field) = shape else { continue };
        let single = record.field(*field).is_some_and(|field| !field.array);
        let named = record.references.iter().find(|reference| reference.leaf == *field);
        if let Some(reference) = named.filter(|_| single && !clear.contains(*field)) {
            cut.withheld = cut.withheld.union(reference.with);
            cut.withheld.insert(reference.leaf);
        }
    }
    cut.touched = cut.touched.union(cut.withheld);
    cut.offsets.sort_unstable();
    cut.offsets.dedup();
    Ok(cut)
}

struct Finding<'a, 'h> {
    record: &'a RecordSchema,
    hides: &'h dyn Fn(&str) -> bool,
    /// Numbers at the record's root that may be shown.
    clear: FieldSet,
    cut: Cut,
}

impl<'a> Finding<'a, '_> {
    fn reference(&self, field: FieldIx) -> Option<&'a Reference> {
        self.record.references.iter().find(|reference| reference.leaf == field)
    }

    /// Takes the object out, with what goes with it elsewhere.
    fn object(&mut self, at: usize, field: FieldIx) {
        self.cut.offsets.push(at);
        self.cut.touched.insert(field);
        if let Some(reference) = self.reference(field) {
            self.cut.touched = self.cut.touched.union(reference.within);
            self.cut.withheld = self.cut.withheld.union(reference.with);
        }
    }

    /// An element is not there, nor what goes with the array elsewhere.
    fn element(&mut self, field: FieldIx) {
        self.cut.touched.insert(field);
        if let Some(reference) = self.reference(field) {
            self.cut.withheld = self.cut.withheld.union(reference.with);
        }
    }

    fn found(&mut self, spot: &Spot<'_, 'a>, shown: bool) {
        match &*spot.frames {
            [_root] if shown => self.clear.insert(spot.field.index),
            // Whoever is not clear in the end is withheld.
            [_root] => {}
            [.., inner] if !shown => self.object(inner.at, spot.field.index),
            _ => {}
        }
    }
}

impl<'a> Sink<'a> for Finding<'a, '_> {
    fn want(&self, field: &'a Field) -> Want {
        if self.reference(field.index).is_some() { Want::Hold } else { Want::Nothing }
    }

    fn passing(&mut self, _spot: Spot<'_, 'a>) {}

    fn piece(&mut self, _at: Range<usize>) {}

    fn scalar(&mut self, spot: Spot<'_, 'a>, scalar: &Scalar<'_>) {
        let shown = match scalar.captured() {
            Captured::Text(number) | Captured::Number(number) if !scalar.overlong => !(self.hides)(&number),
            // An element that is nobody.
            Captured::Null => spot.list.is_some(),
            _ => false,
        };
        if spot.list.is_none() {
            self.found(&spot, shown);
        } else if !shown {
            self.cut.offsets.push(scalar.at.start);
            self.element(spot.field.index);
        }
    }

    fn mistyped(&mut self, spot: Spot<'_, 'a>) {
        // An array, or an element of one, that is none is shown to nobody.
        if spot.field.array {
            self.element(spot.field.index);
        } else {
            self.found(&spot, false);
        }
    }

    fn list_begins(&mut self, _spot: Spot<'_, 'a>, _at: usize) {}

    fn list_ends(&mut self, _spot: Spot<'_, 'a>, _at: usize) {}

    fn leave(&mut self, frame: &Frame<'a>, root: bool, _at: usize) {
        if root || frame.list {
            return;
        }
        for (ordinal, (_, shape)) in frame.shape.members().enumerate() {
            if let Shape::Leaf(field) = shape
                && frame.seen & (1 << ordinal) == 0
                && self.reference(*field).is_some()
                && self.record.field(*field).is_some_and(|field| !field.array)
            {
                self.object(frame.at, *field);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{Class, Compare, Kind, ObjectShape};
    use crate::model::{FieldName, GroupId};

    /// `spouse_name` goes with `spouse_id`, and `father` is an object.
    fn cuttable() -> RecordSchema {
        let names = ["id", "spouse_id", "spouse_name", "children", "father.id", "father.name"];
        let field = |(at, name): (usize, &&str)| Field {
            index: FieldIx(at as u16),
            name: FieldName::new(&format!("Citizen.{name}")),
            path: name.split('.').map(str::to_owned).collect(),
            kind: Kind::String,
            array: *name == "children",
            group: GroupId::new("g"),
            class: Class::Basic,
            masks: vec![],
            implies: vec![],
            compare: Compare::Exact,
            whole: false,
        };
        let leaf = |name: &str, at: u16| (Box::from(name), Shape::Leaf(FieldIx(at)));
        let father = ObjectShape::new([leaf("id", 4), leaf("name", 5)]).unwrap();
        let flat = names.iter().take(4).enumerate().map(|(at, name)| leaf(name, at as u16));
        let shape = ObjectShape::new(flat.chain([("father".into(), Shape::Object(father))])).unwrap();
        let set = |fields: &[u16]| fields.iter().map(|field| FieldIx(*field)).collect();
        let reference = |leaf, with: &[u16], within: &[u16]| Reference { leaf, with: set(with), within: set(within) };
        RecordSchema {
            name: "Citizen".into(),
            fields: names.iter().enumerate().map(field).collect(),
            shape,
            subject: FieldIx(0),
            attributes: vec![],
            references: vec![
                reference(FieldIx(1), &[2], &[]),
                reference(FieldIx(3), &[], &[]),
                reference(FieldIx(4), &[], &[5]),
            ],
        }
    }

    /// What is left of a record in which that person is sealed, by offsets into the text.
    fn found(record: &str) -> Result<(Vec<&str>, Vec<u16>), Unreadable> {
        let cut = cut(&cuttable(), record.as_bytes(), &|number| number == "666")?;
        let at = |at: &usize| record.get(*at..).unwrap_or_default();
        Ok((cut.offsets().iter().map(at).collect(), cut.withheld.iter().map(|field| field.0).collect()))
    }

    #[test]
    fn an_element_an_object_or_a_number_with_what_goes_with_it_is_taken_out() {
        let clear = r#"{"id":"1","spouse_id":"2","spouse_name":"A","children":["3"],"father":{"id":"4","name":"B"}}"#;
        assert_eq!(found(clear), Ok((vec![], vec![])));
        let touched =
            cut(&cuttable(), br#"{"id":"1","spouse_id":"2","father":{"id":"666"}}"#, &|number| number == "666");
        assert_eq!(touched.unwrap().touched, [FieldIx(4), FieldIx(5)].into_iter().collect());
        let (cuts, withheld) = found(
            r#"{"id":"1","spouse_id":"\u0036\u00366","spouse_name":"A","children":["3","666",null],"father":{"name":"B","id":"666"}}"#,
        )
        .unwrap();
        assert_eq!(cuts.len(), 2);
        assert!(cuts[0].starts_with(r#""666",null"#) && cuts[1].starts_with(r#"{"name":"B""#), "{cuts:?}");
        assert_eq!(withheld, [1, 2]);
    }

    #[test]
    fn a_reference_that_does_not_say_to_whom_is_taken_out_too() {
        for father in
            [r#"{"name":"B"}"#, r#"{"id":null,"name":"B"}"#, r#"{"id":7,"name":"B"}"#, r#"{"id":{},"name":"B"}"#]
        {
            let record = format!(r#"{{"id":"1","father":{father}}}"#);
            let (cuts, withheld) = found(&record).unwrap();
            assert!(cuts.len() == 1 && cuts[0].starts_with(father), "{father} {cuts:?}");
            assert_eq!(withheld, [1, 2], "no number, no name");
        }
        for spouse in ["null", "7", "[]", r#""666""#] {
            let (_, withheld) = found(&format!(r#"{{"id":"1","spouse_id":{spouse},"spouse_name":"A"}}"#)).unwrap();
            assert_eq!(withheld, [1, 2], "{spouse}");
        }
        assert_eq!(found(r#"{"id":"1","spouse_id":"2","father":null}"#), Ok((vec![], vec![])));
        assert!(found(r#"{"id":"1""#).is_err());
    }
}
