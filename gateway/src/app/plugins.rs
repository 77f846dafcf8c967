//! The plugins' files, and what an operator is told of plugins.

use std::fs;
use std::path::Path;

use popgate_plugins::{Chain, Files, Unusable};
use popgate_policy::bundle::Bundle;
use popgate_policy::problem::{Problem, Severity};

use crate::app::node::Node;
use crate::custody;

/// Files of this machine.
#[derive(Clone, Copy, Debug)]
pub struct SiteFiles;

impl Files for SiteFiles {
    fn key(&self, path: &Path) -> Result<[u8; 32], Unusable> {
        custody::symmetric_key(path).map_err(|error| Unusable(error.to_string()))
    }

    fn text(&self, path: &Path) -> Result<String, Unusable> {
        let unusable = |error: &dyn std::fmt::Display| Unusable(format!("`{}`: {error}", path.display()));
        let bytes = fs::read(path).map_err(|error| unusable(&error))?;
        String::from_utf8(bytes).map_err(|_| unusable(&"it is not UTF-8"))
    }
}

/// Puts changed files of plugins in force; what is wrong is said, and the last good stays.
pub fn reload(node: &Node) {
    for reloaded in node.plugins.reload(&SiteFiles) {
        let plugin = &*reloaded.plugin;
        match reloaded.outcome {
            Ok(said) => {
                node.metrics.plugin_reloads.accepted.inc();
                tracing::info!(plugin, %said, "a plugin's files were read again");
            }
            Err(error) => {
                node.metrics.plugin_reloads.refused.inc();
                tracing::error!(plugin, %error, "a plugin's files are refused; the last good ones stay in force");
            }
        }
    }
}

/// Names that plugins' tables mention and the bundle before had: without them a plugin would silently take less. Errors.
pub fn lost_names(chain: &Chain, before: &Bundle, bundle: &Bundle) -> Vec<Problem> {
    let unknown = chain.unknown_in(bundle);
    if unknown.is_empty() {
        return unknown;
    }
    let before = chain.unknown_in(before);
    let is_new = |problem: &Problem| !before.iter().any(|known| (known.at, &known.text) == (problem.at, &problem.text));
    let lost = unknown.into_iter().filter(is_new).map(|problem| Problem { severity: Severity::Error, ..problem });
    lost.map(|problem| problem.help("change the plugin's table first, then restart")).collect()
}

/// A plugin whose table names what the bundle does not have does less than its author meant.
pub fn warn_of_unknown_names(chain: &Chain, bundle: &Bundle) {
    for problem in chain.unknown_in(bundle) {
        tracing::warn!(%problem, "a plugin's table");
    }
}
