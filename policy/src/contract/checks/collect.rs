//! All mistakes of a request that was refused.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::contract::arguments::{MAX_BODY, decode};
use crate::contract::{ArgumentError, Location, Operation, ParamIx, Parameter, RequestParts};

use super::{MOST_MISTAKES, Mistake, Place, escaped, of_text};

impl Operation {
    /// What is wrong with a request that [`Operation::arguments`] refused: at least one mistake, and at most twenty.
    pub fn mistakes(&self, parts: RequestParts<'_>) -> Vec<Mistake> {
        let Err(first) = self.arguments(parts) else { return Vec::new() };
        let mut found = Found::default();
        self.in_path_and_query(parts, &mut found);
        if self.parameters.iter().any(|known| known.location == Location::Body) && parts.body.len() <= MAX_BODY {
            self.in_body(parts.body, &mut found);
        }
        // What only the strict reader sees, such as a name that stands twice.
        let mistake = self.mistake(&first);
        if found.is_new(&mistake.place) {
            found.0.insert(0, mistake);
        }
        found.0.truncate(MOST_MISTAKES);
        found.0
    }

    fn in_path_and_query(&self, parts: RequestParts<'_>, found: &mut Found) {
        let in_path = self.parameters.iter().enumerate().filter(|(_, known)| known.location == Location::Path);
        for ((at, parameter), captured) in in_path.zip(&parts.captures.0) {
            self.in_text(ParamIx(at), parameter, decode(captured.expose(), false), found);
        }
        let mut given = BTreeSet::new();
        for pair in parts.query.split('&').filter(|_| !parts.query.is_empty()) {
            let Some((name, value)) = pair.split_once('=') else { continue };
            let name = decode(name, true).unwrap_or_default();
            let known = |known: &Parameter| known.location == Location::Query && known.name == name;
            match self.parameters.iter().position(known).and_then(|at| Some((at, self.parameters.get(at)?))) {
                Some((at, parameter)) => {
                    given.insert(at);
                    self.in_text(ParamIx(at), parameter, decode(value, true), found);
                }
                None => found.add(self.mistake(&self.undeclared(Location::Query))),
            }
        }
        let needed = self.parameters.iter().enumerate().filter(|(_, known)| known.location == Location::Query);
        for (at, parameter) in needed.filter(|(_, known)| known.required) {
            if !given.contains(&at) {
                found.add(Mistake { place: place(parameter), detail: "is missing".to_owned() });
            }
        }
    }

    fn in_text(&self, at: ParamIx, parameter: &Parameter, text: Option<std::borrow::Cow<'_, str>>, found: &mut Found) {
        let Some(text) = text else {
            found.add(Mistake { place: place(parameter), detail: "must be percent-encoded utf-8".to_owned() });
            return;
        };
        let check = self.checks.parameters.iter().find(|(known, _)| *known == at).map(|(_, check)| check);
        for detail in check.into_iter().flat_map(|check| check.details(&of_text(parameter.kind, &text))) {
            found.add(Mistake { place: place(parameter), detail });
        }
        if let Err(error) = parameter.read(text) {
            found.add_unless_known(self.mistake(&error));
        }
    }

    fn in_body(&self, body: &[u8], found: &mut Found) {
        let (Some(check), Some(value)) = (&self.checks.body, self.body_value(body)) else { return };
        for mistake in check.mistakes(self, &value) {
            found.add(mistake);
        }
        for (name, value) in value.as_object().into_iter().flatten() {
            let known = |known: &&Parameter| known.location == Location::Body && known.name == *name;
            if let (Some(parameter), Value::String(text)) = (self.parameters.iter().find(known), value)
                && let Err(error) = parameter.read(text.into())
            {
                found.add_unless_known(self.mistake(&error));
            }
        }
    }

    fn mistake(&self, error: &ArgumentError) -> Mistake {
        let named = |name: &str| {
            let known = self.parameters.iter().find(|known| known.name == name);
            known.map_or_else(|| Place::Body(format!("/{name}")), place)
        };
        match error {
            ArgumentError::Undeclared { place: "body", .. } => {
                Mistake { place: Place::Body(String::new()), detail: self.undeclared_members() }
            }
            ArgumentError::Undeclared { declared, .. } => Mistake {
                place: Place::Query,
                detail: format!("must have no parameter but those that are declared: {declared}"),
            },
            ArgumentError::Missing { name } => Mistake { place: named(name), detail: "is missing".to_owned() },
            ArgumentError::Invalid { name, reason } => {
                Mistake { place: named(name), detail: reason.strip_prefix("it ").unwrap_or(reason).to_owned() }
            }
            ArgumentError::Body => Mistake {
                place: Place::Body(String::new()),
                detail: format!("must be a json object of at most {MAX_BODY} bytes"),
            },
            ArgumentError::UnexpectedBody => Mistake {
                place: Place::Body(String::new()),
                detail: "must be empty: this operation takes no body".to_owned(),
            },
            ArgumentError::Query => {
                Mistake { place: Place::Query, detail: "must be name=value pairs in percent-encoded utf-8".to_owned() }
            }
        }
    }
}

#[derive(Default)]
struct Found(Vec<Mistake>);

impl Found {
    fn add(&mut self, mistake: Mistake) {
        if !self.0.contains(&mistake) {
            self.0.push(mistake);
        }
    }

    /// Where the schema has found something, it says it better than the strict reader.
    fn add_unless_known(&mut self, mistake: Mistake) {
        if self.is_new(&mistake.place) {
            self.0.push(mistake);
        }
    }

    fn is_new(&self, place: &Place) -> bool {
        !self.0.iter().any(|known| known.place == *place)
    }
}

fn place(parameter: &Parameter) -> Place {
    match parameter.location {
        Location::Body => Place::Body(format!("/{}", escaped(&parameter.name))),
        Location::Path | Location::Query => Place::Parameter(parameter.name.clone()),
    }
}
