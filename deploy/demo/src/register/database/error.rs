//! What can be wrong with a database, and what to do about it. Never a value of a record, never a password.

use tokio_postgres::{Config, Error, error::SqlState};

/// Why the database does not answer.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The URL cannot be read.
    #[error("the database's URL: {0}; it is like `postgres://register@localhost/register`")]
    Url(String),
    /// TLS is asked for.
    #[error(
        "the database's URL asks for TLS, which this register does not speak to databases: connect by a Unix socket or the loopback, with `sslmode=disable`"
    )]
    Tls,
    /// Nobody there.
    #[error("cannot connect to PostgreSQL at `{place}`: {cause}; start it, or correct the URL")]
    Connect {
        /// Host and port, or socket.
        place: String,
        /// What the system said.
        cause: String,
    },
    /// A password is wrong or missing.
    #[error(
        "PostgreSQL at `{place}` refuses user `{user}`: {cause}; put the right password into PGPASSWORD, or into the URL"
    )]
    Password {
        /// Host and port, or socket.
        place: String,
        /// As the URL names it.
        user: String,
        /// Whether it is wrong or missing.
        cause: &'static str,
    },
    /// No such user, or no right to connect.
    #[error(
        "PostgreSQL at `{place}` refuses user `{user}`: {cause}; `createuser {user}` makes a user, pg_hba.conf says who may connect"
    )]
    User {
        /// Host and port, or socket.
        place: String,
        /// As the URL names it.
        user: String,
        /// What the server said.
        cause: String,
    },
    /// No such database.
    #[error("PostgreSQL at `{place}` has no database `{name}`: make it with `createdb {name}`, or correct the URL")]
    NoDatabase {
        /// Host and port, or socket.
        place: String,
        /// As the URL names it.
        name: String,
    },
    /// No table, or an empty one.
    #[error(
        "the database at `{place}` has no citizens: run seed first, `cargo demo register seed --database URL --citizens 1000000`"
    )]
    NoTable {
        /// Host and port, or socket.
        place: String,
    },
    /// Seeding would mix two populations.
    #[error(
        "the database at `{place}` has {citizens} citizens already: add `--replace` to replace them, or give another database"
    )]
    NotEmpty {
        /// Host and port, or socket.
        place: String,
        /// How many there are.
        citizens: i64,
    },
    /// Seeding would destroy what is not ours.
    #[error("the database at `{place}` has a table `citizens` that this program did not make: give another database")]
    Foreign {
        /// Host and port, or socket.
        place: String,
    },
    /// A row that is no record.
    #[error("column `{0}` of the database holds what is no part of a record: run seed again with `--replace`")]
    Row(&'static str),
    /// Anything else that the server refused.
    #[error("PostgreSQL at `{place}`: {cause}")]
    Query {
        /// Host and port, or socket.
        place: String,
        /// The server's message and code.
        cause: String,
        /// Whether another connection may do better.
        again: bool,
    },
    /// The connection broke.
    #[error("the connection to PostgreSQL at `{place}` broke: {cause}")]
    Broken {
        /// Host and port, or socket.
        place: String,
        /// What the system said.
        cause: String,
    },
}

impl DatabaseError {
    /// Of an attempt to connect.
    pub(super) fn connecting(config: &Config, error: &Error) -> Self {
        let place = super::place(config);
        let user = config.get_user().unwrap_or_default().to_owned();
        let name = config.get_dbname().unwrap_or(&user).to_owned();
        match error.code() {
            Some(&SqlState::INVALID_PASSWORD) => Self::Password { place, user, cause: "the password is wrong" },
            Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION) => Self::User { place, user, cause: in_words(error) },
            Some(&SqlState::INVALID_CATALOG_NAME) => Self::NoDatabase { place, name },
            Some(_) => Self::Query { place, cause: in_words(error), again: false },
            // The client gives up when it is asked for a password that it does not have.
            None if in_words(error).contains("password missing") => {
                Self::Password { place, user, cause: "it wants a password and got none" }
            }
            None => Self::Connect { place, cause: in_words(error) },
        }
    }

    /// Of a statement.
    pub(super) fn asking(config: &Config, error: &Error) -> Self {
        let place = super::place(config);
        match error.code() {
            Some(&SqlState::UNDEFINED_TABLE) => Self::NoTable { place },
            Some(code) => Self::Query { place, cause: in_words(error), again: ENDED.contains(code) },
            None => Self::Broken { place, cause: in_words(error) },
        }
    }

    /// Whether another connection may do better.
    pub(super) fn is_of_the_connection(&self) -> bool {
        match self {
            Self::Broken { .. } => true,
            Self::Query { again, .. } => *again,
            Self::Url(_)
            | Self::Tls
            | Self::Connect { .. }
            | Self::Password { .. }
            | Self::User { .. }
            | Self::NoDatabase { .. }
            | Self::NoTable { .. }
            | Self::NotEmpty { .. }
            | Self::Foreign { .. }
            | Self::Row(_) => false,
        }
    }
}

/// The server ends connections so when it is stopped, and refuses old statements so when a table was replaced.
const ENDED: [SqlState; 4] =
    [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN, SqlState::CANNOT_CONNECT_NOW, SqlState::FEATURE_NOT_SUPPORTED];

/// The message and code of the server, without its detail, which may quote a row; or what the system said.
pub(super) fn in_words(error: &Error) -> String {
    if let Some(told) = error.as_db_error() {
        return format!("{} ({})", told.message(), told.code().code());
    }
    let mut causes = vec![error.to_string()];
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    // Each cause may repeat those below it.
    causes.into_iter().next_back().unwrap_or_default()
}
