//! The schema of what an operation answers with.

use serde_json::{Map, Value};

use crate::contract::{ObjectShape, Resolved, Shape};

use super::components::{Components, capitalised};
use super::example;
use super::leaf;
use super::offer::Offer;

/// Reads the schemas of one operation's answer.
pub(super) struct Shaper<'o, 'b> {
    pub(super) offer: &'o Offer<'b>,
    pub(super) components: &'o mut Components,
}

/// A schema of which something is left.
pub(super) struct Shaped {
    pub(super) schema: Value,
    /// Whether what it describes is in every answer, if the register has it.
    always: bool,
}

impl<'b> Shaper<'_, 'b> {
    /// An object of that shape; `None` if nothing of it may be shown. `path` leads to it.
    pub(super) fn object(
        &mut self,
        schema: &Resolved<'b>,
        shape: &ObjectShape,
        path: &mut Vec<&'b str>,
    ) -> Option<Shaped> {
        let mut keywords = schema.keywords();
        let (mut properties, mut required) = (Map::new(), Vec::new());
        for (name, property) in schema.properties() {
            let (Some((_, shape)), Some(inner)) = (shape.member(name.as_bytes()), self.offer.written.resolve(property))
            else {
                continue;
            };
            path.push(name);
            let shaped = self.property(&inner, shape, path);
            path.pop();
            if let Some(shaped) = shaped {
                if shaped.always && schema.requires(name) {
                    required.push(Value::from(name.as_str()));
                }
                properties.insert(name.clone(), shaped.schema);
            }
        }
        if properties.is_empty() {
            return None;
        }
        for key in OF_THE_WHOLE {
            keywords.shift_remove(key);
        }
        let mut examples = Map::new();
        example::each(&keywords, &mut examples, &|value| example::record(value, shape, self.offer));
        keywords.shift_remove("example");
        keywords.shift_remove("examples");
        keywords.extend(examples);
        // An object that is null is absent.
        keywords.insert("type".to_owned(), "object".into());
        let always = !required.is_empty() && !schema.nullable();
        keywords.insert("properties".to_owned(), Value::Object(properties));
        if !required.is_empty() {
            keywords.insert("required".to_owned(), Value::Array(required));
        }
        let Some(name) = schema.name else { return Some(Shaped { schema: Value::Object(keywords), always }) };
        // What is said where it is referred to stays there.
        let said = schema.beside("description").cloned();
        if said.is_some() {
            match schema.referred("description") {
                Some(own) => keywords.insert("description".to_owned(), own.clone()),
                None => keywords.shift_remove("description"),
            };
        }
        let user: String = capitalised(self.offer.operation.id.as_str())
            + &path.iter().map(|part| capitalised(part)).collect::<String>();
        let mut reference = self.components.reference(name, &user, Value::Object(keywords));
        reference.extend(said.map(|said| ("description".to_owned(), said)));
        Some(Shaped { schema: Value::Object(reference), always })
    }

    fn property(&mut self, schema: &Resolved<'b>, shape: &Shape, path: &mut Vec<&'b str>) -> Option<Shaped> {
        match shape {
            Shape::Leaf(field) => {
                let field = self.offer.operation.record.field(*field)?;
                let fate = self.offer.fate(field);
                let shown = !fate.shown.is_empty();
                let schema = shown.then(|| leaf::schema(self.offer.written, schema, field, &fate))?;
                Some(Shaped { schema, always: fate.always })
            }
            Shape::Object(shape) => self.object(schema, shape, path),
            Shape::Array(shape) => {
                let items = self.offer.written.resolve(schema.keyword("items")?)?;
                let items = self.object(&items, shape, path)?;
                let mut keywords = schema.keywords();
                for key in ["example", "examples", "default", "minItems"] {
                    keywords.shift_remove(key);
                }
                keywords.insert("type".to_owned(), "array".into());
                keywords.insert("items".to_owned(), items.schema);
                // An array in which nothing is shown is left out.
                Some(Shaped { schema: Value::Object(keywords), always: false })
            }
        }
    }
}

/// Keywords that were true of the whole object and need not be of what is left of it.
const OF_THE_WHOLE: [&str; 6] = ["properties", "required", "default", "const", "minProperties", "maxProperties"];
