//! Purging: constant time, whatever it reaches, and seen by every lookup that begins after it.

use std::time::Duration;

use popgate_caching::purges::{Kind, Purge, Scope};
use popgate_policy::model::RegisterId;

use super::leader::ANYBODY;
use super::order::{Purged, What};
use super::{Cache, Inner};
use crate::clock::Clock;

impl Cache {
    /// Forgets what was stored before, or has it validated; waits for other nodes at most as long as said, on a thread that may.
    pub fn purge(&self, whats: &[What], kind: Kind, wait: Duration, clock: &Clock) -> Purged {
        let began = clock.now();
        let mut told = Vec::new();
        for scope in self.0.scopes(whats) {
            match &self.0.nodes {
                Some(nodes) => told.push(nodes.purge(Purge { scope, kind })),
                None => self.0.store.purge(Purge { scope, kind }),
            }
        }
        let took = || clock.now().saturating_duration_since(began);
        let all = told.iter().all(|told| told.wait(wait.saturating_sub(took())));
        Purged { everywhere: self.0.nodes.as_ref().map(|_| all), took: took() }
    }

    /// The same at this node alone, for what every node is told. How long it took; it waits for nothing.
    pub fn purge_here(&self, whats: &[What], kind: Kind, clock: &Clock) -> Duration {
        let began = clock.now();
        for scope in self.0.scopes(whats) {
            self.0.store.purge(Purge { scope, kind });
        }
        clock.now().saturating_duration_since(began)
    }
}

impl Inner {
    fn scopes(&self, whats: &[What]) -> Vec<Scope> {
        let mut scopes: Vec<Scope> = whats.iter().map(|what| self.scope(what)).collect();
        if whats.iter().any(|what| matches!(what, What::Subject(_))) {
            // Answers to questions that do not say whom they are about may be about them.
            scopes.push(Scope::Subject(self.marker.subject(ANYBODY)));
        }
        scopes
    }

    /// What is purged, as the store names it.
    fn scope(&self, what: &What) -> Scope {
        let id = |register: &RegisterId| register.as_str().as_bytes().to_vec();
        match what {
            What::Subject(number) => Scope::Subject(self.marker.subject(number.expose().as_bytes())),
            What::Tag { register, tag } => Scope::Tag(self.marker.tag(&id(register), tag.as_bytes())),
            What::Request { register, target } => Scope::Upstream(self.request(register, b"GET", target.expose())),
            What::Register(register) => Scope::Register(self.marker.register(&id(register))),
            What::All => Scope::All,
        }
    }
}
