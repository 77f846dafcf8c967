//! `[changes]`: where registers tell over NATS what they changed.

use std::net::IpAddr;
use std::path::Path;

use toml::Spanned;
use toml::de::DeValue;

use super::section::{Reader, Section};
use super::{Share, read, share};
use crate::changes::{Config, Login};

/// `[changes]`.
#[derive(Clone, Debug)]
pub struct Changes(pub Config);

pub(super) fn parse(reader: &Reader<'_>, top: &Section<'_>, share: Option<&Share>, folder: &Path) -> Option<Changes> {
    if !top.has("changes") {
        return None;
    }
    let section = top.section("changes");
    let servers = section.required("nats", read::list(server));
    if servers.as_ref().is_some_and(Vec::is_empty) {
        let help = "such as `nats = [\"tls://10.1.0.31:4222\"]`; without NATS, remove the section";
        reader.mend("no-server", section.place("nats"), "no server is named", help);
    }
    let stream = section.optional("stream", |reader, value| name(reader, value, false));
    let subject = section.optional("subject", |reader, value| name(reader, value, true));
    let node = section.optional("node", share::node_name).or_else(|| share.map(|share| share.0.node.clone()));
    // What is wrong with a name that is there was said.
    if node.is_none() && !section.has("node") && !top.has("share") {
        let help = "say `node = \"gateway-1\"`: no other node may have the name, and it stays over restarts";
        reader.mend("missing-key", section.span(), "`node` is missing in `[changes]`, and there is no `[share]`", help);
    }
    let login = login(reader, &section, folder);
    section.finish();
    Some(Changes(Config {
        servers: servers?,
        stream: stream.unwrap_or_else(|| "POPGATE_CHANGES".to_owned()),
        subject: subject.unwrap_or_else(|| "popgate.changes".to_owned()),
        node: node?,
        login,
    }))
}

/// By a file of NATS' own kind, by name and password, or not at all.
fn login(reader: &Reader<'_>, section: &Section<'_>, folder: &Path) -> Login {
    let login = Login {
        credentials_file: section.optional("credentials", read::path(folder)),
        user: section.optional("user", read::text).map(str::to_owned),
        password_file: section.optional("password", read::path(folder)),
        ca_file: section.optional("ca", read::path(folder)),
    };
    let has = |key| section.has(key);
    if has("user") != has("password") {
        let (there, missing) = if has("user") { ("user", "password") } else { ("password", "user") };
        let message = format!("`{there}` without `{missing}`");
        reader.mend(
            "missing-key",
            section.place(there),
            message,
            "name the user in `user`, and the file of the password in `password`",
        );
    }
    if has("credentials") && (has("user") || has("password")) {
        let help = "keep `credentials`, or `user` and `password`";
        reader.mend("two-logins", section.place("credentials"), "the node would prove in two ways who it is", help);
    }
    login
}

/// The name of a stream; or of a subject, which has dots.
fn name(reader: &Reader<'_>, value: &Spanned<DeValue<'_>>, is_subject: bool) -> Option<String> {
    let typed = read::text(reader, value)?;
    let word =
        |word: &str| !word.is_empty() && word.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_".contains(&it));
    let fits = typed.len() <= 128 && if is_subject { typed.split('.').all(word) } else { word(typed) };
    if !fits {
        let (what, help) = if is_subject {
            (
                "what subjects begin with",
                "such as `\"popgate.changes\"`: words with dots between them, without `*` and `>`",
            )
        } else {
            ("the name of a stream", "letters, digits, `-` and `_`, at most 128")
        };
        reader.mend("bad-name", value.span(), format!("`{typed}` cannot be {what}"), help);
    }
    fits.then(|| typed.to_owned())
}

/// `tls://host:port`; what changed names persons, so that it travels without TLS within a machine only.
fn server(reader: &Reader<'_>, value: &Spanned<DeValue<'_>>) -> Option<String> {
    let typed = read::text(reader, value)?;
    if typed.contains('@') {
        let help = "name the user in `user`, and the file of the password in `password`";
        // What is typed may hold a password: it is not repeated.
        reader.mend("password-in-url", value.span(), "the address must not hold a user or a password", help);
        return None;
    }
    let (rest, is_plain) = match (typed.strip_prefix("tls://"), typed.strip_prefix("nats://")) {
        (Some(rest), _) => (Some(rest), false),
        (None, rest) => (rest, true),
    };
    let authority = rest.and_then(|rest| rest.parse::<http::uri::Authority>().ok());
    let authority = authority.filter(|it| !it.host().is_empty() && (it.port().is_some() || it.as_str() == it.host()));
    let Some(authority) = authority else {
        let message = format!("`{typed}` is not the address of a NATS server");
        reader.mend("bad-endpoint", value.span(), message, "such as `\"tls://10.1.0.31:4222\"`");
        return None;
    };
    if is_plain && !is_here(authority.host()) {
        let message = format!("`{typed}` is not encrypted: what changed names persons");
        let help = format!("write `\"tls://{authority}\"`; `nats://` is for 127.0.0.1, ::1 and localhost");
        reader.mend("bad-endpoint", value.span(), message, help);
        return None;
    }
    Some(typed.to_owned())
}

fn is_here(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.map_or(host == "localhost", |address| address.is_loopback())
}
