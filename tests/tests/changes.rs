//! Promise: what a register tells over NATS is applied at every node, whatever happens to NATS meanwhile, or else nothing that was
//! stored before is served without being validated; and nobody speaks for a register but who may.

mod server;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Instant;

use async_nats::jetstream;
use http::StatusCode;
use popgate::app::{Running, status};
use popgate_demo::client::{Client, Credentials, Http, get};
use popgate_demo::deployment::{Options, Others, Register, Site};
use popgate_demo::register::demo::{HOA, HUSBAND};
use popgate_demo::scenario::read_path;
use popgate_tests::eventually;
use popgate_tests::node::Node;
use serde_json::json;

use super::share::server::Road;
use server::{STREAM, Server, make_stream, tell};

/// A gateway in this process, and the population's register.
struct Gateway {
    gateway: Running,
    register: Register,
    client: Client,
    _others: Others,
    dir: tempfile::TempDir,
}

impl Gateway {
    /// One that hears what is told at that port; with a second register.
    fn hears(port: u16) -> Self {
        Self::hears_as(port, "")
    }

    /// The same with more in its `[changes]`, and a file with a password.
    fn hears_as(port: u16, more: &str) -> Self {
        let settings = format!("\n[changes]\nnats = [\"nats://127.0.0.1:{port}\"]\nnode = \"gateway-1\"\n{more}");
        let dir = tempfile::tempdir().unwrap();
        let site = Site::make(dir.path()).unwrap();
        password(&site);
        let others = Others::start(&site).unwrap();
        let register = Register::start(&site).unwrap();
        let options = Options { settings, ..Options::default() };
        let gateway = site.start_gateway(others.endpoints(register.address), &options).unwrap();
        let client = Client::new(gateway.https(), &site.credentials("tax/etax").unwrap(), Http::One).unwrap();
        Self { gateway, register, client, _others: others, dir }
    }

    /// Has the record of Hoa read, and says how many requests of that the register got.
    async fn read(&self) -> u64 {
        let before = self.register.faults.requests();
        let answer = self.client.send(get(&read_path(HOA.number), Some("assessment"))).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK);
        self.register.faults.requests() - before
    }

    async fn is_stored(&self) {
        self.read().await;
        assert_eq!(self.read().await, 0, "it is stored");
    }

    /// How it stands with hearing: for how many seconds not, why, and how often what changed was not known.
    fn hearing(&self) -> (Option<u64>, String, u64) {
        let changes = status::of(self.gateway.node(), false).changes.unwrap();
        (changes.away_for_seconds, changes.why.unwrap_or_default(), changes.gaps)
    }

    async fn connected(&self) {
        eventually("NATS is heard", || self.hearing().0.is_none()).await;
    }

    fn metrics(&self) -> String {
        status::collect(self.gateway.node());
        self.gateway.node().metrics.encode()
    }

    async fn counted(&self, line: &str) {
        eventually(line, || self.metrics().lines().any(|found| found == line)).await;
    }
}

fn password(site: &Site) {
    let file = site.dir().join("keys/nats.password");
    fs::write(&file, "of-gateway\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Messages of a register that were applied, and refused.
fn messages(outcome: &str, register: &str, count: u64) -> String {
    format!("popgate_cache_changes_total{{outcome=\"{outcome}\",register=\"{register}\"}} {count}")
}

#[tokio::test]
async fn what_registers_tell_is_asked_for_anew_and_what_is_of_no_use_is_counted_and_gone() {
    let nats = Server::start();
    let client = nats.client().await;
    make_stream(&client).await;
    let site = Gateway::hears(nats.port);
    site.connected().await;
    assert!(site.metrics().contains("popgate_changes_connected 1\n"));
    site.is_stored().await;
    tell(&client, "population", json!({ "subjects": [HUSBAND.number.to_string()] })).await;
    site.counted(&messages("taken", "population", 1)).await;
    assert_eq!(site.read().await, 0, "somebody else's");
    tell(&client, "population", json!({ "subjects": [HOA.number.to_string()], "soft": true })).await;
    site.counted(&messages("taken", "population", 2)).await;
    assert_eq!((site.read().await, site.read().await), (1, 0), "it is asked for anew, once");
    // Persons are the same of every register; tags are each register's own.
    tell(&client, "civil-status", json!({ "subjects": [HOA.number.to_string()] })).await;
    site.counted(&messages("taken", "civil-status", 1)).await;
    assert_eq!((site.read().await, site.read().await), (1, 0));
    let tags = json!({ "tags": [TAG] });
    tell(&client, "civil-status", &tags).await;
    site.counted(&messages("taken", "civil-status", 2)).await;
    assert_eq!(site.read().await, 0, "another register's tag");
    tell(&client, "population", &tags).await;
    site.counted(&messages("taken", "population", 3)).await;
    assert_eq!((site.read().await, site.read().await), (1, 0));

    let hoa = json!({ "subjects": [HOA.number.to_string()] });
    tell(&client, "population", "{\"subjects\": [").await;
    tell(&client, "population", json!({ "subjects": ["1 2"] })).await;
    tell(&client, "population", " ".repeat(600 << 10)).await;
    site.counted(&messages("refused", "population", 3)).await;
    tell(&client, "vehicles", &hoa).await;
    tell(&client, &format!("population.{}", HOA.number), &hoa).await;
    site.counted(&messages("refused", "unknown", 2)).await;
    assert_eq!(site.read().await, 0, "nothing of it was taken");
    let mut consumer = client.get_stream(STREAM).await.unwrap();
    consumer.info().await.unwrap();
    let info = consumer.consumer_info("gateway-1").await.unwrap();
    assert_eq!((info.num_ack_pending, info.num_pending), (0, 0), "and nothing comes again");
    assert_eq!(site.hearing(), (None, String::new(), 0));
    let began = Instant::now();
    site.gateway.drain().await;
    assert!(began.elapsed().as_secs() < 10, "it ends");
}

#[tokio::test]
async fn what_is_told_while_the_way_is_cut_or_nats_is_restarted_is_heard_afterwards() {
    let mut nats = Server::start();
    let client = nats.client().await;
    make_stream(&client).await;
    let road = Road::to(nats.port);
    let site = Gateway::hears(road.port);
    site.connected().await;
    site.is_stored().await;
    road.cut(true);
    for _ in 0..300 {
        tell(&client, "population", json!({ "subjects": [HUSBAND.number.to_string()] })).await;
    }
    tell(&client, "population", json!({ "subjects": [HOA.number.to_string()] })).await;
    eventually("it is an alarm", || site.hearing().0.is_some()).await;
    assert!(site.metrics().contains("popgate_changes_connected 0\n"));
    assert_eq!(site.read().await, 0, "records are served for as long as they are fresh");
    // Somebody tidies up: where the node was, it knows itself.
    client.delete_consumer_from_stream("gateway-1", STREAM).await.unwrap();
    road.cut(false);
    site.counted(&messages("taken", "population", 301)).await;
    assert_eq!((site.read().await, site.read().await), (1, 0), "it is heard afterwards");

    nats.kill();
    nats.again();
    let client = nats.client().await;
    tell(&client, "population", json!({ "subjects": [HOA.number.to_string()] })).await;
    site.counted(&messages("taken", "population", 302)).await;
    assert_eq!((site.read().await, site.read().await), (1, 0), "after a restart as well");
    assert_eq!(site.hearing().2, 0, "nothing was missed");
}

#[tokio::test]
async fn what_the_stream_no_longer_keeps_makes_all_validated() {
    let nats = Server::start();
    let client = nats.client().await;
    make_stream(&client).await;
    let road = Road::to(nats.port);
    let site = Gateway::hears(road.port);
    site.connected().await;
    tell(&client, "population", json!({ "subjects": [HUSBAND.number.to_string()] })).await;
    site.counted(&messages("taken", "population", 1)).await;
    site.is_stored().await;

    // It was told, and is gone: who knows of whom it was.
    road.cut(true);
    eventually("it is noticed", || site.metrics().contains("popgate_changes_failures_total 1")).await;
    tell(&client, "population", json!({ "subjects": [HOA.number.to_string()] })).await;
    client.get_stream(STREAM).await.unwrap().purge().await.unwrap();
    road.cut(false);
    site.counted("popgate_changes_gaps_total 1").await;
    assert_eq!((site.read().await, site.read().await), (1, 0), "it is validated");

    // What everybody has heard may go.
    client.get_stream(STREAM).await.unwrap().purge().await.unwrap();
    tell(&client, "population", json!({ "subjects": [HUSBAND.number.to_string()] })).await;
    site.counted(&messages("taken", "population", 2)).await;
    assert_eq!((site.read().await, site.hearing().2), (0, 1));

    // One out of the middle, while the node is not there.
    road.cut(true);
    let failed = |count: u64| site.metrics().contains(&format!("popgate_changes_failures_total {count}"));
    let before = (0..1000).find(|count| failed(*count)).unwrap();
    eventually("it is noticed", || !failed(before)).await;
    for _ in 0..3 {
        tell(&client, "population", json!({ "subjects": [HUSBAND.number.to_string()] })).await;
    }
    let stream = client.get_stream(STREAM).await.unwrap();
    let last = stream.cached_info().state.last_sequence;
    assert!(stream.delete_message(last - 1).await.unwrap());
    road.cut(false);
    site.counted("popgate_changes_gaps_total 2").await;
    site.counted(&messages("taken", "population", 4)).await;
    assert_eq!((site.read().await, site.read().await), (1, 0), "it is validated");
}

#[tokio::test]
async fn a_stream_that_is_gone_is_an_alarm_and_one_that_is_made_again_is_another() {
    let nats = Server::start();
    let client = nats.client().await;
    let site = Gateway::hears(nats.port);
    site.is_stored().await;
    eventually("there is none yet", || site.hearing().1 == "no such stream").await;
    assert_eq!(site.read().await, 0, "records are served all the same");
    make_stream(&client).await;
    site.connected().await;
    assert_eq!((site.read().await, site.read().await), (1, 0), "what was told before is not known");
    assert_eq!(site.hearing().2, 0, "which was so from the beginning");
    client.delete_stream(STREAM).await.unwrap();
    eventually("it is an alarm", || site.hearing().0.is_some() && site.hearing().1 == "no such stream").await;
    assert!(site.metrics().contains("popgate_changes_connected 0\n"));
    assert_eq!(site.read().await, 0);
    make_stream(&client).await;
    site.counted("popgate_changes_gaps_total 1").await;
    site.counted("popgate_changes_connected 1").await;
    assert_eq!((site.read().await, site.read().await), (1, 0), "it is validated");
    tell(&client, "population", json!({ "subjects": [HOA.number.to_string()] })).await;
    site.counted(&messages("taken", "population", 1)).await;
    assert_eq!((site.read().await, site.hearing().2), (1, 1));

    // Numbers of messages would say nothing.
    let mut config = client.get_stream(STREAM).await.unwrap().cached_info().config.clone();
    client.delete_stream(STREAM).await.unwrap();
    config.subjects.push("others.>".to_owned());
    client.create_stream(config).await.unwrap();
    eventually("it is said", || site.hearing().1 == "the stream holds other subjects").await;
}

#[tokio::test]
async fn who_is_not_let_in_or_may_not_listen_serves_all_the_same_and_says_why() {
    let conf = "listen: 127.0.0.1:PORT\njetstream { store_dir: \"STORE\" }\nauthorization { users = [\n\
                { user: \"gateway-1\", password: $GATEWAY_PASSWORD, permissions: { publish: [\"x\"], subscribe: [\"_INBOX.>\"] } }\n\
                ] }\n";
    let nats = Server::of(conf);
    for (login, mode, why) in [
        ("user = \"gateway-1\"\npassword = \"keys/nats.password\"\n", 0o600, "denied"),
        ("user = \"gateway-2\"\npassword = \"keys/nats.password\"\n", 0o600, "denied"),
        ("user = \"gateway-1\"\npassword = \"keys/nats.password\"\n", 0o644, "misconfigured"),
        ("credentials = \"keys/nats.password\"\n", 0o600, "misconfigured"),
        ("", 0o600, "denied"),
    ] {
        let site = Gateway::hears_as(nats.port, login);
        let file = site.dir.path().join("keys/nats.password");
        fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
        eventually(why, || site.hearing().1 == why).await;
        assert!(site.hearing().0.is_some() && site.metrics().contains("popgate_changes_connected 0\n"));
        site.is_stored().await;
    }
}

#[tokio::test]
async fn nats_as_documented_lets_each_register_speak_for_itself_and_each_node_listen() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::make(dir.path()).unwrap();
    let page = include_str!("../../deploy/CACHE.md");
    let conf = page.split("```conf\n").nth(1).unwrap().split("```").next().unwrap();
    let pem = |name: &str| site.dir().join("pki").join(name).display().to_string();
    let conf = [
        ("0.0.0.0:4222", "127.0.0.1:PORT".to_owned()),
        ("/etc/nats/server.pem", pem("gateway.pem")),
        ("/etc/nats/server.key", pem("gateway.key")),
        ("/var/lib/nats", "STORE".to_owned()),
    ]
    .into_iter()
    .fold(conf.to_owned(), |conf, (from, to)| {
        assert!(conf.contains(from), "{from}");
        conf.replace(from, &to)
    });
    let nats = Server::of(&conf);
    let url = format!("tls://localhost:{}", nats.port);
    let authority = site.gateway_authority();
    let user = async |name: &str, password: &str| {
        let options = async_nats::ConnectOptions::with_user_and_password(name.into(), password.into());
        let options = options.add_root_certificates(authority.clone()).custom_inbox_prefix(format!("_INBOX.{name}"));
        jetstream::new(options.connect(&url).await.unwrap())
    };
    let admin = user("site", "of-site").await;
    make_stream(&admin).await;

    password(&site);
    let settings = format!(
        "\n[changes]\nnats = [\"{url}\"]\nnode = \"gateway-1\"\nuser = \"gateway-1\"\n\
         password = \"keys/nats.password\"\nca = \"{}\"\n",
        authority.display()
    );
    let register = Register::start(&site).unwrap();
    site.write_config(register.address, &Options { settings, ..Options::default() }).unwrap();
    let node = Node::start(&site, &["--log", "trace"]);
    let said = |what: &str| node.said().iter().filter(|line| line.contains(what)).count();
    eventually("NATS is heard", || said("what registers change is heard over NATS") == 1).await;

    let client = node.client(&site, "tax/etax", Http::One);
    let read = async || {
        let before = register.faults.requests();
        let answer = client.send(get(&read_path(HOA.number), Some("assessment"))).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK);
        register.faults.requests() - before
    };
    assert_eq!((read().await, read().await), (1, 0), "it is stored");
    let (population, hoa) = (user("population", "of-population").await, HOA.number.to_string());
    tell(&population, "population", json!({ "subjects": [hoa] })).await;
    eventually("it is heard", || said("a register told of changes") == 1).await;
    assert_eq!((read().await, read().await), (1, 0), "it is asked for anew");

    // What it may not, nobody answers; and what was asked after it is kept after it.
    let foreign = population.publish("popgate.changes.civil-status", json!({ "subjects": [hoa] }).to_string().into());
    drop(foreign.await.unwrap());
    tell(&population, "population", format!("{{\"subjects\": [\"{hoa} x\"]}}")).await;
    eventually("it is refused", || said("is refused: nothing was purged") == 1).await;
    let info = admin.get_stream(STREAM).await.unwrap().cached_info().clone();
    assert_eq!((info.state.last_sequence, info.state.messages), (2, 2));
    tell(&admin, &hoa, json!({ "subjects": [hoa] })).await;
    eventually("it is refused", || said("under the subject of no register") == 1).await;
    assert_eq!(read().await, 0);

    let identity = fs::read(site.dir().join("clients/operator-linh.pem")).unwrap();
    let credentials = Credentials { authorities: fs::read(&authority).unwrap(), identity: Some(identity) };
    let operator = Client::new(node.admin, &credentials, Http::One).unwrap();
    let shown = operator.send(get("/bundle", None)).await.unwrap();
    let metrics = operator.send(get("/metrics", None)).await.unwrap();
    let [shown, metrics] = [shown, metrics].map(|answer| String::from_utf8(answer.body.to_vec()).unwrap());
    assert!(shown.contains("\"changes\":{\"away_for_seconds\":null"), "{shown}");
    assert!(metrics.contains("popgate_changes_connected 1"), "{metrics}");
    let (drained, lines) = node.terminate();
    assert!(drained);
    for (what, text) in [("the log", &lines.join("\n")), ("the status", &shown), ("the metrics", &metrics)] {
        assert!(!text.contains(&hoa) && !text.contains("of-gateway") && !text.contains("panicked"), "{what}: {text}");
    }
}

/// What the population's register marks all its answers with.
const TAG: &str = "register-population";
