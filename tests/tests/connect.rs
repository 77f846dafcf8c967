//! Promise: whoever follows `deploy/CONNECT.md` sees what it shows, and finds every refusal in its table.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use http::StatusCode;
use popgate_demo::deployment::AGENCIES;
use popgate_tests::Harness;
use popgate_tests::guide::{Step, bash, normalised, steps};

#[test]
fn every_step_prints_what_it_shows() {
    let harness = Harness::start();
    let (site, gateway) = (&harness.deployment.site, &harness.deployment.gateway);
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(site.gateway_authority(), folder.path().join("gateway-ca.pem")).unwrap();
    let here = |command: &str| {
        let command = command.replace(HTTPS, &format!("https://localhost:{}", gateway.https().port()));
        command.replace(WHOAMI, &format!("https://localhost:{}", gateway.whoami().unwrap().port()))
    };
    let steps = steps(&guide());
    let ran = steps.iter().filter(|step| matches!(step, Step::Run { .. })).count();
    assert!(
        ran >= 8 && steps.iter().any(|step| matches!(step, Step::Note { said, .. } if signed(said).is_some())),
        "the commands of the guide are not found: {steps:#?}"
    );
    for step in steps {
        match step {
            Step::Note { said, .. } => {
                if let Some(name) = signed(&said) {
                    sign(name, &site.authority(AGENCIES).unwrap().certificate_file(), folder.path());
                }
            }
            Step::Run { command, shown } => {
                let printed = bash(&here(&command), folder.path(), None);
                assert_eq!(normalised(&printed), normalised(&shown), "$ {command}\nprints\n{printed}");
            }
        }
    }
}

#[test]
fn every_refusal_is_in_the_table() {
    let told: BTreeMap<String, (StatusCode, bool)> = guide().lines().filter_map(row).collect();
    let source = std::fs::read_to_string(root().join("gateway/src/refusal.rs")).unwrap();
    let known = refusals(&source);
    assert!(known.len() > 30, "the refusals are not found in refusal.rs: {known:#?}");
    let missing: Vec<_> = known.iter().filter(|(code, _)| !told.contains_key(*code)).collect();
    assert!(missing.is_empty(), "add to the table of deploy/CONNECT.md (code, status, again): {missing:#?}");
    assert_eq!(told, known, "the table of deploy/CONNECT.md differs from refusal.rs");
}

#[test]
fn every_error_of_x_road_is_in_its_table() {
    let source = std::fs::read_to_string(root().join("gateway/src/xroad.rs")).unwrap();
    let shipped = source.split("#[cfg(test)]").next().unwrap();
    let quoted: BTreeSet<&str> = shipped.split('"').skip(1).step_by(2).collect();
    let is_type = |text: &&&str| text.starts_with("Server.") || text.starts_with("Client.");
    let types: Vec<&&str> = quoted.iter().filter(is_type).collect();
    assert!(types.len() >= 10, "the types are not found in xroad.rs: {types:?}");
    let page = guide();
    let (_, table) = page.split_once("| `X-Road-Error` | status |").unwrap();
    let table = table.split("\n\n").next().unwrap();
    for kind in types {
        // Those of one side are listed without it.
        let last = &kind[kind.rfind('.').unwrap()..];
        assert!(table.contains(&format!("{last}`")), "add `{kind}` to the table of deploy/CONNECT.md");
    }
}

#[test]
fn every_link_leads_somewhere() {
    for page in ["deploy/CONNECT.md", "deploy/samples/README.md"] {
        let page = root().join(page);
        let text = std::fs::read_to_string(&page).unwrap();
        let links: Vec<_> = text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
        assert!(!links.is_empty());
        for link in links {
            assert!(page.parent().unwrap().join(link).exists(), "{}: `{link}` is not there", page.display());
        }
    }
}

/// The authority issues what a `.csr` asks for, as a `.crt` of that name.
fn signed(note: &str) -> Option<&str> {
    note.strip_prefix(SIGN)?.strip_suffix(".crt")
}

fn sign(name: &str, authority: &Path, folder: &Path) {
    let command = format!(
        "openssl x509 -req -in {name}.csr -CA '{}' -CAkey '{}' -copy_extensions copy -days 10 -out {name}.crt",
        authority.display(),
        authority.with_extension("key").display(),
    );
    bash(&command, folder, None);
}

/// Code, status and whether to come again, of a row of the guide's table.
fn row(line: &str) -> Option<(String, (StatusCode, bool))> {
    let cells: Vec<_> = line.strip_prefix("| `")?.split(" | ").collect();
    let [code, status, again, remedy] = cells.as_slice() else { return None };
    let status = StatusCode::from_bytes(status.as_bytes()).ok()?;
    assert!(["yes", "no"].contains(again) && remedy.ends_with(" |"), "{line}");
    Some((code.trim_end_matches('`').to_owned(), (status, *again == "yes")))
}

/// The same of the source, where two matches over all variants say it: `row` has code and status, `retry_after` when to come again.
fn refusals(source: &str) -> BTreeMap<String, (StatusCode, bool)> {
    let source: String = source.split_whitespace().collect();
    let body = |name: &str| {
        let (_, from) = source.split_once(&format!("fn{name}(&self)")).unwrap();
        from.split("fn").next().unwrap().to_owned()
    };
    let variant = |arm: &str| arm.chars().take_while(char::is_ascii_alphanumeric).collect::<String>();
    let mut never = BTreeSet::new();
    let mut pending = Vec::new();
    for arm in body("retry_after").split("Self::").skip(1) {
        pending.push(variant(arm));
        if let Some((_, answer)) = arm.split_once("=>") {
            if answer.starts_with("None") {
                never.extend(pending.iter().cloned());
            }
            pending.clear();
        }
    }
    let of = |arm: &str| {
        let (_, rest) = arm.split_once("(\"").unwrap_or_else(|| unreachable!("an arm without a code: {arm}"));
        let (code, rest) = rest.split_once("\",S::").unwrap();
        let name = rest.split(',').next().unwrap();
        let all = (400..600).filter_map(|number| StatusCode::from_u16(number).ok());
        let named = |status: &StatusCode| {
            status.canonical_reason().is_some_and(|reason| reason.to_uppercase().replace([' ', '-'], "_") == name)
        };
        let mut found = all.filter(named);
        (code.to_owned(), (found.next().unwrap(), !never.contains(&variant(arm))))
    };
    body("row").split("Self::").skip(1).map(of).collect()
}

fn guide() -> String {
    std::fs::read_to_string(root().join("deploy/CONNECT.md")).unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

const HTTPS: &str = "https://gateway.example:8443";
const WHOAMI: &str = "https://gateway.example:8444";
const SIGN: &str = "the authority answers: ";
