//! The way to Redis: one server, one behind sentinels, or a cluster. A call is one script on one key.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::join_all;
use redis::aio::{ConnectionLike, MultiplexedConnection, PubSub};
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, FromRedisValue, IntoConnectionInfo as _, Pipeline,
    RedisError, Value,
};

use crate::custody;

use super::script::{Call, Field, Reply, Script};

/// Where Redis is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// One server: `redis://host:port/db`, `rediss://` with TLS.
    One(String),
    /// The master that sentinels name.
    Sentinel {
        /// `host:port` of each.
        sentinels: Vec<String>,
        /// What they call it.
        service: String,
        /// Whether sentinels and servers are spoken to in TLS.
        tls: bool,
    },
    /// A cluster, by some of its nodes: `redis://host:port`, `rediss://` with TLS.
    Cluster(Vec<String>),
}

/// How a node proves to Redis who it is. Read anew for each connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    /// Of Redis' access list; none for the default user.
    pub user: Option<String>,
    /// A file that holds the password, and perhaps a line end.
    pub password_file: Option<PathBuf>,
    /// A file with the certificates (PEM) of who may sign Redis' certificate; none for the machine's own.
    pub ca_file: Option<PathBuf>,
}

/// Why Redis does not answer. It names no address, key or secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// The node has just started.
    Starting,
    /// There is no connection.
    Unreachable,
    /// There was no answer in time.
    Late,
    /// Redis does not let this node in, or not do what it must.
    Denied,
    /// The configuration, or a file that it names, is of no use.
    Misconfigured,
    /// Redis is loading, failing over, full or read-only.
    Unready,
    /// Redis answers for some limits only.
    Partly,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Unreachable => "unreachable",
            Self::Late => "late",
            Self::Denied => "denied",
            Self::Misconfigured => "misconfigured",
            Self::Unready => "unready",
            Self::Partly => "partly",
        })
    }
}

/// A connection; a copy is the same connection.
#[derive(Clone)]
pub(crate) enum Wire {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Wire {
    /// Connects and makes the scripts known. The caller limits the time.
    pub(super) async fn connect(place: &Place, login: &Login, limit: Duration) -> Result<Self, Why> {
        let mut wire = Self::open(place, login, limit).await?;
        wire.load().await?;
        Ok(wire)
    }

    /// Connects. The caller limits the time; an answer may take `limit`.
    pub(crate) async fn open(place: &Place, login: &Login, limit: Duration) -> Result<Self, Why> {
        let secret = Secret::read(login)?;
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(limit)).set_response_timeout(Some(limit));
        Ok(match place {
            Place::One(url) => {
                let client = client(url, &secret)?;
                Self::One(client.get_multiplexed_async_connection_with_config(&config).await.map_err(why)?)
            }
            Place::Sentinel { sentinels, service, tls } => {
                let mut client = sentinel(sentinels, service, *tls, &secret)?;
                Self::One(client.get_async_connection_with_config(&config).await.map_err(why)?)
            }
            Place::Cluster(seeds) => Self::Cluster(cluster(seeds, &secret, limit).await?),
        })
    }

    /// What Redis answers to a command.
    pub(crate) async fn query<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, RedisError> {
        match self {
            Self::One(connection) => command.query_async(connection).await,
            Self::Cluster(connection) => command.query_async(connection).await,
        }
    }

    /// Makes the calls, all in one go. `None` for each that was not answered, and why.
    pub(super) async fn call(&mut self, calls: &[&Call], prefix: &str, node: &str) -> Result<Answers, Why> {
        let mut unknown = false;
        let mut trouble = None;
        let values: Vec<Result<Value, Why>> = match self {
            Self::One(connection) => {
                let mut pipeline = Pipeline::with_capacity(calls.len());
                for call in calls {
                    pipeline.add_command(command(call, prefix, node));
                }
                let values = connection.req_packed_commands(&pipeline, 0, calls.len()).await.map_err(why)?;
                values.into_iter().map(Ok).collect()
            }
            Self::Cluster(connection) => {
                let one = |call: &&Call| {
                    let (mut connection, command) = (connection.clone(), command(call, prefix, node));
                    async move { connection.req_packed_command(&command).await }
                };
                let results = join_all(calls.iter().map(one)).await;
                let seen = |result: Result<Value, RedisError>| {
                    result.map_err(|error| {
                        unknown |= error.code() == Some("NOSCRIPT");
                        why(error)
                    })
                };
                results.into_iter().map(seen).collect()
            }
        };
        let mut replies = Vec::with_capacity(calls.len());
        for (call, value) in calls.iter().zip(values) {
            let reply = match value.map(fields) {
                Ok(Ok(fields)) => call.reply(&fields),
                Ok(Err(code)) => {
                    unknown |= code == "NOSCRIPT";
                    trouble = Some(by_code(&code));
                    None
                }
                Err(why) => {
                    trouble = Some(why);
                    None
                }
            };
            replies.push(reply);
        }
        // A server that was restarted, or took another's place, does not know the scripts.
        if unknown {
            self.load().await?;
        }
        Ok(Answers { replies, trouble, unknown })
    }

    async fn load(&mut self) -> Result<(), Why> {
        for script in [Script::Rate, Script::Quota, Script::Beat] {
            let mut load = redis::cmd("SCRIPT");
            load.arg("LOAD").arg(script.text());
            match self {
                Self::One(connection) => connection.req_packed_command(&load).await.map_err(why)?,
                Self::Cluster(connection) => connection.req_packed_command(&load).await.map_err(why)?,
            };
        }
        Ok(())
    }
}

/// Connects to listen to channels; there is none to do that in a cluster. The caller limits the time.
pub(crate) async fn listener(place: &Place, login: &Login) -> Result<PubSub, Why> {
    let secret = Secret::read(login)?;
    let client = match place {
        Place::One(url) => client(url, &secret)?,
        Place::Sentinel { sentinels, service, tls } => {
            sentinel(sentinels, service, *tls, &secret)?.async_get_client().await.map_err(why)?
        }
        Place::Cluster(_) => return Err(Why::Misconfigured),
    };
    client.get_async_pubsub().await.map_err(why)
}

/// What came back.
pub(super) struct Answers {
    pub(super) replies: Vec<Option<Reply>>,
    pub(super) trouble: Option<Why>,
    /// Scripts were not known, and are now.
    pub(super) unknown: bool,
}

#[derive(Default)]
struct Secret {
    user: Option<String>,
    password: Option<String>,
    roots: Option<Vec<u8>>,
}

impl Secret {
    fn read(login: &Login) -> Result<Self, Why> {
        let password = match &login.password_file {
            Some(file) => {
                let secret = custody::private_file(file).map_err(|_| Why::Misconfigured)?;
                Some(String::from_utf8(secret).map_err(|_| Why::Misconfigured)?.trim_end().to_owned())
            }
            None => None,
        };
        let roots = match &login.ca_file {
            Some(file) => Some(std::fs::read(file).map_err(|_| Why::Misconfigured)?),
            None => None,
        };
        Ok(Self { user: login.user.clone(), password, roots })
    }

    fn certificates(&self) -> redis::TlsCertificates {
        redis::TlsCertificates { client_tls: None, root_cert: self.roots.clone() }
    }
}

fn client(url: &str, secret: &Secret) -> Result<Client, Why> {
    let mut info = url.into_connection_info().map_err(|_| Why::Misconfigured)?;
    let mut redis = info.redis_settings().clone();
    if let Some(user) = &secret.user {
        redis = redis.set_username(user);
    }
    if let Some(password) = &secret.password {
        redis = redis.set_password(password);
    }
    info = info.set_redis_settings(redis);
    if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) && secret.roots.is_some() {
        return Client::build_with_tls(info, secret.certificates()).map_err(|_| Why::Misconfigured);
    }
    Client::open(info).map_err(|_| Why::Misconfigured)
}

fn sentinel(sentinels: &[String], service: &str, tls: bool, secret: &Secret) -> Result<SentinelClient, Why> {
    let address = |it: &String| {
        let (host, port) = it.rsplit_once(':')?;
        let (host, port) = (host.trim_matches(['[', ']']).to_owned(), port.parse().ok()?);
        Some(match tls {
            true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
            false => ConnectionAddr::Tcp(host, port),
        })
    };
    let addresses: Option<Vec<_>> = sentinels.iter().map(address).collect();
    let addresses = addresses.filter(|it| !it.is_empty()).ok_or(Why::Misconfigured)?;
    let mut builder =
        SentinelClientBuilder::new(addresses, service, SentinelServerType::Master).map_err(|_| Why::Misconfigured)?;
    if let Some(user) = &secret.user {
        builder = builder.set_client_to_redis_username(user);
    }
    if let Some(password) = &secret.password {
        builder = builder.set_client_to_redis_password(password);
    }
    if tls {
        builder = builder.set_client_to_redis_tls_mode(redis::TlsMode::Secure);
        if secret.roots.is_some() {
            builder = builder
                .set_client_to_redis_certificates(secret.certificates())
                .set_client_to_sentinel_certificates(secret.certificates());
        }
    }
    builder.build().map_err(|_| Why::Misconfigured)
}

async fn cluster(seeds: &[String], secret: &Secret, limit: Duration) -> Result<ClusterConnection, Why> {
    let mut builder = redis::cluster::ClusterClient::builder(seeds.to_vec())
        .connection_timeout(limit)
        .response_timeout(limit)
        .retries(1)
        .max_retry_wait(50);
    if let Some(user) = &secret.user {
        builder = builder.username(user);
    }
    if let Some(password) = &secret.password {
        builder = builder.password(password);
    }
    if secret.roots.is_some() {
        builder = builder.certs(secret.certificates());
    }
    let client = builder.build().map_err(|_| Why::Misconfigured)?;
    client.get_async_connection().await.map_err(why)
}

fn command(call: &Call, prefix: &str, node: &str) -> Cmd {
    let (key, args) = call.parts(prefix, node);
    let mut command = redis::cmd("EVALSHA");
    command.arg(call.script().hash()).arg(1).arg(key).arg(args);
    command
}

/// The fields of a reply, or the code of an error.
fn fields(value: Value) -> Result<Vec<Field>, String> {
    let one = |value: Value| match value {
        Value::Int(it) => Ok(Field::Whole(it)),
        Value::BulkString(it) => Ok(Field::Text(String::from_utf8_lossy(&it).into_owned())),
        Value::SimpleString(it) => Ok(Field::Text(it)),
        Value::ServerError(error) => Err(error.code().to_owned()),
        _ => Ok(Field::Text(String::new())),
    };
    match value {
        Value::Array(values) => values.into_iter().map(one).collect(),
        other => Ok(vec![one(other)?]),
    }
}

/// Why Redis failed, told from the error.
pub(crate) fn why(error: RedisError) -> Why {
    if let Some(code) = error.code() {
        return by_code(code);
    }
    match error.kind() {
        ErrorKind::AuthenticationFailed => Why::Denied,
        ErrorKind::InvalidClientConfig | ErrorKind::EmptySentinelList => Why::Misconfigured,
        _ if error.is_timeout() => Why::Late,
        _ => Why::Unreachable,
    }
}

fn by_code(code: &str) -> Why {
    match code {
        "NOAUTH" | "WRONGPASS" | "NOPERM" => Why::Denied,
        "OTHERKEY" => Why::Misconfigured,
        _ => Why::Unready,
    }
}
