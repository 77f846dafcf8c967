//! From what was typed to what is true.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use popgate_plugins::{Configured, Document, Registry};
use popgate_policy::disclose::arena::Shelter;
use popgate_policy::model::RegisterId;
use toml::de::DeTable;

use super::section::{Reader, Section};
use super::{
    Audit, Cache, Config, ConfigErrors, Guesses, Http, Keys, Listen, Register, Sealed, Tls, admin, break_glass, bundle,
    changes, limits, read, register, shadow, share,
};

pub(super) fn config(text: &str, file: &Path, cores: usize) -> Result<Config, ConfigErrors> {
    let reader = Reader::new(file.display().to_string(), text);
    let (document, mistakes) = DeTable::parse_recoverable(text);
    let folder = file.parent().unwrap_or(Path::new(""));
    let config = if mistakes.is_empty() {
        read_document(&reader, Section::top(&reader, document.get_ref()), file, folder, cores)
    } else {
        for mistake in mistakes {
            let message = mistake.message().lines().next().unwrap_or_default().trim_end();
            reader.wrong("syntax", mistake.span().unwrap_or_default(), format!("this is not TOML: {message}"));
        }
        None
    };
    let problems = reader.into_problems();
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(ConfigErrors { problems }),
    }
}

/// Reads every section before it gives up, so that all mistakes are found.
fn read_document(
    reader: &Reader<'_>,
    top: Section<'_>,
    file: &Path,
    folder: &Path,
    machine_cores: usize,
) -> Option<Config> {
    let cores = top.optional("cores", read::count(1, 1024)).and_then(|cores| usize::try_from(cores).ok());
    let time_zone = top.optional("time_zone", read::time_zone).unwrap_or_else(|| "Asia/Ho_Chi_Minh".into());
    let drain = top.optional("drain", read::duration_or_zero).unwrap_or(Duration::from_secs(30));
    let zone = top.optional("zone", read::text).map(str::to_owned);
    let listen_section = top.required_section("listen");
    let admin_at = listen_section.place("admin");
    let listen = listen(reader, listen_section);
    let tls = tls(top.required_section("tls"), folder);
    let registers = registers(reader, &top, tls.as_ref(), folder);
    let (bundle, signing) = bundle::parse(reader, top.required_section("bundle"), folder);
    let audit = audit(top.required_section("audit"), folder);
    let state = state(top.section("state"), folder, audit.as_ref());
    let shadow = shadow::parse(reader, &top, folder, &state);
    let cache = cache(top.section("cache"));
    let guesses = guesses(top.section("guesses"));
    let limits = limits::parse(top.section("limits"));
    let harvest = limits::harvest(top.section("harvest"));
    let overload = limits::overload(top.section("overload"));
    let share = share::parse(reader, &top, folder);
    let changes = changes::parse(reader, &top, share.as_ref(), folder);
    let admin_section = top.section("admin");
    let admin_named = admin_section.span();
    let admin = admin::parse(reader, admin_section, &registers, folder);
    let keys_section = top.section("keys");
    let sealing = keys_section.optional("sealing", read::path(folder));
    let keys = keys(keys_section, folder);
    let sealed = sealed(&top, sealing, folder);
    let break_glass = break_glass::parse(reader, &top, folder);
    let plugins = plugins(reader, &top, &registers, folder);
    let http = http(top.section("http"));
    top.finish();

    let listen = listen?;
    if listen.admin.is_some() && admin.client_cas.is_none() {
        reader.mend(
            "admin-without-authority",
            admin_at,
            "the admin listener needs the authorities of operator certificates",
            "add `client_cas` to `[admin]`, or remove `admin` from `[listen]`",
        );
    } else if listen.admin.is_some() && admin.operators.is_empty() {
        reader.mend(
            "admin-without-operator",
            admin_named,
            "no operator is enrolled: nobody could use the admin listener",
            "add a section `[admin.operators.<name>]`",
        );
    }
    Some(Config {
        file: file.to_owned(),
        listen,
        cores: cores.unwrap_or(machine_cores.max(1)),
        time_zone,
        zone,
        tls: tls?,
        registers,
        bundle: bundle?,
        shadow,
        signing,
        audit: audit?,
        state,
        cache,
        guesses,
        limits,
        harvest,
        overload,
        share,
        changes,
        admin,
        keys,
        sealed,
        break_glass,
        plugins,
        http,
        drain,
    })
}

fn listen(reader: &Reader<'_>, section: Section<'_>) -> Option<Listen> {
    let https = section.required("https", read::address);
    let admin = section.optional("admin", read::address);
    if https.is_some_and(|https| https.port() != 0 && admin == Some(https)) {
        let message = "the admin listener must not share the agencies' address";
        reader.wrong("same-address", section.place("admin"), message);
    }
    let whoami = section.optional("whoami", read::address);
    let taken = |other: Option<SocketAddr>| other.is_some_and(|other| other.port() != 0 && whoami == Some(other));
    if taken(https) || taken(admin) {
        let message = "the whoami listener must have an address of its own";
        reader.wrong("same-address", section.place("whoami"), message);
    }
    section.finish();
    Some(Listen { https: https?, admin, whoami })
}

fn tls(section: Section<'_>, folder: &Path) -> Option<Tls> {
    let certificate = section.required("certificate", read::path(folder));
    let key = section.optional("key", read::path(folder));
    let client_cas = section.required("client_cas", read::pattern(folder));
    let crls = section.optional("crls", read::pattern(folder));
    let crl_grace = section.optional("crl_grace", read::duration_or_forever).unwrap_or(Some(CRL_GRACE));
    section.finish();
    let certificate = certificate?;
    Some(Tls { key: key.unwrap_or_else(|| certificate.clone()), certificate, client_cas: client_cas?, crls, crl_grace })
}

fn registers(
    reader: &Reader<'_>,
    top: &Section<'_>,
    tls: Option<&Tls>,
    folder: &Path,
) -> BTreeMap<RegisterId, Register> {
    let named = top.named_sections("registers");
    if !top.has("registers") {
        reader.mend(
            "no-register",
            0..0,
            "no register is configured: there is nothing to ask",
            "add a section `[registers.<id>]`, with the id that the contracts use",
        );
    }
    named
        .into_iter()
        .filter_map(|(name, section)| {
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
                let message = format!("`{name}` is not a register's id: lower-case letters, digits and hyphens");
                reader.wrong("bad-id", section.span(), message);
            }
            Some((RegisterId::new(&name), register::parse(reader, section, tls, folder)?))
        })
        .collect()
}

fn audit(section: Section<'_>, folder: &Path) -> Option<Audit> {
    let dir = section.required("dir", read::path(folder));
    let segment_bytes = section.optional("segment", read::size(64 * KIB, 16 * GIB)).unwrap_or(256 * MIB);
    let min_free_bytes = section.optional("min_free", read::size(0, 1024 * GIB)).unwrap_or(GIB);
    section.finish();
    Some(Audit { dir: dir?, segment_bytes, min_free_bytes })
}

/// Beside the audit log, if nothing is said.
fn state(section: Section<'_>, folder: &Path, audit: Option<&Audit>) -> PathBuf {
    let dir = section.optional("dir", read::path(folder));
    section.finish();
    let beside = || audit.and_then(|audit| audit.dir.parent()).unwrap_or(folder).join("state");
    dir.unwrap_or_else(beside)
}

fn cache(section: Section<'_>) -> Cache {
    let capacity_bytes = section.optional("capacity", read::size(0, 1024 * GIB)).unwrap_or(256 * MIB);
    let flag = |key| section.optional(key, read::switch).unwrap_or_default();
    let (wipe, lock, no_dump) = (flag("wipe"), flag("lock"), flag("no_dump"));
    section.finish();
    Cache { capacity_bytes, shelter: (wipe || lock || no_dump).then_some(Shelter { lock, no_dump }) }
}

fn guesses(section: Section<'_>) -> Guesses {
    let count = |key, default| {
        let typed = section.optional(key, read::count(1, u32::MAX)).and_then(NonZeroU32::new);
        typed.or(NonZeroU32::new(default)).unwrap_or(NonZeroU32::MIN)
    };
    let guesses = Guesses {
        per_subject: count("per_subject", 10),
        per_agency: count("per_agency", 1000),
        period: section.optional("period", read::duration).unwrap_or(Duration::from_secs(3600)),
    };
    section.finish();
    guesses
}

fn keys(section: Section<'_>, folder: &Path) -> Keys {
    let key = |key, default| section.optional(key, read::path(folder)).unwrap_or_else(|| folder.join(default));
    let keys = Keys {
        pseudonym: key("pseudonym", "keys/pseudonym.key"),
        audit: key("audit", "keys/audit.key"),
        cursor: section.optional("cursor", read::path(folder)),
    };
    section.finish();
    keys
}

/// Who names no list seals nobody; who names a section and no list has made a mistake.
fn sealed(top: &Section<'_>, key: Option<PathBuf>, folder: &Path) -> Option<Sealed> {
    if !top.has("sealed") {
        return None;
    }
    let section = top.section("sealed");
    let list = section.required("list", read::path(folder));
    section.finish();
    Some(Sealed { list: list?, key: key.unwrap_or_else(|| folder.join("keys/sealing.key")) })
}

fn plugins(
    reader: &Reader<'_>,
    top: &Section<'_>,
    registers: &BTreeMap<RegisterId, Register>,
    folder: &Path,
) -> Vec<Configured> {
    let (file, text) = reader.document();
    let registers: Vec<&str> = registers.keys().map(RegisterId::as_str).collect();
    let document = Document::new(file, text, folder, &registers);
    let kinds = Registry::built_in();
    let tables = top.tables("plugins").into_iter();
    let plugins = tables.filter_map(|(name, span, table)| kinds.read(&document, name, span, table)).collect();
    reader.adopt(document.into_problems());
    plugins
}

fn http(section: Section<'_>) -> Http {
    let time = |key, seconds| section.optional(key, read::duration).unwrap_or(Duration::from_secs(seconds));
    let bytes = |key, default: u64, most| {
        let bytes = section.optional(key, read::size(KIB, most)).unwrap_or(default);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    };
    let max_connections = section.optional("max_connections", read::count(1, 1_000_000)).unwrap_or(20_000);
    let per_address = section.optional("connections_per_address", read::count(1, 1_000_000));
    let http = Http {
        http3: section.optional("http3", read::switch).unwrap_or(true),
        max_connections: max_connections as usize,
        connections_per_address: per_address.unwrap_or((max_connections / 4).max(max_connections.min(1000))) as usize,
        handshakes_per_address: NonZeroU32::new(
            section.optional("handshakes_per_address", read::count(0, 1_000_000)).unwrap_or(200),
        ),
        handshake_timeout: time("handshake_timeout", 5),
        header_timeout: time("header_timeout", 10),
        idle_timeout: time("idle_timeout", 75),
        body_timeout: time("body_timeout", 10),
        max_body: bytes("max_body", 64 * KIB, 16 * MIB),
        max_headers: bytes("max_headers", 16 * KIB, MIB),
        max_streams: section.optional("max_streams", read::count(1, 10_000)).unwrap_or(100),
        bulk_in_flight: section.optional("bulk_in_flight", read::count(1, 256)).map_or(16, |count| count as usize),
        max_control_frames: section.optional("max_control_frames", read::count(10, 1_000_000)).unwrap_or(1000),
    };
    section.finish();
    http
}

const CRL_GRACE: Duration = Duration::from_secs(24 * 3600);
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
