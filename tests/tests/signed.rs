//! Promise: where signatures are required nothing comes into force but what enough people signed: one for what only narrows, two for
//! the rest; no older version comes back but by a rollback that is recorded; what was last in force stays, also over a restart; and
//! who changed what a field shows, and why, can be told afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::{HeaderValue, StatusCode};
use jiff::Timestamp;
use popgate::app::node::{Node, ReloadError};
use popgate::app::{Running, StartError};
use popgate::audit::{Action, What, read};
use popgate::pki::{Client as Subject, Validity};
use popgate_demo::client::{Client, Http, get};
use popgate_demo::deployment::{DeploymentError, OPERATORS, Options, Register, Site};
use popgate_demo::register::demo::HOA;
use popgate_policy::bundle::Digest;
use popgate_tests::{build, eventually, node};
use serde_json::{Value, json};

const POLICY: &str = "policies/tax.cedar";
/// What the tax department sees at first: name and birth date.
const FIRST: &str = r#"
@id("tax-number") @basis("Law, art. 1") @mask("match")
permit (principal in Agency::"tax", action == Action::"citizen.read", resource == Field::"Citizen.id");
@id("tax-name") @basis("Law, art. 1")
permit (principal in Agency::"tax", action == Action::"citizen.read", resource == Field::"Citizen.full_name");
@id("tax-born") @basis("Law, art. 2")
permit (principal in Agency::"tax", action == Action::"citizen.read", resource == Field::"Citizen.date_of_birth");
"#;

/// A sensitive field more.
const SEX: &str = r#"
@id("tax-sex") @basis("Law, art. 3")
permit (principal in Agency::"tax", action == Action::"citizen.read", resource == Field::"Citizen.sex");
"#;

/// A site with a small bundle in a folder of its own for each version, and people who sign.
struct Shop {
    dir: tempfile::TempDir,
    site: Site,
    register: Register,
    options: Options,
}

impl Shop {
    fn new(required: bool) -> Self {
        build::popgate();
        let dir = tempfile::tempdir().unwrap();
        let site = Site::make(&dir.path().join("site")).unwrap();
        let register = Register::start(&site).unwrap();
        let mut bundle = format!("require_signatures = {required}\n[bundle.keys]\n");
        for name in ["an", "binh", "stranger"] {
            let file = dir.path().join(format!("{name}.key"));
            let (good, said) = popgate(&["bundle", "key", name, "--out", text(&file)]);
            assert!(good && said.contains("for [bundle.keys] in gateway.toml:"), "{said}");
            if name != "stranger" {
                bundle += said.lines().find(|line| line.starts_with(name)).unwrap();
                bundle += "\n";
            }
        }
        let operator = |(name, role): (&str, &str)| {
            format!(
                "\n[admin.operators.{name}]\nidentity = \"spiffe://gov.vn/operator/{name}\"\nroles = [\"{role}\"]\n"
            )
        };
        let settings = [("vy", "viewer"), ("hanh", "author"), ("son", "sre")].map(operator).concat();
        for name in ["vy", "hanh", "son"] {
            let uri = Some(format!("spiffe://gov.vn/operator/{name}"));
            let subject = Subject { uri, common_name: name.into(), ..Subject::default() };
            let life = Validity::days(Timestamp::now(), 1);
            let issued = site.authority(OPERATORS).unwrap().issue_client(&subject, life).unwrap();
            site.write_identity(&format!("operator-{name}"), &issued).unwrap();
        }
        fs::remove_dir_all(site.bundle()).unwrap();
        let shop = Self { dir, site, register, options: Options { bundle, settings, ..Options::default() } };
        let first = shop.version("1");
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bundle_errors/base"), &first);
        edit(&first, "agencies/tax.toml", |toml| toml.replace("10.20.0.0/16", "127.0.0.0/8"));
        edit(&first, "purposes.toml", |toml| toml.replace("requires    = [\"case\"]\n", ""));
        edit(&first, "contracts/population.openapi.yaml", |yaml| {
            yaml.replace("sex: { type: string, ", "sex: { type: string, x-gateway-class: sensitive, ")
        });
        fs::write(first.join(POLICY), FIRST).unwrap();
        shop.publish("1");
        shop
    }

    /// The folder of a version.
    fn version(&self, name: &str) -> PathBuf {
        self.dir.path().join("versions").join(name)
    }

    /// A new version, made of an older one by an edit of its policies.
    fn author(&self, name: &str, from: &str, edited: impl FnOnce(String) -> String) -> PathBuf {
        let (old, new) = (self.version(from), self.version(name));
        copy(&old, &new);
        let _ = fs::remove_file(new.join("manifest.json"));
        edit(&new, POLICY, edited);
        new
    }

    fn build(&self, name: &str, arguments: &[&str]) -> (bool, String) {
        let dir = self.version(name);
        popgate(&[&["bundle", "build", text(&dir)], arguments].concat())
    }

    fn sign(&self, name: &str, keys: &[&str]) {
        for key in keys {
            let (dir, key) = (self.version(name), self.dir.path().join(format!("{key}.key")));
            let (good, said) = popgate(&["bundle", "sign", text(&dir), "--key", text(&key)]);
            assert!(good && said.contains("signed as "), "{said}");
        }
    }

    /// Makes the site's bundle that version, in one step.
    fn publish(&self, name: &str) {
        let next = self.dir.path().join("next");
        std::os::unix::fs::symlink(self.version(name), &next).unwrap();
        fs::rename(&next, self.site.bundle()).unwrap();
    }

    fn start(&self) -> Result<Running, DeploymentError> {
        self.site.start_gateway(self.register.address, &self.options)
    }

    /// Why the gateway does not start, as code and message.
    fn refused(&self) -> String {
        match self.start() {
            Err(DeploymentError::Start(StartError::Load(error))) => said(&error),
            other => panic!("not refused: {other:?}"),
        }
    }

    fn config(&self) -> String {
        self.site.config_file().to_str().unwrap().to_owned()
    }

    /// On the node itself.
    fn local(&self, arguments: &[&str]) -> (bool, String) {
        popgate(&[arguments, &["--config", &self.config()]].concat())
    }

    /// Over the admin listener, as an operator.
    fn remote(&self, gateway: &Running, operator: &str, arguments: &[&str]) -> (bool, String) {
        let url = format!("https://localhost:{}", gateway.admin().unwrap().port());
        let file = self.site.dir().join(format!("clients/operator-{operator}.pem"));
        let (file, ca) = (text(&file), self.site.gateway_authority());
        popgate(&[arguments, &["--node", &url, "--cert", file, "--key", file, "--ca", text(&ca)]].concat())
    }

    /// The operators' actions in the log, as `by what target: reason`.
    fn actions(&self) -> Vec<String> {
        let entries = read::entries(&self.site.audit(), None).unwrap().map(Result::unwrap);
        let actions = entries.filter_map(|entry| match entry.what {
            What::Action(action) => Some(*action),
            _ => None,
        });
        let line = |Action { by, what, target, reason, .. }: Action| format!("{by} {what} {target}: {reason}");
        actions.map(line).collect()
    }
}

fn popgate(arguments: &[&str]) -> (bool, String) {
    let output = node::run(arguments);
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap()).concat();
    assert!(!said.contains("panicked"), "{arguments:?}: {said}");
    (output.status.success(), said)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn edit(bundle: &Path, file: &str, edited: impl FnOnce(String) -> String) {
    let before = fs::read_to_string(bundle.join(file)).unwrap();
    let after = edited(before.clone());
    assert_ne!(before, after, "{file}");
    fs::write(bundle.join(file), after).unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let copied = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &copied);
        } else {
            fs::copy(&path, &copied).unwrap();
        }
    }
}

fn said(error: &ReloadError) -> String {
    error
        .problems()
        .iter()
        .map(|problem| format!("{}: {}", problem.code, problem.message))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Why the folder's bundle does not come into force.
fn refused(node: &Arc<Node>) -> String {
    said(&node.reload_bundle().unwrap_err())
}

/// The version in force, once what is remembered is what decides.
fn in_force(node: &Node) -> Option<u64> {
    let entry = node.bundles.history().entries.pop().unwrap();
    entry.version.filter(|_| entry.digest == node.live().bundle.digest())
}

/// The members of the record that the tax department gets.
async fn shown(site: &Site, gateway: &Running) -> Vec<String> {
    let client = Client::new(gateway.https(), &site.credentials("tax/etax").unwrap(), Http::One).unwrap();
    let mut request = get(&format!("/population/v1/citizens/{}", HOA.number), Some("assessment"));
    request.headers_mut().insert("gateway-case", HeaderValue::from_static("T-1"));
    let answer = client.send(request).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", popgate_tests::refusal(&answer));
    let mut members: Vec<String> = answer.json().as_object().unwrap().keys().cloned().collect();
    members.sort();
    members
}

#[tokio::test]
async fn nothing_unsigned_comes_into_force_and_what_is_in_force_stays() {
    let shop = Shop::new(true);
    assert!(shop.refused().starts_with("manifest-missing: "), "{}", shop.refused());
    let (good, said) = shop.build("1", &["--first", "--note", "the first bundle"]);
    assert!(good && said.contains("version  1\n") && said.contains("nobody has signed; two people must"), "{said}");
    assert!(shop.refused().contains("it is by nobody"), "{}", shop.refused());

    // One person is one person, however often and under whatever name; a stranger is nobody.
    shop.sign("1", &["an", "an", "stranger"]);
    let (dir, key) = (shop.version("1"), shop.dir.path().join("an.key"));
    assert!(popgate(&["bundle", "sign", text(&dir), "--key", text(&key), "--name", "binh"]).0);
    let why = shop.refused();
    assert!(why.contains("must be signed by 2 different people") && why.contains("it is by an, and by a key"), "{why}");
    let (good, said) = shop.local(&["bundle", "verify", text(&dir)]);
    assert!(!good && said.contains("it may not come into force") && said.contains("signed   by an; 2 must"), "{said}");
    shop.sign("1", &["binh"]);
    let (good, said) = shop.local(&["bundle", "verify", text(&dir)]);
    assert!(good && said.ends_with("it may come into force\n"), "{said}");
    let gateway = shop.start().unwrap();
    let node = Arc::clone(gateway.node());
    assert_eq!(in_force(&node), Some(1));
    assert_eq!(shown(&shop.site, &gateway).await, ["date_of_birth", "full_name"]);
    assert_eq!(node.reload_bundle().unwrap(), Vec::<String>::new());

    // One changed byte.
    copy(&shop.version("1"), &shop.version("forged"));
    edit(&shop.version("forged"), POLICY, |text| text.replacen("art. 2", "art. 9", 1));
    shop.publish("forged");
    assert!(refused(&node).contains("bundle-changed: the bundle is not what was signed: `policies/tax.cedar` was"));
    fs::remove_file(shop.version("forged").join("manifest.json")).unwrap();
    assert!(refused(&node).starts_with("manifest-missing"));
    assert_eq!((in_force(&node), node.metrics.bundle_reloads.refused.get() >= 2), (Some(1), true));

    // What only narrows needs one.
    shop.author("2", "1", |text| text.replace("@id(\"tax-born\")", "@id(\"tax-born\") @mask(\"year\")"));
    let (good, said) = shop.build("2", &["--from", text(&shop.version("1")), "--note", "CR-2: the year is enough"]);
    assert!(good && said.contains("it only narrows") && said.contains("one person must"), "{said}");
    shop.publish("2");
    assert!(refused(&node).contains("too-few-signatures"));
    shop.sign("2", &["binh"]);
    node.reload_bundle().unwrap();
    assert_eq!(in_force(&node), Some(2));

    // What widens needs two, and a sensitive field a reason.
    shop.author("3", "2", |text| text + SEX);
    let second = shop.version("2");
    let from = ["--from", text(&second), "--note", "CR-3: sex for the tariff"];
    let (good, said) = shop.build("3", &from);
    assert!(!good && said.contains("sensitive `Citizen.sex`") && said.contains("--allow-widening"), "{said}");
    assert!(!shop.version("3").join("manifest.json").exists());
    let (good, said) = shop.build("3", &[&from[..], &["--allow-widening", "Decree 9/2026"]].concat());
    assert!(good && said.contains("it widens") && said.contains("two people must"), "{said}");
    shop.sign("3", &["an"]);
    shop.publish("3");
    let why = refused(&node);
    assert!(why.contains("must be signed by 2 different people (it widens): it is by an"), "{why}");
    assert_eq!(in_force(&node), Some(2));
    shop.sign("3", &["binh"]);
    node.reload_bundle().unwrap();
    assert_eq!(in_force(&node), Some(3));
    assert_eq!(shown(&shop.site, &gateway).await, ["date_of_birth", "full_name", "sex"]);

    // An older one does not come back by being put there, whoever signed it.
    shop.publish("2");
    assert!(refused(&node).contains("version-not-newer: the manifest has version 2, and version 3 was in force"));
    assert_eq!(in_force(&node), Some(3));

    // Over a restart the last good one stays, and the reason is told.
    gateway.drain().await;
    let gateway = shop.start().unwrap();
    let node = Arc::clone(gateway.node());
    assert_eq!(in_force(&node), Some(3));
    assert!(node.last_reload().bundle_problems.iter().any(|problem| problem.code == "version-not-newer"));
    let actions = shop.actions();
    let digest = node.live().bundle.digest();
    let third = format!("unknown install bundle {digest} version 3 signed by an, binh: CR-3: sex for the tariff; ");
    assert_eq!(actions.len(), 3, "{actions:#?}");
    assert_eq!(actions[2], third + "sensitive fields are widened: Decree 9/2026");
    gateway.drain().await;
}

#[tokio::test]
async fn a_bundle_that_was_signed_as_another_change_is_refused_and_who_signs_is_shown_the_change() {
    let shop = Shop::new(true);
    assert!(shop.build("1", &["--first", "--note", "the first bundle"]).0);
    let (first, an) = (shop.version("1"), shop.dir.path().join("an.key"));
    let sign = |name: &str, more: &[&str]| {
        let dir = shop.version(name);
        popgate(&[&["bundle", "sign", text(&dir), "--key", text(&an)], more].concat())
    };
    let (good, said) = sign("1", &[]);
    assert!(good && said.contains("change   it follows none: everything that it shows is new\n"), "{said}");
    shop.sign("1", &["binh"]);
    let gateway = shop.start().unwrap();
    let node = Arc::clone(gateway.node());

    // Two people work on the same bundle; what the second has made shows the day again that the first takes away.
    shop.author("2", "1", |text| text.replace("@id(\"tax-born\")", "@id(\"tax-born\") @mask(\"year\")"));
    assert!(shop.build("2", &["--from", text(&first), "--note", "CR-2: the year is enough"]).0);
    shop.author("3", "1", |text| text.replace("Law, art. 2", "Law, art. 2a"));
    let (good, said) = shop.build("3", &["--from", text(&first), "--note", "CR-3: another article", "--version", "3"]);
    assert!(good && said.contains("nobody sees anything else") && said.contains("one person must"), "{said}");
    // Each who signs is shown what it changes, where the bundle that it follows is at hand.
    let change = "change   it only narrows\n  - tax: Citizen.date_of_birth revealed → masked (year) for assessment";
    for (more, says) in [
        (&["--from", text(&first)][..], change),
        (&["--config", &shop.config()], change),
        (&[], "change   not shown: the bundle that it follows is not here ("),
    ] {
        let (good, said) = sign("2", more);
        assert!(good && said.contains(says) && said.contains("signed as an"), "{more:?}: {said}");
    }
    let (good, said) = sign("3", &["--from", text(&shop.version("2"))]);
    assert!(!good && said.contains("and the manifest follows ") && !said.contains("signed as"), "{said}");
    shop.sign("3", &["an", "binh"]);
    shop.publish("2");
    node.reload_bundle().unwrap();
    let (one, two) = (node.bundles.history().find("1").unwrap(), node.live().bundle.digest());
    shop.publish("3");
    let why = format!("follows-another: the manifest follows bundle {one}, and bundle {two} is in force");
    assert_eq!((refused(&node), in_force(&node)), (why.clone(), Some(2)));
    let (good, said) = shop.local(&["bundle", "verify", text(&shop.version("3"))]);
    assert!(
        !good && said.contains("[follows-another]") && said.contains("build it anew with `popgate bundle"),
        "{said}"
    );
    // Nor does it come into force over a restart.
    gateway.drain().await;
    let gateway = shop.start().unwrap();
    let node = Arc::clone(gateway.node());
    assert_eq!(in_force(&node), Some(2));
    assert!(node.last_reload().bundle_problems.iter().any(|problem| problem.code == "follows-another"));
    // Built again it says what it really changes, and needs who may sign that.
    let (good, said) = shop.build("3", &["--from", text(&shop.version("2")), "--note", "CR-3: another article"]);
    assert!(good && said.contains("it widens") && said.contains("two people must"), "{said}");
    shop.sign("3", &["an", "binh"]);
    node.reload_bundle().unwrap();
    assert_eq!(in_force(&node), Some(3));

    // After a rollback the next one follows what came back, and not what was rolled back.
    let (good, said) = shop.remote(&gateway, "son", &["bundle", "rollback", "2", "--reason", "INC-3"]);
    assert!(good, "{said}");
    assert_eq!(node.reload_bundle().unwrap(), Vec::<String>::new(), "the folder's is set aside");
    shop.author("4", "3", |text| text.replace("Law, art. 2a", "Law, art. 2b"));
    assert!(shop.build("4", &["--from", text(&shop.version("3")), "--note", "CR-4"]).0);
    shop.sign("4", &["an", "binh"]);
    shop.publish("4");
    assert!(refused(&node).starts_with("follows-another: "), "{}", refused(&node));
    let (good, said) = shop.local(&["bundle", "build", text(&shop.version("4")), "--from", "2", "--note", "CR-4"]);
    assert!(good && said.contains("version  4\n"), "{said}");
    shop.sign("4", &["an", "binh"]);
    node.reload_bundle().unwrap();
    assert_eq!(in_force(&node), Some(4));
    assert_eq!(node.reload_bundle().unwrap(), Vec::<String>::new(), "offered again, it stays");
    // One that follows none is a first one, and that there was.
    shop.author("5", "4", |text| text.replace("Law, art. 2b", "Law, art. 2c"));
    assert!(shop.build("5", &["--first", "--note", "CR-5", "--version", "5"]).0);
    shop.sign("5", &["an", "binh"]);
    shop.publish("5");
    assert!(refused(&node).starts_with("follows-another: the manifest follows none"), "{}", refused(&node));
    gateway.drain().await;
}

#[tokio::test]
async fn an_older_bundle_comes_back_by_name_alone_and_every_step_is_told() {
    let shop = Shop::new(true);
    assert!(shop.build("1", &["--first", "--note", "the first bundle"]).0);
    shop.sign("1", &["an", "binh"]);
    let gateway = shop.start().unwrap();
    let node = Arc::clone(gateway.node());
    shop.author("2", "1", |text| text.replace("@id(\"tax-born\")", "@id(\"tax-born\") @mask(\"year\")"));
    assert!(shop.build("2", &["--from", text(&shop.version("1")), "--note", "CR-2: the year is enough"]).0);
    shop.sign("2", &["binh"]);
    shop.publish("2");
    // By the operators who may.
    let (good, said) = shop.remote(&gateway, "vy", &["bundle", "reload"]);
    assert!(!good && said.contains("403 role_missing"), "{said}");
    let (good, said) = shop.remote(&gateway, "hanh", &["bundle", "reload"]);
    assert!(good && said.contains("version 2 is in force on https://"), "{said}");
    assert_eq!(in_force(&node), Some(2));
    let (good, said) = shop.remote(&gateway, "hanh", &["bundle", "rollback", "--reason", "INC-1"]);
    assert!(!good && said.contains("403 role_missing"), "{said}");

    // Back, beside the node.
    for (arguments, says) in [
        (&["bundle", "rollback", "7", "--reason", "INC-1"][..], "no bundle `7` was in force here"),
        (&["bundle", "rollback", "2", "--reason", "INC-1"], "is in force already"),
        (&["bundle", "rollback", "--reason", " "], "the reason is empty"),
    ] {
        let (good, said) = shop.local(arguments);
        assert!(!good && said.contains(says), "{said}");
    }
    let (good, said) = shop.local(&["bundle", "rollback", "--reason", "INC-1: the tariff needs the day"]);
    assert!(good && said.contains("ordered a rollback to bundle ") && said.contains(" version 1\n"), "{said}");
    eventually("it is in force", || in_force(&node) == Some(1)).await;
    assert!(shop.site.dir().join("state/bundles").join("rollback.json").metadata().is_err(), "it is ordered once");
    // The folder's does not come back by itself, nor by a restart.
    assert_eq!(node.reload_bundle().unwrap(), Vec::<String>::new());
    let (good, said) = shop.remote(&gateway, "son", &["bundle", "reload"]);
    assert!(good && said.starts_with("nothing changed: bundle "), "{said}");
    gateway.drain().await;
    let gateway = shop.start().unwrap();
    let node = Arc::clone(gateway.node());
    assert_eq!(in_force(&node), Some(1));

    // The next one is newer than all that were.
    shop.author("3", "1", |text| text.replace("Citizen.date_of_birth", "Citizen.residence.province_code"));
    let (good, said) = shop.local(&["bundle", "build", text(&shop.version("3")), "--from", "1", "--note", "CR-3"]);
    assert!(good && said.contains("version  3\n") && said.contains("it widens"), "{said}");
    shop.sign("3", &["an", "binh"]);
    shop.publish("3");
    node.reload_bundle().unwrap();
    assert_eq!(in_force(&node), Some(3));
    // And back again, over the admin listener.
    let (good, said) = shop.remote(&gateway, "son", &["bundle", "rollback", "2", "--reason", "INC-2"]);
    assert!(good && said.contains("version 2 is in force on "), "{said}");
    assert_eq!(in_force(&node), Some(2));

    // Every step is told, beside the node and over it alike.
    let (good, said) = shop.local(&["bundle", "list"]);
    let heads: Vec<Vec<&str>> =
        said.lines().filter(|line| line.contains("T")).map(|line| line.split_whitespace().collect()).collect();
    assert!(good && heads.len() >= 5, "{said}");
    assert!(said.starts_with("*     2  ") && said.contains("rollback by son") && said.contains("INC-2"), "{said}");
    assert_eq!(shop.remote(&gateway, "vy", &["bundle", "list"]), (true, said));
    let (_, said) = shop.local(&["bundle", "list", "--json"]);
    let listed: Value = serde_json::from_str(&said).unwrap();
    let steps: Vec<(&Value, &Value, &Value)> =
        listed["bundles"].as_array().unwrap().iter().map(|it| (&it["version"], &it["how"], &it["kept"])).collect();
    let step = |version: u64, how: &str| (json!(version), json!(how), json!(true));
    let expected = [step(1, "start"), step(2, "reload"), step(1, "rollback"), step(3, "reload"), step(2, "rollback")];
    assert_eq!(steps, expected.iter().map(|(a, b, c)| (a, b, c)).collect::<Vec<_>>());

    let (good, told) = shop.local(&["policy", "history", "Citizen.date_of_birth"]);
    for part in [
        "version 1",
        "the first bundle that is known",
        "policy `tax-born` names it, in policies/tax.cedar",
        "signed by an, binh",
        "why: CR-2: the year is enough",
        "revealed → masked (year) for assessment (citizen.read)",
        "`@mask(\"year\")` added",
        "why: INC-1: the tariff needs the day",
        "rollback by son",
    ] {
        assert!(good && told.contains(part), "{part} in {told}");
    }
    assert_eq!(shop.remote(&gateway, "vy", &["policy", "history", "Citizen.date_of_birth"]), (true, told));
    let (good, said) = shop.local(&["policy", "history", "Citizen.date_of_brith"]);
    assert!(!good && said.contains("did you mean `Citizen.date_of_birth`?"), "{said}");

    let (good, said) = shop.local(&["bundle", "export", "1", "--to", text(&shop.version("again"))]);
    assert!(good, "{said}");
    assert_eq!(fs::read_to_string(shop.version("again").join(POLICY)).unwrap(), FIRST);
    let (good, said) = shop.local(&["bundle", "verify", text(&shop.version("again"))]);
    assert!(!good && said.contains("version 1, and version 3 was in force"), "{said}");
    let actions = shop.actions();
    let back: Vec<&String> = actions.iter().filter(|line| line.contains(" rollback ")).collect();
    assert!(
        back.len() == 2 && back[0].starts_with("local:") && back[0].ends_with("INC-1: the tariff needs the day"),
        "{back:?}"
    );
    assert!(
        back[1].starts_with("son rollback bundle ") && back[1].ends_with(" version 2 signed by binh: INC-2"),
        "{back:?}"
    );
    assert_eq!(actions.len(), 5, "{actions:#?}");
    gateway.drain().await;
}

#[tokio::test]
async fn a_rollback_tells_what_it_shows_again_and_counts_only_who_may_sign_today() {
    let mut shop = Shop::new(true);
    edit(&shop.version("1"), POLICY, |text| text + SEX);
    assert!(shop.build("1", &["--first", "--note", "the first bundle"]).0);
    shop.sign("1", &["an", "binh"]);
    let gateway = shop.start().unwrap();
    shop.author("2", "1", |text| text.replace(SEX, ""));
    assert!(shop.build("2", &["--from", text(&shop.version("1")), "--note", "CR-2: no sex"]).0);
    shop.sign("2", &["binh"]);
    shop.publish("2");
    gateway.node().reload_bundle().unwrap();
    assert_eq!(in_force(gateway.node()), Some(2));

    let (good, said) = shop.remote(&gateway, "son", &["bundle", "rollback", "1", "--reason", "INC-1"]);
    assert!(good && said.contains("shows more again of the sensitive Citizen.sex\n"), "{said}");
    assert_eq!(in_force(gateway.node()), Some(1));
    let back = shop.actions().pop().unwrap();
    assert!(back.ends_with(": INC-1; shows more again of Citizen.sex"), "{back}");
    let (good, said) = shop.local(&["bundle", "list"]);
    assert!(good && said.contains("shows more again of the sensitive Citizen.sex\n"), "{said}");
    gateway.drain().await;

    // Who signed version 2 may no longer.
    let (good, said) = popgate(&["bundle", "key", "chi", "--out", text(&shop.dir.path().join("chi.key"))]);
    let chi = said.lines().find(|line| good && line.starts_with("chi")).unwrap();
    let others = shop.options.bundle.lines().filter(|line| !line.starts_with("binh"));
    shop.options.bundle = others.chain([chi]).collect::<Vec<_>>().join("\n") + "\n";
    let gateway = shop.start().unwrap();
    assert_eq!(in_force(gateway.node()), Some(1));
    let (good, said) = shop.remote(&gateway, "son", &["bundle", "rollback", "2", "--reason", "INC-2"]);
    assert!(!good && said.contains("is not known to be signed by as many of those in `[bundle.keys]`"), "{said}");
    assert_eq!(in_force(gateway.node()), Some(1));
    gateway.drain().await;
}

#[tokio::test]
async fn what_is_kept_is_not_exported_over_files_elsewhere() {
    let shop = Shop::new(false);
    let gateway = shop.start().unwrap();
    let (store, first) = (gateway.node().bundles.store().clone(), gateway.node().live().bundle.digest());
    let mut kept = store.load(&first).unwrap().source;
    gateway.drain().await;
    let out = shop.dir.path().join("out");
    let (good, said) = shop.local(&["bundle", "export", &first.to_string()[..12], "--to", text(&out)]);
    assert!(good && fs::read_to_string(out.join(POLICY)).unwrap() == FIRST, "{said}");
    // Whoever may write the state folder names a file elsewhere.
    kept.files.insert("../elsewhere.toml".into(), "x".into());
    let digest = Digest::of(&kept);
    store.keep(&kept, None).unwrap();
    let mut history = store.history().unwrap();
    history.entries.last_mut().unwrap().digest = digest;
    store.write_history(&history).unwrap();
    let out = shop.dir.path().join("out-2");
    let (good, said) = shop.local(&["bundle", "export", &digest.to_string()[..12], "--to", text(&out)]);
    assert!(!good && said.contains("`../elsewhere.toml`, which is not below its folder"), "{said}");
    assert!(!shop.dir.path().join("elsewhere.toml").exists());
}

#[tokio::test]
async fn without_required_signatures_bundles_are_kept_recorded_and_brought_back_all_the_same() {
    let shop = Shop::new(false);
    let gateway = shop.start().unwrap();
    let node = Arc::clone(gateway.node());
    let first = node.live().bundle.digest();
    assert_eq!(shown(&shop.site, &gateway).await, ["date_of_birth", "full_name"]);
    shop.author("2", "1", |text| text.replace("@id(\"tax-born\")", "@id(\"tax-born\") @mask(\"year\")"));
    shop.publish("2");
    node.reload_bundle().unwrap();
    let second = node.live().bundle.digest();
    assert_ne!(first, second);
    let kept = node.bundles.store().load(&first).unwrap().source;
    assert_eq!(kept.files[POLICY], FIRST);

    let (good, said) = shop.remote(&gateway, "son", &["bundle", "rollback", "--reason", "INC-1"]);
    assert!(good && said.contains(&format!("bundle {first} is in force on")), "{said}");
    node.reload_bundle().unwrap();
    assert_eq!(node.live().bundle.digest(), first, "the folder's is set aside");
    gateway.drain().await;
    let gateway = shop.start().unwrap();
    let node = Arc::clone(gateway.node());
    assert_eq!(node.live().bundle.digest(), first, "after a restart too");
    // Another one comes into force as ever.
    shop.author("3", "1", |text| text.replace("art. 2", "art. 22"));
    shop.publish("3");
    node.reload_bundle().unwrap();
    assert_eq!(in_force(&node), None);
    assert!(![first, second].contains(&node.live().bundle.digest()));
    let actions = shop.actions();
    assert_eq!(actions.len(), 3, "{actions:#?}");
    assert!(actions[1].starts_with(&format!("son rollback bundle {first}: INC-1")), "{actions:#?}");
    // With a mistake in it a gateway does not start: nothing says that what was in force is still wanted.
    gateway.drain().await;
    shop.author("4", "3", |text| text.replace("Citizen.full_name", "Citizen.ful_name"));
    shop.publish("4");
    assert!(shop.refused().contains("did you mean") || shop.refused().contains("ful_name"), "{}", shop.refused());
}
