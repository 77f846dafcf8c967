//! The names of members that no contract declares, as far as they may be told.
//!
//! They come from the register, and could themselves be personal data: an object may be keyed by persons' numbers. Only what looks like
//! the name of a field is kept, and of one answer a few; the rest is known by [`super::Tally::undeclared`] alone.

use std::fmt;

/// The full names of an answer's undeclared members, each with how often it stands there. Nothing is allocated while there is none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Strays(Vec<(Box<str>, u32)>);

impl Strays {
    /// The names, such as `Citizen.home.shade`, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u32)> {
        self.0.iter().map(|(name, count)| (&**name, *count))
    }

    /// Counts a member of that name in the object that those names lead to.
    pub(super) fn add<'n>(&mut self, within: impl Iterator<Item = &'n str> + Clone, name: &[u8]) {
        let Some(name) = tellable(name) else { return };
        if let Some((_, count)) = self.0.iter_mut().find(|(known, _)| is(known, within.clone(), name)) {
            *count = count.saturating_add(1);
        } else if self.0.len() < MOST_NAMES {
            let full = within.flat_map(|part| [part, "."]).chain([name]).collect::<String>();
            self.0.push((full.into(), 1));
        }
    }
}

/// Only how many: what prints a record prints no name that a register made.
impl fmt::Debug for Strays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} undeclared names>", self.0.len())
    }
}

/// The name, if it looks like that of a field: no number of a person, no text, nothing long.
fn tellable(name: &[u8]) -> Option<&str> {
    let is_sign = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let digits = || name.iter().filter(|byte| byte.is_ascii_digit()).count();
    let fits = name.len() <= LONGEST_NAME
        && name.first().is_some_and(u8::is_ascii_alphabetic)
        && name.iter().all(is_sign)
        && digits() <= MOST_DIGITS;
    std::str::from_utf8(name).ok().filter(|_| fits)
}

/// Whether a full name consists of those parts and that name.
fn is<'n>(full: &str, mut within: impl Iterator<Item = &'n str>, name: &str) -> bool {
    let rest = within.try_fold(full, |rest, part| rest.strip_prefix(part)?.strip_prefix('.'));
    rest == Some(name)
}

/// How many names of one answer are told.
const MOST_NAMES: usize = 8;

/// The longest name that is told, in bytes.
const LONGEST_NAME: usize = 48;

/// The most digits in a name that is told: `address2`, `line_007`; no year of birth, no number of a person or a telephone.
const MOST_DIGITS: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn told(names: &[&str]) -> Vec<(String, u32)> {
        let mut strays = Strays::default();
        names.iter().for_each(|name| strays.add(["Citizen", "home"].into_iter(), name.as_bytes()));
        assert_eq!(format!("{strays:?}"), format!("<{} undeclared names>", strays.0.len()));
        strays.iter().map(|(name, count)| (name.to_owned(), count)).collect()
    }

    #[test]
    fn a_name_is_told_with_its_place_and_its_count() {
        assert_eq!(
            told(&["shade", "line-2", "shade", "a_Z9"]),
            [("Citizen.home.shade".into(), 2), ("Citizen.home.line-2".into(), 1), ("Citizen.home.a_Z9".into(), 1)]
        );
    }

    #[test]
    fn what_could_be_about_a_person_is_not_told() {
        let long = "a".repeat(LONGEST_NAME + 1);
        for name in [
            "",
            "001187000001",
            "p001187000001",
            "born_1987",
            "_x",
            "-x",
            "7x",
            "a b",
            "a.b",
            "Hòa",
            "a\"",
            "a@b",
            &long,
        ] {
            assert_eq!(told(&[name]), [], "{name}");
        }
        assert_eq!(told(&[&long[1..], "line_007"]).len(), 2);
    }

    #[test]
    fn of_many_names_a_few_are_told_and_those_go_on_being_counted() {
        let names: Vec<String> = ('a'..='z').map(String::from).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).chain(["a", "z"]).collect();
        let told = told(&names);
        assert_eq!((told.len(), &told[0]), (MOST_NAMES, &("Citizen.home.a".to_owned(), 2)));
    }
}
