//! Guides whose commands are run, so that what they show stays true.

use std::collections::VecDeque;
use std::path::Path;
use std::process::Command;

use jiff::Timestamp;

/// One thing that a reader of a guide does.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// What an invisible comment says, such as `<!-- the authority answers: etax.crt -->`, with the fenced block right behind it, if it is
    /// no `console`.
    Note {
        /// The comment's text.
        said: String,
        /// The block's lines.
        block: String,
    },
    /// A command of a `console` block, and what stands under it.
    Run {
        /// What the reader types.
        command: String,
        /// What the guide shows.
        shown: String,
    },
}

/// The steps of a guide, in its order.
///
/// # Panics
/// If a `console` block does not begin with a command.
#[expect(clippy::panic, reason = "a guide that cannot be read fails its test")]
pub fn steps(guide: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut lines: VecDeque<&str> = guide.lines().collect();
    while let Some(line) = lines.pop_front() {
        if let Some(said) = line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->")) {
            while lines.front().is_some_and(|line| line.is_empty()) {
                lines.pop_front();
            }
            let has_block = lines.front().is_some_and(|line| line.starts_with("```") && *line != CONSOLE);
            let block = if has_block { block(&mut lines) } else { String::new() };
            steps.push(Step::Note { said: said.to_owned(), block });
        } else if line == CONSOLE {
            lines.push_front(line);
            for line in block(&mut lines).lines() {
                match (line.strip_prefix("$ "), steps.last_mut()) {
                    (Some(command), _) => steps.push(Step::Run { command: command.to_owned(), shown: String::new() }),
                    (None, Some(Step::Run { shown, .. })) => {
                        shown.push_str(line);
                        shown.push('\n');
                    }
                    (None, _) => panic!("a block that does not begin with a command: {line}"),
                }
            }
        }
    }
    steps
}

/// The guide with what its commands print now, in their order.
pub fn with_outputs<'o>(guide: &str, mut printed: impl Iterator<Item = &'o str>) -> String {
    let mut page = String::new();
    let mut inside = false;
    for line in guide.lines() {
        let command = inside && line.starts_with("$ ");
        if !inside || command || line == FENCE {
            page.push_str(line);
            page.push('\n');
        }
        if command {
            let printed = printed.next().unwrap_or_default().trim_end();
            page.push_str(printed);
            page.push_str(if printed.is_empty() { "" } else { "\n" });
        }
        inside = if inside { line != FENCE } else { line == CONSOLE };
    }
    page
}

/// What a command prints in that folder, mistakes too; it must succeed. `path` goes before the folders in which programs are sought.
///
/// # Panics
/// If it does not succeed.
#[expect(clippy::panic, reason = "a command of a guide that fails fails its test")]
pub fn bash(command: &str, folder: &Path, path: Option<&Path>) -> String {
    let mut bash = Command::new("bash");
    bash.args(["-o", "pipefail", "-c", &format!("exec 2>&1; {command}")]).current_dir(folder);
    // The runner's own settings must not decide whom curl trusts, nor through whom it goes.
    for variable in ["SSL_CERT_FILE", "CURL_CA_BUNDLE", "CURL_HOME"] {
        bash.env_remove(variable);
    }
    if let Some(path) = path {
        let known = std::env::var("PATH").unwrap_or_default();
        bash.env("PATH", format!("{}:{known}", path.display()));
    }
    let output = match bash.env("NO_PROXY", "localhost").env("no_proxy", "localhost").output() {
        Ok(output) => output,
        Err(error) => panic!("no bash: {error}"),
    };
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "$ {command}\n{printed}");
    printed
}

/// Without what is another at each run: times, serial numbers, hashes, and what the two libraries of TLS agree on.
pub fn normalised(text: &str) -> Vec<String> {
    let word = |word: &str| match word.parse::<Timestamp>() {
        Ok(_) => "(time)".to_owned(),
        Err(_) if word.len() >= 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-') => {
            "(number)".to_owned()
        }
        // SHA-512 in base64.
        Err(_) if word.len() == 88 && word.ends_with("==") => "(hash)".to_owned(),
        Err(_) if word.starts_with("pin:sha256:") => "(pin)".to_owned(),
        Err(_) => word.to_owned(),
    };
    let line = |line: &str| match line.starts_with("connection ") {
        true => "connection".to_owned(),
        false => line.split(' ').map(word).collect::<Vec<_>>().join(" "),
    };
    text.trim_end().lines().map(line).collect()
}

/// The lines of the fenced block that begins there.
fn block(lines: &mut VecDeque<&str>) -> String {
    lines.pop_front();
    let mut block = String::new();
    while let Some(line) = lines.pop_front().filter(|line| *line != FENCE) {
        block.push_str(line);
        block.push('\n');
    }
    block
}

const CONSOLE: &str = "```console";
const FENCE: &str = "```";
