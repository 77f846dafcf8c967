//! Structured fields (RFC 9651), as much as a targeted field needs: a Dictionary, strictly.

/// A value in a Dictionary. Parameters are read and left out (RFC 9213 section 2.1: they are ignored).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An Integer, or the whole part of a Date.
    Integer(i64),
    /// A Decimal, a Byte Sequence, a Date or a Display String: well formed, and of no use here.
    Other,
    /// A String.
    String(String),
    /// A Token.
    Token(String),
    /// A Boolean; true where a key stands alone.
    Boolean(bool),
    /// An Inner List.
    List(Vec<Item>),
}

/// The Dictionary in the lines of a field, in order, the last of equal keys standing for all (RFC 9651 section 4.2.2).
/// `None` where it is not one: then the whole field counts as absent.
pub fn dictionary<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Option<Vec<(String, Item)>> {
    let mut joined: Vec<u8> = Vec::new();
    for (n, line) in lines.into_iter().enumerate() {
        if n > 0 {
            joined.extend_from_slice(b", ");
        }
        joined.extend_from_slice(line);
    }
    let mut reader = Reader { rest: &joined };
    reader.skip(b" ");
    let mut out: Vec<(String, Item)> = Vec::new();
    while !reader.rest.is_empty() {
        let key = reader.key()?;
        let value = if reader.eat(b'=') { reader.member()? } else { Item::Boolean(true) };
        reader.parameters()?;
        out.retain(|(known, _)| *known != key);
        out.push((key, value));
        reader.skip(b" \t");
        if reader.rest.is_empty() {
            break;
        }
        reader.expect(b',')?;
        reader.skip(b" \t");
        if reader.rest.is_empty() {
            return None;
        }
    }
    Some(out)
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.next();
        }
        found
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.eat(byte).then_some(())
    }

    fn skip(&mut self, set: &[u8]) {
        while self.peek().is_some_and(|byte| set.contains(&byte)) {
            self.next();
        }
    }

    fn run(&mut self, good: impl Fn(u8) -> bool) -> String {
        let mut out = String::new();
        while let Some(byte) = self.peek().filter(|byte| good(*byte)) {
            out.push(char::from(byte));
            self.next();
        }
        out
    }

    fn key(&mut self) -> Option<String> {
        self.peek().filter(|byte| byte.is_ascii_lowercase() || *byte == b'*')?;
        Some(self.run(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte)))
    }

    fn member(&mut self) -> Option<Item> {
        if !self.eat(b'(') {
            return self.bare();
        }
        let mut items = Vec::new();
        loop {
            self.skip(b" ");
            if self.eat(b')') {
                return Some(Item::List(items));
            }
            items.push(self.bare()?);
            self.parameters()?;
            self.peek().filter(|byte| b" )".contains(byte))?;
        }
    }

    fn parameters(&mut self) -> Option<()> {
        while self.eat(b';') {
            self.skip(b" ");
            self.key()?;
            if self.eat(b'=') {
                self.bare()?;
            }
        }
        Some(())
    }

    fn bare(&mut self) -> Option<Item> {
        match self.peek()? {
            b'"' => self.string().map(Item::String),
            b':' => self.bytes(),
            b'?' => self.boolean(),
            b'%' => self.display(),
            b'@' => {
                self.next();
                match self.number()? {
                    Item::Integer(_) => Some(Item::Other),
                    _ => None,
                }
            }
            b'-' | b'0'..=b'9' => self.number(),
            byte if byte.is_ascii_alphabetic() || byte == b'*' => {
                Some(Item::Token(self.run(|byte| is_token(byte) || byte == b':' || byte == b'/')))
            }
            _ => None,
        }
    }

    /// At most 15 digits, or 12 and 3 (RFC 9651 sections 3.3.1 and 3.3.2).
    fn number(&mut self) -> Option<Item> {
        let sign = if self.eat(b'-') { -1 } else { 1 };
        let whole = self.run(|byte| byte.is_ascii_digit());
        if whole.is_empty() || whole.len() > 15 {
            return None;
        }
        if !self.eat(b'.') {
            return whole.parse().ok().map(|value: i64| Item::Integer(sign * value));
        }
        let part = self.run(|byte| byte.is_ascii_digit());
        (whole.len() <= 12 && (1..=3).contains(&part.len())).then_some(Item::Other)
    }

    fn string(&mut self) -> Option<String> {
        self.expect(b'"')?;
        let mut out = String::new();
        loop {
            match self.next()? {
                b'"' => return Some(out),
                b'\\' => {
                    let byte = self.next().filter(|byte| b"\"\\".contains(byte))?;
                    out.push(char::from(byte));
                }
                byte if (0x20..0x7f).contains(&byte) => out.push(char::from(byte)),
                _ => return None,
            }
        }
    }

    fn boolean(&mut self) -> Option<Item> {
        self.expect(b'?')?;
        match self.next()? {
            b'0' => Some(Item::Boolean(false)),
            b'1' => Some(Item::Boolean(true)),
            _ => None,
        }
    }

    fn bytes(&mut self) -> Option<Item> {
        self.expect(b':')?;
        self.run(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
        self.expect(b':')?;
        Some(Item::Other)
    }

    fn display(&mut self) -> Option<Item> {
        self.expect(b'%')?;
        self.expect(b'"')?;
        loop {
            match self.next()? {
                b'"' => return Some(Item::Other),
                b'%' => {
                    let hex = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
                    self.next().filter(hex)?;
                    self.next().filter(hex)?;
                }
                byte if (0x20..0x7f).contains(&byte) => {}
                _ => return None,
            }
        }
    }
}

/// A character of a token (RFC 9110 section 5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Vec<(String, Item)>> {
        dictionary([text.as_bytes()])
    }

    /// RFC 9651 section 4.2.2.
    #[test]
    fn a_dictionary_is_read_with_all_its_types() {
        let read = read("a=1, b;x=2;y, c=(\"s\" t;q=1.5), d=?0, e=:YQ==:, f=-2.5, g=@7, h=%\"%c3%bc\", a=2").unwrap();
        let list = Item::List(vec![Item::String("s".into()), Item::Token("t".into())]);
        let expected = [
            ("b", Item::Boolean(true)),
            ("c", list),
            ("d", Item::Boolean(false)),
            ("e", Item::Other),
            ("f", Item::Other),
            ("g", Item::Other),
            ("h", Item::Other),
            ("a", Item::Integer(2)),
        ];
        assert_eq!(read, expected.map(|(key, item)| (key.to_owned(), item)));
        assert_eq!(dictionary([&b"a"[..], b"b"]).unwrap().len(), 2, "lines are one list");
    }

    /// RFC 9651 section 4.2: one fault, and there is no field.
    #[test]
    fn one_fault_and_nothing_is_left() {
        let bad = [
            "max-age=1, &&&&",
            "Max-age=1",
            "max-age =1",
            "max-age= 1",
            "a=1,",
            "a,,b",
            "a=1000000000000000",
            "a=\"x",
            "a=(1 2",
            "a=(1,2)",
            "a=1.2345",
            "a=1.",
            "a=-",
            "a=\u{fc}",
            "a=:?:",
            "a=?2",
            "a b",
            "a=@1.5",
        ];
        assert!(bad.iter().all(|text| read(text).is_none()), "{:?}", bad.iter().find(|text| read(text).is_some()));
        assert_eq!(read("").map(|all| all.len()), Some(0));
    }

    proptest::proptest! {
        /// Nothing that is read ends in anything but an answer.
        #[test]
        fn any_bytes_end_in_an_answer(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60)) {
            let _ = dictionary([bytes.as_slice()]);
        }
    }
}
