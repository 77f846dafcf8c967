//! The text of a policy file: where its policies, annotations and entity literals stand.
//!
//! Cedar parses; this only finds places, so that one broken policy hides no mistake in the next, and so that a problem
//! points at the very word that is meant.

use std::ops::Range;

/// A policy's place in its file, from its first annotation to its semicolon.
pub(crate) struct Statement {
    pub(crate) span: Range<usize>,
    tokens: Vec<Token>,
}

/// A `@name("value")`; spans are of the name and of the quoted value.
pub(crate) struct Annotation<'a> {
    pub(crate) name: &'a str,
    pub(crate) span: Range<usize>,
    pub(crate) value: Option<Range<usize>>,
}

/// An entity literal such as `Group::"identity"`; the id is quoted and escaped as typed.
pub(crate) struct Literal<'a> {
    pub(crate) kind: &'a str,
    pub(crate) id: &'a str,
    pub(crate) span: Range<usize>,
}

#[derive(Clone)]
struct Token {
    kind: Kind,
    span: Range<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Word,
    Text,
    Path,
    Sign(char),
}

/// Splits a file at its top-level semicolons. What follows the last one is a statement too, unless it is empty.
pub(crate) fn statements(source: &str) -> Vec<Statement> {
    let mut statements = Vec::new();
    let mut tokens = Vec::new();
    for token in tokenize(source) {
        let ends = token.kind == Kind::Sign(';');
        tokens.push(token);
        if ends {
            statements.extend(Statement::of(std::mem::take(&mut tokens)));
        }
    }
    statements.extend(Statement::of(tokens));
    statements
}

impl Statement {
    fn of(tokens: Vec<Token>) -> Option<Self> {
        let span = tokens.first()?.span.start..tokens.last()?.span.end;
        Some(Self { span, tokens })
    }

    /// The annotations before `permit` or `forbid`.
    pub(crate) fn annotations<'a>(&self, source: &'a str) -> Vec<Annotation<'a>> {
        let mut found = Vec::new();
        let mut rest = self.tokens.as_slice();
        while let [at, word, after @ ..] = rest {
            if at.kind != Kind::Sign('@') || word.kind != Kind::Word {
                break;
            }
            let (value, after) = match after {
                [open, text, close, after @ ..]
                    if open.kind == Kind::Sign('(') && text.kind == Kind::Text && close.kind == Kind::Sign(')') =>
                {
                    (Some(text.span.clone()), after)
                }
                _ => (None, after),
            };
            let name = source.get(word.span.clone()).unwrap_or_default();
            found.push(Annotation { name, span: at.span.start..word.span.end, value });
            rest = after;
        }
        found
    }

    /// Every entity literal, scope and conditions alike.
    pub(crate) fn literals<'a>(&self, source: &'a str) -> Vec<Literal<'a>> {
        let literal = |window: &[Token]| match window {
            [word, path, text] if word.kind == Kind::Word && path.kind == Kind::Path && text.kind == Kind::Text => {
                Some(Literal {
                    kind: source.get(word.span.clone())?,
                    id: source.get(text.span.clone())?,
                    span: word.span.start..text.span.end,
                })
            }
            _ => None,
        };
        self.tokens.windows(3).filter_map(literal).collect()
    }

    /// Where it becomes too deep for a stack, by brackets within each other or by a chain of operators: the parser, and
    /// what walks over its tree, go down by each of them.
    pub(crate) fn too_deep(&self, source: &str) -> Option<Range<usize>> {
        let (mut nested, mut operators) = (0_usize, 0);
        let deep = self.tokens.iter().find(|token| {
            match token.kind {
                Kind::Sign('(' | '[' | '{') => nested += 1,
                Kind::Sign(')' | ']' | '}') => nested = nested.saturating_sub(1),
                Kind::Sign(',' | ';' | ':' | '@') | Kind::Text | Kind::Path => {}
                Kind::Word => operators += usize::from(source.get(token.span.clone()) == Some("if")),
                Kind::Sign(_) => operators += 1,
            }
            nested > MOST_NESTED || operators > MOST_OPERATORS
        });
        deep.map(|token| token.span.clone())
    }

    /// The first template slot, such as `?principal`.
    pub(crate) fn slot(&self) -> Option<Range<usize>> {
        let slot = |window: &[Token]| match window {
            [sign, word] if sign.kind == Kind::Sign('?') && word.kind == Kind::Word => {
                Some(sign.span.start..word.span.end)
            }
            _ => None,
        };
        self.tokens.windows(2).find_map(slot)
    }
}

fn tokenize(source: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(rest) = source.get(at..).filter(|rest| !rest.is_empty()) {
        let first = rest.chars().next().unwrap_or_default();
        let (kind, length) = if first.is_whitespace() {
            (None, first.len_utf8())
        } else if rest.starts_with("//") {
            // It ends where Cedar ends it: else a policy behind a lone carriage return would be lost.
            (None, rest.find(['\n', '\r']).unwrap_or(rest.len()))
        } else if first == '"' {
            (Some(Kind::Text), quoted_length(rest))
        } else if is_word(first) {
            (Some(Kind::Word), rest.find(|c| !is_word(c)).unwrap_or(rest.len()))
        } else if rest.starts_with("::") {
            (Some(Kind::Path), 2)
        } else {
            (Some(Kind::Sign(first)), first.len_utf8())
        };
        tokens.extend(kind.map(|kind| Token { kind, span: at..at + length }));
        at += length;
    }
    tokens
}

/// The length of the string literal that the text begins with; to the text's end if it is not closed.
fn quoted_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The most brackets within each other.
const MOST_NESTED: usize = 32;
/// The most operators of one policy, by their characters.
const MOST_OPERATORS: usize = 512;

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_semicolon_in_a_string_or_a_comment_ends_no_policy() {
        let source = "// a; b\n@id(\"x;\\\"y\") permit(principal, action, resource); // c;\nforbid(principal";
        let found = statements(source);
        assert_eq!(found.len(), 2);
        assert!(source[found[0].span.clone()].starts_with("@id") && source[found[0].span.clone()].ends_with(';'));
        assert_eq!(&source[found[1].span.clone()], "forbid(principal");
    }

    #[test]
    fn annotations_and_literals_are_found_where_they_stand() {
        let source = r#"@id("a") @basis ("b") permit(principal in Sector :: "x", action, resource == Field::"C.d");"#;
        let statement = &statements(source)[0];
        let annotations = statement.annotations(source);
        assert_eq!(annotations.iter().map(|annotation| annotation.name).collect::<Vec<_>>(), ["id", "basis"]);
        assert_eq!(&source[annotations[1].value.clone().unwrap()], "\"b\"");
        let literals = statement.literals(source);
        assert_eq!(
            literals.iter().map(|l| (l.kind, l.id)).collect::<Vec<_>>(),
            [("Sector", "\"x\""), ("Field", "\"C.d\"")]
        );
        assert_eq!(&source[literals[0].span.clone()], "Sector :: \"x\"");
    }

    #[test]
    fn a_comment_hides_no_policy_behind_a_carriage_return() {
        let source =
            "// everyone\rpermit(principal, action, resource);\r// minors\r\nforbid(principal, action, resource);";
        let found: Vec<&str> = statements(source).iter().map(|found| &source[found.span.clone()]).collect();
        assert_eq!(found, ["permit(principal, action, resource);", "forbid(principal, action, resource);"]);
    }
}
