//! Comparing claimed values with a record.
//!
//! The time that a comparison takes depends on the values, and need not be constant: the outcome itself is what the
//! caller asks for, every try is recorded and counted against the subject, and what an early exit could tell (some
//! nanoseconds, behind a register and a network) is less than the answer does.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use crate::contract::{Compare, Field, Kind};
use crate::disclose::json::{self, Captured};
use crate::disclose::mask;

/// Whether a claim about a field is borne out by its value in the record: by any element, if it is an array leaf.
///
/// Strings are equal up to Unicode composition, letter case and white space, and, where the field says
/// [`Compare::Folded`], diacritics; dates are equal as written, and must be dates; numbers are equal by what they denote,
/// Booleans by name. An empty claim is never right, nor is any claim about what is absent, null or of another JSON type.
pub fn matches(field: &Field, claimed: &str, captured: &Captured<'_>) -> bool {
    match (field.kind, captured) {
        (_, Captured::Array(elements)) => elements.iter().any(|element| matches(field, claimed, element)),
        (Kind::String, Captured::Text(value)) => {
            let claim = folded(claimed, field.compare);
            !claim.is_empty() && claim == folded(value, field.compare)
        }
        (Kind::Date, Captured::Text(value)) => claimed == value && mask::date(claimed).is_some(),
        (Kind::Integer | Kind::Number, Captured::Number(value)) => {
            claimed == value || json::canonical(claimed).is_some_and(|claim| Some(claim) == json::canonical(value))
        }
        (Kind::Boolean, Captured::Boolean(value)) => claimed == if *value { "true" } else { "false" },
        _ => false,
    }
}

/// The form under which strings that count as equal are the same.
fn folded(text: &str, compare: Compare) -> String {
    let mut form = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !form.is_empty() {
            form.push(' ');
        }
        // Lower case of the decomposed form, so that letter and mark are treated alike however they were composed.
        let letters = word.nfd().flat_map(char::to_lowercase);
        match compare {
            // Lower case can itself decompose.
            Compare::Exact => form.extend(letters.nfc()),
            Compare::Folded => form.extend(letters.nfd().filter(|letter| !is_combining_mark(*letter)).map(base)),
        }
    }
    form
}

/// The letter under the only Vietnamese diacritic that is no combining mark.
fn base(letter: char) -> char {
    if letter == 'đ' { 'd' } else { letter }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Class;
    use crate::model::{FieldIx, FieldName, GroupId};

    fn field(kind: Kind, compare: Compare) -> Field {
        Field {
            index: FieldIx(0),
            name: FieldName::new("Citizen.x"),
            path: vec![],
            kind,
            array: false,
            group: GroupId::new("g"),
            class: Class::Basic,
            masks: vec![],
            implies: vec![],
            compare,
            whole: false,
        }
    }

    fn text<'b>(value: &'b str) -> Captured<'b> {
        Captured::Text(value.into())
    }

    #[test]
    fn composition_case_and_spacing_never_matter() {
        for compare in [Compare::Exact, Compare::Folded] {
            let name = field(Kind::String, compare);
            for claim in [
                "Lê Thị Hoa",
                "LÊ THỊ HOA",
                " lê  thị\u{a0}\thoa ",
                "Le\u{302} Thi\u{323} Hoa",
                "LE\u{302} THI\u{323} HOA",
            ] {
                assert!(matches(&name, claim, &text("Lê Thị Hoa")), "{claim:?}");
                assert!(matches(&name, "lê thị hoa", &text(claim)), "{claim:?}");
            }
            for claim in ["Lê Thị", "Lê ThịHoa", "Lê Thị Hoà Bình"] {
                assert!(!matches(&name, claim, &text("Lê Thị Hoa")), "{claim:?}");
            }
        }
    }

    #[test]
    fn diacritics_matter_as_the_contract_says() {
        let (exact, folded) = (field(Kind::String, Compare::Exact), field(Kind::String, Compare::Folded));
        for (claim, value) in [("Le Thi Hoa", "Lê Thị Hoa"), ("DO DANG", "Đỗ Đăng"), ("đỗ", "Do"), ("Nguyen", "Nguyễn")]
        {
            assert!(matches(&folded, claim, &text(value)));
            assert!(!matches(&exact, claim, &text(value)));
        }
        assert!(!matches(&folded, "Bo", &text("Đỗ")));
    }

    #[test]
    fn an_empty_claim_is_never_right() {
        for kind in [Kind::String, Kind::Date, Kind::Integer, Kind::Number, Kind::Boolean] {
            for claim in ["", " ", "\u{a0}\t"] {
                assert!(!matches(&field(kind, Compare::Exact), claim, &text("")));
                assert!(!matches(&field(kind, Compare::Folded), claim, &text(" ")));
            }
        }
        assert!(!matches(&field(Kind::String, Compare::Folded), "\u{301}", &text("\u{301}")), "nothing is left of it");
    }

    #[test]
    fn nothing_is_right_about_what_is_not_there() {
        for kind in [Kind::String, Kind::Date, Kind::Integer, Kind::Number, Kind::Boolean] {
            for value in [Captured::Absent, Captured::Null, Captured::Mistyped, Captured::Array(vec![Captured::Null])] {
                for claim in ["null", "true", "0", "x", "1987-03-14"] {
                    assert!(!matches(&field(kind, Compare::Exact), claim, &value));
                }
            }
        }
    }

    #[test]
    fn dates_are_exact_and_iso() {
        let date = field(Kind::Date, Compare::Exact);
        assert!(matches(&date, "1987-03-14", &text("1987-03-14")));
        for claim in ["1987-03-15", "14/03/1987", "1987-3-14", " 1987-03-14", "1987-03-14 "] {
            assert!(!matches(&date, claim, &text("1987-03-14")), "{claim}");
        }
        assert!(!matches(&date, "unknown", &text("unknown")), "a date that is none proves nothing");
    }

    #[test]
    fn numbers_and_booleans_are_compared_by_what_they_denote() {
        let (integer, number) = (field(Kind::Integer, Compare::Exact), field(Kind::Number, Compare::Exact));
        assert!(matches(&integer, "12", &Captured::Number("12".into())));
        assert!(!matches(&integer, "012", &Captured::Number("12".into())));
        assert!(!matches(&integer, "12", &text("12")));
        assert!(matches(&number, "1.5", &Captured::Number("15e-1".into())));
        assert!(!matches(&number, "1.5", &Captured::Number("1.05".into())));
        let boolean = field(Kind::Boolean, Compare::Exact);
        assert!(matches(&boolean, "true", &Captured::Boolean(true)));
        for claim in ["false", "TRUE", "1", "yes"] {
            assert!(!matches(&boolean, claim, &Captured::Boolean(true)));
        }
    }

    #[test]
    fn any_element_of_an_array_bears_a_claim_out() {
        let phones = Field { array: true, ..field(Kind::String, Compare::Exact) };
        let value = Captured::Array(vec![Captured::Null, text("0912345678"), text("0987654321")]);
        assert!(matches(&phones, "0987654321", &value));
        assert!(!matches(&phones, "0987654320", &value));
    }
}
