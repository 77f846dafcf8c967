//! Evaluating what waited for the request or the record. Nothing is allocated but for what is left to Cedar.

use super::value::{Seen, midnight};
use super::{Circumstance, Expr, Operator, Value};
use crate::engine::{Fact, Facts};
use crate::permit::Env;

/// A condition failed to evaluate: whether it would have held is not known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Failed;

impl Expr {
    /// Whether it holds. It MUST be folded.
    pub(crate) fn holds(&self, env: &Env, facts: Facts<'_, '_>) -> Result<bool, Failed> {
        match self {
            Self::Is(Value::Truth(truth)) => Ok(*truth),
            Self::Not(part) => part.holds(env, facts).map(|holds| !holds),
            Self::And(parts) => {
                let [left, right] = &**parts;
                if left.holds(env, facts)? { right.holds(env, facts) } else { Ok(false) }
            }
            Self::Or(parts) => {
                let [left, right] = &**parts;
                if left.holds(env, facts)? { Ok(true) } else { right.holds(env, facts) }
            }
            Self::Any(parts) => parts.iter().try_fold(false, |any, part| Ok(part.holds(env, facts)? | any)),
            Self::Cedar(left) => left.holds(env, facts),
            _ => self.seen(env, facts)?.truth(),
        }
    }

    /// The value of what needs neither request nor record.
    pub(super) fn alone(&self) -> Option<Value> {
        let nobody = Env {
            date: jiff::civil::Date::ZERO,
            hour: 0,
            minute: 0,
            source: std::net::Ipv4Addr::UNSPECIFIED.into(),
            claimed_assurance: None,
            claimed_user: false,
            claimed_case: false,
        };
        self.seen(&nobody, &|_| None).ok().map(Seen::to_value)
    }

    fn seen<'s, 'r: 's>(&'s self, env: &'s Env, facts: Facts<'_, 'r>) -> Result<Seen<'s>, Failed> {
        Ok(match self {
            Self::Is(value) => value.seen(),
            Self::Env(circumstance) => circumstance.seen(env)?,
            Self::IsAssured => Seen::Truth(env.claimed_assurance.is_some()),
            Self::Record(at) => match facts(usize::from(*at)).ok_or(Failed)? {
                Fact::Text(text) => Seen::Text(text),
                Fact::Truth(truth) => Seen::Truth(truth),
            },
            Self::Not(_) | Self::And(_) | Self::Or(_) | Self::Any(_) | Self::Cedar(_) => {
                Seen::Truth(self.holds(env, facts)?)
            }
            Self::If(parts) => {
                let [condition, then, otherwise] = &**parts;
                let branch = if condition.holds(env, facts)? { then } else { otherwise };
                branch.seen(env, facts)?
            }
            Self::Negative(part) => Seen::Long(part.seen(env, facts)?.long()?.checked_neg().ok_or(Failed)?),
            Self::Both(operator, parts) => {
                let [left, right] = &**parts;
                both(*operator, left.seen(env, facts)?, right.seen(env, facts)?)?
            }
            Self::Like(part, pattern) => match part.seen(env, facts)? {
                Seen::Text(text) => Seen::Truth(pattern.fits(text)),
                _ => return Err(Failed),
            },
            Self::Address(test, part) => match part.seen(env, facts)? {
                Seen::Address(network) => Seen::Truth(test.holds(network)),
                _ => return Err(Failed),
            },
            // Folding leaves none of these.
            Self::Fails
            | Self::Principal
            | Self::Action
            | Self::Resource
            | Self::Purpose
            | Self::Named(_)
            | Self::Set(_)
            | Self::IsEmpty(_)
            | Self::IsA(..)
            | Self::Attribute(..)
            | Self::Has(..) => return Err(Failed),
        })
    }
}

impl Circumstance {
    fn seen(self, env: &Env) -> Result<Seen<'_>, Failed> {
        Ok(match self {
            Self::Today => Seen::Moment(midnight(env.date)),
            Self::Weekday => Seen::Long(env.date.weekday().to_monday_one_offset().into()),
            Self::Hour => Seen::Long(env.hour.into()),
            Self::MinuteOfDay => Seen::Long(minute_of_day(env)),
            Self::Source => Seen::Address(env.source.to_canonical().into()),
            Self::Assurance => Seen::Text(env.claimed_assurance.as_deref().ok_or(Failed)?),
            Self::User => Seen::Truth(env.claimed_user),
            Self::Case => Seen::Truth(env.claimed_case),
        })
    }
}

impl Seen<'_> {
    fn truth(self) -> Result<bool, Failed> {
        if let Self::Truth(truth) = self { Ok(truth) } else { Err(Failed) }
    }

    fn long(self) -> Result<i64, Failed> {
        if let Self::Long(number) = self { Ok(number) } else { Err(Failed) }
    }
}

/// An operator on values; the ones that need entities are folded.
pub(super) fn both<'a>(operator: Operator, left: Seen<'a>, right: Seen<'a>) -> Result<Seen<'a>, Failed> {
    use std::cmp::Ordering::{Greater, Less};
    let numbers = || Ok((left.long()?, right.long()?));
    let ordered = || match (left, right) {
        (Seen::Long(left), Seen::Long(right)) | (Seen::Moment(left), Seen::Moment(right)) => Ok(left.cmp(&right)),
        _ => Err(Failed),
    };
    let decimals = || match (left, right) {
        (Seen::Decimal(left), Seen::Decimal(right)) => Ok(left.cmp(&right)),
        _ => Err(Failed),
    };
    let number = |number: Option<i64>| number.map(Seen::Long).ok_or(Failed);
    Ok(Seen::Truth(match operator {
        Operator::Equal => left == right,
        Operator::Differ => left != right,
        Operator::Less => ordered()? == Less,
        Operator::LessOrEqual => ordered()? != Greater,
        Operator::Greater => ordered()? == Greater,
        Operator::GreaterOrEqual => ordered()? != Less,
        Operator::DecimalLess => decimals()? == Less,
        Operator::DecimalLessOrEqual => decimals()? != Greater,
        Operator::DecimalGreater => decimals()? == Greater,
        Operator::DecimalGreaterOrEqual => decimals()? != Less,
        Operator::Plus => return numbers().and_then(|(left, right)| number(left.checked_add(right))),
        Operator::Minus => return numbers().and_then(|(left, right)| number(left.checked_sub(right))),
        Operator::Times => return numbers().and_then(|(left, right)| number(left.checked_mul(right))),
        Operator::Contains => match left {
            Seen::Other(Value::Set(set)) => right.is_in(set),
            _ => return Err(Failed),
        },
        Operator::InRange => match (left, right) {
            (Seen::Address(inner), Seen::Address(outer)) => outer.contains(&inner),
            _ => return Err(Failed),
        },
        Operator::In | Operator::ContainsAll | Operator::ContainsAny => return Err(Failed),
    }))
}

/// The minutes since the local day began.
pub(crate) fn minute_of_day(env: &Env) -> i64 {
    i64::from(env.hour) * 60 + i64::from(env.minute)
}
