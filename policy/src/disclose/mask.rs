//! Masks: what a caller gets in place of a value.

use std::fmt;

use aws_lc_rs::hmac;
use unicode_normalization::UnicodeNormalization;

use crate::contract::Field;
use crate::disclose::PseudonymKey;
use crate::disclose::json::Captured;
use crate::model::{AgencyId, MaskKind, PurposeId};

/// For whom and what pseudonyms are made: the same person has another pseudonym for every other agency or purpose.
#[derive(Clone, Copy)]
pub struct Pseudonym<'a> {
    key: &'a PseudonymKey,
    agency: &'a AgencyId,
    purpose: &'a PurposeId,
}

impl<'a> Pseudonym<'a> {
    /// Pseudonyms under the site's key, for an agency and a purpose.
    pub fn new(key: &'a PseudonymKey, agency: &'a AgencyId, purpose: &'a PurposeId) -> Self {
        Self { key, agency, purpose }
    }

    /// HMAC-SHA-256 over the value, first 128 bits as 32 hex digits, under a key of its own for each field.
    fn of(&self, field: &Field, value: &str) -> String {
        let site = hmac::Key::new(hmac::HMAC_SHA256, self.key.bytes());
        let mut derivation = hmac::Context::with_key(&site);
        // Every part goes behind its length, so that no two lists of parts are one message.
        for part in [DERIVATION, self.agency.as_str(), self.purpose.as_str(), field.name.as_str()] {
            derivation.update(&(part.len() as u64).to_be_bytes());
            derivation.update(part.as_bytes());
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, derivation.sign().as_ref());
        let tag = hmac::sign(&key, value.as_bytes());
        tag.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for Pseudonym<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<pseudonyms for {}, {}>", self.agency, self.purpose)
    }
}

/// A value of that field through a mask, as JSON text; elements of an array leaf one by one.
///
/// `null` stays `null`, but for `exists`, which says `false`. `None` if there is nothing to mask or the mask cannot be
/// computed (the year of a text that is no date): then nothing is shown.
pub fn apply(kind: MaskKind, value: &Captured<'_>, field: &Field, pseudonym: &Pseudonym<'_>) -> Option<String> {
    match (kind, value) {
        (_, Captured::Absent | Captured::Array(_) | Captured::Mistyped) => None,
        (MaskKind::Exists, value) => Some((*value != Captured::Null).to_string()),
        (_, Captured::Null) => Some("null".to_owned()),
        (MaskKind::Pseudonym, Captured::Text(value) | Captured::Number(value)) => quoted(&pseudonym.of(field, value)),
        (MaskKind::Pseudonym, Captured::Boolean(value)) => quoted(&pseudonym.of(field, &value.to_string())),
        (MaskKind::Month, Captured::Text(text)) => date(text).and_then(|_| quoted(text.get(..7)?)),
        (MaskKind::Year, Captured::Text(text)) => date(text).map(|date| date.year().to_string()),
        (MaskKind::Decade, Captured::Text(text)) => date(text).map(|date| (date.year() / 10 * 10).to_string()),
        (MaskKind::Last3, Captured::Text(text)) => quoted(&last(text, 3)),
        (MaskKind::Last4, Captured::Text(text)) => quoted(&last(text, 4)),
        (MaskKind::Initials, Captured::Text(text)) => initials(text).and_then(|initials| quoted(&initials)),
        (_, Captured::Number(_) | Captured::Boolean(_)) => None,
    }
}

/// A calendar date written `YYYY-MM-DD`, and nothing else.
pub(crate) fn date(text: &str) -> Option<jiff::civil::Date> {
    let form = text.len() == 10
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    if !form {
        return None;
    }
    let (year, month, day) = (text.get(..4)?, text.get(5..7)?, text.get(8..)?);
    jiff::civil::Date::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?).ok()
}

/// The last characters behind an asterisk; the asterisk alone if there are no others to hide.
fn last(text: &str, shown: usize) -> String {
    // Composed, so that a letter and its tone mark count as the one character that they are.
    let characters: Vec<char> = text.nfc().collect();
    let hidden = characters.len().saturating_sub(shown);
    let visible = if hidden == 0 { &[] } else { characters.get(hidden..).unwrap_or_default() };
    std::iter::once('*').chain(visible.iter().copied()).collect()
}

/// The first letter of each word, `None` if there is no letter.
fn initials(text: &str) -> Option<String> {
    let composed: String = text.nfc().collect();
    let letters = composed.split_whitespace().filter_map(|word| word.chars().find(|letter| letter.is_alphabetic()));
    let initials: Vec<String> = letters.map(|letter| format!("{letter}.")).collect();
    (!initials.is_empty()).then(|| initials.join(" "))
}

fn quoted(text: &str) -> Option<String> {
    serde_json::to_string(text).ok()
}

/// Names the derivation; another one would need another name.
const DERIVATION: &str = "popgate pseudonym 1";

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::contract::{Class, Compare, Kind};
    use crate::model::{FieldIx, FieldName, GroupId};

    fn field(name: &str) -> Field {
        Field {
            index: FieldIx(0),
            name: FieldName::new(name),
            path: vec![],
            kind: Kind::String,
            array: false,
            group: GroupId::new("g"),
            class: Class::Basic,
            masks: vec![],
            implies: vec![],
            compare: Compare::Exact,
            whole: false,
        }
    }

    fn masked(kind: MaskKind, value: &Captured<'_>) -> Option<String> {
        let (key, agency, purpose) = (PseudonymKey::new([7; 32]), AgencyId::new("tax"), PurposeId::new("assessment"));
        apply(kind, value, &field("Citizen.id"), &Pseudonym::new(&key, &agency, &purpose))
    }

    fn text(kind: MaskKind, value: &str) -> Option<String> {
        masked(kind, &Captured::Text(Cow::Borrowed(value)))
    }

    #[test]
    fn dates_are_coarsened() {
        assert_eq!(text(MaskKind::Month, "1987-03-14").as_deref(), Some("\"1987-03\""));
        assert_eq!(text(MaskKind::Year, "1987-03-14").as_deref(), Some("1987"));
        assert_eq!(text(MaskKind::Decade, "1987-03-14").as_deref(), Some("1980"));
        assert_eq!(text(MaskKind::Decade, "2000-02-29").as_deref(), Some("2000"));
    }

    #[test]
    fn what_is_no_date_has_no_year() {
        let bad =
            ["abc", "", "1987", "1987-3-14", "1987-13-01", "1987-02-29", "1987-03-14T00:00", "19870314", "+987-03-14"];
        for value in bad.into_iter().chain(["1987-00-00", "1987-03-1\u{661}", "１987-03-14", " 987-03-14"]) {
            for kind in [MaskKind::Month, MaskKind::Year, MaskKind::Decade] {
                assert_eq!(text(kind, value), None, "{kind:?} {value:?}");
            }
        }
    }

    #[test]
    fn the_last_characters_are_counted_and_never_the_whole_value() {
        assert_eq!(text(MaskKind::Last3, "0912345678").as_deref(), Some("\"*678\""));
        assert_eq!(text(MaskKind::Last4, "0912345678").as_deref(), Some("\"*5678\""));
        assert_eq!(text(MaskKind::Last3, "Nguyễn").as_deref(), Some("\"*yễn\""));
        assert_eq!(text(MaskKind::Last3, "Nguye\u{302}\u{303}n").as_deref(), Some("\"*yễn\""), "composed first");
        assert_eq!(text(MaskKind::Last3, "678").as_deref(), Some("\"*\""));
        assert_eq!(text(MaskKind::Last3, "ễễ").as_deref(), Some("\"*\""));
        assert_eq!(text(MaskKind::Last4, "").as_deref(), Some("\"*\""));
        assert_eq!(text(MaskKind::Last3, "x\"\\\n").as_deref(), Some(r#""*\"\\\n""#), "and escaped");
    }

    #[test]
    fn initials_are_first_letters_of_words() {
        assert_eq!(text(MaskKind::Initials, "Lê Thị  Hoa").as_deref(), Some("\"L. T. H.\""));
        assert_eq!(text(MaskKind::Initials, " đỗ A\u{306}n").as_deref(), Some("\"đ. Ă.\""));
        assert_eq!(text(MaskKind::Initials, "(Lan)").as_deref(), Some("\"L.\""));
        assert_eq!(text(MaskKind::Initials, "12 34"), None);
        assert_eq!(text(MaskKind::Initials, ""), None);
    }

    #[test]
    fn null_stays_null_except_that_it_does_not_exist() {
        for kind in MaskKind::ALL {
            let expected = if kind == MaskKind::Exists { "false" } else { "null" };
            assert_eq!(masked(kind, &Captured::Null).as_deref(), Some(expected));
            assert_eq!(masked(kind, &Captured::Absent), None);
            assert_eq!(masked(kind, &Captured::Mistyped), None);
        }
        assert_eq!(masked(MaskKind::Exists, &Captured::Boolean(false)).as_deref(), Some("true"));
    }

    #[test]
    fn a_mask_for_text_has_nothing_to_say_of_a_number() {
        for kind in [MaskKind::Year, MaskKind::Last3, MaskKind::Initials] {
            assert_eq!(masked(kind, &Captured::Number("1987".into())), None);
        }
    }

    #[test]
    fn a_pseudonym_is_stable_and_its_own_for_every_agency_purpose_field_key_and_value() {
        let keys = [PseudonymKey::new([1; 32]), PseudonymKey::new([2; 32])];
        let mut seen = std::collections::HashSet::new();
        for key in &keys {
            // The joins of these names are equal; only their lengths tell them apart.
            for (agency, purpose, name) in [("ab", "c", "de"), ("a", "bc", "de"), ("ab", "cd", "e")] {
                for value in ["001087000001", "001087000002"] {
                    let (agency, purpose) = (AgencyId::new(agency), PurposeId::new(purpose));
                    let pseudonym = Pseudonym::new(key, &agency, &purpose);
                    let made = pseudonym.of(&field(name), value);
                    assert_eq!(made, pseudonym.of(&field(name), value));
                    assert!(made.len() == 32 && made.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
                    assert!(seen.insert(made));
                }
            }
        }
        assert_eq!(masked(MaskKind::Pseudonym, &Captured::Boolean(true)).map(|json| json.len()), Some(34));
    }
}
