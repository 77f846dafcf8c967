//! Custody of keys: files with checked modes today; the seam for systemd credentials and PKCS#11.

use std::path::Path;

use aws_lc_rs::hmac;

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CustodyError {
    /// It cannot be read.
    #[error("key file `{file}`: {source}")]
    Io {
        /// Which file.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// Others than its owner can read it.
    #[error("key file `{file}` has mode {mode:o}: others can read it; run `chmod 600 {file}`")]
    Mode {
        /// Which file.
        file: String,
        /// Its permission bits.
        mode: u32,
    },
    /// The system gave no randomness.
    #[error("the system has no randomness for a key")]
    Randomness,
    /// Not 32 bytes, raw or as 64 hex digits.
    #[error("key file `{file}` holds neither 32 raw bytes nor 64 hex digits; make one with `popgate pki key {file}`")]
    Form {
        /// Which file.
        file: String,
    },
}

/// Reads a symmetric key of 32 bytes.
///
/// # Errors
/// If the file cannot be read, is readable by others, or holds something else.
pub fn symmetric_key(file: &Path) -> Result<[u8; 32], CustodyError> {
    let bytes = private_file(file)?;
    let form = || CustodyError::Form { file: file.display().to_string() };
    if let Ok(key) = <[u8; 32]>::try_from(bytes.as_slice()) {
        return Ok(key);
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| form())?.trim();
    let mut key = [0; 32];
    if text.len() != 64 {
        return Err(form());
    }
    for (byte, pair) in key.iter_mut().zip(text.as_bytes().chunks(2)) {
        let pair = std::str::from_utf8(pair).map_err(|_| form())?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| form())?;
    }
    Ok(key)
}

/// A key that lives as long as this process.
///
/// # Errors
/// If the system has no randomness.
pub fn passing_key() -> Result<[u8; 32], CustodyError> {
    let mut key = [0; 32];
    aws_lc_rs::rand::fill(&mut key).map_err(|_| CustodyError::Randomness)?;
    Ok(key)
}

/// A key for one use, made of another key (HMAC-SHA-256 of the use's name, cut to 128 bits).
pub fn derived(key: &[u8; 32], use_: &str) -> [u8; 16] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), format!("popgate {use_}").as_bytes());
    tag.as_ref().first_chunk().copied().unwrap_or_default()
}

/// Reads a file that only its owner may read.
///
/// # Errors
/// If it cannot be read, or is readable by others.
pub fn private_file(file: &Path) -> Result<Vec<u8>, CustodyError> {
    use std::os::unix::fs::PermissionsExt as _;
    let io = |source| CustodyError::Io { file: file.display().to_string(), source };
    let mode = std::fs::metadata(file).map_err(io)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(CustodyError::Mode { file: file.display().to_string(), mode });
    }
    std::fs::read(file).map_err(io)
}
