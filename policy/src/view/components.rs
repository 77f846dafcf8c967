//! Named schemas: one name for each that differs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// The schemas that operations refer to, while they are found. Two operations that show the same of a schema share it under the contract's
/// own name; where they differ, each name says for which operation it is.
#[derive(Default)]
pub(super) struct Components(Vec<Component>);

struct Component {
    name: String,
    /// What tells it from others of the same name.
    user: String,
    schema: Value,
}

impl Components {
    /// A reference to that schema, good until [`Components::settle`].
    pub(super) fn reference(&mut self, name: &str, user: &str, schema: Value) -> Map<String, Value> {
        let known = self.0.iter().position(|known| known.name == name && known.schema == schema);
        let at = known.unwrap_or_else(|| {
            self.0.push(Component { name: name.to_owned(), user: user.to_owned(), schema });
            self.0.len() - 1
        });
        Map::from_iter([("$ref".to_owned(), Value::from(format!("{PROVISIONAL}{at}")))])
    }

    /// Gives each schema its name, in the document and in the schemas themselves, and returns them by name.
    pub(super) fn settle(self, document: &mut Value) -> Map<String, Value> {
        let mut alike: BTreeMap<&str, usize> = BTreeMap::new();
        for component in &self.0 {
            *alike.entry(&component.name).or_default() += 1;
        }
        let mut taken = BTreeSet::new();
        let mut names = Vec::new();
        for component in &self.0 {
            let single = alike.get(component.name.as_str()).is_none_or(|count| *count == 1);
            let wanted =
                if single { component.name.clone() } else { format!("{}For{}", component.name, component.user) };
            let mut name = wanted.clone();
            for number in 2.. {
                if taken.insert(name.clone()) {
                    break;
                }
                name = format!("{wanted}{number}");
            }
            names.push(name);
        }
        rename(document, &names);
        let mut settled: Vec<(String, Value)> = Vec::new();
        for (name, mut component) in names.iter().zip(self.0) {
            rename(&mut component.schema, &names);
            settled.push((name.clone(), component.schema));
        }
        settled.sort_by(|(a, _), (b, _)| a.cmp(b));
        settled.into_iter().collect()
    }
}

fn rename(value: &mut Value, names: &[String]) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, names)),
        Value::Object(members) => {
            for (key, value) in members {
                let target =
                    value.as_str().filter(|_| key == "$ref").and_then(|target| target.strip_prefix(PROVISIONAL));
                match target.and_then(|at| names.get(at.parse::<usize>().ok()?)) {
                    Some(name) => *value = format!("#/components/schemas/{name}").into(),
                    None => rename(value, names),
                }
            }
        }
        _ => {}
    }
}

/// `citizen.verify.bulk` as `CitizenVerifyBulk`.
pub(super) fn capitalised(name: &str) -> String {
    let words = name.split(|char: char| !char.is_ascii_alphanumeric());
    words
        .flat_map(|word| word.chars().take(1).map(|first| first.to_ascii_uppercase()).chain(word.chars().skip(1)))
        .collect()
}

/// No name of a component may hold it.
const PROVISIONAL: &str = "#/components/schemas/@";
