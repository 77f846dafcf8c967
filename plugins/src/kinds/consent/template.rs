//! The target of a question, with a person and circumstances to be filled in.

use std::fmt::Write as _;

use popgate_policy::model::Personal;

use crate::keyed::Keyed;
use crate::plugin::Seen;
use crate::settings::{Settings, Value};

/// `/consents/{pseudonym}?purpose={purpose}`, in pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Part(Part),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Pseudonym,
    Number,
    Purpose,
    Agency,
    System,
    Operation,
}

/// Reads a template, and says what is wrong with it.
pub(super) fn read<'r>(settings: &Settings<'r>, value: Value<'r>) -> Option<Template> {
    let typed = settings.text(value)?;
    let parsed = Template::parse(typed);
    if let Err(wrong) = &parsed {
        let help = "such as `\"/consents/{pseudonym}?purpose={purpose}\"`";
        settings.mend("bad-template", value.span(), format!("`{typed}` {wrong}"), help);
    }
    parsed.ok()
}

impl Template {
    fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') || text.starts_with("//") {
            return Err("must begin with one `/`".into());
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or("has a `{` without its `}`")?;
            let part = PARTS.iter().find(|(known, _)| *known == name).map(|(_, part)| *part);
            let known: Vec<String> = PARTS.iter().map(|(name, _)| format!("{{{name}}}")).collect();
            let part = part.ok_or_else(|| format!("has `{{{name}}}`, which is none of {}", known.join(", ")))?;
            pieces.extend([Piece::Literal(literal.to_owned()), Piece::Part(part)]);
            rest = after;
        }
        pieces.push(Piece::Literal(rest.to_owned()));
        let template = Self(pieces);
        // RFC 3986: what a path and a query may hold as it stands.
        let odd = |letter: char| !letter.is_ascii_alphanumeric() && !"-._~!$&'()*+,;=:@/?%".contains(letter);
        for piece in &template.0 {
            if let Piece::Literal(literal) = piece
                && let Some(odd) = literal.chars().find(|letter| odd(*letter))
            {
                return Err(format!("has `{odd}`, which no path or query can have as it stands"));
            }
        }
        if !template.names(Part::Pseudonym) && !template.names(Part::Number) {
            return Err("names no person: `{pseudonym}` or `{number}` is missing".into());
        }
        Ok(template)
    }

    /// Whether it names persons by pseudonym.
    pub(super) fn needs_key(&self) -> bool {
        self.names(Part::Pseudonym)
    }

    /// The target; `None` if a key is needed and not there.
    pub(super) fn fill(
        &self,
        seen: &Seen<'_>,
        subject: &Personal<String>,
        keyed: Option<&Keyed>,
    ) -> Option<Personal<String>> {
        let mut target = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Literal(literal) => target.push_str(literal),
                Piece::Part(Part::Pseudonym) => target.push_str(&keyed?.tag(subject).to_string()),
                Piece::Part(Part::Number) => encode(subject.expose(), &mut target),
                Piece::Part(Part::Purpose) => encode(seen.purpose.id.as_str(), &mut target),
                Piece::Part(Part::Agency) => encode(seen.system.agency.id.as_str(), &mut target),
                Piece::Part(Part::System) => encode(seen.system.id.as_str(), &mut target),
                Piece::Part(Part::Operation) => encode(seen.operation.id.as_str(), &mut target),
            }
        }
        Some(Personal::new(target))
    }

    fn names(&self, part: Part) -> bool {
        self.0.contains(&Piece::Part(part))
    }
}

/// Percent-encoded but for the unreserved characters (RFC 3986, section 2.3).
fn encode(text: &str, to: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            to.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(to, "%{byte:02X}");
        }
    }
}

const PARTS: [(&str, Part); 6] = [
    ("pseudonym", Part::Pseudonym),
    ("number", Part::Number),
    ("purpose", Part::Purpose),
    ("agency", Part::Agency),
    ("system", Part::System),
    ("operation", Part::Operation),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_names_a_person_and_nothing_unknown() {
        assert!(Template::parse("/c/{pseudonym}?p={purpose}&a={agency}&s={system}&o={operation}").unwrap().needs_key());
        assert!(!Template::parse("/c/{number}").unwrap().needs_key());
        for (bad, says) in [
            ("c/{number}", "must begin with one `/`"),
            ("//c/{number}", "must begin with one `/`"),
            ("/c", "names no person"),
            ("/c/{purpose}", "names no person"),
            ("/c/{number", "has a `{` without its `}`"),
            ("/c/{nummer}", "has `{nummer}`, which is none of {pseudonym}, {number}"),
            ("/c/{number}}", "has `}`"),
            ("/c/{number}#x", "has `#`"),
            ("/c d/{number}", "has ` `"),
            ("/đ/{number}", "has `đ`"),
        ] {
            let wrong = Template::parse(bad).unwrap_err();
            assert!(wrong.starts_with(says), "{bad}: {wrong}");
        }
        let mut encoded = String::new();
        encode("tax/etax é", &mut encoded);
        assert_eq!(encoded, "tax%2Fetax%20%C3%A9");
    }
}
