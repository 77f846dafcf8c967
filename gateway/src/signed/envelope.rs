//! The envelope: DSSE 1.0 (<https://github.com/secure-systems-lab/dsse>), the JSON envelope and its Ed25519 signatures.

use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use base64::engine::{DecodePaddingMode, Engine};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::keys::{Keys, SigningKey, hex_digest};

/// What an envelope holds.
#[derive(PartialEq, Eq, Debug)]
pub struct Kind {
    /// The media type of the payload, which is signed with it: a signature over one kind never counts for another.
    pub payload_type: &'static str,
    /// What people call it.
    pub noun: &'static str,
    /// The command that makes one.
    pub made_by: &'static str,
    /// The most bytes of a file.
    pub most_bytes: usize,
}

/// A payload's bytes with the signatures over them. Nothing is said of who signed until [`Envelope::signers`] is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Envelope {
    kind: &'static Kind,
    payload: Vec<u8>,
    signatures: Vec<Signature>,
}

/// One signature. Its key's name is a hint: who signed is whose key verifies it (protocol, KEYID).
#[derive(Clone, PartialEq, Eq, Debug)]
struct Signature {
    keyid: String,
    sig: Vec<u8>,
}

/// Why a file is no envelope of its kind.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum EnvelopeError {
    /// More bytes than one has.
    #[error("it has more than {} bytes: it is no {}", .0.most_bytes, .0.noun)]
    TooLong(&'static Kind),
    /// No JSON envelope.
    #[error("it is no DSSE envelope: {why}; make one with `{}`", kind.made_by)]
    Json {
        /// What it should be.
        kind: &'static Kind,
        /// Why it is not.
        why: String,
    },
    /// An envelope of something else.
    #[error("its payloadType is not `{}`: it holds something else than a signed {}", .0.payload_type, .0.noun)]
    Type(&'static Kind),
    /// Neither standard nor URL-safe base64.
    #[error("its {0} is not base64")]
    Base64(&'static str),
    /// A signature that is none.
    #[error(
        "it has more than {MOST_SIGNATURES} signatures, or the name of a key is longer than {MOST_KEYID} characters"
    )]
    Signatures,
    /// The payload.
    #[error("the {0} {1}")]
    Payload(&'static str, String),
}

/// As it is written. Members that are not known are ignored, as DSSE demands; the payload is read strictly.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    payload: String,
    payload_type: String,
    signatures: Vec<WrittenSignature>,
}

#[derive(Serialize, Deserialize)]
struct WrittenSignature {
    #[serde(default)]
    keyid: String,
    sig: String,
}

impl Envelope {
    /// What nobody has signed yet.
    pub fn unsigned(kind: &'static Kind, payload: Vec<u8>) -> Self {
        Self { kind, payload, signatures: Vec::new() }
    }

    /// Reads a file or a request's body.
    ///
    /// # Errors
    /// If it is no envelope of that kind.
    pub fn parse(kind: &'static Kind, text: &[u8]) -> Result<Self, EnvelopeError> {
        if text.len() > kind.most_bytes {
            return Err(EnvelopeError::TooLong(kind));
        }
        let written: Written =
            serde_json::from_slice(text).map_err(|error| EnvelopeError::Json { kind, why: error.to_string() })?;
        if written.payload_type != kind.payload_type {
            return Err(EnvelopeError::Type(kind));
        }
        if written.signatures.len() > MOST_SIGNATURES
            || written.signatures.iter().any(|it| it.keyid.chars().count() > MOST_KEYID)
        {
            return Err(EnvelopeError::Signatures);
        }
        let payload = decoded(&written.payload).ok_or(EnvelopeError::Base64("payload"))?;
        let signatures = written.signatures.into_iter().map(|WrittenSignature { keyid, sig }| {
            let sig = decoded(&sig).ok_or(EnvelopeError::Base64("signature"))?;
            Ok(Signature { keyid, sig })
        });
        Ok(Self { kind, payload, signatures: signatures.collect::<Result<_, _>>()? })
    }

    /// What is signed.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// SHA-256 of the payload, in hex.
    pub fn digest(&self) -> String {
        hex_digest(&self.payload)
    }

    /// Adds a signature, in place of one by the same key.
    ///
    /// # Errors
    /// If there are too many.
    pub fn sign(&mut self, key: &SigningKey) -> Result<(), EnvelopeError> {
        let (keyid, sig) = (key.name().to_owned(), key.sign(&self.pae()));
        // Ed25519 is deterministic: a key signs the same bytes in one way.
        self.signatures.retain(|it| it.sig != sig);
        if self.signatures.len() >= MOST_SIGNATURES {
            return Err(EnvelopeError::Signatures);
        }
        self.signatures.push(Signature { keyid, sig });
        Ok(())
    }

    /// Whose keys have signed, each once however often and under whatever name, and how many signatures are nobody's.
    pub fn signers(&self, keys: &Keys) -> (Vec<String>, usize) {
        let signed = self.pae();
        let mut nobodys = 0;
        let mut signers: Vec<String> = Vec::new();
        for Signature { keyid, sig } in &self.signatures {
            match keys.whose(&signed, sig, keyid) {
                Some(name) if signers.iter().any(|known| known == name) => {}
                Some(name) => signers.push(name.to_owned()),
                None => nobodys += 1,
            }
        }
        signers.sort_unstable();
        (signers, nobodys)
    }

    /// Whose signatures it claims to have: not verified.
    pub fn claimed(&self) -> impl Iterator<Item = &str> {
        self.signatures.iter().map(|signature| signature.keyid.as_str())
    }

    /// The file's text.
    pub fn to_json(&self) -> String {
        let signature = |it: &Signature| json!({ "keyid": it.keyid, "sig": STANDARD.encode(&it.sig) });
        let signatures: Vec<_> = self.signatures.iter().map(signature).collect();
        let envelope = json!({
            "payloadType": self.kind.payload_type,
            "payload": STANDARD.encode(&self.payload),
            "signatures": signatures,
        });
        format!("{envelope:#}\n")
    }

    /// The pre-authentication encoding (protocol, PAE): what is signed says its own type and lengths.
    fn pae(&self) -> Vec<u8> {
        let payload_type = self.kind.payload_type;
        let mut signed = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), self.payload.len()).into_bytes();
        signed.extend_from_slice(&self.payload);
        signed
    }
}

/// Standard or URL-safe: an envelope may hold either.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let alphabet = if text.contains(['-', '_']) { &alphabet::URL_SAFE } else { &alphabet::STANDARD };
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(alphabet, lenient).decode(text).ok()
}

const MOST_SIGNATURES: usize = 16;
/// Characters.
const MOST_KEYID: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind { payload_type: "text/x", noun: "text", made_by: "nobody", most_bytes: 1000 };

    #[test]
    fn what_is_signed_is_the_specifications_encoding() {
        // protocol.md: "DSSEv1" SP LEN(type) SP type SP LEN(body) SP body, lengths in ASCII decimal.
        assert_eq!(Envelope::unsigned(&KIND, b"{}".to_vec()).pae(), b"DSSEv1 6 text/x 2 {}");
    }

    #[test]
    fn either_base64_is_read_and_other_members_are_ignored() {
        let envelope = Envelope::unsigned(&KIND, "lũ ở Huế?>".into());
        let text = envelope.to_json();
        assert_eq!(Envelope::parse(&KIND, text.as_bytes()), Ok(envelope.clone()));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let payload = value["payload"].as_str().unwrap();
        assert!(payload.contains(['+', '/']), "{payload}");
        let payload = payload.replace('+', "-").replace('/', "_");
        let other = json!({
            "payloadType": "text/x", "payload": payload.trim_end_matches('='), "signatures": [], "later": 1
        });
        assert_eq!(Envelope::parse(&KIND, other.to_string().as_bytes()), Ok(envelope));
    }

    #[test]
    fn what_is_something_else_is_told() {
        const OTHER: Kind = Kind { payload_type: "text/y", ..KIND };
        let text = Envelope::unsigned(&OTHER, b"{}".to_vec()).to_json();
        let said = |text: &str| Envelope::parse(&KIND, text.as_bytes()).unwrap_err().to_string();
        assert_eq!(said(&text), "its payloadType is not `text/x`: it holds something else than a signed text");
        assert_eq!(said(&" ".repeat(1001)), "it has more than 1000 bytes: it is no text");
        assert!(said("{").starts_with("it is no DSSE envelope: EOF"), "{}", said("{"));
    }
}
