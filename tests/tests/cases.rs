//! Promise: the cases beside the reference bundle say what every sector gets, all of them go as they say, every policy is exercised by
//! one, and no policy that a case needs can be taken out unnoticed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use popgate::app::bundle_files;
use popgate_demo::deployment::reference_bundle;
use popgate_policy::bundle::{Bundle, Source};
use popgate_policy::cases::Cases;
use popgate_tests::build;
use serde_json::Value;

#[test]
fn every_policy_of_the_reference_bundle_is_exercised_and_every_case_goes_as_it_says() {
    let bundle = reference_bundle();
    let output = test(&bundle, &["--require-coverage", "100", "--json"]);
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let wrong: Vec<&Value> = said["tried"].as_array().unwrap().iter().filter(|tried| tried["passed"] != true).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!((output.status.code(), &said["ok"]), (Some(0), &Value::Bool(true)));
    let cases: BTreeSet<&str> =
        said["tried"].as_array().unwrap().iter().map(|tried| tried["case"].as_str().unwrap()).collect();
    assert!(cases.len() >= 60, "{} cases", cases.len());
    let policies = said["coverage"]["policies"].as_array().unwrap();
    assert!(policies.len() >= 150, "{} policies", policies.len());
    for policy in policies {
        assert!(policy["idle"].is_null(), "{} does nothing: {}", policy["id"], policy["idle"]);
    }
    let printed = String::from_utf8(test(&bundle, &[]).stdout).unwrap();
    assert!(printed.starts_with("all as expected: "), "{printed}");
    assert!(printed.contains("coverage: 100 % ("), "{printed}");
}

#[test]
fn a_policy_that_cases_need_cannot_be_taken_out_unnoticed() {
    let source = bundle_files::read(&reference_bundle()).unwrap();
    let written = bundle_files::read_cases(&reference_bundle()).unwrap();
    let bundle = Bundle::load(&source).unwrap().bundle;
    let cases = Cases::load(&written, &bundle).unwrap();
    let report = cases.run(&bundle, None);
    let needed: Vec<_> = report.coverage.policies.iter().filter(|policy| !policy.needed_by.is_empty()).collect();
    assert!(needed.len() * 10 >= report.coverage.policies.len() * 9, "only {} policies are needed", needed.len());
    for policy in needed.iter().step_by(9) {
        let without = taken_out(&source, &policy.policy.file, policy.policy.line);
        let bundle = Bundle::load(&without).unwrap().bundle;
        assert_eq!(bundle.engine().policies().len() + 1, report.coverage.policies.len());
        let report = Cases::load(&written, &bundle).unwrap();
        let report = report.run(&bundle, None);
        let failed: BTreeSet<&str> =
            report.tried.iter().filter(|it| !it.failures.is_empty()).map(|it| it.case.name.as_str()).collect();
        for case in &policy.needed_by {
            assert!(failed.contains(case.name.as_str()), "`{}` goes well without `{}`", case.name, policy.policy.id);
        }
    }
}

#[test]
fn a_case_that_does_not_go_as_it_says_is_told_by_field_with_the_policies_that_decided() {
    let folder = copied();
    let bundle = folder.path();
    edit(&bundle.join("policies/telecom.cedar"), "@mask(\"year\")", "@mask(\"month\")");
    let output = test(bundle, &["--case", "telecom-sees-hints-of-a-subscriber"]);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{printed}");
    for part in [
        "telecom-sees-hints-of-a-subscriber (cases/telecom.toml:3), telecom-a/crm",
        "  Citizen.date_of_birth: expected mask year, got mask month",
        "      telecom-year-only (policies/telecom.cedar:15): permits",
        "3 not as expected: 1 case, asked by 3 systems",
    ] {
        assert!(printed.contains(part), "{part} in {printed}");
    }
}

#[test]
fn what_no_case_exercises_and_what_can_do_nothing_is_listed_and_fails_if_so_required() {
    let folder = copied();
    let more = "\n@id(\"nobody\") @basis(\"x\")\npermit (principal in Sector::\"telecom\", action == Action::\"citizen.lookup\", \
                resource == Field::\"Citizen.sex\") when { context.purpose == Purpose::\"statistics\" };\n\
                @id(\"never\") @basis(\"x\")\npermit (principal in Sector::\"telecom\", action == Action::\"citizen.lookup\", \
                resource == Field::\"Citizen.sex\") when { context.env.hour < 5 && context.env.hour > 6 };\n\
                @id(\"again\") @basis(\"x\") @mask(\"match\")\npermit (principal in Agency::\"telecom-b\", action == Action::\"citizen.lookup\", \
                resource == Field::\"Citizen.full_name\") when { context.purpose == Purpose::\"subscriber-verification\" };\n\
                @id(\"overruled\") @basis(\"x\")\npermit (principal in Sector::\"telecom\", action == Action::\"citizen.lookup\", \
                resource == Field::\"Citizen.religion\") when { context.purpose == Purpose::\"subscriber-verification\" };\n\
                @id(\"missed\") @basis(\"x\")\npermit (principal in Sector::\"education\", action == Action::\"citizen.lookup\", \
                resource == Field::\"Citizen.phone\") when { context.purpose == Purpose::\"examination\" };\n";
    let file = folder.path().join("policies/telecom.cedar");
    fs::write(&file, fs::read_to_string(&file).unwrap() + more).unwrap();
    let output = test(folder.path(), &["--require-coverage", "99"]);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{printed}");
    let line =
        |id: &str| printed.lines().find(|line| line.contains(id) && line.contains("does nothing")).unwrap_or_default();
    for (id, why) in [
        ("nobody", "no system that it is for may use what it is about"),
        ("never", "its conditions never hold"),
        ("again", "others do as much: `telecom-subscriber-matched`"),
        ("overruled", "others forbid it: `sensitive-where-law-names-it`"),
    ] {
        assert!(line(id).contains(why), "{id} in {printed}");
    }
    assert!(printed.contains("no case exercises missed (policies/telecom.cedar:"), "{printed}");
    assert_eq!(line("missed"), "", "{printed}");
    assert_eq!(test(folder.path(), &["--require-coverage", "97"]).status.code(), Some(0));
}

#[test]
fn mistakes_in_cases_and_on_the_command_line_are_told() {
    let folder = copied();
    edit(&folder.path().join("cases/telecom.toml"), "\"Citizen.phone\" = \"last3\"", "\"Citizen.fone\" = \"last3\"");
    let output = test(folder.path(), &[]);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(printed.contains("did you mean `Citizen.phone`?"), "{printed}");
    let output = test(&reference_bundle(), &["--case", "nobody"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("there is no case `nobody`"));
    assert_eq!(test(&reference_bundle(), &["--require-coverage", "101"]).status.code(), Some(2));
}

#[test]
fn cases_and_readmes_change_nothing_of_a_bundle() {
    let folder = copied();
    let digest = || Bundle::load(&bundle_files::read(folder.path()).unwrap()).unwrap().bundle.digest();
    let before = digest();
    fs::remove_dir_all(folder.path().join("cases")).unwrap();
    fs::write(folder.path().join("policies/README.md"), "another\n").unwrap();
    fs::write(folder.path().join("agencies/README.md"), "another\n").unwrap();
    assert_eq!(digest(), before);
}

fn test(bundle: &Path, more: &[&str]) -> Output {
    Command::new(build::popgate()).args(["policy", "test"]).arg(bundle).args(more).output().unwrap()
}

fn copied() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(&reference_bundle(), folder.path());
    folder
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir_all(&to).unwrap();
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn edit(file: &Path, old: &str, new: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(old), "{} has no {old}", file.display());
    fs::write(file, text.replacen(old, new, 1)).unwrap();
}

/// The files without the policy that begins on that line.
fn taken_out(source: &Source, file: &str, line: usize) -> Source {
    let mut source = source.clone();
    let text = source.files.get_mut(file).unwrap();
    let start: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let end = text[start..].find("\n@id").map_or(text.len(), |at| start + at);
    // Comments between the policies go too.
    text.replace_range(start..end, "");
    source
}
