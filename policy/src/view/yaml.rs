//! JSON as YAML that every reader takes alike: whatever YAML 1.1 or 1.2 could mean otherwise (dates, numbers, `no`) is quoted.

use serde_json::Value;

/// The document, in block style, keys in their order.
pub(super) fn text(value: &Value) -> String {
    let mut text = String::new();
    block(value, 0, &mut text);
    text
}

/// A value that begins on a line of its own.
fn block(value: &Value, depth: usize, text: &mut String) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (key, value) in members {
                indent(depth, text);
                entry(key, value, depth, text);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                indent(depth, text);
                text.push_str("- ");
                match item {
                    // The first member stands behind the dash, the others below it.
                    Value::Object(members) if !members.is_empty() => {
                        for (at, (key, value)) in members.iter().enumerate() {
                            if at > 0 {
                                indent(depth + 1, text);
                            }
                            entry(key, value, depth + 1, text);
                        }
                    }
                    Value::Array(inner) if !inner.is_empty() => {
                        // JSON is YAML; lists of lists are rare.
                        text.push_str(&item.to_string());
                        text.push('\n');
                    }
                    item => scalar(item, depth + 1, text),
                }
            }
        }
        value => scalar(value, depth, text),
    }
}

fn entry(key: &str, value: &Value, depth: usize, text: &mut String) {
    text.push_str(&inline(key));
    text.push(':');
    let nested = match value {
        Value::Object(members) => !members.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    if nested {
        text.push('\n');
        block(value, depth + 1, text);
    } else {
        text.push(' ');
        scalar(value, depth + 1, text);
    }
}

/// A scalar, or an empty list or table, to the end of its line (or of its block).
fn scalar(value: &Value, depth: usize, text: &mut String) {
    match value {
        Value::String(value) if is_literal(value) => {
            text.push_str(if value.ends_with('\n') { "|\n" } else { "|-\n" });
            for line in value.lines() {
                if !line.is_empty() {
                    indent(depth, text);
                    text.push_str(line);
                }
                text.push('\n');
            }
        }
        Value::String(value) => {
            text.push_str(&inline(value));
            text.push('\n');
        }
        value => {
            text.push_str(&value.to_string());
            text.push('\n');
        }
    }
}

fn indent(depth: usize, text: &mut String) {
    text.extend(std::iter::repeat_n("  ", depth));
}

/// A string on one line.
fn inline(value: &str) -> String {
    if is_plain(value) {
        return value.to_owned();
    }
    // A JSON string is a YAML string, but for characters that YAML does not take unescaped.
    let quoted = Value::from(value).to_string();
    quoted.chars().fold(String::with_capacity(quoted.len()), |mut text, char| {
        if is_printable(char) {
            text.push(char);
        } else {
            text.push_str(&format!("\\u{:04x}", u32::from(char)));
        }
        text
    })
}

/// Whether it is a string, and that string, for every reader without quotes.
fn is_plain(value: &str) -> bool {
    value.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/')
        && value.ends_with(|last: char| last.is_ascii_alphanumeric() || matches!(last, '/' | '.' | '}'))
        && value.chars().all(|char| char.is_ascii_alphanumeric() || " _./{}-".contains(char))
        && !RESERVED.iter().any(|word| word.eq_ignore_ascii_case(value))
}

/// Whether it is better read as lines.
fn is_literal(value: &str) -> bool {
    value.trim_end_matches('\n').contains('\n')
        && !value.ends_with("\n\n")
        && !value.starts_with(char::is_whitespace)
        && value.chars().all(|char| char == '\n' || is_printable(char))
        && !value.lines().any(|line| line.ends_with(' ') || line.starts_with(' ') && line.trim().is_empty())
}

fn is_printable(char: char) -> bool {
    !char.is_control() && !matches!(char, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

const RESERVED: [&str; 10] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_what_was_written() {
        let awkward = [
            "",
            " ",
            "no",
            "Off",
            "null",
            "~",
            "1987-03-14",
            "200",
            "0x1F",
            "1e3",
            "12:30",
            "- a",
            "a: b",
            "a #b",
            "#a",
            "*a",
            "&a",
            "!a",
            "{a}",
            "[a]",
            "'a'",
            "\"a\"",
            "a\nb",
            "a\nb\n",
            "a\n\nb",
            "a\n\n",
            "\na\nb",
            " a\nb",
            "a\n b",
            "a\nb \nc",
            "tab\tb\nc",
            "Lê Thị Hoa",
            "\u{85}x\n\u{2028}y",
            "\u{feff}",
            "%a",
            "@a",
            "`a`",
            "|",
            ">",
            "?",
            "a-",
            "=",
            "<<",
            "/x/{id}",
            "true",
            ".inf",
        ];
        let each = |text: &str| serde_json::json!({ text: text, "list": [text, [text, []], {}, { "a": text, text: { "deep": [text] } }] });
        let document = serde_json::json!({ "all": awkward.map(each).to_vec(), "numbers": [1, -2, 0.5, true, null] });
        let read: Value = serde_saphyr::from_str(&text(&document)).unwrap();
        assert_eq!(read, document);
    }

    #[test]
    fn what_others_could_misread_is_quoted() {
        let document =
            serde_json::json!({ "200": { "a": "1987-03-14", "no": "off", "version": "1.0", "$ref": "#/x" } });
        let expected = "\"200\":\n  a: \"1987-03-14\"\n  \"no\": \"off\"\n  version: \"1.0\"\n  \"$ref\": \"#/x\"\n";
        assert_eq!(text(&document), expected);
    }
}
