//! Promise: an operator who follows `deploy/bundle/policies/README.md` sees what it shows: reading a policy, asking who sees a field,
//! a first rule with its mistakes, cases, a change told before it is live, a candidate beside live traffic, signatures, and the way back.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use popgate::app::Running;
use popgate::pki::{Client as Subject, Validity};
use popgate_demo::client::{Client, Http, post};
use popgate_demo::deployment::{OPERATORS, Options, Register, Site, reference_bundle};
use popgate_demo::scenario::{LOOKUP, keys_of_hoa};
use popgate_tests::guide::{Step, bash, steps, with_outputs};
use popgate_tests::{build, eventually};

#[tokio::test]
async fn every_step_prints_what_it_shows() {
    let page = fs::read_to_string(reference_bundle().join("policies/README.md")).unwrap();
    let mut reader = Reader::new();
    for step in steps(&page) {
        match step {
            Step::Note { said, block } => reader.does(&said, &block).await,
            Step::Run { command, .. } => reader.types(&command),
        }
    }
    assert!(reader.printed.len() >= 20, "the commands of the tutorial are not found");
    let now = with_outputs(&page, reader.printed.iter().map(String::as_str));
    if let Some(gateway) = reader.gateway {
        gateway.drain().await;
    }
    let differ = |(shown, printed): &(String, String)| shown != printed;
    if let Some((shown, printed)) = told(&page).into_iter().zip(told(&now)).find(differ) {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("policies-README.md");
        fs::write(&file, &now).unwrap();
        panic!("the tutorial shows\n{shown}\nwhere is printed\n{printed}\nas it is now: {}", file.display());
    }
    assert_eq!(told(&page).len(), told(&now).len());
}

/// The lines without what is another at each run: times, digests, ids and keys, also within a line of JSON, the port, who runs it, and whether
/// the gateway saw by itself that its folder had changed.
fn told(page: &str) -> Vec<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || ":.+-/=".contains(c);
    let part = |word: &str| {
        let digits = word.bytes().any(|byte| byte.is_ascii_digit());
        let is_hex = digits && word.len() >= 12 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let known = [("https://localhost:", "(node)"), ("local:", "(user)"), ("ed25519:", "(key)")];
        match known.iter().find(|(start, _)| word.starts_with(start)) {
            Some((_, name)) => (*name).to_owned(),
            None if is_hex || word.parse::<Timestamp>().is_ok() => "(number)".to_owned(),
            None => word.to_owned(),
        }
    };
    let line = |line: &str| {
        let mut told = String::new();
        let mut rest = line.strip_prefix("nothing changed: ").unwrap_or(line);
        while let Some(first) = rest.chars().next() {
            let end = rest.find(|c: char| is_part(c) != is_part(first)).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            told += &if is_part(first) { part(word) } else { word.to_owned() };
            rest = after;
        }
        told
    };
    page.lines().map(line).collect()
}

/// Somebody who does what the tutorial says.
struct Reader {
    folder: tempfile::TempDir,
    site: Site,
    register: Register,
    gateway: Option<Running>,
    /// What each command printed.
    printed: Vec<String>,
}

impl Reader {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let site = Site::make(&folder.path().join("site")).unwrap();
        let register = Register::start(&site).unwrap();
        fs::create_dir(folder.path().join("home")).unwrap();
        // What is in force is a link, so that another is put there at once.
        fs::rename(site.bundle(), folder.path().join("first")).unwrap();
        std::os::unix::fs::symlink(folder.path().join("first"), site.bundle()).unwrap();
        site.write_config(register.address, &Options::default()).unwrap();
        Self { folder, site, register, gateway: None, printed: Vec::new() }
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    fn types(&mut self, command: &str) {
        let printed = self.runs(command);
        self.printed.push(printed);
    }

    fn runs(&self, command: &str) -> String {
        let binary = build::popgate().parent().unwrap();
        let places = self.places();
        let here = places.iter().fold(command.to_owned(), |text, (name, place)| text.replace(name, place));
        let home = self.home();
        let here = format!("export HOME='{}' USER=an; {here}", home.display());
        let printed = bash(&here, &home, Some(binary));
        places.iter().fold(printed, |text, (name, place)| text.replace(place, name))
    }

    /// What the tutorial calls a place, and where that is.
    fn places(&self) -> [(&'static str, String); 4] {
        let dir = self.site.dir().display().to_string();
        [
            ("/etc/popgate/gateway.toml", self.site.config_file().display().to_string()),
            ("/var/lib/popgate/state", format!("{dir}/state")),
            ("/etc/popgate", dir),
            ("~", self.home().display().to_string()),
        ]
    }

    /// Does what a note says.
    async fn does(&mut self, said: &str, block: &str) {
        match said.split_once(' ') {
            Some(("write", file)) => fs::write(self.home().join(file), block).unwrap(),
            Some(("add", rest)) => {
                let file = self.home().join(rest.strip_prefix("to ").unwrap());
                let before = fs::read_to_string(&file).unwrap();
                fs::write(file, before + block).unwrap();
            }
            _ if said == "the gateway requires signatures" => self.start(),
            _ if said == "a telecom asks" => self.asks().await,
            _ => panic!("nobody knows what to do at `{said}`"),
        }
    }

    /// Starts a gateway with the keys that were made, over the first bundle, signed by both.
    fn start(&mut self) {
        let keys = ["an", "binh"].map(|name| {
            let lines = self.printed.iter().flat_map(|printed| printed.lines());
            lines.rev().find(|line| line.starts_with(&format!("{name} = "))).unwrap().to_owned()
        });
        let first = [
            "popgate bundle build /etc/popgate/bundle --first --note 'the first bundle'",
            "popgate bundle sign /etc/popgate/bundle --key an.key",
            "popgate bundle sign /etc/popgate/bundle --key binh.key",
        ];
        for command in first {
            self.runs(command);
        }
        let bundle = format!("require_signatures = true\n[bundle.keys]\n{}\n", keys.join("\n"));
        let operator =
            "[admin.operators.an]\nidentity = \"spiffe://gov.vn/operator/an\"\nroles = [\"viewer\", \"sre\"]\n";
        let settings = format!("[shadow]\npath = \"candidate\"\n{operator}");
        let options = Options { bundle, settings, ..Options::default() };
        let gateway = self.site.start_gateway(self.register.address, &options).unwrap();
        let life = Validity::days(Timestamp::now(), 1);
        let uri = Some("spiffe://gov.vn/operator/an".to_owned());
        let subject = Subject { uri, common_name: "an".into(), ..Subject::default() };
        let issued = self.site.authority(OPERATORS).unwrap().issue_client(&subject, life).unwrap();
        self.site.write_identity("operator-an", &issued).unwrap();
        let own = self.site.dir().join("clients/operator-an.pem").display().to_string();
        let ca = self.site.gateway_authority().display().to_string();
        let config = self.home().join(".config/popgate");
        fs::create_dir_all(&config).unwrap();
        let url = format!("https://localhost:{}", gateway.admin().unwrap().port());
        let node = format!("node = \"{url}\"\ncert = \"{own}\"\nkey = \"{own}\"\nca = \"{ca}\"\n");
        fs::write(config.join("node.toml"), node).unwrap();
        self.gateway = Some(gateway);
    }

    /// A telecom looks somebody up while a candidate runs.
    async fn asks(&self) {
        let gateway = self.gateway.as_ref().unwrap();
        let shadow = || gateway.node().shadow.as_ref().unwrap().status();
        eventually("the candidate runs", || shadow().digest.is_some()).await;
        let client = Client::new(gateway.https(), &self.site.credentials("telecom-a/crm").unwrap(), Http::One).unwrap();
        let answer = client.send(post(LOOKUP, Some("subscriber-verification"), &keys_of_hoa())).await.unwrap();
        assert_eq!(answer.status, 200);
        eventually("it is compared", || shadow().compared == 1).await;
    }
}
