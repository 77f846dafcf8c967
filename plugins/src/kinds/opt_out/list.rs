//! The list of persons who have opted out, as a file.
//!
//! ```text
//! popgate opt-out list 1, key 1f0c6a9be1a9e6d2
//! # a person's tag; then, if it is not about every purpose, the purposes
//! aea231b80fd85c9f2979bff8c89f93bedfa276d9f0d879554a8385f50e9a7dae
//! 5d41402abc4b2a76b9719d911017c5925d41402abc4b2a76b9719d911017c592 marketing statistics
//! end 2
//! ```
//!
//! A list under another key would hold nobody whom anybody asks about, and one that was cut off would lack persons: the first
//! line and the last tell both.

use std::collections::BTreeMap;

use popgate_policy::model::Personal;

use crate::keyed::list::{self, Form};
use crate::keyed::{Keyed, Tag};

/// Who has opted out of what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List(BTreeMap<Tag, Entry>);

/// What a person has opted out of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Every purpose that the plugin applies to.
    Everything,
    /// These purposes, of those.
    Purposes(Vec<String>),
}

impl List {
    /// Reads a file.
    ///
    /// # Errors
    /// Line and mistake. Nothing of the line is repeated: somebody may have written a number there.
    pub fn parse(text: &str, keyed: &Keyed) -> Result<Self, String> {
        let persons = list::parse(text, keyed, &FORM)?.into_iter();
        Ok(Self(persons.map(|(tag, words)| (tag, Entry::of(words))).collect()))
    }

    /// The file for that list.
    pub fn to_text(&self, keyed: &Keyed) -> String {
        list::to_text(self.0.iter().map(|(tag, entry)| (tag, entry.words())), keyed, &FORM)
    }

    /// Whether the person has opted out of that purpose.
    pub fn holds(&self, tag: &Tag, purpose: &str) -> bool {
        match self.0.get(tag) {
            None => false,
            Some(Entry::Everything) => true,
            Some(Entry::Purposes(purposes)) => purposes.iter().any(|known| known == purpose),
        }
    }

    /// How many persons are on it.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Everybody, by tag.
    pub fn iter(&self) -> impl Iterator<Item = (&Tag, &Entry)> {
        self.0.iter()
    }

    /// What that person has opted out of.
    pub fn entry(&self, keyed: &Keyed, number: &Personal<String>) -> Option<&Entry> {
        self.0.get(&keyed.tag(number))
    }

    /// Puts a person on it, or adds purposes; whether that changed anything.
    pub fn add(&mut self, keyed: &Keyed, number: &Personal<String>, purposes: &[String]) -> bool {
        let tag = keyed.tag(number);
        let before = self.0.get(&tag).cloned();
        let mut all = match &before {
            Some(Entry::Everything) => return false,
            Some(Entry::Purposes(known)) if !purposes.is_empty() => known.clone(),
            _ => Vec::new(),
        };
        all.extend(purposes.iter().cloned());
        all.sort_unstable();
        all.dedup();
        let after = Entry::of(all);
        let changed = before.as_ref() != Some(&after);
        self.0.insert(tag, after);
        changed
    }

    /// Takes a person from it; whether the person was on it.
    pub fn remove(&mut self, keyed: &Keyed, number: &Personal<String>) -> bool {
        self.0.remove(&keyed.tag(number)).is_some()
    }
}

impl Entry {
    fn of(purposes: Vec<String>) -> Self {
        if purposes.is_empty() { Self::Everything } else { Self::Purposes(purposes) }
    }

    fn words(&self) -> &[String] {
        match self {
            Self::Everything => &[],
            Self::Purposes(purposes) => purposes,
        }
    }
}

const FORM: Form =
    Form { head: "popgate opt-out list 1, key ", remedy: "write the list with `popgate plugin opt-out add`" };

#[cfg(test)]
mod tests {
    use super::*;

    fn keyed() -> Keyed {
        Keyed::new(&[7; 32])
    }

    fn number(number: &str) -> Personal<String> {
        Personal::new(number.to_owned())
    }

    #[test]
    fn what_is_written_is_read_and_a_person_is_known_by_the_key_alone() {
        let mut list = List::default();
        assert!(list.add(&keyed(), &number("001187974118"), &[]));
        assert!(!list.add(&keyed(), &number("001187974118"), &["marketing".into()]));
        assert!(list.add(&keyed(), &number("001082625891"), &["statistics".into()]));
        assert!(list.add(&keyed(), &number("001082625891"), &["marketing".into(), "statistics".into()]));
        let text = list.to_text(&keyed());
        assert!(!text.contains("001187974118"));
        let read = List::parse(&format!("# kept by the front desk\n\n{text}\n# the end\n"), &keyed()).unwrap();
        assert_eq!(read, list);
        let tag = |text| keyed().tag(&number(text));
        assert!(read.holds(&tag("001187974118"), "anything"));
        assert!(read.holds(&tag("001082625891"), "marketing") && !read.holds(&tag("001082625891"), "treatment"));
        assert!(!read.holds(&tag("001082625892"), "marketing"));
        assert!(list.remove(&keyed(), &number("001187974118")) && !list.remove(&keyed(), &number("001187974118")));
        assert_eq!(List::parse(&List::default().to_text(&keyed()), &keyed()), Ok(List::default()));
    }

    #[test]
    fn a_list_that_could_lack_somebody_is_none() {
        let mut list = List::default();
        list.add(&keyed(), &number("001187974118"), &[]);
        list.add(&keyed(), &number("001082625891"), &[]);
        let text = list.to_text(&keyed());
        // Cut off anywhere, it is broken; only the last line break may be missing.
        for end in 0..text.len() - 1 {
            assert!(List::parse(&text[..end], &keyed()).is_err(), "{end}");
        }
        let (head, rest) = text.split_once('\n').unwrap();
        let first = rest.lines().next().unwrap();
        for (broken, says) in [
            (String::new(), "line 1: the first line must begin with"),
            (rest.to_owned(), "line 1: the first line must begin with"),
            (list.to_text(&Keyed::new(&[8; 32])), "line 1: the list was made under another key"),
            (text.replace("end 2", "end 3"), "line 4: the list has 2 persons"),
            (text.replace("end 2", "end two"), "line 4: the list has 2 persons"),
            (format!("{text}{first}\n"), "line 5: something stands after the end"),
            (format!("{head}\n{first}\n{rest}"), "line 3: the person stands there twice"),
            (text.replace(first, "001187974118"), "line 2: not 64 lower-case hex digits"),
            (text.replace(first, &first.to_uppercase()), "line 2: not 64 lower-case hex digits"),
        ] {
            let wrong = List::parse(&broken, &keyed()).unwrap_err();
            assert!(wrong.starts_with(says), "{wrong}");
            assert!(!wrong.contains("001187974118"), "{wrong}");
        }
    }
}
