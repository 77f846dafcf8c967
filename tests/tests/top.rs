//! Promise: `popgate top` draws what a node does on a terminal of any size, says when the node is away, leaves the terminal as it was,
//! and prints one plain frame or one JSON object where there is no terminal.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use popgate_demo::client::{Http, post};
use popgate_demo::deployment::{Options, Register, Site};
use popgate_demo::register::demo::HOA;
use popgate_demo::scenario::{LOOKUP, keys_of_hoa};
use popgate_tests::build;
use popgate_tests::node::Node;
use serde_json::{Value, json};

#[test]
fn it_draws_without_flicker_on_every_size_and_leaves_the_terminal_as_it_was() {
    let node = Watched::start();
    let busy = node.busy();
    let mut terminal = Terminal::open(&node, (80, 24), &[]);
    let first = terminal.until("figures", |screen| screen.has("citizen.lookup"));
    assert!(first.alternate && first.hidden, "{first:#?}");
    assert!(first.screen[0].starts_with(&format!("popgate top  {}  every 0.3 s", node.url())), "{first:#?}");
    for part in ["requests ", "purpose_unknown ", " hits", "records/s, queue ", "new http/1.1 "] {
        assert!(first.has(part), "{part}: {first:#?}");
    }
    assert!(first.has("suspended    nothing") && first.has("ends         certificate server 29 days"), "{first:#?}");
    assert!(first.row("population").contains(" good ") || first.row("population").contains(" idle "), "{first:#?}");
    assert!(first.screen[23].starts_with("q quit"), "{first:#?}");
    assert!(!first.has(&HOA.number.to_string()) && !first.has(HOA.full_name), "nothing about a person: {first:#?}");

    // Frames later: drawn over, never cleared.
    let started = Instant::now();
    let later = terminal.until("frames", |_| started.elapsed() > Duration::from_secs(1));
    assert_eq!(later.cleared, first.cleared);

    terminal.order(&json!({ "size": [120, 40] }));
    let wide = terminal
        .until("the wide screen", |screen| screen.screen.len() == 40 && screen.screen[39].starts_with("q quit"));
    assert!(wide.has("next revocation list"), "{wide:#?}");
    terminal.order(&json!({ "size": [50, 12] }));
    let small = terminal
        .until("the small screen", |screen| screen.screen.len() == 12 && screen.screen[11].starts_with("q quit"));
    assert!(small.has("and 1 more") || small.has("and 2 more"), "{small:#?}");

    terminal.order(&json!({ "keys": "p" }));
    terminal.until("a pause", |screen| screen.has("PAUSED"));
    terminal.order(&json!({ "keys": "p" }));
    terminal.until("its end", |screen| screen.has("every 0.3 s"));
    terminal.order(&json!({ "keys": "q" }));
    terminal.ends_well();
    drop(busy);
}

#[test]
fn however_it_ends_the_terminal_is_restored_and_no_color_is_none() {
    let node = Watched::start();
    node.suspend_bank();
    for (order, variables) in [
        (json!({ "keys": "\u{3}" }), &[][..]),
        (json!({ "signal": "TERM" }), &[("NO_COLOR", "1")]),
        (json!({ "signal": "HUP" }), &[("NO_COLOR", "1")]),
    ] {
        let mut terminal = Terminal::open(&node, (80, 24), variables);
        let shown = terminal.until("a frame", |screen| screen.has("suspended    agency bank-a"));
        assert_eq!(shown.coloured, variables.is_empty(), "what is suspended is coloured: {shown:#?}");
        terminal.order(&order);
        terminal.ends_well();
    }
}

#[test]
fn a_node_that_goes_away_is_said_and_comes_back() {
    let mut node = Watched::start();
    let mut terminal = Terminal::open(&node, (80, 24), &[]);
    terminal.until("a frame", |screen| screen.has("no requests"));
    node.stop();
    // The remedy is not cut off. A reading that was on its way may break in another way first.
    let away = terminal.until("the alarm", |screen| screen.has("no answer for ") && screen.has("is the node running"));
    assert!(away.has("as of ") && away.has("OPERATION"), "what was known stays: {away:#?}");
    node.again();
    let back = terminal.until("its return", |screen| screen.has("every 0.3 s") && screen.has("no requests"));
    assert!(!back.has("no answer"), "{back:#?}");
    terminal.order(&json!({ "keys": "q" }));
    terminal.ends_well();
}

#[test]
fn without_a_terminal_it_prints_one_frame_or_one_object() {
    let node = Watched::start();
    let busy = node.busy();
    let (code, frame) = node.top(&["--interval", "1s"]);
    assert_eq!(code, 0, "{frame}");
    assert!(frame.starts_with(&format!("popgate top  {}  over 1.0 s\n", node.url())), "{frame}");
    assert!(!frame.contains('\u{1b}') && frame.lines().any(|line| line.starts_with("citizen.lookup ")), "{frame}");
    // --once is the same, and in both nothing is about a person.
    let (code, once) = node.top(&["--once", "--interval", "1s", "--sort", "p99"]);
    assert!(code == 0 && once.contains("\nOPERATION "), "{once}");
    let (code, object) = node.top(&["--once", "--json", "--interval", "1s"]);
    drop(busy);
    for said in [&frame, &once, &object] {
        assert!(!said.contains(&HOA.number.to_string()) && !said.contains(HOA.full_name), "{said}");
    }
    assert_eq!((code, object.lines().count()), (0, 1), "{object}");
    let told: Value = serde_json::from_str(&object).unwrap();
    let number =
        |pointer: &str| told.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("{pointer}: {told}"));
    let close = |a: f64, b: f64| (a - b).abs() < 1e-6;
    assert!(number("/requests/ok") > 0.0 && number("/requests/refused") > 0.0, "{told}");
    assert!(close(number("/requests/all"), number("/requests/ok") + number("/requests/refused")), "{told}");
    assert!(close(number("/refusals/purpose_unknown"), number("/requests/refused")), "{told}");
    assert!(number("/requests/p50") > 0.0 && number("/requests/p50") <= number("/requests/p99"), "{told}");
    assert_eq!(told["operations"][0]["name"], "citizen.lookup");
    assert!(number("/cache/hit_ratio") > 0.0 && number("/audit/records") > 0.0, "{told}");
    assert!(number("/certificates/0/seconds") > 20.0 * 86_400.0, "{told}");
    assert_eq!(
        (&told["node"], &told["restarted"], &told["suspended"]),
        (&json!(node.url()), &json!(false), &json!([]))
    );
}

#[test]
fn suspensions_are_shown_and_mistakes_are_told() {
    let node = Watched::start();
    node.suspend_bank();
    let since = Instant::now();
    let told = loop {
        let (_, object) = node.top(&["--json", "--interval", "200ms"]);
        let told: Value = serde_json::from_str(&object).unwrap();
        if told["suspended"] != json!([]) || since.elapsed() > Duration::from_secs(10) {
            break told;
        }
    };
    assert_eq!(told["suspended"], json!([{ "kind": "agency", "id": "bank-a" }]));
    let (_, frame) = node.top(&["--interval", "200ms"]);
    assert!(frame.contains("\nsuspended    agency bank-a\n"), "{frame}");
    for (arguments, code, says) in [
        (&["--interval", "1ms"][..], 2, "must be from 200ms to 1h"),
        (&["--sort", "size"], 2, "possible values: requests, refused, p99, name"),
    ] {
        let (ended, said) = node.top(arguments);
        assert!(ended == code && said.contains(says), "{arguments:?}: {said}");
    }
}

/// A node in a process of its own, which keeps its admin port when it is started again.
struct Watched {
    site: Site,
    node: Option<Node>,
    admin: u16,
    _register: Register,
    // Last: the node writes there until its end.
    _dir: tempfile::TempDir,
}

impl Watched {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let site = Site::make(dir.path()).unwrap();
        let register = Register::start(&site).unwrap();
        site.write_config(register.address, &Options::default()).unwrap();
        let node = Node::start(&site, &[]);
        let admin = node.admin.port();
        Self { site, node: Some(node), admin, _register: register, _dir: dir }
    }

    fn stop(&mut self) {
        self.node.take().unwrap().kill();
    }

    fn again(&mut self) {
        let file = self.site.config_file();
        let text = std::fs::read_to_string(&file).unwrap();
        let fixed = text.replacen(r#"admin  = "127.0.0.1:0""#, &format!(r#"admin  = "127.0.0.1:{}""#, self.admin), 1);
        assert_ne!(fixed, text);
        std::fs::write(&file, fixed).unwrap();
        self.node = Some(Node::start(&self.site, &[]));
    }

    fn suspend_bank(&self) {
        let mut suspend = Command::new(build::popgate());
        suspend.args(["suspend", "agency", "bank-a", "--reason", "INC-77", "--config"]).arg(self.site.config_file());
        assert!(suspend.stdout(Stdio::null()).status().unwrap().success());
    }

    fn url(&self) -> String {
        format!("https://localhost:{}", self.admin)
    }

    fn operator(&self) -> PathBuf {
        self.site.dir().join("clients/operator-linh.pem")
    }

    /// How to ask the node.
    fn arguments(&self) -> Vec<String> {
        let (operator, authority) = (self.operator(), self.site.gateway_authority());
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let named = [
            ("--node", self.url()),
            ("--cert", path(&operator)),
            ("--key", path(&operator)),
            ("--ca", path(&authority)),
        ];
        named.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
    }

    /// What `popgate top` prints where there is no terminal.
    fn top(&self, more: &[&str]) -> (i32, String) {
        let output = Command::new(build::popgate()).arg("top").args(self.arguments()).args(more).output().unwrap();
        let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap()).concat();
        (output.status.code().unwrap(), said)
    }

    /// Somebody asks all the time, until it is dropped: rightly, then for a purpose that is none.
    fn busy(&self) -> Busy {
        let client = self.node.as_ref().unwrap().client(&self.site, "tax/etax", Http::One);
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let asking = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                while !told.load(Relaxed) {
                    // New connections, too, are to be seen.
                    let mut session = client.connect().await.unwrap();
                    for purpose in ["assessment", "assessment", "none"] {
                        session.send(post(LOOKUP, Some(purpose), &keys_of_hoa())).await.unwrap();
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
        });
        Busy { over, asking: Some(asking) }
    }
}

struct Busy {
    over: Arc<AtomicBool>,
    asking: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
        let asked = self.asking.take().map(std::thread::JoinHandle::join);
        assert!(std::thread::panicking() || matches!(asked, Some(Ok(()))), "nobody could ask");
    }
}

/// `popgate top` on a pseudo-terminal.
struct Terminal {
    child: Child,
    orders: ChildStdin,
    screens: Receiver<Screen>,
    last: Screen,
}

/// What `top/terminal.py` tells.
#[derive(Clone, Debug, Default)]
struct Screen {
    screen: Vec<String>,
    hidden: bool,
    alternate: bool,
    overrun: bool,
    coloured: bool,
    cleared: u64,
    strange: Vec<String>,
    exit: Option<i64>,
    restored: Option<bool>,
}

impl Screen {
    fn told(line: &str) -> Self {
        let told: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let is = |name: &str| told[name].as_bool();
        let texts =
            |name: &str| told[name].as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned()).collect();
        Self {
            screen: texts("screen"),
            hidden: is("hidden").unwrap(),
            alternate: is("alternate").unwrap(),
            overrun: is("overrun").unwrap(),
            coloured: is("coloured").unwrap(),
            cleared: told["cleared"].as_u64().unwrap(),
            strange: texts("strange"),
            exit: told["exit"].as_i64(),
            restored: is("restored"),
        }
    }

    fn has(&self, text: &str) -> bool {
        // A sentence that is broken between words is one.
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        self.screen.iter().any(|row| row.contains(text)) || words(&self.screen.join(" ")).contains(text)
    }

    fn row(&self, name: &str) -> &str {
        self.screen.iter().find(|row| row.starts_with(name)).map_or("", String::as_str)
    }
}

impl Terminal {
    fn open(node: &Watched, (columns, rows): (u16, u16), variables: &[(&str, &str)]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/top/terminal.py");
        let mut child = Command::new("/usr/bin/python3")
            .arg(script)
            .args([columns.to_string(), rows.to_string()])
            .arg(build::popgate())
            .args(["top", "--interval", "300ms"])
            .args(node.arguments())
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (orders, told) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, screens) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(told).lines().map_while(Result::ok) {
                if sender.send(Screen::told(&line)).is_err() {
                    return;
                }
            }
        });
        Self { child, orders, screens, last: Screen::default() }
    }

    fn order(&mut self, order: &Value) {
        writeln!(self.orders, "{order}").unwrap();
    }

    /// The first screen of which it holds. Whatever is drawn until then fits, and is understood.
    fn until(&mut self, what: &str, holds: impl Fn(&Screen) -> bool) -> Screen {
        let since = Instant::now();
        loop {
            let left = Duration::from_secs(20).saturating_sub(since.elapsed());
            let Ok(screen) = self.screens.recv_timeout(left) else { panic!("no {what}: {:#?}", self.last) };
            assert!(!screen.overrun && screen.strange.is_empty(), "{screen:#?}");
            self.last = screen;
            if holds(&self.last) {
                return self.last.clone();
            }
        }
    }

    /// It ends with 0, and the terminal is as it was before.
    fn ends_well(mut self) {
        let end = self.until("end", |screen| screen.exit.is_some());
        assert_eq!((end.exit, end.restored), (Some(0), Some(true)), "{end:#?}");
        assert!(!end.alternate && !end.hidden, "{end:#?}");
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
