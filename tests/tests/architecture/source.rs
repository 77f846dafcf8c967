//! Reading the project's sources, as far as the architecture test needs it: without comments, strings and tests.

use std::path::{Path, PathBuf};

/// A source file.
pub(super) struct File {
    /// Relative to the workspace.
    pub(super) path: String,
    /// As written.
    pub(super) text: String,
}

/// The workspace's folder.
pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every Rust file of the workspace, by path.
pub(super) fn files() -> Vec<File> {
    let root = root();
    let mut found = Vec::new();
    for top in ["policy", "plugins", "gateway", "deploy", "benches", "tests"] {
        walk(&root, &root.join(top), &mut found);
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    assert!(found.len() > 100, "the sources are not where this test looks for them");
    found
}

/// The files under a path that ship: none that is compiled for tests alone.
pub(super) fn of(prefix: &str) -> Vec<File> {
    let all = files();
    let tests: Vec<String> = all.iter().flat_map(File::test_modules).collect();
    let ships =
        |path: &str| !tests.iter().any(|test| path == format!("{test}.rs") || path.starts_with(&format!("{test}/")));
    all.into_iter().filter(|file| file.path.starts_with(prefix) && ships(&file.path)).collect()
}

/// The identifiers of a piece of code.
pub(super) fn tokens(code: &str) -> impl Iterator<Item = &str> {
    code.split(|letter: char| !letter.is_alphanumeric() && letter != '_').filter(|token| !token.is_empty())
}

impl File {
    pub(super) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// Without comments and the insides of strings.
    pub(super) fn code(&self) -> String {
        bare(&self.text)
    }

    /// [`Self::code`] without the tests, which stand last.
    pub(super) fn shipped(&self) -> String {
        let code = self.code();
        let mut rest = code.as_str();
        let mut from = 0;
        while let Some(at) = rest.find("#[cfg(test)]") {
            let after = rest[at + "#[cfg(test)]".len()..].trim_start();
            let line = after.lines().next().unwrap_or_default();
            if line.contains("mod ") && line.ends_with('{') {
                return code[..from + at].to_owned();
            }
            from += at + 1;
            rest = &code[from..];
        }
        code
    }

    /// The modules in files of their own that only tests have, as paths without `.rs`.
    fn test_modules(&self) -> Vec<String> {
        let folder = self.path.trim_end_matches(".rs").trim_end_matches("/lib").trim_end_matches("/main");
        let after = |(at, opening): (usize, &str)| -> Option<String> {
            let line = self.text[at + opening.len()..].trim_start().lines().next()?;
            let name = line.strip_suffix(';')?.split("mod ").nth(1)?;
            Some(format!("{folder}/{name}"))
        };
        self.text.match_indices("#[cfg(test)]").filter_map(after).collect()
    }

    /// Every path that begins at `crate::`, with groups taken apart and without `as`.
    pub(super) fn crate_paths(&self) -> Vec<String> {
        let code = self.shipped();
        let mut paths = Vec::new();
        for (at, _) in code.match_indices("crate::") {
            // `pub(in crate::..)` gives, it does not take.
            if !code[..at].ends_with("in ") && !code[..at].ends_with(|last: char| last.is_alphanumeric() || last == '_')
            {
                take_path(&code[at + "crate::".len()..], "", &mut paths);
            }
        }
        paths
    }
}

/// Reads one path, or a group of them, and returns what is left.
fn take_path<'c>(code: &'c str, prefix: &str, paths: &mut Vec<String>) -> &'c str {
    let code = code.trim_start();
    if let Some(mut group) = code.strip_prefix('{') {
        loop {
            group = take_path(group, prefix, paths).trim_start();
            if let Some(rest) = group.strip_prefix("as ") {
                group = rest.trim_start_matches(|letter: char| letter.is_alphanumeric() || letter == '_').trim_start();
            }
            match group.strip_prefix(',') {
                Some(rest) if !rest.trim_start().starts_with('}') => group = rest,
                Some(rest) => return rest.trim_start().trim_start_matches('}'),
                None => return group.strip_prefix('}').unwrap_or(group),
            }
        }
    }
    let end = code.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(code.len());
    let (name, rest) = code.split_at(end);
    let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}::{name}") };
    match rest.strip_prefix("::") {
        // A type's own functions are the type's: what stands after it says no more.
        Some(_) if name.starts_with(char::is_uppercase) => paths.push(path),
        Some(rest) if !rest.starts_with('<') => return take_path(rest, &path, paths),
        _ => paths.push(path),
    }
    rest
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<File>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(root, &path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            found.push(File::new(name, &std::fs::read_to_string(&path).unwrap()));
        }
    }
}

/// Blanks comments and what is between quotes; keeps lines.
fn bare(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word_before = out.ends_with(|last: char| last.is_alphanumeric() || last == '_');
        let raw = rest
            .strip_prefix('b')
            .unwrap_or(rest)
            .strip_prefix('r')
            .filter(|after| !word_before && after.trim_start_matches('#').starts_with('"'));
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(after) = raw {
            let hashes = after.len() - after.trim_start_matches('#').len();
            let close = format!("\"{}", "#".repeat(hashes));
            let open = rest.len() - after.len() + hashes + 1;
            rest[open..].find(&close).map_or(rest.len(), |end| open + end + close.len())
        } else if first == '"' {
            quoted(rest)
        } else if first == '\'' {
            character(rest)
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        let (gone, left) = rest.split_at(length);
        if !gone.starts_with('/') {
            out.push_str("\"\"");
        }
        out.extend(gone.chars().filter(|letter| *letter == '\n'));
        rest = left;
    }
    out
}

/// The length of a string literal.
fn quoted(text: &str) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of a character literal; of a lifetime, the quote alone.
fn character(text: &str) -> usize {
    let inside = &text[1..];
    let Some(first) = inside.chars().next() else { return 1 };
    if first == '\\' {
        return inside[2..].find('\'').map_or(text.len(), |end| end + 4);
    }
    if inside[first.len_utf8()..].starts_with('\'') { first.len_utf8() + 2 } else { 1 }
}
