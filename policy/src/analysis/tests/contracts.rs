//! Changes of contracts: how freely one may ask, and whose numbers are hidden.

use std::path::Path;

use super::*;
use crate::bundle::Source;
use crate::contract::{Class, Contracts, ParamIx, Pushdown, RecordSchema, Reference};
use crate::engine::fixture::{World, show};
use crate::model::{FieldIx, FieldSet};

/// A contract of the reference bundle, with one text replaced in it; its one agency may do little.
fn reference(file: &str, old: &str, new: &str) -> Arc<Bundle> {
    let name = format!("contracts/{file}.openapi.yaml");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/bundle");
    let text = std::fs::read_to_string(folder.join(&name)).unwrap();
    assert!(text.contains(old), "{file} has `{old}`");
    let agency = "name = { vi = \"t\", en = \"t\" }\nsector = \"tax\"\nlevel = \"central\"\npurposes = [\"work\"]\n\
                  [systems.desk]\nidentity = \"spiffe://gov.test/tax\"\nlimits = { rate = \"1/s\", burst = 1, concurrent = 1 }\n";
    let files = [
        (name, text.replacen(old, new, 1)),
        ("purposes.toml".to_owned(), "[work]\nname = { vi = \"w\", en = \"w\" }\nbasis = \"Law 1\"\n".to_owned()),
        ("agencies/tax.toml".to_owned(), agency.to_owned()),
        ("policies/a.cedar".to_owned(), policy("a", "permit(principal, action, resource in Group::\"identity\");")),
    ];
    Bundle::load(&Source { files: files.into() }).unwrap_or_else(|problems| panic!("{}", show(&problems))).bundle
}

fn said_otherwise(old: &Bundle, new: &Bundle) -> (Verdict, Vec<(Direction, String)>) {
    let found = diff(old, new);
    assert!(found.changes.is_empty(), "the policies show what they showed: {:?}", said(&found));
    (found.verdict, found.aspects.into_iter().map(|aspect| (aspect.direction, aspect.said)).collect())
}

#[test]
fn whoever_may_ask_more_freely_widens_and_each_freedom_is_named() {
    let plain = reference("population", "openapi", "openapi");
    for (old, new, wider, forth, back) in [
        (
            "required: [date_of_birth, province_code]",
            "required: [province_code]",
            Direction::Widens,
            "operation `citizen.search` no longer requires `date_of_birth`",
            "operation `citizen.search` now requires `date_of_birth`",
        ),
        (
            "minLength: 1\n                  maxLength: 200\n",
            "minLength: 1\n                  maxLength: 300\n",
            Direction::Widens,
            "operation `citizen.search` bounds `full_name` by `maxLength` 300 (was 200)",
            "operation `citizen.search` bounds `full_name` by `maxLength` 200 (was 300)",
        ),
        (
            "maximum: 100\n                  x-gateway-role: limit",
            "maximum: 500\n                  x-gateway-role: limit",
            Direction::Widens,
            "operation `citizen.search` bounds `limit` by `maximum` 500 (was 100)",
            "operation `citizen.search` bounds `limit` by `maximum` 100 (was 500)",
        ),
        (
            "enum: [male, female]\n                  maxLength: 6\n                  x-gateway-field",
            "enum: [male]\n                  maxLength: 6\n                  x-gateway-field",
            Direction::Narrows,
            "operation `citizen.search` bounds `sex` by `enum` [\"male\"] (was [\"male\",\"female\"])",
            "operation `citizen.search` bounds `sex` by `enum` [\"male\",\"female\"] (was [\"male\"])",
        ),
        (
            "pattern: '^[0-9]{3}$'\n                  maxLength: 3\n",
            "maxLength: 3\n",
            Direction::Widens,
            "operation `citizen.search` bounds `province_code` by `pattern` none (was `^[0-9]{3}$`)",
            "operation `citizen.search` bounds `province_code` by `pattern` `^[0-9]{3}$` (was none)",
        ),
        (
            "pattern: '^[0-9]{3}$'\n                  maxLength: 3\n",
            "pattern: '^0[0-9]{2}$'\n                  maxLength: 3\n",
            Direction::Both,
            "operation `citizen.search` bounds `province_code` by `pattern` `^0[0-9]{2}$` (was `^[0-9]{3}$`)",
            "operation `citizen.search` bounds `province_code` by `pattern` `^[0-9]{3}$` (was `^0[0-9]{2}$`)",
        ),
        (
            "required: [date_of_birth, province_code]\n",
            "required: [date_of_birth, province_code]\n              minProperties: 3\n",
            Direction::Narrows,
            "operation `citizen.search` bounds a body by `minProperties` 3 (was none)",
            "operation `citizen.search` bounds a body by `minProperties` none (was 3)",
        ),
    ] {
        let other = reference("population", old, new);
        let ways = [wider, opposite(wider)]
            .map(|way| if way == Direction::Narrows { Verdict::Narrows } else { Verdict::Widens });
        assert_eq!(said_otherwise(&plain, &other), (ways[0], vec![(wider, forth.to_owned())]), "{new}");
        assert_eq!(said_otherwise(&other, &plain), (ways[1], vec![(opposite(wider), back.to_owned())]), "{new}");
    }
    // What is said of a contract and changes nothing that can be asked.
    let same = reference("population", "description: The full name; letter case", "description: Names; letter case");
    assert_eq!(said_otherwise(&plain, &same), (Verdict::Equal, vec![]));
}

fn opposite(direction: Direction) -> Direction {
    match direction {
        Direction::Widens => Direction::Narrows,
        Direction::Narrows => Direction::Widens,
        other => other,
    }
}

#[test]
fn a_register_that_filters_otherwise_goes_both_ways() {
    let text = policy("a", "permit(principal, action == Action::\"citizen.search\", resource in Group::\"contact\");");
    let old = of(World::new(&text), &text);
    let new = with(&text, |contracts| {
        let search = Arc::get_mut(&mut contracts.operations[4]).unwrap();
        search.pushdown = Some(Pushdown { attribute: 0, parameter: ParamIx(1) });
    });
    let said = |old: &str, new: &str| {
        (
            Verdict::Widens,
            vec![(Direction::Both, format!("operation `citizen.search` has its register filter by {new} (was {old})"))],
        )
    };
    let filtered = "`record.province` through `full_name`";
    assert_eq!(said_otherwise(&old, &new), said("nothing", filtered));
    assert_eq!(said_otherwise(&new, &old), said(filtered, "nothing"));
}

#[test]
fn sensitive_fields_that_can_be_asked_for_more_freely_need_a_reason() {
    let sees = |group: &str| {
        let text = policy(
            "a",
            &format!(
                "permit(principal in Agency::\"tax\", action == Action::\"citizen.search\", resource in Group::\"{group}\");"
            ),
        );
        let free = |contracts: &mut Contracts| {
            Arc::get_mut(&mut contracts.operations[4]).unwrap().parameters[0].required = false;
        };
        let found = diff(&of(World::new(&text), &text), &with(&text, free));
        assert_eq!(found.verdict, Verdict::Widens);
        found.sensitive
    };
    assert_eq!(sees("belief"), ["Citizen.religion"]);
    assert_eq!(sees("contact"), Vec::<String>::new());
}

#[test]
fn a_number_that_no_longer_hides_its_sealed_person_widens() {
    let plain = reference("civil-status", "openapi", "openapi");
    let lost = reference("civil-status", "          x-gateway-person: [Birth.father_full_name]\n", "");
    let is = |way, said: &str| {
        (if way == Direction::Widens { Verdict::Widens } else { Verdict::Narrows }, vec![(way, said.to_owned())])
    };
    assert_eq!(
        said_otherwise(&plain, &lost),
        is(Direction::Widens, "`Birth.father_id` is no longer another person's number: shown of a sealed person too")
    );
    assert_eq!(
        said_otherwise(&lost, &plain),
        is(Direction::Narrows, "`Birth.father_id` is now another person's number: not shown of a sealed person")
    );
    let alone = reference("civil-status", "x-gateway-person: [Birth.father_full_name]", "x-gateway-person: true");
    assert_eq!(
        said_otherwise(&plain, &alone),
        is(Direction::Widens, "`Birth.father_full_name` no longer goes with the person of `Birth.father_id`")
    );
    assert_eq!(said_otherwise(&alone, &plain).0, Verdict::Narrows);
}

#[test]
fn a_record_that_need_no_longer_have_a_field_is_shown_more_often() {
    let plain = reference("civil-status", "openapi", "openapi");
    let strict = |required: &str| {
        let old = "      x-gateway-subject: id\n";
        reference("civil-status", old, &format!("{old}      x-gateway-strict: true\n      required: [{required}]\n"))
    };
    let said = |way, verb: &str, fields: &str| {
        (
            if way == Direction::Widens { Verdict::Widens } else { Verdict::Narrows },
            vec![(way, format!("operation `birth.lookup` {verb} a record without {fields}"))],
        )
    };
    let (one, two) = (strict("id"), strict("id, full_name"));
    assert_eq!(said_otherwise(&plain, &one), said(Direction::Narrows, "now refuses", "`Birth.id`"));
    assert_eq!(said_otherwise(&two, &one), said(Direction::Widens, "no longer refuses", "`Birth.full_name`"));
    let both = "`Birth.full_name`, `Birth.id`";
    assert_eq!(said_otherwise(&two, &plain), said(Direction::Widens, "no longer refuses", both));
}

#[test]
fn another_subject_goes_both_ways_and_every_record_of_a_name_is_compared() {
    let text = policy("a", &format!("{PHONE};"));
    let old = of(World::new(&text), &text);
    let new = with(&text, |contracts| {
        // The record of one operation alone: another contract's version of it.
        change_record(contracts, 1, |record| record.subject = FieldIx(9));
    });
    let expected =
        (Direction::Both, "a record `Citizen` is about the person of `Citizen.old_number` (was `Citizen.id`)");
    assert_eq!(said_otherwise(&old, &new), (Verdict::Widens, vec![(expected.0, expected.1.to_owned())]));
    let referring = |leaf| {
        with(&text, |contracts| {
            let reference = Reference { leaf: FieldIx(leaf), with: FieldSet::EMPTY, within: FieldSet::EMPTY };
            change_record(contracts, 1, |record| {
                record.references = vec![reference];
                record.fields[9].class = Class::Sensitive;
            });
        })
    };
    let found = diff(&referring(9), &referring(8));
    assert_eq!((found.verdict, found.sensitive), (Verdict::Widens, vec!["Citizen.old_number".to_owned()]));
}

/// A bundle whose contracts were changed.
pub(super) fn with(text: &str, change: impl FnOnce(&mut Contracts)) -> Arc<Bundle> {
    let mut changed = contracts();
    change(&mut changed);
    changed.records = changed.operations.iter().map(|operation| Arc::clone(&operation.record)).collect();
    let world = World::with(changed, directory(), text).unwrap_or_else(|problems| panic!("{problems:?}"));
    // Bundles of one name are one.
    Bundle::of_parts(&format!("{text}{:?}", world.contracts), world.contracts, world.directory, world.engine)
}

pub(super) fn change_record(contracts: &mut Contracts, operation: usize, change: impl FnOnce(&mut RecordSchema)) {
    let operation = Arc::get_mut(&mut contracts.operations[operation]).unwrap();
    let mut record = RecordSchema::clone(&operation.record);
    change(&mut record);
    operation.record = Arc::new(record);
}
