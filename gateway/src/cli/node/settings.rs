//! Where a node is and as whom to ask it, as far as an operator does not type it: the environment, then a file.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{NodeArgs, NodeError};

/// What is needed to ask a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) node: String,
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
    pub(super) ca: PathBuf,
}

/// The file; paths in it are relative to its folder.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    node: Option<String>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    ca: Option<PathBuf>,
}

impl Settings {
    /// What was typed, else what the environment says, else what the file says, each by itself; `None` if none names a node.
    /// `variable` reads the environment.
    pub(super) fn of(typed: &NodeArgs, variable: impl Fn(&str) -> Option<OsString>) -> Result<Option<Self>, NodeError> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let file = match place(&variable) {
            Some(path) => read(&path)?,
            None => File::default(),
        };
        let named = variable("POPGATE_NODE").map(|node| node.to_string_lossy().into_owned());
        let Some(node) = typed.node.clone().or(named).or(file.node) else {
            return match typed.cert.is_some() || typed.ca.is_some() {
                true => Err(NodeError::Missing { what: "--node", variable: "POPGATE_NODE", key: "node" }),
                false => Ok(None),
            };
        };
        let pick = |typed: &Option<PathBuf>, name: &str, file: Option<PathBuf>| {
            typed.clone().or_else(|| variable(name).map(PathBuf::from)).or(file)
        };
        let missing = |what, variable, key| move || NodeError::Missing { what, variable, key };
        Ok(Some(Self {
            node,
            cert: pick(&typed.cert, "POPGATE_NODE_CERT", file.cert).ok_or_else(missing(
                "--cert",
                "POPGATE_NODE_CERT",
                "cert",
            ))?,
            key: pick(&typed.key, "POPGATE_NODE_KEY", file.key).ok_or_else(missing(
                "--key",
                "POPGATE_NODE_KEY",
                "key",
            ))?,
            ca: pick(&typed.ca, "POPGATE_NODE_CA", file.ca).ok_or_else(missing("--ca", "POPGATE_NODE_CA", "ca"))?,
        }))
    }
}

/// `$XDG_CONFIG_HOME/popgate/node.toml`, else `~/.config/popgate/node.toml`.
fn place(variable: &impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = variable("XDG_CONFIG_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let folder = folder.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".config")))?;
    Some(folder.join("popgate/node.toml"))
}

fn read(path: &Path) -> Result<File, NodeError> {
    let name = || path.display().to_string();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(File::default()),
        Err(source) => return Err(NodeError::File { file: name(), source }),
    };
    let mut file: File = toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| text.get(..span.start).unwrap_or_default().matches('\n').count() + 1);
        NodeError::Settings { file: name(), line, why: error.message().to_owned() }
    })?;
    let folder = path.parent().unwrap_or(path);
    for path in [&mut file.cert, &mut file.key, &mut file.ca].into_iter().flatten() {
        *path = folder.join(&*path);
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(typed: &NodeArgs, variables: &[(&str, &str)]) -> Result<Option<Settings>, String> {
        let variable = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        Settings::of(typed, variable).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_typed_goes_before_the_environment_and_that_before_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().to_str().unwrap();
        assert_eq!(of(&NodeArgs::default(), &[("HOME", home)]), Ok(None));
        std::fs::create_dir(dir.path().join("popgate")).unwrap();
        let file = dir.path().join("popgate/node.toml");
        std::fs::write(&file, "node = \"https://a\"\ncert = \"me.pem\"\nkey = \"/k/me.key\"\nca = \"ca.pem\"\n")
            .unwrap();
        let typed = NodeArgs { ca: Some("typed.pem".into()), ..NodeArgs::default() };
        let found = of(&typed, &[("XDG_CONFIG_HOME", home), ("POPGATE_NODE", "https://b"), ("HOME", "/none")]);
        let expected = Settings {
            node: "https://b".into(),
            cert: dir.path().join("popgate/me.pem"),
            key: "/k/me.key".into(),
            ca: "typed.pem".into(),
        };
        assert_eq!(found, Ok(Some(expected)));
        std::fs::write(&file, "node = \"https://a\"\ncerts = \"me.pem\"\n").unwrap();
        let wrong = of(&typed, &[("XDG_CONFIG_HOME", home)]).unwrap_err();
        assert!(wrong.contains("node.toml` line 2: unknown field `certs`"), "{wrong}");
    }

    #[test]
    fn what_is_missing_is_named_with_every_place_for_it() {
        let wrong = of(&NodeArgs::default(), &[("POPGATE_NODE", "https://b")]).unwrap_err();
        assert!(wrong.contains("--cert") && wrong.contains("POPGATE_NODE_CERT") && wrong.contains("`cert`"), "{wrong}");
        let typed = NodeArgs { cert: Some("me.pem".into()), ..NodeArgs::default() };
        assert!(of(&typed, &[]).unwrap_err().contains("--node"));
    }
}
