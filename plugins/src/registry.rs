//! Kinds by name, and from a table to a configured plugin.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use toml::de::DeTable;

use crate::configured::{AppliesTo, Configured, OnError};
use crate::kinds;
use crate::plugin::Blueprint;
use crate::settings::{Document, Settings};

/// Reads what is a kind's own of a table; what is wrong with it is noted in the settings, and `None` is answered.
pub type Constructor = fn(&Settings<'_>) -> Option<Arc<dyn Blueprint>>;

/// The kinds that a table can name.
#[derive(Clone, Debug)]
pub struct Registry(BTreeMap<&'static str, Constructor>);

impl Registry {
    /// The kinds of this crate.
    pub fn built_in() -> Self {
        Self(BTreeMap::from(kinds::BUILT_IN))
    }

    /// The same with one kind more.
    #[must_use]
    pub fn with(mut self, kind: &'static str, constructor: Constructor) -> Self {
        self.0.insert(kind, constructor);
        self
    }

    /// Reads `[plugins.<name>]`, whose name stands at `span`. `None` if something is wrong with it, which the document then says.
    pub fn read<'r>(
        &self,
        document: &'r Document<'r>,
        name: &str,
        span: Range<usize>,
        table: &'r DeTable<'r>,
    ) -> Option<Configured> {
        let settings = Settings::new(document, format!("plugins.{name}"), table, span.clone());
        let good_name = is_name(name);
        if !good_name {
            let message = format!("`{name}` is not a plugin's name: lower-case letters, digits and hyphens");
            settings.wrong("bad-id", span, message);
        }
        let kinds: Vec<(&'static str, Constructor)> = self.0.iter().map(|(name, kind)| (*name, *kind)).collect();
        let kind = settings.required("kind", |settings, value| settings.choice(value, &kinds));
        let applies_to = AppliesTo::read(&settings);
        let deadline = settings.optional("deadline", |settings, value| settings.duration(value, LONGEST));
        let choices = [("refuse", OnError::Refuse), ("ignore", OnError::Ignore)];
        let on_error = settings.optional("on_error", |settings, value| settings.choice(value, &choices));
        // Without its kind no other key can be judged.
        let blueprint = kind?(&settings);
        let mentions = settings.finish();
        good_name.then_some(())?;
        Some(Configured {
            name: Arc::from(name),
            applies_to,
            deadline: deadline.unwrap_or(DEADLINE),
            on_error: on_error.unwrap_or_default(),
            blueprint: blueprint?,
            mentions,
        })
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::built_in()
    }
}

fn is_name(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=40).contains(&name.len()) && name.bytes().all(letter)
}

const DEADLINE: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
