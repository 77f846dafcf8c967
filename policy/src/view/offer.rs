//! What a caller is offered of one operation, and the words that say so.

use std::sync::Arc;

use crate::bundle::Bundle;
use crate::contract::{Field, Operation, ParamIx, Role, Written};
use crate::directory::{Purpose, System};
use crate::engine::{Chance, Prospect};
use crate::model::{FieldIx, MaskKind, PurposeId, Treatment};

/// An operation that can be used for at least one purpose.
pub(super) struct Offer<'b> {
    pub(super) operation: &'b Operation,
    pub(super) written: &'b Written,
    /// Of the purposes that the view is for, those that it can be used for. Never empty.
    pub(super) grants: Vec<(&'b Purpose, Prospect)>,
    /// Whether the gateway fills in a parameter that the caller leaves out (`x-gateway-pushdown`).
    fills_in: Option<ParamIx>,
}

/// What becomes of a field over all purposes.
pub(super) struct Fate {
    /// Every way in which it may be shown, without repetition. Empty if it is withheld.
    pub(super) shown: Vec<Treatment>,
    /// Whether it is in every answer whose record has it.
    pub(super) always: bool,
    /// What the description must say of it.
    pub(super) note: Option<String>,
}

impl<'b> Offer<'b> {
    /// `None` if the operation can be used for none of the purposes: nothing would be shown, or a parameter that every request needs
    /// may not be used.
    pub(super) fn of(
        bundle: &'b Bundle,
        system: &System,
        purposes: &[PurposeId],
        operation: &'b Operation,
    ) -> Option<Self> {
        let written = bundle.contracts().written(operation)?;
        let province = system.agency.province.as_ref();
        let fills_in = operation.pushdown.as_ref().filter(|_| province.is_some()).map(|pushdown| pushdown.parameter);
        let grants = purposes.iter().filter_map(|id| {
            let purpose = bundle.directory().purpose(id.as_str()).map(Arc::as_ref)?;
            let prospect = bundle.engine().prospect(system, operation, id)?;
            let usable = prospect.answers(operation)
                && operation.parameters.iter().enumerate().all(|(at, parameter)| {
                    !parameter.required || fills_in == Some(ParamIx(at)) || prospect.allows(operation, ParamIx(at))
                });
            usable.then_some((purpose, prospect))
        });
        let grants: Vec<_> = grants.collect();
        (!grants.is_empty()).then_some(Self { operation, written, grants, fills_in })
    }

    /// What becomes of a field in answers.
    pub(super) fn fate(&self, field: &Field) -> Fate {
        let chances: Vec<Chance> =
            self.grants.iter().map(|(_, prospect)| prospect.answered(self.operation, field.index)).collect();
        let mut shown: Vec<Treatment> = Vec::new();
        for treatment in chances.iter().flat_map(Chance::shown) {
            if !shown.contains(&treatment) {
                shown.push(treatment);
            }
        }
        let surely = |chance: &Chance| {
            // A name without a letter has no initials; every other mask says something of every value that is as the contract says.
            !chance.conditional && chance.shown().any(|it| it != Treatment::Mask(MaskKind::Initials))
        };
        let phrases = chances.iter().map(phrase).collect();
        Fate {
            always: chances.iter().all(surely),
            note: self.note(phrases, "What you get", "as it is", "withheld"),
            shown,
        }
    }

    /// How a field is shown in examples.
    pub(super) fn exemplary(&self, field: FieldIx) -> Option<Treatment> {
        self.grants.iter().find_map(|(_, prospect)| prospect.answered(self.operation, field).shown().next())
    }

    /// Whether a parameter may be used for some purpose.
    pub(super) fn allows(&self, parameter: ParamIx) -> bool {
        self.grants.iter().any(|(_, prospect)| prospect.allows(self.operation, parameter))
    }

    /// Whether every request must have a parameter.
    pub(super) fn requires(&self, parameter: ParamIx) -> bool {
        let known = self.operation.parameters.get(parameter.0);
        known.is_some_and(|known| known.required) && self.fills_in != Some(parameter)
    }

    /// Whether a claim is answered whenever it is made.
    pub(super) fn answers_surely(&self, claim: ParamIx) -> bool {
        let Some(parameter) = self.operation.parameters.get(claim.0) else { return false };
        let surely =
            |prospect: &Prospect| !prospect.field(parameter.field).conditional && prospect.is_known(parameter.field);
        parameter.required && self.grants.iter().all(|(_, prospect)| surely(prospect))
    }

    /// The values of a sort parameter that may be used; `None` for any other parameter.
    pub(super) fn orders(&self, parameter: ParamIx) -> Option<Vec<&'b str>> {
        let Role::Sort(values) = &self.operation.parameters.get(parameter.0)?.role else { return None };
        let usable = |field: FieldIx| self.grants.iter().any(|(_, prospect)| prospect.is_known(field));
        Some(values.iter().filter(|(_, field)| usable(*field)).map(|(value, _)| value.as_str()).collect())
    }

    /// What the description of a parameter must say.
    pub(super) fn usage(&self, parameter: ParamIx) -> Option<String> {
        let phrase = |prospect: &Prospect| {
            let known = self.operation.parameters.get(parameter.0)?;
            let conditional = known.role == Role::Asks && prospect.field(known.field).conditional;
            let usable = prospect.allows(self.operation, parameter);
            usable.then_some(if conditional { USABLE_UNDER_CONDITION } else { USABLE }.to_owned())
        };
        let filled =
            (self.fills_in == Some(parameter)).then(|| "Where it is left out, it is your own province.".to_owned());
        let note = self.note(
            self.grants.iter().map(|(_, prospect)| phrase(prospect)).collect(),
            "Its use",
            USABLE,
            "not usable",
        );
        match (note, filled) {
            (Some(note), Some(filled)) => Some(format!("{filled}\n\n{note}")),
            (note, filled) => note.or(filled),
        }
    }

    /// One sentence where all purposes are alike, a list where they are not; nothing where nothing need be said.
    fn note(&self, phrases: Vec<Option<String>>, lead: &str, plain: &str, nothing: &str) -> Option<String> {
        let mut groups: Vec<(Option<String>, Vec<&str>)> = Vec::new();
        for ((purpose, _), phrase) in self.grants.iter().zip(phrases) {
            match groups.iter_mut().find(|(known, _)| *known == phrase) {
                Some((_, purposes)) => purposes.push(purpose.id.as_str()),
                None => groups.push((phrase, vec![purpose.id.as_str()])),
            }
        }
        match groups.as_slice() {
            [] | [(None, _)] => None,
            [(Some(phrase), _)] => (phrase != plain).then(|| format!("{lead}: {phrase}.")),
            groups => {
                let line = |(phrase, purposes): &(Option<String>, Vec<&str>)| {
                    let purposes: Vec<String> = purposes.iter().map(|purpose| format!("`{purpose}`")).collect();
                    format!("- for {}: {}", purposes.join(", "), phrase.as_deref().unwrap_or(nothing))
                };
                Some(groups.iter().map(line).collect::<Vec<_>>().join("\n"))
            }
        }
    }
}

/// How a field is shown for one purpose; `None` if it is not.
fn phrase(chance: &Chance) -> Option<String> {
    let ways: Vec<&str> = chance.shown().map(words).collect();
    let condition = if chance.conditional { "; absent where a condition withholds it" } else { "" };
    (!ways.is_empty()).then(|| format!("{}{condition}", ways.join(", or ")))
}

fn words(treatment: Treatment) -> &'static str {
    match treatment {
        Treatment::Reveal => "as it is",
        Treatment::Mask(MaskKind::Month) => "masked, its month (`1987-03`)",
        Treatment::Mask(MaskKind::Year) => "masked, its year (`1987`)",
        Treatment::Mask(MaskKind::Decade) => "masked, the first year of its decade (`1980`)",
        Treatment::Mask(MaskKind::Last3) => "masked, its last three characters (`*678`)",
        Treatment::Mask(MaskKind::Last4) => "masked, its last four characters (`*5678`)",
        Treatment::Mask(MaskKind::Initials) => "masked, its initials (`L. T. H.`)",
        Treatment::Mask(MaskKind::Pseudonym) => {
            "masked, a pseudonym of 32 hex digits, another one for each agency, purpose and field"
        }
        Treatment::Mask(MaskKind::Exists) => "masked, whether there is a value",
        Treatment::Match | Treatment::Withhold => "withheld",
    }
}

const USABLE: &str = "usable";
const USABLE_UNDER_CONDITION: &str = "usable; no match where a condition withholds its field";
