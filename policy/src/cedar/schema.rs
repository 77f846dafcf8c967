//! The Cedar schema and the entities, generated from contracts and directory.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write;
use std::str::FromStr;

use cedar_policy::{Entities, Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression, Schema};

use crate::contract::{Class, Contracts, Derive, Operation, RecordSchema};
use crate::directory::{Agency, Directory};

/// What the policies of one bundle may speak of.
#[derive(Debug)]
pub(crate) struct Model {
    /// What they are validated against.
    pub(crate) schema: Schema,
    /// Every system, agency, sector, level, field, group, class, register, purpose and action.
    pub(crate) entities: Entities,
    /// The ids that each entity type has.
    pub(crate) known: BTreeMap<&'static str, BTreeSet<String>>,
}

/// The Cedar schema of a bundle, in Cedar's own schema syntax: what an editor needs to check policies as they are typed.
pub fn schema_text(contracts: &Contracts) -> String {
    let mut text = String::from(ENTITIES);
    let mut seen = BTreeSet::new();
    // Versions of a record have the same attributes.
    for record in contracts.records().iter().filter(|record| seen.insert(record.name.as_str())) {
        let attributes: Vec<String> = record
            .attributes
            .iter()
            .map(|attribute| {
                let kind = match attribute.derive {
                    Derive::Value => "String",
                    Derive::Under(_) | Derive::Present => "Bool",
                };
                format!("  {}: {kind},\n", quoted(&attribute.name))
            })
            .collect();
        // `write!` to a `String` cannot fail.
        let _ = writeln!(text, "entity {} {{\n{}}};", record_type(record), attributes.concat());
    }
    let groups: BTreeSet<String> =
        contracts.operations().iter().flat_map(|operation| action_groups(operation)).collect();
    for group in &groups {
        let _ = writeln!(text, "action {};", quoted(group));
    }
    for operation in contracts.operations() {
        let parents: Vec<String> = action_groups(operation).iter().map(|group| quoted(group)).collect();
        let _ = writeln!(
            text,
            "action {} in [{}] appliesTo {{\n  principal: [System],\n  resource: [Field],\n  context: {{ purpose: Purpose, \
             env: Env, record: {} }},\n}};",
            quoted(operation.id.as_str()),
            parents.join(", "),
            record_type(&operation.record),
        );
    }
    text
}

impl Model {
    /// Generates schema and entities. `Err` says what Cedar could not take, such as a schema name that is no identifier.
    pub(crate) fn new(contracts: &Contracts, directory: &Directory) -> Result<Self, String> {
        let (schema, _) = Schema::from_cedarschema_str(&schema_text(contracts)).map_err(|error| chain(&error))?;
        let mut builder = Builder::default();
        for agency in directory.agencies() {
            builder.add(uid("Agency", agency.id.as_str())?, agency_parents(agency)?);
        }
        for system in directory.systems() {
            let agency = &system.agency;
            let mut parents = agency_parents(agency)?;
            parents.insert(uid("Agency", agency.id.as_str())?);
            let mut attributes = vec![("sector", &agency.sector), ("level", &agency.level)];
            attributes.extend(agency.province.as_ref().map(|province| ("province", province)));
            let attributes = attributes
                .into_iter()
                .map(|(name, value)| (name.to_owned(), RestrictedExpression::new_string(value.clone())))
                .collect();
            let system = uid("System", system.id.as_str())?;
            builder.entities.insert(system.clone(), entity(system, attributes, parents)?);
        }
        for purpose in directory.purposes() {
            builder.add(uid("Purpose", purpose.id.as_str())?, HashSet::new());
        }
        for level in LEVELS {
            builder.add(uid("Level", level)?, HashSet::new());
        }
        for class in [Class::Basic, Class::Sensitive] {
            builder.add(uid("Class", class_name(class))?, HashSet::new());
        }
        // A field may be part of several records: of a person's, and of the pages that list such persons.
        let mut registers: HashMap<&str, BTreeSet<&str>> = HashMap::new();
        for operation in contracts.operations() {
            for field in &operation.record.fields {
                registers.entry(field.name.as_str()).or_default().insert(operation.upstream.register.as_str());
            }
        }
        for field in contracts.fields() {
            let name = field.name.as_str();
            let mut parents =
                HashSet::from([uid("Group", field.group.as_str())?, uid("Class", class_name(field.class))?]);
            for register in registers.get(name).into_iter().flatten() {
                parents.insert(uid("Register", register)?);
            }
            // `Citizen.permanent_residence.ward` is in `Citizen.permanent_residence`, whichever record it is part of.
            for (dot, _) in name.match_indices('.').skip(1) {
                parents.insert(uid("Field", name.get(..dot).unwrap_or_default())?);
            }
            builder.add(uid("Field", name)?, parents);
        }
        for operation in contracts.operations() {
            let parents =
                action_groups(operation).iter().map(|group| uid("Action", group)).collect::<Result<_, _>>()?;
            builder.add(uid("Action", operation.id.as_str())?, parents);
        }
        builder.finish(schema)
    }
}

/// The entities so far; what is only named as a parent is added in the end.
#[derive(Default)]
struct Builder {
    entities: HashMap<EntityUid, Entity>,
    parents: HashSet<EntityUid>,
}

impl Builder {
    fn add(&mut self, uid: EntityUid, parents: HashSet<EntityUid>) {
        self.parents.extend(parents.iter().cloned());
        self.entities.insert(uid.clone(), Entity::new_no_attrs(uid, parents));
    }

    fn finish(mut self, schema: Schema) -> Result<Model, String> {
        for parent in self.parents {
            self.entities.entry(parent.clone()).or_insert_with(|| Entity::new_no_attrs(parent, HashSet::new()));
        }
        let mut known: BTreeMap<&'static str, BTreeSet<String>> =
            TYPES.iter().map(|name| (*name, BTreeSet::new())).collect();
        for uid in self.entities.keys() {
            if let Some(ids) = known.get_mut(uid.type_name().basename()) {
                ids.insert(uid.id().unescaped().to_owned());
            }
        }
        let entities = Entities::from_entities(self.entities.into_values(), None).map_err(|error| chain(&error))?;
        Ok(Model { schema, entities, known })
    }
}

/// The uid of an entity of one of the model's types.
pub(crate) fn uid(kind: &str, id: &str) -> Result<EntityUid, String> {
    let name = EntityTypeName::from_str(kind).map_err(|error| chain(&error))?;
    Ok(EntityUid::from_type_name_and_id(name, EntityId::new(id)))
}

/// An entity with attributes.
pub(crate) fn entity(
    uid: EntityUid,
    attributes: HashMap<String, RestrictedExpression>,
    parents: HashSet<EntityUid>,
) -> Result<Entity, String> {
    Entity::new(uid, attributes, parents).map_err(|error| chain(&error))
}

/// The type of `context.record` for operations that return such a record.
pub(crate) fn record_type(record: &RecordSchema) -> String {
    format!("{}Record", record.name)
}

/// The generated action groups of an operation.
pub(crate) fn action_groups(operation: &Operation) -> BTreeSet<String> {
    let attributes = operation.record.attributes.iter().map(|attribute| format!("with-{}", attribute.name));
    attributes.chain([format!("register-{}", operation.upstream.register)]).collect()
}

fn agency_parents(agency: &Agency) -> Result<HashSet<EntityUid>, String> {
    Ok(HashSet::from([uid("Sector", &agency.sector)?, uid("Level", &agency.level)?]))
}

fn class_name(class: Class) -> &'static str {
    match class {
        Class::Basic => "basic",
        Class::Sensitive => "sensitive",
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_debug())
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

const LEVELS: [&str; 3] = ["central", "province", "private"];

/// The entity types that a policy may name, apart from those of one request.
const TYPES: [&str; 10] =
    ["Action", "Agency", "Class", "Field", "Group", "Level", "Purpose", "Register", "Sector", "System"];

const ENTITIES: &str = "entity Level;
entity Sector;
entity Agency in [Sector, Level];
entity System in [Agency, Sector, Level] {
  sector: String,
  level: String,
  province?: String,
};
entity Register;
entity Group;
entity Class;
entity Field in [Field, Group, Class, Register];
entity Purpose;
entity Env {
  today: datetime,
  weekday: Long,
  hour: Long,
  minute_of_day: Long,
  source: ipaddr,
  claimed_assurance?: String,
  claimed_user: Bool,
  claimed_case: Bool,
};
";
