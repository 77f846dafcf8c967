//! Reading the OpenAPI documents of a bundle.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::bundle::Source;
use crate::contract::checks::Checks;
use crate::contract::{Contracts, Method, RecordSchema, Written, route};
use crate::document::{self, Entry, Node, Sheet, Span, Table, Value};
use crate::problem::{Problem, Severity};
use crate::xroad::ServiceId;

mod attribute;
mod binding;
mod claims;
mod content;
mod extension;
mod leaf;
mod lifecycle;
mod operation;
mod page;
mod parameter;
mod record;
mod reference;
mod role;
mod schema;
mod versions;
mod whole;
mod xroad;

#[cfg(test)]
pub(crate) mod tests;

/// Reads every `*.openapi.yaml` of the bundle; what is wrong goes to `problems`.
///
/// It also reports the files of the bundle that nobody reads. Operations that are wrong are left out, so that callers need not expect
/// half of one; the bundle is refused anyway.
pub(crate) fn load(source: &Source, problems: &mut Vec<Problem>) -> Contracts {
    let first = problems.len();
    let mut loader = Loader::default();
    for (file, text) in &source.files {
        match file.strip_prefix("contracts/") {
            Some(name) if name.ends_with(SUFFIX) && !name.contains('/') => {
                loader.read(&mut Sheet { file, text, problems });
            }
            Some(_) => {
                let problem = Problem::error("unknown-file", file, format!("`{file}` is not a contract"));
                problems.push(problem.help(format!("contracts are named `contracts/<register>{SUFFIX}`")));
            }
            None if !is_known_file(file) => {
                let problem = Problem::warning("unknown-file", file, format!("nothing reads `{file}`"));
                problems.push(problem.help("a bundle has contracts/, agencies/, policies/ and purposes.toml"));
            }
            None => {}
        }
    }
    if !source.files.keys().any(|file| file.starts_with("contracts/") && file.ends_with(SUFFIX)) {
        let problem = Problem::error("no-contract", "contracts", "the bundle has no contract");
        problems.push(problem.help(format!("add `contracts/<register>{SUFFIX}`")));
    }
    loader.check_successors(problems);
    drop_repeated(problems, first);
    loader.contracts
}

/// What has been read of all documents so far.
#[derive(Default)]
struct Loader {
    contracts: Contracts,
    /// Where each operation id stands.
    ids: HashMap<String, String>,
    /// Where each path stands, by its shape (names of parameters left out), with the path.
    paths: HashMap<String, (String, String)>,
    /// The file of each record, and the record, by name.
    records: HashMap<String, (String, Option<Arc<RecordSchema>>)>,
    /// Which operation each operation names as its successor, with what is to be said if there is none.
    successors: Vec<(String, Problem)>,
    /// Where each X-Road service stands.
    services: HashMap<ServiceId, String>,
}

/// One document while it is read.
struct Document<'d> {
    register: Option<&'d str>,
    schemas: schema::Schemas<'d>,
    /// `components.parameters`.
    parameters: Option<&'d Table>,
    records: BTreeMap<&'d str, Option<Record>>,
    /// The envelopes of lists, each with its records.
    pages: BTreeMap<&'d str, Option<page::Page>>,
    /// The whole fields of all records.
    binaries: Vec<record::Binary>,
    /// What `info` says of the end of all its operations.
    ending: lifecycle::Ending,
    /// As [`Loader::successors`].
    successors: Vec<(String, Problem)>,
    /// As [`Contracts::sunsets`].
    sunsets: Vec<(jiff::civil::Date, Problem)>,
}

/// A record, and whether every part of it could be read.
type Record = (Arc<RecordSchema>, bool);

impl Loader {
    fn read(&mut self, sheet: &mut Sheet<'_>) {
        let first = sheet.problems.len();
        let Some(root) = document::parse_yaml(sheet) else { return };
        let Some(table) = sheet.table(&root, "a contract") else { return };
        extension::check_spelling(sheet, &root);
        extension::check_place(sheet, table, "a document", extension::DOCUMENT);
        sheet.check_keys(table, "the document", DOCUMENT_KEYS);
        check_version(sheet, table, &root.span);
        let register = register(sheet, table, &root.span);
        self.contracts.written.push(Written::new(sheet.text));
        let components = table.node("components").and_then(|node| sheet.table(node, "`components`"));
        let mut part = |key: &str| components?.node(key).and_then(|node| sheet.table(node, &format!("`{key}`")));
        let (schemas, parameters) = (part("schemas"), part("parameters"));
        let ending = lifecycle::of_document(sheet, table);
        let mut document = Document {
            register,
            schemas: schema::Schemas::new(schemas),
            parameters,
            records: BTreeMap::new(),
            pages: BTreeMap::new(),
            binaries: Vec::new(),
            ending,
            successors: Vec::new(),
            sunsets: Vec::new(),
        };
        let paths = sheet.required(table, &root.span, "the document", "paths");
        if let Some(paths) = paths.and_then(|node| sheet.table(node, "`paths`")) {
            for path in &paths.entries {
                self.path(sheet, &mut document, path);
            }
        }
        if let Some(node) = table.node("x-gateway-xroad") {
            self.service(sheet, node, paths.and_then(Node::as_table));
        }
        let broken = sheet.problems.iter().skip(first).any(|problem| problem.severity == Severity::Error);
        for entry in document.schemas.unused().filter(|entry| !broken && !is_mentioned(&root, &entry.key)) {
            let message = format!("nothing refers to the schema `{}`", entry.key);
            sheet.push(sheet.warning("unused-schema", &entry.at, message));
        }
        self.successors.append(&mut document.successors);
        self.contracts.sunsets.append(&mut document.sunsets);
        // What was taken for a record in one place and for an envelope in another is reported there, and is one of them at most.
        let Document { mut records, mut pages, .. } = document;
        records.retain(|name, record| record.is_some() || !pages.contains_key(name));
        pages.retain(|name, page| page.is_some() || !records.contains_key(name));
        let pages = pages.into_iter().map(|(name, page)| (name, page.map(|page| (page.record, page.sound))));
        for (name, record) in records.into_iter().chain(pages) {
            self.add_record(sheet, name, record, schemas);
        }
    }

    fn path<'d>(&mut self, sheet: &mut Sheet<'_>, document: &mut Document<'d>, path: &'d Entry) {
        check_template(sheet, path);
        self.check_collision(sheet, path);
        let Some(item) = sheet.table(&path.node, "a path") else { return };
        extension::check_place(sheet, item, "a path", &[]);
        let known = ["get", "post", "parameters", "summary", "description"];
        let shared = item.node("parameters");
        for entry in &item.entries {
            let method = match entry.key.as_str() {
                "get" => Method::Get,
                "post" => Method::Post,
                verb @ ("put" | "delete" | "patch" | "options" | "head" | "trace") => {
                    let message = format!("`{verb}` cannot be the method of an operation");
                    let help = "reads are `get` or `post` (`head` is answered wherever `get` is)";
                    sheet.push(sheet.error("method-refused", &entry.at, message).help(help));
                    continue;
                }
                key => {
                    if !known.contains(&key) && !key.starts_with("x-") {
                        let problem = sheet.error("unknown-key", &entry.at, format!("unknown key `{key}` in a path"));
                        sheet.push(problem.suggest(key, known));
                    }
                    continue;
                }
            };
            if let Some(read) = operation::read(sheet, document, operation::Place { path, method, entry, shared }) {
                self.add_operation(sheet, read);
            }
        }
    }

    fn check_collision(&mut self, sheet: &mut Sheet<'_>, path: &Entry) {
        let shape: Vec<&str> =
            path.key.split('/').map(|part| if part.starts_with('{') { "{}" } else { part }).collect();
        let here = place(sheet, &path.at);
        let known = self.paths.entry(shape.join("/")).or_insert_with(|| (path.key.clone(), here.clone()));
        if known.1 != here {
            let message = format!("the path `{}` is the same route as `{}` in {}", path.key, known.0, known.1);
            let problem = sheet.error("route-collision", &path.at, message);
            sheet.push(problem.help("write all operations of a path in one place"));
        }
    }

    fn add_operation(&mut self, sheet: &mut Sheet<'_>, read: operation::Read) {
        let mut operation = read.operation;
        let here = place(sheet, &read.id_at);
        if let Some(there) = self.ids.get(operation.id.as_str()) {
            let message = format!("the operation `{}` stands twice: also in {there}", operation.id);
            sheet.push(sheet.error("duplicate-operation", &read.id_at, message));
            return;
        }
        self.ids.insert(operation.id.to_string(), here);
        // What is wrong already would be wrong again.
        let broken = |problem: &Problem| problem.severity == Severity::Error && problem.file == sheet.file;
        if let (Some(written), false) = (self.contracts.written.last(), sheet.problems.iter().any(broken)) {
            match Checks::compile(written, &operation) {
                Ok(checks) => operation.checks = checks,
                Err(reason) => {
                    let message = format!("the parameters of `{}` cannot be checked: {reason}", operation.id);
                    sheet.push(sheet.error("bad-schema", &read.id_at, message));
                }
            }
        }
        operation.index = self.contracts.operations.len();
        self.contracts.written_in.push(self.contracts.written.len().saturating_sub(1));
        let (template, method) = (Arc::clone(&operation.template), operation.method);
        self.contracts.routes.insert(&template, method, operation.index);
        self.contracts.operations.push(Arc::new(operation));
    }

    /// Policies know a record and its fields by their names: what two contracts call alike must be alike to policies, or a forbid that
    /// was written for the one would not reach the other. So two versions of a contract may share a record's name, and one may have
    /// fields that the other has not; a field of both is declared alike in both.
    fn add_record(&mut self, sheet: &mut Sheet<'_>, name: &str, record: Option<Record>, schemas: Option<&Table>) {
        let record = record.map(|(record, _)| record);
        match self.records.get(name) {
            None => {
                self.records.insert(name.to_owned(), (sheet.file.to_owned(), record.clone()));
            }
            Some((there, known)) => {
                let difference =
                    known.as_ref().zip(record.as_ref()).and_then(|(known, here)| versions::differ(known, here));
                if let Some(difference) = difference {
                    let at = schemas.and_then(|schemas| schemas.entry(name)).map_or(0..0, |entry| entry.at.clone());
                    let message = format!("the record `{name}` stands in {there} too, and {difference}");
                    let help =
                        "policies know it by its name: declare it alike in both, or give this schema another name";
                    sheet.push(sheet.error("record-differs", &at, message).help(help));
                }
            }
        }
        self.contracts.records.extend(record);
    }

    fn check_successors(&mut self, problems: &mut Vec<Problem>) {
        for (typed, problem) in self.successors.drain(..) {
            if !self.ids.contains_key(&typed) {
                problems.push(problem.suggest(&typed, self.ids.keys().map(String::as_str)));
            }
        }
    }
}

impl<'d> Document<'d> {
    /// The record schema of that name, read once.
    fn record(&mut self, sheet: &mut Sheet<'_>, name: &'d str, typed: &Node) -> Option<Record> {
        if let Some(record) = self.records.get(name) {
            return record.clone();
        }
        let record = match page::record_within(&self.schemas, name) {
            Some(within) => {
                let message = format!("`{name}` is the envelope of a list, not a record");
                let help = format!("an operation with `x-gateway-answer: list` answers it; its records are `{within}`");
                sheet.push(sheet.error("bad-record", &typed.span, message).help(help));
                None
            }
            None => record::read(sheet, &mut self.schemas, name, typed),
        };
        let record = record.map(|read| {
            self.binaries.extend(read.binaries);
            (Arc::new(read.record), read.whole)
        });
        self.records.insert(name, record.clone());
        record
    }

    /// The record schema that a response's schema refers to.
    fn record_of_response(&mut self, sheet: &mut Sheet<'_>, schema: &'d Node) -> Option<Record> {
        let (name, reference) = self.named(sheet, schema)?;
        self.record(sheet, name, reference)
    }

    /// The envelope of a list that a response's schema refers to, read once.
    fn page_of_response(&mut self, sheet: &mut Sheet<'_>, schema: &'d Node) -> Option<page::Page> {
        let (name, reference) = self.named(sheet, schema)?;
        if let Some(page) = self.pages.get(name) {
            return page.clone();
        }
        let page = page::read(sheet, self, name, reference);
        self.pages.insert(name, page.clone());
        page
    }

    /// The name of the schema that a response's schema refers to, and the reference.
    fn named(&mut self, sheet: &mut Sheet<'_>, schema: &'d Node) -> Option<(&'d str, &'d Node)> {
        let table = sheet.table(schema, "a schema")?;
        let Some(reference) = table.node("$ref") else {
            let problem = sheet.error("bad-record", &schema.span, "the response `200` must refer to a schema by name");
            sheet.push(problem.help("its fields are named after it: `$ref: '#/components/schemas/<name>'`"));
            return None;
        };
        let typed = sheet.text(reference, "`$ref`")?;
        // A reference that cannot be followed is reported as such; a name that does not exist, too.
        let name = self.schemas.resolve(sheet, schema, &[])?.names.first().copied();
        Some((name.or_else(|| typed.rsplit('/').next())?, reference))
    }
}

fn check_version(sheet: &mut Sheet<'_>, table: &Table, at: &Span) {
    let Some(node) = sheet.required(table, at, "the document", "openapi") else { return };
    let typed = sheet.text.get(node.span.clone()).unwrap_or_default().trim_matches(['\'', '"']);
    if !typed.starts_with("3.1.") {
        let problem = sheet.error("openapi-version", &node.span, format!("the version of openapi cannot be `{typed}`"));
        sheet.push(problem.help("write the contract in OpenAPI 3.1: `openapi: 3.1.0`"));
    }
}

fn register<'d>(sheet: &mut Sheet<'_>, table: &'d Table, at: &Span) -> Option<&'d str> {
    let node = sheet.required(table, at, "the document", "x-gateway-register")?;
    let typed = sheet.text(node, "`x-gateway-register`")?;
    if !is_id(typed) {
        let problem = sheet.error("bad-name", &node.span, format!("`{typed}` cannot be the name of a register"));
        sheet.push(problem.help("lower-case letters, digits, `_` and `-`"));
    }
    Some(typed)
}

fn check_template(sheet: &mut Sheet<'_>, path: &Entry) {
    let segments = || path.key.split('/').skip(1);
    let wrong = if path.key.starts_with("/.well-known/") {
        Some(("", "is the gateway's own: it answers there for itself"))
    } else if path.key.starts_with('/') {
        let captured = |segment: &&str| segment.starts_with('{');
        // Each capture is given to one parameter: the second of a name would be read as the next one.
        let twice = segments().enumerate().filter(|(_, segment)| captured(segment)).find_map(|(at, segment)| {
            segments().take(at).any(|earlier| earlier == segment).then_some((segment, "captures a name twice"))
        });
        let of_xroad = path.key.starts_with(crate::xroad::PREFIX);
        let of_xroad =
            of_xroad.then_some(("r1", "begins as X-Road's do: name the service in `x-gateway-xroad` instead"));
        segments()
            .find_map(|segment| route::wrong_segment(segment).map(|reason| (segment, reason)))
            .or(twice)
            .or(of_xroad)
    } else {
        Some(("", "must begin with `/`"))
    };
    if let Some((segment, reason)) = wrong {
        let which = if segment.is_empty() { String::new() } else { format!(": `{segment}`") };
        sheet.push(sheet.error("bad-path", &path.at, format!("the path `{}` {reason}{which}", path.key)));
    }
}

/// Whether a `$ref` anywhere in the document names that schema, be it in a part that is not read (a response other than 200).
fn is_mentioned(node: &Node, schema: &str) -> bool {
    match &node.value {
        Value::List(items) => items.iter().any(|item| is_mentioned(item, schema)),
        Value::Table(table) => table.entries.iter().any(|entry| {
            let target = entry.node.as_text().filter(|_| entry.key == "$ref");
            target.is_some_and(|target| target.rsplit('/').next() == Some(schema)) || is_mentioned(&entry.node, schema)
        }),
        _ => false,
    }
}

/// `file:line`, for a message in another place.
fn place(sheet: &Sheet<'_>, span: &Span) -> String {
    let line = sheet.text.get(..span.start).unwrap_or_default().matches('\n').count() + 1;
    format!("{}:{line}", sheet.file)
}

/// A schema that is used in several places is read as often, and its mistakes are the same each time.
fn drop_repeated(problems: &mut Vec<Problem>, first: usize) {
    let mut kept: Vec<Problem> = Vec::new();
    for problem in problems.drain(first..) {
        if !kept.contains(&problem) {
            kept.push(problem);
        }
    }
    problems.extend(kept);
}

fn is_known_file(file: &str) -> bool {
    matches!(file, "purposes.toml" | "README.md") || file.starts_with("agencies/") || file.starts_with("policies/")
}

/// Whether it can be the name of a register or group.
fn is_id(typed: &str) -> bool {
    typed.starts_with(|first: char| first.is_ascii_lowercase())
        && typed.chars().all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || matches!(char, '_' | '-'))
}

fn is_operation_id(typed: &str) -> bool {
    typed.starts_with(|first: char| first.is_ascii_alphabetic())
        && typed.chars().all(|char| char.is_ascii_alphanumeric() || matches!(char, '.' | '_' | '-'))
        && !typed.starts_with("with-")
        && !typed.starts_with("register-")
}

const SUFFIX: &str = ".openapi.yaml";

const DOCUMENT_KEYS: &[&str] =
    &["openapi", "info", "jsonSchemaDialect", "servers", "paths", "components", "security", "tags", "externalDocs"];
