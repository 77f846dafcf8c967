//! What several people sign: a payload in a DSSE envelope, and whose keys count. Break-glass orders and bundles are.

mod envelope;
mod keys;

pub use envelope::{Envelope, EnvelopeError, Kind};
pub(crate) use keys::hex_digest;
pub use keys::{KeyError, Keys, PublicKey, SigningKey};

/// Whether it can be the name of a key or of what is signed: lower-case letters, digits and `-`, at most 64.
pub fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() <= MOST_NAME
        && text.bytes().next().is_some_and(plain)
        && text.bytes().all(|byte| plain(byte) || byte == b'-')
}

const MOST_NAME: usize = 64;
