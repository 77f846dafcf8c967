//! Promise: whatever an agency received any byte of has its durable record; the record says what was shown and why; nobody can
//! change it unseen; and without room for it nothing is shown.

mod disk;
mod killed;
mod log;
mod tamper;

use std::collections::BTreeSet;
use std::path::Path;

use popgate::audit::{AuditKey, Entry, IntentEntry, RefusedEntry, What, read};
use popgate::custody;
use popgate_demo::client::Answer;
use popgate_demo::deployment::Site;
use serde_json::Value;

/// Everything that a site's log holds, unsealed.
fn entries(site: &Site) -> Vec<Entry> {
    read::entries(&site.audit(), Some(&key(site.dir()))).unwrap().map(Result::unwrap).collect()
}

fn key(site: &Path) -> AuditKey {
    AuditKey::new(custody::symmetric_key(&site.join("keys/audit.key")).unwrap())
}

/// The id of an answer's disclosure.
fn id(answer: &Answer) -> String {
    answer.headers["gateway-request-id"].to_str().unwrap().to_owned()
}

/// The intent of a disclosure.
fn intent<'e>(entries: &'e [Entry], id: &str) -> Option<&'e IntentEntry> {
    entries.iter().find_map(|entry| match &entry.what {
        What::Intent(intent) if intent.disclosure.to_string() == id => Some(&**intent),
        _ => None,
    })
}

/// The refusal of a request.
fn refused<'e>(entries: &'e [Entry], id: &str) -> Option<&'e RefusedEntry> {
    entries.iter().find_map(|entry| match &entry.what {
        What::Refused(refused) if refused.disclosure.to_string() == id => Some(&**refused),
        _ => None,
    })
}

/// The names of the leaves of an answer, without the schema's own: `permanent_residence.province`.
fn leaves(answer: &Value) -> BTreeSet<String> {
    fn walk(value: &Value, path: &str, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    walk(member, &path, found);
                }
            }
            _ => {
                found.insert(path.to_owned());
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(answer, "", &mut found);
    found
}
