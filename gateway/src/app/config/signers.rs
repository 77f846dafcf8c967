//! `[break_glass.keys]` and `[bundle.keys]`: whose signatures count.

use super::read;
use super::section::{Reader, Section};
use crate::signed::{Keys, PublicKey, is_name};

/// The keys of a section; that there are none is said. `section` is its path, `command` the one that makes a key.
pub(super) fn keys(reader: &Reader<'_>, section: &Section<'_>, path: &str, command: &str) -> Option<Keys> {
    let mut keys = Keys::default();
    if !section.has("keys") {
        let help =
            format!("add a section `[{path}.keys]` with a line for each who may sign: `{command} NAME` prints it");
        let message = format!("nobody may sign: `keys` is missing in `[{path}]`");
        reader.mend("missing-key", section.span(), message, help);
    }
    for (name, value) in section.values("keys")? {
        let (at, typed) = (name.span(), name.get_ref().as_ref());
        if !is_name(typed) {
            let message = format!("`{typed}` cannot be the name of a key: lower-case letters, digits and `-`");
            reader.wrong("bad-name", at, message);
            continue;
        }
        let Some(key) = read::text(reader, value) else { continue };
        let Some(key) = PublicKey::parse(key) else {
            let help = format!("`\"ed25519:\"` and 32 bytes in base64, as `{command} NAME` prints it");
            reader.mend("bad-key", value.span(), format!("the key of `{typed}` cannot be read"), help);
            continue;
        };
        if let Err(other) = keys.add(typed, key) {
            let message = format!("`{typed}` has the key of `{other}`: one person would count as two");
            reader.wrong("same-key", value.span(), message);
        }
    }
    Some(keys)
}
