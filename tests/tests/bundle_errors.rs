//! Promise: whatever is wrong with a bundle, its author is told where it stands, what was typed and what to do about it.
//!
//! Each row edits a small bundle that is right (in `bundle_errors/base/`) in one place. To add a row, add it to the table of its kind.

use popgate_policy::bundle::{Bundle, Source};
use popgate_policy::problem::{Problem, Severity};

mod contracts;
mod directory;
mod lists;
mod policies;
mod roles;
mod schemas;
mod wholes;

/// A bundle that is wrong in one place.
struct Row {
    /// What is wrong.
    name: &'static str,
    edit: Edit,
    severity: Severity,
    /// The code of the problem.
    code: &'static str,
    /// The file of the problem.
    file: &'static str,
    /// A part of the line where the problem is found, after the edit; empty where the whole file is meant.
    line: &'static str,
    /// What message or help must say.
    says: &'static [&'static str],
}

/// A change of the base bundle.
enum Edit {
    /// In a file, for a text that stands there once.
    Replace(&'static str, &'static str, &'static str),
    /// A file more, or a file instead.
    Write(&'static str, &'static str),
    /// A file less.
    Remove(&'static str),
}

const CONTRACT: &str = "contracts/population.openapi.yaml";
const AGENCY: &str = "agencies/tax.toml";
const PURPOSES: &str = "purposes.toml";

fn base() -> Source {
    let mut source = Source::default();
    for (path, text) in [
        (CONTRACT, include_str!("bundle_errors/base/contracts/population.openapi.yaml")),
        (AGENCY, include_str!("bundle_errors/base/agencies/tax.toml")),
        (PURPOSES, include_str!("bundle_errors/base/purposes.toml")),
        ("policies/tax.cedar", include_str!("bundle_errors/base/policies/tax.cedar")),
    ] {
        source.files.insert(path.to_owned(), text.to_owned());
    }
    source
}

fn edited(row: &Row) -> Source {
    let mut source = base();
    if row.file == lists::LISTS {
        source.files.insert(lists::LISTS.to_owned(), lists::TEXT.to_owned());
    }
    match row.edit {
        Edit::Replace(file, old, new) => {
            let text = source.files.entry(file.to_owned()).or_default();
            assert_eq!(text.matches(old).count(), 1, "{}: `{old}` must stand once in {file}", row.name);
            *text = text.replace(old, new);
        }
        Edit::Write(file, text) => {
            source.files.insert(file.to_owned(), text.to_owned());
        }
        Edit::Remove(file) => {
            assert!(source.files.remove(file).is_some(), "{}: no {file}", row.name);
        }
    }
    source
}

fn check(row: &Row) -> Result<(), String> {
    let source = edited(row);
    let problems = match Bundle::load(&source) {
        Ok(loaded) if row.severity == Severity::Error => return Err(format!("it was accepted: {:?}", loaded.warnings)),
        Ok(loaded) => loaded.warnings,
        Err(problems) => problems,
    };
    let listed = || problems.iter().map(|problem| format!("\n{problem}")).collect::<String>();
    // Other files may be wrong as a consequence (a policy that names an operation which could not be read); the same file may not.
    let here: Vec<&Problem> = problems.iter().filter(|problem| problem.file == row.file).collect();
    let [problem] = here[..] else {
        return Err(format!("{} problems in {} instead of one:{}", here.len(), row.file, listed()));
    };
    let text = source.files.get(row.file).map(String::as_str).unwrap_or_default();
    let shown = problem.at.and_then(|(line, _)| text.lines().nth(line - 1)).unwrap_or_default();
    let right_place = row.line.is_empty() || shown.contains(row.line);
    let said = format!("{} {}", problem.message, problem.help.as_deref().unwrap_or_default());
    let unsaid: Vec<&&str> = row.says.iter().filter(|part| !said.contains(**part)).collect();
    match () {
        () if problem.code != row.code || problem.severity != row.severity => {
            Err(format!("not {}:{}", row.code, listed()))
        }
        () if !right_place => Err(format!("not where `{}` stands:{}", row.line, listed())),
        () if !unsaid.is_empty() => Err(format!("does not say {unsaid:?}:{}", listed())),
        () if problem.at.is_some_and(|at| at != (1, 1)) && problem.text.is_none() => {
            Err(format!("the offending text is not shown:{}", listed()))
        }
        () => Ok(()),
    }
}

fn check_all(rows: &[Row]) {
    let wrong: Vec<String> =
        rows.iter().filter_map(|row| Some(format!("--- {}: {}", row.name, check(row).err()?))).collect();
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

#[test]
fn the_base_bundle_is_accepted_without_a_warning() {
    match Bundle::load(&base()) {
        Ok(loaded) => assert_eq!(loaded.warnings, []),
        Err(problems) => panic!("{problems:#?}"),
    }
}

#[test]
fn the_base_bundle_with_lists_is_accepted_without_a_warning() {
    let mut source = base();
    source.files.insert(lists::LISTS.to_owned(), lists::TEXT.to_owned());
    match Bundle::load(&source) {
        Ok(loaded) => assert_eq!(loaded.warnings, []),
        Err(problems) => panic!("{problems:#?}"),
    }
}

#[test]
fn every_mistake_in_a_contract_is_shown_where_it_stands() {
    check_all(&contracts::rows());
}

#[test]
fn every_mistake_in_a_schema_is_shown_where_it_stands() {
    check_all(&schemas::rows());
}

#[test]
fn every_mistake_in_a_list_is_shown_where_it_stands() {
    check_all(&lists::rows());
}

#[test]
fn every_mistake_in_a_role_is_shown_where_it_stands() {
    check_all(&roles::rows());
}

#[test]
fn every_mistake_in_a_bulk_or_a_whole_field_is_shown_where_it_stands() {
    check_all(&wholes::rows());
}

#[test]
fn every_mistake_in_the_directory_is_shown_where_it_stands() {
    check_all(&directory::rows());
}

#[test]
fn every_mistake_in_a_policy_is_shown_where_it_stands() {
    check_all(&policies::rows());
}

#[test]
fn mistakes_of_all_files_are_shown_at_once_in_the_order_of_the_files() {
    let mut source = base();
    for (file, old, new) in [
        (CONTRACT, "[month, year]", "[month, yaer]"),
        (CONTRACT, "x-gateway-class: basic", "x-gateway-class: secret"),
        (AGENCY, "200/s", "200/sec"),
        (PURPOSES, "[\"case\"]", "[\"cases\"]"),
    ] {
        let text = source.files.get_mut(file).unwrap();
        *text = text.replace(old, new);
    }
    let problems = Bundle::load(&source).unwrap_err();
    let codes: Vec<&str> = problems.iter().map(|problem| problem.code).collect();
    assert_eq!(codes, ["bad-rate", "unknown-mask", "unknown-class", "unknown-requirement"]);
}

#[test]
fn a_problem_reads_as_one_can_mend_it() {
    let row = Row {
        name: "",
        edit: Edit::Replace(CONTRACT, "x-gateway-masks: [month, year]", "x-gateway-masks: [month, yaer]"),
        severity: Severity::Error,
        code: "unknown-mask",
        file: CONTRACT,
        line: "yaer",
        says: &[],
    };
    let problems = Bundle::load(&edited(&row)).unwrap_err();
    assert_eq!(
        problems[0].to_string(),
        "error[unknown-mask] contracts/population.openapi.yaml:63:106: there is no mask `yaer`\n    | yaer\n    = did you mean `year`?"
    );
}
