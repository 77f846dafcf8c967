//! A bundle that requests are held against which another bundle decided: by names, as a log or another contract has them.
//!
//! Nothing can be disclosed by it. What cannot be told from names and circumstances is not guessed: it is a world of its own, see `worlds`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::bundle::Bundle;
use crate::contract::{Answer, Arguments, Operation, Role};
use crate::directory::{Exchange, Purpose, Requirement, System};
use crate::engine::Trial;
use crate::model::{ExchangeId, FieldIx, FieldSet, OperationId, Personal, PurposeId, SystemId, Treatment};
use crate::permit::{Denial, Env};

mod asks;
mod change;
mod worlds;

pub use asks::Asks;
pub use change::{Change, shows};
pub use worlds::{World, worlds};

/// A bundle, with its names looked up once.
#[derive(Debug)]
pub struct Mirror {
    bundle: Arc<Bundle>,
    systems: HashMap<SystemId, Arc<System>>,
    exchanges: HashMap<ExchangeId, Arc<Exchange>>,
    operations: HashMap<OperationId, Arc<Operation>>,
    purposes: HashMap<PurposeId, Arc<Purpose>>,
    /// What each policy asks about.
    asks: asks::ByRule,
}

/// Who asked what for what purpose, by name.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// `agency/system`.
    pub system: &'a str,
    /// The exchange server that spoke for it.
    pub exchange: Option<&'a str>,
    /// The operation.
    pub operation: &'a str,
    /// The purpose.
    pub purpose: &'a str,
}

/// A name that the bundle does not have.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Gone {
    /// The system, or the exchange server that spoke for it.
    System,
    /// The operation.
    Operation,
    /// The purpose.
    Purpose,
    /// A field that was shown.
    Field,
}

impl Gone {
    /// One word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Operation => "operation",
            Self::Purpose => "purpose",
            Self::Field => "field",
        }
    }
}

/// A request as the bundle knows it.
#[derive(Clone, Debug)]
pub struct Found {
    system: Arc<System>,
    exchange: Option<Arc<Exchange>>,
    operation: Arc<Operation>,
    purpose: Arc<Purpose>,
    asks: Arc<Asks>,
}

/// Why the bundle would refuse a request before its policies are asked, or by them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Turned {
    /// The system may not come from that address.
    Network,
    /// The exchange server does not speak for the system.
    Exchange,
    /// The system is not enrolled for the purpose.
    NotEnrolled,
    /// The purpose is not valid on that day.
    Expired,
    /// The purpose requires what the request does not bring.
    Evidence,
    /// The policies show nothing.
    Policies,
    /// The policies do not let a parameter be used.
    Parameter,
}

impl Turned {
    /// The code of the refusal.
    pub fn code(self) -> &'static str {
        match self {
            Self::Network => "network_not_listed",
            Self::Exchange => "client_not_represented",
            Self::NotEnrolled => "purpose_not_enrolled",
            Self::Expired => "purpose_expired",
            Self::Evidence => "evidence_missing",
            Self::Policies => "policy_denied",
            Self::Parameter => "parameter_denied",
        }
    }
}

/// A parameter that a request had.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Given {
    /// Its name.
    pub name: String,
    /// The order that it asks for, if it does: a word of the contract.
    pub sort: Option<String>,
}

impl Mirror {
    /// Looks every name up.
    pub fn of(bundle: Arc<Bundle>) -> Self {
        let directory = bundle.directory();
        Self {
            systems: directory.systems().iter().map(|system| (system.id.clone(), Arc::clone(system))).collect(),
            exchanges: directory.exchanges().iter().map(|it| (it.id.clone(), Arc::clone(it))).collect(),
            operations: bundle.contracts().operations().iter().map(|it| (it.id.clone(), Arc::clone(it))).collect(),
            purposes: directory.purposes().map(|purpose| (purpose.id.clone(), Arc::clone(purpose))).collect(),
            asks: asks::ByRule::of(bundle.engine()),
            bundle,
        }
    }

    /// The bundle.
    pub fn bundle(&self) -> &Arc<Bundle> {
        &self.bundle
    }

    /// The request, as this bundle knows it.
    ///
    /// # Errors
    /// The first name that it does not have.
    pub fn find(&self, named: Named<'_>) -> Result<Found, Gone> {
        let system = self.systems.get(named.system).ok_or(Gone::System)?;
        let exchange = named.exchange.map(|exchange| self.exchanges.get(exchange).ok_or(Gone::System)).transpose()?;
        let operation = self.operations.get(named.operation).ok_or(Gone::Operation)?;
        let purpose = self.purposes.get(named.purpose).ok_or(Gone::Purpose)?;
        Ok(Found {
            asks: Arc::new(self.asks.of_request(self.bundle.engine(), system, operation)),
            system: Arc::clone(system),
            exchange: exchange.cloned(),
            operation: Arc::clone(operation),
            purpose: Arc::clone(purpose),
        })
    }

    /// What the policies make of it; `None` if it was found in another bundle.
    pub fn trial(&self, found: &Found, env: &Env) -> Option<Trial> {
        self.bundle.trial(&found.system, &found.operation, &found.purpose.id, env)
    }
}

impl Found {
    /// Who asks.
    pub fn system(&self) -> &Arc<System> {
        &self.system
    }

    /// The operation.
    pub fn operation(&self) -> &Arc<Operation> {
        &self.operation
    }

    /// The purpose.
    pub fn purpose(&self) -> &Arc<Purpose> {
        &self.purpose
    }

    /// What its policies ask about.
    pub fn asks(&self) -> &Asks {
        &self.asks
    }

    /// What is asked before the policies are. What only an order lends counts as lent, for no bundle says whether it is.
    /// `evidence`: whether `env` tells what the request claimed.
    ///
    /// # Errors
    /// The first gate that is shut.
    pub fn gates(&self, env: &Env, evidence: bool) -> Result<(), Turned> {
        if !self.admits_source(env.source) {
            return Err(Turned::Network);
        }
        let speaks = |exchange: &Arc<Exchange>| match &self.system.xroad {
            Some(client) => exchange.speaks_for(client),
            None => false,
        };
        if !self.exchange.as_ref().is_none_or(speaks) {
            return Err(Turned::Exchange);
        }
        if !self.purpose.break_glass && !self.system.purposes.contains(&self.purpose.id) {
            return Err(Turned::NotEnrolled);
        }
        if !self.purpose.is_valid_on(env.date) {
            return Err(Turned::Expired);
        }
        let brings = |requirement: &Requirement| match requirement {
            Requirement::Case => env.claimed_case,
            Requirement::User => env.claimed_user,
            Requirement::Assurance => env.claimed_assurance.is_some(),
        };
        if evidence && !self.purpose.requires.iter().all(brings) {
            return Err(Turned::Evidence);
        }
        Ok(())
    }

    fn admits_source(&self, source: IpAddr) -> bool {
        match &self.exchange {
            Some(exchange) => exchange.admits_source(source),
            None => self.system.admits_source(source),
        }
    }

    /// Why the policies refuse the request whatever the record says, given the parameters that it had.
    pub fn denial(&self, trial: &Trial, given: &[Given]) -> Option<Turned> {
        let value = |name: &str| {
            let given = given.iter().find(|given| given.name == name)?;
            Some(Personal::new(given.sort.clone().unwrap_or_default()))
        };
        let values = self.operation.parameters.iter().map(|parameter| value(&parameter.name)).collect();
        match trial.denial(&self.operation, &Arguments(values))? {
            Denial::Parameter { .. } => Some(Turned::Parameter),
            Denial::Nothing | Denial::Missing { .. } | Denial::Cursor { .. } => Some(Turned::Policies),
        }
    }

    /// The parameters that every such request has, and those that tell something about one of these fields.
    pub fn given(&self, about: impl Fn(&str) -> bool) -> Vec<Given> {
        let record = &self.operation.record;
        let asks = self.operation.parameters.iter().filter(|parameter| parameter.role == Role::Asks);
        let had = asks.filter(|parameter| {
            let field = record.field(parameter.field);
            parameter.required || field.is_some_and(|field| about(field.name.as_str()))
        });
        had.map(|parameter| Given { name: parameter.name.clone(), sort: None }).collect()
    }

    /// The fields that an answer of this operation is made of. The envelope of a list is decided with the record of the person who was
    /// asked for; what a search says of all that it found is not among them, see [`Found::counted`].
    pub fn answered(&self) -> FieldSet {
        let envelope = if self.operation.subject.is_some() { self.envelope() } else { FieldSet::EMPTY };
        self.of_each().union(envelope)
    }

    /// What a search says of all that it found: how many, where the next page begins. Policies are not all that decides about it: it is
    /// shown only where no record can be hidden.
    pub fn counted(&self) -> FieldSet {
        if self.operation.subject.is_none() { self.envelope() } else { FieldSet::EMPTY }
    }

    fn envelope(&self) -> FieldSet {
        match &self.operation.answer {
            Answer::List(list) => list.envelope,
            Answer::Record | Answer::Whole(_) | Answer::Match => FieldSet::EMPTY,
        }
    }

    /// The fields of [`Found::answered`] that each record has of its own.
    pub fn of_each(&self) -> FieldSet {
        let (fields, envelope) = (&self.operation.record.fields, self.envelope());
        match &self.operation.answer {
            Answer::Record | Answer::List(_) => {
                let of_record = fields.iter().filter(|field| !field.whole && !envelope.contains(field.index));
                of_record.map(|field| field.index).collect()
            }
            Answer::Whole(whole) => std::iter::once(whole.field).collect(),
            Answer::Match => {
                let asks = self.operation.parameters.iter().filter(|parameter| parameter.role == Role::Asks);
                asks.map(|parameter| parameter.field).collect()
            }
        }
    }

    /// Whether anything of a record is told, given the parameters that the request had: a field that one asks about and that is
    /// withheld hides the record whole.
    pub fn answers(&self, given: &[Given], treatment: impl Fn(FieldIx) -> Treatment) -> bool {
        let operation = &self.operation;
        let asked = given.iter().filter_map(|given| {
            let known = operation.parameters.iter().find(|parameter| parameter.name == given.name)?;
            (known.role == Role::Asks).then_some(known.field)
        });
        let hidden = asked.into_iter().any(|field| treatment(field) == Treatment::Withhold);
        let shown = || self.of_each().iter().any(|field| shows(treatment(field)));
        !hidden && (operation.answer == Answer::Match || shown())
    }

    /// The full name of a field.
    pub fn name(&self, field: FieldIx) -> &str {
        self.operation.record.field(field).map_or("?", |field| field.name.as_str())
    }
}
