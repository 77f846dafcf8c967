//! What to do about a connection that does not come about.

use std::io;

use rustls::{CertificateError, Error};

/// The second half of a sentence about the error; empty if nothing more can be said.
pub(super) fn of_io(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::ConnectionRefused {
        return "; is the node running, with `[listen] admin` at this address?";
    }
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)) => {
            "; name the authority of the node's certificate with --ca"
        }
        Some(Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => "; use a name that the node's certificate shows",
        Some(Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. })) => {
            "; the node's certificate must be renewed"
        }
        Some(Error::AlertReceived(_)) => {
            "; the node does not take this certificate: show one of an authority in its `[admin] client_cas`, neither expired nor \
             revoked"
        }
        _ => "",
    }
}
