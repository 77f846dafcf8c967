//! Whether a policy's scope takes in a principal, an action or a resource: decided here exactly as Cedar would, so that
//! a policy outside its scope need not be evaluated.

use std::collections::HashSet;

use cedar_policy::{
    ActionConstraint, Entities, EntityTypeName, EntityUid, Policy, PrincipalConstraint, ResourceConstraint,
};

/// An entity with everything that it is in.
#[derive(Clone, Debug)]
pub(crate) struct Lineage {
    pub(crate) uid: EntityUid,
    ancestors: HashSet<EntityUid>,
}

impl Lineage {
    /// Looks the ancestors up.
    pub(crate) fn of(uid: EntityUid, entities: &Entities) -> Self {
        let ancestors = entities.ancestors(&uid).map(|found| found.cloned().collect()).unwrap_or_default();
        Self { uid, ancestors }
    }

    /// The entity itself and its ancestors.
    pub(crate) fn all(&self) -> impl Iterator<Item = &EntityUid> {
        std::iter::once(&self.uid).chain(&self.ancestors)
    }

    fn is(&self, kind: &EntityTypeName) -> bool {
        self.uid.type_name() == kind
    }

    fn is_in(&self, other: &EntityUid) -> bool {
        self.uid == *other || self.ancestors.contains(other)
    }
}

/// Whom, which operations and which fields a policy is about: its scope, read once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Scope {
    principal: Bound,
    action: Option<Vec<EntityUid>>,
    resource: Bound,
}

/// What a policy asks of a principal or a resource.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Bound {
    Any,
    Eq(EntityUid),
    In(EntityUid),
    Is(EntityTypeName),
    IsIn(EntityTypeName, EntityUid),
}

impl Scope {
    /// Reads it off a policy.
    pub(crate) fn of(policy: &Policy) -> Self {
        Self {
            principal: match policy.principal_constraint() {
                PrincipalConstraint::Any => Bound::Any,
                PrincipalConstraint::Eq(uid) => Bound::Eq(uid),
                PrincipalConstraint::In(uid) => Bound::In(uid),
                PrincipalConstraint::Is(kind) => Bound::Is(kind),
                PrincipalConstraint::IsIn(kind, uid) => Bound::IsIn(kind, uid),
            },
            // An operation is never above another: being one is being in it.
            action: match policy.action_constraint() {
                ActionConstraint::Any => None,
                ActionConstraint::Eq(uid) => Some(vec![uid]),
                ActionConstraint::In(uids) => Some(uids),
            },
            resource: match policy.resource_constraint() {
                ResourceConstraint::Any => Bound::Any,
                ResourceConstraint::Eq(uid) => Bound::Eq(uid),
                ResourceConstraint::In(uid) => Bound::In(uid),
                ResourceConstraint::Is(kind) => Bound::Is(kind),
                ResourceConstraint::IsIn(kind, uid) => Bound::IsIn(kind, uid),
            },
        }
    }

    /// Whether it takes that principal in.
    pub(crate) fn takes_principal(&self, principal: &Lineage) -> bool {
        self.principal.takes(principal)
    }

    /// Whether it takes that action in.
    pub(crate) fn takes_action(&self, action: &Lineage) -> bool {
        self.action.as_ref().is_none_or(|uids| uids.iter().any(|uid| action.is_in(uid)))
    }

    /// Whether it takes that resource in.
    pub(crate) fn takes_resource(&self, resource: &Lineage) -> bool {
        self.resource.takes(resource)
    }
}

impl Bound {
    fn takes(&self, lineage: &Lineage) -> bool {
        match self {
            Self::Any => true,
            Self::Eq(uid) => lineage.uid == *uid,
            Self::In(uid) => lineage.is_in(uid),
            Self::Is(kind) => lineage.is(kind),
            Self::IsIn(kind, uid) => lineage.is(kind) && lineage.is_in(uid),
        }
    }
}
