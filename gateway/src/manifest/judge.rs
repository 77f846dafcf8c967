//! Whether a bundle may come into force by its manifest.

use popgate_policy::analysis::{Diff, Verdict};
use popgate_policy::bundle::{Digest, Source};
use popgate_policy::problem::Problem;

use super::Signed;
use crate::signed::{EnvelopeError, Keys};

/// What came into force under signatures: what comes next is judged by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// What is in force.
    pub digest: Digest,
    /// How many signatures that needed.
    pub signatures: usize,
    /// The highest version that ever was in force.
    pub highest: u64,
}

/// What is known of a bundle by its manifest.
#[derive(Clone, Debug, Default)]
pub struct Inspected {
    /// The manifest, if there is one that can be read.
    pub signed: Option<Signed>,
    /// Whose keys have signed it.
    pub signed_by: Vec<String>,
    /// How many signatures are nobody's.
    pub strangers: usize,
    /// How many people must have signed; once that is known.
    pub needed: Option<usize>,
    /// Everything that is against it.
    pub refused: Vec<Refused>,
}

/// What is against a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It has no manifest.
    Missing,
    /// Its manifest cannot be read.
    Unreadable(EnvelopeError),
    /// Its files are not those that were signed.
    Files(Vec<String>),
    /// It is no newer than what was in force.
    Version {
        /// Its own.
        version: u64,
        /// The highest that was in force.
        highest: u64,
    },
    /// It was made to follow another bundle than the one in force: whoever signed saw another change.
    Follows {
        /// What it follows.
        follows: Option<Digest>,
        /// What is in force.
        in_force: Digest,
    },
    /// Too few people signed.
    Signatures {
        /// Who did.
        signed_by: Vec<String>,
        /// Signatures by keys that are not in the list.
        strangers: usize,
        /// How many must.
        needed: usize,
        /// Why so many.
        because: &'static str,
    },
    /// More is shown of sensitive fields, and the manifest does not say why.
    Sensitive(Vec<String>),
}

/// What can be said before the bundle is compiled. `held` is `None` where nothing came into force under signatures yet.
pub fn inspect(manifest: Option<&str>, source: &Source, keys: &Keys, held: Option<&Held>) -> Inspected {
    let mut found = Inspected::default();
    let signed = match manifest.map(Signed::parse) {
        None => {
            found.refused.push(Refused::Missing);
            return found;
        }
        Some(Err(error)) => {
            found.refused.push(Refused::Unreadable(error));
            return found;
        }
        Some(Ok(signed)) => signed,
    };
    let differences = signed.manifest().differences(source);
    if !differences.is_empty() {
        found.refused.push(Refused::Files(differences));
    }
    let (version, follows) = (signed.manifest().version, signed.manifest().follows);
    let in_force = held.filter(|held| held.signatures > 0 && held.digest == Digest::of(source));
    match held.filter(|_| in_force.is_none()) {
        Some(held) if version <= held.highest => {
            found.refused.push(Refused::Version { version, highest: held.highest });
        }
        // What nobody had to sign may be in force, and what comes after it be the first that somebody has.
        Some(held) if follows != Some(held.digest) && (follows.is_some() || held.signatures > 0) => {
            found.refused.push(Refused::Follows { follows, in_force: held.digest });
        }
        _ => {}
    }
    (found.signed_by, found.strangers) = signed.signers(keys);
    found.signed = Some(signed);
    match in_force {
        Some(held) => found.demand(held.signatures, "it needed as many when it came into force"),
        None if found.signed_by.is_empty() => found.demand(1, "nobody who may sign has"),
        None => {}
    }
    found
}

impl Inspected {
    /// Says how many must have signed what changes so much; `None` if there is nothing to compare with.
    pub fn weigh(&mut self, change: Option<&Diff>) {
        let (needed, because) = match change.map(|diff| diff.verdict) {
            None => (2, "nothing is in force that it could be shown to narrow"),
            Some(Verdict::Equal) => (1, "it shows what the one in force shows"),
            Some(Verdict::Narrows) => (1, "it only narrows"),
            Some(Verdict::Widens) => (2, "it widens"),
            Some(Verdict::Undecided) => (2, "it is not shown only to narrow"),
        };
        self.refused.retain(|refused| !matches!(refused, Refused::Signatures { .. }));
        self.demand(needed, because);
        let sensitive = change.map(|diff| diff.sensitive.clone()).unwrap_or_default();
        let explained = self.signed.as_ref().is_some_and(|signed| signed.manifest().allow_widening.is_some());
        if !sensitive.is_empty() && !explained {
            self.refused.push(Refused::Sensitive(sensitive));
        }
    }

    /// As those who show problems see it.
    pub fn problems(&self) -> Vec<Problem> {
        self.refused.iter().map(Refused::problem).collect()
    }

    fn demand(&mut self, needed: usize, because: &'static str) {
        self.needed = Some(needed);
        if self.signed.is_some() && self.signed_by.len() < needed {
            let (signed_by, strangers) = (self.signed_by.clone(), self.strangers);
            self.refused.push(Refused::Signatures { signed_by, strangers, needed, because });
        }
    }
}

impl Refused {
    /// As those who show problems see it.
    pub fn problem(&self) -> Problem {
        let error = |code, message: String, help: &str| Problem::error(code, FILE, message).help(help.to_owned());
        match self {
            Self::Missing => error(
                "manifest-missing",
                "the bundle has no manifest, and `[bundle] require_signatures` is on".to_owned(),
                "make one with `popgate bundle build`, and have it signed",
            ),
            Self::Unreadable(why) => error(
                "manifest-unreadable",
                format!("the manifest cannot be used: {why}"),
                "make it anew with `popgate bundle build`, and have it signed",
            ),
            Self::Files(differences) => error(
                "bundle-changed",
                format!("the bundle is not what was signed: {}", listed(differences)),
                "put back what was signed, or build and sign again",
            ),
            Self::Version { version, highest } => error(
                "version-not-newer",
                format!("the manifest has version {version}, and version {highest} was in force"),
                "build it anew with a higher version; an older bundle comes back by `popgate bundle rollback` alone",
            ),
            Self::Follows { follows, in_force } => {
                let follows = follows.map_or_else(|| "none".to_owned(), |digest| format!("bundle {digest}"));
                error(
                    "follows-another",
                    format!("the manifest follows {follows}, and bundle {in_force} is in force"),
                    "build it anew with `popgate bundle build --from` what is in force, and have that signed; or put in force first \
                     what it follows",
                )
            }
            Self::Signatures { signed_by, strangers, needed, because } => {
                let people = if *needed == 1 { "person" } else { "different people" };
                let by = if signed_by.is_empty() { "nobody".to_owned() } else { signed_by.join(", ") };
                let strange = match strangers {
                    0 => String::new(),
                    1 => ", and by a key that is not in `[bundle.keys]`".to_owned(),
                    count => format!(", and by {count} keys that are not in `[bundle.keys]`"),
                };
                let message =
                    format!("the manifest must be signed by {needed} {people} ({because}): it is by {by}{strange}");
                error("too-few-signatures", message, "have it signed with `popgate bundle sign`")
            }
            Self::Sensitive(fields) => error(
                "sensitive-widened",
                format!("more is shown of the sensitive {}, and the manifest does not say why", listed_names(fields)),
                "build it with `--allow-widening REASON`, and have it signed",
            ),
        }
    }
}

fn listed(said: &[String]) -> String {
    let shown = said.iter().take(MOST_SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match said.len().saturating_sub(MOST_SHOWN) {
        0 => shown,
        more => format!("{shown}, and {more} more"),
    }
}

fn listed_names(names: &[String]) -> String {
    listed(&names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>())
}

const FILE: &str = "manifest.json";
const MOST_SHOWN: usize = 5;

#[cfg(test)]
mod tests {
    use super::super::tests::{manifest, source};
    use super::*;
    use crate::manifest::Manifest;
    use crate::signed::SigningKey;

    struct Bench {
        _dir: tempfile::TempDir,
        keys: Keys,
        an: SigningKey,
        binh: SigningKey,
        stranger: SigningKey,
    }

    fn bench() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str| SigningKey::make(name, &dir.path().join(name)).unwrap();
        let (an, binh, stranger) = (make("an"), make("binh"), make("stranger"));
        let mut keys = Keys::default();
        keys.add("an", an.public()).unwrap();
        keys.add("binh", binh.public()).unwrap();
        Bench { _dir: dir, keys, an, binh, stranger }
    }

    fn diff(verdict: Verdict, sensitive: &[&str]) -> Diff {
        Diff {
            verdict,
            same_files: false,
            changes: Vec::new(),
            aspects: Vec::new(),
            unsure: Vec::new(),
            sensitive: sensitive.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn codes(found: &Inspected) -> Vec<&'static str> {
        found.problems().iter().map(|problem| problem.code).collect()
    }

    #[test]
    fn one_signature_narrows_and_two_people_widen() {
        let bench = bench();
        let files = source(&[("a.toml", "a")]);
        let mut signed = Signed::unsigned(manifest(2, &files));
        let judged = |signed: &Signed, change: Option<&Diff>| {
            let mut found = inspect(Some(&signed.to_json()), &files, &bench.keys, None);
            found.weigh(change);
            (codes(&found), found.needed)
        };
        let (widens, narrows) = (diff(Verdict::Widens, &[]), diff(Verdict::Narrows, &[]));
        assert_eq!(judged(&signed, Some(&narrows)), (vec!["too-few-signatures"], Some(1)));
        signed.sign(&bench.stranger).unwrap();
        assert_eq!(judged(&signed, Some(&narrows)), (vec!["too-few-signatures"], Some(1)));
        signed.sign(&bench.an).unwrap();
        assert_eq!(judged(&signed, Some(&narrows)), (vec![], Some(1)));
        assert_eq!(judged(&signed, Some(&diff(Verdict::Equal, &[]))), (vec![], Some(1)));
        for change in [Some(&widens), Some(&diff(Verdict::Undecided, &[])), None] {
            assert_eq!(judged(&signed, change), (vec!["too-few-signatures"], Some(2)));
        }
        signed.sign(&bench.an).unwrap();
        assert_eq!(judged(&signed, Some(&widens)).0, ["too-few-signatures"], "one person twice is one");
        signed.sign(&bench.binh).unwrap();
        assert_eq!(judged(&signed, Some(&widens)), (vec![], Some(2)));
        assert_eq!(judged(&signed, Some(&diff(Verdict::Widens, &["Citizen.religion"]))).0, ["sensitive-widened"]);
    }

    #[test]
    fn what_was_not_signed_or_is_no_newer_is_told_with_its_reason() {
        let bench = bench();
        let files = source(&[("a.toml", "a")]);
        let before = Digest([1; 32]);
        let mut signed = Signed::unsigned(Manifest { follows: Some(before), ..manifest(2, &files) });
        signed.sign(&bench.an).unwrap();
        let text = signed.to_json();
        let found = inspect(None, &files, &bench.keys, None);
        assert_eq!(codes(&found), ["manifest-missing"]);
        assert_eq!(codes(&inspect(Some("{"), &files, &bench.keys, None)), ["manifest-unreadable"]);
        let changed = source(&[("a.toml", "b")]);
        let found = inspect(Some(&text), &changed, &bench.keys, None);
        assert_eq!(codes(&found), ["bundle-changed"]);
        assert_eq!(found.problems()[0].message, "the bundle is not what was signed: `a.toml` was changed");
        let held = Held { digest: before, signatures: 2, highest: 2 };
        assert_eq!(codes(&inspect(Some(&text), &files, &bench.keys, Some(&held))), ["version-not-newer"]);
        let held = Held { highest: 1, ..held };
        assert_eq!(codes(&inspect(Some(&text), &files, &bench.keys, Some(&held))), Vec::<&str>::new());
        // What is in force stays good under its own version, and by as many as it needed.
        let held = Held { digest: Digest::of(&files), signatures: 1, highest: 2 };
        assert_eq!(codes(&inspect(Some(&text), &files, &bench.keys, Some(&held))), Vec::<&str>::new());
        let held = Held { signatures: 2, ..held };
        assert_eq!(codes(&inspect(Some(&text), &files, &bench.keys, Some(&held))), ["too-few-signatures"]);
    }

    #[test]
    fn what_follows_another_bundle_than_the_one_in_force_is_refused() {
        let bench = bench();
        let files = source(&[("a.toml", "a")]);
        let (before, other) = (Digest([1; 32]), Digest([2; 32]));
        let held = Held { digest: before, signatures: 2, highest: 1 };
        let judged = |follows: Option<Digest>, held: Option<Held>| {
            let mut signed = Signed::unsigned(Manifest { follows, ..manifest(2, &files) });
            signed.sign(&bench.an).unwrap();
            inspect(Some(&signed.to_json()), &files, &bench.keys, held.as_ref())
        };
        assert_eq!(codes(&judged(Some(before), Some(held))), [""; 0]);
        let found = judged(Some(other), Some(held));
        assert_eq!(codes(&found), ["follows-another"]);
        let problem = &found.problems()[0];
        assert_eq!(problem.message, format!("the manifest follows bundle {other}, and bundle {before} is in force"));
        assert!(problem.help.as_ref().is_some_and(|help| help.contains("popgate bundle build --from")), "{problem}");
        let found = judged(None, Some(held));
        assert_eq!(found.problems()[0].message, format!("the manifest follows none, and bundle {before} is in force"));
        // The first, whatever its author had before; and the first under signatures, after what nobody had to sign.
        assert_eq!(codes(&judged(None, None)), [""; 0]);
        assert_eq!(codes(&judged(Some(other), None)), [""; 0]);
        let unsigned = Held { signatures: 0, ..held };
        assert_eq!(codes(&judged(None, Some(unsigned))), [""; 0]);
        assert_eq!(codes(&judged(Some(before), Some(unsigned))), [""; 0]);
        assert_eq!(codes(&judged(Some(other), Some(unsigned))), ["follows-another"]);
        // What is in force need not follow itself, and of an old version that is said which it is.
        let itself = Held { digest: Digest::of(&files), signatures: 1, ..held };
        assert_eq!(codes(&judged(Some(other), Some(itself))), [""; 0]);
        assert_eq!(codes(&judged(Some(other), Some(Held { highest: 2, ..held }))), ["version-not-newer"]);
    }

    #[test]
    fn a_signature_over_something_else_does_not_count() {
        let bench = bench();
        let files = source(&[("a.toml", "a")]);
        let mut signed = Signed::unsigned(manifest(2, &files));
        signed.sign(&bench.an).unwrap();
        let other = Signed::unsigned(manifest(3, &files));
        let payload = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["payload"].to_string();
        let forged = signed.to_json().replace(&payload(&signed.to_json()), &payload(&other.to_json()));
        let found = inspect(Some(&forged), &files, &bench.keys, None);
        assert_eq!(found.signed.as_ref().unwrap().manifest().version, 3);
        assert_eq!((found.signed_by.len(), found.strangers), (0, 1));
        assert_eq!(codes(&found), ["too-few-signatures"]);
        let said = &found.problems()[0].message;
        assert!(said.ends_with("it is by nobody, and by a key that is not in `[bundle.keys]`"), "{said}");
    }
}
