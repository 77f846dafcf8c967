//! Files of the authority: never overwritten by accident, keys readable by their owner alone.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::{PemObject as _, SectionKind};

use super::{PkiError, content};
use crate::certificate::hex;

/// Makes a file with a new random key of 32 bytes, in hex, mode 0600.
///
/// # Errors
/// If the file exists or cannot be written.
pub fn new_key(file: &Path) -> Result<(), PkiError> {
    write_new(file, format!("{}\n", hex(&random::<32>()?)).as_bytes(), 0o600)
}

pub(super) fn random<const N: usize>() -> Result<[u8; N], PkiError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| PkiError::Invalid("the machine gives no random numbers".to_owned()))?;
    Ok(bytes)
}

pub(super) fn write_new(file: &Path, bytes: &[u8], mode: u32) -> Result<(), PkiError> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(file);
    let written = opened.and_then(|mut open| {
        open.write_all(bytes)?;
        open.sync_all()
    });
    written.map_err(|source| match source.kind() {
        std::io::ErrorKind::AlreadyExists => PkiError::Exists(file.to_owned()),
        _ => PkiError::Io { file: file.to_owned(), source },
    })
}

/// Writes beside and renames: whoever reads the file sees the old one or the new one, whole.
pub(super) fn replace(file: &Path, bytes: &[u8]) -> Result<(), PkiError> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let written = File::create(&beside).and_then(|mut open| {
        open.write_all(bytes)?;
        open.sync_all()?;
        std::fs::rename(&beside, file)
    });
    written.map_err(|source| PkiError::Io { file: file.to_owned(), source })
}

pub(super) fn read(file: &Path) -> Result<Vec<u8>, PkiError> {
    std::fs::read(file).map_err(|source| PkiError::Io { file: file.to_owned(), source })
}

/// The first PEM section of a file.
pub(super) fn pem_der(file: &Path, pem: &[u8]) -> Result<Vec<u8>, PkiError> {
    match <(SectionKind, Vec<u8>)>::from_pem_slice(pem) {
        Ok((_, der)) => Ok(der),
        Err(_) => Err(content(file, "no PEM that can be read")),
    }
}
