//! Cedar statements by `@id`, as text.

use std::collections::BTreeMap;

use popgate_policy::bundle::Source;

/// One statement of `policies/*.cedar`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement<'a> {
    /// Where it stands.
    pub(super) file: &'a str,
    /// Its text without comments, white space outside quotes made single.
    pub(super) text: String,
}

/// Every statement that has an `@id`.
pub(super) fn by_id(source: &Source) -> BTreeMap<String, Statement<'_>> {
    let files = source.files.iter().filter(|(path, _)| path.ends_with(".cedar"));
    let all = files.flat_map(|(path, text)| {
        statements(text).into_iter().filter_map(|text| Some((id(&text)?, Statement { file: path, text })))
    });
    all.collect()
}

/// Splits at each `;` outside quotes and comments. An accepted bundle parses as Cedar, so that is where statements end.
fn statements(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut current = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                current.push(c);
                while let Some(quoted) = chars.next() {
                    current.push(quoted);
                    match quoted {
                        '\\' => current.extend(chars.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            '/' if chars.peek() == Some(&'/') => while chars.next_if(|c| *c != '\n').is_some() {},
            ';' => found.push(std::mem::take(&mut current).trim().to_owned()),
            c if c.is_whitespace() => {
                if !current.is_empty() && !current.ends_with([' ', '(', '[', '{']) {
                    current.push(' ');
                }
            }
            ',' | ')' | ']' | '}' => {
                current.truncate(current.trim_end().len());
                current.push(c);
            }
            c => current.push(c),
        }
    }
    found
}

fn id(statement: &str) -> Option<String> {
    let (_, rest) = statement.split_once("@id(\"").or_else(|| statement.split_once("@id( \""))?;
    rest.split_once('"').map(|(id, _)| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_at_semicolons_that_are_not_quoted() {
        let text = "// a; comment\n@id(\"one\") @basis(\"art. 1; \\\"2\\\"\")\npermit (principal,\n  action, resource);\n\
                    @id(\"two\")\nforbid (principal, action, resource); // end";
        let source = Source { files: [("policies/a.cedar".to_owned(), text.to_owned())].into() };
        let found = by_id(&source);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["one", "two"]);
        let one = "@id(\"one\") @basis(\"art. 1; \\\"2\\\"\") permit (principal, action, resource)";
        assert_eq!(found["one"].text, one);
    }
}
