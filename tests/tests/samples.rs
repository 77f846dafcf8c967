//! Promise: the samples in `deploy/samples/` run as they stand. Each prints what its system may see, tells refusals apart by their
//! code, comes again when it is told to, and says so when the gateway does not trust its certificate.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use http::StatusCode;
use jiff::Timestamp;
use popgate::pki::{Authority, Client as Subject, Validity};
use popgate_demo::client::{Http, post};
use popgate_demo::register::demo::HOA;
use popgate_demo::register::faults::Fault;
use popgate_demo::scenario::{LOOKUP, keys_of_hoa};
use popgate_tests::Harness;
use popgate_tests::made::edit;
use serde_json::Value;

const SYSTEM: &str = "tax/etax";
/// Asks for it by X-Road.
const EXCHANGE: &str = "data-exchange/tax";

/// One test: what is compiled is compiled once, and a deployment is started once.
#[test]
fn every_sample_does_what_it_says() {
    let made = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/samples");
    fs::create_dir_all(&made).unwrap();
    let made = made.canonicalize().unwrap();
    let samples: Vec<Sample> = SAMPLES.iter().map(|prepare| prepare(&made)).collect();
    every_folder_is_here(&samples);

    let harness = Harness::start_made(
        "",
        // A register that is down must be noticed, though the record was asked for before.
        |site| edit(site, CONTRACT, "{ scope: shared, fresh: 60s, stale-if-error: 10m }", "off"),
        |_| {},
    );
    let site = &harness.deployment.site;
    let [itself, exchange] = [SYSTEM, EXCHANGE].map(|holder| Identity::of(&site.identity(holder).unwrap()));
    let identity = |sample: &Sample| if sample.name == "xroad" { &exchange } else { &itself };
    let another = certificate_of_another_authority(&harness);
    let keys = keys_of_hoa().to_string();
    let expected = expected(&harness);
    let seen = |sample: &Sample| {
        let good = identity(sample);
        let ran = sample.run(&harness, good, &keys, |_| {});
        assert_eq!((ran.code, ran.fields()), (Some(0), expected.clone()), "{}: {}", sample.name, ran.errors);
        assert_eq!(ran.errors, "", "{}", sample.name);

        let ran = sample.run(&harness, good, &keys, |command| {
            command.env("GATEWAY_PURPOSE", "tax-debt");
        });
        let told = "refused: purpose_not_enrolled: use one of assessment, or have the purpose enrolled (request ";
        assert!(ran.code == Some(1) && ran.errors.starts_with(told), "{}: {}", sample.name, ran.errors);
        assert_eq!(ran.said, "", "{}", sample.name);

        let wrong = keys.replace(&HOA.date_of_birth.to_string(), "1988-03-14");
        let ran = sample.run(&harness, good, &wrong, |_| {});
        assert_eq!((ran.code, ran.said.as_str()), (Some(2), ""), "{}: {}", sample.name, ran.errors);
        assert!(ran.errors.starts_with("nobody matches"), "{}: {}", sample.name, ran.errors);

        let ran = sample.run(&harness, &another, &keys, |_| {});
        assert_eq!((ran.code, ran.said.as_str()), (Some(1), ""), "{}: {}", sample.name, ran.errors);
        assert!(ran.errors.contains("no answer: "), "{}: {}", sample.name, ran.errors);
        let words = sample.not_trusted;
        assert!(words.iter().any(|words| ran.errors.contains(words)), "{}: {}", sample.name, ran.errors);
    };
    std::thread::scope(|scope| {
        for running in samples.iter().map(|sample| scope.spawn(|| seen(sample))).collect::<Vec<_>>() {
            if let Err(panic) = running.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });

    let faults = &harness.deployment.register.faults;
    for sample in &samples {
        faults.set_everyone(Fault { status: Some(StatusCode::SERVICE_UNAVAILABLE), ..Fault::default() });
        let down = AtomicBool::new(true);
        let ran = sample.run_listening(&harness, identity(sample), &keys, |line| {
            if line == "503 register_unavailable: again in 1 s" && down.swap(false, Relaxed) {
                faults.clear();
            }
        });
        assert!(!down.load(Relaxed), "{} was not told to come again: {}", sample.name, ran.errors);
        assert_eq!((ran.code, ran.fields()), (Some(0), expected.clone()), "{}: {}", sample.name, ran.errors);
    }
}

/// A sample, ready to run.
struct Sample {
    /// Its folder in `deploy/samples/`.
    name: &'static str,
    program: &'static str,
    arguments: Vec<PathBuf>,
    variables: Vec<(&'static str, PathBuf)>,
    identity: Form,
    /// What it says of a certificate that the gateway does not trust: one of these.
    not_trusted: &'static [&'static str],
}

/// How a sample wants its certificate.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Pem,
    Pkcs12,
    /// With the ciphers of old: Mono reads no others.
    Pkcs12Legacy,
}

const SAMPLES: [fn(&Path) -> Sample; 6] = [
    |_| {
        need(&["/usr/bin/python3", "-c", "import httpx"], "python3 python3-httpx");
        Sample {
            name: "python",
            program: "/usr/bin/python3",
            arguments: vec![source("python/lookup.py")],
            variables: vec![("PYTHONDONTWRITEBYTECODE", "1".into())],
            identity: Form::Pem,
            not_trusted: &["alert unknown ca"],
        }
    },
    |_| {
        need(&["/usr/bin/python3", "-c", "import httpx"], "python3 python3-httpx");
        Sample {
            name: "xroad",
            program: "/usr/bin/python3",
            arguments: vec![source("xroad/lookup.py")],
            variables: vec![("PYTHONDONTWRITEBYTECODE", "1".into())],
            identity: Form::Pem,
            not_trusted: &["alert unknown ca"],
        }
    },
    |_| {
        need(&["node", "--version"], "nodejs");
        let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/clients/node_modules");
        assert!(modules.join("undici").is_dir(), "undici is missing: tests/run installs it in target/clients");
        Sample {
            name: "node",
            program: "node",
            arguments: vec![source("node/lookup.js")],
            variables: vec![("NODE_PATH", modules)],
            identity: Form::Pem,
            // Over HTTP/1.1 undici 6 reports the end of the connection in place of the alert that came before it.
            not_trusted: &["alert unknown ca", "other side closed", "ended by the other party"],
        }
    },
    |made| {
        need(&["javac", "--version"], "openjdk-17-jdk-headless");
        assert!(Path::new(GSON).is_file(), "Java needs libgoogle-gson-java: install it, or run tests/run, which does");
        let file = source("java/Lookup.java");
        compile(Command::new("javac").args(["-encoding", "UTF-8", "-cp", GSON, "-d"]).args([made, &file]));
        Sample {
            name: "java",
            program: "java",
            arguments: vec![
                "-XX:TieredStopAtLevel=1".into(),
                "-cp".into(),
                format!("{GSON}:{}", made.display()).into(),
                "Lookup".into(),
            ],
            variables: Vec::new(),
            identity: Form::Pkcs12,
            // In TLS 1.3 the alert may close the connection while Java begins to use it; it then reports only that.
            not_trusted: &["certificate_required", "ClosedChannelException"],
        }
    },
    |made| {
        need(&["go", "version"], "golang-go");
        let (program, file) = (made.join("lookup-go"), source("go/lookup.go"));
        let mut build = Command::new("go");
        compile(build.env("GOCACHE", made.join("go-cache")).args(["build", "-o"]).args([&program, &file]));
        Sample {
            name: "go",
            program: "env",
            arguments: vec![program],
            variables: Vec::new(),
            identity: Form::Pem,
            not_trusted: &["tls: certificate required", "unknown certificate authority"],
        }
    },
    |made| {
        need(&["mcs", "--version"], "mono-mcs");
        need(&["mono", "--version"], "mono-runtime");
        let program = made.join("lookup.exe");
        let mut build = Command::new("mcs");
        build.args(["-r:System.Runtime.Serialization.dll", "-r:System.Xml.dll", "-r:System.Xml.Linq.dll"]);
        compile(build.arg(format!("-out:{}", program.display())).arg(source("csharp/Lookup.cs")));
        Sample {
            name: "csharp",
            program: "mono",
            arguments: vec![program],
            variables: Vec::new(),
            identity: Form::Pkcs12Legacy,
            not_trusted: &["UNKNOWN_CA"],
        }
    },
];

/// How a run ended.
struct Ran {
    code: Option<i32>,
    said: String,
    errors: String,
}

impl Ran {
    /// The fields, in no order: Go's are by name.
    fn fields(&self) -> Vec<String> {
        let mut lines: Vec<_> = self.said.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }
}

impl Sample {
    fn run(&self, harness: &Harness, identity: &Identity, keys: &str, change: impl FnOnce(&mut Command)) -> Ran {
        let mut command = self.command(harness, identity);
        change(&mut command);
        run(self.name, command, keys, |_| {})
    }

    /// Runs it, and hears each line of its standard error as it comes.
    fn run_listening(&self, harness: &Harness, identity: &Identity, keys: &str, hear: impl Fn(&str)) -> Ran {
        run(self.name, self.command(harness, identity), keys, hear)
    }

    fn command(&self, harness: &Harness, identity: &Identity) -> Command {
        let mut command = Command::new(self.program);
        // The runner's own settings must not decide whom a sample trusts, nor through whom it goes.
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.args(&self.arguments).envs(self.variables.iter().map(|(name, value)| (name, value)));
        let authority = harness.deployment.site.gateway_authority();
        command.env("HOME", home_that_trusts(&authority));
        command.env("GATEWAY_URL", format!("https://localhost:{}", harness.deployment.gateway.https().port()));
        command.env("GATEWAY_CA", authority).env("GATEWAY_IDENTITY", identity.file(self.identity));
        command.env("GATEWAY_PASSWORD", PASSWORD);
        command
    }
}

fn run(name: &str, mut command: Command, keys: &str, hear: impl Fn(&str)) -> Ran {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
    child.stdin.take().unwrap().write_all(keys.as_bytes()).unwrap();
    let (mut out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let said = std::thread::spawn(move || {
        let mut said = String::new();
        out.read_to_string(&mut said).map(|_| said)
    });
    let since = Instant::now();
    let mut errors = String::new();
    for line in BufReader::new(err).lines() {
        let line = line.unwrap();
        hear(&line);
        errors.push_str(&line);
        errors.push('\n');
        assert!(since.elapsed() < Duration::from_secs(60), "{name} does not end: {errors}");
    }
    let code = child.wait().unwrap().code();
    Ran { code, said: said.join().unwrap().expect("what it prints is UTF-8"), errors }
}

/// A system's certificate and key in every form.
struct Identity {
    pem: PathBuf,
}

impl Identity {
    fn of(pem: &Path) -> Self {
        for (form, legacy) in [(Form::Pkcs12, None), (Form::Pkcs12Legacy, Some("-legacy"))] {
            let identity = Self { pem: pem.to_owned() };
            let mut openssl = Command::new("openssl");
            openssl.args(["pkcs12", "-export"]).args(legacy).arg("-in").arg(pem);
            compile(openssl.arg("-out").arg(identity.file(form)).args(["-passout", &format!("pass:{PASSWORD}")]));
        }
        Self { pem: pem.to_owned() }
    }

    fn file(&self, form: Form) -> PathBuf {
        match form {
            Form::Pem => self.pem.clone(),
            Form::Pkcs12 => self.pem.with_extension("p12"),
            Form::Pkcs12Legacy => self.pem.with_extension("legacy.p12"),
        }
    }
}

/// A user's folder in which Mono finds the gateway's authority.
fn home_that_trusts(authority: &Path) -> PathBuf {
    let home = authority.with_file_name("home");
    let trust = home.join(".config/.mono/new-certs/Trust");
    if !trust.is_dir() {
        let hash = Command::new("openssl").args(["x509", "-noout", "-subject_hash", "-in"]).arg(authority).output();
        let hash = String::from_utf8(hash.unwrap().stdout).unwrap();
        fs::create_dir_all(&trust).unwrap();
        fs::copy(authority, trust.join(format!("{}.0", hash.trim()))).unwrap();
    }
    home
}

/// What every sample must print: what the project's own client is answered.
fn expected(harness: &Harness) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // Before the samples run, so that the folder is made once.
    home_that_trusts(&harness.deployment.site.gateway_authority());
    let shown = runtime.block_on(async {
        let client = harness.client_over(SYSTEM, Http::Two);
        client.send(post(LOOKUP, Some("assessment"), &keys_of_hoa())).await.unwrap().json()
    });
    assert_eq!(shown["full_name"], HOA.full_name);
    assert_eq!(shown.get("phone"), None);
    let mut lines = Vec::new();
    flatten("", &shown, &mut lines);
    lines.sort();
    lines
}

fn flatten(name: &str, value: &Value, lines: &mut Vec<String>) {
    let below = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
    match value {
        Value::Object(members) => members.iter().for_each(|(key, member)| flatten(&below(key), member, lines)),
        Value::Array(members) => {
            members.iter().enumerate().for_each(|(at, member)| flatten(&below(&at.to_string()), member, lines));
        }
        Value::String(text) => lines.push(format!("{name}: {text}")),
        other => lines.push(format!("{name}: {other}")),
    }
}

/// The right name, issued by an authority that the gateway does not know.
fn certificate_of_another_authority(harness: &Harness) -> Identity {
    let site = &harness.deployment.site;
    let life = Validity::days(Timestamp::now(), 30);
    let folder = site.dir().join("another");
    fs::create_dir(&folder).unwrap();
    let authority = Authority::create(&folder, "another", life).unwrap();
    let subject = Subject { uri: Some(format!("spiffe://gov.vn/{SYSTEM}")), ..Subject::default() };
    Identity::of(&site.write_identity("another", &authority.issue_client(&subject, life).unwrap()).unwrap())
}

fn every_folder_is_here(samples: &[Sample]) {
    let entries = fs::read_dir(source("")).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<_> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    let mut named: Vec<_> = samples.iter().map(|sample| source(sample.name)).collect();
    named.sort();
    assert_eq!(folders, named, "a folder of deploy/samples/ is not run here");
}

fn source(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/samples").join(file)
}

fn need(probe: &[&str], package: &str) {
    let found = Command::new(probe[0]).args(&probe[1..]).output().is_ok_and(|output| output.status.success());
    assert!(found, "`{}` fails: install {package}, or run tests/run, which does", probe.join(" "));
}

fn compile(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

const CONTRACT: &str = "contracts/population.openapi.yaml";
const GSON: &str = "/usr/share/java/gson.jar";
const PASSWORD: &str = "changeit";
