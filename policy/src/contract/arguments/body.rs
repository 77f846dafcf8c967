//! The JSON body of a request: one flat object of declared properties.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::contract::{Kind, Location, Operation, Parameter};
use crate::model::Personal;

use super::{ArgumentError, MAX_BODY, invalid};

impl Operation {
    /// Reads the body. RFC 8259, and of what it leaves open the strict reading: UTF-8, no name twice, nothing after the object.
    pub(super) fn read_body(&self, body: &[u8], values: &mut [Option<Personal<String>>]) -> Result<(), ArgumentError> {
        if body.len() > MAX_BODY {
            return Err(ArgumentError::Body);
        }
        let mut refused = None;
        let mut json = serde_json::Deserializer::from_slice(body);
        let reader = BodyReader { operation: self, values, refused: &mut refused };
        let read = (&mut json).deserialize_map(reader).and_then(|()| json.end());
        match (refused, read) {
            (Some(error), _) => Err(error),
            (None, Err(_)) => Err(ArgumentError::Body),
            (None, Ok(())) => Ok(()),
        }
    }
}

/// What is wrong goes to `refused`; the text of the JSON error is never used, as it may repeat the body.
struct BodyReader<'r, 'v> {
    operation: &'r Operation,
    values: &'v mut [Option<Personal<String>>],
    refused: &'r mut Option<ArgumentError>,
}

impl<'de> Visitor<'de> for BodyReader<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = vec![false; self.values.len()];
        while let Some(name) = map.next_key_seed(Name)? {
            let read = match self.slot(&name, &mut seen) {
                Ok((parameter, at)) => {
                    let value = map.next_value_seed(Scalar)?;
                    read(parameter, value).map(|value| (at, value))
                }
                Err(error) => Err(error),
            };
            match read {
                Ok((at, value)) => {
                    if let Some(slot) = self.values.get_mut(at) {
                        *slot = value;
                    }
                }
                Err(error) => {
                    *self.refused = Some(error);
                    return Err(serde::de::Error::custom("refused"));
                }
            }
        }
        Ok(())
    }
}

impl BodyReader<'_, '_> {
    fn slot(&self, name: &str, seen: &mut [bool]) -> Result<(&Parameter, usize), ArgumentError> {
        let mut known = self.operation.parameters.iter().enumerate();
        let found = known.find(|(_, known)| known.location == Location::Body && known.name == name);
        let (at, parameter) = found.ok_or_else(|| self.operation.undeclared(Location::Body))?;
        let twice = seen.get_mut(at).is_none_or(|seen| std::mem::replace(seen, true));
        if twice { Err(invalid(parameter, "given once")) } else { Ok((parameter, at)) }
    }
}

fn read(parameter: &Parameter, value: Json<'_>) -> Result<Option<Personal<String>>, ArgumentError> {
    let text = match (value, parameter.kind) {
        (Json::Null, _) if parameter.required => return Err(invalid(parameter, "not null")),
        (Json::Null, _) => return Ok(None),
        (Json::Text(text), Kind::String | Kind::Date) => text,
        (Json::Integer(number), Kind::Integer) => Cow::Owned(number.to_string()),
        (Json::Boolean(value), Kind::Boolean) => Cow::Borrowed(if value { "true" } else { "false" }),
        (_, Kind::String) => return Err(invalid(parameter, "a string")),
        (_, Kind::Date) => return Err(invalid(parameter, "a string such as 2001-12-31")),
        (_, Kind::Boolean) => return Err(invalid(parameter, "true or false")),
        (_, Kind::Integer | Kind::Number) => return Err(invalid(parameter, "an integer")),
    };
    parameter.read(text).map(Some)
}

enum Json<'de> {
    Null,
    Boolean(bool),
    Integer(i64),
    Text(Cow<'de, str>),
    Other,
}

/// Reads one value of the object.
struct Scalar;

impl<'de> DeserializeSeed<'de> for Scalar {
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Scalar {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Boolean(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json<'de>, E> {
        Ok(Json::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json<'de>, E> {
        Ok(i64::try_from(value).map_or(Json::Other, Json::Integer))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json<'de>, E> {
        Ok(Json::Other)
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json<'de>, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Json::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json<'de>, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Json::Other)
    }
}

/// Reads a property's name, decoded.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}
