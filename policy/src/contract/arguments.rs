//! Reading a request's parameters strictly.

use std::borrow::Cow;

use crate::contract::{Captures, Kind, Location, Operation, ParamIx, Parameter, Role};
use crate::model::Personal;

use super::route::hex;

mod body;

#[cfg(test)]
mod tests;

/// A request as the protocol adapter received it, apart from its headers.
#[derive(Clone, Copy)]
pub struct RequestParts<'a> {
    /// The path's captured parameters, still percent-encoded.
    pub captures: &'a Captures,
    /// The query string without `?`, still percent-encoded; empty if there is none.
    pub query: &'a str,
    /// The whole body; empty if there is none.
    pub body: &'a [u8],
}

/// The values of an operation's parameters, by [`ParamIx`].
#[derive(Clone, Debug, Default)]
pub struct Arguments(pub(crate) Vec<Option<Personal<String>>>);

impl Arguments {
    /// The value of a parameter, if the request has it.
    pub fn value(&self, parameter: ParamIx) -> Option<&Personal<String>> {
        self.0.get(parameter.0)?.as_ref()
    }

    /// The parameters that the request has.
    pub fn given(&self) -> impl Iterator<Item = (ParamIx, &Personal<String>)> {
        self.0.iter().enumerate().filter_map(|(at, value)| Some((ParamIx(at), value.as_ref()?)))
    }
}

/// Why a request's parameters were refused. Names the parameter, never its value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    /// A name that the contract does not declare; declared ones are listed. An undeclared name may itself hold data, so it is not repeated.
    #[error("an undeclared parameter in the {place}; declared are: {declared}")]
    Undeclared {
        /// `query` or `body`.
        place: &'static str,
        /// The declared names, comma-separated.
        declared: String,
    },
    /// A required parameter is not there.
    #[error("parameter `{name}` is missing")]
    Missing {
        /// Which.
        name: String,
    },
    /// A value of the wrong JSON type, too long, not matching its pattern, or given twice.
    #[error("parameter `{name}` is not valid: {reason}")]
    Invalid {
        /// Which.
        name: String,
        /// What it must be.
        reason: String,
    },
    /// The body is not a JSON object, or one so large that no request of this kind is.
    #[error("the body is not a json object of at most {MAX_BODY} bytes")]
    Body,
    /// A body where the contract declares none.
    #[error("this operation takes no body")]
    UnexpectedBody,
    /// A query that is not `name=value&...` in percent-encoded UTF-8.
    #[error("the query is not well formed: name=value pairs in percent-encoded utf-8")]
    Query,
}

impl Operation {
    /// Reads the parameters.
    ///
    /// Strict on purpose: what is not declared, stands twice, or could be read in two ways is refused, so that nothing is asked of the
    /// register that was not decided about. Values are not normalised.
    ///
    /// # Errors
    /// [`ArgumentError`] for the first parameter that is not as the contract says.
    pub fn arguments(&self, parts: RequestParts<'_>) -> Result<Arguments, ArgumentError> {
        let mut values = vec![None; self.parameters.len()];
        let in_path = self.parameters.iter().zip(&mut values).filter(|(known, _)| known.location == Location::Path);
        for ((parameter, value), captured) in in_path.zip(&parts.captures.0) {
            let text = decode(captured.expose(), false).ok_or_else(|| invalid(parameter, "percent-encoded utf-8"))?;
            *value = Some(parameter.read(text)?);
        }
        self.read_query(parts.query, &mut values)?;
        match (self.declares(Location::Body), parts.body.is_empty()) {
            (true, _) => self.read_body(parts.body, &mut values)?,
            (false, true) => {}
            (false, false) => return Err(ArgumentError::UnexpectedBody),
        }
        let mut given = self.parameters.iter().zip(&values).enumerate();
        match given.find(|(at, (known, value))| known.required && value.is_none() && !self.fills_in(ParamIx(*at))) {
            Some((_, (parameter, _))) => Err(ArgumentError::Missing { name: parameter.name.clone() }),
            None => {
                // What was read is what is passed on; the schema may allow less of it.
                self.checks.beyond(self, parts.body, &values)?;
                Ok(Arguments(values))
            }
        }
    }

    /// Whether a request without that parameter gets the agency's own value before the register is asked.
    fn fills_in(&self, parameter: ParamIx) -> bool {
        self.pushdown.as_ref().is_some_and(|pushdown| pushdown.parameter == parameter)
    }

    /// `application/x-www-form-urlencoded`, as browsers and HTTP clients write a query.
    fn read_query(&self, query: &str, values: &mut [Option<Personal<String>>]) -> Result<(), ArgumentError> {
        for pair in query.split('&').filter(|_| !query.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or(ArgumentError::Query)?;
            let name = decode(name, true).ok_or(ArgumentError::Query)?;
            let (parameter, slot) = self.slot(Location::Query, &name, values)?;
            let value = decode(value, true).ok_or_else(|| invalid(parameter, "percent-encoded utf-8"))?;
            if slot.replace(parameter.read(value)?).is_some() {
                return Err(invalid(parameter, "given once"));
            }
        }
        Ok(())
    }

    /// The parameter of that name in that place, and where its value goes.
    fn slot<'v>(
        &self,
        place: Location,
        name: &str,
        values: &'v mut [Option<Personal<String>>],
    ) -> Result<(&Parameter, &'v mut Option<Personal<String>>), ArgumentError> {
        let mut known = self.parameters.iter().zip(values);
        known.find(|(known, _)| known.location == place && known.name == name).ok_or_else(|| self.undeclared(place))
    }

    pub(super) fn undeclared(&self, place: Location) -> ArgumentError {
        let names = self.parameters.iter().filter(|known| known.location == place).map(|known| known.name.as_str());
        let names: Vec<&str> = names.collect();
        let declared = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        ArgumentError::Undeclared { place: if place == Location::Body { "body" } else { "query" }, declared }
    }

    fn declares(&self, place: Location) -> bool {
        self.parameters.iter().any(|known| known.location == place)
    }
}

impl Parameter {
    /// Checks a value that came as text.
    pub(super) fn read(&self, text: Cow<'_, str>) -> Result<Personal<String>, ArgumentError> {
        if text.is_empty() {
            return Err(invalid(self, "not empty"));
        }
        if text.chars().nth(self.max_length).is_some() {
            return Err(invalid(self, &format!("at most {} characters", self.max_length)));
        }
        if text.chars().any(char::is_control) {
            return Err(invalid(self, "free of control characters"));
        }
        match self.kind {
            Kind::Date if !is_date(&text) => return Err(invalid(self, "a date such as 2001-12-31")),
            Kind::Integer if !is_integer(&text) => return Err(invalid(self, "an integer")),
            Kind::Boolean if !matches!(&*text, "true" | "false") => return Err(invalid(self, "true or false")),
            _ => {}
        }
        if let Role::Limit(most) = self.role
            && !text.parse::<u32>().is_ok_and(|count| (1..=most).contains(&count))
        {
            return Err(invalid(self, &format!("from 1 to {most}")));
        }
        if let Some(pattern) = self.pattern.as_ref().filter(|pattern| !pattern.is_match(&text)) {
            // The pattern is the contract's, so it may be shown; without the anchors that were added when it was read.
            let shown = pattern.as_str();
            let shown = shown.strip_prefix(r"\A(?:").and_then(|rest| rest.strip_suffix(r")\z")).unwrap_or(shown);
            return Err(invalid(self, &format!("matching {shown}")));
        }
        Ok(Personal::new(text.into_owned()))
    }
}

fn invalid(parameter: &Parameter, must_be: &str) -> ArgumentError {
    ArgumentError::Invalid { name: parameter.name.clone(), reason: format!("it must be {must_be}") }
}

/// Undoes percent-encoding (and, in a form, `+` for a space). `None` for what is not encoded UTF-8.
pub(super) fn decode(text: &str, form: bool) -> Option<Cow<'_, str>> {
    if !text.contains(['%', '+']) {
        return Some(Cow::Borrowed(text));
    }
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'%' => {
                decoded.push(hex(bytes.get(at + 1))? << 4 | hex(bytes.get(at + 2))?);
                at += 2;
            }
            b'+' if form => decoded.push(b' '),
            byte => decoded.push(*byte),
        }
        at += 1;
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

/// `YYYY-MM-DD`, and a day that exists.
fn is_date(text: &str) -> bool {
    let form = text
        .bytes()
        .enumerate()
        .all(|(at, byte)| if matches!(at, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() });
    form && text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok()
}

/// The one way to write each 64-bit integer.
fn is_integer(text: &str) -> bool {
    text.parse::<i64>().is_ok_and(|number| number.to_string() == text)
}

/// The largest body of a request, in bytes.
pub(super) const MAX_BODY: usize = 64 * 1024;
