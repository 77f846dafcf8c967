//! Masks of two contracts: which of them shows more.

use super::contracts::{change_record, with};
use super::*;
use crate::engine::mirror::{Change as Told, Mirror, Named};
use crate::model::{FieldIx, MaskKind, Treatment};

/// Telecoms see the birth date through one mask, of those that the contract allows in that order.
fn masked(mask: &str, ladder: &[MaskKind]) -> Arc<Bundle> {
    let text = policy(
        "a",
        &format!(
            "@mask(\"{mask}\") permit(principal in Sector::\"telecom\", action == Action::\"citizen.read\", resource == Field::\"Citizen.date_of_birth\");"
        ),
    );
    with(&text, |contracts| {
        for at in [0, 1, 2, 4] {
            change_record(contracts, at, |record| record.fields[2].masks = ladder.to_vec());
        }
    })
}

const BY_DAY: &[MaskKind] = &[MaskKind::Month, MaskKind::Year];
const REVERSED: &[MaskKind] = &[MaskKind::Year, MaskKind::Month];

#[test]
fn masks_that_two_contracts_order_otherwise_are_not_settled_by_one_of_them() {
    let (year, month) = (masked("year", BY_DAY), masked("month", REVERSED));
    for (old, new) in [(&year, &month), (&month, &year)] {
        let found = diff(old, new);
        assert_eq!(
            (found.verdict, found.changes[0].direction),
            (Verdict::Widens, Direction::Both),
            "{:?}",
            said(&found)
        );
    }
    // Nor where one of them does not know the other's mask.
    let only = masked("year", &[MaskKind::Year]);
    assert_eq!(diff(&only, &masked("month", REVERSED)).changes[0].direction, Direction::Both);
    // Where they agree, one hides more; and what is no mask needs no order.
    assert_eq!(diff(&masked("month", BY_DAY), &year).verdict, Verdict::Narrows);
    assert_eq!(diff(&year, &masked("match", REVERSED)).verdict, Verdict::Narrows);
    assert_eq!(diff(&masked("year", REVERSED), &year).verdict, Verdict::Equal, "the order alone shows nothing");
}

#[test]
fn nothing_is_proven_of_masks_that_two_contracts_order_otherwise() {
    let (year, month) = (masked("year", BY_DAY), masked("month", REVERSED));
    let found = obligations(&year, &month);
    assert_eq!(found.unordered.iter().collect::<Vec<_>>(), ["Citizen.date_of_birth"]);
    assert!(found.beyond.iter().any(|said| said.starts_with("what is masked of `Citizen.date_of_birth`")), "{found:?}");
    assert!(obligations(&masked("year", &[MaskKind::Year]), &month).unordered.len() == 1);
    // A mask that the old contract did not allow gave nothing by the same policy.
    let group =
        "@mask(\"year\") permit(principal, action == Action::\"citizen.read\", resource in Group::\"identity\");";
    let ladder = |masks: &[MaskKind]| {
        with(&policy("a", group), |contracts| {
            change_record(contracts, 0, |record| record.fields[1].masks = masks.to_vec())
        })
    };
    let found = obligations(&ladder(&[]), &ladder(&[MaskKind::Year]));
    assert_eq!(found.unordered.iter().collect::<Vec<_>>(), ["Citizen.full_name"]);
    for (old, new) in [(masked("month", BY_DAY), year), (masked("year", REVERSED), masked("year", BY_DAY))] {
        assert!(obligations(&old, &new).unordered.is_empty());
    }
}

#[test]
fn a_request_that_gets_a_mask_of_another_order_counts_as_shown_more() {
    let named = Named { system: "mobi/kyc", exchange: None, operation: "citizen.read", purpose: "subscriber" };
    let found = |bundle: Arc<Bundle>| Mirror::of(bundle).find(named).unwrap();
    let (live, reversed) = (found(masked("year", BY_DAY)), found(masked("month", REVERSED)));
    let (year, month) = (Treatment::Mask(MaskKind::Year), Treatment::Mask(MaskKind::Month));
    let field = FieldIx(2);
    assert_eq!(reversed.change(field, Some(&live), year, month), Told::More);
    assert_eq!(reversed.change(field, Some(&live), month, year), Told::More);
    assert_eq!(reversed.change(field, None, year, month), Told::More, "nobody knows what the other says");
    assert_eq!(live.change(field, Some(&live), month, year), Told::Less);
    assert_eq!(reversed.change(field, Some(&live), year, year), Told::Same);
    assert_eq!(reversed.change(field, Some(&live), Treatment::Reveal, month), Told::Less);
    assert_eq!(reversed.change(field, Some(&live), month, Treatment::Match), Told::Less);
}
