//! Reading a request's parameters strictly.

use crate::contract::{Captures, Operation, ParamIx};
use crate::model::Personal;

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
    /// The body is not a JSON object.
    #[error("the body is not a json object")]
    Body,
}

impl Operation {
    /// Reads the parameters.
    ///
    /// # Errors
    /// [`ArgumentError`] for the first parameter that is not as the contract says.
    pub fn arguments(&self, _parts: RequestParts<'_>) -> Result<Arguments, ArgumentError> {
        Err(ArgumentError::Body)
    }
}
