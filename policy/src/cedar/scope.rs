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

/// Whether a policy's scope takes in all of those that are given.
pub(crate) fn in_scope(
    policy: &Policy,
    principal: Option<&Lineage>,
    action: Option<&Lineage>,
    resource: Option<&Lineage>,
) -> bool {
    // Each reads the policy anew: the one that says no most often goes first.
    let by_action = || {
        action.is_none_or(|action| match policy.action_constraint() {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(uid) => action.uid == uid,
            ActionConstraint::In(uids) => uids.iter().any(|uid| action.is_in(uid)),
        })
    };
    let by_principal = || {
        principal.is_none_or(|principal| match policy.principal_constraint() {
            PrincipalConstraint::Any => true,
            PrincipalConstraint::Eq(uid) => principal.uid == uid,
            PrincipalConstraint::In(uid) => principal.is_in(&uid),
            PrincipalConstraint::Is(kind) => principal.is(&kind),
            PrincipalConstraint::IsIn(kind, uid) => principal.is(&kind) && principal.is_in(&uid),
        })
    };
    let by_resource = || {
        resource.is_none_or(|resource| match policy.resource_constraint() {
            ResourceConstraint::Any => true,
            ResourceConstraint::Eq(uid) => resource.uid == uid,
            ResourceConstraint::In(uid) => resource.is_in(&uid),
            ResourceConstraint::Is(kind) => resource.is(&kind),
            ResourceConstraint::IsIn(kind, uid) => resource.is(&kind) && resource.is_in(&uid),
        })
    };
    by_action() && by_principal() && by_resource()
}
