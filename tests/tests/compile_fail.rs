//! Promise: no data leaves without a permit and a durable record, as a fact of the types: what would break it does not compile.
//!
//! Each file in `compile_fail/` is compiled as somebody outside the crates would write it. `//~ E0451` at the end of a line
//! says that this line is refused, and why: the compiler must refuse all these lines for these reasons, and no other.
//! (Not with trybuild: it builds every dependency a second time, which takes longer than all other tests together.)

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use popgate_policy::disclose::{PseudonymKey, Raw};
use popgate_policy::model::Personal;
use popgate_tests::build;
use serde_json::Value;

#[test]
fn what_would_break_the_walls_does_not_compile() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compile_fail");
    let mut cases: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 12, "{cases:?}");
    let wrong: Vec<_> = cases.iter().filter_map(|case| judge(case).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// That the harness would see a wall that fell.
#[test]
fn what_keeps_to_the_walls_compiles() {
    let dir = tempfile::tempdir().unwrap();
    let case = dir.path().join("good.rs");
    fs::write(
        &case,
        "use popgate::respond::{self, Body};\nuse popgate_policy::{disclose::{Raw, Redacted, Secrets}, permit::Permit};\n\
         pub fn open(permit: Permit, raw: &Raw, key: &Secrets) -> Option<Redacted> { permit.open(raw, key).ok() }\n\
         pub fn answer(redacted: Redacted, receipt: popgate::audit::Receipt, closing: popgate::audit::Closing, \
         ticket: popgate::admit::Ticket) -> http::Response<Body> \
         { let covered = respond::Covered { redacted, receipt, closing, persons: vec![] }; \
         respond::disclosure(covered, ticket, false).unwrap() }\nfn main() {}\n",
    )
    .unwrap();
    assert_eq!(judge(&case), Ok(()));
    let text = fs::read_to_string(&case).unwrap();
    fs::write(&case, text.replace("fn main() {}", "fn main() {} //~ E0451")).unwrap();
    assert!(judge(&case).is_err());
}

#[test]
fn printing_what_nobody_may_see_prints_its_length() {
    let raw = Raw::seal(Bytes::from_static(b"{\"full_name\":\"Le Thi Hoa\"}"));
    assert_eq!(format!("{raw:?} {raw:#?}"), "<raw, 26 bytes> <raw, 26 bytes>");
    let number = Personal::new("001187974118".to_owned());
    assert_eq!(format!("{number} {number:?} {number:#?} {number:>4}"), ["<personal, 12 bytes>"; 4].join(" "));
    assert_eq!(format!("{:?}", Some(&number)), "Some(<personal, 12 bytes>)");
    assert_eq!(format!("{:?}", PseudonymKey::new([7; 32])), "<pseudonym key>");
    assert_eq!(format!("{:?}", popgate::audit::AuditKey::new([7; 32])), "<audit key>");
}

/// Compares what the compiler refuses with what the case says.
fn judge(case: &Path) -> Result<(), String> {
    let text = fs::read_to_string(case).unwrap();
    let expected: BTreeSet<String> = (1..)
        .zip(text.lines())
        .filter_map(|(number, line)| line.split_once("//~ ").map(|(_, code)| format!("{number} {}", code.trim())))
        .collect();
    let refused = compile(case);
    let found: BTreeSet<String> = refused.iter().map(|(at, _)| at.clone()).collect();
    if found == expected {
        return Ok(());
    }
    let missed: Vec<_> = expected.difference(&found).collect();
    let name = case.file_name().unwrap_or_default().display();
    Err(format!("{name}: not refused: {missed:?}; refused: {refused:#?}"))
}

/// What the compiler refuses of a file: `line code`, and its message.
fn compile(case: &Path) -> Vec<(String, String)> {
    let popgate = build::library("popgate");
    let out = tempfile::tempdir().unwrap();
    let mut rustc = Command::new(std::env::var_os("RUSTC").map_or_else(|| PathBuf::from("rustc"), PathBuf::from));
    rustc.args(["--edition=2024", "--crate-type=bin", "--emit=metadata", "--error-format=json", "--cap-lints=allow"]);
    rustc.arg("--out-dir").arg(out.path());
    let mut folder = std::ffi::OsString::from("dependency=");
    folder.push(popgate.parent().unwrap());
    rustc.arg("-L").arg(folder);
    for name in ["popgate", "popgate_policy", "bytes", "http", "http_body_util", "serde_json", "tokio"] {
        rustc.arg("--extern").arg(format!("{name}={}", build::library(name).display()));
    }
    let output = rustc.arg(case).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let refused: Vec<_> = said
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|diagnostic| diagnostic["level"] == "error" && diagnostic["spans"][0].is_object())
        .map(|diagnostic| {
            let primary = diagnostic["spans"].as_array().into_iter().flatten().find(|span| span["is_primary"] == true);
            let at = primary.map_or(&Value::Null, |span| &span["line_start"]);
            let code = diagnostic["code"]["code"].as_str().unwrap_or("error");
            (format!("{at} {code}"), diagnostic["message"].as_str().unwrap_or_default().to_owned())
        })
        .collect();
    assert_eq!(output.status.success(), refused.is_empty(), "{}: {said}", case.display());
    refused
}
