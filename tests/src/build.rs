//! What cargo makes of this source tree: built when a test asks for it, so that no test runs yesterday's.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

/// The `popgate` binary, of the profile that the test itself is of.
///
/// # Panics
/// If it cannot be built.
pub fn popgate() -> &'static Path {
    &built().binary
}

/// A library that `popgate` is made of, or that it uses.
///
/// # Panics
/// If it is none, or cannot be built.
#[expect(clippy::panic, reason = "what a test links against must be there")]
pub fn library(name: &str) -> &'static Path {
    match built().libraries.iter().find(|(found, _)| found == name) {
        Some((_, path)) => path,
        None => panic!("popgate does not use `{name}`"),
    }
}

struct Built {
    binary: PathBuf,
    libraries: Vec<(String, PathBuf)>,
}

#[expect(clippy::panic, reason = "without the binary the test cannot go on")]
fn built() -> &'static Built {
    static BUILT: OnceLock<Built> = OnceLock::new();
    BUILT.get_or_init(|| match build() {
        Ok(built) => built,
        Err(error) => panic!("popgate cannot be built: {error}"),
    })
}

fn build() -> Result<Built, String> {
    // `target/<profile>/deps/<this test>`.
    let test = std::env::current_exe().map_err(|error| error.to_string())?;
    let folder = test.parent().and_then(Path::parent).ok_or("the test is in no target folder")?;
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    // The whole workspace is selected, and with a test: another selection would unify other features, and build everything anew.
    let output = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--message-format=json", "--workspace", "--bin", "popgate", "--test", "promises"])
        .args(["--profile", profile, "--manifest-path"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"))
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let libraries = String::from_utf8_lossy(&output.stdout).lines().filter_map(library_of).collect();
    Ok(Built { binary: folder.join("popgate"), libraries })
}

/// Name and file, if cargo's message is about a library.
fn library_of(message: &str) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(message).ok()?;
    let name = message.get("target")?.get("name")?.as_str()?;
    let mut files = message.get("filenames")?.as_array()?.iter().filter_map(Value::as_str);
    let file = files.find(|file| file.ends_with(".rlib"))?;
    Some((name.to_owned(), file.into()))
}
