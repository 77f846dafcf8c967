//! The way to NATS: a connection, the stream, and this node's consumer in it.

use std::time::Duration;

use async_nats::jetstream::consumer::pull::{Config as PullConfig, Stream as Messages};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy};
use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::stream::{ConsumerError, ConsumerErrorKind, Stream};
use async_nats::jetstream::{Context, ContextBuilder, ErrorCode};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, ServerError};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use super::place::Found;
use super::{Config, Why};
use crate::custody;

/// What keeps a node from hearing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) why: Why,
    /// More of it, for the log; it names no secret, and nobody.
    pub(super) said: Option<String>,
}

impl Trouble {
    fn of(why: Why, error: &dyn std::error::Error) -> Self {
        Self { why, said: Some(error.to_string()) }
    }
}

impl From<Why> for Trouble {
    fn from(why: Why) -> Self {
        Self { why, said: None }
    }
}

/// Connects. The caller limits the time. What happens to the connection is told afterwards.
pub(super) async fn connect(config: &Config, tell: UnboundedSender<Event>) -> Result<Client, Trouble> {
    let options = options(config)?
        .name(format!("popgate {}", config.node))
        // Answers go where nobody else may listen: they name persons.
        .custom_inbox_prefix(format!("_INBOX.{}", config.consumer()))
        .connection_timeout(CONNECTING)
        .request_timeout(Some(ANSWER))
        // Each server once: who calls this tries again, later each time.
        .max_reconnects(config.servers.len())
        // What servers say of each other may be of no use from here.
        .ignore_discovered_servers()
        .event_callback(move |event| {
            let tell = tell.clone();
            async move {
                // Nobody hears it only when the connection is no longer wanted.
                let _ = tell.send(event);
            }
        });
    options.connect(&config.servers).await.map_err(|error| {
        Trouble::of(
            match error.kind() {
                ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => Why::Denied,
                ConnectErrorKind::ServerParse => Why::Misconfigured,
                ConnectErrorKind::TimedOut => Why::Late,
                ConnectErrorKind::Dns
                | ConnectErrorKind::Tls
                | ConnectErrorKind::Io
                | ConnectErrorKind::MaxReconnects => Why::Unreachable,
            },
            &error,
        )
    })
}

/// Waits until the connection is of no use any more.
pub(super) async fn ended(events: &mut UnboundedReceiver<Event>) -> Trouble {
    while let Some(event) = events.recv().await {
        match event {
            Event::Connected | Event::LameDuckMode | Event::SlowConsumer(_) | Event::ClientError(_) => {}
            Event::ServerError(ServerError::SlowConsumer(_)) => {}
            Event::Disconnected | Event::Draining | Event::Closed => return Why::Unreachable.into(),
            Event::ServerError(ServerError::AuthorizationViolation) => return Why::Denied.into(),
            // It names a subject, of those that a node asks: never one of a message.
            Event::ServerError(ServerError::Other(said)) => {
                let is_denied = said.to_ascii_lowercase().contains("permissions violation");
                return Trouble { why: if is_denied { Why::Denied } else { Why::Unready }, said: Some(said) };
            }
        }
    }
    Why::Unreachable.into()
}

/// The stream, if its messages are changes and nothing else.
pub(super) async fn stream(client: Client, config: &Config) -> Result<(Stream, Found), Trouble> {
    let context: Context = ContextBuilder::new().timeout(ANSWER).build(client);
    let stream = context.get_stream(&config.stream).await.map_err(|error| of_stream(&error))?;
    let info = stream.cached_info();
    let within = format!("{}.", config.subject);
    if info.config.subjects.iter().any(|subject| !subject.starts_with(&within)) {
        return Err(Why::OtherSubjects.into());
    }
    let state = &info.state;
    let found =
        Found { made: info.created.unix_timestamp_nanos(), first: state.first_sequence, last: state.last_sequence };
    Ok((stream, found))
}

/// The messages from that number on. The consumer is made anew: where it begins is known here, whatever became of the last one.
pub(super) async fn messages(stream: &Stream, config: &Config, from: u64) -> Result<Messages, Trouble> {
    let name = config.consumer();
    match stream.delete_consumer(&name).await {
        Ok(_) => {}
        Err(error) if is(&error, ErrorCode::CONSUMER_NOT_FOUND) => {}
        Err(error) => return Err(of_consumer(&error)),
    }
    let consumer = PullConfig {
        durable_name: Some(name),
        description: Some("a popgate node".to_owned()),
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from },
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        max_ack_pending: MOST_AT_ONCE,
        inactive_threshold: FORGOTTEN,
        ..PullConfig::default()
    };
    let consumer = stream.create_consumer(consumer).await.map_err(|error| of_consumer(&error))?;
    let batch = usize::try_from(MOST_AT_ONCE).unwrap_or(1);
    let pulled = consumer.stream().max_messages_per_batch(batch).expires(PULL).heartbeat(BEAT);
    pulled.messages().await.map_err(|error| Trouble::of(Why::Unready, &error))
}

fn options(config: &Config) -> Result<ConnectOptions, Trouble> {
    let login = &config.login;
    let secret = |file| {
        let bytes = custody::private_file(file).map_err(|error| Trouble::of(Why::Misconfigured, &error))?;
        // What is wrong with the text would hold of it.
        String::from_utf8(bytes).map_err(|_| Trouble::from(Why::Misconfigured))
    };
    let mut options = ConnectOptions::new();
    if let Some(file) = &login.credentials_file {
        options = options.credentials(&secret(file)?).map_err(|_| Trouble::from(Why::Misconfigured))?;
    }
    if let (Some(user), Some(file)) = (&login.user, &login.password_file) {
        options = options.user_and_password(user.clone(), secret(file)?.trim_end().to_owned());
    }
    if let Some(file) = &login.ca_file {
        options = options.add_root_certificates(file.clone());
    }
    Ok(options)
}

fn of_stream(error: &GetStreamError) -> Trouble {
    let why = match error.kind() {
        GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => Why::NoStream,
        GetStreamErrorKind::JetStream(_) => Why::Unready,
        GetStreamErrorKind::EmptyName | GetStreamErrorKind::InvalidStreamName => Why::Misconfigured,
        GetStreamErrorKind::Request => Why::Late,
    };
    Trouble::of(why, error)
}

fn of_consumer(error: &ConsumerError) -> Trouble {
    let why = match error.kind() {
        ConsumerErrorKind::TimedOut => Why::Late,
        ConsumerErrorKind::InvalidName => Why::Misconfigured,
        _ => Why::Unready,
    };
    Trouble::of(why, error)
}

fn is(error: &ConsumerError, code: ErrorCode) -> bool {
    matches!(error.kind(), ConsumerErrorKind::JetStream(error) if error.error_code() == code)
}

/// How long connecting to a server may take.
pub(super) const CONNECTING: Duration = Duration::from_secs(2);
/// How long the answer to a question may take.
const ANSWER: Duration = Duration::from_secs(2);
/// How long a question for messages stands, and how often NATS says that it still does; twice that without a word, and it is asked anew.
const PULL: Duration = Duration::from_secs(30);
const BEAT: Duration = Duration::from_secs(1);
/// What is not acknowledged by then is sent again: it was lost on its way.
const ACK_WAIT: Duration = Duration::from_secs(10);
const MOST_AT_ONCE: i64 = 256;
/// A node that went for good leaves nothing behind; one that is back later begins where it knows it was.
const FORGOTTEN: Duration = Duration::from_secs(24 * 3600);
