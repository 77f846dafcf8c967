//! The checks of a client, each with what is wrong and what to do about it: all of them, not only the first that fails.
//!
//! For the one who shows the certificate, so it MUST be proved (or be the operator's own file) that it is theirs. What is not the
//! certificate's own is told only where an authority in force vouches for it: who could be in the directory, what a revocation list
//! says. A certificate that anybody can make is asked about for nothing.

use jiff::Timestamp;
use popgate_policy::directory::{Directory, Holder, Identity, TlsVersion};
use rustls::pki_types::CertificateDer;
use serde::Serialize;

use crate::accept::trust::{Examination, NoPath, NotUnderstood, Revocation};
use crate::certificate::facts::Facts;

mod texts;

pub(crate) use texts::{shown as printable, version};

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked.
    pub check: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// A stable code of what is wrong; the codes of refusals and failed handshakes, where there is one.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub code: &'static str,
    /// What was found.
    pub found: String,
    /// What to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As it should be.
    Pass,
    /// Requests are refused for this.
    Fail,
    /// Requests are not refused for this now, but it should be mended.
    Warn,
    /// It depends on what failed, or on what is not known here.
    Unchecked,
}

/// What a client showed.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// As it was sent.
    pub chain: Vec<CertificateDer<'static>>,
    /// What each of them says; `None` if it cannot be read.
    pub facts: Vec<Option<Facts>>,
    /// What the first shows of who holds it.
    pub identities: Vec<Identity>,
}

impl Shown {
    /// Reads a chain, the client's own certificate first.
    pub fn new(chain: Vec<CertificateDer<'static>>) -> Self {
        let facts: Vec<_> = chain.iter().map(|der| Facts::of(der).ok()).collect();
        let identities = chain.first().and_then(|der| crate::certificate::identities(der).ok()).unwrap_or_default();
        Self { chain, facts, identities }
    }

    /// What the client's own certificate says.
    pub fn own(&self) -> Option<&Facts> {
        self.facts.first().and_then(Option::as_ref)
    }

    /// The certificates that matter: those of the path, or all.
    fn within<'a>(&'a self, examination: Option<&Examination>) -> impl Iterator<Item = (usize, &'a Facts)> {
        let path = examination.and_then(|examination| examination.path.as_ref().ok()).cloned();
        let all = self.facts.iter().enumerate().filter_map(|(at, facts)| Some((at, facts.as_ref()?)));
        all.filter(move |(at, _)| path.as_ref().is_none_or(|path| path.contains(at)))
    }
}

/// Checks what was shown. Without an `examination`, what a certificate says of itself.
pub fn of_certificate(shown: &Shown, examination: Option<&Examination>, now: Timestamp) -> Vec<Check> {
    let Some(own) = shown.own() else {
        let check = match shown.chain.is_empty() {
            true => fail("certificate", "certificate_missing", "no certificate was sent", texts::SEND_ONE),
            false => fail("certificate", "certificate_invalid", "the certificate cannot be read", texts::EXPORT_AGAIN),
        };
        let others = ["authority", "chain", "form", "validity", "revocation", "usage", "extensions"];
        let others = others.into_iter().map(|check| unchecked(check, "there is no certificate to look at"));
        return std::iter::once(check).chain(others).collect();
    };
    let what = format!("{} of {}", own.key, texts::shown(&own.subject));
    let mut checks = vec![match own.key_is_usable {
        true => pass("certificate", what),
        false => {
            let found = format!("its key is of a kind or size that is refused here ({})", own.key);
            fail("certificate", "certificate_invalid", &found, texts::ANOTHER_KEY)
        }
    }];
    if let Some(examination) = examination {
        checks.extend(of_path(shown, own, examination));
    }
    checks.push(of_validity(shown, examination, now));
    checks.extend(examination.map(|examination| of_revocation(examination.revocation)));
    checks.push(of_usage(shown, examination));
    checks.push(of_extensions(shown, examination));
    checks
}

/// Whether an authority in force vouches for the certificate, and has not taken that back.
pub fn is_vouched_for(examination: &Examination) -> bool {
    examination.path.is_ok() && examination.revocation != Revocation::Revoked
}

/// Checks who is enrolled, and how that system may connect. Without a `tls`, whatever comes of a connection is not known here.
pub fn of_system(
    shown: &Shown,
    vouched: bool,
    directory: &Directory,
    connection: Option<(std::net::IpAddr, TlsVersion)>,
) -> Vec<Check> {
    let holder = vouched.then(|| directory.holder(&shown.identities)).flatten();
    let enrolment = match (vouched, &holder) {
        (false, _) => unchecked("enrolment", "no authority in force vouches for a certificate"),
        (true, Some(Holder::System(system))) => pass("enrolment", format!("enrolled as {}", system.id)),
        (true, Some(Holder::Exchange(exchange))) => pass(
            "enrolment",
            format!("enrolled as {}, an exchange server: name a client in X-Road-Client", exchange.id),
        ),
        (true, None) if directory.claimants(&shown.identities) > 1 => fail(
            "enrolment",
            "identity_ambiguous",
            "the certificate shows identities of more than one enrolled system, and so stands for none",
            "ask for a certificate with one system's identity",
        ),
        (true, None) => fail(
            "enrolment",
            "system_not_enrolled",
            "no system is enrolled for what this certificate shows",
            &texts::enrol_one_of(&shown.identities),
        ),
    };
    let (network, version) = match (&holder, connection) {
        (Some(holder), Some((source, version))) => (of_network(holder, source), of_version(holder, version)),
        (Some(_), None) => {
            let nowhere = "it depends on the connection";
            (unchecked("network", nowhere), unchecked("tls_version", nowhere))
        }
        (None, _) => {
            let nobody = "it depends on the system";
            (unchecked("network", nobody), unchecked("tls_version", nobody))
        }
    };
    vec![enrolment, network, version]
}

/// Checks that nobody suspended the system (or exchange server) or its agency. `suspended` is the code of the refusal; `None` outside if nobody is enrolled.
pub fn of_suspension(suspended: Option<Option<&'static str>>) -> Check {
    match suspended {
        None => unchecked("suspension", "it depends on the system"),
        Some(None) => pass("suspension", "neither it nor its agency is suspended"),
        Some(Some(code)) => {
            let found = "an operator of the gateway has suspended it or its agency";
            fail("suspension", code, found, "ask the gateway's operator")
        }
    }
}

/// What the agencies' listener says to the chain as a whole: the last word on the checks before.
pub fn of_handshake(examination: &Examination) -> Check {
    match examination.refused {
        None => pass("handshake", "the agencies' address takes this chain"),
        Some(reason) => {
            let found = format!("the agencies' address refuses this chain: {}", reason.name());
            fail("handshake", reason.name(), &found, "mend what the other checks name")
        }
    }
}

/// How far the client's clock is from ours, if it told its time in `Date`. `skew` is positive if it is ahead.
pub fn of_clock(skew: Option<i64>) -> Check {
    match skew {
        None => unchecked("clock", "the request has no `Date` header to compare with"),
        Some(skew) if skew.abs() <= SKEW_MOST => pass("clock", format!("the client's differs by {skew} s")),
        Some(skew) => {
            let direction = if skew > 0 { "ahead of" } else { "behind" };
            let found = format!("the client's clock is {} {direction} the gateway's", texts::duration(skew.abs()));
            Check { outcome: Outcome::Warn, ..fail("clock", "clock_skew", &found, texts::SET_THE_CLOCK) }
        }
    }
}

fn of_path(shown: &Shown, own: &Facts, examination: &Examination) -> [Check; 3] {
    let no_path = match &examination.path {
        Ok(_) => {
            return [
                pass("authority", format!("issued by {}, below an authority in force", texts::shown(&own.issuer))),
                pass("chain", "every certificate between is there"),
                pass("form", "every signature and constraint holds"),
            ];
        }
        Err(no_path) => no_path,
    };
    let end = end_of(shown, own);
    match no_path {
        NoPath::IssuerUnknown if end.self_issued() => {
            let found = format!("{} is no authority of this gateway", texts::shown(&end.issuer));
            [
                fail("authority", "authority_unknown", &found, texts::ASK_FOR_THE_AUTHORITY),
                pass("chain", "every certificate up to a root is there"),
                unchecked("form", "no authority to verify it by"),
            ]
        }
        NoPath::IssuerUnknown => {
            let issuer = texts::shown(&end.issuer);
            let found = format!("the chain ends at {issuer}, which is no authority of this gateway");
            let missing = format!("the certificate of {issuer} was not sent");
            [
                fail("authority", "authority_unknown", &found, texts::ASK_FOR_THE_AUTHORITY),
                fail("chain", "intermediate_missing", &missing, texts::SEND_THE_INTERMEDIATE),
                unchecked("form", "no authority to verify it by"),
            ]
        }
        NoPath::Forged => [
            unchecked("authority", "a signature is wrong"),
            unchecked("chain", "a signature is wrong"),
            fail("form", "certificate_invalid", texts::FORGED, texts::SEND_THE_RIGHT_ONES),
        ],
        NoPath::Broken(what) => [
            unchecked("authority", "the chain breaks a rule"),
            unchecked("chain", "the chain breaks a rule"),
            fail("form", "certificate_invalid", what, "ask the authority for a certificate without this"),
        ],
    }
}

/// The certificate that the chain ends at, by names alone.
fn end_of<'a>(shown: &'a Shown, own: &'a Facts) -> &'a Facts {
    let mut end = own;
    for _ in &shown.facts {
        let mut known = shown.facts.iter().flatten();
        match known.find(|facts| facts.subject == end.issuer) {
            Some(issuer) if !end.self_issued() => end = issuer,
            _ => break,
        }
    }
    end
}

fn of_validity(shown: &Shown, examination: Option<&Examination>, now: Timestamp) -> Check {
    let mut wrong: Option<Check> = None;
    let mut last = None;
    for (at, facts) in shown.within(examination) {
        let whose = if at == 0 { "it".to_owned() } else { format!("that of {}", texts::shown(&facts.subject)) };
        let (code, found, remedy) = if now < facts.not_before {
            let wait = texts::duration(facts.not_before.duration_since(now).as_secs());
            ("certificate_not_yet_valid", format!("{whose} is valid in {wait}, from {}", facts.not_before), texts::WAIT)
        } else if now > facts.not_after {
            let since = texts::duration(now.duration_since(facts.not_after).as_secs());
            ("certificate_expired", format!("{whose} expired {since} ago, at {}", facts.not_after), texts::RENEW)
        } else {
            last = last.map_or(Some(facts.not_after), |last: Timestamp| Some(last.min(facts.not_after)));
            continue;
        };
        match &mut wrong {
            Some(check) => check.found = format!("{}; {found}", check.found),
            None => wrong = Some(fail("validity", code, &found, remedy)),
        }
    }
    wrong.unwrap_or_else(|| pass("validity", last.map_or(String::new(), |last| format!("until {last}"))))
}

fn of_revocation(revocation: Revocation) -> Check {
    match revocation {
        Revocation::Good => pass("revocation", "on no revocation list"),
        Revocation::NoList => {
            pass("revocation", "on no revocation list; not every authority of the chain has one here")
        }
        Revocation::Revoked => fail("revocation", "certificate_revoked", "a certificate was revoked", texts::ASK_ANEW),
        Revocation::TooOld => {
            let found = "the authority's revocation list at the gateway is too old to rely on";
            fail("revocation", "revocation_unknown", found, texts::RENEW_THE_LIST)
        }
        Revocation::Unusable => {
            let found = "the authority's revocation list at the gateway cannot be relied on";
            fail("revocation", "revocation_unknown", found, texts::RENEW_THE_LIST)
        }
        Revocation::Unchecked => unchecked("revocation", "no authority in force vouches for a certificate"),
    }
}

fn of_usage(shown: &Shown, examination: Option<&Examination>) -> Check {
    let restricted = |facts: &Facts| {
        !facts.extended_key_usage.is_empty() && !facts.extended_key_usage.iter().any(|usage| usage == "clientAuth")
    };
    // Held against authorities, its form says so.
    if examination.is_none() && shown.own().is_some_and(|own| own.authority) {
        let found = "it is an authority's (basicConstraints CA), and so no client's";
        return fail("usage", "certificate_invalid", found, "ask the authority for a certificate of a client");
    }
    match shown.within(examination).find(|(_, facts)| restricted(facts)) {
        None => pass("usage", "it may be a client's"),
        Some((at, facts)) => {
            let usages = texts::shown(&facts.extended_key_usage.join(", "));
            let found = match at {
                0 => format!("its extended key usage is {usages}, without clientAuth"),
                _ => format!("that of {} is for {usages} only, not for clientAuth", texts::shown(&facts.subject)),
            };
            fail(
                "usage",
                "wrong_usage",
                &found,
                "ask the authority for a certificate with the extended key usage clientAuth",
            )
        }
    }
}

fn of_extensions(shown: &Shown, examination: Option<&Examination>) -> Check {
    let not_understood = match examination {
        Some(examination) => examination.not_understood.clone(),
        None => NotUnderstood::of(&shown.chain),
    };
    if not_understood.0.is_empty() {
        return pass("extensions", "every critical one is understood");
    }
    fail("extensions", "critical_extension", &format!("{not_understood}: not understood"), texts::NOT_CRITICAL)
}

fn of_network(holder: &Holder, source: std::net::IpAddr) -> Check {
    let source = source.to_canonical();
    let admitted = match holder {
        Holder::System(system) => system.admits_source(source),
        Holder::Exchange(exchange) => exchange.admits_source(source),
    };
    if admitted {
        return pass("network", format!("{source} is listed"));
    }
    let found = format!("the connection comes from {source}, which is not listed for the system");
    fail("network", "network_not_listed", &found, "connect from an enrolled network, or have this one enrolled")
}

fn of_version(holder: &Holder, version: TlsVersion) -> Check {
    let name = texts::version(version);
    let least = match holder {
        Holder::System(system) => system.min_tls,
        Holder::Exchange(exchange) => exchange.min_tls,
    };
    if version >= least {
        return pass("tls_version", name);
    }
    let least = texts::version(least);
    fail("tls_version", "tls_version_too_old", &format!("{name}; the system needs {least}"), &format!("offer {least}"))
}

fn pass(check: &'static str, found: impl Into<String>) -> Check {
    Check { check, outcome: Outcome::Pass, code: "", found: found.into(), remedy: String::new() }
}

fn unchecked(check: &'static str, why: &str) -> Check {
    Check { outcome: Outcome::Unchecked, ..pass(check, why) }
}

fn fail(check: &'static str, code: &'static str, found: &str, remedy: &str) -> Check {
    Check { outcome: Outcome::Fail, code, remedy: remedy.to_owned(), ..pass(check, found) }
}

/// Seconds: what nobody need mend.
const SKEW_MOST: i64 = 120;
