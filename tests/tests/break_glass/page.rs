//! `deploy/BREAK-GLASS.md`: its commands do what it says.

use super::*;

#[tokio::test]
async fn every_command_of_the_page_runs() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/BREAK-GLASS.md");
    let page = fs::read_to_string(page).unwrap();
    let commands: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("$ popgate ")).collect();
    let (keys, rest): (Vec<&str>, Vec<&str>) =
        commands.into_iter().partition(|command| command.starts_with("break-glass key "));
    assert!(keys.len() == 2 && rest.len() == 9, "{keys:?} {rest:?}");
    let desk = tempfile::tempdir().unwrap();
    let mut settings = "\n[break_glass]\nsite = \"pop-hn-1\"\n[break_glass.keys]\n".to_owned();
    for command in keys {
        let said = run(command, desk.path());
        settings += &format!("{}\n", said.lines().find(|line| line.contains("ed25519:")).unwrap());
    }
    let harness = Harness::start_with(&settings);
    let site = &harness.deployment.site;
    let mut session = harness.session("health/registry").await;
    for command in rest {
        let here = command.replace("/etc/popgate/gateway.toml", site.config_file().to_str().unwrap());
        let said = run(&here.replace("/var/lib/popgate/audit", site.audit().to_str().unwrap()), desk.path());
        match command.split(' ').nth(1).unwrap() {
            "activate" => drop(soon(&mut session, "ok").await),
            "end" => drop(soon(&mut session, "purpose_not_enrolled").await),
            // `popgate audit show`.
            "show" if command.starts_with("audit") => assert!(said.contains("health/registry"), "{said}"),
            _ => {}
        }
    }
    let (_, said) = local(site, &["list"]);
    assert_eq!(said, "no order is in force, and none waits for its review\n");
}

/// What a command prints in a folder; it must succeed.
fn run(command: &str, folder: &Path) -> String {
    let line = format!("{} {command}", build::popgate().display());
    let output = std::process::Command::new("bash").args(["-c", &line]).current_dir(folder).output().unwrap();
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap()).concat();
    assert!(output.status.success(), "$ popgate {command}\n{said}");
    said
}
