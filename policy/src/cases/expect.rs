//! What a case expects.

use crate::cases::{Failure, fields_named};
use crate::contract::{Field, Operation};
use crate::document::{Node, Sheet, Span, Table, Value};
use crate::model::{FieldSet, MaskKind, Treatment};
use crate::problem::Problem;

/// What a case expects.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// The request is refused.
    Refused,
    /// It is answered as if there were no such person.
    Unknown,
    /// What each field gets, by its position; `None` if that is left open.
    Fields { wanted: Vec<Option<Treatment>>, errors: FieldSet },
}

/// The keys of a case that say what is expected.
pub(super) const KEYS: [&str; 8] = ["refused", "unknown", "reveal", "mask", "match", "withhold", "errors", "rest"];

impl Expected {
    /// Reads what is expected of the operation; `None` if it cannot be told.
    pub(super) fn read(
        sheet: &mut Sheet<'_>,
        table: &Table,
        at: &Span,
        place: &str,
        operation: &Operation,
    ) -> Option<Self> {
        let mut ends = [("refused", Self::Refused), ("unknown", Self::Unknown)].into_iter().filter_map(|(key, end)| {
            let node = table.node(key)?;
            match node.value {
                Value::Bool(true) => Some((key, end)),
                _ => {
                    let help = "leave it out, or write `true`";
                    let problem = sheet.error("wrong-type", &node.span, format!("`{key}` can only be `true`"));
                    sheet.push(problem.help(help));
                    None
                }
            }
        });
        let (end, another) = (ends.next(), ends.next());
        let others: Vec<&str> = KEYS.into_iter().skip(2).filter(|key| table.node(key).is_some()).collect();
        match (end, another, others.first()) {
            (Some((key, _)), Some((other, _)), _) | (Some((key, _)), None, Some(&other)) => {
                let problem = sheet.error("contradiction", at, format!("{place} has both `{key}` and `{other}`"));
                sheet.push(problem.help("nothing is shown then: keep one of them"));
                None
            }
            (Some((_, end)), None, None) => Some(end),
            (None, _, None) => {
                sheet.push(silent(sheet, at, place));
                None
            }
            (None, _, Some(_)) => {
                let before = sheet.problems.len();
                let expected = Self::fields(sheet, table, operation);
                if expected.checked(operation).is_empty() && sheet.problems.len() == before {
                    sheet.push(silent(sheet, at, place));
                }
                Some(expected)
            }
        }
    }

    fn fields(sheet: &mut Sheet<'_>, table: &Table, operation: &Operation) -> Self {
        let fields = &operation.record.fields;
        let rest = match table.node("rest") {
            None => Some(Treatment::Withhold),
            Some(node) => {
                let known = [("withhold", Some(Treatment::Withhold)), ("any", None)];
                sheet.choice(node, "`rest`", "unknown-rest", &known).flatten()
            }
        };
        let mut named = Named { operation, by: vec![None; fields.len()] };
        for (key, treatment) in
            [("reveal", Treatment::Reveal), ("match", Treatment::Match), ("withhold", Treatment::Withhold)]
        {
            let Some(node) = table.node(key) else { continue };
            for (name, node) in sheet.texts(node, &format!("`{key}`")) {
                named.name(sheet, name, &node.span, treatment);
            }
        }
        if let Some(masks) = table.node("mask").and_then(|node| sheet.table(node, "`mask`")) {
            for entry in &masks.entries {
                let known = MaskKind::ALL.map(|mask| (mask.as_str(), mask));
                let what = format!("the mask of `{}`", entry.key);
                let Some(mask) = sheet.choice(&entry.node, &what, "unknown-mask", &known) else { continue };
                named.mask(sheet, &entry.key, (&entry.at, &entry.node), mask);
            }
        }
        let mut errors = FieldSet::EMPTY;
        for (name, node) in table.node("errors").map(|node| sheet.texts(node, "`errors`")).unwrap_or_default() {
            errors = errors.union(meant(sheet, operation, name, &node.span));
        }
        // Where a policy fails, the field is withheld, whatever a name that means more says.
        let wanted = named.by.iter().zip(fields).map(|(by, field)| match by {
            _ if errors.contains(field.index) => Some(Treatment::Withhold),
            Some((_, treatment)) => Some(*treatment),
            None => rest,
        });
        Self::Fields { wanted: wanted.collect(), errors }
    }

    /// The fields of which it says anything.
    pub(super) fn checked(&self, operation: &Operation) -> FieldSet {
        let all = operation.record.fields.iter().map(|field| field.index);
        match self {
            Self::Refused | Self::Unknown => all.collect(),
            Self::Fields { wanted, .. } => {
                all.zip(wanted).filter(|(_, wanted)| wanted.is_some()).map(|(field, _)| field).collect()
            }
        }
    }

    /// What is not as expected of the fields, given what each got, without the policies behind it.
    pub(super) fn differences<'a>(
        &self,
        operation: &Operation,
        got: &dyn Fn(&Field) -> Treatment,
        failed: FieldSet,
    ) -> Vec<(Field, Failure<'a>)> {
        let Self::Fields { wanted, errors } = self else { return Vec::new() };
        let mut found = Vec::new();
        for (field, wanted) in operation.record.fields.iter().zip(wanted) {
            let (name, policies) = (field.name.clone(), Vec::new());
            let got = got(field);
            if errors.contains(field.index) != failed.contains(field.index) {
                let failure = Failure::Error { field: name, expected: errors.contains(field.index), policies };
                found.push((field.clone(), failure));
            } else if let Some(expected) = wanted.filter(|wanted| *wanted != got) {
                found.push((field.clone(), Failure::Field { field: name, expected, got, policies }));
            }
        }
        found
    }
}

fn silent(sheet: &Sheet<'_>, at: &Span, place: &str) -> Problem {
    let help =
        "add `reveal`, `mask`, `match` or `withhold` with fields or groups, or `refused = true`, or `unknown = true`";
    sheet.error("no-expectation", at, format!("{place} does not say what is expected")).help(help)
}

/// What the names of a case say about each field. A name that means fewer fields says more: `permanent_residence.ward` more than
/// `permanent_residence`, and that more than its group.
struct Named<'o> {
    operation: &'o Operation,
    /// By field: how near the name is, and what it says.
    by: Vec<Option<(usize, Treatment)>>,
}

impl Named<'_> {
    fn name(&mut self, sheet: &mut Sheet<'_>, name: &str, at: &Span, treatment: Treatment) {
        // A group has no dot, a field at least one.
        let near = name.matches('.').count();
        let mut twice = false;
        for field in meant(sheet, self.operation, name, at).iter() {
            let Some(by) = self.by.get_mut(usize::from(field.0)) else { continue };
            match by {
                Some((nearer, _)) if *nearer > near => {}
                Some((same, _)) if *same == near => twice = true,
                _ => *by = Some((near, treatment)),
            }
        }
        if twice {
            let problem = sheet.error("contradiction", at, format!("`{name}` is named twice"));
            sheet.push(problem.help("a field gets one thing: keep one of them"));
        }
    }

    fn mask(&mut self, sheet: &mut Sheet<'_>, name: &str, (at, node): (&Span, &Node), mask: MaskKind) {
        let fields = self.operation.record.fields.iter();
        let named = fields_named(self.operation, name);
        if let Some(field) = fields.filter(|it| named.contains(it.index)).find(|it| !it.masks.contains(&mask)) {
            let message = format!("mask `{}` is not allowed for `{}`", mask.as_str(), field.name);
            let problem = sheet.error("mask-not-allowed", &node.span, message);
            sheet.push(problem.suggest(mask.as_str(), field.masks.iter().map(|mask| mask.as_str())));
        }
        self.name(sheet, name, at, Treatment::Mask(mask));
    }
}

/// The fields that a name means; none is a mistake.
fn meant(sheet: &mut Sheet<'_>, operation: &Operation, name: &str, at: &Span) -> FieldSet {
    let found = fields_named(operation, name);
    if found.is_empty() {
        let message = format!("`{}` has no field and no group `{name}`", operation.id);
        let fields = operation.record.fields.iter();
        let problem = sheet.error("unknown-field", at, message);
        sheet.push(match name.contains('.') {
            true => problem.suggest(name, fields.map(|field| field.name.as_str())),
            false => problem.suggest(name, fields.map(|field| field.group.as_str())),
        });
    }
    found
}
