//! `popgate check` and what a table may say.

use std::fs;
use std::path::Path;

use popgate::app::config::Config;
use popgate_demo::deployment::{Options, Site};
use popgate_tests::node::run;

const REFERENCE: &str = include_str!("../../../deploy/gateway.toml");

#[test]
fn the_examples_of_the_reference_configuration_are_good() {
    // An example's lines are indented by three: tables and keys, not the prose between them.
    let uncommented: Vec<&str> = REFERENCE
        .lines()
        .filter_map(|line| line.strip_prefix("#   "))
        .filter(|line| line.starts_with("[plugins.") || line.split_once('=').is_some_and(|(key, _)| is_key(key.trim())))
        .collect();
    let from = uncommented.iter().position(|line| line.starts_with("[plugins.")).unwrap();
    let consent = "\n[registers.consent]\nendpoints = [\"https://10.2.0.1\"]\nca = \"ca.pem\"\n";
    let text = format!("{REFERENCE}{consent}{}\n", uncommented[from..].join("\n"));
    let config =
        Config::parse(&text, Path::new("/etc/popgate/gateway.toml"), 1).unwrap_or_else(|errors| panic!("{errors}"));
    let names: Vec<&str> = config.plugins.iter().map(|plugin| &*plugin.name).collect();
    assert_eq!(names, ["bank-hours", "networks", "opt-out", "consent"]);
    // What they name is in the reference bundle.
    let source = popgate::app::bundle_files::read(&popgate_demo::deployment::reference_bundle()).unwrap();
    let bundle = popgate_policy::bundle::Bundle::load(&source).unwrap().bundle;
    for plugin in &config.plugins {
        assert_eq!(plugin.unknown_in(&bundle), [], "{}", plugin.name);
    }
}

fn is_key(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

#[test]
fn check_finds_a_tables_mistakes_and_warns_of_names_that_the_bundle_does_not_have() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::make(dir.path()).unwrap();
    let check = |settings: &str| {
        let options = Options { settings: settings.to_owned(), ..Options::default() };
        let written = site.write_config(std::net::SocketAddr::from(([127, 0, 0, 1], 9)), &options);
        let output = run(&["check", "--config", site.config_file().to_str().unwrap()]);
        assert_eq!(written.is_ok(), output.status.success());
        let text = fs::read_to_string(site.config_file()).unwrap();
        let first = text.lines().position(|line| line.starts_with("[plugins.")).unwrap() + 1;
        (first, String::from_utf8(output.stdout).unwrap())
    };
    let hours = "[plugins.hours]\nkind = \"office-hours\"\napplies_to = { agencies = [\"taxs\"], sectors = [\"tax\"], \
                 operations = [\"citizen.raed\"], purposes = [\"assesment\"] }\nweekdays = [\"mon\"]\nfrom = \"08:00\"\n\
                 to = \"17:00\"\nwithhold = [\"contacts\", \"Citizen.phnoe\", \"contact\"]\n";
    let (first, said) = check(hours);
    assert!(said.contains("1 operator, 1 plugin\n"), "{said}");
    assert_eq!(said.matches("[plugin-names-nothing]").count(), 5, "{said}");
    for (line, says, help) in [
        (2, "the bundle has no agency `taxs`", "did you mean `tax`?"),
        (2, "the bundle has no operation `citizen.raed`", "did you mean `citizen.read`?"),
        (2, "the bundle has no purpose `assesment`", "did you mean `assessment`?"),
        (6, "the bundle has no group `contacts`", "did you mean `contact`?"),
        (6, "the bundle has no field `Citizen.phnoe`", "did you mean `Citizen.phone`?"),
    ] {
        let place = format!("  {}:", first + line);
        let found = said.lines().position(|shown| shown.starts_with(&place) && shown.contains(says));
        let found = found.unwrap_or_else(|| panic!("{place} {says}: {said}"));
        assert!(said.lines().skip(found).take(3).any(|shown| shown.contains(help)), "{help}: {said}");
    }
    let (first, said) = check("[plugins.c]\nkind = \"consent\"\nregister = \"consent\"\npath = \"/c/{number}\"\n");
    assert!(said.contains(&format!("  {}:12 error: there is no section `[registers.consent]`", first + 2)), "{said}");
}
