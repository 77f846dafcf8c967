//! Narrow: the site's plugins, after the policies. What comes out is the same permit, or less.

use std::future::Future;
use std::pin::Pin;

use http::{HeaderValue, Method, Request, StatusCode, header};
use popgate_plugins::{Answer, Circumstances, Decided, Lookup, Observer, Question, Stop, Stopped, Unanswered};
use popgate_policy::disclose::{MAX_BUFFERED, Raw};
use popgate_policy::model::RegisterId;
use popgate_policy::permit::Permit;

use crate::accept::Connection;
use crate::app::{Core, Node};
use crate::forward::Question as Asked;
use crate::forward::pool::Trouble;
use crate::refusal::Refusal;

/// Asks the plugins that apply, in the order of the configuration.
///
/// # Errors
/// By the first that refuses, leaves nothing, or fails.
pub async fn permit(core: &Core, connection: &Connection, permit: Permit) -> Result<Permit, Stopped> {
    if core.node.plugins.is_empty() {
        return Ok(permit);
    }
    // Boxed: requests of a site without plugins need not have room for them.
    Box::pin(async move {
        let asking = Asking::new(core, connection);
        core.node.plugins.narrow(permit, &asking.circumstances()).await
    })
    .await
}

/// Asks the plugins that look at whom a request is about, about each person of a list.
///
/// # Errors
/// By the first that fails.
pub async fn persons(
    core: &Core,
    connection: &Connection,
    permit: Permit,
    list: Option<&Raw>,
) -> Result<Permit, Stopped> {
    // A list that cannot be read is refused when it is opened.
    let Some(Ok(persons)) = list.filter(|_| permit.wants_persons()).map(|list| permit.persons(list)) else {
        return Ok(permit);
    };
    Box::pin(async move {
        let asking = Asking::new(core, connection);
        core.node.plugins.persons(permit, &persons, &asking.circumstances()).await
    })
    .await
}

/// What plugins are told, and where they can ask.
struct Asking<'a> {
    lookup: Upstream<'a>,
    observer: Counted<'a>,
    local: jiff::civil::DateTime,
    source: std::net::IpAddr,
}

impl<'a> Asking<'a> {
    fn new(core: &'a Core, connection: &Connection) -> Self {
        let node = &*core.node;
        Self {
            lookup: Upstream(core),
            observer: Counted(node),
            local: node.clock.local(),
            source: connection.peer.ip().to_canonical(),
        }
    }

    fn circumstances(&self) -> Circumstances<'_> {
        Circumstances { local: self.local, source: self.source, lookup: &self.lookup, observer: &self.observer }
    }
}

/// The refusal that a stopped request comes to.
pub fn refusal(stop: Stop) -> Refusal {
    match stop {
        Stop::Refused(remedy) => Refusal::PluginRefused { remedy },
        Stop::Failed(_) => Refusal::PluginFailed,
    }
}

/// Plugins' questions go out over the connections of the core that asks.
#[derive(Debug)]
struct Upstream<'a>(&'a Core);

impl Lookup for Upstream<'_> {
    fn ask<'a>(&'a self, question: Question<'a>) -> Pin<Box<dyn Future<Output = Result<Answer, Unanswered>> + 'a>> {
        Box::pin(async move {
            let node = &self.0.node;
            let began = node.clock.now();
            let answered = self.answer(question).await;
            if let Some(register) = node.upstream.get(question.register) {
                match answered {
                    Ok(Answer::Said(_)) => register.ok.inc(),
                    Ok(Answer::Unknown) => register.not_found.inc(),
                    Err(LATE) => register.timeout.inc(),
                    Err(UNREACHABLE) => register.unavailable.inc(),
                    Err(_) => register.failed.inc(),
                }
                register.took(node.clock.now().duration_since(began));
            }
            answered
        })
    }

    fn is_suspended(&self, register: &RegisterId) -> bool {
        let node = &*self.0.node;
        node.suspensions.switch().register(register, &node.clock).is_err()
    }
}

impl Upstream<'_> {
    async fn answer(&self, question: Question<'_>) -> Result<Answer, Unanswered> {
        let mut request = Request::new(());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = question.target.expose().parse().map_err(|_| BAD_TARGET)?;
        request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let register = question.register;
        let asked = Asked {
            register,
            request: &request,
            most_bytes: MAX_BUFFERED,
            subject: question.target,
            until: self.0.node.clock.now() + self.0.pool.deadline(register).min(question.within),
            is_well: &|response| !response.status().is_server_error(),
        };
        let (response, origin) = self.0.pool.ask(asked).await.map_err(|trouble| match trouble {
            Trouble::Unreachable(_) | Trouble::Busy | Trouble::Open => UNREACHABLE,
            Trouble::Late => LATE,
            Trouble::Broken(_) => BROKEN,
            Trouble::TooLarge => NO_VERDICT,
        })?;
        match response.status() {
            StatusCode::OK => {
                let raw = response.into_body();
                raw.verdict(question.member).map(Answer::Said).ok_or(NO_VERDICT).inspect_err(|_| origin.condemn())
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(Answer::Unknown),
            _ => Err(ANOTHER_STATUS),
        }
    }
}

/// Counts what plugins decide.
struct Counted<'a>(&'a Node);

impl Observer for Counted<'_> {
    fn decided(&self, plugin: usize, decided: Decided) {
        if let Some(metrics) = self.0.plugin_metrics.get(plugin) {
            metrics.decided(decided);
        }
    }
}

const LATE: Unanswered = Unanswered("the register did not answer in time");
const UNREACHABLE: Unanswered = Unanswered("the register cannot be reached");
const BROKEN: Unanswered = Unanswered("the register broke off its answer");
const NO_VERDICT: Unanswered = Unanswered("the register's answer says neither yes nor no");
const ANOTHER_STATUS: Unanswered = Unanswered("the register answered with another status than 200, 404 or 410");
const BAD_TARGET: Unanswered = Unanswered("the path's template makes no target");
