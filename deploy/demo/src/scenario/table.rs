//! One citizen, five callers: what each of them sees of each field.

use serde_json::Value;

/// A row of the table: a title, and where the value stands in the record.
#[derive(Debug)]
pub struct Row {
    /// What the row is called.
    pub title: &'static str,
    /// The path in the record.
    pub path: &'static [&'static str],
    /// The claim of `citizen.verify` that asks about it, if there is one.
    pub claim: &'static str,
}

/// The rows that are shown; the counts are over all fields of the record.
pub const FIELDS: [Row; 12] = [
    Row { title: "full name", path: &["full_name"], claim: "full_name" },
    Row { title: "identity number", path: &["id"], claim: "id" },
    Row { title: "date of birth", path: &["date_of_birth"], claim: "date_of_birth" },
    Row { title: "sex", path: &["sex"], claim: "sex" },
    Row { title: "phone", path: &["phone"], claim: "phone" },
    Row { title: "residence", path: &["permanent_residence", "province"], claim: "permanent_residence_province" },
    Row { title: "address", path: &["permanent_residence", "address"], claim: "" },
    Row { title: "marital status", path: &["marital_status"], claim: "" },
    Row { title: "spouse", path: &["spouse", "full_name"], claim: "" },
    Row { title: "blood type", path: &["blood_type"], claim: "" },
    Row { title: "ethnicity", path: &["ethnicity"], claim: "" },
    Row { title: "religion", path: &["religion"], claim: "" },
];

/// One caller's column.
#[derive(Debug)]
pub struct Column {
    /// Who.
    pub title: &'static str,
    /// What for.
    pub purpose: &'static str,
    /// By row of [`FIELDS`].
    pub cells: Vec<Cell>,
    /// How many fields of the record are revealed, masked, only matched, withheld.
    pub counts: [usize; 4],
}

/// What a caller sees of a field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cell {
    /// The value.
    Shown(String),
    /// Something of the value.
    Masked(String),
    /// That a claimed value is right.
    Matched(bool),
    /// Nothing.
    Withheld,
}

impl Cell {
    /// Compares the answer with the record.
    pub fn of(row: &Row, record: &Value, shown: &Value, claims: &Value, verifies: bool) -> Self {
        if verifies {
            return match shown.get(row.claim).and_then(Value::as_bool) {
                Some(right) => Self::Matched(right),
                // The number itself is what everything else was matched under.
                None if row.claim == "id" => Self::Matched(true),
                None => Self::Withheld,
            };
        }
        match (at(shown, row.path), at(record, row.path)) {
            (Some(shown), Some(recorded)) if shown == recorded => Self::Shown(text(shown)),
            (Some(shown), _) => Self::Masked(text(shown)),
            // A lookup is answered only if its keys are right.
            (None, _) if claims.get(row.claim).is_some() => Self::Matched(true),
            (None, _) => Self::Withheld,
        }
    }

    /// The cell as printed.
    pub fn text(&self) -> String {
        match self {
            Self::Shown(value) => value.clone(),
            Self::Masked(value) => format!("{value} masked"),
            Self::Matched(true) => "yes (match)".into(),
            Self::Matched(false) => "no (match)".into(),
            Self::Withheld => "withheld".into(),
        }
    }
}

impl Column {
    /// A column, with counts over all leaves of the record.
    pub fn new(
        title: &'static str,
        purpose: &'static str,
        cells: Vec<Cell>,
        record: &Value,
        shown: &Value,
        claims: &Value,
        verifies: bool,
    ) -> Self {
        let mut counts = [0; 4];
        for path in leaves(record) {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            let claim = path.join("_");
            let cell = match (at(shown, &path), at(record, &path)) {
                (Some(shown), Some(recorded)) if !verifies && shown == recorded => 0,
                (Some(_), _) if !verifies => 1,
                _ if claims.get(&claim).is_some() => 2,
                _ => 3,
            };
            if let Some(count) = counts.get_mut(cell) {
                *count += 1;
            }
        }
        Self { title, purpose, cells, counts }
    }
}

/// The paths of a record's leaves: scalars, nulls and arrays of scalars.
fn leaves(record: &Value) -> Vec<Vec<String>> {
    let Value::Object(members) = record else { return vec![Vec::new()] };
    let below = |(name, value): (&String, &Value)| {
        let name = name.clone();
        leaves(value).into_iter().map(move |mut path| {
            path.insert(0, name.clone());
            path
        })
    };
    members.iter().flat_map(below).collect()
}

fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, name| value.get(name))
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "none".into(),
        other => other.to_string(),
    }
}
