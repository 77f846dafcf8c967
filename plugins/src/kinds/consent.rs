//! `consent`: nothing is shown of a person without a consent on record. The register of consents is asked over the gateway's own
//! connections; what it said is remembered for a while, and questions that are the same are asked once.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use popgate_policy::model::{Personal, RegisterId};
use popgate_policy::narrow::Narrowing;

use super::effect;
use crate::keyed::Keyed;
use crate::plugin::{Answer, Blueprint, Decision, Failed, Files, Plugin, Question, Seen, Unanswered, Unusable};
use crate::settings::Settings;

mod flight;
mod template;

use flight::{Memory, Turn};
use template::Template;

/// What the table says.
#[derive(Clone, Debug)]
struct Table {
    register: RegisterId,
    target: Template,
    key: Option<PathBuf>,
    member: String,
    remember_yes: Duration,
    remember_no: Duration,
    capacity: u64,
    without: Narrowing,
}

#[derive(Debug)]
struct Consent {
    table: Table,
    keyed: RwLock<Option<Arc<Keyed>>>,
    memory: Memory,
}

pub(super) fn read(settings: &Settings<'_>) -> Option<Arc<dyn Blueprint>> {
    let register = settings.required("register", Settings::register);
    let target = settings.required("path", template::read);
    let key = settings.optional("key", Settings::path);
    let member = settings.optional("member", |settings, value| settings.text(value).map(str::to_owned));
    let remember =
        |key, default| settings.optional(key, |settings, value| settings.duration(value, LONGEST)).unwrap_or(default);
    let (remember_yes, remember_no) = (remember("remember_yes", YES), remember("remember_no", NO));
    let capacity = settings.optional("remembered", |settings, value| settings.count(value, 0, 10_000_000));
    let without = effect::read(settings, "without", "refuse", REMEDY);
    let (register, target) = (register?, target?);
    match (target.needs_key(), settings.has("key")) {
        (true, false) => {
            let help = "add `key`; make one with `popgate pki key FILE`";
            settings.mend("no-key", settings.place("path"), "a pseudonym needs a key", help);
            return None;
        }
        (false, true) => {
            let message = "there is a `key`, and no `{pseudonym}` in the path";
            settings.mend("key-unused", settings.place("key"), message, "name the person by `{pseudonym}`");
            return None;
        }
        _ => {}
    }
    Some(Arc::new(Table {
        register,
        target,
        key,
        member: member.unwrap_or_else(|| "consent".into()),
        remember_yes,
        remember_no,
        capacity: capacity.unwrap_or(REMEMBERED),
        without: without?,
    }))
}

impl Table {
    fn keyed(&self, files: &dyn Files) -> Result<Option<Arc<Keyed>>, Unusable> {
        self.key.as_ref().map(|key| Ok(Arc::new(Keyed::new(&files.key(key)?)))).transpose()
    }
}

impl Blueprint for Table {
    fn open(&self, files: &dyn Files) -> Result<Box<dyn Plugin>, Unusable> {
        Ok(Box::new(Consent {
            keyed: RwLock::new(self.keyed(files)?),
            memory: Memory::new(self.capacity, self.remember_yes, self.remember_no),
            table: self.clone(),
        }))
    }

    fn files(&self) -> Vec<PathBuf> {
        self.key.iter().cloned().collect()
    }
}

impl Plugin for Consent {
    fn looks_at_subject(&self) -> bool {
        true
    }

    fn decide<'a>(&'a self, seen: Seen<'a>) -> Decision<'a> {
        Box::pin(async move {
            let Some(subject) = seen.subject else { return Ok(Narrowing::NONE) };
            let keyed = self.keyed.read().unwrap_or_else(PoisonError::into_inner).clone();
            let target =
                self.table.target.fill(&seen, subject, keyed.as_deref()).ok_or(Failed("its key is missing"))?;
            if seen.lookup.is_suspended(&self.table.register) {
                return Err(Failed::SUSPENDED);
            }
            let given = self.consents(&seen, target).await.map_err(|Unanswered(reason)| Failed(reason))?;
            Ok(if given { Narrowing::NONE } else { self.table.without.clone() })
        })
    }

    fn reload(&self, files: &dyn Files) -> Result<String, Unusable> {
        let keyed = self.table.keyed(files)?;
        *self.keyed.write().unwrap_or_else(PoisonError::into_inner) = keyed;
        // What was remembered under another pseudonym is not asked for again.
        Ok("its key was read".into())
    }
}

impl Consent {
    /// What the register says, or said not long ago, or is just being asked.
    async fn consents(&self, seen: &Seen<'_>, target: Personal<String>) -> Result<bool, Unanswered> {
        // Of a sealed person nothing is known, and it is remembered as long as that of somebody unknown; others ask for themselves.
        let remembered = seen.sealed.then(|| Personal::new(format!("sealed {}", target.expose())));
        let remembered = remembered.as_ref().unwrap_or(&target);
        loop {
            match self.memory.turn(remembered) {
                Turn::Known(given) => return Ok(given),
                Turn::Wait(waiting) => {
                    if let Some(landed) = waiting.landed().await {
                        return landed;
                    }
                    // Whoever asked gave up.
                }
                Turn::Ask(asking) => {
                    let question = Question {
                        register: &self.table.register,
                        target: &target,
                        member: &self.table.member,
                        within: seen.within,
                    };
                    let answer = seen.lookup.ask(question).await;
                    return asking.land(answer.map(|answer| match answer {
                        Answer::Said(given) => given && !seen.sealed,
                        Answer::Unknown => false,
                    }));
                }
            }
        }
    }
}

const YES: Duration = Duration::from_secs(600);
const NO: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(24 * 3600);
const REMEMBERED: u64 = 100_000;
const REMEDY: &str = "the person must consent first";
