//! The list of sealed persons: whom only listed systems and agencies may see.
//!
//! ```text
//! popgate sealed list 1, key 1f0c6a9be1a9e6d2
//! # a person's tag; then who may see the person all the same: agencies and systems
//! aea231b80fd85c9f2979bff8c89f93bedfa276d9f0d879554a8385f50e9a7dae
//! 5d41402abc4b2a76b9719d911017c5925d41402abc4b2a76b9719d911017c592 courts justice/registry
//! end 2
//! ```

use std::collections::BTreeMap;

use popgate_policy::model::Personal;

use super::list::{self, Form};
use super::{Keyed, Tag};

/// Who is sealed, and who may see them all the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sealed(BTreeMap<Tag, Vec<String>>);

impl Sealed {
    /// Reads a file.
    ///
    /// # Errors
    /// Line and mistake; nothing of the line is repeated.
    pub fn parse(text: &str, keyed: &Keyed) -> Result<Self, String> {
        list::parse(text, keyed, &FORM).map(Self)
    }

    /// The file for that list.
    pub fn to_text(&self, keyed: &Keyed) -> String {
        list::to_text(self.0.iter().map(|(tag, seen_by)| (tag, seen_by.as_slice())), keyed, &FORM)
    }

    /// Whether the person is sealed, and neither the system (`agency/system`) nor its agency is listed.
    pub fn hides(&self, tag: &Tag, system: &str, agency: &str) -> bool {
        let listed = |seen_by: &Vec<String>| seen_by.iter().any(|name| name == system || name == agency);
        self.0.get(tag).is_some_and(|seen_by| !listed(seen_by))
    }

    /// How many persons are on it.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Everybody, by tag, with who may see them.
    pub fn iter(&self) -> impl Iterator<Item = (&Tag, &[String])> {
        self.0.iter().map(|(tag, seen_by)| (tag, seen_by.as_slice()))
    }

    /// Who may see that person; `None` if the person is not sealed.
    pub fn seen_by(&self, keyed: &Keyed, number: &Personal<String>) -> Option<&[String]> {
        self.0.get(&keyed.tag(number)).map(Vec::as_slice)
    }

    /// Seals a person, and lets these see them: in the place of who could before. Whether that changed anything.
    pub fn add(&mut self, keyed: &Keyed, number: &Personal<String>, seen_by: &[String]) -> bool {
        let mut seen_by = seen_by.to_vec();
        seen_by.sort_unstable();
        seen_by.dedup();
        self.0.insert(keyed.tag(number), seen_by.clone()) != Some(seen_by)
    }

    /// Unseals a person; whether the person was sealed.
    pub fn remove(&mut self, keyed: &Keyed, number: &Personal<String>) -> bool {
        self.0.remove(&keyed.tag(number)).is_some()
    }
}

const FORM: Form = Form { head: "popgate sealed list 1, key ", remedy: "write the list with `popgate seal add`" };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_sealed_against_all_but_the_listed() {
        let (keyed, number) = (Keyed::new(&[7; 32]), Personal::new("001187974118".to_owned()));
        let mut list = Sealed::default();
        assert!(list.add(&keyed, &number, &["tax/etax".into(), "courts".into(), "courts".into()]));
        assert!(!list.add(&keyed, &number, &["courts".into(), "tax/etax".into()]));
        let read = Sealed::parse(&list.to_text(&keyed), &keyed).unwrap();
        assert_eq!(read, list);
        let tag = keyed.tag(&number);
        for (system, agency, hidden) in [
            ("tax/etax", "tax", false),
            ("tax/inspection", "tax", true),
            ("courts/cases", "courts", false),
            ("courts2/cases", "courts2", true),
        ] {
            assert_eq!(read.hides(&tag, system, agency), hidden, "{system}");
        }
        assert!(!read.hides(&keyed.tag(&Personal::new("1".into())), "courts2/cases", "courts2"));
        assert!(list.add(&keyed, &number, &[]) && list.hides(&tag, "courts/cases", "courts"));
        assert!(list.remove(&keyed, &number) && list.is_empty());
        let opted_out = "popgate opt-out list 1, key ".to_owned() + &keyed.id() + "\nend 0\n";
        assert!(Sealed::parse(&opted_out, &keyed).is_err(), "another kind of list");
    }
}
