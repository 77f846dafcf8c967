//! `office-hours`: on which days, and from when to when, a request may be made. A table is one schedule; `applies_to` says whose.

use std::sync::Arc;

use jiff::civil::{Date, DateTime, Weekday};
use popgate_policy::narrow::Narrowing;
use toml::de::DeValue;

use super::effect;
use crate::plugin::{Blueprint, Decision, Files, Plugin, Seen, Unusable};
use crate::settings::{Settings, Value};

/// A schedule in the node's time zone.
#[derive(Clone, Debug)]
struct OfficeHours {
    hours: Hours,
    outside: Narrowing,
}

#[derive(Clone, Debug)]
struct Hours {
    weekdays: Vec<Weekday>,
    /// Minutes of the day. `from` after `to`: over midnight, and the day is that of the beginning.
    from: u16,
    to: u16,
    /// First and last days.
    holidays: Vec<(Date, Date)>,
}

pub(super) fn read(settings: &Settings<'_>) -> Option<Arc<dyn Blueprint>> {
    let weekdays = settings.required("weekdays", |settings, value| {
        settings.list(value, |settings, item| settings.choice(item, &WEEKDAYS))
    });
    let from = settings.required("from", minute);
    let to = settings.required("to", minute);
    let holidays = settings.optional("holidays", |settings, value| settings.list(value, days));
    let good = holidays.is_some() == settings.has("holidays");
    let outside = effect::read(settings, "outside", "refuse", REMEDY);
    if let (Some(from), Some(to)) = (from, to)
        && from % DAY == to % DAY
        && (from, to) != (0, DAY)
    {
        let help = "the whole day is `from = \"00:00\"` and `to = \"24:00\"`";
        settings.mend("no-time", settings.place("to"), "`to` is the same time as `from`", help);
        return None;
    }
    let hours = Hours { weekdays: weekdays?, from: from?, to: to?, holidays: holidays.unwrap_or_default() };
    Some(Arc::new(OfficeHours { hours, outside: outside.filter(|_| good)? }))
}

impl Hours {
    fn hold(&self, local: DateTime) -> bool {
        let minute = u16::try_from(local.hour()).unwrap_or(0) * 60 + u16::try_from(local.minute()).unwrap_or(0);
        let today = local.date();
        if self.from < self.to {
            return (self.from..self.to).contains(&minute) && self.works(today);
        }
        let began = if minute >= self.from { Ok(today) } else { today.yesterday() };
        (minute >= self.from || minute < self.to) && began.is_ok_and(|day| self.works(day))
    }

    fn works(&self, day: Date) -> bool {
        self.weekdays.contains(&day.weekday())
            && !self.holidays.iter().any(|(first, last)| (*first..=*last).contains(&day))
    }
}

impl Plugin for OfficeHours {
    fn looks_at_subject(&self) -> bool {
        false
    }

    fn decide<'a>(&'a self, seen: Seen<'a>) -> Decision<'a> {
        let narrowing = if self.hours.hold(seen.local) { Narrowing::NONE } else { self.outside.clone() };
        Box::pin(async { Ok(narrowing) })
    }
}

impl Blueprint for OfficeHours {
    fn open(&self, _: &dyn Files) -> Result<Box<dyn Plugin>, Unusable> {
        Ok(Box::new(self.clone()))
    }
}

/// `07:30`, in minutes of the day; `24:00` is its end.
fn minute<'r>(settings: &Settings<'r>, value: Value<'r>) -> Option<u16> {
    let typed = settings.text(value)?;
    let parsed = typed.split_once(':').filter(|(hour, minute)| hour.len() == 2 && minute.len() == 2);
    let parsed = parsed.and_then(|(hour, minute)| Some((hour.parse::<u16>().ok()?, minute.parse::<u16>().ok()?)));
    let minute = parsed.filter(|(_, minute)| *minute < 60).map(|(hour, minute)| hour * 60 + minute);
    let minute = minute.filter(|minute| *minute <= DAY && !typed.contains('+'));
    if minute.is_none() {
        let message = format!("`{typed}` is not a time of day");
        settings.mend("bad-time", value.span(), message, "from `\"00:00\"` to `\"24:00\"`, such as `\"07:30\"`");
    }
    minute
}

/// A date, or a text with the first and the last of several: `2026-09-02` or `"2027-02-05/2027-02-11"`.
fn days<'r>(settings: &Settings<'r>, value: Value<'r>) -> Option<(Date, Date)> {
    let typed = match value.get_ref() {
        DeValue::Datetime(date) => date.to_string(),
        DeValue::String(text) => text.to_string(),
        _ => return settings.wrong_type(value, "a date"),
    };
    let (first, last) = typed.split_once('/').unwrap_or((&typed, &typed));
    let day = |text: &str| if text.len() == 10 { text.parse::<Date>().ok() } else { None };
    let parsed = day(first).zip(day(last)).filter(|(first, last)| first <= last);
    if parsed.is_none() {
        let message = format!("`{typed}` is neither a day nor a first and a last day");
        let help = "such as `2026-09-02` or `\"2027-02-05/2027-02-11\"`";
        settings.mend("bad-date", value.span(), message, help);
    }
    parsed
}

const WEEKDAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];
/// Minutes.
const DAY: u16 = 24 * 60;
const REMEDY: &str = "ask again within the hours that this site has for it";

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    const WORKING: [Weekday; 5] =
        [Weekday::Monday, Weekday::Tuesday, Weekday::Wednesday, Weekday::Thursday, Weekday::Friday];

    fn hours(from: u16, to: u16) -> Hours {
        let holidays = vec![(date(2026, 9, 2), date(2026, 9, 2)), (date(2027, 2, 5), date(2027, 2, 11))];
        Hours { weekdays: WORKING.to_vec(), from: from * 60, to: to * 60, holidays }
    }

    #[test]
    fn a_day_begins_and_ends_to_the_minute() {
        let hours = hours(8, 17);
        let tuesday = |hour, minute| date(2026, 11, 24).at(hour, minute, 59, 0);
        for (hour, minute, open) in [(7, 59, false), (8, 0, true), (16, 59, true), (17, 0, false), (0, 0, false)] {
            assert_eq!(hours.hold(tuesday(hour, minute)), open, "{hour}:{minute}");
        }
        assert!(!hours.hold(date(2026, 11, 22).at(10, 0, 0, 0)), "a Sunday");
        for (day, open) in [(date(2026, 9, 1), true), (date(2026, 9, 2), false), (date(2026, 9, 3), true)] {
            assert_eq!(hours.hold(day.at(10, 0, 0, 0)), open, "{day}");
        }
        for (day, open) in [(date(2027, 2, 4), true), (date(2027, 2, 5), false), (date(2027, 2, 11), false)] {
            assert_eq!(hours.hold(day.at(10, 0, 0, 0)), open, "{day}");
        }
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_begins() {
        let nights = hours(22, 6);
        for (day, hour, open) in [
            (date(2026, 11, 20), 21, false),
            (date(2026, 11, 20), 22, true),
            // Saturday morning is Friday's night, Monday morning is Sunday's.
            (date(2026, 11, 21), 5, true),
            (date(2026, 11, 21), 6, false),
            (date(2026, 11, 21), 23, false),
            (date(2026, 11, 23), 5, false),
            (date(2026, 11, 23), 23, true),
            // The night of a holiday.
            (date(2026, 9, 2), 5, true),
            (date(2026, 9, 2), 23, false),
            (date(2026, 9, 3), 5, false),
        ] {
            assert_eq!(nights.hold(day.at(hour, 0, 0, 0)), open, "{day} {hour}");
        }
        assert!(hours(0, 24).hold(date(2026, 11, 24).at(23, 59, 59, 0)));
        assert!(hours(18, 24).hold(date(2026, 11, 24).at(23, 59, 59, 0)));
        assert!(!hours(18, 24).hold(date(2026, 11, 24).at(0, 0, 0, 0)));
    }
}
