//! `[admin]`: who may ask the admin listener, and what.

use std::collections::BTreeMap;
use std::path::Path;

use popgate_policy::model::RegisterId;

use super::section::{Reader, Section};
use super::{Admin, Operator, Register, Role, read};

type Registers = BTreeMap<RegisterId, Register>;

pub(super) fn parse(reader: &Reader<'_>, section: Section<'_>, registers: &Registers, folder: &Path) -> Admin {
    let client_cas = section.optional("client_cas", read::pattern(folder));
    let mut operators: BTreeMap<String, Operator> = BTreeMap::new();
    for (name, section) in section.named_sections("operators") {
        let identity = section.required("identity", read::identity);
        let roles = section.required("roles", read::list(read::role));
        if let Some((other, _)) = operators.iter().find(|(_, operator)| Some(&operator.identity) == identity.as_ref()) {
            let message = format!("operators `{other}` and `{name}` have the same identity");
            reader.wrong("same-identity", section.place("identity"), message);
        }
        let register = register(reader, &section, roles.as_deref().unwrap_or_default(), registers);
        section.finish();
        if let (Some(identity), Some(roles)) = (identity, roles) {
            operators.insert(name, Operator { identity, roles, register });
        }
    }
    section.finish();
    Admin { client_cas, operators }
}

/// The register that tells of its changes. It is not a person: what people may do, it may not.
fn register(reader: &Reader<'_>, section: &Section<'_>, roles: &[Role], registers: &Registers) -> Option<RegisterId> {
    let typed = section.optional("register", read::text);
    let is_register = roles.contains(&Role::Register);
    if is_register && roles.iter().any(|role| *role != Role::Register) {
        let help = "enrol who operates the node under a name of their own";
        reader.mend("role-not-alone", section.place("roles"), "no other role goes with the role `register`", help);
    }
    if is_register && !section.has("register") {
        let help = "name the register, such as `register = \"population\"`";
        reader.mend("missing-key", section.place("roles"), "the role `register` without `register`", help);
    }
    let typed = typed?;
    if !is_register && section.has("roles") {
        let help = "write `roles = [\"register\"]`, or remove it";
        reader.mend("register-without-role", section.place("register"), "`register` without the role `register`", help);
    }
    let found = registers.keys().find(|register| register.as_str() == typed).cloned();
    if found.is_none() {
        let known: Vec<&str> = registers.keys().map(RegisterId::as_str).collect();
        let message = format!("there is no `[registers.{typed}]`");
        reader.suggest("unknown-register", section.place("register"), message, typed, &known);
    }
    found
}
