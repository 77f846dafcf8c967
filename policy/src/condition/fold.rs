//! Evaluating what is known before the request.

use std::sync::Arc;

use cedar_policy::{Entities, EntityUid};

use super::value::Seen;
use super::{Expr, Operator, Value, eval};
use crate::cedar::Lineage;
use crate::contract::RecordSchema;

/// Who asks what for what purpose, and perhaps about which field.
#[derive(Clone, Copy)]
pub(crate) struct Known<'k> {
    pub(crate) entities: &'k Entities,
    pub(crate) principal: &'k Lineage,
    pub(crate) action: &'k Lineage,
    pub(crate) resource: Option<&'k Lineage>,
    pub(crate) purpose: &'k EntityUid,
    pub(crate) record: &'k Arc<RecordSchema>,
}

impl Expr {
    /// The expression with everything evaluated that is known: [`Expr::TRUE`], [`Expr::FALSE`], [`Expr::Fails`], or what waits for
    /// the request or the record.
    pub(crate) fn fold(&self, known: &Known<'_>) -> Self {
        let fold = |part: &Self| part.fold(known);
        match self {
            Self::Is(_) | Self::Fails | Self::Env(_) | Self::IsAssured | Self::Record(_) => self.clone(),
            Self::Principal => Self::entity(known.principal.uid.clone()),
            Self::Action => Self::entity(known.action.uid.clone()),
            Self::Resource => known.resource.map_or(Self::Resource, |field| Self::entity(field.uid.clone())),
            Self::Purpose => Self::entity(known.purpose.clone()),
            Self::Named(name) => {
                let at = known.record.attributes.iter().position(|attribute| *attribute.name == **name);
                at.and_then(|at| u16::try_from(at).ok()).map_or(Self::Fails, Self::Record)
            }
            Self::Not(part) => match fold(part) {
                Self::Is(Value::Truth(truth)) => Self::Is(Value::Truth(!truth)),
                Self::Is(_) | Self::Fails => Self::Fails,
                Self::Not(inner) => *inner,
                open => Self::Not(Box::new(open)),
            },
            Self::Negative(part) => match fold(part) {
                Self::Is(Value::Long(number)) => {
                    number.checked_neg().map_or(Self::Fails, |it| Self::Is(Value::Long(it)))
                }
                Self::Is(_) | Self::Fails => Self::Fails,
                open => Self::Negative(Box::new(open)),
            },
            Self::And(parts) => junction(parts, known, false),
            Self::Or(parts) => junction(parts, known, true),
            Self::If(parts) => {
                let [condition, then, otherwise] = &**parts;
                match fold(condition) {
                    Self::Is(Value::Truth(true)) => fold(then),
                    Self::Is(Value::Truth(false)) => fold(otherwise),
                    Self::Is(_) | Self::Fails => Self::Fails,
                    open => Self::If(Box::new([open, fold(then), fold(otherwise)])),
                }
            }
            Self::Both(operator, parts) => {
                let [left, right] = &**parts;
                match (fold(left), fold(right)) {
                    (Self::Fails, _) | (_, Self::Fails) => Self::Fails,
                    (Self::Is(left), Self::Is(right)) => both(*operator, &left, &right, known.entities),
                    (left, right) => Self::Both(*operator, Box::new([left, right])),
                }
            }
            Self::Set(parts) => {
                let member = |part: &Self| match fold(part) {
                    Self::Is(value) => Some(value),
                    _ => None,
                };
                parts.iter().map(member).collect::<Option<_>>().map_or(Self::Fails, |set| Self::Is(Value::Set(set)))
            }
            Self::IsEmpty(part) => match fold(part) {
                Self::Is(Value::Set(set)) => Self::Is(Value::Truth(set.is_empty())),
                _ => Self::Fails,
            },
            Self::Like(part, pattern) => one(fold(part), |open| Self::Like(open, pattern.clone())),
            Self::Address(test, part) => one(fold(part), |open| Self::Address(*test, open)),
            Self::IsA(part, kind) => match fold(part) {
                Self::Is(Value::Entity(uid)) => Self::Is(Value::Truth(uid.type_name().to_string() == **kind)),
                open @ Self::Resource => Self::IsA(Box::new(open), kind.clone()),
                _ => Self::Fails,
            },
            Self::Attribute(part, name) => match fold(part) {
                Self::Is(Value::Entity(uid)) => attribute(known.entities, &uid, name).map_or(Self::Fails, Self::Is),
                open @ Self::Resource => Self::Attribute(Box::new(open), name.clone()),
                _ => Self::Fails,
            },
            Self::Has(part, name) => match fold(part) {
                Self::Is(Value::Entity(uid)) => {
                    let entity = known.entities.get(&uid);
                    Self::Is(Value::Truth(entity.is_some_and(|entity| entity.attr(name).is_some())))
                }
                open @ Self::Resource => Self::Has(Box::new(open), name.clone()),
                _ => Self::Fails,
            },
            Self::Any(parts) => Self::Any(parts.iter().map(fold).collect()),
            Self::Cedar(left) => left.bind(known),
        }
    }
}

/// `&&`, or `||` where `decisive` is true: the value of the left part that settles it.
fn junction(parts: &[Expr; 2], known: &Known<'_>, decisive: bool) -> Expr {
    let [left, right] = parts;
    let settled = |part: &Expr| match part {
        Expr::Is(Value::Truth(truth)) => Some(*truth == decisive),
        _ => None,
    };
    let left = left.fold(known);
    match settled(&left) {
        Some(true) => return left,
        Some(false) => return right.fold(known),
        None => {}
    }
    if matches!(left, Expr::Fails | Expr::Is(_)) {
        return Expr::Fails;
    }
    let right = right.fold(known);
    match settled(&right) {
        // The left part is evaluated first, and may fail.
        Some(true) if !left.can_fail() => right,
        Some(false) => left,
        _ => {
            let parts = Box::new([left, right]);
            if decisive { Expr::Or(parts) } else { Expr::And(parts) }
        }
    }
}

/// What is evaluated from one part alone.
fn one(part: Expr, make: impl FnOnce(Box<Expr>) -> Expr) -> Expr {
    let is_known = matches!(part, Expr::Is(_));
    if part == Expr::Fails {
        return part;
    }
    let made = make(Box::new(part));
    if !is_known {
        return made;
    }
    made.alone().map_or(Expr::Fails, Expr::Is)
}

fn both(operator: Operator, left: &Value, right: &Value, entities: &Entities) -> Expr {
    let truth = |truth| Expr::Is(Value::Truth(truth));
    match (operator, left, right) {
        (Operator::In, Value::Entity(left), Value::Entity(right)) => truth(is_in(entities, left, right)),
        (Operator::In, Value::Entity(left), Value::Set(right)) => {
            let right = right.iter().map(|member| match member {
                Value::Entity(uid) => Some(uid),
                _ => None,
            });
            let right: Option<Vec<&EntityUid>> = right.collect();
            right.map_or(Expr::Fails, |all| truth(all.into_iter().any(|uid| is_in(entities, left, uid))))
        }
        (Operator::ContainsAll, Value::Set(left), Value::Set(right)) => truth(right.is_subset(left)),
        (Operator::ContainsAny, Value::Set(left), Value::Set(right)) => truth(!left.is_disjoint(right)),
        _ => eval::both(operator, left.seen(), right.seen())
            .map_or(Expr::Fails, |seen: Seen<'_>| Expr::Is(seen.to_value())),
    }
}

fn is_in(entities: &Entities, left: &EntityUid, right: &EntityUid) -> bool {
    left == right || entities.is_ancestor_of(right, left)
}

fn attribute(entities: &Entities, uid: &EntityUid, name: &str) -> Option<Value> {
    entities.get(uid)?.attr(name)?.ok().and_then(Value::of)
}
