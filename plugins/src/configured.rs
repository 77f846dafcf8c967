//! One plugin of the configuration: what holds for every kind, and the blueprint of its own.

use std::sync::Arc;
use std::time::Duration;

use popgate_policy::bundle::Bundle;
use popgate_policy::permit::Permit;
use popgate_policy::problem::Problem;

use crate::plugin::Blueprint;
use crate::settings::{Mention, Named, Settings};

/// `[plugins.<name>]`.
#[derive(Clone, Debug)]
pub struct Configured {
    /// The table's name: what log and metrics call it.
    pub name: Arc<str>,
    /// Which requests it is asked about.
    pub applies_to: AppliesTo,
    /// How long it may take.
    pub deadline: Duration,
    /// What its failure means.
    pub on_error: OnError,
    /// What its kind made of the rest of the table.
    pub blueprint: Arc<dyn Blueprint>,
    /// The names of the bundle that its table mentions.
    pub mentions: Vec<Mention>,
}

/// What the failure of a plugin means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnError {
    /// The request is refused.
    #[default]
    Refuse,
    /// The request goes on as if the plugin had taken nothing: what it guards is open while it fails.
    Ignore,
}

/// Which requests a plugin is asked about. What is `None` selects nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppliesTo {
    /// Those of these agencies ...
    pub agencies: Option<Vec<String>>,
    /// ... or of agencies of these sectors;
    pub sectors: Option<Vec<String>>,
    /// for one of these operations;
    pub operations: Option<Vec<String>>,
    /// for one of these purposes.
    pub purposes: Option<Vec<String>>,
}

impl Configured {
    /// The names that its table mentions and the bundle does not have: warnings.
    pub fn unknown_in(&self, bundle: &Bundle) -> Vec<Problem> {
        self.mentions.iter().filter_map(|mention| mention.unknown_in(bundle)).collect()
    }
}

impl AppliesTo {
    pub(crate) fn read(settings: &Settings<'_>) -> Self {
        let Some(section) = settings.section("applies_to") else { return Self::default() };
        let read = Self {
            agencies: section.names("agencies", Named::Agency),
            sectors: section.names("sectors", Named::Sector),
            operations: section.names("operations", Named::Operation),
            purposes: section.names("purposes", Named::Purpose),
        };
        settings.adopt(section);
        read
    }

    /// Whether it selects the permit's request.
    pub fn selects(&self, permit: &Permit) -> bool {
        let among = |list: &Option<Vec<String>>, name: &str| {
            list.as_ref().is_some_and(|list| list.iter().any(|known| known == name))
        };
        let agency = &permit.system().agency;
        let anybody = self.agencies.is_none() && self.sectors.is_none();
        (anybody || among(&self.agencies, agency.id.as_str()) || among(&self.sectors, &agency.sector))
            && (self.operations.is_none() || among(&self.operations, permit.operation().id.as_str()))
            && (self.purposes.is_none() || among(&self.purposes, permit.purpose().id.as_str()))
    }
}
