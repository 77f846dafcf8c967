//! `GET /persons?...`: who was born on a day and lives in a province, in pages.
//!
//! Pages go by the last person of the page before, not by a count, so that one page after the other gives each person
//! once. A cursor holds that person's number and a digest of the query that it belongs to.

use std::borrow::Cow;

use jiff::civil::Date;
use serde::Serialize;
use unicode_normalization::UnicodeNormalization as _;

use super::{Citizen, Number, Sex, draw};

/// What is asked for. Names and wards are in NFC and compared exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) date_of_birth: Date,
    /// Of permanent residence: three digits.
    pub(super) province_code: String,
    pub(super) full_name: Option<String>,
    pub(super) sex: Option<Sex>,
    pub(super) ward: Option<String>,
    pub(super) sort: Sort,
    pub(super) limit: u16,
    /// The last person of the page before.
    pub(super) after: Option<Number>,
}

/// By code points; persons who are equal in it are in the order of their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    FullName,
    /// All found have the same: the order of numbers.
    DateOfBirth,
    Id,
}

/// An answer.
#[derive(Debug, Serialize)]
pub(super) struct Page {
    pub(super) items: Vec<Citizen>,
    /// Of all pages.
    pub(super) total: u64,
    pub(super) next: Option<String>,
}

/// Why a query is refused: the parameter and what it must be, never what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused(pub(super) &'static str);

impl Query {
    /// Reads the part of a target behind the `?`.
    pub(super) fn parse(query: &str) -> Result<Self, Refused> {
        let mut given: [(&str, Option<String>); 8] = PARAMETERS.map(|name| (name, None));
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decoded(name).ok_or(UNKNOWN)?;
            let value = decoded(value).ok_or(Refused("a parameter is not UTF-8, percent-encoded"))?;
            let (_, slot) = given.iter_mut().find(|(known, _)| *known == name).ok_or(UNKNOWN)?;
            if slot.replace(value.nfc().collect()).is_some() {
                return Err(Refused("a parameter is given twice"));
            }
        }
        let [date_of_birth, province_code, full_name, sex, ward, sort, limit, cursor] = given.map(|(_, value)| value);
        let mut query = Self {
            date_of_birth: date_of_birth
                .as_deref()
                .and_then(date)
                .ok_or(Refused("date_of_birth: a date, such as 1987-03-14"))?,
            province_code: province_code
                .filter(|code| code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit()))
                .ok_or(Refused("province_code: three digits, such as 001"))?,
            full_name: text(full_name, Refused("full_name: 1 to 200 characters"))?,
            sex: sex.map(|word| Sex::of_word(&word).ok_or(Refused("sex: male or female"))).transpose()?,
            ward: text(ward, Refused("ward: 1 to 200 characters"))?,
            sort: match sort.as_deref() {
                None | Some("id") => Sort::Id,
                Some("full_name") => Sort::FullName,
                Some("date_of_birth") => Sort::DateOfBirth,
                Some(_) => return Err(Refused("sort: full_name, date_of_birth or id")),
            },
            limit: match limit {
                None => 20,
                Some(limit) => whole(&limit).ok_or(Refused("limit: a number from 1 to 100"))?,
            },
            after: None,
        };
        if let Some(cursor) = cursor {
            let (digest, number) = cursor.split_at_checked(DIGEST).ok_or(BAD_CURSOR)?;
            query.after = Some(number.parse().map_err(|_| BAD_CURSOR)?);
            if digest != query.digest() {
                return Err(BAD_CURSOR);
            }
        }
        Ok(query)
    }

    /// The cursor of the page that follows the one which ends with this person.
    pub(super) fn cursor(&self, last: Number) -> String {
        format!("{}{last}", self.digest())
    }

    /// Of what a page has in common with the next: not of the limit.
    fn digest(&self) -> String {
        let Self { date_of_birth, province_code, full_name, sex, ward, sort, .. } = self;
        let text = format!("{date_of_birth}|{province_code}|{full_name:?}|{sex:?}|{ward:?}|{sort:?}");
        let hash = text.bytes().fold(0, |hash, byte| draw(hash, byte.into()));
        format!("{hash:0DIGEST$x}")
    }
}

/// A cursor that is none, or of another query, or of a person who is no longer there.
pub(super) const BAD_CURSOR: Refused = Refused("cursor: the `next` of a page of the same query, unchanged");
const UNKNOWN: Refused = Refused(
    "an unknown parameter: date_of_birth, province_code, full_name, sex, ward, sort, limit and cursor are known",
);

const PARAMETERS: [&str; 8] = ["date_of_birth", "province_code", "full_name", "sex", "ward", "sort", "limit", "cursor"];
/// Hexadecimal digits.
const DIGEST: usize = 16;

fn date(text: &str) -> Option<Date> {
    // A parser of dates takes more forms than one.
    text.parse().ok().filter(|date: &Date| date.to_string() == text)
}

fn text(given: Option<String>, refused: Refused) -> Result<Option<String>, Refused> {
    given.map(|text| if (1..=200).contains(&text.chars().count()) { Ok(text) } else { Err(refused) }).transpose()
}

fn whole(text: &str) -> Option<u16> {
    text.parse().ok().filter(|limit| (1..=100).contains(limit) && text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Percent-encoding undone, and `+` for a space, as forms write it.
fn decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains(['%', '+']) {
        return Some(text.into());
    }
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                (digit()? * 16 + digit()?) as u8
            }
            other => other,
        });
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::register::demo::HOA;

    const LEAST: &str = "date_of_birth=1987-03-14&province_code=001";

    #[test]
    fn parameters_are_read() {
        let query = Query::parse(LEAST).unwrap();
        assert_eq!((query.date_of_birth, &*query.province_code), (date(1987, 3, 14), "001"));
        assert_eq!((query.sort, query.limit, query.after), (Sort::Id, 20, None));
        let query = "province_code=001&full_name=L%C3%AA+Th%E1%BB%8B%20Hoa&sex=female&ward=x&sort=full_name&limit=100\
                     &date_of_birth=1987-03-14";
        let query = Query::parse(query).unwrap();
        assert_eq!(query.full_name.as_deref(), Some("Lê Thị Hoa"));
        assert_eq!((query.sex, query.sort, query.limit), (Some(Sex::Female), Sort::FullName, 100));
        // Decomposed, as some clients send it.
        let decomposed = format!("{LEAST}&full_name=Le%CC%82");
        assert_eq!(Query::parse(&decomposed).unwrap().full_name.as_deref(), Some("Lê"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (query, told) in [
            ("", "date_of_birth"),
            ("province_code=001", "date_of_birth"),
            ("date_of_birth=1987-03-14", "province_code"),
            ("date_of_birth=1987-02-30&province_code=001", "date_of_birth"),
            ("date_of_birth=19870314&province_code=001", "date_of_birth"),
            ("date_of_birth=1987-03-14&province_code=1", "province_code"),
            ("date_of_birth=1987-03-14&province_code=%D9%A1%D9%A1", "province_code"),
            (&format!("{LEAST}&sex=x"), "sex"),
            (&format!("{LEAST}&sort=phone"), "sort"),
            (&format!("{LEAST}&full_name="), "full_name"),
            (&format!("{LEAST}&ward={}", "a".repeat(201)), "ward"),
            (&format!("{LEAST}&limit=0"), "limit"),
            (&format!("{LEAST}&limit=101"), "limit"),
            (&format!("{LEAST}&limit=+7"), "limit"),
            (&format!("{LEAST}&cursor="), "cursor"),
            (&format!("{LEAST}&cursor=ê{}", "0".repeat(30)), "cursor"),
            (&format!("{LEAST}&cursor=0123456789abcdef{}", HOA.number), "cursor"),
            (&format!("{LEAST}&phone=1"), "unknown"),
            (&format!("{LEAST}&full_name=%C3"), "UTF-8"),
            (&format!("{LEAST}&full_name=%zz"), "UTF-8"),
            (&format!("{LEAST}&{LEAST}"), "twice"),
        ] {
            let refused = Query::parse(query).unwrap_err();
            assert!(refused.0.contains(told), "{query}: {refused:?}");
        }
    }

    #[test]
    fn a_cursor_belongs_to_its_query() {
        let query = Query::parse(LEAST).unwrap();
        let cursor = query.cursor(HOA.number);
        let next = Query::parse(&format!("{LEAST}&limit=7&cursor={cursor}")).unwrap();
        assert_eq!(next.after, Some(HOA.number));
        for other in ["&sort=full_name", "&sex=male", "&ward=x", "&full_name=x"] {
            assert_eq!(Query::parse(&format!("{LEAST}{other}&cursor={cursor}")), Err(BAD_CURSOR), "{other}");
        }
    }
}
