//! Who gets how much of what the node can do.
//!
//! Emergencies come first. What they leave is divided max-min fair between the agencies: there is a level, and an
//! agency below it gets all that it asks for, whatever others ask; an agency above it gets the level. An agency's part
//! goes to its interactive requests first. A batch request takes [`batch_price`](super::Rules::batch_price) times as
//! much of the part as an interactive one: so batch is squeezed first within an agency, and much sooner between
//! agencies, but nobody's batch ceases because somebody else is noisy. Classes that were squeezed one after the other
//! over all agencies would let one noisy interactive agency end the batch of all; agencies without classes would let
//! batch of one press on people who wait at another. All is continuous in what is asked and in what there is, so that
//! nothing flaps.

use super::PerClass;
use super::governor::Budget;

/// What an agency asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demand {
    pub(super) weight: f32,
    /// Requests a second.
    pub(super) rates: PerClass<f32>,
}

/// The levels, per unit of weight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Levels {
    emergency: f32,
    others: f32,
    /// How much of a batch request the price of an interactive one buys.
    batch: f32,
}

impl Levels {
    /// The levels at which the shares of a budget are granted.
    pub(super) fn divide(demands: &[Demand], budget: &Budget, batch_price: f64) -> Self {
        let batch = (1.0 / batch_price.max(1.0)) as f32;
        let emergency = level(demands, budget.emergency, |demand, level| {
            let part = level * demand.weight;
            if demand.rates.emergency <= part { (demand.rates.emergency, 0.0) } else { (part, demand.weight) }
        });
        let others = level(demands, budget.others, |demand, level| {
            let (granted, batches) = ordinary(demand, level, batch);
            let slope = if granted < demand.rates.interactive {
                demand.weight
            } else if batches < demand.rates.batch {
                demand.weight * batch
            } else {
                0.0
            };
            (granted + batches, slope)
        });
        Self { emergency, others, batch }
    }

    /// Requests a second that an agency gets.
    pub(super) fn granted(&self, demand: &Demand) -> PerClass<f32> {
        let (interactive, batch) = ordinary(demand, self.others, self.batch);
        let emergency = demand.rates.emergency.min(self.emergency * demand.weight);
        PerClass { emergency, interactive, batch }
    }
}

fn ordinary(demand: &Demand, level: f32, batch: f32) -> (f32, f32) {
    let part = level * demand.weight;
    let interactive = demand.rates.interactive.min(part);
    (interactive, demand.rates.batch.min((part - interactive) * batch))
}

/// The level at which a share of everything asked for is granted; endless where that is all of it.
///
/// What is granted is concave in the level and made of straight pieces: Newton's steps from below never go too far, and
/// end. `granted` says what an agency is granted at a level, and how fast that grows.
fn level(demands: &[Demand], share: f64, granted: impl Fn(&Demand, f32) -> (f32, f32)) -> f32 {
    if share >= 1.0 {
        return f32::INFINITY;
    }
    let at = |level: f32| {
        demands.iter().fold((0.0, 0.0), |(sum, slope), demand| {
            let (more, steeper) = granted(demand, level);
            (sum + f64::from(more), slope + f64::from(steeper))
        })
    };
    // Finite, so that a part of it is.
    let (all, _) = at(f32::MAX / 1e6);
    let wanted = all * share.max(0.0);
    let mut level = 0.0;
    for _ in 0..MOST_STEPS {
        let (sum, slope) = at(level as f32);
        let missing = wanted - sum;
        if missing <= wanted * 1e-3 || slope <= 0.0 {
            break;
        }
        level += missing / slope;
    }
    level as f32
}

/// More than it takes: a few, and tens where demands differ by orders of magnitude.
const MOST_STEPS: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(emergency: f32, interactive: f32, batch: f32) -> Demand {
        Demand { weight: 1.0, rates: PerClass { emergency, interactive, batch } }
    }

    fn divided(demands: &[Demand], emergency: f64, others: f64) -> Vec<PerClass<f32>> {
        let levels = Levels::divide(demands, &Budget { emergency, others }, 4.0);
        demands.iter().map(|demand| levels.granted(demand)).collect()
    }

    fn close(is: f32, expected: f32) {
        assert!((is - expected).abs() <= 0.01 * expected.max(0.1), "{is} is not {expected}");
    }

    #[test]
    fn who_asks_for_less_than_its_part_gets_all_of_it() {
        let mut demands = vec![demand(0.0, 6.0, 2.0); 99];
        demands.push(demand(0.0, 4500.0, 0.0));
        // 1000 of 5292.
        let granted = divided(&demands, 1.0, 1000.0 / 5292.0);
        for quiet in &granted[..99] {
            assert_eq!((quiet.interactive, quiet.batch), (6.0, 2.0));
        }
        close(granted[99].interactive, 208.0);
        let heavier = Demand { weight: 3.0, ..demand(0.0, 100.0, 0.0) };
        let granted = divided(&[heavier, demand(0.0, 100.0, 0.0)], 1.0, 0.4);
        close(granted[0].interactive, 60.0);
        close(granted[1].interactive, 20.0);
    }

    #[test]
    fn batch_goes_first_within_an_agency_and_sooner_between_agencies() {
        let granted = divided(&[demand(5.0, 75.0, 20.0); 10], 1.0, 80.0 / 95.0);
        for it in &granted {
            close(it.interactive, 75.0);
            close(it.batch, 5.0);
        }
        let granted = divided(&[demand(0.0, 75.0, 20.0); 10], 1.0, 0.5);
        assert!(granted.iter().all(|it| it.batch == 0.0));
        close(granted[0].interactive, 47.5);
        let granted = divided(&[demand(0.0, 100.0, 0.0), demand(0.0, 0.0, 100.0)], 1.0, 0.5);
        close(granted[0].interactive, 80.0);
        close(granted[1].batch, 20.0);
        let granted = divided(&[demand(100.0, 100.0, 0.0), demand(1.0, 1.0, 1.0)], 0.2, 0.0);
        close(granted[0].emergency, 19.2);
        close(granted[1].emergency, 1.0);
        assert_eq!((granted[1].interactive, granted[1].batch), (0.0, 0.0));
    }

    #[test]
    fn what_is_granted_is_what_there_is_and_more_for_nobody_where_another_below_the_level_lacks_it() {
        let mut state = 7_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 24) as f32
        };
        for _ in 0..2000 {
            let demands: Vec<Demand> = (0..1 + (random() * 40.0) as usize)
                .map(|_| Demand {
                    weight: 0.5 + random(),
                    ..demand(random(), (random() * 12.0 - 4.0).exp(), (random() * 12.0 - 6.0).exp())
                })
                .collect();
            let share = f64::from(random());
            let granted = divided(&demands, 1.0, share);
            let all: f32 = demands.iter().map(|it| it.rates.interactive + it.rates.batch).sum();
            let sum: f32 = granted.iter().map(|it| it.interactive + it.batch).sum();
            close(sum / all, share as f32);
            for (granted, demand) in granted.iter().zip(&demands) {
                assert!(granted.interactive <= demand.rates.interactive && granted.batch <= demand.rates.batch);
                assert!(granted.batch == 0.0 || granted.interactive == demand.rates.interactive);
            }
        }
    }
}
