//! A few connections, each with its statements prepared. Requests share a connection: they are sent without waiting for
//! the answers to those before.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use tokio::sync::Mutex;
use tokio_postgres::{Client, Config, NoTls, Row, Statement, types::ToSql};

use super::{DatabaseError, place, rows};

pub(super) struct Pool {
    config: Config,
    sessions: [Mutex<Option<Arc<Session>>>; SESSIONS],
    next: AtomicUsize,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Session {
    client: Client,
    statements: Statements,
    config: Config,
}

#[derive(Debug)]
pub(super) struct Statements {
    pub(super) citizen: Statement,
    pub(super) household: Statement,
    pub(super) name: Statement,
    pub(super) count: Statement,
    pub(super) by_id: Statement,
    pub(super) by_name: Statement,
}

impl Pool {
    pub(super) fn new(config: Config) -> Self {
        Self { config, sessions: Default::default(), next: AtomicUsize::new(0) }
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn place(&self) -> String {
        place(&self.config)
    }

    /// A connection that was open a moment ago; one in turn.
    pub(super) async fn session(&self) -> Result<Arc<Session>, DatabaseError> {
        let turn = self.next.fetch_add(1, Relaxed) % SESSIONS;
        let Some(slot) = self.sessions.get(turn) else { return Session::open(&self.config).await.map(Arc::new) };
        let mut slot = slot.lock().await;
        if let Some(session) = slot.as_ref().filter(|session| !session.client.is_closed()) {
            return Ok(Arc::clone(session));
        }
        let session = Arc::new(Session::open(&self.config).await?);
        *slot = Some(Arc::clone(&session));
        Ok(session)
    }

    /// Asks, and once more over another connection if the first one broke: nothing here writes.
    pub(super) async fn try_twice<T, F>(&self, ask: impl Fn(Arc<Session>) -> F) -> Result<T, DatabaseError>
    where
        F: Future<Output = Result<T, DatabaseError>>,
    {
        match ask(self.session().await?).await {
            Err(error) if error.is_of_the_connection() => ask(Arc::new(Session::open(&self.config).await?)).await,
            result => result,
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the configuration: it holds a password.
        f.debug_struct("Pool").field("place", &self.place()).finish_non_exhaustive()
    }
}

impl Session {
    async fn open(config: &Config) -> Result<Self, DatabaseError> {
        let client = connect(config).await?;
        let prepared = Statements::prepare(&client).await;
        let statements = prepared.map_err(|error| DatabaseError::asking(config, &error))?;
        Ok(Self { client, statements, config: config.clone() })
    }

    pub(super) async fn rows(
        &self,
        statement: impl FnOnce(&Statements) -> &Statement,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, DatabaseError> {
        let rows = self.client.query(statement(&self.statements), parameters).await;
        rows.map_err(|error| DatabaseError::asking(&self.config, &error))
    }

    pub(super) async fn one(&self, query: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Row, DatabaseError> {
        let row = self.client.query_one(query, parameters).await;
        row.map_err(|error| DatabaseError::asking(&self.config, &error))
    }
}

impl Statements {
    async fn prepare(client: &Client) -> Result<Self, tokio_postgres::Error> {
        let columns = rows::columns();
        let found = "where province_code = $1 and date_of_birth = $2 and ($3::text is null or full_name = $3) \
                     and ($4::text is null or sex = $4) and ($5::text is null or ward = $5)";
        Ok(Self {
            citizen: client.prepare(&format!("select {columns} from citizens where id = $1")).await?,
            household: client
                .prepare(&format!(
                    "select {columns} from citizens \
                     where household_id = (select household_id from citizens where id = $1) order by member"
                ))
                .await?,
            name: client.prepare("select full_name from citizens where id = $1").await?,
            count: client.prepare(&format!("select count(*) from citizens {found}")).await?,
            by_id: client
                .prepare(&format!("select {columns} from citizens {found} and id > $6 order by id limit $7"))
                .await?,
            by_name: client
                .prepare(&format!(
                    "select {columns} from citizens {found} and (full_name, id) > ($8, $6) order by full_name, id limit $7"
                ))
                .await?,
        })
    }
}

/// Connects, and reads the connection on the runtime that is here.
pub(super) async fn connect(config: &Config) -> Result<Client, DatabaseError> {
    let connected = config.connect(NoTls).await;
    let (client, connection) = connected.map_err(|error| DatabaseError::connecting(config, &error))?;
    // Ends with the client; what breaks it, the client is told.
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

const SESSIONS: usize = 4;
