//! Record schemas: from a component schema to leaves, groups and shapes.

use crate::contract::{Class, Field, Kind, ObjectShape, RecordSchema, Reference, Shape};
use crate::document::{Entry, Node, Sheet, Span, Value};
use crate::model::{FieldIx, FieldName, FieldSet, GroupId};

use super::schema::{Resolved, Schemas, Type};
use super::{attribute, extension, leaf, reference};

/// A record as it was read.
pub(super) struct Read {
    pub(super) record: RecordSchema,
    /// Whether every part of it could be read: if not, a field that is missed may only have been misread.
    pub(super) whole: bool,
    /// Its whole fields.
    pub(super) binaries: Vec<Binary>,
}

/// A leaf with `x-gateway-whole`, and what its contract says of its bytes.
#[derive(Clone)]
pub(super) struct Binary {
    pub(super) field: FieldName,
    pub(super) media_type: Box<str>,
    pub(super) most_bytes: usize,
}

/// The records of a list, which are read before the envelope around them.
#[derive(Clone, Copy)]
pub(super) struct Around<'r> {
    /// The envelope's property that holds them.
    pub(super) key: &'r str,
    pub(super) record: &'r RecordSchema,
}

/// The envelope of a list as it was read.
pub(super) struct Envelope {
    /// Its own leaves, which follow those of the record.
    pub(super) fields: Vec<Field>,
    /// Its shape, the records in it.
    pub(super) shape: ObjectShape,
    /// The leaf that holds the next page's cursor.
    pub(super) cursor: Option<FieldIx>,
    /// Its leaves that hold persons' numbers.
    pub(super) references: Vec<Reference>,
    /// Whether every part of it could be read.
    pub(super) whole: bool,
}

/// Reads the component schema of that name as a record. What is wrong is reported, and the record is as good as it can be, so that
/// what refers to it is not reported too; `None` if there is no such schema.
pub(super) fn read<'d>(sheet: &mut Sheet<'_>, schemas: &mut Schemas<'d>, name: &'d str, typed: &Node) -> Option<Read> {
    let Some(entry) = schemas.component(name) else {
        let problem = sheet.error("bad-ref", &typed.span, format!("there is no schema `{name}`"));
        sheet.push(problem.suggest(name, schemas.names()));
        return None;
    };
    check_name(sheet, name, entry);
    let resolved = schemas.resolve(sheet, &entry.node, &[name])?;
    let mut reader = Reader::new(sheet, schemas, name, None);
    let shape = match reader.shape(&resolved, &mut Vec::new(), &Inherited::default(), &[name], Place::Root) {
        Some(Shape::Object(shape)) => shape,
        Some(_) => {
            reader.sheet.push(reader.sheet.error("bad-record", &entry.at, format!("`{name}` must be an object")));
            ObjectShape::default()
        }
        None => ObjectShape::default(),
    };
    let Reader { leaves, binaries, whole, .. } = reader;
    let leaves = Leaves { leaves, whole };
    leaves.check_implies(sheet, None);
    let subject = attribute::subject(sheet, entry, &resolved, &leaves);
    let attributes = attribute::attributes(sheet, &resolved, &leaves);
    let references = reference::references(sheet, &leaves);
    let Leaves { leaves, whole } = leaves;
    let fields = leaves.into_iter().map(|leaf| leaf.field).collect();
    let whole = whole && subject.is_some();
    let subject = subject.unwrap_or(FieldIx(0));
    let record = RecordSchema { name: name.to_owned(), fields, shape, subject, attributes, references };
    Some(Read { record, whole, binaries })
}

/// Reads the leaves of an envelope; `resolved` is its schema. `None` if they could not be told from the records.
pub(super) fn read_envelope<'d>(
    sheet: &mut Sheet<'_>,
    schemas: &mut Schemas<'d>,
    name: &'d str,
    resolved: &Resolved<'d>,
    around: Around<'_>,
) -> Option<Envelope> {
    let mut reader = Reader::new(sheet, schemas, name, Some(around));
    let shape = reader.shape(resolved, &mut Vec::new(), &Inherited::default(), &[name], Place::Root);
    let Reader { leaves, cursor, whole, .. } = reader;
    let leaves = Leaves { leaves, whole };
    leaves.check_implies(sheet, Some(around.record));
    let references = reference::references(sheet, &leaves);
    let Some(Shape::Object(shape)) = shape else { return None };
    let fields = leaves.leaves.into_iter().map(|leaf| leaf.field).collect();
    Some(Envelope { fields, shape, cursor, references, whole })
}

/// Reports a name that fields cannot be named after.
pub(super) fn check_name(sheet: &mut Sheet<'_>, name: &str, entry: &Entry) {
    if !is_type_name(name) {
        let message = format!("`{name}` cannot be the name of a record");
        sheet.push(sheet.error("bad-name", &entry.at, message).help("a capital letter, then letters and digits"));
    }
}

/// A field, and what only the loader asks about it.
pub(super) struct Leaf<'d> {
    pub(super) field: Field,
    /// Whether it lies under an array, so that a record may have many of it.
    pub(super) repeated: bool,
    /// `x-gateway-implies`, to be checked when every leaf is known.
    pub(super) implies: Vec<(&'d str, &'d Node)>,
    /// `x-gateway-person`, likewise.
    pub(super) person: Option<&'d Node>,
}

/// What a leaf takes from the objects around it.
#[derive(Clone, Default)]
struct Inherited {
    group: Option<GroupId>,
    class: Option<Class>,
    repeated: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Property,
    Item,
}

struct Reader<'r, 's, 'd> {
    sheet: &'r mut Sheet<'s>,
    schemas: &'r mut Schemas<'d>,
    name: &'d str,
    /// In the envelope of a list: its records.
    around: Option<Around<'r>>,
    leaves: Vec<Leaf<'d>>,
    binaries: Vec<Binary>,
    cursor: Option<FieldIx>,
    /// How many schemas were read, those that are referred to twice counted twice: a few lines could make billions.
    visited: usize,
    full: bool,
    whole: bool,
    /// Whether what is required must be there (`x-gateway-strict`), and whether anything is.
    strict: bool,
    demands: bool,
}

/// All leaves of a record.
pub(super) struct Leaves<'d> {
    pub(super) leaves: Vec<Leaf<'d>>,
    pub(super) whole: bool,
}

impl<'r, 's, 'd> Reader<'r, 's, 'd> {
    fn new(sheet: &'r mut Sheet<'s>, schemas: &'r mut Schemas<'d>, name: &'d str, around: Option<Around<'r>>) -> Self {
        let (leaves, binaries) = (Vec::new(), Vec::new());
        Self {
            sheet,
            schemas,
            name,
            around,
            leaves,
            binaries,
            cursor: None,
            visited: 0,
            full: false,
            whole: true,
            strict: false,
            demands: false,
        }
    }

    fn shape(
        &mut self,
        schema: &Resolved<'d>,
        path: &mut Vec<&'d str>,
        inherited: &Inherited,
        within: &[&str],
        place: Place,
    ) -> Option<Shape> {
        self.visited += 1;
        if self.visited > MOST_SCHEMAS {
            self.too_many(schema.span);
            return None;
        }
        let full_name = self.full_name(path);
        let kind = schema.kind(self.sheet, &format!("`{full_name}`"));
        let allowed = match (place, kind) {
            (Place::Root, _) if self.around.is_none() => extension::RECORD,
            (Place::Root, _) => extension::ENVELOPE,
            (_, Some(Type::Object)) => extension::BRANCH,
            _ if self.around.is_none() => extension::LEAF,
            _ => extension::ENVELOPE_LEAF,
        };
        schema.check(self.sheet, &format!("`{full_name}`"), allowed);
        let mut inherited = inherited.clone();
        inherited.group = leaf::group(self.sheet, schema).or(inherited.group);
        inherited.class = leaf::class(self.sheet, schema).or(inherited.class);
        if place == Place::Root {
            self.strict = leaf::is_strict(self.sheet, schema);
        }
        let shape = match kind.unwrap_or_else(|| assumed(schema)) {
            Type::Scalar(kind) => self.leaf(schema, path, &inherited, kind, false).map(Shape::Leaf),
            Type::Object => self.object(schema, path, &inherited, within).map(Shape::Object),
            Type::Array => self.array(schema, path, &inherited, within, place),
        };
        if place == Place::Root {
            self.check_strict(schema);
        }
        shape
    }

    fn object(
        &mut self,
        schema: &Resolved<'d>,
        path: &mut Vec<&'d str>,
        inherited: &Inherited,
        within: &[&str],
    ) -> Option<ObjectShape> {
        let properties = schema.properties(self.sheet);
        let full_name = self.full_name(path);
        if properties.is_empty() {
            let problem =
                self.sheet.error("empty-object", schema.span, format!("`{full_name}` declares no properties"));
            self.sheet.push(problem.help("what is not declared is never disclosed; declare each property"));
        }
        check_required(self.sheet, schema, properties);
        let mut members: Vec<(Box<str>, Shape)> = Vec::new();
        for entry in properties {
            if !is_property_name(&entry.key) {
                let message = format!("`{}` cannot be the name of a field", entry.key);
                let problem = self.sheet.error("bad-name", &entry.at, message);
                self.sheet
                    .push(problem.help("letters, digits, `_` and `-`; dots separate the parts of a field's name"));
            }
            if let Some(around) = self.around.filter(|around| path.is_empty() && around.key == entry.key) {
                members.push((Box::from(around.key), Shape::Array(around.record.shape.clone())));
                continue;
            }
            let Some(resolved) = self.schemas.resolve(self.sheet, &entry.node, within) else {
                self.whole = false;
                continue;
            };
            let within: Vec<&str> = within.iter().chain(&resolved.names).copied().collect();
            path.push(&entry.key);
            let shape = self.shape(&resolved, path, inherited, &within, Place::Property);
            path.pop();
            self.whole &= shape.is_some();
            members.extend(shape.map(|shape| (Box::from(entry.key.as_str()), shape)));
        }
        let shape = ObjectShape::new(members);
        if shape.is_none() && !self.full {
            self.too_many(schema.span);
        }
        shape.map(|shape| self.requiring(schema, path, shape))
    }

    /// The object with what it must have, if the record is strict.
    fn requiring(&mut self, schema: &Resolved<'d>, path: &[&str], shape: ObjectShape) -> ObjectShape {
        let Some(node) = schema.node("required").filter(|_| self.strict) else { return shape };
        let names = strings(Some(node));
        for name in &names {
            let Some((_, Shape::Leaf(leaf))) = shape.member(name.as_bytes()) else { continue };
            if self.leaves.iter().any(|known| known.field.index == *leaf && known.field.whole) {
                let message = format!("`{}.{name}` cannot be required of a strict record", self.full_name(path));
                let problem = self.sheet.error("strict-unfit", &node.span, message);
                self.sheet.push(problem.help("a whole field is never part of a record; take it out of `required`"));
            }
        }
        self.demands |= !names.is_empty();
        shape.requiring(names)
    }

    /// Reports a strict record that need not have anything: its author believes that something is checked.
    fn check_strict(&mut self, schema: &Resolved<'_>) {
        let Some(node) = schema.node("x-gateway-strict").filter(|_| self.strict && self.whole && !self.demands) else {
            return;
        };
        let message = format!("`{}` is strict, and nothing of it is `required`", self.name);
        let problem = self.sheet.error("strict-unfit", &node.span, message);
        self.sheet.push(problem.help("list the properties that each object must have under `required`"));
    }

    fn array(
        &mut self,
        schema: &Resolved<'d>,
        path: &mut Vec<&'d str>,
        inherited: &Inherited,
        within: &[&str],
        place: Place,
    ) -> Option<Shape> {
        let full_name = self.full_name(path);
        if place == Place::Item {
            let message = format!("`{full_name}` is an array of arrays");
            let help = "an array may hold scalars or objects";
            self.sheet.push(self.sheet.error("nested-array", schema.span, message).help(help));
            return None;
        }
        let Some(items) = schema.node("items") else {
            let problem =
                self.sheet.error("missing-key", schema.span, format!("the array `{full_name}` has no `items`"));
            self.sheet.push(problem.help("add `items`"));
            return None;
        };
        let resolved = self.schemas.resolve(self.sheet, items, within)?;
        let inherited = Inherited { repeated: true, ..inherited.clone() };
        match resolved.node("type").and_then(Node::as_text) {
            Some("object") if self.around.is_some() => {
                let message = format!("`{full_name}` is a list of objects within the envelope of a list");
                let problem = self.sheet.error("bad-list", schema.span, message);
                self.sheet.push(problem.help("an envelope has its records, objects and scalars"));
                None
            }
            Some("object" | "array") => {
                let within: Vec<&str> = within.iter().chain(&resolved.names).copied().collect();
                match self.shape(&resolved, path, &inherited, &within, Place::Item)? {
                    Shape::Object(object) => Some(Shape::Array(object)),
                    other => Some(other),
                }
            }
            _ => {
                resolved.check(self.sheet, &format!("the items of `{full_name}`"), &[]);
                match resolved.kind(self.sheet, &format!("the items of `{full_name}`"))? {
                    Type::Scalar(kind) => self.leaf(schema, path, &inherited, kind, true).map(Shape::Leaf),
                    Type::Object | Type::Array => {
                        let message = format!("the items of `{full_name}` cannot be null");
                        self.sheet.push(self.sheet.error("unknown-type", resolved.span, message));
                        None
                    }
                }
            }
        }
    }

    fn leaf(
        &mut self,
        schema: &Resolved<'d>,
        path: &[&'d str],
        inherited: &Inherited,
        kind: Kind,
        array: bool,
    ) -> Option<FieldIx> {
        let full_name = self.full_name(path);
        let at = self.around.map_or(0, |around| around.record.fields.len()) + self.leaves.len();
        if at >= FieldSet::CAPACITY {
            self.too_many(schema.span);
            return None;
        }
        let group = inherited.group.clone().unwrap_or_else(|| {
            let problem = self.sheet.error("missing-group", schema.span, format!("`{full_name}` has no group"));
            self.sheet.push(problem.help("add `x-gateway-group` to it or to an object around it"));
            GroupId::new("?")
        });
        let index = FieldIx(u16::try_from(at).unwrap_or(u16::MAX));
        let typed = if array { Type::Array } else { Type::Scalar(kind) };
        let bytes = leaf::whole(self.sheet, schema, &full_name, typed);
        let bytes = bytes.filter(|_| self.is_by_itself(schema, &full_name, inherited));
        // On a record's leaf a role has been reported as misplaced.
        let is_cursor = match self.around {
            Some(_) => leaf::is_cursor(self.sheet, schema, &full_name, kind, array),
            None => Some(false),
        };
        self.whole &= is_cursor.is_some();
        if is_cursor == Some(true) && self.cursor.replace(index).is_some() {
            let problem = self.sheet.error("duplicate-role", schema.span, format!("`{full_name}` is a second cursor"));
            self.sheet.push(problem.help("one leaf of the envelope holds the next page's cursor"));
        }
        let field = Field {
            index,
            name: FieldName::new(&full_name),
            path: path.iter().map(|part| (*part).to_owned()).collect(),
            kind,
            array,
            group,
            class: inherited.class.unwrap_or(Class::Basic),
            masks: leaf::masks(self.sheet, schema, &full_name, kind),
            implies: Vec::new(),
            compare: leaf::compare(self.sheet, schema, &full_name, kind),
            whole: bytes.is_some(),
        };
        self.binaries.extend(bytes.map(|(media_type, most_bytes)| Binary {
            field: field.name.clone(),
            media_type,
            most_bytes,
        }));
        let implies = schema
            .node("x-gateway-implies")
            .map(|node| self.sheet.texts(node, "`x-gateway-implies`"))
            .unwrap_or_default();
        let mut field = field;
        field.implies = implies.iter().map(|(typed, _)| FieldName::new(typed)).collect();
        self.leaves.push(Leaf {
            field,
            repeated: inherited.repeated,
            implies,
            person: schema.node("x-gateway-person"),
        });
        Some(index)
    }

    /// A whole field is given by an operation about one person: there is one of it in a record, and none around records.
    fn is_by_itself(&mut self, schema: &Resolved<'_>, full_name: &str, inherited: &Inherited) -> bool {
        let why = match (self.around, inherited.repeated) {
            (Some(_), _) => "it belongs to no record",
            (None, true) => "a record has many of it",
            (None, false) => return true,
        };
        let message = format!("`{full_name}` cannot be a whole field: {why}");
        let problem = self.sheet.error("whole-unfit", schema.span, message);
        self.sheet.push(problem.help("an operation gives the one that a record has"));
        false
    }

    fn too_many(&mut self, span: &Span) {
        if !std::mem::replace(&mut self.full, true) {
            let most = FieldSet::CAPACITY;
            let message = match self.around {
                None => format!("`{}` has more than {most} fields", self.name),
                Some(Around { record, .. }) => format!(
                    "`{}` has more than {most} fields, the {} of its records counted",
                    self.name,
                    record.fields.len()
                ),
            };
            let problem = self.sheet.error("too-many-fields", span, message);
            self.sheet.push(problem.help("split the record into several operations"));
        }
    }

    fn full_name(&self, path: &[&str]) -> String {
        path.iter().fold(self.name.to_owned(), |name, part| format!("{name}.{part}"))
    }
}

impl<'d> Leaves<'d> {
    /// `around` is the record of the list that these are the envelope's leaves of.
    fn check_implies(&self, sheet: &mut Sheet<'_>, around: Option<&RecordSchema>) {
        let others = || around.into_iter().flat_map(|record| &record.fields);
        let known = || self.leaves.iter().map(|leaf| &leaf.field).chain(others()).map(|field| field.name.as_str());
        for (typed, node) in self.leaves.iter().flat_map(|leaf| &leaf.implies) {
            if self.whole && !known().any(|name| name == *typed) {
                let problem = sheet.error("unknown-field", &node.span, format!("there is no field `{typed}`"));
                sheet.push(problem.suggest(typed, known()));
            }
        }
    }

    /// The leaf that a property path (dots between the names, without the record's name) leads to.
    pub(super) fn at(&self, sheet: &mut Sheet<'_>, node: &Node, what: &str) -> Option<&Leaf<'d>> {
        let typed = sheet.text(node, what)?;
        let found = self.leaves.iter().find(|leaf| leaf.field.path.join(".") == typed);
        if found.is_none() && self.whole {
            let known: Vec<String> = self.leaves.iter().map(|leaf| leaf.field.path.join(".")).collect();
            let problem = sheet.error("unknown-field", &node.span, format!("the record has no field `{typed}`"));
            sheet.push(problem.suggest(typed, known.iter().map(String::as_str)));
        }
        found
    }
}

/// What a schema without a type that can be read was probably meant to be.
fn assumed(schema: &Resolved<'_>) -> Type {
    if schema.node("properties").is_some() { Type::Object } else { Type::Scalar(Kind::String) }
}

pub(super) fn check_required(sheet: &mut Sheet<'_>, schema: &Resolved<'_>, properties: &[Entry]) {
    let Some(required) = schema.node("required") else { return };
    for (typed, node) in sheet.texts(required, "`required`") {
        if !properties.iter().any(|entry| entry.key == typed) {
            let problem = sheet.error("unknown-property", &node.span, format!("there is no property `{typed}`"));
            sheet.push(problem.suggest(typed, properties.iter().map(|entry| entry.key.as_str())));
        }
    }
}

fn is_type_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_uppercase()) && name.chars().all(|char| char.is_ascii_alphanumeric())
}

fn is_property_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-'))
}

/// A plain list of strings, or nothing.
pub(super) fn strings(node: Option<&Node>) -> Vec<&str> {
    match node.map(|node| &node.value) {
        Some(Value::List(items)) => items.iter().filter_map(Node::as_text).collect(),
        _ => Vec::new(),
    }
}

/// The most schemas of one record: far more than its fields and the objects around them can be.
const MOST_SCHEMAS: usize = 16 * FieldSet::CAPACITY;
