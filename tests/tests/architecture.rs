//! Promise: the source is built as the design says: stages meet in the pipeline alone, the clock is read in one file, the
//! privacy wall knows no I/O, and each proof of the pipeline is made in one place.

mod source;

use source::{File, files, of, root, tokens};

const STAGES: [&str; 11] =
    ["accept", "identify", "route", "admit", "decide", "narrow", "cache", "forward", "redact", "audit", "respond"];

#[test]
fn no_file_is_longer_than_600_lines() {
    let long: Vec<_> =
        files().into_iter().filter(|file| file.text.lines().count() > 600).map(|file| file.path).collect();
    assert_eq!(long, Vec::<String>::new());
}

#[test]
fn every_file_begins_with_what_it_is_for() {
    let silent: Vec<_> = files()
        .into_iter()
        .filter(|file| {
            ["policy/src/", "plugins/src/", "gateway/src/", "deploy/demo/src/", "tests/src/"]
                .iter()
                .any(|top| file.path.starts_with(top))
        })
        .filter(|file| !file.text.starts_with("//! "))
        .map(|file| file.path)
        .collect();
    assert_eq!(silent, Vec::<String>::new());
}

/// A stage may name another's types and constants. Its functions and modules are for the pipeline, and for `app`, which
/// starts what runs.
#[test]
fn a_stage_never_calls_a_stage() {
    let mut calls = Vec::new();
    for file in of("gateway/src/") {
        let Some(within) = module(&file.path) else { continue };
        if ["pipeline", "app"].contains(&within) {
            continue;
        }
        for path in file.crate_paths() {
            let stage = path.split("::").next().unwrap_or_default();
            let item = path.rsplit("::").next().unwrap_or_default();
            let foreign = STAGES.contains(&stage) && stage != within;
            // The command line reads logs: that is no stage of a request.
            let reads_logs = file.path.starts_with("gateway/src/cli/") && path.starts_with("audit::read");
            if foreign && !reads_logs && item.starts_with(|first: char| first.is_lowercase()) {
                calls.push(format!("{} uses crate::{path}", file.path));
            }
        }
    }
    assert_eq!(calls, Vec::<String>::new());
}

#[test]
fn the_scan_sees_every_way_to_name_a_stage() {
    let file = File::new(
        "gateway/src/route.rs",
        "use crate::accept::{ClientBody, framing, tls::{self, Group as G}};\nuse crate::{admit, audit::Claimed};\n\
         fn f() { crate::respond::refusal(); /* crate::cache::no */ let s = \"crate::cache::no\"; }",
    );
    assert_eq!(
        file.crate_paths(),
        [
            "accept::ClientBody",
            "accept::framing",
            "accept::tls::self",
            "accept::tls::Group",
            "admit",
            "audit::Claimed",
            "respond::refusal",
        ]
    );
}

#[test]
fn the_pipeline_names_the_stages_in_order() {
    let pipeline = of("gateway/src/pipeline.rs").remove(0);
    let told = "accept → identify → route → admit → decide → fetch → redact → audit → respond";
    assert!(pipeline.text.contains(told), "the head of pipeline.rs");
    let code = pipeline.shipped();
    let told = |function: &str| {
        let story = &code[code.find(function).unwrap()..];
        story[..story.find("\n}\n").unwrap()].to_owned()
    };
    let story = told("async fn disclose") + &told("async fn question");
    let steps = [
        "= inbound;",
        "identify::caller(",
        "framing::check(",
        "route::call(",
        "admit::ticket(",
        "decide::purpose(",
        "respond::bulk(",
        "route::arguments(",
        "question(asked, arguments",
        "respond::disclosure(",
        "decide::permit(",
        "narrow::permit(",
        ".intend(",
        "whole(asked",
        "record(asked",
        ".durable()",
        "cover(core",
    ];
    let mut from = 0;
    for step in steps {
        let at = story[from..].find(step).unwrap_or_else(|| panic!("`{step}` is missing, or stands too early"));
        assert_eq!(story.matches(step).count(), 1, "`{step}` stands once");
        from += at + step.len();
    }
}

#[test]
fn the_clock_is_read_in_one_file() {
    let clocks = ["Instant::now", "SystemTime::now", "Timestamp::now", "Zoned::now", "DefaultClock", "MonotonicClock"];
    let mut readers: Vec<_> = ["policy/src/", "plugins/src/", "gateway/src/"]
        .into_iter()
        .flat_map(of)
        .filter(|file| clocks.iter().any(|clock| file.shipped().contains(clock)))
        .map(|file| file.path)
        .collect();
    readers.dedup();
    assert_eq!(readers, ["gateway/src/clock.rs"]);
}

#[test]
fn the_privacy_wall_knows_no_runtime_socket_disk_or_process() {
    let banned = [
        "tokio",
        "hyper",
        "rustls",
        "std::fs",
        "std::io",
        "std::env",
        "std::process",
        "std::thread",
        "TcpStream",
        "TcpListener",
        "UdpSocket",
        "UnixStream",
        "tracing",
        "println",
        "eprintln",
    ];
    let mut found = Vec::new();
    for file in of("policy/src/") {
        let code = file.shipped();
        found.extend(banned.iter().filter(|name| mentions(&code, name)).map(|name| format!("{}: {name}", file.path)));
    }
    assert_eq!(found, Vec::<String>::new());
    let needs = dependencies("policy/Cargo.toml");
    assert!(!needs.is_empty());
    for banned in ["tokio", "hyper", "rustls", "http", "mio", "socket2", "nix", "tracing"] {
        assert!(
            !needs.iter().any(|name| name == banned || name.starts_with(&format!("{banned}-"))),
            "policy needs {banned}"
        );
    }
}

#[test]
fn crates_depend_in_one_direction() {
    let own = |manifest: &str| -> Vec<String> {
        dependencies(manifest).into_iter().filter(|name| name.starts_with("popgate")).collect()
    };
    assert_eq!(own("policy/Cargo.toml"), Vec::<String>::new());
    assert_eq!(own("caching/Cargo.toml"), Vec::<String>::new());
    assert_eq!(own("tests/plain/Cargo.toml"), ["popgate-caching"]);
    assert_eq!(own("plugins/Cargo.toml"), ["popgate-policy"]);
    assert_eq!(own("gateway/Cargo.toml"), ["popgate-caching", "popgate-plugins", "popgate-policy"]);
    for manifest in ["deploy/demo/Cargo.toml", "benches/Cargo.toml", "tests/Cargo.toml"] {
        for name in own(manifest) {
            assert!(
                ["popgate", "popgate-caching", "popgate-demo", "popgate-plugins", "popgate-policy"]
                    .contains(&name.as_str()),
                "{manifest} needs {name}"
            );
        }
    }
    assert!(!own("deploy/demo/Cargo.toml").contains(&"popgate-demo".to_owned()));
}

#[test]
fn hypers_bodies_are_named_where_they_are_wrapped() {
    let naming: Vec<_> = of("gateway/src/")
        .into_iter()
        .filter(|file| {
            let code = file.shipped();
            // quinn's connections that come in have the same name.
            tokens(&code).any(|token| token == "Incoming") && tokens(&code).any(|token| token == "hyper")
        })
        .map(|file| file.path)
        .collect();
    assert_eq!(naming, ["gateway/src/accept.rs", "gateway/src/accept/h1h2.rs", "gateway/src/forward/pool.rs"]);
}

#[test]
fn lints_are_escaped_with_a_reason_or_not_at_all() {
    let mut bad = Vec::new();
    for file in files() {
        let code = file.code();
        for opening in ["#[allow(", "#![allow("] {
            if code.contains(opening) {
                bad.push(format!("{}: {opening}", file.path));
            }
        }
        for opening in ["#[expect(", "#![expect("] {
            for (at, _) in code.match_indices(opening) {
                let attribute = code[at..].split(']').next().unwrap_or_default();
                if !attribute.contains("reason =") {
                    bad.push(format!("{}: an expect without a reason", file.path));
                }
            }
        }
    }
    assert_eq!(bad, Vec::<String>::new());
}

/// Plugins have no I/O of their own: files, registers and time are given to them.
#[test]
fn plugins_know_no_socket_disk_or_process() {
    let banned = [
        "hyper",
        "rustls",
        "std::fs",
        "std::env",
        "std::process",
        "std::thread",
        "TcpStream",
        "UdpSocket",
        "tokio::net",
    ];
    let mut found = Vec::new();
    for file in of("plugins/src/") {
        let code = file.shipped();
        found.extend(banned.iter().filter(|name| mentions(&code, name)).map(|name| format!("{}: {name}", file.path)));
    }
    assert_eq!(found, Vec::<String>::new());
}

/// Which files make each proof, `N` times each. `Self { .. }` inside the one constructor counts by the constructor's calls.
#[test]
fn each_proof_is_made_in_one_place() {
    let made = |what: &str| -> Vec<String> {
        ["policy/src/", "plugins/src/", "gateway/src/"]
            .into_iter()
            .flat_map(of)
            .flat_map(|file| {
                let code = file.shipped();
                let count = code
                    .match_indices(what)
                    .filter(|(at, _)| {
                        let before = code[..*at].trim_end();
                        let glued = code[..*at].ends_with(|last: char| last.is_alphanumeric() || "_:".contains(last));
                        !glued
                            && !["struct", "impl", "for", "->", "enum", "fn"].iter().any(|word| before.ends_with(word))
                    })
                    .count();
                vec![file.path; count]
            })
            .collect()
    };
    assert_eq!(made("Permit {"), ["policy/src/engine/decide.rs"]);
    assert_eq!(made("WholePermit {"), ["policy/src/disclose/open/whole.rs"]);
    assert_eq!(made("RedactedChunk {"), ["policy/src/disclose/open.rs"]);
    assert_eq!(made("Redacted {"), ["policy/src/disclose/open.rs"]);
    assert_eq!(made("Receipt {"), Vec::<String>::new(), "a receipt is made by `attest` alone");
    assert_eq!(made("Receipt::attest("), ["gateway/src/audit/writer.rs"]);
    assert_eq!(made("Raw::seal("), ["gateway/src/forward/pool.rs"]);
    assert_eq!(made("chunk.into_bytes("), ["gateway/src/respond.rs"]);
    // A plugin's question has a yes or no for an answer; nothing else of a register's answer is read outside `policy`.
    assert_eq!(made("raw.verdict("), ["gateway/src/narrow.rs"]);
    // Made by `release`, taken apart where the body hands it over.
    assert_eq!(made("Released("), ["gateway/src/respond.rs"; 2]);
    assert_eq!(made("Body(Kind::"), ["gateway/src/respond.rs"; 4]);
    assert_eq!(made("View {"), Vec::<String>::new(), "a view is made by `Bundle::view` alone");
}

/// The top module of a file of the gateway; `None` for `lib.rs`, `main.rs`, which only wire.
fn module(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("gateway/src/")?;
    let top = rest.split('/').next()?.trim_end_matches(".rs");
    (!["lib", "main"].contains(&top)).then_some(top)
}

fn mentions(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let part = |edge: Option<char>| edge.is_some_and(|edge| edge.is_alphanumeric() || edge == '_');
        !part(code[..at].chars().next_back()) && !part(code[at + name.len()..].chars().next())
    })
}

/// The crates that a manifest needs to build what is shipped.
fn dependencies(manifest: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join(manifest)).unwrap();
    let mut within = false;
    let mut names = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            within = line == "[dependencies]" || line == "[build-dependencies]";
        } else if let (true, Some((name, _))) = (within, line.split_once(['.', ' ', '='])) {
            names.push(name.to_owned());
        }
    }
    names
}
