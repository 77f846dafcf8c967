//! What the origin is asked, and what becomes of its answer.

use std::sync::Arc;
use std::time::SystemTime;

use http::header::{HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use popgate_caching::rules::{HeadEffect, Stored, Times};
use tokio::sync::oneshot;

use super::{Client, Proxy, one_form};
use crate::body::{self, Body};
use crate::chunks::Chunks;
use crate::fetch::{Failure, fetch, onward};
use crate::flight::{State, Ticket};
use crate::store::Entry;

/// What is to be asked.
pub(super) struct Plan {
    pub(super) client: Client,
    /// What was stored for the target.
    pub(super) entries: Vec<Arc<Entry>>,
    /// The one that is validated, or may stand in.
    pub(super) index: Option<usize>,
    /// Instead of the client's own.
    pub(super) conditions: Option<Vec<(HeaderName, HeaderValue)>>,
}

/// What came of it.
pub(super) enum Outcome {
    /// A response whose content many may read; `own`: as the client gets it that it was made for.
    Entry { entry: Arc<Entry>, own: Option<Stored>, stored: bool, forward_status: Option<u16> },
    /// The origin failed; this one stands in.
    Instead { entry: Arc<Entry>, forward_status: Option<u16>, detail: &'static str },
    /// A response for this client only.
    Direct { response: Response<Incoming>, why: &'static str },
    /// None.
    Failed { status: StatusCode },
}

impl Outcome {
    pub(super) fn broken() -> Self {
        Self::Failed { status: StatusCode::BAD_GATEWAY }
    }
}

impl Proxy {
    /// Fetches for all who hold a waiter of this ticket, whoever of them goes away; and ends when all have.
    pub(super) fn launch(self: &Arc<Self>, plan: Plan, ticket: Ticket) -> oneshot::Receiver<Outcome> {
        let (send, receive) = oneshot::channel();
        let proxy = Arc::clone(self);
        tokio::spawn(async move {
            let outcome = tokio::select! {
                outcome = proxy.fetch(plan, body::empty()) => outcome,
                () = ticket.nobody_waits() => return,
            };
            ticket.land(match &outcome {
                Outcome::Entry { entry, stored: true, .. } => State::Shared(Arc::clone(entry)),
                _ => State::Alone,
            });
            // The leader's client may have gone away.
            let _ = send.send(outcome);
        });
        receive
    }

    /// Asks the origin, and stores what may be stored.
    pub(super) async fn fetch(self: &Arc<Self>, plan: Plan, content: Body) -> Outcome {
        let Some(request) = onward(&plan.client.asked(), plan.conditions.as_deref(), content) else {
            return Outcome::broken();
        };
        let (response, times) = match fetch(self.config.origin, request, self.config.fetch_at_most).await {
            Ok(came) => came,
            Err(failure) => return self.failed(&plan, failure),
        };
        let validated = plan.conditions.is_some() && response.status() == StatusCode::NOT_MODIFIED;
        if validated {
            return match self.unchanged(&plan, &response, times) {
                Some(outcome) => outcome,
                None => self.again(plan).await,
            };
        }
        if let Some(entry) = plan.stands_in(self, Some(response.status())) {
            let forward_status = Some(response.status().as_u16());
            return Outcome::Instead { entry, forward_status, detail: "origin error" };
        }
        self.judge(&plan, response, times)
    }

    /// A 304 about nothing that is stored tells nothing: it is asked again without conditions.
    async fn again(self: &Arc<Self>, plan: Plan) -> Outcome {
        let Some(request) = onward(&plan.client.asked(), Some(&[]), body::empty()) else { return Outcome::broken() };
        match fetch(self.config.origin, request, self.config.fetch_at_most).await {
            Ok((response, times)) => self.judge(&plan, response, times),
            Err(failure) => self.failed(&plan, failure),
        }
    }

    fn failed(&self, plan: &Plan, failure: Failure) -> Outcome {
        if let Some(entry) = plan.stands_in(self, None) {
            return Outcome::Instead { entry, forward_status: None, detail: "origin unreachable" };
        }
        // RFC 9111 section 5.2.2.2: 504 where nothing stale may answer.
        let status = match (failure, plan.index) {
            (Failure::Broken, None) => StatusCode::BAD_GATEWAY,
            _ => StatusCode::GATEWAY_TIMEOUT,
        };
        Outcome::Failed { status }
    }

    /// A 304. `None`: it is about none of those stored.
    fn unchanged(&self, plan: &Plan, response: &Response<Incoming>, times: Times) -> Option<Outcome> {
        let asked = plan.client.asked();
        let key = plan.client.key();
        let stored: Vec<_> = plan.entries.iter().map(|entry| &entry.stored).collect();
        let mut outcome = None;
        for index in self.rules.identify(&stored, plan.index?, response.headers()) {
            let old = plan.entries.get(index)?;
            let merged = self.rules.freshen(&asked, &old.stored, response.headers(), times, &self.config.limits);
            let kept = merged.keep.is_ok() && !self.flights.is_outdated(&key, times.asked_at);
            let entry = Arc::new(Entry { stored: merged.stored, body: Arc::clone(&old.body) });
            match merged.keep {
                Ok(()) if kept => self.store.put(&key, Arc::clone(&entry), &|known| Arc::ptr_eq(known, old)),
                Ok(()) => {}
                Err(why) if why.is_the_requests() => {}
                Err(_) => self.store.take_out(&key, &|known| Arc::ptr_eq(known, old)),
            }
            let fits = entry.stored.variant.matches(asked.headers);
            if fits && (outcome.is_none() || Some(index) == plan.index) {
                outcome = Some(Outcome::Entry { entry, own: None, stored: kept, forward_status: Some(304) });
            }
        }
        outcome
    }

    /// A response of its own.
    fn judge(self: &Arc<Self>, plan: &Plan, response: Response<Incoming>, times: Times) -> Outcome {
        let asked = plan.client.asked();
        let key = plan.client.key();
        let (status, headers) = (response.status(), response.headers());
        for uri in self.rules.invalidated(&asked, status, headers) {
            let key = one_form(&uri).unwrap_or(uri).to_string();
            self.flights.changed(&key, SystemTime::now(), self.config.fetch_at_most);
            self.store.take_out(&key, &|_| true);
        }
        if plan.client.method == Method::HEAD {
            self.head(plan, &response, times);
        }
        let kept = self.rules.keep(&asked, status, headers, times, &self.config.limits);
        if plan.client.method == Method::GET && self.flights.is_outdated(&key, times.asked_at) {
            return Outcome::Direct { response, why: "invalidated" };
        }
        if too_long(&response, self.config.most_bytes) {
            return Outcome::Direct { response, why: "too-long" };
        }
        match kept {
            Ok(stored) => {
                let own = Some(stored.for_its_client(headers));
                let entry = Arc::new(Entry { stored, body: Arc::default() });
                let goes = |known: &Arc<Entry>| known.stored.variant.matches(asked.headers);
                self.store.put(&key, Arc::clone(&entry), &goes);
                self.pump(key, &entry, response.into_body());
                Outcome::Entry { entry, own, stored: true, forward_status: None }
            }
            Err(why) => {
                if !why.is_the_requests() && !status.is_server_error() {
                    let stale = |known: &Arc<Entry>| {
                        let now = SystemTime::now();
                        known.stored.fresh_left(now).is_none() && known.stored.variant.matches(asked.headers)
                    };
                    self.store.take_out(&key, &stale);
                }
                Outcome::Direct { response, why: why.as_str() }
            }
        }
    }

    fn head(&self, plan: &Plan, response: &Response<Incoming>, times: Times) {
        let (asked, key) = (plan.client.asked(), plan.client.key());
        for old in &plan.entries {
            let limits = &self.config.limits;
            match self.rules.head(&asked, &old.stored, response.status(), response.headers(), times, limits) {
                HeadEffect::None => {}
                HeadEffect::Update(stored) => {
                    let entry = Entry { stored: *stored, body: Arc::clone(&old.body) };
                    self.store.put(&key, Arc::new(entry), &|known| Arc::ptr_eq(known, old));
                }
                HeadEffect::Invalidate => self.store.take_out(&key, &|known| Arc::ptr_eq(known, old)),
            }
        }
    }

    /// Takes in the content; what broke off or became too long is not stored any longer (RFC 9111 section 3.3).
    fn pump(self: &Arc<Self>, key: String, entry: &Arc<Entry>, mut incoming: Incoming) {
        let store = Arc::clone(&self.store);
        let most = self.config.most_bytes;
        let chunks: Arc<Chunks> = Arc::clone(&entry.body);
        tokio::spawn(async move {
            let forget = |chunks: &Arc<Chunks>| store.take_out(&key, &|known| Arc::ptr_eq(&known.body, chunks));
            loop {
                match incoming.frame().await {
                    None => return chunks.finish(),
                    Some(Err(_)) => {
                        forget(&chunks);
                        return chunks.fail();
                    }
                    Some(Ok(frame)) => {
                        let data = frame.into_data().unwrap_or_default();
                        if chunks.push(data) > most {
                            forget(&chunks);
                        }
                    }
                }
            }
        });
    }
}

impl Plan {
    /// What may answer although the origin failed.
    fn stands_in(&self, proxy: &Proxy, status: Option<StatusCode>) -> Option<Arc<Entry>> {
        let entry = self.entries.get(self.index?)?;
        let covers = proxy.rules.covers_failure(&self.client.asked(), &entry.stored, status, SystemTime::now());
        covers.then(|| Arc::clone(entry))
    }
}

fn too_long(response: &Response<Incoming>, most: u64) -> bool {
    hyper::body::Body::size_hint(response.body()).lower() > most
}
