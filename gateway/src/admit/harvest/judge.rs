//! Judge: which rules are tripped, and what follows.

use std::time::Duration;

use super::activity::Figures;

/// When a party counts as one that copies the register. A rule that is `None` is off.
///
/// An hour is up to 75 minutes, a day up to 27 hours, and above 256 persons a count is off by 2.3 % (standard error): a
/// threshold closer than a third to what is honestly asked at most trips by mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// More different persons in an hour.
    pub persons_per_hour: Option<Most>,
    /// More different persons in a day.
    pub persons_per_day: Option<Most>,
    /// So many of 100 of these two are warned of before; `None`: nobody is.
    pub near_percent: Option<u32>,
    /// Persons whose numbers lie close together.
    pub density: Option<Density>,
    /// Requests that find nobody.
    pub misses: Option<Misses>,
    /// More than is usual for this party.
    pub change: Option<Change>,
    /// How long a trip stays at least. It stays longer while what led to it lasts.
    pub hold: Duration,
    /// How many seconds local time is ahead of UTC: what is usual goes by the hour of the day.
    pub ahead_of_utc: i64,
}

/// A threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Most {
    /// Persons; one more trips.
    pub persons: u64,
    /// What follows.
    pub action: Action,
}

/// Different persons in an hour for each different block that they are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Density {
    /// Persons a block, as a mean; more trips. Honest use is at 1.0 to 1.3.
    pub persons: u32,
    /// Of that many persons at least.
    pub least: u64,
    /// What follows.
    pub action: Action,
}

/// Requests in an hour that find nobody or whose guard does not match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misses {
    /// So many of 100 trip.
    pub percent: u32,
    /// Of that many requests at least.
    pub least: u64,
    /// What follows.
    pub action: Action,
}

/// Different persons in an hour, against what is usual at this time of day. An hour here is up to 75 minutes and what
/// is usual is a mean of whole hours, so that an even load is at 1.25 times by itself; a party with a month's end of
/// four times its usual days needs 7 or 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// More than so many times what is usual trips.
    pub times: u32,
    /// Of that many persons at least.
    pub least: u64,
    /// What follows.
    pub action: Action,
}

/// What follows from a trip, the mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Somebody is told.
    Warn,
    /// Each request waits that long first.
    Slow(Duration),
    /// Nothing is answered.
    Stop,
}

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// [`Rules::persons_per_hour`].
    PersonsPerHour,
    /// [`Rules::persons_per_day`].
    PersonsPerDay,
    /// [`Rules::near_percent`] of [`Rules::persons_per_hour`].
    NearPersonsPerHour,
    /// [`Rules::near_percent`] of [`Rules::persons_per_day`].
    NearPersonsPerDay,
    /// [`Rules::density`].
    Density,
    /// [`Rules::misses`].
    Misses,
    /// [`Rules::change`].
    Change,
}

/// A rule that was not tripped before, for one audit event and one count of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trip {
    /// Which.
    pub rule: Rule,
    /// What follows.
    pub action: Action,
    /// What was measured: persons, persons a block, or misses of 100.
    pub measured: f64,
    /// What may be at most, in the same unit.
    pub limit: f64,
    /// When it ends at the earliest, in seconds since the epoch.
    pub until: u64,
}

/// What is to be done with a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The strongest action in force; `None`: nothing is tripped.
    pub action: Option<Action>,
    /// For [`Action::Stop`]: when to come again, in seconds since the epoch. It is right if nothing is let through
    /// until then and what is stopped for is how many persons; the mean of what is left may get worse while some is
    /// forgotten.
    pub again: Option<u64>,
    /// What tripped just now. Empty but for one request in very many; it does not allocate then.
    pub newly: Vec<Trip>,
}

impl Rule {
    /// All of them. One that is near comes after the one that it is near to.
    pub const ALL: [Self; 7] = [
        Self::PersonsPerHour,
        Self::PersonsPerDay,
        Self::NearPersonsPerHour,
        Self::NearPersonsPerDay,
        Self::Density,
        Self::Misses,
        Self::Change,
    ];

    /// The name in metrics and audit events.
    pub fn name(self) -> &'static str {
        match self {
            Self::PersonsPerHour => "persons_per_hour",
            Self::PersonsPerDay => "persons_per_day",
            Self::NearPersonsPerHour => "near_persons_per_hour",
            Self::NearPersonsPerDay => "near_persons_per_day",
            Self::Density => "density",
            Self::Misses => "misses",
            Self::Change => "change",
        }
    }

    /// Whether it only tells that another one is near.
    fn near_to(self) -> Option<Self> {
        match self {
            Self::NearPersonsPerHour => Some(Self::PersonsPerHour),
            Self::NearPersonsPerDay => Some(Self::PersonsPerDay),
            Self::PersonsPerHour | Self::PersonsPerDay | Self::Density | Self::Misses | Self::Change => None,
        }
    }
}

impl Rules {
    /// What a rule makes of the figures; `None` if it is off or too little is known.
    fn measure(&self, rule: Rule, figures: &Figures) -> Option<Measured> {
        let near = |most: Option<Most>| {
            let percent = f64::from(self.near_percent?);
            most.map(|most| (most.persons as f64 * percent / 100.0, Action::Warn))
        };
        let of = |most: Option<Most>| most.map(|most| (most.persons as f64, most.action));
        let over = |measured: f64, (limit, action): (f64, Action), enough: bool| Measured {
            measured,
            limit,
            action,
            met: enough && measured > limit,
        };
        Some(match rule {
            Rule::PersonsPerHour => over(figures.hour, of(self.persons_per_hour)?, true),
            Rule::PersonsPerDay => over(figures.day, of(self.persons_per_day)?, true),
            Rule::NearPersonsPerHour => over(figures.hour, near(self.persons_per_hour)?, true),
            Rule::NearPersonsPerDay => over(figures.day, near(self.persons_per_day)?, true),
            Rule::Density => {
                let rule = self.density?;
                let density = figures.hour / figures.blocks.max(1.0);
                over(density, (f64::from(rule.persons), rule.action), figures.hour >= rule.least as f64)
            }
            Rule::Misses => {
                let rule = self.misses?;
                let measured = (100.0 * figures.missed as f64 / figures.asked.max(1) as f64).min(100.0);
                let limit = f64::from(rule.percent);
                // At the limit, not only past it: all of them may be one.
                let met = figures.asked >= rule.least && figures.missed > 0 && measured >= limit;
                Measured { measured, limit, action: rule.action, met }
            }
            Rule::Change => {
                let rule = self.change?;
                let limit = f64::from(rule.times) * figures.usual?;
                over(figures.hour, (limit, rule.action), figures.hour >= rule.least as f64)
            }
        })
    }

    fn is_on(&self, rule: Rule) -> bool {
        match rule {
            Rule::PersonsPerHour => self.persons_per_hour.is_some(),
            Rule::PersonsPerDay => self.persons_per_day.is_some(),
            Rule::NearPersonsPerHour => self.persons_per_hour.is_some() && self.near_percent.is_some(),
            Rule::NearPersonsPerDay => self.persons_per_day.is_some() && self.near_percent.is_some(),
            Rule::Density => self.density.is_some(),
            Rule::Misses => self.misses.is_some(),
            Rule::Change => self.change.is_some(),
        }
    }
}

/// The rules that are tripped.
#[derive(Debug, Default)]
pub(super) struct Trips {
    /// By the order of [`Rule::ALL`].
    held: [Option<Held>; Rule::ALL.len()],
}

#[derive(Clone, Copy, Debug)]
struct Held {
    until: u64,
    /// What led to it lasts.
    met: bool,
    action: Action,
    /// When what led to it will be over.
    again: u64,
}

struct Measured {
    measured: f64,
    limit: f64,
    action: Action,
    met: bool,
}

impl Trips {
    /// Trips rules and ends trips by the figures of `now`, seconds since the epoch. `decline` says what the figures
    /// will be if nothing more is asked, and from when.
    pub(super) fn judge<D>(&mut self, rules: &Rules, figures: &Figures, decline: impl Fn() -> D, now: u64) -> Vec<Trip>
    where
        D: Iterator<Item = (u64, Figures)>,
    {
        let mut newly = Vec::new();
        for (rule, slot) in Rule::ALL.into_iter().zip(&mut self.held) {
            let Some(it) = rules.measure(rule, figures) else {
                // Off, or nothing to go by: a trip that was lasts as long as it has to.
                if let Some(held) = slot {
                    held.met = false;
                }
                *slot = slot.filter(|held| now < held.until && rules.is_on(rule));
                continue;
            };
            let hold = now.saturating_add(rules.hold.as_secs());
            match slot {
                None if it.met => {
                    *slot = Some(Held { until: hold, met: true, action: it.action, again: 0 });
                    newly.push(Trip { rule, action: it.action, measured: it.measured, limit: it.limit, until: hold });
                }
                None => continue,
                Some(held) => {
                    if it.met && !held.met {
                        held.until = hold;
                    }
                    (held.met, held.action) = (it.met, it.action);
                    *slot = slot.filter(|held| held.met || now < held.until);
                }
            }
            if let Some(held) = slot.as_mut().filter(|held| held.met && held.again <= now) {
                let over = |figures: &Figures| !rules.measure(rule, figures).is_some_and(|it| it.met);
                held.again = decline()
                    .map(|(at, later)| (at, Figures { usual: figures.usual, ..later }))
                    .find(|(_, later)| over(later))
                    .map_or(held.until, |(at, _)| at);
            }
        }
        newly.retain(|trip| trip.rule.near_to().is_none_or(|rule| !self.holds(rule)));
        newly
    }

    /// The strongest action, and when it ends if that is a stop.
    pub(super) fn strongest(&self) -> (Option<Action>, Option<u64>) {
        let Some(action) = self.held.iter().flatten().map(|held| held.action).max() else { return (None, None) };
        let stops = self.held.iter().flatten().filter(|held| held.action == Action::Stop);
        (Some(action), stops.map(|held| if held.met { held.until.max(held.again) } else { held.until }).max())
    }

    /// Whether a rule is tripped that does more than to tell that another one is near.
    pub(super) fn is_tripped(&self) -> bool {
        Rule::ALL.into_iter().zip(&self.held).any(|(rule, held)| held.is_some() && rule.near_to().is_none())
    }

    /// Whether nothing is tripped, and nothing is near.
    pub(super) fn is_empty(&self) -> bool {
        self.held.iter().all(Option::is_none)
    }

    /// The rules that are tripped.
    pub(super) fn rules(&self) -> impl Iterator<Item = Rule> {
        Rule::ALL.into_iter().zip(&self.held).filter_map(|(rule, held)| held.map(|_| rule))
    }

    /// The clock was put back by so many seconds.
    pub(super) fn put_back(&mut self, by: u64) {
        for held in self.held.iter_mut().flatten() {
            held.until = held.until.saturating_sub(by);
            held.again = held.again.saturating_sub(by);
        }
    }

    fn holds(&self, rule: Rule) -> bool {
        self.rules().any(|held| held == rule)
    }
}
