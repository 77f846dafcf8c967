//! Where things stand in a certificate's DER (RFC 5280, section 4.1): for what must be judged or changed byte by byte. It knows
//! the outline only, and reads certificates that stricter parsers refuse.

use std::ops::Range;

/// The outline of one certificate. Every range is within the bytes that it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// What is signed: the `tbsCertificate` with its header.
    pub signed: Range<usize>,
    /// `notBefore` and `notAfter`.
    pub validity: [Element; 2],
    /// The `subjectPublicKeyInfo` with its header.
    pub key: Range<usize>,
    /// In their order.
    pub extensions: Vec<Extension>,
}

/// One extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// The content of its OID.
    pub oid: Range<usize>,
    /// Where the byte stands that says that it is critical, if one does.
    pub critical: Option<usize>,
    /// The content of its OCTET STRING.
    pub value: Range<usize>,
}

/// A DER element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// The identifier octet.
    pub tag: u8,
    /// With its header.
    pub whole: Range<usize>,
    /// Without.
    pub content: Range<usize>,
}

impl Layout {
    /// `None` if the bytes are no certificate.
    pub fn of(der: &[u8]) -> Option<Self> {
        let mut top = Elements::of(der);
        let certificate = top.expect(SEQUENCE)?;
        if !top.at_end() {
            return None;
        }
        let signed = Elements::within(der, &certificate.content).expect(SEQUENCE)?;
        let mut fields = Elements::within(der, &signed.content);
        if fields.peek() == Some(VERSION) {
            fields.take()?;
        }
        fields.expect(INTEGER)?;
        // The signature's algorithm, the issuer.
        fields.expect(SEQUENCE)?;
        fields.expect(SEQUENCE)?;
        let mut times = Elements::within(der, &fields.expect(SEQUENCE)?.content);
        let validity = [times.take()?, times.take()?];
        // The subject.
        fields.expect(SEQUENCE)?;
        let key = fields.expect(SEQUENCE)?.whole;
        let mut extensions = Vec::new();
        while let Some(field) = fields.take() {
            if field.tag == EXTENSIONS {
                let list = Elements::within(der, &field.content).expect(SEQUENCE)?;
                let mut list = Elements::within(der, &list.content);
                while !list.at_end() {
                    extensions.push(Extension::read(der, &list.expect(SEQUENCE)?)?);
                }
            }
        }
        fields.at_end().then_some(Self { signed: signed.whole, validity, key, extensions })
    }
}

impl Extension {
    fn read(der: &[u8], whole: &Element) -> Option<Self> {
        let mut parts = Elements::within(der, &whole.content);
        let oid = parts.expect(OID)?.content;
        let mut critical = None;
        if parts.peek() == Some(BOOLEAN) {
            let said = parts.take()?.content;
            if said.len() != 1 {
                return None;
            }
            critical = der.get(said.start).filter(|byte| **byte != 0).map(|_| said.start);
        }
        let value = parts.expect(OCTET_STRING)?.content;
        parts.at_end().then_some(Self { oid, critical, value })
    }
}

/// Elements one after the other.
pub struct Elements<'a> {
    der: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Elements<'a> {
    /// All that the bytes hold.
    pub fn of(der: &'a [u8]) -> Self {
        Self { der, at: 0, end: der.len() }
    }

    /// Those within a part; their ranges are of the whole.
    pub fn within(der: &'a [u8], part: &Range<usize>) -> Self {
        Self { der, at: part.start, end: part.end.min(der.len()) }
    }

    /// Whether all were read. What is malformed is never at its end.
    pub fn at_end(&self) -> bool {
        self.at == self.end
    }

    /// The next one's identifier octet.
    pub fn peek(&self) -> Option<u8> {
        if self.at < self.end { self.der.get(self.at).copied() } else { None }
    }

    /// The next one, which must have that identifier octet.
    pub fn expect(&mut self, tag: u8) -> Option<Element> {
        if self.peek() == Some(tag) { self.take() } else { None }
    }

    /// The next one; `None` at the end, and if it is malformed or longer than what holds it. Tags above 30 stand nowhere here.
    pub fn take(&mut self) -> Option<Element> {
        let tag = self.peek().filter(|tag| tag & 0x1f != 0x1f)?;
        let first = *self.der.get(self.at + 1)?;
        let (octets, mut length) = match first {
            0..=0x7f => (0, usize::from(first)),
            0x81..=0x83 => (usize::from(first & 0x7f), 0),
            _ => return None,
        };
        for octet in self.der.get(self.at + 2..self.at + 2 + octets)? {
            length = length << 8 | usize::from(*octet);
        }
        let start = self.at + 2 + octets;
        let content = start..start + length;
        if content.end > self.end {
            return None;
        }
        let whole = self.at..content.end;
        self.at = content.end;
        Some(Element { tag, whole, content })
    }
}

/// SEQUENCE.
pub const SEQUENCE: u8 = 0x30;
/// OBJECT IDENTIFIER.
pub const OID: u8 = 0x06;
/// INTEGER.
pub const INTEGER: u8 = 0x02;
/// `IA5String`.
pub const IA5_STRING: u8 = 0x16;
const BOOLEAN: u8 = 0x01;
const OCTET_STRING: u8 = 0x04;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, CustomExtension, KeyPair};

    use super::*;

    fn certificate() -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["a.test".into()]).unwrap();
        let mut policies = CustomExtension::from_oid_content(&[2, 5, 29, 32], vec![0x30, 0x00]);
        policies.set_criticality(true);
        params.custom_extensions = vec![policies];
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn the_outline_is_where_it_says() {
        let der = certificate();
        let layout = Layout::of(&der).unwrap();
        assert_eq!(der[layout.signed.start], SEQUENCE);
        let policies = layout.extensions.iter().find(|it| der[it.oid.clone()] == [0x55, 0x1d, 0x20]).unwrap();
        assert_eq!(der[policies.critical.unwrap()], 0xff);
        assert_eq!(der[policies.value.clone()], [0x30, 0x00]);
        assert!(layout.extensions.iter().any(|it| it.critical.is_none()));
        assert_eq!(&der[layout.validity[0].content.clone()], b"19750101000000Z".get(2..).unwrap());
    }

    proptest! {
        #[test]
        fn damaged_certificates_are_read_or_refused_but_nothing_panics(at in 0_usize..2000, byte: u8, cut in 0_usize..2000) {
            let mut der = certificate();
            let at = at % der.len();
            der[at] = byte;
            if let Some(layout) = Layout::of(&der) {
                prop_assert!(layout.signed.end <= der.len());
                prop_assert!(layout.extensions.iter().all(|it| it.value.end <= der.len()));
            }
            der.truncate(cut);
            let _ = Layout::of(&der);
        }
    }
}
