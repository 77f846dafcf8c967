//! A yes or no of a register that is asked for nothing else, such as a register of consents.

use std::fmt;

use serde::Deserializer as _;
use serde::de::{self, IgnoredAny, MapAccess, Visitor};

use crate::disclose::{MAX_BUFFERED, Raw};

impl Raw {
    /// What a member at the top of a JSON object says, if that is a boolean and stands there once. Anything else is no answer.
    ///
    /// For answers that are no records. MUST be called in one place only, the one where a plugin's question is answered: the
    /// architecture test sees to it.
    pub fn verdict(self, member: &str) -> Option<bool> {
        if self.len() > MAX_BUFFERED {
            return None;
        }
        let mut reader = serde_json::Deserializer::from_slice(self.bytes());
        let said = reader.deserialize_map(Verdict(member)).ok()?;
        reader.end().ok()?;
        said
    }
}

struct Verdict<'m>(&'m str);

impl<'de> Visitor<'de> for Verdict<'_> {
    type Value = Option<bool>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut said = None;
        while let Some(name) = members.next_key::<String>()? {
            if name != self.0 {
                members.next_value::<IgnoredAny>()?;
            } else if said.replace(members.next_value::<bool>()?).is_some() {
                return Err(de::Error::custom("it stands twice"));
            }
        }
        Ok(said)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn only_one_plain_boolean_is_a_verdict() {
        let says = |text: &'static str| Raw::seal(Bytes::from_static(text.as_bytes())).verdict("consent");
        assert_eq!(says(r#"{"consent":true}"#), Some(true));
        assert_eq!(says(r#" {"since":"2026-01-01","of":{"consent":true},"consent":false} "#), Some(false));
        assert_eq!(says(r#"{"c\u006fnsent":true}"#), Some(true));
        for none in [
            "",
            "true",
            "{}",
            r#"{"consent":"true"}"#,
            r#"{"consent":1}"#,
            r#"{"consent":null}"#,
            r#"{"Consent":true}"#,
            r#"{"of":{"consent":true}}"#,
            r#"[{"consent":true}]"#,
            r#"{"consent":true,"consent":true}"#,
            r#"{"consent":true,"c\u006fnsent":false}"#,
            r#"{"consent":true}{"#,
            r#"{"consent":true"#,
            "<html>OK</html>",
        ] {
            assert_eq!(says(none), None, "{none}");
        }
    }
}
