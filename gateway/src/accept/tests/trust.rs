//! Files of trust: what one bad file does, and does not do, to the others.

use std::os::unix::fs::PermissionsExt as _;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::danger::ClientCertVerifier as _;

use super::harness::{Site, copy, hours};
use crate::accept::tls::HandshakeFailure;
use crate::accept::trust::NoPath;
use crate::accept::{Trust, TrustError};
use crate::clock::Clock;
use crate::pki::{Authority, Issued, Usage, Validity};
use crate::refusal::Refusal;

fn load(site: &Site, previous: Option<&Trust>) -> Result<(Trust, Vec<String>), TrustError> {
    let (trust, warnings) = Trust::load(&site.tls, 2, &site.clock, previous)?;
    Ok((trust, warnings.iter().map(ToString::to_string).collect()))
}

fn chain(issued: &Issued) -> Vec<CertificateDer<'static>> {
    vec![CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap()]
}

#[test]
fn an_expired_or_unreadable_authority_harms_no_other() {
    let site = Site::new();
    Authority::create(site.dir.path(), "ca-old", Validity::expired(site.clock.wall())).unwrap();
    std::fs::remove_file(site.path("ca-old.crl")).unwrap();
    std::fs::write(site.path("ca-bad.pem"), "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n").unwrap();
    std::fs::write(site.path("ca-empty.pem"), "").unwrap();
    copy(&site.path("gateway.pem"), &site.path("ca-leaf.pem"));
    let (trust, warnings) = load(&site, None).unwrap();
    assert_eq!(trust.authorities().len(), 1);
    for expected in
        ["ca-old.pem`: left out: CN=ca-old expired", "ca-bad.pem`: left out", "ca-empty.pem`: left out", "no authority"]
    {
        assert!(warnings.iter().any(|warning| warning.contains(expected)), "{expected}: {warnings:?}");
    }
    assert_eq!(trust.recheck(&chain(&site.client()), site.clock.unix()), Ok(()));
    std::fs::remove_file(site.path("ca.pem")).unwrap();
    let error = load(&site, None).unwrap_err();
    assert!(
        matches!(error, TrustError::NoAuthority { .. }) && error.to_string().contains("CN=ca-old expired"),
        "{error}"
    );
}

#[test]
fn a_chain_longer_than_any_path_is_refused_unread_and_says_so() {
    let site = Site::new();
    let (trust, _) = load(&site, None).unwrap();
    let now = site.clock.unix();
    let own = chain(&site.client());
    // Junk that cannot be read: whoever looked at it would say something else.
    let with = |others: usize| [own.clone(), vec![CertificateDer::from(vec![0x30, 0]); others]].concat();
    assert_eq!(trust.admit(&with(6), now), Ok(()), "what is not needed harms nobody");
    for others in [7, 100] {
        let long = with(others);
        let error = trust.verifier().verify_client_cert(&long[0], &long[1..], now).unwrap_err();
        let said = crate::accept::tls::detail(&error).unwrap();
        assert_eq!(said, format!("{others} certificates beside the client's own, and at most 6 are taken"));
        assert_eq!(trust.admit(&long, now), Err(HandshakeFailure::CertificateInvalid));
        assert!(trust.recheck(&long, now).is_err(), "live connections too");
        let examination = trust.verifier().examine(&long, now);
        assert!(matches!(examination.path, Err(NoPath::Broken(what)) if what.contains("more than six")));
        assert_eq!(examination.refused, Some(HandshakeFailure::CertificateInvalid));
    }
}

#[test]
fn a_revocation_list_that_cannot_be_read_is_an_error() {
    let site = Site::new();
    let good = std::fs::read(site.path("ca.crl")).unwrap();
    for bad in [&b""[..], b"nonsense", &good[..good.len() / 2]] {
        std::fs::write(site.path("ca.crl"), bad).unwrap();
        let error = load(&site, None).unwrap_err().to_string();
        assert!(error.contains("ca.crl") && error.contains("no revocation list that can be read"), "{error}");
    }
}

#[test]
fn a_revocation_list_does_not_vanish_or_go_back_in_time() {
    let site = Site::new();
    let client = site.client();
    let first = std::fs::read(site.path("ca.crl")).unwrap();
    site.ca.revoke(&client.serial, site.clock.wall() + hours(1), hours(1)).unwrap();
    let (trust, _) = load(&site, None).unwrap();
    assert_eq!(trust.recheck(&chain(&client), site.clock.unix()), Err(Refusal::CertificateRevoked));
    std::fs::write(site.path("ca.crl"), first).unwrap();
    let older = load(&site, Some(&trust)).unwrap_err();
    assert!(matches!(older, TrustError::RevocationLost { .. }) && older.to_string().contains("older"), "{older}");
    std::fs::remove_file(site.path("ca.crl")).unwrap();
    let gone = load(&site, Some(&trust)).unwrap_err();
    assert!(matches!(gone, TrustError::RevocationLost { .. }) && gone.to_string().contains("is gone"), "{gone}");
}

#[test]
fn a_revocation_does_not_wait_for_another_file() {
    let site = Site::new();
    let client = site.client();
    let (before, _) = load(&site, None).unwrap();
    std::fs::write(site.path("other.crl"), "nonsense").unwrap();
    std::fs::write(site.path("gateway.key"), "nonsense").unwrap();
    assert!(load(&site, Some(&before)).is_err(), "nothing to put in force");
    site.ca.revoke(&client.serial, site.clock.wall() + hours(1), hours(1)).unwrap();
    let (trust, warnings) = load(&site, Some(&before)).unwrap();
    assert_eq!(trust.recheck(&chain(&client), site.clock.unix()), Err(Refusal::CertificateRevoked));
    assert_eq!(trust.expires(), before.expires());
    for expected in ["other.crl`: refused", "gateway.key`: refused"] {
        assert!(warnings.iter().any(|warning| warning.contains(expected)), "{expected}: {warnings:?}");
    }
    let other = Authority::create(site.dir.path(), "ca-other", Validity::days(site.clock.wall(), 30)).unwrap();
    std::fs::write(site.path("ca.crl"), "nonsense").unwrap();
    let (trust, _) = load(&site, Some(&trust)).unwrap();
    assert_eq!(trust.authorities().len(), 2, "{other:?}");
    assert_eq!(trust.recheck(&chain(&client), site.clock.unix()), Err(Refusal::CertificateRevoked));
}

#[test]
fn the_list_of_a_withdrawn_authority_may_go_later_and_blocks_nobody() {
    let site = Site::new();
    Authority::create(site.dir.path(), "ca-other", Validity::days(site.clock.wall(), 30)).unwrap();
    let (both, _) = load(&site, None).unwrap();
    std::fs::remove_file(site.path("ca-other.pem")).unwrap();
    let (withdrawn, _) = load(&site, Some(&both)).unwrap();
    let (reloaded, _) = load(&site, Some(&withdrawn)).unwrap();
    std::fs::remove_file(site.path("ca-other.crl")).unwrap();
    assert_eq!(load(&site, Some(&reloaded)).unwrap().0.crls().len(), 1);
}

#[test]
fn of_two_lists_the_newer_one_counts() {
    let site = Site::new();
    let client = site.client();
    copy(&site.path("ca.crl"), &site.path("a-old.crl"));
    copy(&site.path("ca.crl"), &site.path("z-old.crl"));
    site.ca.revoke(&client.serial, site.clock.wall() + hours(1), hours(1)).unwrap();
    let (trust, warnings) = load(&site, None).unwrap();
    assert_eq!(trust.crls().len(), 1);
    assert_eq!(warnings.iter().filter(|warning| warning.contains("there is a newer list")).count(), 2, "{warnings:?}");
    assert_eq!(trust.recheck(&chain(&client), site.clock.unix()), Err(Refusal::CertificateRevoked));
}

#[test]
fn a_list_past_its_grace_stops_new_handshakes_of_its_authority_only() {
    let mut site = Site::new();
    let now = site.clock.wall();
    let other = Authority::create(site.dir.path(), "ca-other", Validity::days(now, 30)).unwrap();
    let revoked = site.client();
    site.ca.revoke(&revoked.serial, now, hours(1)).unwrap();
    let (mine, theirs) =
        (chain(&site.client()), chain(&site.client_valid(&other, Usage::Client, Validity::days(now, 30))));
    let later = |hours: i64| Clock::system("UTC").unwrap().shifted(jiff::SignedDuration::from_mins(hours * 60 - 30));
    site.clock = later(2);
    let (trust, warnings) = load(&site, None).unwrap();
    assert!(warnings.iter().any(|warning| warning.contains("was due for renewal")), "{warnings:?}");
    let at = |hours| later(hours).unix();
    assert_eq!(trust.admit(&mine, at(2)), Ok(()), "within the grace");
    assert_eq!(trust.admit(&mine, at(3)), Err(HandshakeFailure::RevocationUnknown), "past the grace");
    assert_eq!(trust.admit(&theirs, at(3)), Ok(()));
    assert_eq!(trust.recheck(&mine, at(3)), Ok(()), "live connections go on");
    assert_eq!(trust.recheck(&chain(&revoked), at(3)), Err(Refusal::CertificateRevoked), "but not revoked ones");
    site.tls.crl_grace = None;
    assert_eq!(load(&site, None).unwrap().0.admit(&mine, at(100)), Ok(()), "no grace means for ever");
}

#[test]
fn what_is_wrong_with_the_gateways_own_files_is_said() {
    let site = Site::new();
    let said = |site: &Site| load(site, None).unwrap_err().to_string();
    std::fs::set_permissions(site.path("gateway.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(said(&site).contains("chmod 600"), "{}", said(&site));
    let other = site.client();
    std::fs::write(site.path("gateway.key"), &other.key).unwrap();
    std::fs::set_permissions(site.path("gateway.key"), std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(said(&site).contains("does not belong to the key"), "{}", said(&site));
    std::fs::write(site.path("gateway.key"), "nonsense").unwrap();
    assert!(said(&site).contains("no PEM private key"), "{}", said(&site));
    std::fs::write(site.path("gateway.pem"), "nonsense").unwrap();
    assert!(said(&site).contains("no PEM certificate"), "{}", said(&site));
    std::fs::remove_file(site.path("gateway.pem")).unwrap();
    assert!(said(&site).contains("cannot read"), "{}", said(&site));
}

#[test]
fn chain_and_key_may_be_one_file() {
    let mut site = Site::new();
    let both = std::fs::read_to_string(site.path("gateway.pem")).unwrap()
        + &std::fs::read_to_string(site.path("gateway.key")).unwrap();
    std::fs::write(site.path("both.pem"), both).unwrap();
    std::fs::set_permissions(site.path("both.pem"), std::fs::Permissions::from_mode(0o600)).unwrap();
    site.tls.certificate = site.path("both.pem");
    site.tls.key = site.path("both.pem");
    load(&site, None).unwrap();
}
