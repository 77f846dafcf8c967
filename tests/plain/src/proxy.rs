//! The way of a request: from what is stored, or from the origin, alone or with others.

mod origin;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use popgate_caching::rules::{Answer, Asked, CacheStatus, Forward, Limits, Part, Rulebook, Settings, Stored};

use super::body::{self, Body};
use super::chunks::Chunks;
use super::flight::{self, Flights, Role};
use super::store::{Entry, Store};
use origin::{Outcome, Plan};

/// How a proxy is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the origin is.
    pub origin: SocketAddr,
    /// The rules.
    pub settings: Settings,
    /// What shortens the times that the origin allows.
    pub limits: Limits,
    /// How long the origin may take until the fields of its response come.
    pub fetch_at_most: Duration,
    /// How long one waits for the request of another before going himself.
    pub patience: Duration,
    /// Responses with more bytes are not stored.
    pub most_bytes: u64,
    /// The name in `Cache-Status`.
    pub name: &'static str,
}

impl Config {
    /// The usual, for an origin.
    pub fn new(origin: SocketAddr) -> Self {
        Self {
            origin,
            settings: Settings::default(),
            limits: Limits::default(),
            fetch_at_most: Duration::from_secs(30),
            patience: Duration::from_secs(10),
            most_bytes: 64 << 20,
            name: "popgate",
        }
    }
}

/// A caching reverse proxy.
pub struct Proxy {
    config: Config,
    rules: Rulebook,
    store: Arc<dyn Store>,
    flights: Arc<Flights>,
}

impl Proxy {
    /// With nothing stored but what is in the store.
    pub fn new(config: Config, store: Arc<dyn Store>) -> Self {
        let rules = Rulebook::new(config.settings.clone());
        Self { config, rules, store, flights: Arc::default() }
    }

    /// Answers a request.
    pub async fn handle(self: &Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let (parts, incoming) = request.into_parts();
        let Some(uri) = target(&parts.uri, &parts.headers) else {
            return self.refuse(StatusCode::BAD_REQUEST, CacheStatus::default());
        };
        let client = Client { method: parts.method, uri, headers: parts.headers };
        let entries = self.store.all(&client.key());
        let stored: Vec<_> = entries.iter().map(|entry| &entry.stored).collect();
        match self.rules.answer(&client.asked(), &stored, SystemTime::now()) {
            Answer::Hit { index, refresh } => self.hit(&client, &entries, index, refresh),
            Answer::Unavailable => {
                self.refuse(StatusCode::GATEWAY_TIMEOUT, CacheStatus { forward: None, ..CacheStatus::default() })
            }
            Answer::Validate { index, conditions, why, collapse } => {
                let plan = Plan { client, entries, index: Some(index), conditions: Some(conditions) };
                self.ask(plan, why, collapse, body::empty()).await
            }
            Answer::Forward { why, index, collapse } => {
                let conditions = collapse.then(Vec::new);
                let onward = if why == Forward::Method || why == Forward::Bypass {
                    body::through(incoming)
                } else {
                    body::empty()
                };
                self.ask(Plan { client, entries, index, conditions }, why, collapse, onward).await
            }
        }
    }

    fn hit(self: &Arc<Self>, client: &Client, entries: &[Arc<Entry>], index: usize, refresh: bool) -> Response<Body> {
        let Some(entry) = entries.get(index) else {
            return self.refuse(StatusCode::BAD_GATEWAY, CacheStatus::default());
        };
        if refresh {
            self.refresh(client, entries, index);
        }
        self.show(client, entry, CacheStatus { hit: true, ..CacheStatus::default() })
    }

    /// Fetches it anew in the background, unless somebody does already.
    fn refresh(self: &Arc<Self>, client: &Client, entries: &[Arc<Entry>], index: usize) {
        let headers = HeaderMap::clone(&client.headers);
        let client = Client { method: Method::GET, uri: client.uri.clone(), headers };
        let Role::Leader(ticket) = self.flights.join(&client.flight_key(entries)) else { return };
        let conditions = entries.get(index).map(|entry| validators(entry)).unwrap_or_default();
        let plan = Plan { client, entries: entries.to_vec(), index: Some(index), conditions: Some(conditions) };
        let kept_up = ticket.waiter();
        drop(self.launch(plan, ticket));
        tokio::spawn(async move { flight::landed(kept_up).await });
    }

    /// Asks the origin, or waits for one who does.
    async fn ask(self: &Arc<Self>, plan: Plan, why: Forward, collapse: bool, onward: Body) -> Response<Body> {
        let asked_for = plan.client.clone();
        let status = CacheStatus { forward: Some(why), ..CacheStatus::default() };
        if !collapse {
            let outcome = self.fetch(plan, onward).await;
            return self.respond(&asked_for, outcome, status);
        }
        match self.flights.join(&plan.client.flight_key(&plan.entries)) {
            Role::Leader(ticket) => {
                let waiter = ticket.waiter();
                let outcome = self.launch(plan, ticket).await;
                drop(waiter);
                self.respond(&asked_for, outcome.unwrap_or(Outcome::broken()), status)
            }
            Role::Follower(state) => {
                let landed = tokio::time::timeout(self.config.patience, flight::landed(state)).await;
                if let Some(entry) = landed.ok().flatten().filter(|entry| self.may_have(&asked_for, entry)) {
                    return self.show(&asked_for, &entry, CacheStatus { collapsed: true, ..status });
                }
                let outcome = self.fetch(plan, onward).await;
                self.respond(&asked_for, outcome, status)
            }
        }
    }

    /// Whether what another fetched answers this request too, as if it had been stored before.
    fn may_have(&self, client: &Client, entry: &Entry) -> bool {
        matches!(self.rules.answer(&client.asked(), &[&entry.stored], SystemTime::now()), Answer::Hit { .. })
    }

    fn respond(&self, client: &Client, outcome: Outcome, status: CacheStatus<'static>) -> Response<Body> {
        match outcome {
            Outcome::Entry { entry, own, stored, forward_status } => {
                let status = CacheStatus { stored, forward_status, ..status };
                let Some(own) = own else { return self.show(client, &entry, status) };
                // It comes from the origin just now: an age is what the origin's side said, or none.
                let aged = own.age_at_arrival >= Duration::from_secs(1);
                let mut response = self.show_as(client, &own, &entry.body, status);
                if !aged {
                    response.headers_mut().remove(header::AGE);
                }
                response
            }
            Outcome::Instead { entry, forward_status, detail } => {
                self.show(client, &entry, CacheStatus { detail: Some(detail), forward_status, ..status })
            }
            Outcome::Direct { response, why } => {
                let (mut parts, incoming) = response.into_parts();
                popgate_caching::rules::drop_hop_by_hop(&mut parts.headers);
                self.mark(&mut parts.headers, CacheStatus { detail: Some(why), ..status });
                Response::from_parts(parts, body::through(incoming))
            }
            Outcome::Failed { status: code } => self.refuse(code, status),
        }
    }

    fn show(&self, client: &Client, entry: &Entry, status: CacheStatus<'static>) -> Response<Body> {
        self.show_as(client, &entry.stored, &entry.body, status)
    }

    fn show_as(
        &self,
        client: &Client,
        stored: &Stored,
        chunks: &Arc<Chunks>,
        status: CacheStatus<'static>,
    ) -> Response<Body> {
        let now = SystemTime::now();
        let said = stored.headers.get(header::CONTENT_LENGTH);
        let said = said.and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
        let length = chunks.whole_length().or(said);
        let reply = self.rules.reply(&client.asked(), stored, length, now);
        let body = match reply.part {
            Part::Whole => chunks.read(None).boxed_unsync(),
            Part::Bytes(part) => chunks.read(Some(part)).boxed_unsync(),
            Part::Nothing => body::empty(),
        };
        let mut response = Response::new(body);
        *response.status_mut() = reply.status;
        *response.headers_mut() = reply.headers;
        self.mark(response.headers_mut(), CacheStatus { ttl: Some(stored.ttl(now)), ..status });
        response
    }

    fn refuse(&self, code: StatusCode, status: CacheStatus<'static>) -> Response<Body> {
        let mut response = Response::new(body::empty());
        *response.status_mut() = code;
        self.mark(response.headers_mut(), status);
        response
    }

    fn mark(&self, headers: &mut HeaderMap, status: CacheStatus<'static>) {
        CacheStatus { cache: self.config.name, ..status }.append_to(headers);
    }
}

/// A request without its content.
#[derive(Clone, Debug)]
struct Client {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Client {
    fn asked(&self) -> Asked<'_> {
        Asked { method: &self.method, uri: &self.uri, headers: &self.headers }
    }

    fn key(&self) -> String {
        self.uri.to_string()
    }

    /// Whoever differs in a field that stored responses vary on does not wait for the same.
    fn flight_key(&self, entries: &[Arc<Entry>]) -> String {
        let mut key = self.key();
        let named = entries.iter().flat_map(|entry| entry.stored.variant.fields.iter()).map(|(name, _)| name);
        for value in named.flat_map(|name| self.headers.get_all(name)) {
            key.push('\n');
            key.push_str(&String::from_utf8_lossy(value.as_bytes()));
        }
        key
    }
}

/// The target with scheme and host, in one form.
fn target(uri: &Uri, headers: &HeaderMap) -> Option<Uri> {
    let host = match uri.authority() {
        Some(authority) => authority.as_str(),
        None => headers.get(header::HOST)?.to_str().ok()?,
    };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    one_form(&Uri::builder().scheme("http").authority(host).path_and_query(path).build().ok()?)
}

/// Host in small letters, and no port where it is the usual one (RFC 9110 section 4.2.3).
fn one_form(uri: &Uri) -> Option<Uri> {
    let authority = uri.authority()?.as_str().to_ascii_lowercase();
    let authority = authority.strip_suffix(":80").unwrap_or(&authority);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Uri::builder().scheme(uri.scheme_str()?).authority(authority).path_and_query(path).build().ok()
}

fn validators(entry: &Entry) -> Vec<(HeaderName, HeaderValue)> {
    let pairs = [(header::ETAG, header::IF_NONE_MATCH), (header::LAST_MODIFIED, header::IF_MODIFIED_SINCE)];
    let get = |from: HeaderName| entry.stored.headers.get(from).cloned();
    pairs.into_iter().filter_map(|(from, to)| Some((to, get(from)?))).collect()
}
