//! The claims of a match, and their answers.

use crate::contract::{Kind, ParamIx};
use crate::document::{Entry, Node, Sheet};

use super::Document;
use super::parameter::Draft;
use super::schema::{Resolved, Type};

/// The answer of a match must be one boolean for each claim: for each parameter that is neither the subject nor a guard.
pub(super) fn check<'d>(
    sheet: &mut Sheet<'_>,
    document: &mut Document<'d>,
    node: &'d Node,
    drafts: &[Draft<'_>],
    subject: Option<ParamIx>,
    guard: &[ParamIx],
) {
    let Some(schema) = document.schemas.resolve(sheet, node, &[]) else { return };
    schema.check(sheet, "the answer of a match", &[]);
    let properties = schema.properties(sheet);
    let claims: Vec<&Draft<'_>> = drafts
        .iter()
        .enumerate()
        .filter(|(at, _)| subject != Some(ParamIx(*at)) && !guard.contains(&ParamIx(*at)))
        .map(|(_, draft)| draft)
        .collect();

    if claims.is_empty() {
        sheet.push(sheet.error(
            "match-answer",
            &node.span,
            "an operation that answers `match` has no claims to compare",
        ));
    }
    for entry in properties {
        let name = entry.key.as_str();
        if !claims.iter().any(|claim| claim.parameter.name == name) {
            let problem = sheet.error("match-answer", &entry.at, format!("the answer `{name}` is not a claim"));
            sheet.push(problem.suggest(name, claims.iter().map(|claim| claim.parameter.name.as_str())));
        }
        check_boolean(sheet, document, entry);
    }
    for claim in claims {
        let name = claim.parameter.name.as_str();
        if !properties.iter().any(|entry| entry.key == name) {
            let problem =
                sheet.error("match-answer", claim.at, format!("the response `200` has no answer for `{name}`"));
            sheet.push(problem.help(format!("add the boolean `{name}` to it")));
        }
    }
}

fn check_boolean<'d>(sheet: &mut Sheet<'_>, document: &mut Document<'d>, entry: &'d Entry) {
    let name = entry.key.as_str();
    let resolved: Option<Resolved<'d>> = document.schemas.resolve(sheet, &entry.node, &[]);
    let Some(resolved) = resolved else { return };
    resolved.check(sheet, &format!("the answer `{name}`"), &["x-gateway-field"]);
    if resolved.kind(sheet, &format!("the answer `{name}`")).is_some_and(|kind| kind != BOOLEAN) {
        let message = format!("the answer `{name}` must be a boolean");
        sheet.push(sheet.error("match-answer", resolved.node("type").map_or(&entry.at, |node| &node.span), message));
    }
}

const BOOLEAN: Type = Type::Scalar(Kind::Boolean);
