//! What is refused of a `gateway.toml`, and how it is said.

use super::*;

const GOOD: &str = r#"[listen]
https = "0.0.0.0:8443"
admin = "127.0.0.1:9443"
[tls]
certificate = "tls/gateway.pem"
client_cas = "tls/ca/*.pem"
[registers.population]
endpoints = ["https://10.1.0.11", "https://register.gov.vn:8443", "https://[2001:db8::1]:9000"]
ca = "tls/register-ca.pem"
[bundle]
path = "/etc/popgate/bundle"
[audit]
dir = "audit"
[admin]
client_cas = "tls/operators/*.pem"
[admin.operators.linh]
identity = "spiffe://gov.vn/operator/linh"
roles = ["viewer", "sre"]
"#;

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse(text, Path::new("/etc/popgate/gateway.toml"), 8)
}

#[test]
fn what_is_not_said_has_the_documented_default() {
    let config = parse(GOOD).unwrap();
    assert_eq!(config.cores, 8);
    assert_eq!(config.time_zone, "Asia/Ho_Chi_Minh");
    assert_eq!(config.drain, Duration::from_secs(30));
    assert_eq!(config.tls.key, Path::new("/etc/popgate/tls/gateway.pem"));
    assert_eq!(config.tls.crl_grace, Some(Duration::from_secs(86_400)));
    assert_eq!(config.bundle, Path::new("/etc/popgate/bundle"));
    assert_eq!(config.audit.dir, Path::new("/etc/popgate/audit"));
    assert_eq!(config.state, Path::new("/etc/popgate/state"));
    assert_eq!((config.audit.segment_bytes, config.audit.min_free_bytes), (256 << 20, 1 << 30));
    assert_eq!(config.cache.capacity_bytes, 256 << 20);
    assert_eq!((config.guesses.per_subject.get(), config.guesses.per_agency.get()), (10, 1000));
    assert_eq!(config.keys.pseudonym, Path::new("/etc/popgate/keys/pseudonym.key"));
    let register = &config.registers[&RegisterId::new("population")];
    assert_eq!(register.deadline, Duration::from_secs(2));
    assert_eq!(register.certificate, config.tls.certificate);
    let endpoints: Vec<_> = register.endpoints.iter().map(|e| (e.host.as_str(), e.port)).collect();
    assert_eq!(endpoints, [("10.1.0.11", 443), ("register.gov.vn", 8443), ("2001:db8::1", 9000)]);
    assert_eq!((config.http.http3, config.http.idle_timeout), (true, Duration::from_secs(75)));
    assert_eq!(config.admin.operators["linh"].roles, [Role::Viewer, Role::Sre]);
}

#[test]
fn the_reference_file_parses_and_its_commented_values_are_the_defaults() {
    let text = include_str!("../../../../deploy/gateway.toml");
    let typed = parse(text).unwrap_or_else(|errors| panic!("{errors}"));
    // A line `# key = value` (one space) shows a default; with all of them said, nothing may change.
    let said: String = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if is_assignment(rest) => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    assert!(said.matches(" = ").count() > text.lines().filter(|line| is_assignment(line)).count() + 20);
    let said = parse(&said).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(format!("{typed:?}"), format!("{said:?}"));
}

fn is_assignment(line: &str) -> bool {
    line.split_once(" = ").is_some_and(|(key, _)| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
}

/// What to replace in [`GOOD`], by what; then `line:column: message` and a part of the help.
const BROKEN: &[(&str, &str, &str, &str)] = &[
    ("[listen]", "[listen", "1:8: this is not TOML: ", ""),
    ("[listen]", "[lisen]", "1:2: unknown key or section `lisen`", "did you mean `listen`?"),
    ("[listen]", "[lisen]", "1:1: section `[listen]` is missing", ""),
    ("https = \"0.0.0.0:8443\"\n", "", "1:2: `https` is missing in `[listen]`", ""),
    ("0.0.0.0:8443", "0.0.0.0", "2:9: `0.0.0.0` is not an IP address with a port", "such as"),
    ("0.0.0.0:8443", "gateway:8443", "2:9: `gateway:8443` is not an IP address with a port", "such as"),
    ("\"0.0.0.0:8443\"", "8443", "2:9: expected a text in quotes, found a value of type integer", ""),
    ("admin =", "console =", "3:1: unknown key `console` in `[listen]`", "known here: `admin`, `https`, `whoami`"),
    ("[tls]", "whoami = \"127.0.0.1:9443\"\n[tls]", "4:10: the whoami listener must have an address of its own", ""),
    ("[tls]", "whoami = \"0.0.0.0:8443\"\n[tls]", "4:10: the whoami listener must have an address of its own", ""),
    ("127.0.0.1:9443", "0.0.0.0:8443", "3:9: the admin listener must not share the agencies' address", ""),
    ("certificate = \"tls/gateway.pem\"\n", "", "4:2: `certificate` is missing in `[tls]`", ""),
    ("tls/gateway.pem", "", "5:15: the text must not be empty", ""),
    ("tls/gateway.pem", "tls/*.pem", "5:15: `tls/*.pem` must name one file or folder, without `*`", ""),
    ("tls/ca/*.pem", "tls/*/ca.pem", "6:14: in `tls/*/ca.pem` only the last part may hold a `*`, and only one", "such"),
    (
        "[registers.population]",
        "crl_grace = \"a day\"\n[registers.population]",
        "7:13: `a day` does not start with",
        "",
    ),
    ("[registers.population]", "crl = \"x\"\n[registers.population]", "7:1: unknown key `crl` in `[tls]`", "`crls`?"),
    ("[registers.population]", "[registers.Population]", "7:12: `Population` is not a register's id", ""),
    (
        "\"https://10.1.0.11\"",
        "\"http://10.1.0.11\"",
        "8:14: `http://10.1.0.11` is not encrypted",
        "`\"https://10.1.0.11\"`",
    ),
    ("\"https://10.1.0.11\"", "\"10.1.0.11\"", "8:14: `10.1.0.11` does not start with `https://`", "such as"),
    ("https://10.1.0.11", "https://10.1.0.11/api", "8:14: `https://10.1.0.11/api` must be a host and a port", ""),
    ("https://10.1.0.11", "https://me@10.1.0.11", "8:14: `https://me@10.1.0.11` must be a host and a port", ""),
    (":8443\", \"https://[", ":99999\", \"https://[", "8:35: `https://register.gov.vn:99999` has no valid port", ""),
    ("https://10.1.0.11", "https://re_gister!", "8:14: ", ""),
    (
        "[registers.population]\nendpoints = [",
        "[registers.population]\nendpoints = []\n# [",
        "8:13: a register without endpoints",
        "such as",
    ),
    ("ca = \"tls/register-ca.pem\"\n", "", "7:12: `ca` is missing in `[registers.population]`", ""),
    ("[bundle]", "deadline = 2\n[bundle]", "10:12: `2` has no unit", "`\"2s\"`"),
    ("[bundle]", "deadline = \"2sec\"\n[bundle]", "10:12: `2sec` is not a duration", "ms, s, m, h or d"),
    ("[bundle]", "deadline = \"0s\"\n[bundle]", "10:12: the time must be longer than zero", ""),
    ("[bundle]", "connections = 0\n[bundle]", "10:15: `0` is out of range: from 1 to 4096", ""),
    ("[bundle]", "try_timeout = \"3s\"\n[bundle]", "10:15: `try_timeout` is longer than the deadline", "shorten it"),
    ("[bundle]", "protocol = \"http2\"\n[bundle]", "10:12: `http2` is none of http/1.1, h2, auto", ""),
    ("[bundle]", "balance = \"subjct\"\n[bundle]", "10:11: `subjct` is none of", "did you mean `subject`?"),
    (
        "[bundle]",
        "retry = { percnt = 20 }\n[bundle]",
        "10:11: unknown key `percnt` in `[registers.population.retry]`",
        "`percent`?",
    ),
    ("[bundle]", "eject = { most_percent = 101 }\n[bundle]", "10:26: `101` is out of range: from 0 to 100", ""),
    (
        "[bundle]",
        "check = { every = \"1s\" }\n[bundle]",
        "10:1: `path` is missing in `[registers.population.check]`",
        "",
    ),
    ("[bundle]", "check = { path = \"healthz\" }\n[bundle]", "10:18: `healthz` is not the path of a URL", "/health"),
    ("[bundle]", "server_name = \"a b\"\n[bundle]", "10:15: `a b` is neither a DNS name nor an IP address", ""),
    ("\"https://10.1.0.11\"", "{ zone = \"hcm\" }", "8:14: the endpoint has no `url`", "such as"),
    (
        "\"https://10.1.0.11\"",
        "{ url = \"https://10.1.0.11\", zon = \"hcm\" }",
        "8:43: an endpoint has a `url` and a `zone`",
        "`zone`?",
    ),
    ("https://10.1.0.11", "https://register.gov.vn:8443", "8:13: `register.gov.vn:8443` stands here twice", ""),
    ("[bundle]", "conections = 9\n[bundle]", "10:1: unknown key `conections`", "did you mean `connections`?"),
    ("[bundle]", "key = \"k.pem\"\n[bundle]", "10:7: a `key` without its `certificate`", "add `certificate`"),
    ("[bundle]\npath = \"/etc/popgate/bundle\"\n", "", "1:1: section `[bundle]` is missing", ""),
    ("[audit]", "[audit]\nsegment = \"1KB\"", "13:11: 1000 bytes are out of range: from 65536 to", ""),
    ("[audit]", "[audit]\nmin_free = \"1 gig\"", "13:12: `1 gig` is not a size", "GiB"),
    ("dir = \"audit\"", "dir = \"audit\"\ndir = \"b\"", "14:1: this is not TOML: duplicate key", ""),
    (
        "client_cas = \"tls/operators/*.pem\"\n",
        "",
        "3:9: the admin listener needs the authorities of",
        "add `client_cas` to `[admin]`",
    ),
    ("\"sre\"", "\"sree\"", "18:20: unknown role `sree`", "did you mean `sre`?"),
    ("spiffe://gov.vn/operator/linh", "linh", "17:12: `linh` is not an identity", "spiffe"),
    ("spiffe://gov.vn/operator/linh", "pin:sha256:abc", "17:12: `pin:sha256:abc` is not an identity", "64 hex"),
    ("roles =", "role =", "18:1: unknown key `role` in `[admin.operators.linh]`", "did you mean `roles`?"),
    (
        "roles = [\"viewer\", \"sre\"]",
        "roles = \"viewer\"",
        "18:9: expected a list in brackets, found a value of type string",
        "",
    ),
    ("[listen]", "time_zone = \"Asia/Hanoi\"\n[listen]", "1:13: `Asia/Hanoi` is not a time zone", "Asia/Ho_Chi_Minh"),
    ("[listen]", "cores = 0\n[listen]", "1:9: `0` is out of range: from 1 to 1024", ""),
    ("[listen]", "keys = true\n[listen]", "1:8: `keys` must be a section `[keys]`", ""),
    ("[listen]", "drain = \"-1s\"\n[listen]", "1:9: `-1s` does not start with a whole number", ""),
    ("[listen]", "[http]\nmax_body = \"1GB\"\n[listen]", "2:12: 1000000000 bytes are out of range", ""),
    ("[listen]", "[http]\nhttp3 = \"on\"\n[listen]", "2:9: expected `true` or `false` without quotes", ""),
    ("[listen]", "[http]\nmax_streams = \"100\"\n[listen]", "2:15: expected a whole number without quotes", ""),
    ("[listen]", "[guesses]\nper_subject = -1\n[listen]", "2:15: `-1` is out of range", ""),
    ("[listen]", "[state]\ndri = \"x\"\n[listen]", "2:1: unknown key `dri` in `[state]`", "`dir`"),
    ("[listen]", "[cache]\ncapacity = true\n[listen]", "2:12: expected a size, found a value of type boolean", ""),
];

#[test]
fn every_mistake_is_reported_with_its_place_and_what_to_do() {
    for (from, to, place, help) in BROKEN {
        assert!(GOOD.contains(from), "{from}");
        let errors = parse(&GOOD.replacen(from, to, 1)).expect_err(place);
        let found: Vec<String> = errors
            .problems
            .iter()
            .map(|problem| {
                let (line, column) = problem.at.expect("a place");
                format!("{line}:{column}: {} = {}", problem.message, problem.help.as_deref().unwrap_or_default())
            })
            .collect();
        let hit = found.iter().any(|line| line.starts_with(place) && line.contains(help));
        assert!(hit, "`{from}` -> `{to}`: wanted `{place}` = `{help}`, found\n{}", found.join("\n"));
    }
}

#[test]
fn all_mistakes_are_reported_at_once_in_the_order_of_the_file() {
    let text = GOOD.replace("0.0.0.0:8443", "x").replace("\"sre\"", "\"root\"").replace("dir =", "folder =");
    let errors = parse(&text).unwrap_err();
    let lines: Vec<usize> = errors.problems.iter().map(|problem| problem.at.unwrap().0).collect();
    assert_eq!(lines, [2, 12, 13, 18]);
    assert_shown(&errors.to_string());
}

/// The whole text of an error, as the operator sees it.
fn assert_shown(shown: &str) {
    let first: Vec<&str> = shown.lines().take(3).collect();
    assert_eq!(
        first,
        [
            "error[bad-address] /etc/popgate/gateway.toml:2:9: `x` is not an IP address with a port",
            "    | \"x\"",
            "    = such as `\"0.0.0.0:8443\"` or `\"[::]:8443\"`",
        ]
    );
}

#[test]
fn two_operators_cannot_share_an_identity() {
    let text = format!("{GOOD}[admin.operators.minh]\nidentity = \"spiffe://gov.vn/operator/linh\"\nroles = []\n");
    let errors = parse(&text).unwrap_err();
    assert_eq!(errors.problems.len(), 1);
    assert_eq!(errors.problems[0].message, "operators `linh` and `minh` have the same identity");
}

#[test]
fn a_node_without_a_register_is_refused() {
    let start = GOOD.find("[registers").unwrap();
    let end = GOOD.find("[bundle]").unwrap();
    let errors = parse(&format!("{}{}", &GOOD[..start], &GOOD[end..])).unwrap_err();
    assert_eq!(errors.problems.len(), 1, "{errors}");
    assert!(errors.problems[0].message.starts_with("no register is configured"));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let errors = Config::read(Path::new("no/such/gateway.toml")).unwrap_err();
    assert!(errors.to_string().contains("cannot read `no/such/gateway.toml`"), "{errors}");
}

/// What is wrong with the operator `register` of these lines, as `line:column: code: message`.
fn register(lines: &str) -> Vec<String> {
    let identity = "identity = \"spiffe://gov.vn/register/population\"";
    match parse(&format!("{GOOD}[admin.operators.register]\n{identity}\n{lines}")) {
        Ok(_) => Vec::new(),
        Err(errors) => {
            let shown = errors.problems.iter().map(|it| {
                let (line, column) = it.at.unwrap();
                format!("{line}:{column}: {}: {}", it.code, it.message)
            });
            shown.collect()
        }
    }
}

/// What is wrong with `[changes]` of these lines, as `line:column: code: message = help`.
fn changes(lines: &str) -> Vec<String> {
    match parse(&format!("{GOOD}[changes]\n{lines}")) {
        Ok(_) => Vec::new(),
        Err(errors) => {
            let shown = errors.problems.iter().map(|it| {
                let (line, column) = it.at.unwrap();
                format!("{line}:{column}: {}: {} = {}", it.code, it.message, it.help.as_deref().unwrap_or_default())
            });
            shown.collect()
        }
    }
}

#[test]
fn where_changes_are_told_is_said_whole_and_not_in_clear() {
    let good = "nats = [\"tls://10.1.0.31:4222\", \"tls://nats.gov.vn\", \"nats://127.0.0.1:4222\", \"nats://[::1]:4222\"]\n\
                node = \"gateway-1.hn\"\n";
    let config = parse(&format!("{GOOD}[changes]\n{good}credentials = \"keys/nats.creds\"\n")).unwrap();
    let changes_of = |config: &Config| config.changes.as_ref().unwrap().0.clone();
    let said = changes_of(&config);
    assert_eq!((said.stream.as_str(), said.subject.as_str()), ("POPGATE_CHANGES", "popgate.changes"));
    assert_eq!((said.node.as_str(), said.consumer().as_str(), said.servers.len()), ("gateway-1.hn", "gateway-1_hn", 4));
    assert_eq!(said.login.credentials_file.as_deref(), Some(Path::new("/etc/popgate/keys/nats.creds")));
    let shared =
        "[share]\nredis = \"redis://10.1.0.21\"\nnode = \"gateway-7\"\nnodes = 2\n[changes]\nnats = [\"tls://a\"]\n";
    assert_eq!(changes_of(&parse(&format!("{GOOD}{shared}")).unwrap()).node, "gateway-7");
    assert!(parse(GOOD).unwrap().changes.is_none());
    for (lines, wrong) in [
        ("", "19:2: missing-key: `nats` is missing in `[changes]`"),
        (
            "nats = [\"tls://a\"]\n",
            "19:2: missing-key: `node` is missing in `[changes]`, and there is no `[share]` = say",
        ),
        ("nats = []\nnode = \"a\"\n", "20:8: no-server: no server is named = such as"),
        ("nats = [\"a:4222\"]\n", "20:9: bad-endpoint: `a:4222` is not the address of a NATS server = such as"),
        ("nats = [\"tls://a:x\"]\n", "20:9: bad-endpoint: `tls://a:x` is not the address of a NATS server = such as"),
        ("nats = [\"nats://10.1.0.31\"]\n", "20:9: bad-endpoint: `nats://10.1.0.31` is not encrypted: what"),
        ("nats = [\"tls://me:secret@a\"]\n", "20:9: password-in-url: the address must not hold a user or a password"),
        ("node = \"a b\"\n", "20:8: bad-name: `a b` cannot be the name of a node = letters"),
        ("stream = \"a.b\"\n", "20:10: bad-name: `a.b` cannot be the name of a stream = letters"),
        ("subject = \"a.>\"\n", "20:11: bad-name: `a.>` cannot be what subjects begin with = such as"),
        ("user = \"a\"\n", "20:8: missing-key: `user` without `password` = name"),
        ("password = \"a\"\n", "20:12: missing-key: `password` without `user` = name"),
        (
            "credentials = \"a\"\nuser = \"b\"\npassword = \"c\"\n",
            "20:15: two-logins: the node would prove in two ways",
        ),
        ("streams = \"A\"\n", "20:1: unknown-key: unknown key `streams` in `[changes]` = did you mean `stream`?"),
    ] {
        let found = changes(lines);
        assert!(found.iter().any(|it| it.starts_with(wrong)), "{lines}: wanted {wrong}, found {found:#?}");
        assert!(!found.concat().contains("secret"), "{found:?}");
    }
}

#[test]
fn a_register_that_tells_of_changes_is_named_and_is_nothing_else() {
    let good = "roles = [\"register\"]\nregister = \"population\"\n";
    let text = format!("{GOOD}[admin.operators.p]\nidentity = \"spiffe://gov.vn/register/population\"\n{good}");
    let operator = parse(&text).unwrap().admin.operators["p"].clone();
    assert_eq!((operator.roles, operator.register), (vec![Role::Register], Some(RegisterId::new("population"))));
    assert_eq!(register(good), Vec::<String>::new());
    for (lines, says) in [
        ("roles = [\"register\"]\n", "21:9: missing-key: the role `register` without `register`"),
        (
            "roles = [\"viewer\"]\nregister = \"population\"\n",
            "22:12: register-without-role: `register` without the role `register`",
        ),
        (
            "roles = [\"register\", \"viewer\"]\nregister = \"population\"\n",
            "21:9: role-not-alone: no other role goes with the role `register`",
        ),
        (
            "roles = [\"register\"]\nregister = \"populaton\"\n",
            "22:12: unknown-register: there is no `[registers.populaton]`",
        ),
        ("roles = [\"register\"]\nregister = 7\n", "22:12: wrong-type: expected a text in quotes"),
    ] {
        let found = register(lines);
        assert!(found.len() == 1 && found[0].starts_with(says), "{lines}: {found:#?}");
    }
}

/// What is wrong with `[break_glass]` and these lines, as `code: message`.
fn break_glass(lines: &str) -> Vec<String> {
    match parse(&format!("{GOOD}[break_glass]\n{lines}")) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.problems.iter().map(|it| format!("{}: {}", it.code, it.message)).collect(),
    }
}

#[test]
fn whose_orders_are_taken_is_said_in_full_and_nobody_lends_alone() {
    let key = |byte: u8| {
        use base64::Engine as _;
        format!("\"ed25519:{}\"", base64::engine::general_purpose::STANDARD.encode([byte; 32]))
    };
    let (an, binh) = (key(1), key(2));
    let keys = format!("[break_glass.keys]\nan = {an}\nbinh = {binh}\n");
    let text = format!("{GOOD}[break_glass]\nsite = \"pop-hn-1\"\n{keys}");
    let orders = parse(&text).unwrap().break_glass.unwrap();
    assert_eq!(orders.folder, Path::new("/etc/popgate/break-glass"));
    assert_eq!((orders.rules.signatures, orders.rules.longest), (2, Duration::from_secs(86_400)));
    assert_eq!(orders.rules.keys.names().collect::<Vec<_>>(), ["an", "binh"]);
    assert!(parse(GOOD).unwrap().break_glass.is_none());
    let site = "site = \"pop-hn-1\"\n";
    for (lines, says) in [
        (keys.clone(), "missing-key: `site` is missing in `[break_glass]`"),
        (site.to_owned(), "missing-key: nobody may sign"),
        (format!("{site}longest = \"73h\"\n{keys}"), "out-of-range: no order may last longer than 72h"),
        (format!("{site}signatures = 1\n{keys}"), "out-of-range: `1` is out of range: from 2 to 16"),
        (format!("{site}signatures = 3\n{keys}"), "too-few-keys: 3 must sign an order, and 2 may"),
        (format!("{site}[break_glass.keys]\nan = {an}\n"), "too-few-keys: 2 must sign an order, and 1 may"),
        (format!("{site}{keys}chi = {an}\n"), "same-key: `chi` has the key of `an`"),
        (format!("{site}{keys}chi = \"ed25519:AAAA\"\n"), "bad-key: the key of `chi` cannot be read"),
        (format!("{site}{keys}chi = 7\n"), "wrong-type: expected a text in quotes"),
        (format!("{site}{keys}\"Chi Lê\" = {an}\n"), "bad-name: `Chi Lê` cannot be the name of a key"),
        (format!("{site}longst = \"1h\"\n{keys}"), "unknown-key: unknown key `longst`"),
        (format!("site = \" \"\n{keys}"), "bad-site: the site's name is empty"),
    ] {
        let found = break_glass(&lines);
        assert!(found.iter().any(|line| line.starts_with(says)), "{lines}: {found:#?}");
    }
}

/// What is wrong with more lines in `[bundle]`, as `code: message`.
fn bundle(lines: &str) -> Vec<String> {
    let path = "path = \"/etc/popgate/bundle\"\n";
    match parse(&GOOD.replacen(path, &format!("{path}{lines}"), 1)) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.problems.iter().map(|it| format!("{}: {}", it.code, it.message)).collect(),
    }
}

#[test]
fn who_must_sign_a_bundle_is_said_in_full_and_nobody_widens_alone() {
    let key = |byte: u8| {
        use base64::Engine as _;
        format!("\"ed25519:{}\"", base64::engine::general_purpose::STANDARD.encode([byte; 32]))
    };
    let keys = format!("[bundle.keys]\nan = {}\nbinh = {}\n", key(1), key(2));
    assert!(!parse(GOOD).unwrap().signing.required);
    assert_eq!(bundle(&format!("require_signatures = true\n{keys}")), Vec::<String>::new());
    assert_eq!(bundle(&keys), Vec::<String>::new(), "who has signed can be shown without being required");
    for (lines, says) in [
        ("require_signatures = true\n".to_owned(), "missing-key: nobody may sign: `keys` is missing in `[bundle]`"),
        (format!("require_signatures = true\n[bundle.keys]\nan = {}\n", key(1)), "too-few-keys: 2 must sign"),
        (format!("require_signatures = true\n{keys}chi = {}\n", key(2)), "same-key: `chi` has the key of `binh`"),
        ("require_signature = true\n".to_owned(), "unknown-key: unknown key `require_signature` in `[bundle]`"),
    ] {
        let found = bundle(&lines);
        assert!(found.iter().any(|line| line.starts_with(says)), "{lines}: {found:#?}");
    }
    let trusted = trust(&format!("cores = 7\n{keys}"), Path::new("keys.toml")).unwrap();
    assert_eq!(trusted.names().collect::<Vec<_>>(), ["an", "binh"]);
    let errors = trust("cores = 7", Path::new("keys.toml")).unwrap_err();
    assert!(errors.to_string().contains("nobody may sign"), "{errors}");
}
