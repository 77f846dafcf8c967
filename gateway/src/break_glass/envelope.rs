//! The envelope of an order: DSSE 1.0 (<https://github.com/secure-systems-lab/dsse>), the JSON envelope and its Ed25519 signatures.

use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use base64::engine::{DecodePaddingMode, Engine};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Keys, Order, SigningKey, keys::hex_digest};

/// An order's bytes with the signatures over them. Nothing is said of who signed until [`Envelope::signers`] is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Envelope {
    payload: Vec<u8>,
    signatures: Vec<Signature>,
}

/// An envelope and the order in it, which was read from the very bytes that are signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sealed {
    envelope: Envelope,
    order: Order,
}

/// One signature. Its key's name is a hint: who signed is whose key verifies it (protocol, KEYID).
#[derive(Clone, PartialEq, Eq, Debug)]
struct Signature {
    keyid: String,
    sig: Vec<u8>,
}

/// Why a file is no order.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EnvelopeError {
    /// More bytes than an order has.
    #[error("it has more than {MOST_BYTES} bytes: it is no order")]
    TooLong,
    /// No JSON envelope.
    #[error("it is no DSSE envelope: {0}; make one with `popgate break-glass draft`")]
    Json(String),
    /// An envelope of something else.
    #[error("its payloadType is not `{PAYLOAD_TYPE}`: it holds something else than an order")]
    Type,
    /// Neither standard nor URL-safe base64.
    #[error("its {0} is not base64")]
    Base64(&'static str),
    /// A signature that is none.
    #[error(
        "it has more than {MOST_SIGNATURES} signatures, or the name of a key is longer than {MOST_KEYID} characters"
    )]
    Signatures,
    /// The payload.
    #[error("the order {0}")]
    Order(String),
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

impl Sealed {
    /// Reads a file or a request's body.
    ///
    /// # Errors
    /// [`EnvelopeError`].
    pub fn parse(text: &[u8]) -> Result<Self, EnvelopeError> {
        let envelope = Envelope::parse(text)?;
        let order = Order::parse(&envelope.payload).map_err(EnvelopeError::Order)?;
        Ok(Self { envelope, order })
    }

    /// An order that nobody has signed yet.
    pub fn unsigned(order: Order) -> Self {
        Self { envelope: Envelope { payload: order.to_payload(), signatures: Vec::new() }, order }
    }

    /// What it says.
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// What it says it in.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// SHA-256 of the payload, in hex: two orders of one id are told apart by it.
    pub fn digest(&self) -> String {
        hex_digest(&self.envelope.payload)
    }

    /// Adds a signature, in place of one by the same key.
    ///
    /// # Errors
    /// If there are too many.
    pub fn sign(&mut self, key: &SigningKey) -> Result<(), EnvelopeError> {
        self.envelope.sign(key)
    }

    /// The file's text.
    pub fn to_json(&self) -> String {
        self.envelope.to_json()
    }
}

impl Envelope {
    fn parse(text: &[u8]) -> Result<Self, EnvelopeError> {
        if text.len() > MOST_BYTES {
            return Err(EnvelopeError::TooLong);
        }
        let written: Written = serde_json::from_slice(text).map_err(|error| EnvelopeError::Json(error.to_string()))?;
        if written.payload_type != PAYLOAD_TYPE {
            return Err(EnvelopeError::Type);
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
        Ok(Self { payload, signatures: signatures.collect::<Result<_, _>>()? })
    }

    fn sign(&mut self, key: &SigningKey) -> Result<(), EnvelopeError> {
        let (keyid, sig) = (key.name().to_owned(), key.sign(&pae(&self.payload)));
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
        let signed = pae(&self.payload);
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

    fn to_json(&self) -> String {
        let signature = |it: &Signature| json!({ "keyid": it.keyid, "sig": STANDARD.encode(&it.sig) });
        let signatures: Vec<_> = self.signatures.iter().map(signature).collect();
        let envelope = json!({
            "payloadType": PAYLOAD_TYPE,
            "payload": STANDARD.encode(&self.payload),
            "signatures": signatures,
        });
        format!("{envelope:#}\n")
    }
}

/// The pre-authentication encoding (protocol, PAE): what is signed says its own type and lengths.
fn pae(payload: &[u8]) -> Vec<u8> {
    let mut signed = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len()).into_bytes();
    signed.extend_from_slice(payload);
    signed
}

/// Standard or URL-safe: an envelope may hold either.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let alphabet = if text.contains(['-', '_']) { &alphabet::URL_SAFE } else { &alphabet::STANDARD };
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(alphabet, lenient).decode(text).ok()
}

const PAYLOAD_TYPE: &str = "application/vnd.popgate.break-glass+json";
pub(super) const MOST_BYTES: usize = 64 << 10;
const MOST_SIGNATURES: usize = 16;
/// Characters.
const MOST_KEYID: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_the_specifications_encoding() {
        // protocol.md: "DSSEv1" SP LEN(type) SP type SP LEN(body) SP body, lengths in ASCII decimal.
        assert_eq!(pae(b"{}"), b"DSSEv1 40 application/vnd.popgate.break-glass+json 2 {}");
    }

    #[test]
    fn either_base64_is_read_and_other_members_are_ignored() {
        let sealed = Sealed::unsigned(super::super::tests::order());
        let text = sealed.to_json();
        assert_eq!(Sealed::parse(text.as_bytes()), Ok(sealed.clone()));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let payload = value["payload"].as_str().unwrap().replace('+', "-").replace('/', "_");
        let other = json!({
            "payloadType": PAYLOAD_TYPE, "payload": payload.trim_end_matches('='), "signatures": [], "later": 1
        });
        assert_eq!(Sealed::parse(other.to_string().as_bytes()), Ok(sealed));
    }
}
