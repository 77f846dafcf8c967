//! `[share]`: through what the nodes of a cluster share limits.

use std::path::Path;
use std::time::Duration;

use super::read;
use super::section::{Reader, Section};
use crate::share::{self, Login, Place};

/// `[share]`.
#[derive(Clone, Debug)]
pub struct Share(pub share::Config);

pub(super) fn parse(reader: &Reader<'_>, top: &Section<'_>, folder: &Path) -> Option<Share> {
    if !top.has("share") {
        return None;
    }
    let section = top.section("share");
    let place = place(reader, &section);
    let node = section.required("node", node_name);
    let nodes = section.required("nodes", read::count(1, 1000));
    let time = |key, default| section.optional(key, read::duration).unwrap_or(default);
    let (within, stale) = (time("within", Duration::from_millis(200)), time("stale", Duration::from_secs(1)));
    if stale < within {
        let message = "`stale` is shorter than `within`: a node would be alone before it knows";
        reader.mend("timeout-beyond-deadline", section.place("stale"), message, "lengthen it, or shorten `within`");
    }
    let login = Login {
        user: section.optional("user", read::text).map(str::to_owned),
        password_file: section.optional("password", read::path(folder)),
        ca_file: section.optional("ca", read::path(folder)),
    };
    let prefix = section.optional("prefix", read::text).unwrap_or("popgate:").to_owned();
    section.finish();
    let config = share::Config::new(place?, &node?, nodes?);
    Some(Share(share::Config { login, prefix, limit: within, stale, ..config }))
}

/// What no other node is called.
pub(super) fn node_name(reader: &Reader<'_>, value: &toml::Spanned<toml::de::DeValue<'_>>) -> Option<String> {
    let name = read::text(reader, value)?;
    let fits = name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if !fits {
        let message = format!("`{name}` cannot be the name of a node");
        reader.mend("bad-name", value.span(), message, "letters, digits, `-`, `_` and `.`, at most 64");
    }
    fits.then(|| name.to_owned())
}

/// One server, one behind sentinels, or a cluster.
fn place(reader: &Reader<'_>, section: &Section<'_>) -> Option<Place> {
    let one = section.optional("redis", url).map(Place::One);
    let cluster = section.optional("cluster", read::list(url)).map(Place::Cluster);
    let sentinels =
        section.optional("sentinels", read::list(|reader, value| read::text(reader, value).map(str::to_owned)));
    let tls = section.optional("tls", read::switch).unwrap_or(false);
    let service = section.optional("service", read::text);
    let sentinels = sentinels.map(|sentinels| {
        if service.is_none() {
            let help = "name what the sentinels call it, such as `service = \"popgate\"`";
            reader.mend("missing-key", section.place("sentinels"), "`sentinels` without `service`", help);
        }
        Place::Sentinel { sentinels, service: service.unwrap_or_default().to_owned(), tls }
    });
    let mut places = [one, cluster, sentinels].into_iter().flatten();
    match (places.next(), places.next()) {
        (Some(place), None) => Some(place),
        (None, _) if ["redis", "cluster", "sentinels"].iter().any(|key| section.has(key)) => None,
        _ => {
            let message = "`[share]` needs one of `redis`, `sentinels` and `cluster`, and no more";
            let help = "such as `redis = \"redis://10.1.0.21:6379\"`";
            reader.mend("bad-share", section.span(), message, help);
            None
        }
    }
}

fn url(reader: &Reader<'_>, value: &toml::Spanned<toml::de::DeValue<'_>>) -> Option<String> {
    let typed = read::text(reader, value)?;
    let rest = typed.strip_prefix("redis://").or_else(|| typed.strip_prefix("rediss://"));
    match rest {
        Some(rest) if !rest.is_empty() && !rest.contains('@') => Some(typed.to_owned()),
        Some(rest) if rest.contains('@') => {
            let help = "name the user in `user`, and the file of the password in `password`";
            // What is typed may hold a password: it is not repeated.
            reader.mend("password-in-url", value.span(), "the address must not hold a user or a password", help);
            None
        }
        _ => {
            let message = format!("`{typed}` is not the address of a Redis server");
            reader.mend("bad-endpoint", value.span(), message, "such as `\"redis://10.1.0.21:6379\"`");
            None
        }
    }
}
