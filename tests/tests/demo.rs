//! Promise: the demonstration shows what the README recorded, leaves working commands behind, and says in words what went wrong.

use std::io::{BufRead as _, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use popgate_demo::register::demo::HOA;
use serde_json::Value;

#[test]
fn it_shows_what_the_readme_recorded() {
    let output = demo().arg("--once").output().unwrap();
    let (said, problems) = texts(&output);
    assert!(output.status.success(), "{problems}");
    assert_eq!(problems, "");
    assert!(!said.contains('\u{1b}'), "colours, though this is no terminal");
    assert!(said.lines().all(|line| line.chars().count() <= 120), "wider than 120 columns:\n{said}");
    assert!(said.contains(HOA.full_name) && said.contains("log verified"), "{said}");

    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let marker = "<!-- recorded by cargo demo -- --once -->\n```text\n";
    let (_, recorded) = readme.split_once(marker).expect("no recorded table in README.md");
    let (recorded, _) = recorded.split_once("```").unwrap();
    assert_eq!(shape(recorded), shape(&said), "README.md shows another table; record it again: cargo demo -- --once");
}

#[test]
fn a_folder_or_port_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("mine.txt"), "mine").unwrap();
    let refused = demo().args(["--once", "--dir"]).arg(dir.path()).output().unwrap();
    let expected = format!("popgate-demo: `{}` is not empty; give another folder to --dir\n", dir.path().display());
    assert_eq!(failure(&refused), expected);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "it wrote into a folder that is not its own");

    let refused = demo().args(["--once", "--dir"]).arg(dir.path().join("mine.txt")).output().unwrap();
    let said = failure(&refused);
    assert!(said.starts_with("popgate-demo: ") && said.contains("mine.txt"), "{said}");

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let refused = demo().args(["--port", &address.port().to_string()]).output().unwrap();
    let said = failure(&refused);
    assert!(said.contains(&format!("cannot listen on {address}")) && said.contains("in use"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn a_step_that_goes_wrong_fails_the_run() {
    // Once requests are answered the log cannot grow past 64 KiB: in the midst of the scenario nothing may be disclosed any more.
    let folder = tempfile::tempdir().unwrap();
    let mut begun = Command::new("bash");
    begun.args(["-c", "trap '' XFSZ; exec \"$0\" --once --dir \"$1\""]).arg(binary("popgate-demo")).arg(folder.path());
    let begun = begun.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (log, since) = (folder.path().join("audit/0000000001.log"), Instant::now());
    while std::fs::metadata(&log).map_or(0, |log| log.len()) < 4096 {
        assert!(since.elapsed() < PATIENCE, "nothing is recorded");
        std::thread::sleep(Duration::from_millis(5));
    }
    let limit = ["--pid", &begun.id().to_string(), "--fsize=65536"];
    assert!(Command::new("prlimit").args(limit).status().unwrap().success());
    let said = failure(&begun.wait_with_output().unwrap());
    assert!(said.contains("expected 200") && said.contains("got 503 audit_unavailable"), "{said}");
    // At whichever file the descriptors end, that is told and not a panic.
    let limited = |limit: &str| {
        let script = format!("ulimit {limit}; exec \"$0\" --once");
        Command::new("bash").args(["-c", &script]).arg(binary("popgate-demo")).output().unwrap()
    };
    for descriptors in (16..=40).step_by(3) {
        let said = failure(&limited(&format!("-n {descriptors}")));
        assert!(said.starts_with("popgate-demo: ") && said.contains("Too many open files"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn what_it_tells_you_to_try_works() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("kept");
    let mut running = Running::start(&dir);
    running.wait_for("Ctrl-C ends it");

    let tax: Value = serde_json::from_str(&shell(&running.command(1))).unwrap();
    assert_eq!(tax["date_of_birth"], HOA.date_of_birth.to_string());
    let telecom = running.command(2);
    let masked: Value = serde_json::from_str(&shell(&telecom)).unwrap();
    assert_eq!(masked["date_of_birth"], i64::from(HOA.date_of_birth.year()));
    assert!(shell(&running.command(6)).contains("# TYPE popgate_"));
    let seen = shell(&running.command(7));
    assert!(seen.contains("accepted") && seen.contains("enrolled as tax/etax"), "{seen}");

    // Twice: only a policy that is right takes effect, and the demonstration says what happened.
    let edit = running.command(3);
    let file = edit.strip_prefix("edit ").unwrap().split_once(": delete @mask(\"year\")").expect(&edit).0;
    let policies = std::fs::read_to_string(file).unwrap();
    std::fs::write(file, policies.replacen("permit (", "permt (", 1)).unwrap();
    running.wait_for("the last good one stays in force");
    running.wait_for("telecom.cedar");
    std::fs::write(file, policies.replacen("@mask(\"year\")", "", 1)).unwrap();
    let saved = Instant::now();
    running.wait_for("policy `telecom-year-only`: `@mask(\"year\")` removed");
    assert!(saved.elapsed() < Duration::from_secs(2), "the reload took {:?}", saved.elapsed());
    let clear: Value = serde_json::from_str(&shell(&telecom)).unwrap();
    assert_eq!(clear["date_of_birth"], HOA.date_of_birth.to_string());

    // The release build of the same program would take minutes.
    let verify = running.command(4);
    let arguments = verify.strip_prefix("cargo run --quiet --release --package popgate -- ").expect(&verify);
    let verify = format!("{} {arguments}", popgate_tests::build::popgate().display());
    assert!(shell(&verify).contains("chain whole: verified"));
    let flip = running.command(5);
    shell(flip.split_once("repeat 4: ").expect(&flip).1);
    let damaged = bash(&verify);
    assert_eq!(damaged.status.code(), Some(1));
    let (place, _) = texts(&damaged);
    assert!(place.contains("0000000001.log") && place.contains("byte"), "the place is not named: {place}");

    assert_eq!(running.interrupt(), Some(0), "{}", running.said());
    assert!(dir.join("gateway.toml").is_file() && dir.join("audit").is_dir(), "--dir keeps what was made");
}

/// Section names, column heads, table rows, refusal codes; a number is a number.
fn shape(text: &str) -> Vec<String> {
    let mut section = String::new();
    let mut lines = Vec::new();
    for line in text.lines() {
        if !line.starts_with(' ') {
            line.split_whitespace().next().unwrap_or_default().clone_into(&mut section);
        }
        if section == "Refused" && line.starts_with("  ") {
            continue; // a remedy goes on
        }
        let line = if section == "Refused" { line.split("  ").next().unwrap_or_default() } else { line };
        let words = line.split_whitespace().map(|word| match word.find(|c: char| c.is_ascii_digit()) {
            Some(_) if section != "Refused" => "#",
            _ => word,
        });
        lines.push(words.collect::<Vec<_>>().join(" "));
    }
    lines
}

/// A demonstration that stays up; killed when dropped.
struct Running {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Running {
    fn start(dir: &Path) -> Self {
        let mut command = demo();
        command.args(["--port", "0", "--dir"]).arg(dir).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        collect(child.stdout.take().unwrap(), &said);
        collect(child.stderr.take().unwrap(), &said);
        Self { child, said }
    }

    fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    fn wait_for(&mut self, words: &str) {
        let since = Instant::now();
        while !self.said().contains(words) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && since.elapsed() < PATIENCE, "no `{words}` ({ended:?}) in:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What stands under a number of "Now you".
    fn command(&self, number: u32) -> String {
        let said = self.said();
        let (_, commands) = said.split_once("\nNow you\n").unwrap();
        let start = format!(" {number} ");
        commands.lines().find_map(|line| line.strip_prefix(&start)).expect(commands).to_owned()
    }

    /// Ctrl-C; answers the exit code.
    fn interrupt(&mut self) -> Option<i32> {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGINT).unwrap();
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(since.elapsed() < PATIENCE, "Ctrl-C does not end it");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(from: impl Read + Send + 'static, said: &Arc<Mutex<String>>) {
    let said = Arc::clone(said);
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let mut said = said.lock().unwrap();
            said.push_str(&line);
            said.push('\n');
        }
    });
}

fn demo() -> Command {
    Command::new(binary("popgate-demo"))
}

/// A binary of this build, beside the test's own; built if it is not there.
fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let binary = test.parent().and_then(Path::parent).unwrap().join(name);
    if !binary.is_file() {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(root()).args(["build", "--quiet", "--workspace", "--bin", name]);
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        assert!(cargo.status().unwrap().success(), "{name} does not build");
    }
    binary
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn bash(command: &str) -> Output {
    Command::new("bash").args(["-c", command]).current_dir(root()).output().unwrap()
}

/// What a command printed; it must succeed.
fn shell(command: &str) -> String {
    let output = bash(command);
    let (said, problems) = texts(&output);
    assert!(output.status.success(), "{command}: {problems}");
    said
}

/// What a run said on standard error that failed with 1 before it showed anything.
fn failure(output: &Output) -> String {
    let (said, problems) = texts(output);
    assert_eq!(output.status.code(), Some(1), "{said}{problems}");
    assert!(!said.contains("log verified"), "{said}");
    problems
}

fn texts(output: &Output) -> (String, String) {
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}

const PATIENCE: Duration = Duration::from_secs(60);
