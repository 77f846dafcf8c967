//! What a listener serves: one of the registers, and from where its records come.

use bytes::Bytes;
use hyper::{Uri, header::HeaderValue};

use super::{
    Citizen, Number, civil_status,
    database::{Database, DatabaseError},
    draw,
    health_insurance::Card,
    household::Person,
    json, portrait,
    search::{Page, Query, Refused},
    synthetic,
};

/// One of the registers.
#[derive(Clone, Debug)]
pub enum Service {
    /// Citizens, households, searches, portraits.
    Population(Source),
    /// Cards of health insurance.
    HealthInsurance,
    /// Births, marriages, deaths.
    CivilStatus,
}

/// From where the population's records come.
#[derive(Clone, Debug, Default)]
pub enum Source {
    /// They are computed.
    #[default]
    Synthetic,
    /// They are read; a [`seed`](super::database::seed) put them there.
    Database(Database),
}

impl Default for Service {
    fn default() -> Self {
        Self::Population(Source::default())
    }
}

/// What a path asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Of a person.
    Of(Number, Record),
    /// What the query says.
    Search,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record {
    Citizen,
    Household,
    Portrait,
    Card,
    Birth,
    Marriage,
    Death,
}

/// A representation, before its headers.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) body: Bytes,
    pub(super) content_type: HeaderValue,
    pub(super) surrogate_key: Option<HeaderValue>,
}

/// Why nothing can be said of what was asked.
#[derive(Debug)]
pub(super) enum Failure {
    /// The query is wrong.
    Query(Refused),
    /// The database does not answer.
    Database(DatabaseError),
}

impl From<DatabaseError> for Failure {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self::Query(refused)
    }
}

impl Service {
    /// The id that contracts and `gateway.toml` use.
    pub fn id(&self) -> &'static str {
        match self {
            Self::Population(_) => "population",
            Self::HealthInsurance => "health-insurance",
            Self::CivilStatus => "civil-status",
        }
    }

    /// What a path of this register asks for; nothing for any other path.
    pub(super) fn asked(&self, path: &str) -> Option<Asked> {
        let path = path.strip_prefix('/')?;
        let (collection, rest) =
            path.split_once('/').map_or((path, None), |(collection, rest)| (collection, Some(rest)));
        let of = |number: &str, record| number.parse().ok().map(|number| Asked::Of(number, record));
        match (self, collection, rest) {
            (Self::Population(_), "persons", None) => Some(Asked::Search),
            (Self::Population(_), "persons", Some(rest)) => match rest.split_once('/') {
                None => of(rest, Record::Citizen),
                Some((number, "household")) => of(number, Record::Household),
                Some((number, "portrait")) => of(number, Record::Portrait),
                Some(_) => None,
            },
            (Self::HealthInsurance, "cards", Some(number)) => of(number, Record::Card),
            (Self::CivilStatus, "births", Some(number)) => of(number, Record::Birth),
            (Self::CivilStatus, "marriages", Some(number)) => of(number, Record::Marriage),
            (Self::CivilStatus, "deaths", Some(number)) => of(number, Record::Death),
            _ => None,
        }
    }

    /// Finds it; nothing if there is no such person or record.
    pub(super) async fn find(&self, asked: Asked, uri: &Uri) -> Result<Option<Document>, Failure> {
        let (number, record) = match asked {
            Asked::Search => {
                let page = self.page(&Query::parse(uri.query().unwrap_or_default())?).await?;
                return Ok(Some(self.document(json(&page), JSON, None)));
            }
            Asked::Of(number, record) => (number, record),
        };
        if let Self::Population(Source::Database(database)) = self {
            return self.read(database, number, record).await;
        }
        let body = match record {
            Record::Citizen => Citizen::of(number).map(|citizen| citizen.to_json()),
            Record::Household => synthetic::household(number).map(|household| json(&household)),
            Record::Portrait => Person::of(number).map(|_| portrait::jpeg(number)),
            Record::Card => Card::of(number).map(|card| json(&card)),
            Record::Birth => civil_status::Birth::of(number).map(|birth| json(&birth)),
            Record::Marriage => civil_status::Marriage::of(number).map(|marriage| json(&marriage)),
            Record::Death => civil_status::Death::of(number).map(|death| json(&death)),
        };
        let household = Person::of(number).map(|person| person.household.id());
        Ok(body.map(|body| self.document(body, content_type(record), household.as_deref())))
    }

    async fn page(&self, query: &Query) -> Result<Page, Failure> {
        Ok(match self {
            Self::Population(Source::Database(database)) => database.search(query).await??,
            Self::Population(Source::Synthetic) | Self::HealthInsurance | Self::CivilStatus => {
                synthetic::search(query)?
            }
        })
    }

    async fn read(&self, database: &Database, number: Number, record: Record) -> Result<Option<Document>, Failure> {
        let (body, household) = if record == Record::Household {
            let Some(household) = database.household(number).await? else { return Ok(None) };
            (json(&household), household.id)
        } else {
            let Some(citizen) = database.citizen(number).await? else { return Ok(None) };
            // Pictures are in no database: they are drawn of the number.
            let body = if record == Record::Portrait { portrait::jpeg(number) } else { citizen.to_json() };
            (body, citizen.household.id)
        };
        Ok(Some(self.document(body, content_type(record), Some(&household))))
    }

    fn document(&self, body: Vec<u8>, content_type: HeaderValue, household: Option<&str>) -> Document {
        Document { body: body.into(), content_type, surrogate_key: self.surrogate_key(household) }
    }

    /// Groups answers for purging, without naming a person: a hash of the household, and the register.
    fn surrogate_key(&self, household: Option<&str>) -> Option<HeaderValue> {
        let register = self.id();
        let key = match household {
            Some(id) => {
                let hash = id.bytes().fold(0, |hash, byte| draw(hash, byte.into()));
                format!("household-{hash:016x} register-{register}")
            }
            None => format!("register-{register}"),
        };
        HeaderValue::try_from(key).ok()
    }
}

fn content_type(record: Record) -> HeaderValue {
    if record == Record::Portrait { JPEG } else { JSON }
}

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
const JPEG: HeaderValue = HeaderValue::from_static("image/jpeg");
