//! Purging: constant time, whatever it reaches, and seen by every lookup that begins after it.

use std::time::Duration;

use popgate_caching::purges::{Kind, Purge, Scope};

use super::leader::ANYBODY;
use super::order::{Purged, What};
use super::{Cache, Inner};
use crate::clock::Clock;

impl Cache {
    /// Forgets what was stored before, or has it validated; waits for other nodes at most as long as said, on a thread that may.
    pub fn purge(&self, what: &What, kind: Kind, wait: Duration, clock: &Clock) -> Purged {
        let began = clock.now();
        let mut told = Vec::new();
        self.0.scopes(what, |scope| match &self.0.nodes {
            Some(nodes) => told.push(nodes.purge(Purge { scope, kind })),
            None => self.0.store.purge(Purge { scope, kind }),
        });
        let took = || clock.now().saturating_duration_since(began);
        let all = told.iter().all(|told| told.wait(wait.saturating_sub(took())));
        Purged { everywhere: self.0.nodes.as_ref().map(|_| all), took: took() }
    }
}

impl Inner {
    /// What is purged, as the store names it.
    fn scopes(&self, what: &What, mut purge: impl FnMut(Scope)) {
        let register = |register: &popgate_policy::model::RegisterId| register.as_str().as_bytes().to_vec();
        match what {
            What::Subject(number) => {
                purge(Scope::Subject(self.marker.subject(number.expose().as_bytes())));
                // Answers to questions that do not say whom they are about may be about them.
                purge(Scope::Subject(self.marker.subject(ANYBODY)));
            }
            What::Tag { register: of, tag } => purge(Scope::Tag(self.marker.tag(&register(of), tag.as_bytes()))),
            What::Request { register: of, target } => purge(Scope::Upstream(self.request(of, b"GET", target.expose()))),
            What::Register(of) => purge(Scope::Register(self.marker.register(&register(of)))),
            What::All => purge(Scope::All),
        }
    }
}
