//! The chain: every plugin that applies, in the order of the configuration, each on what the one before left.

use std::fmt;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use popgate_policy::bundle::Bundle;
use popgate_policy::contract::Answer;
use popgate_policy::model::Personal;
use popgate_policy::narrow::{Narrowing, Overruled, Overruling};
use popgate_policy::permit::Permit;
use popgate_policy::problem::Problem;

use crate::catch::Caught;
use crate::configured::{Configured, OnError};
use crate::plugin::{Failed, Files, Lookup, Plugin, Seen, Unusable};

#[cfg(test)]
mod tests;

/// The plugins of a node.
#[derive(Debug, Default)]
pub struct Chain(Box<[Link]>);

#[derive(Debug)]
struct Link {
    configured: Configured,
    plugin: Box<dyn Plugin>,
}

/// What a plugin is told beside the permit.
#[derive(Clone, Copy)]
pub struct Circumstances<'a> {
    /// The local time at the site.
    pub local: jiff::civil::DateTime,
    /// The address that the connection came from.
    pub source: IpAddr,
    /// Where plugins can ask.
    pub lookup: &'a dyn Lookup,
    /// Who counts.
    pub observer: &'a dyn Observer,
}

/// Counts what plugins decide.
pub trait Observer {
    /// The plugin at that place of the chain decided.
    fn decided(&self, plugin: usize, decided: Decided);
}

/// What became of one question to one plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decided {
    /// It took nothing.
    Passed,
    /// It took something.
    Narrowed,
    /// It hid the person.
    Hidden,
    /// It refused, or left nothing.
    Refused,
    /// It failed, and the request was refused: an alarm.
    Failed,
    /// It failed, and its table says that this is ignored: an alarm too.
    Ignored,
}

impl Decided {
    /// Each of them; the position is the discriminant.
    pub const ALL: [Self; 6] = [Self::Passed, Self::Narrowed, Self::Hidden, Self::Refused, Self::Failed, Self::Ignored];

    /// One word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Narrowed => "narrowed",
            Self::Hidden => "hidden",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Ignored => "ignored",
        }
    }
}

/// How a plugin failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It said so.
    Error(&'static str),
    /// It asks a register that is suspended: never ignored.
    Suspended,
    /// It panicked.
    Panicked,
    /// Its deadline passed.
    Late,
    /// It named a field that the record does not have.
    UnknownField(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(reason) => f.write_str(reason),
            Self::Suspended => f.write_str("the register that it asks is suspended"),
            Self::Panicked => f.write_str("it panicked"),
            Self::Late => f.write_str("its deadline passed"),
            Self::UnknownField(name) => write!(f, "it names `{name}`, which the record does not have"),
        }
    }
}

/// A request that a plugin stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Which plugin.
    pub plugin: Arc<str>,
    /// How.
    pub stop: Stop,
    /// Fields that were withheld before because a policy failed to evaluate: an alarm, also where nothing is shown.
    pub policy_errors: u32,
}

/// How a plugin stopped a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It refused it, or left nothing of it; what the caller is told.
    Refused(String),
    /// It failed.
    Failed(Failure),
}

/// A plugin cannot be made from its files.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("plugin `{plugin}`: {why}")]
pub struct OpenError {
    /// Which.
    pub plugin: Arc<str>,
    /// Why.
    pub why: Unusable,
}

/// What became of a plugin's files.
#[derive(Clone, Debug)]
pub struct Reloaded {
    /// Which plugin.
    pub plugin: Arc<str>,
    /// What is in force now, or why it stayed as it was.
    pub outcome: Result<String, Unusable>,
}

impl Chain {
    /// Makes the plugins.
    ///
    /// # Errors
    /// For the first whose files cannot be used.
    pub fn open(configured: &[Configured], files: &dyn Files) -> Result<Self, OpenError> {
        let open = |configured: &Configured| {
            let plugin = configured.blueprint.open(files);
            let plugin = plugin.map_err(|why| OpenError { plugin: Arc::clone(&configured.name), why })?;
            Ok(Link { configured: configured.clone(), plugin })
        };
        Ok(Self(configured.iter().map(open).collect::<Result<_, OpenError>>()?))
    }

    /// Whether there is no plugin at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The plugins' names, in order.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.iter().map(|link| &link.configured.name)
    }

    /// The files whose change [`Chain::reload`] is to be called for.
    pub fn files(&self) -> Vec<PathBuf> {
        self.0.iter().flat_map(|link| link.configured.blueprint.files()).collect()
    }

    /// Reads the files of every plugin that has some.
    pub fn reload(&self, files: &dyn Files) -> Vec<Reloaded> {
        let with_files = self.0.iter().filter(|link| !link.configured.blueprint.files().is_empty());
        let reload =
            |link: &Link| Reloaded { plugin: Arc::clone(&link.configured.name), outcome: link.plugin.reload(files) };
        with_files.map(reload).collect()
    }

    /// The names that the plugins' tables mention and the bundle does not have: warnings.
    pub fn unknown_in(&self, bundle: &Bundle) -> Vec<Problem> {
        self.0.iter().flat_map(|link| link.configured.unknown_in(bundle)).collect()
    }

    /// Narrows a permit by every plugin that applies. Of a list, persons are still to be narrowed by [`Chain::persons`].
    ///
    /// # Errors
    /// By the first plugin that refuses, leaves nothing, or fails.
    pub async fn narrow(&self, mut permit: Permit, circumstances: &Circumstances<'_>) -> Result<Permit, Stopped> {
        let listed = matches!(permit.operation().answer, Answer::List(_));
        for (at, link) in self.0.iter().enumerate() {
            if !link.configured.applies_to.selects(&permit) {
                continue;
            }
            if listed && link.plugin.looks_at_subject() {
                permit = permit.each_person();
            }
            let narrowing = match link.ask(&permit, permit.subject(), circumstances).await {
                Ok(narrowing) => narrowing,
                Err(failure) => {
                    link.failed(at, &permit, failure, circumstances)?;
                    continue;
                }
            };
            let id = permit.disclosure();
            permit = match permit.narrow(&narrowing) {
                Ok(permit) => permit,
                Err(overruled) => {
                    let stopped = link.overruled(overruled);
                    circumstances.observer.decided(at, Decided::Refused);
                    tracing::info!(request_id = %id, plugin = &*stopped.plugin, "a plugin refused");
                    return Err(stopped);
                }
            };
            circumstances.observer.decided(at, decided(&narrowing));
        }
        Ok(permit)
    }

    /// Asks the plugins that look at whom a request is about, about one person of a list. A refusal hides that person.
    ///
    /// # Errors
    /// If a plugin fails: a list that silently lacks persons would look complete.
    pub async fn about(
        &self,
        permit: &Permit,
        person: &Personal<String>,
        circumstances: &Circumstances<'_>,
    ) -> Result<Narrowing, Stopped> {
        let mut all = Narrowing::NONE;
        for (at, link) in self.0.iter().enumerate() {
            if !link.plugin.looks_at_subject() || !link.configured.applies_to.selects(permit) {
                continue;
            }
            match link.ask(permit, Some(person), circumstances).await {
                Ok(narrowing) => {
                    circumstances.observer.decided(at, decided(&narrowing));
                    all = all.and(narrowing);
                }
                Err(failure) => link.failed(at, permit, failure, circumstances)?,
            }
        }
        Ok(if all.refuses() { Narrowing::hide() } else { all })
    }

    /// Narrows what is shown of each person of a list, several at once. To be called between fetch and opening, with the number of
    /// every record of the list, if [`Permit::wants_persons`].
    ///
    /// # Errors
    /// If a plugin fails.
    pub async fn persons(
        &self,
        mut permit: Permit,
        persons: &[Personal<String>],
        circumstances: &Circumstances<'_>,
    ) -> Result<Permit, Stopped> {
        for some in persons.chunks(AT_ONCE) {
            let asked = some.iter().map(|person| self.about(&permit, person, circumstances)).collect();
            for (person, narrowing) in some.iter().zip(all(asked).await) {
                permit = permit.narrow_person(person, &narrowing?).map_err(|overruled| Stopped {
                    plugin: Arc::from(""),
                    stop: stop(overruled.why),
                    policy_errors: overruled.policy_errors,
                })?;
            }
        }
        Ok(permit)
    }
}

impl Link {
    async fn ask(
        &self,
        permit: &Permit,
        subject: Option<&Personal<String>>,
        circumstances: &Circumstances<'_>,
    ) -> Result<Narrowing, Failure> {
        let seen = Seen {
            system: permit.system(),
            operation: permit.operation(),
            purpose: permit.purpose(),
            local: circumstances.local,
            source: circumstances.source,
            subject,
            sealed: permit.is_sealed(),
            fields: permit.widest(),
            lookup: circumstances.lookup,
            // Who is asked must be given up before the plugin is: then it is known who did not answer.
            within: self.configured.deadline * 9 / 10,
        };
        let decision = Caught::new(async move { self.plugin.decide(seen).await });
        let narrowing = match tokio::time::timeout(self.configured.deadline, decision).await {
            Err(_) => return Err(Failure::Late),
            Ok(Err(_)) => return Err(Failure::Panicked),
            Ok(Ok(Err(Failed::SUSPENDED))) => return Err(Failure::Suspended),
            Ok(Ok(Err(Failed(reason)))) => return Err(Failure::Error(reason)),
            Ok(Ok(Ok(narrowing))) => narrowing,
        };
        match narrowing.unknown_field(&permit.operation().record) {
            Some(name) => Err(Failure::UnknownField(name.to_owned())),
            None => Ok(narrowing),
        }
    }

    /// What a failure means: nothing if it is ignored.
    fn failed(
        &self,
        at: usize,
        permit: &Permit,
        failure: Failure,
        circumstances: &Circumstances<'_>,
    ) -> Result<(), Stopped> {
        let Configured { name, on_error, .. } = &self.configured;
        let ignored = *on_error == OnError::Ignore && failure != Failure::Suspended;
        circumstances.observer.decided(at, if ignored { Decided::Ignored } else { Decided::Failed });
        tracing::error!(request_id = %permit.disclosure(), plugin = &**name, %failure, ignored, "a plugin failed");
        if ignored {
            return Ok(());
        }
        Err(Stopped { plugin: Arc::clone(name), stop: Stop::Failed(failure), policy_errors: 0 })
    }

    fn overruled(&self, overruled: Overruled) -> Stopped {
        let Overruled { why, policy_errors } = overruled;
        Stopped { plugin: Arc::clone(&self.configured.name), stop: stop(why), policy_errors }
    }
}

fn stop(why: Overruling) -> Stop {
    match why {
        Overruling::Refused(remedy) => Stop::Refused(remedy.to_owned()),
        Overruling::Nothing => Stop::Refused("the rules of this site leave nothing of this to show".to_owned()),
        Overruling::Parameter { name } => {
            Stop::Refused(format!("parameter `{name}`: the rules of this site do not let it be used here"))
        }
        Overruling::UnknownField { name } => Stop::Failed(Failure::UnknownField(name)),
    }
}

fn decided(narrowing: &Narrowing) -> Decided {
    if narrowing.refuses() {
        Decided::Refused
    } else if narrowing.hides() {
        Decided::Hidden
    } else if narrowing.is_none() {
        Decided::Passed
    } else {
        Decided::Narrowed
    }
}

/// Awaits all of them at once; the outputs in their order.
async fn all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut futures: Vec<Pin<Box<F>>> = futures.into_iter().map(Box::pin).collect();
    let mut outputs: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    poll_fn(|context| {
        for (future, output) in futures.iter_mut().zip(&mut outputs).filter(|(_, output)| output.is_none()) {
            if let Poll::Ready(ready) = future.as_mut().poll(context) {
                *output = Some(ready);
            }
        }
        if outputs.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    outputs.into_iter().flatten().collect()
}

/// How many persons of a list are asked about at once.
const AT_ONCE: usize = 16;
