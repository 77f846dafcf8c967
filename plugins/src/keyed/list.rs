//! A list of persons by tags, as a file: a head that tells the key, a person a line with words, and an end that counts them.
//!
//! ```text
//! popgate opt-out list 1, key 1f0c6a9be1a9e6d2
//! # a person's tag, then words
//! aea231b80fd85c9f2979bff8c89f93bedfa276d9f0d879554a8385f50e9a7dae
//! 5d41402abc4b2a76b9719d911017c5925d41402abc4b2a76b9719d911017c592 marketing statistics
//! end 2
//! ```
//!
//! A list under another key would hold nobody whom anybody asks about, and one that was cut off would lack persons: the first
//! line and the last tell both.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Keyed, Tag};

/// What tells one kind of list from another.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// The first line, up to the key's id.
    pub head: &'static str,
    /// How such a list is written.
    pub remedy: &'static str,
}

/// Reads a file: each person's words.
///
/// # Errors
/// Line and mistake. Nothing of the line is repeated: somebody may have written a number there.
pub fn parse(text: &str, keyed: &Keyed, form: &Form) -> Result<BTreeMap<Tag, Vec<String>>, String> {
    let Form { head: begins, remedy } = form;
    let mut lines = (1..).zip(text.lines()).filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let (number, head) = lines.next().unwrap_or((1, ""));
    let of_key = head
        .strip_prefix(begins)
        .ok_or_else(|| format!("line {number}: the first line must begin with `{}`; {remedy}", begins.trim_end()))?;
    if of_key != keyed.id() {
        return Err(format!("line {number}: the list was made under another key; {remedy} again, under this key"));
    }
    let mut list = BTreeMap::new();
    while let Some((number, line)) = lines.next() {
        if let Some(count) = line.strip_prefix("end ") {
            if count.parse() != Ok(list.len()) {
                return Err(format!("line {number}: the list has {} persons, and not as many as it says", list.len()));
            }
            return match lines.next() {
                None => Ok(list),
                Some((number, _)) => Err(format!("line {number}: something stands after the end of the list")),
            };
        }
        let mut words = line.split_ascii_whitespace();
        let tag = words.next().and_then(Tag::parse);
        let tag = tag.ok_or_else(|| format!("line {number}: not 64 lower-case hex digits; {remedy}"))?;
        if list.insert(tag, words.map(str::to_owned).collect()).is_some() {
            return Err(format!("line {number}: the person stands there twice"));
        }
    }
    Err("the last line `end <count>` is missing: the file was cut off".into())
}

/// The file for those persons.
pub fn to_text<'l>(
    persons: impl ExactSizeIterator<Item = (&'l Tag, &'l [String])>,
    keyed: &Keyed,
    form: &Form,
) -> String {
    let count = persons.len();
    let mut text = format!("{}{}\n", form.head, keyed.id());
    for (tag, words) in persons {
        let _ = write!(text, "{tag}");
        for word in words {
            let _ = write!(text, " {word}");
        }
        text.push('\n');
    }
    // Writing to a string cannot fail.
    let _ = writeln!(text, "end {count}");
    text
}
