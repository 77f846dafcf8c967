//! What is usual for a party: how many persons an hour, at each time of day.

/// Persons in an hour, by the hour of the day and over all hours, as means that forget slowly. Only completed hours
/// in which something was asked are learned.
///
/// It is slow to learn up, so that who takes more and more does not make that usual at once: an hour counts as twice
/// what was usual at most, and for a sixteenth (of all hours together, for one part in 128). So what is usual at one
/// time of day at most doubles in 11 days, however much is asked; and an hour in which a rule was tripped is not
/// learned at all. What a party asks in its first days is taken for what it is: until then only fixed thresholds see
/// a harvester.
///
/// The numbers may be kept over a restart; no person is in them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// By the hour of the day.
    pub hours: [Usual; 24],
    /// Over all hours.
    pub overall: Usual,
}

/// A mean.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usual {
    /// Persons in an hour.
    pub persons: f64,
    /// From how many hours.
    pub learned: u32,
}

impl Profile {
    /// Learns that so many persons were asked about in a completed hour of the day (0 to 23).
    pub(super) fn learn(&mut self, hour: usize, persons: f64) {
        if persons < 1.0 {
            return;
        }
        let known = |usual: &Usual, least: u32| usual.learned >= least;
        let overall = if known(&self.overall, OVERALL_KNOWN) { self.overall.persons } else { f64::INFINITY };
        if let Some(usual) = self.hours.get_mut(hour) {
            // A time of day that is not known yet may be well above the others.
            let most = if known(usual, HOUR_KNOWN) { 2.0 * usual.persons } else { 4.0 * overall };
            usual.learn(persons.min(most), HOUR_KNOWN, HOUR_PARTS);
        }
        let most = 2.0 * overall;
        self.overall.learn(persons.min(most), OVERALL_KNOWN, OVERALL_PARTS);
    }

    /// How many persons are usual in an hour that began at this hour of the day, or in the one before it: the last hour
    /// is never one by the clock.
    pub(super) fn usual(&self, hour: usize) -> Option<f64> {
        let before = self.at((hour + 23) % 24)?;
        self.at(hour).map(|usual| usual.max(before))
    }

    /// The same profile, or an empty one if it cannot be one.
    pub(super) fn checked(self) -> Self {
        let is_one = |usual: &Usual| usual.persons.is_finite() && usual.persons >= 0.0;
        if self.hours.iter().chain([&self.overall]).all(is_one) { self } else { Self::default() }
    }

    fn at(&self, hour: usize) -> Option<f64> {
        let usual = self.hours.get(hour).filter(|usual| usual.learned >= HOUR_KNOWN);
        let overall = Some(&self.overall).filter(|usual| usual.learned >= OVERALL_KNOWN);
        usual.or(overall).map(|usual| usual.persons)
    }
}

impl Usual {
    /// The plain mean of the first `known`, then one that forgets.
    fn learn(&mut self, persons: f64, known: u32, parts: u32) {
        self.learned = self.learned.saturating_add(1);
        let parts = if self.learned <= known { self.learned } else { parts };
        self.persons += (persons - self.persons) / f64::from(parts);
    }
}

/// An hour of the day is known from so many of them; until then all hours speak for it.
const HOUR_KNOWN: u32 = 3;
/// All hours are known from so many.
const OVERALL_KNOWN: u32 = 48;
const HOUR_PARTS: u32 = 16;
const OVERALL_PARTS: u32 = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(days: usize, persons: impl Fn(usize) -> f64) -> Profile {
        let mut profile = Profile::default();
        (0..days * 24).for_each(|hour| profile.learn(hour % 24, persons(hour % 24)));
        profile
    }

    #[test]
    fn each_hour_of_the_day_has_its_own_and_the_others_speak_for_it_until_then() {
        let day = |hour: usize| if (8..17).contains(&hour) { 400.0 } else { 20.0 };
        assert_eq!(learned(1, day).usual(3), None, "too little");
        let two = learned(2, day).usual(3).unwrap();
        assert!((two - (9.0 * 400.0 + 15.0 * 20.0) / 24.0).abs() < 1e-9, "{two}");
        let profile = learned(5, day);
        assert_eq!(profile.usual(3), Some(20.0));
        assert_eq!(profile.usual(12), Some(400.0));
        assert_eq!(profile.usual(17), Some(400.0), "the hour before is in the last hour");
        assert_eq!(profile.usual(18), Some(20.0));
    }

    #[test]
    fn hours_in_which_nothing_was_asked_are_not_learned() {
        let profile = learned(60, |hour| if hour == 9 { 50.0 } else { 0.0 });
        assert_eq!(profile.overall, Usual { persons: 50.0, learned: 60 });
        assert_eq!(profile.hours[3], Usual::default());
        assert_eq!(profile.usual(3), Some(50.0));
    }

    #[test]
    fn it_takes_eleven_days_to_double_what_is_usual_and_it_is_forgotten_again() {
        let mut profile = learned(30, |_| 100.0);
        let day = |profile: &mut Profile, persons: f64| (0..24).for_each(|hour| profile.learn(hour, persons));
        let mut days = 0;
        while profile.usual(12).unwrap() < 200.0 {
            day(&mut profile, 1e9);
            days += 1;
        }
        assert_eq!(days, 12, "not before the eleventh");
        (0..14).for_each(|_| day(&mut profile, 100.0));
        assert!(profile.usual(12).unwrap() < 150.0, "it is forgotten again");
    }

    #[test]
    fn what_cannot_be_a_profile_is_none() {
        let good = learned(5, |_| 7.0);
        assert_eq!(good.clone().checked(), good);
        for persons in [f64::NAN, f64::INFINITY, -1.0] {
            let mut bad = good.clone();
            bad.hours[4].persons = persons;
            assert_eq!(bad.checked(), Profile::default());
        }
    }
}
