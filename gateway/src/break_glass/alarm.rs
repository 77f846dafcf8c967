//! When operators are told of orders in force: as each begins, as it ends, and again and again between.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How long an order in force goes without being told of.
pub const REMINDER: Duration = Duration::from_secs(600);

/// Which orders were in force when somebody looked last, and when each was told of.
#[derive(Debug, Default)]
pub struct Alarm(BTreeMap<String, Instant>);

/// What is to be told of an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sound {
    /// It has come into force.
    Began,
    /// It still is.
    GoesOn,
    /// It is no more.
    Ended,
}

impl Alarm {
    /// What is to be told now that these are in force.
    pub fn sounds(&mut self, in_force: &BTreeSet<String>, now: Instant) -> Vec<(String, Sound)> {
        let mut sounds = Vec::new();
        self.0.retain(|id, _| {
            let stays = in_force.contains(id);
            if !stays {
                sounds.push((id.clone(), Sound::Ended));
            }
            stays
        });
        for id in in_force {
            match self.0.get_mut(id) {
                None => {
                    self.0.insert(id.clone(), now);
                    sounds.push((id.clone(), Sound::Began));
                }
                Some(told) if now.duration_since(*told) >= REMINDER => {
                    *told = now;
                    sounds.push((id.clone(), Sound::GoesOn));
                }
                Some(_) => {}
            }
        }
        sounds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_told_of_as_it_begins_every_ten_minutes_and_as_it_ends() {
        let (mut alarm, start) = (Alarm::default(), Instant::now());
        let mut at = |seconds, ids: &[&str]| {
            let in_force = ids.iter().map(|id| (*id).to_owned()).collect();
            let sounds = alarm.sounds(&in_force, start + Duration::from_secs(seconds));
            sounds.into_iter().map(|(id, sound)| format!("{id} {sound:?}")).collect::<Vec<_>>()
        };
        assert_eq!(at(0, &[]), [""; 0]);
        assert_eq!(at(1, &["a"]), ["a Began"]);
        assert_eq!(at(600, &["a"]), [""; 0]);
        assert_eq!(at(601, &["a", "b"]), ["a GoesOn", "b Began"]);
        assert_eq!(at(1200, &["a", "b"]), [""; 0]);
        assert_eq!(at(1201, &["b"]), ["a Ended", "b GoesOn"]);
        assert_eq!(at(1202, &["a", "b"]), ["a Began"]);
    }
}
