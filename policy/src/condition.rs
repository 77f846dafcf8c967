//! Conditions of policies as small programs.
//!
//! [`Expr::read`] takes a condition in Cedar's JSON form; [`Expr::fold`] evaluates what system, operation, purpose and field tell of it;
//! [`Expr::holds`] evaluates the rest with the circumstances and the record. Each does exactly as Cedar's own evaluator, failures
//! included: `a && b` with a false `a` never looks at `b`, and a record without an attribute makes fail what asks for it. (Cedar's own
//! partial evaluation takes a declared attribute for present, so that it drops a failure that hides what it should.)
//!
//! What has no form here ([`Expr::Cedar`]) is left to Cedar.

use std::sync::Arc;

use cedar_policy::EntityUid;

pub(crate) use eval::Failed;
pub(crate) use fold::Known;
pub(crate) use left::Left;
pub(crate) use value::Value;

use crate::cedar::Phase;

mod eval;
mod fold;
mod left;
mod read;
mod value;

/// An expression of Cedar.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Expr {
    Is(Value),
    /// Fails wherever it is evaluated.
    Fails,
    Principal,
    Action,
    Resource,
    Purpose,
    Env(Circumstance),
    /// Whether the agency says how sure it is of its user: the one circumstance that may be missing.
    IsAssured,
    /// An attribute of the returned record by name.
    Named(Arc<str>),
    /// The same, once the operation is known: by its position among the record's attributes.
    Record(u16),
    Not(Box<Self>),
    Negative(Box<Self>),
    And(Box<[Self; 2]>),
    Or(Box<[Self; 2]>),
    If(Box<[Self; 3]>),
    Both(Operator, Box<[Self; 2]>),
    Set(Box<[Self]>),
    IsEmpty(Box<Self>),
    Like(Box<Self>, Pattern),
    IsA(Box<Self>, Arc<str>),
    Attribute(Box<Self>, Arc<str>),
    Has(Box<Self>, Arc<str>),
    Address(AddressTest, Box<Self>),
    /// Every one is evaluated: it fails if one does, else it holds if one does.
    Any(Box<[Self]>),
    /// What Cedar itself must evaluate.
    Cedar(Left),
}

/// What is known of a request beside its parameters: an attribute of `context.env`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Circumstance {
    Today,
    Weekday,
    Hour,
    MinuteOfDay,
    Source,
    Assurance,
    User,
    Case,
}

/// An operator or a method of two operands, both of which are always evaluated.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Operator {
    Equal,
    Differ,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Plus,
    Minus,
    Times,
    In,
    Contains,
    ContainsAll,
    ContainsAny,
    InRange,
    DecimalLess,
    DecimalLessOrEqual,
    DecimalGreater,
    DecimalGreaterOrEqual,
}

/// A test of one address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum AddressTest {
    V4,
    V6,
    Loopback,
    Multicast,
}

/// What `like` compares with: `None` stands for any text.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Pattern(Box<[Option<Box<str>>]>);

impl Circumstance {
    const ALL: [(&'static str, Self); 8] = [
        ("today", Self::Today),
        ("weekday", Self::Weekday),
        ("hour", Self::Hour),
        ("minute_of_day", Self::MinuteOfDay),
        ("source", Self::Source),
        ("claimed_assurance", Self::Assurance),
        ("claimed_user", Self::User),
        ("claimed_case", Self::Case),
    ];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, circumstance)| circumstance)
    }
}

impl Expr {
    /// What always holds.
    pub(crate) const TRUE: Self = Self::Is(Value::Truth(true));
    /// What never holds.
    pub(crate) const FALSE: Self = Self::Is(Value::Truth(false));

    /// When it can be evaluated; `None` if that is now, or once the caller is known.
    pub(crate) fn phase(&self) -> Option<Phase> {
        let own = match self {
            Self::Env(_) | Self::IsAssured => Some(Phase::Env),
            Self::Named(_) | Self::Record(_) => Some(Phase::Record),
            Self::Cedar(left) => left.phase(),
            _ => None,
        };
        self.parts().filter_map(Self::phase).chain(own).max()
    }

    /// Whether it asks which field it is about.
    pub(crate) fn asks_for_resource(&self) -> bool {
        match self {
            Self::Resource => true,
            Self::Cedar(left) => left.asks_for_resource(),
            _ => self.parts().any(Self::asks_for_resource),
        }
    }

    /// The expressions that it is made of.
    fn parts(&self) -> impl Iterator<Item = &Self> {
        let parts: &[Self] = match self {
            Self::Is(_)
            | Self::Fails
            | Self::Principal
            | Self::Action
            | Self::Resource
            | Self::Purpose
            | Self::Env(_)
            | Self::IsAssured
            | Self::Named(_)
            | Self::Record(_)
            | Self::Cedar(_) => &[],
            Self::Not(part)
            | Self::Negative(part)
            | Self::IsEmpty(part)
            | Self::Like(part, _)
            | Self::IsA(part, _)
            | Self::Attribute(part, _)
            | Self::Has(part, _)
            | Self::Address(_, part) => std::slice::from_ref(part),
            Self::And(parts) | Self::Or(parts) | Self::Both(_, parts) => &**parts,
            Self::If(parts) => &**parts,
            Self::Set(parts) | Self::Any(parts) => parts,
        };
        parts.iter()
    }

    /// Whether it could fail. Operands of another type than the operator wants count as impossible: policies are checked for that.
    fn can_fail(&self) -> bool {
        match self {
            Self::Fails
            | Self::Named(_)
            | Self::Record(_)
            | Self::Env(Circumstance::Assurance)
            | Self::Negative(_)
            | Self::Both(Operator::Plus | Operator::Minus | Operator::Times, _)
            | Self::Attribute(..)
            | Self::Cedar(_) => true,
            _ => self.parts().any(Self::can_fail),
        }
    }

    /// What it takes in memory, but for texts; what is left to Cedar is estimated. Bytes.
    pub(crate) fn bytes(&self) -> usize {
        let left = if let Self::Cedar(left) = self { left.bytes() } else { 0 };
        size_of::<Self>() + left + self.parts().map(Self::bytes).sum::<usize>()
    }

    fn entity(uid: EntityUid) -> Self {
        Self::Is(Value::Entity(uid))
    }
}
