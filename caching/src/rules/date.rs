//! HTTP dates (RFC 9110 section 5.6.7): the three forms, and nothing like them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use http::header::HeaderName;

/// Seconds since 1970 of a date in one of the three forms; letters in any case. `now`, in the same seconds, decides the
/// century of a year of two digits (RFC 9110 section 5.6.7: not more than 50 years ahead).
pub fn parse(value: &[u8], now: i64) -> Option<i64> {
    let text = std::str::from_utf8(value).ok()?;
    if !text.is_ascii() {
        return None;
    }
    fixed(text).or_else(|| rfc850(text, now)).or_else(|| asctime(text))
}

/// Whole seconds since 1970 of a time.
pub fn seconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |secs| -secs),
    }
}

/// The only date under that name; `None` where there is none, several, or none in a known form.
pub(crate) fn only(headers: &HeaderMap, name: &HeaderName, now: i64) -> Option<i64> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.next().is_some() {
        return None;
    }
    parse(first.as_bytes(), now)
}

/// How long after `from` it is at `to`; nothing if it is before.
pub(crate) fn between(from: i64, to: i64) -> Duration {
    Duration::from_secs(u64::try_from(to.saturating_sub(from)).unwrap_or(0))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
fn fixed(text: &str) -> Option<i64> {
    let (weekday, rest) = text.split_once(", ")?;
    short_weekday(weekday)?;
    let mut parts = rest.split(' ');
    let day = digits(parts.next()?, 2)?;
    let month = month(parts.next()?)?;
    let year = digits(parts.next()?, 4)?;
    let time = time(parts.next()?)?;
    gmt(parts.next()?)?;
    parts.next().is_none().then_some(())?;
    date(year, month, day, time)
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`.
fn rfc850(text: &str, now: i64) -> Option<i64> {
    let (weekday, rest) = text.split_once(", ")?;
    WEEKDAYS.iter().any(|known| known.eq_ignore_ascii_case(weekday)).then_some(())?;
    let mut parts = rest.split(' ');
    let mut day_parts = parts.next()?.split('-');
    let day = digits(day_parts.next()?, 2)?;
    let month = month(day_parts.next()?)?;
    let year = digits(day_parts.next()?, 2)?;
    day_parts.next().is_none().then_some(())?;
    let time = time(parts.next()?)?;
    gmt(parts.next()?)?;
    parts.next().is_none().then_some(())?;
    let century = (0..=5).rev().map(|n| 1700 + n * 100);
    let latest = now.saturating_add(FIFTY_YEARS);
    century.filter_map(|century| date(century + year, month, day, time)).find(|at| *at <= latest)
}

/// `Sun Nov  6 08:49:37 1994`.
fn asctime(text: &str) -> Option<i64> {
    let weekday = text.get(..3)?;
    short_weekday(weekday)?;
    (text.get(3..4)? == " ").then_some(())?;
    let month = month(text.get(4..7)?)?;
    (text.get(7..8)? == " ").then_some(())?;
    let day = text.get(8..10)?;
    let day = match day.strip_prefix(' ') {
        Some(one) => digits(one, 1)?,
        None => digits(day, 2)?,
    };
    (text.get(10..11)? == " ").then_some(())?;
    let time = time(text.get(11..19)?)?;
    (text.get(19..20)? == " ").then_some(())?;
    date(digits(text.get(20..)?, 4)?, month, day, time)
}

fn short_weekday(text: &str) -> Option<()> {
    let known = |known: &&str| known.get(..3).is_some_and(|short| short.eq_ignore_ascii_case(text));
    WEEKDAYS.iter().any(known).then_some(())
}

fn month(text: &str) -> Option<i64> {
    let at = MONTHS.iter().position(|known| known.eq_ignore_ascii_case(text))?;
    i64::try_from(at + 1).ok()
}

fn gmt(text: &str) -> Option<()> {
    text.eq_ignore_ascii_case("GMT").then_some(())
}

/// `08:49:37`, in seconds; a leap second is one (RFC 9110 section 5.6.7).
fn time(text: &str) -> Option<i64> {
    let mut parts = text.split(':');
    let hour = digits(parts.next()?, 2)?;
    let minute = digits(parts.next()?, 2)?;
    let second = digits(parts.next()?, 2)?;
    let whole = parts.next().is_none() && hour < 24 && minute < 60 && second <= 60;
    whole.then_some(hour * 3600 + minute * 60 + second)
}

fn digits(text: &str, count: usize) -> Option<i64> {
    let good = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    good.then(|| text.parse().ok())?
}

/// Days are counted in years that begin in March, so that the leap day is the last.
fn date(year: i64, month: i64, day: i64, time: i64) -> Option<i64> {
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let length = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    (1..=length).contains(&day).then_some(())?;
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days = days + (month * 153 + 2) / 5 + day - 1;
    Some((days - DAYS_TO_1970) * 86_400 + time)
}

const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// From 1 March of the year 0.
const DAYS_TO_1970: i64 = 719_468;
const FIFTY_YEARS: i64 = 50 * 365 * 86_400 + 12 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000;

    /// RFC 9110 section 5.6.7: one moment in three forms.
    #[test]
    fn the_three_forms_are_one_moment() {
        let all = ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"];
        assert!(all.iter().all(|text| parse(text.as_bytes(), NOW) == Some(784_111_777)), "{all:?}");
        assert_eq!(parse(b"SUN, 06 nov 1994 08:49:37 gMT", NOW), Some(784_111_777));
    }

    /// RFC 9110 section 5.6.7: a year of two digits is not more than 50 years ahead.
    #[test]
    fn two_digits_are_a_year_at_most_fifty_years_ahead() {
        assert_eq!(parse(b"Thursday, 18-Aug-50 02:01:18 GMT", NOW), parse(b"Thu, 18 Aug 2050 02:01:18 GMT", NOW));
        assert_eq!(parse(b"Sunday, 06-Nov-94 08:49:37 GMT", NOW), parse(b"Sun, 06 Nov 1994 08:49:37 GMT", NOW));
    }

    /// RFC 9111 section 5.3: what is not a date, `0` above all, is in the past for `Expires`; here it is nothing.
    #[test]
    fn what_is_nearly_a_date_is_none() {
        let none = [
            "0",
            "",
            "Thu, 18 Aug 2050 02:01:18 UTC",
            "Thu, 18 Aug 50 02:01:18 GMT",
            "Thu 18 Aug 2050 02:01:18 GMT",
            "Thu, 18  Aug  2050 02:01:18 GMT",
            "Thu, 18-Aug-2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 02.01.18 GMT",
            "Thu, 18 Aug 2050 2:01:18 GMT",
            "Thu, 18 Aug 2050 24:01:18 GMT",
            "Thu, 30 Feb 2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 02:01:18",
            "Th\u{fc}, 18 Aug 2050 02:01:18 GMT",
        ];
        assert!(none.iter().all(|text| parse(text.as_bytes(), NOW).is_none()));
    }

    proptest::proptest! {
        /// What the usual writer writes is read as what it was.
        #[test]
        fn what_is_written_is_read(secs in 0_u64..253_402_300_799) {
            let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(secs));
            proptest::prop_assert_eq!(parse(text.as_bytes(), NOW), i64::try_from(secs).ok());
        }

        /// Nothing that is read ends in anything but an answer.
        #[test]
        fn any_bytes_end_in_an_answer(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40)) {
            let _ = parse(&bytes, NOW);
        }
    }
}
