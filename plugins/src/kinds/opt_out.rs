//! `opt-out`: persons who do not want their data used, by a keyed list that names nobody. Nothing, or less, is shown of them.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use popgate_policy::narrow::Narrowing;

use super::effect;
use crate::keyed::Keyed;
use crate::plugin::{Blueprint, Decision, Failed, Files, KeyedList, Plugin, Seen, Unusable};
use crate::settings::Settings;

mod list;

pub use list::{Entry, List};

/// What the table says.
#[derive(Clone, Debug)]
struct Table {
    list: PathBuf,
    key: PathBuf,
    answer: Narrowing,
}

#[derive(Debug)]
struct OptOut {
    table: Table,
    // Read by every request and written once a reload; never held across an await.
    read: RwLock<Arc<InForce>>,
}

#[derive(Debug)]
struct InForce {
    keyed: Keyed,
    list: List,
}

pub(super) fn read(settings: &Settings<'_>) -> Option<Arc<dyn Blueprint>> {
    let list = settings.required("list", Settings::path);
    let key = settings.required("key", Settings::path);
    let answer = effect::read(settings, "answer", "unknown", REMEDY);
    Some(Arc::new(Table { list: list?, key: key?, answer: answer? }))
}

impl Table {
    fn read(&self, files: &dyn Files) -> Result<InForce, Unusable> {
        let keyed = Keyed::new(&files.key(&self.key)?);
        let list = List::parse(&files.text(&self.list)?, &keyed);
        let list = list.map_err(|wrong| Unusable(format!("`{}`: {wrong}", self.list.display())))?;
        Ok(InForce { keyed, list })
    }
}

impl Blueprint for Table {
    fn open(&self, files: &dyn Files) -> Result<Box<dyn Plugin>, Unusable> {
        let read = RwLock::new(Arc::new(self.read(files)?));
        Ok(Box::new(OptOut { table: self.clone(), read }))
    }

    fn files(&self) -> Vec<PathBuf> {
        vec![self.list.clone(), self.key.clone()]
    }

    fn keyed_list(&self) -> Option<KeyedList<'_>> {
        Some(KeyedList { list: &self.list, key: &self.key })
    }
}

impl Plugin for OptOut {
    fn looks_at_subject(&self) -> bool {
        true
    }

    fn decide<'a>(&'a self, seen: Seen<'a>) -> Decision<'a> {
        let decided = || -> Result<Narrowing, Failed> {
            let Some(subject) = seen.subject else { return Ok(Narrowing::NONE) };
            let read = Arc::clone(&self.read.read().unwrap_or_else(PoisonError::into_inner));
            let opted_out = read.list.holds(&read.keyed.tag(subject), seen.purpose.id.as_str());
            Ok(if opted_out && !seen.sealed { self.table.answer.clone() } else { Narrowing::NONE })
        };
        let decided = decided();
        Box::pin(async { decided })
    }

    fn reload(&self, files: &dyn Files) -> Result<String, Unusable> {
        let read = self.table.read(files)?;
        let said = format!("{} persons have opted out", read.list.len());
        *self.read.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(read);
        Ok(said)
    }
}

const REMEDY: &str = "the person has opted out of this use";
