//! Chains of which the path builder is shown single bytes changed, while each signature is verified over what was signed.
//!
//! The TLS library refuses every certificate with a critical extension that it does not process, and cannot be told of others.
//! Two readers need more. Government authorities mark `certificatePolicies` and `inhibitAnyPolicy` as critical, which
//! [`Rewritten::without_idle_policies`] lets pass where they cannot change the outcome. A diagnosis must look behind the first
//! thing that is wrong: [`Rewritten::for_diagnosis`].
//!
//! Only the flag "critical" of an extension and the two times of the validity are ever changed, in place. What is shown has its
//! own `tbsCertificate` looked up by its bytes, so a changed certificate is good only if its issuer signed the original.

use std::collections::BTreeSet;
use std::ops::Range;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm};

use crate::certificate::facts::Critical;
use crate::certificate::layout::{Elements, Extension, IA5_STRING, INTEGER, Layout, OID, SEQUENCE};

/// A chain as the path builder is shown it.
#[derive(Debug)]
pub(super) struct Rewritten {
    chain: Vec<CertificateDer<'static>>,
    changed: Vec<Changed>,
}

#[derive(Debug)]
struct Changed {
    /// The `tbsCertificate` as shown.
    shown: Vec<u8>,
    /// As its issuer signed it.
    signed: Vec<u8>,
}

impl Rewritten {
    /// The chain with the policy extensions not critical that cannot change whether it is good; `None` if it has none such.
    ///
    /// By RFC 5280, section 6.1, with any policy acceptable and none required (this gateway asks for none), the policies of a
    /// chain are without effect unless one of its certificates has `policyConstraints` (which may require one) or
    /// `policyMappings` (which may be malformed as a whole): a chain with either is left as it is, and refused. So is one
    /// whose extensions are not strictly those that the RFC defines, with the qualifiers that it defines: who marks an extension
    /// as critical demands that all of it be understood.
    pub(super) fn without_idle_policies(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let layouts: Vec<Layout> = chain.iter().map(|der| Layout::of(der)).collect::<Option<_>>()?;
        if chain.iter().zip(&layouts).any(|(der, layout)| constrains_policies(der, layout)) {
            return None;
        }
        let mut rewritten = Self { chain: Vec::new(), changed: Vec::new() };
        for (at, (der, layout)) in chain.iter().zip(&layouts).enumerate() {
            let mut flags = Vec::new();
            for extension in &layout.extensions {
                if let Some(flag) = extension.critical.filter(|_| is_idle(der, layout, extension, at > 0)) {
                    flags.push((flag..flag + 1, &[0][..]));
                }
            }
            rewritten.push(der, layout, &flags);
        }
        (!rewritten.changed.is_empty()).then_some(rewritten)
    }

    /// The chain as if it were valid at all times and had no critical extension that is not understood: what else is wrong with it?
    /// MUST NOT decide who is let in.
    pub(super) fn for_diagnosis(chain: &[CertificateDer<'_>]) -> Self {
        let mut rewritten = Self { chain: Vec::new(), changed: Vec::new() };
        for der in chain {
            let Some(layout) = Layout::of(der) else {
                rewritten.chain.push(der.clone().into_owned());
                continue;
            };
            let mut changes = Vec::new();
            for (time, bounds) in layout.validity.iter().zip(ALWAYS) {
                let bound = bounds.into_iter().find(|(tag, text)| *tag == time.tag && text.len() == time.content.len());
                changes.extend(bound.map(|(_, text)| (time.content.clone(), text.as_bytes())));
            }
            for extension in &layout.extensions {
                if let (Some(flag), Some(critical)) = (extension.critical, Critical::of(der, extension))
                    && !critical.is_understood()
                {
                    changes.push((flag..flag + 1, &[0][..]));
                }
            }
            rewritten.push(der, &layout, &changes);
        }
        rewritten
    }

    /// The certificates as shown, in the order of the originals.
    pub(super) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// Algorithms that verify each signature over what was signed.
    pub(super) fn algorithms(&self, supported: &WebPkiSupportedAlgorithms) -> Vec<Restoring<'_>> {
        supported.all.iter().map(|algorithm| Restoring { algorithm: *algorithm, rewritten: self }).collect()
    }

    fn push(&mut self, der: &CertificateDer<'_>, layout: &Layout, changes: &[(Range<usize>, &[u8])]) {
        let mut bytes = der.to_vec();
        for (place, new) in changes {
            if let Some(old) = bytes.get_mut(place.clone()).filter(|old| old.len() == new.len()) {
                old.copy_from_slice(new);
            }
        }
        if let (Some(shown), Some(signed)) = (bytes.get(layout.signed.clone()), der.get(layout.signed.clone()))
            && shown != signed
        {
            self.changed.push(Changed { shown: shown.to_vec(), signed: signed.to_vec() });
        }
        self.chain.push(bytes.into());
    }
}

/// One of the TLS library's algorithms, over what was signed.
#[derive(Debug)]
pub(super) struct Restoring<'a> {
    algorithm: &'static dyn SignatureVerificationAlgorithm,
    rewritten: &'a Rewritten,
}

impl SignatureVerificationAlgorithm for Restoring<'_> {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let changed = self.rewritten.changed.iter().find(|changed| changed.shown == message);
        self.algorithm.verify_signature(key, changed.map_or(message, |changed| &changed.signed), signature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.signature_alg_id()
    }

    fn fips(&self) -> bool {
        self.algorithm.fips()
    }
}

/// Whether a certificate has a say in which policies a chain must have. Whoever cannot be read has.
pub(super) fn may_constrain_policies(der: &[u8]) -> bool {
    Layout::of(der).is_none_or(|layout| constrains_policies(der, &layout))
}

fn constrains_policies(der: &[u8], layout: &Layout) -> bool {
    layout.extensions.iter().any(|it| matches!(der.get(it.oid.clone()), Some(POLICY_MAPPINGS | POLICY_CONSTRAINTS)))
}

fn is_idle(der: &[u8], layout: &Layout, extension: &Extension, of_authority: bool) -> bool {
    let oid = der.get(extension.oid.clone());
    let once = layout.extensions.iter().filter(|other| der.get(other.oid.clone()) == oid).count() == 1;
    let understood = match oid {
        Some(CERTIFICATE_POLICIES) => policies(der, &extension.value).is_some(),
        Some(INHIBIT_ANY_POLICY) => of_authority && inhibit_any_policy(der, &extension.value).is_some(),
        _ => false,
    };
    // DER writes "true" in one way only; what is written otherwise stays, and is refused.
    once && understood && extension.critical.and_then(|flag| der.get(flag)) == Some(&0xff)
}

/// RFC 5280, section 4.2.1.4.
fn policies(der: &[u8], value: &Range<usize>) -> Option<()> {
    let mut list = only(der, value, SEQUENCE)?;
    let mut seen = BTreeSet::new();
    while !list.at_end() {
        let mut policy = Elements::within(der, &list.expect(SEQUENCE)?.content);
        if !seen.insert(der.get(policy.expect(OID)?.content)?) {
            return None;
        }
        if policy.at_end() {
            continue;
        }
        let mut qualifiers = Elements::within(der, &policy.expect(SEQUENCE)?.content);
        loop {
            let mut qualifier = Elements::within(der, &qualifiers.expect(SEQUENCE)?.content);
            let kind = qualifier.expect(OID)?.content;
            match der.get(kind)? {
                CPS => qualifier.expect(IA5_STRING)?,
                USER_NOTICE => qualifier.expect(SEQUENCE)?,
                _ => return None,
            };
            if !qualifier.at_end() {
                return None;
            }
            if qualifiers.at_end() {
                break;
            }
        }
        if !policy.at_end() {
            return None;
        }
    }
    (!seen.is_empty()).then_some(())
}

/// RFC 5280, section 4.2.1.14: a number of certificates, not negative.
fn inhibit_any_policy(der: &[u8], value: &Range<usize>) -> Option<()> {
    let mut number = Elements::within(der, value);
    let content = number.expect(INTEGER)?.content;
    let first = *der.get(content)?.first()?;
    (number.at_end() && first < 0x80).then_some(())
}

/// What the one element of that kind holds.
fn only<'a>(der: &'a [u8], part: &Range<usize>, tag: u8) -> Option<Elements<'a>> {
    let mut elements = Elements::within(der, part);
    let content = elements.expect(tag)?.content;
    elements.at_end().then(|| Elements::within(der, &content))
}

const CERTIFICATE_POLICIES: &[u8] = &[0x55, 0x1d, 32];
const POLICY_MAPPINGS: &[u8] = &[0x55, 0x1d, 33];
const POLICY_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 36];
const INHIBIT_ANY_POLICY: &[u8] = &[0x55, 0x1d, 54];
/// 1.3.6.1.5.5.7.2.1 and 2: where the practice statement is, and a text to show.
const CPS: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 2, 1];
const USER_NOTICE: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 2, 2];
/// By tag (UTCTime, GeneralizedTime): a beginning and an end of the same length.
const ALWAYS: [[(u8, &str); 2]; 2] =
    [[(0x17, "700101000000Z"), (0x18, "19700101000000Z")], [(0x17, "491231235959Z"), (0x18, "29991231235959Z")]];

#[cfg(test)]
mod tests {
    use super::*;

    fn good(value: &[u8]) -> bool {
        policies(value, &(0..value.len())).is_some()
    }

    #[test]
    fn policies_are_idle_only_if_all_of_them_is_what_the_rfc_defines() {
        let one = [0x30, 5, 0x06, 3, 0x2a, 3, 4];
        let list = |policies: &[&[u8]]| {
            let content = policies.concat();
            [&[0x30, u8::try_from(content.len()).unwrap()][..], &content].concat()
        };
        assert!(good(&list(&[&one])));
        assert!(!good(&list(&[])), "no policy");
        assert!(!good(&list(&[&one, &one])), "one policy twice");
        assert!(!good(&[list(&[&one]), vec![5, 0]].concat()), "more behind it");
        let qualified = |kind: u8, value: &[u8]| {
            let mut qualifier = vec![0x06, 8, 0x2b, 6, 1, 5, 5, 7, 2, kind];
            qualifier.extend(value);
            list(&[&list(&[&[0x06, 3, 0x2a, 3, 4], &list(&[&list(&[&qualifier])])])])
        };
        assert!(good(&qualified(1, &[0x16, 1, b'x'])));
        assert!(good(&qualified(2, &[0x30, 0])));
        assert!(!good(&qualified(3, &[0x30, 0])), "an unknown qualifier");
        assert!(!good(&qualified(1, &[0x30, 0])), "a qualifier of another kind");
        assert!(!good(&qualified(1, &[0x16, 1, b'x', 5, 0])), "more behind a qualifier");
    }

    #[test]
    fn a_negative_number_is_no_number_of_certificates() {
        for (value, idle) in
            [(&[2, 1, 0][..], true), (&[2, 1, 0xff], false), (&[2, 1, 0, 5, 0], false), (&[2, 0], false)]
        {
            assert_eq!(inhibit_any_policy(value, &(0..value.len())).is_some(), idle, "{value:?}");
        }
    }
}
