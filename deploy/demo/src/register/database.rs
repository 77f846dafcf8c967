//! The population in PostgreSQL: the same answers as those of the synthetic one, byte for byte, for the citizens that were
//! loaded by [`seed()`].
//!
//! One table holds a row a record, with a column a leaf, so that a record is read in one look-up. Names, wards and
//! numbers are compared by code points (collation `C`), whatever the database's own collation.

use std::{sync::Arc, time::Duration};

use jiff::civil::Date;
use tokio_postgres::{Config, config::Host, config::SslMode, types::ToSql};

use super::{
    Citizen, Number,
    search::{BAD_CURSOR, Page, Query, Refused, Sort},
    synthetic::HouseholdRecord,
};

mod error;
mod pool;
mod rows;
mod seed;

pub use error::DatabaseError;
pub use seed::{Seeded, seed};

use pool::{Pool, Session};

/// A database and the connections to it, made when they are needed. Clones share them.
#[derive(Clone, Debug)]
pub struct Database(Arc<Pool>);

impl Database {
    /// Of a URL such as `postgres://register@localhost/register`, or of `key=value` pairs. Connects to nothing yet.
    ///
    /// # Errors
    /// If it is not such a URL, or asks for TLS.
    pub fn new(url: &str) -> Result<Self, DatabaseError> {
        let mut config: Config = url.parse().map_err(|error| DatabaseError::Url(error::in_words(&error)))?;
        if config.get_ssl_mode() == SslMode::Require {
            return Err(DatabaseError::Tls);
        }
        if config.get_hosts().is_empty() {
            return Err(DatabaseError::Url("it names no host".into()));
        }
        if config.get_user().is_none() {
            return Err(DatabaseError::Url("it names no user".into()));
        }
        config.ssl_mode(SslMode::Disable).application_name("popgate-demo");
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT);
        }
        Ok(Self(Arc::new(Pool::new(config))))
    }

    /// The same database, with this password if its URL has none.
    ///
    /// # Errors
    /// None that [`Self::new`] has not told.
    #[must_use]
    pub fn with_password(self, password: &str) -> Self {
        let mut config = self.0.config().clone();
        if config.get_password().is_none() {
            config.password(password);
        }
        Self(Arc::new(Pool::new(config)))
    }

    /// How many citizens there are, once it can be connected to and was seeded.
    ///
    /// # Errors
    /// What is missing, and what to do.
    pub async fn citizens(&self) -> Result<u64, DatabaseError> {
        let session = self.0.session().await?;
        let row = session.one("select count(*) from citizens", &[]).await?;
        match row.try_get::<_, i64>(0).map_err(|_| DatabaseError::Row("count"))? {
            0 => Err(DatabaseError::NoTable { place: self.0.place() }),
            citizens => Ok(citizens.unsigned_abs()),
        }
    }

    pub(super) async fn citizen(&self, number: Number) -> Result<Option<Citizen>, DatabaseError> {
        self.0
            .try_twice(|session| async move {
                let rows = session.rows(|statements| &statements.citizen, &[&number]).await?;
                rows.first().map(rows::citizen).transpose()
            })
            .await
    }

    pub(super) async fn household(&self, number: Number) -> Result<Option<HouseholdRecord>, DatabaseError> {
        self.0
            .try_twice(|session| async move {
                let rows = session.rows(|statements| &statements.household, &[&number]).await?;
                let members = rows.iter().map(rows::citizen).collect::<Result<Vec<_>, _>>()?;
                Ok(HouseholdRecord::of_members(members))
            })
            .await
    }

    pub(super) async fn search(&self, query: &Query) -> Result<Result<Page, Refused>, DatabaseError> {
        self.0.try_twice(|session| async move { search(&session, query).await }).await
    }
}

async fn search(session: &Session, query: &Query) -> Result<Result<Page, Refused>, DatabaseError> {
    let sex = query.sex.map(super::Sex::word);
    let born: Date = query.date_of_birth;
    let filter: [&(dyn ToSql + Sync); 5] = [&query.province_code, &born, &query.full_name, &sex, &query.ward];
    let after = match query.after {
        None => (String::new(), String::new()),
        Some(number) => {
            let rows = session.rows(|statements| &statements.name, &[&number]).await?;
            let Some(row) = rows.first() else { return Ok(Err(BAD_CURSOR)) };
            (row.try_get(0).map_err(|_| DatabaseError::Row("full_name"))?, number.to_string())
        }
    };
    // One more than the page, to know whether there is another.
    let limit = i64::from(query.limit) + 1;
    let [province, born, name, sex, ward] = filter;
    let page = async {
        match query.sort {
            Sort::FullName => {
                let order: [&(dyn ToSql + Sync); 8] = [province, born, name, sex, ward, &after.1, &limit, &after.0];
                session.rows(|statements| &statements.by_name, &order).await
            }
            Sort::DateOfBirth | Sort::Id => {
                let order: [&(dyn ToSql + Sync); 7] = [province, born, name, sex, ward, &after.1, &limit];
                session.rows(|statements| &statements.by_id, &order).await
            }
        }
    };
    // Both are sent before the first is answered.
    let (total, page) = tokio::try_join!(session.rows(|statements| &statements.count, &filter), page)?;
    let total: i64 = match total.first().map(|row| row.try_get(0)) {
        Some(Ok(total)) => total,
        _ => return Err(DatabaseError::Row("count")),
    };
    let mut items = page.iter().take(query.limit.into()).map(rows::citizen).collect::<Result<Vec<_>, _>>()?;
    items.truncate(query.limit.into());
    let next = items.last().filter(|_| page.len() > items.len()).map(|last| query.cursor(last.id));
    Ok(Ok(Page { items, total: total.unsigned_abs(), next }))
}

/// Host and database, without user and password.
fn place(config: &Config) -> String {
    let ports = config.get_ports();
    let hosts = config.get_hosts().iter().enumerate().map(|(at, host)| {
        let port = ports.get(at).or(ports.first()).copied().unwrap_or(5432);
        match host {
            Host::Tcp(host) => format!("{host}:{port}"),
            Host::Unix(path) => path.join(format!(".s.PGSQL.{port}")).display().to_string(),
        }
    });
    hosts.collect::<Vec<_>>().join(", ")
}

const CONNECT: Duration = Duration::from_secs(5);
