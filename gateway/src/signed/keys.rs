//! Who may sign: Ed25519 (RFC 8032). Public keys stand in `gateway.toml`, private ones in files of their own.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;

use super::is_name;
use crate::certificate::hex;
use crate::custody::{self, CustodyError};

/// `[break_glass.keys]` or `[bundle.keys]`: public keys by whose they are.
// INVARIANT: no two names have the same key.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Keys(BTreeMap<String, PublicKey>);

/// A public key; written `ed25519:BASE64`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

/// A private key and whose it is. It cannot be printed.
pub struct SigningKey {
    name: String,
    pair: Ed25519KeyPair,
}

/// Why there is no private key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Its file.
    #[error(transparent)]
    Custody(#[from] CustodyError),
    /// Another file stands there.
    #[error("`{}` exists: a key is never overwritten; choose another name, or move it away", .0.display())]
    Exists(PathBuf),
    /// It cannot be written.
    #[error("cannot write `{}`: {source}", file.display())]
    Write {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It holds something else.
    #[error("`{}` holds no Ed25519 private key in PEM (PKCS#8); make one with `popgate bundle key NAME`", .0.display())]
    Form(PathBuf),
    /// A name that cannot be one.
    #[error("`{0}` cannot be the name of a key: lower-case letters, digits and `-`")]
    Name(String),
    /// The machine gives no random numbers.
    #[error("the machine gives no random numbers for a key")]
    Random,
}

impl Keys {
    /// Adds a key; `Err` is the name that has it already.
    ///
    /// # Errors
    /// If another name has the same key: one person would be two.
    pub fn add(&mut self, name: &str, key: PublicKey) -> Result<(), String> {
        match self.0.iter().find(|(other, known)| **known == key && *other != name) {
            Some((other, _)) => Err(other.clone()),
            None => {
                self.0.insert(name.to_owned(), key);
                Ok(())
            }
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose they are.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whose key made the signature; `hint` only says which to try first.
    pub(super) fn whose(&self, signed: &[u8], signature: &[u8], hint: &str) -> Option<&str> {
        let hinted = self.0.get_key_value(hint);
        let mut keys = hinted.into_iter().chain(&self.0);
        keys.find(|(_, key)| key.verifies(signed, signature)).map(|(name, _)| name.as_str())
    }
}

impl PublicKey {
    /// Reads `ed25519:BASE64`.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text.strip_prefix("ed25519:")?).ok()?;
        <[u8; 32]>::try_from(bytes).ok().map(Self)
    }

    fn verifies(&self, signed: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(signed, signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519:{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl SigningKey {
    /// Makes a key and its file: PKCS#8 in PEM, mode 0600.
    ///
    /// # Errors
    /// If the file exists or cannot be written, or the name cannot be one.
    pub fn make(name: &str, file: &Path) -> Result<Self, KeyError> {
        let name = named(name)?;
        let pair = Ed25519KeyPair::generate().map_err(|_| KeyError::Random)?;
        let der = pair.to_pkcs8v1().map_err(|_| KeyError::Random)?;
        // RFC 7468: 48 bytes are one line.
        let pem =
            format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der.as_ref()));
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
        let written = opened.and_then(|mut open| open.write_all(pem.as_bytes()).and_then(|()| open.sync_all()));
        match written {
            Ok(()) => Ok(Self { name, pair }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(KeyError::Exists(file.to_owned())),
            Err(source) => Err(KeyError::Write { file: file.to_owned(), source }),
        }
    }

    /// Reads a key's file, which only its owner may read.
    ///
    /// # Errors
    /// If it cannot be used.
    pub fn read(name: &str, file: &Path) -> Result<Self, KeyError> {
        let name = named(name)?;
        let form = || KeyError::Form(file.to_owned());
        let der = PrivatePkcs8KeyDer::from_pem_slice(&custody::private_file(file)?).map_err(|_| form())?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der()).map_err(|_| form())?;
        Ok(Self { name, pair })
    }

    /// Whose it is, as its owner says.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What `gateway.toml` needs of it.
    pub fn public(&self) -> PublicKey {
        let mut key = [0; 32];
        for (to, from) in key.iter_mut().zip(self.pair.public_key().as_ref()) {
            *to = *from;
        }
        PublicKey(key)
    }

    pub(super) fn sign(&self, signed: &[u8]) -> Vec<u8> {
        self.pair.sign(signed).as_ref().to_vec()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<private key of {}>", self.name)
    }
}

fn named(name: &str) -> Result<String, KeyError> {
    if is_name(name) { Ok(name.to_owned()) } else { Err(KeyError::Name(name.to_owned())) }
}

/// SHA-256 in hex.
pub(crate) fn hex_digest(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}
