//! Promise: what an operator or a register purges is asked for anew, by role; the audit log says who purged and why; and no text
//! anywhere says whom it was about.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use http::{HeaderName, HeaderValue, StatusCode};
use popgate::audit::{Action, AuditKey, What, read};
use popgate::pki::{Client as Subject, Validity};
use popgate_demo::client::{Client, Credentials, Http, get, post};
use popgate_demo::deployment::{OPERATORS, Options, Register, Site};
use popgate_demo::register::Fault;
use popgate_demo::register::demo::HOA;
use popgate_demo::scenario::read_path;
use popgate_tests::build;
use popgate_tests::node::Node;
use serde_json::{Value, json};

const REASON: &str = "hồ sơ đã được sửa, INC-81";

/// A node in a process of its own, whose every word is kept; with an approver, a viewer, and a register that tells of changes.
struct Running {
    node: Node,
    register: Register,
    site: Site,
    said: String,
    _dir: tempfile::TempDir,
}

fn started() -> Running {
    let operator = |name: &str, more: &str| {
        format!("\n[admin.operators.{name}]\nidentity = \"spiffe://gov.vn/operator/{name}\"\n{more}\n")
    };
    let settings = operator("hanh", "roles = [\"approver\"]")
        + &operator("vy", "roles = [\"viewer\"]")
        + &operator("population", "roles = [\"register\"]\nregister = \"population\"");
    let dir = tempfile::tempdir().unwrap();
    let site = Site::make(dir.path()).unwrap();
    let register = Register::start(&site).unwrap();
    site.write_config(register.address, &Options { settings, ..Options::default() }).unwrap();
    for name in ["hanh", "vy", "population"] {
        let uri = Some(format!("spiffe://gov.vn/operator/{name}"));
        let subject = Subject { uri, common_name: name.into(), ..Subject::default() };
        let life = Validity::days(jiff::Timestamp::now(), 1);
        let issued = site.authority(OPERATORS).unwrap().issue_client(&subject, life).unwrap();
        site.write_identity(&format!("operator-{name}"), &issued).unwrap();
    }
    let node = Node::start(&site, &["--log", "trace"]);
    Running { node, register, site, said: String::new(), _dir: dir }
}

impl Running {
    /// Has the record of that person read, and says how many requests of that the register got.
    async fn read(&self) -> u64 {
        let before = self.register.faults.requests();
        let client = self.node.client(&self.site, "tax/etax", Http::One);
        let answer = client.send(get(&read_path(HOA.number), Some("assessment"))).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK);
        self.register.faults.requests() - before
    }

    /// What `popgate ARGUMENTS --node ...` says as that operator, and its exit code.
    fn operator(&mut self, name: &str, arguments: &[&str], input: &str) -> (i32, String) {
        let file = self.site.dir().join(format!("clients/operator-{name}.pem"));
        let mut child = Command::new(build::popgate())
            .args(arguments)
            .args(["--node", &format!("https://localhost:{}", self.node.admin.port())])
            .args(["--cert".as_ref(), file.as_os_str(), "--key".as_ref(), file.as_os_str(), "--ca".as_ref()])
            .arg(self.site.gateway_authority())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may end before it has read everything.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap()).concat();
        self.said.push_str(&said);
        (output.status.code().unwrap(), said)
    }

    /// What the node answers to a body.
    async fn post(&mut self, name: &str, path: &str, body: &Value) -> (StatusCode, Value) {
        let identity = fs::read(self.site.dir().join(format!("clients/operator-{name}.pem"))).unwrap();
        let authorities = fs::read(self.site.gateway_authority()).unwrap();
        let client = Client::new(self.node.admin, &Credentials { authorities, identity: Some(identity) }, Http::One);
        let answer = client.unwrap().send(post(path, None, body)).await.unwrap();
        self.said.push_str(std::str::from_utf8(&answer.body).unwrap());
        (answer.status, answer.json())
    }

    fn actions(&self) -> Vec<Action> {
        let entries = read::entries(&self.site.audit(), None).unwrap();
        let entries = entries.map(|entry| entry.unwrap().what);
        entries.filter_map(|what| if let What::Action(action) = what { Some(*action) } else { None }).collect()
    }

    /// Ends it; nothing that anybody was told holds the number.
    fn end(self, metrics: &str) {
        let number = HOA.number.to_string();
        let (drained, lines) = self.node.terminate();
        assert!(drained && lines.iter().any(|line| line.contains("admin request")));
        for (what, text) in [("the log", &*lines.join("\n")), ("an answer", &self.said), ("the metrics", metrics)] {
            assert!(!text.contains(&number) && !text.contains("panicked"), "{what}");
        }
        for entry in fs::read_dir(self.site.audit()).unwrap() {
            let bytes = fs::read(entry.unwrap().path()).unwrap();
            assert!(!String::from_utf8_lossy(&bytes).contains(&number), "the audit log");
        }
    }
}

#[tokio::test]
async fn operators_purge_by_role_and_it_is_recorded_without_the_person() {
    let mut running = started();
    let number = HOA.number.to_string();
    let tagged = (HeaderName::from_static("cache-tag"), HeaderValue::from_static("province-79"));
    running.register.faults.set(HOA.number, Fault { headers: vec![tagged], ..Fault::default() });
    assert_eq!((running.read().await, running.read().await), (1, 0), "it is stored");
    let targets = format!("/persons/{number}\n");
    let others = "/persons/001099999999\n";
    let orders: [(&str, &[&str], &str, u64); 8] = [
        ("linh", &["purge", "subject"], &number, 1),
        ("linh", &["purge", "subject"], "001099999999", 0),
        ("hanh", &["purge", "request", "population", "--soft"], &targets, 1),
        ("hanh", &["purge", "request", "population"], others, 0),
        ("hanh", &["purge", "tag", "population", "province-79"], "", 1),
        ("hanh", &["purge", "tag", "population", "province-01"], "", 0),
        ("linh", &["purge", "register", "population"], "", 1),
        ("linh", &["purge", "all", "--soft"], "", 1),
    ];
    for (who, order, input, asks) in orders {
        let (code, said) = running.operator(who, &[order, &["--reason", REASON]].concat(), input);
        assert!(code == 0 && said.starts_with("1 ") && said.contains(" on https://localhost:"), "{order:?}: {said}");
        assert_eq!((running.read().await, running.read().await), (asks, 0), "{order:?}");
    }
    let (code, said) = running.operator("vy", &["purge", "all", "--reason", REASON], "");
    assert!(code == 1 && said.contains("403 role_missing") && said.contains("`sre` or `approver`"), "{said}");
    let (code, said) = running.operator("linh", &["purge", "register", "populaton", "--reason", REASON], "");
    assert!(code == 1 && said.contains("422 unknown_register") && said.contains("`population`"), "{said}");
    let (code, said) = running.operator("linh", &["purge", "subject", "--reason", &format!("{}.", &number)], &number);
    assert!(code == 1 && said.contains("`reason` must name no person"), "{said}");
    let (code, said) = running.operator("linh", &["purge", "subject", "--reason", REASON], &format!("{number} x"));
    assert!(code == 1 && said.contains("standard input, line 1"), "{said}");
    let (code, said) = running.operator("vy", &["cache"], "");
    assert!(code == 0 && said.lines().any(|line| line.starts_with("entries ")), "{said}");
    let (code, said) = running.operator("vy", &["cache", "--json"], "");
    let shown: Value = serde_json::from_str(&said).unwrap();
    assert!(code == 0 && shown["requests"]["hit"].as_u64() >= Some(1), "{said}");

    let key: [u8; 32] = key(&fs::read(running.site.dir().join("keys/audit.key")).unwrap());
    let tag = |text: &str| AuditKey::new(key).tag(text);
    let expected = [
        format!("linh purge subject#{}", tag(&number)),
        format!("linh purge subject#{}", tag("001099999999")),
        format!("hanh soft-purge request population#{}", tag(targets.trim())),
        format!("hanh purge request population#{}", tag(others.trim())),
        "hanh purge tag population/province-79".to_owned(),
        "hanh purge tag population/province-01".to_owned(),
        "linh purge register population".to_owned(),
        "linh soft-purge all".to_owned(),
    ];
    let actions = running.actions();
    let found = actions.iter().map(|Action { by, what, target, .. }| format!("{by} {what} {target}"));
    assert_eq!(found.collect::<Vec<_>>(), expected);
    assert!(actions.iter().all(|action| action.reason == REASON));
    let (status, _) = running.post("linh", "/cache/changes", &json!({ "subjects": [number] })).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    running.end("");
}

#[tokio::test]
async fn a_register_tells_what_it_changed_and_that_is_counted_and_not_recorded() {
    let mut running = started();
    let number = HOA.number.to_string();
    assert_eq!((running.read().await, running.read().await), (1, 0), "it is stored");
    let (status, told) =
        running.post("population", "/cache/changes", &json!({ "subjects": ["1", format!("{number} x")] })).await;
    assert_eq!((status, &told["code"]), (StatusCode::BAD_REQUEST, &json!("purge_invalid")));
    assert!(told["detail"].as_str().unwrap().starts_with("`subjects[1]`"), "{told}");
    assert_eq!(running.read().await, 0, "nothing of it was taken");
    let changes = json!({ "subjects": [number], "tags": ["province-79", "province-01"] });
    let (status, told) = running.post("population", "/cache/changes", &changes).await;
    assert_eq!((status, &told["subjects"], &told["tags"]), (StatusCode::OK, &json!(1), &json!(2)), "{told}");
    assert_eq!((&told["soft"], told.get("everywhere")), (&json!(false), Some(&Value::Null)), "{told}");
    assert_eq!((running.read().await, running.read().await), (1, 0), "it is asked for anew");
    let (status, _) = running.post("population", "/cache/changes", &json!({ "tags": ["province-02"] })).await;
    assert_eq!((status, running.read().await), (StatusCode::OK, 0), "another tag");
    let (status, _) = running.post("population", "/cache/purge", &json!({ "all": true, "reason": "r" })).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(running.actions().is_empty(), "{:?}", running.actions());

    let credentials = Credentials {
        authorities: fs::read(running.site.gateway_authority()).unwrap(),
        identity: Some(fs::read(running.site.dir().join("clients/operator-linh.pem")).unwrap()),
    };
    let operator = Client::new(running.node.admin, &credentials, Http::One).unwrap();
    let metrics = operator.send(get("/metrics", None)).await.unwrap();
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    for line in [
        "popgate_cache_changes_total{outcome=\"taken\",register=\"population\"} 2",
        "popgate_cache_changes_total{outcome=\"refused\",register=\"population\"} 1",
        "popgate_cache_changed_total{register=\"population\",what=\"subject\"} 1",
        "popgate_cache_changed_total{register=\"population\",what=\"tag\"} 3",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    let lines = running.node.said();
    let told: Vec<_> = lines.iter().filter(|line| line.contains("a register told of changes")).collect();
    assert!(told.len() == 2 && told[0].contains("\"subjects\":1"), "{told:?}");
    running.end(&metrics);
}

#[test]
fn a_configuration_leads_to_no_cache_and_a_number_is_no_argument() {
    let (config, subject) = (["--config", "gateway.toml"], ["purge", "subject", "--reason", "INC-1"]);
    for (arguments, says) in [
        ([&subject[..], &config].concat(), "name the node with --node"),
        ([&["purge", "all", "--reason", "INC-1"][..], &config].concat(), "in the memory of a node that runs"),
        (subject.to_vec(), "--node"),
        (vec!["cache"], "--node"),
        (vec!["purge", "subject", "000187000001", "--reason", "INC-1"], "unexpected argument"),
        (vec!["purge", "all"], "--reason"),
    ] {
        let output = Command::new(build::popgate())
            .args(&arguments)
            .env("XDG_CONFIG_HOME", "/nonexistent")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && said.contains(says), "{arguments:?}: {said}");
    }
}

/// Raw, or as hex digits.
fn key(file: &[u8]) -> [u8; 32] {
    if let Ok(raw) = file.try_into() {
        return raw;
    }
    let text = std::str::from_utf8(file).unwrap().trim();
    std::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
}
