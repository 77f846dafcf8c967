//! What is recorded of a request, whichever way it ends: metrics, one log line, and the closing record.

use std::sync::Arc;
use std::time::Instant;

use http::request::Parts;
use http::{Response, StatusCode};
use popgate_plugins::Stopped;
use popgate_policy::contract::Operation;
use popgate_policy::directory::{Holder, System, TlsVersion};
use popgate_policy::disclose::{Redacted, Strays, Tally};
use popgate_policy::model::{DisclosureId, ExchangeId, Personal, PurposeId};
use popgate_policy::permit::{Ask, Denial, Denied};
use popgate_policy::shadow::Note;

use crate::accept::{Connection, Inbound};
use crate::admit::Standing;
use crate::app::logs::RequestRecord;
use crate::app::{Core, Live};
use crate::audit::{Claimed, Closing, NoMatch, Outcome, Refused};
use crate::cache::{Fetched, Life, Source};
use crate::decide::{self, Agreed};
use crate::identify::Caller;
use crate::metrics::{Code, Metrics};
use crate::refusal::Refusal;
use crate::respond::{self, Body, Covered};
use crate::route::Call;
use crate::xroad::{self, Behalf, Message};
use crate::{admit, narrow};

/// One request, as far as it got.
pub(super) struct Exchange {
    metrics: Arc<Metrics>,
    ended: bool,
    /// The gateway's own request id.
    pub(super) id: DisclosureId,
    pub(super) started: Instant,
    connection: Arc<Connection>,
    head: bool,
    system: Option<Arc<System>>,
    /// The exchange server that speaks for it.
    by: Option<ExchangeId>,
    /// What the answer to an exchange server says of its message.
    message: Option<Box<Message>>,
    operation: Option<Arc<Operation>>,
    agreed: Option<Agreed>,
    /// What a refused request named, if the registry knows it.
    wanted: Option<PurposeId>,
    claimed: Claimed,
    live: Arc<Live>,
    // Dropped with the request, it records that nothing is known of what became of it.
    closing: Option<Closing>,
    /// What a candidate bundle is held against afterwards.
    note: Option<Note>,
    hidden: Option<NoMatch>,
    source: Option<Source>,
    /// Of a stored record.
    life: Option<Life>,
    /// Whether the caller may be told of that.
    own: bool,
    tally: Option<Tally>,
    /// Names of what the tally counts as undeclared.
    strays: Strays,
    length: u64,
    status: StatusCode,
    /// What is left of its limits.
    pub(super) standing: Standing,
    /// Of a bulk request, which line.
    line: Option<u64>,
    /// Whether its lines are what is counted.
    bulk: bool,
}

impl Exchange {
    pub(super) fn begin(core: &Core, inbound: &Inbound, live: Arc<Live>) -> Self {
        let mut exchange = Self::new(core, &inbound.connection, live);
        exchange.head = inbound.request.method() == http::Method::HEAD;
        exchange
    }

    /// A line of a bulk request: a request of its own, with an id of its own.
    pub(super) fn begin_line(core: &Core, connection: &Arc<Connection>, line: u64) -> Self {
        let mut exchange = Self::new(core, connection, core.node.live());
        exchange.line = Some(line);
        exchange
    }

    fn new(core: &Core, connection: &Arc<Connection>, live: Arc<Live>) -> Self {
        Self {
            metrics: Arc::clone(&core.node.metrics),
            ended: false,
            id: core.node.new_id(),
            started: core.node.clock.now(),
            connection: Arc::clone(connection),
            head: false,
            system: None,
            by: None,
            message: None,
            operation: None,
            agreed: None,
            wanted: None,
            claimed: Claimed::default(),
            live,
            closing: None,
            note: None,
            hidden: None,
            source: None,
            life: None,
            own: false,
            tally: None,
            strays: Strays::default(),
            length: 0,
            status: StatusCode::OK,
            standing: Standing::default(),
            line: None,
            bulk: false,
        }
    }

    /// A line that waited for its token begins now, under what is in force now.
    pub(super) fn under(&mut self, live: &Arc<Live>, now: Instant) {
        self.live = Arc::clone(live);
        self.started = now;
    }

    /// Whose certificate it is, and of an exchange server's message the head.
    pub(super) fn held(&mut self, holder: &Holder, parts: &Parts) {
        self.held_by(holder);
        self.message = self.by.as_ref().map(|_| Box::new(Message::begin(self.id, parts)));
    }

    /// Whose certificate it is.
    pub(super) fn held_by(&mut self, holder: &Holder) {
        match holder {
            Holder::System(system) => self.system = Some(Arc::clone(system)),
            Holder::Exchange(exchange) => self.by = Some(exchange.id.clone()),
        }
    }

    /// Keeps for whom an exchange server asked in vain, and refuses; whoever does so too often is not recorded each time.
    pub(super) fn named(&mut self, behalf: &Behalf, refusal: Refusal) -> Refusal {
        if let Behalf::Client(client) = behalf {
            self.claimed.client = Some(Personal::new(client.as_str().to_owned()));
        }
        match &self.by {
            Some(exchange) if matches!(refusal, Refusal::ClientNotRepresented) => {
                admit::stranger(&self.live.gates, exchange).err().unwrap_or(refusal)
            }
            _ => refusal,
        }
    }

    /// What it was decided under.
    pub(super) fn live(&self) -> &Arc<Live> {
        &self.live
    }

    pub(super) fn identified(&mut self, caller: &Caller, behalf: &Behalf) {
        self.system = Some(Arc::clone(caller.system()));
        if let (Some(message), Behalf::Client(client)) = (&mut self.message, behalf) {
            message.is_for(client);
        }
    }

    /// The whole body is there.
    pub(super) fn received(&mut self, body: &[u8]) {
        if let Some(message) = &mut self.message {
            message.has_body(body);
        }
    }

    pub(super) fn routed(&mut self, call: &Call) {
        self.operation = Some(Arc::clone(&call.operation));
        self.bulk = call.operation.bulk && self.line.is_none();
        self.claimed = call.claims.to_claimed();
        if let (Some(message), Some(service)) = (&mut self.message, &call.service) {
            message.is_to(service);
        }
    }

    pub(super) fn agreed(&mut self, agreed: &Agreed) {
        self.agreed = Some(agreed.clone());
    }

    /// Keeps for what purpose was asked in vain, and refuses.
    pub(super) fn not_agreed(&mut self, call: &Call, refusal: Refusal) -> Refusal {
        let only = || match self.system.as_ref()?.purposes.as_slice() {
            [only] => Some(only.as_str()),
            _ => None,
        };
        let named = call.claims.purpose.as_deref().or_else(only);
        self.wanted = named.and_then(|name| self.live.bundle.directory().purpose(name)).map(|it| it.id.clone());
        refusal
    }

    /// Whether its purpose is one that is lent.
    pub(super) fn is_lent(&self) -> bool {
        self.agreed.as_ref().is_some_and(|agreed| agreed.purpose().break_glass)
    }

    pub(super) fn intended(&mut self, closing: Closing) {
        self.closing = Some(closing);
    }

    /// How the record was come by.
    pub(super) fn fetched(&mut self, fetched: &Fetched) {
        self.source = Some(fetched.source);
        self.life = fetched.life;
        self.own = fetched.own;
        if let Some(life) = fetched.life {
            self.metrics.cache.age.observe(life.age.as_secs_f64());
        }
    }

    /// For the names of members that no contract declares.
    pub(super) fn strays(&mut self) -> &mut Strays {
        &mut self.strays
    }

    /// Notes what the policies are asked, if a candidate runs beside them.
    pub(super) fn noted(&mut self, core: &Core, caller: &Caller, ask: &Ask<'_>) -> Option<Note> {
        core.node.shadow.as_ref().filter(|shadow| shadow.wants())?;
        self.note = Some(Note::of(ask, caller.exchange().map(|exchange| &exchange.id)));
        self.note.clone()
    }

    /// Keeps what is counted of a denial, and refuses.
    pub(super) fn denied(&mut self, denied: Denied) -> Refusal {
        if matches!(denied.why, Denial::Missing { .. } | Denial::Cursor { .. }) {
            // That is for the request to mend: no policy had a say.
            self.note = None;
        }
        self.tally = Some(Tally { policy_errors: denied.policy_errors, ..Tally::default() });
        decide::refusal(denied.why)
    }

    /// Keeps what is counted of a request that a plugin stopped, and refuses.
    pub(super) fn stopped(&mut self, stopped: Stopped) -> Refusal {
        self.tally = Some(Tally { policy_errors: stopped.policy_errors, ..Tally::default() });
        narrow::refusal(stopped.stop)
    }

    pub(super) fn hidden(&mut self, reason: NoMatch, tally: Tally) {
        self.hidden = Some(reason);
        self.tally = Some(tally);
    }

    /// Hands the closing record over to the answer's body.
    pub(super) fn shown(&mut self, redacted: &Redacted) -> Option<Closing> {
        self.tally = Some(redacted.tally());
        self.length = redacted.len() as u64;
        self.closing.take()
    }

    /// The answer is no disclosure.
    pub(super) fn told(&mut self, status: StatusCode) {
        self.status = status;
    }

    pub(super) fn end(mut self, core: &Core, answered: Result<Response<Body>, Refusal>) -> Response<Body> {
        self.over(core, answered.as_ref().err());
        let error = answered.as_ref().err().filter(|_| self.message.is_some()).and_then(xroad::error);
        let life = self.life.filter(|_| self.own && answered.is_ok());
        let mut response = answered.unwrap_or_else(|refusal| match error {
            Some(kind) => respond::refusal_to_exchange(&refusal, kind, self.id, self.head),
            None => respond::refusal(&refusal, self.id, self.head),
        });
        self.tell(&mut response);
        if let Some(life) = life {
            respond::tell_of_cache(&mut response, life);
        }
        if let Some(message) = &self.message {
            message.stamp(response.headers_mut(), error);
        }
        response
    }

    /// The end of a bulk request's line.
    pub(super) fn end_line(mut self, core: &Core, answered: Result<Covered, Refusal>) -> Result<Covered, Refusal> {
        self.over(core, answered.as_ref().err());
        answered
    }

    fn over(&mut self, core: &Core, refusal: Option<&Refusal>) {
        self.ended = true;
        if let (Some(shadow), Some(note)) = (&core.node.shadow, self.note.take()) {
            shadow.take(self.id, note, &self.live);
        }
        self.record(core, refusal);
        self.measure(core, refusal);
        self.log(core, refusal);
    }

    /// What an enrolled caller is told beside the answer: which version of its view is in force, and that the operation ends.
    fn tell(&self, response: &mut Response<Body>) {
        let Some(system) = &self.system else { return };
        self.standing.tell(response.headers_mut());
        if let Some(digest) = self.live.views.digest(system) {
            response.headers_mut().insert(respond::VIEW, digest);
        }
        if let Some(ending) = self.operation.as_ref().and_then(|operation| self.live.views.ending(operation)) {
            ending.tell(response.headers_mut());
        }
    }

    fn record(&mut self, core: &Core, refusal: Option<&Refusal>) {
        let Some(refusal) = refusal else { return };
        if let Some(closing) = self.closing.take() {
            closing.close(match self.hidden {
                Some(reason) => Outcome::NoMatch(reason),
                None => Outcome::Refused(refusal.code()),
            });
        } else if (self.system.is_some() || self.by.is_some()) && is_evidence(refusal) {
            core.node.audit.refused(Refused {
                disclosure: self.id,
                system: self.system.as_ref().map(|system| system.id.clone()),
                exchange: self.by.clone(),
                operation: self.operation.as_ref().map(|operation| operation.id.clone()),
                purpose: self.agreed.as_ref().map(|agreed| agreed.purpose().id.clone()).or(self.wanted.take()),
                code: refusal.code(),
                bundle: self.live.bundle.digest(),
                subject: None,
                claimed: std::mem::take(&mut self.claimed),
                source: self.connection.peer.ip().to_canonical(),
            });
        }
    }

    fn measure(&self, core: &Core, refusal: Option<&Refusal>) {
        let metrics = &self.metrics;
        // A bulk request that is answered is its lines.
        if self.bulk && refusal.is_none() {
            return;
        }
        let operation = self.operation.as_ref().map(|operation| operation.index);
        let code = refusal.map_or(Code::OK, Code::of);
        self.live.requests.record(operation, code, core.node.clock.now().duration_since(self.started));
        if let (None, Some(agreed), Some(system)) = (refusal, &self.agreed, &self.system)
            && agreed.purpose().break_glass
        {
            metrics.break_glass.answered(agreed.purpose().id.as_str(), system.id.as_str());
        }
        if let (TlsVersion::Tls12, Some(system)) = (self.connection.tls, &self.system) {
            self.live.tls12.record(system.index);
        }
        if let Some(exchange) = &self.by {
            self.live.exchanges.record(exchange);
        }
        if let (Some(operation), Some(system)) = (&self.operation, &self.system)
            && let Some(ending) = self.live.views.ending(operation)
        {
            ending.called(metrics, operation, system);
        }
        match self.source {
            Some(Source::Stored) => metrics.cache.requests.hit.inc(),
            Some(Source::Meanwhile) => metrics.cache.requests.meanwhile.inc(),
            Some(Source::Unknown) => metrics.cache.requests.unknown.inc(),
            Some(Source::Register) => metrics.cache.requests.miss.inc(),
            Some(Source::Validated) => metrics.cache.requests.validated.inc(),
            Some(Source::Collapsed) => metrics.cache.requests.collapsed.inc(),
            Some(Source::Stale) => metrics.cache.requests.stale.inc(),
            Some(Source::Uncached) => metrics.cache.requests.off.inc(),
            None => {}
        }
        if let Some(tally) = &self.tally {
            if let Some(operation) = self.operation.as_ref().filter(|_| tally.undeclared > 0) {
                metrics.undeclared_fields.count(&operation.upstream.register, tally.undeclared, &self.strays);
            }
            metrics.mistyped_fields.inc_by(u64::from(tally.mistyped));
            metrics.policy_errors.inc_by(u64::from(tally.policy_errors));
            metrics.disclosed_bytes.inc_by(self.length);
            metrics.copied_bytes.inc_by(tally.copied as u64);
        }
        match (refusal, self.hidden) {
            (Some(Refusal::SubjectMismatch), _) => metrics.subject_mismatches.inc(),
            (_, Some(NoMatch::Throttled)) => metrics.guesses_throttled.inc(),
            _ => {}
        }
    }

    fn log(&self, core: &Core, refusal: Option<&Refusal>) {
        // It must cost little, and is counted: that the node is overloaded is logged once.
        if matches!(refusal, Some(Refusal::Overloaded { .. })) {
            return;
        }
        let id = self.id.to_string();
        let system = self.system.as_deref();
        RequestRecord {
            request_id: &id,
            agency: system.map(|system| system.agency.id.as_str()),
            system: system.map(|system| system.id.as_str()),
            exchange: self.by.as_ref().map(ExchangeId::as_str),
            operation: self.operation.as_ref().map(|operation| operation.id.as_str()),
            purpose: self.agreed.as_ref().map(|agreed| agreed.purpose().id.as_str()),
            status: refusal.map_or(self.status, Refusal::status).as_u16(),
            code: refusal.map_or("ok", Refusal::code),
            blame: refusal.map(Refusal::blame),
            duration_us: u64::try_from(core.node.clock.now().duration_since(self.started).as_micros())
                .unwrap_or(u64::MAX),
            protocol: self.connection.protocol.name(),
            line: self.line,
            cache: self.source.map(Source::as_str),
            cache_ttl: self.life.map(|life| life.ttl),
        }
        .emit();
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        // The client went away, and hyper dropped the request. The closing record, if there is one, writes itself.
        if !self.ended {
            self.metrics.requests_abandoned.inc();
        }
    }
}

/// Whether a refusal says something about the caller that an auditor wants to see: what it asked for and may not have. Floods
/// (rates; a suspended agency, which takes no token) and mistakes of form are counted, not recorded.
fn is_evidence(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::ClientNotRepresented
            | Refusal::PurposeMissing { .. }
            | Refusal::PurposeUnknown
            | Refusal::PurposeExpired
            | Refusal::PurposeNotEnrolled { .. }
            | Refusal::EvidenceMissing { .. }
            | Refusal::PurposeSuspended { .. }
            | Refusal::PolicyDenied
            | Refusal::ParameterDenied { .. }
            | Refusal::PluginRefused { .. }
    )
}
