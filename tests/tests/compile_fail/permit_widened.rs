//! Nothing of a permit can be changed once it was given.

use popgate_policy::model::{DisclosureId, FieldSet};
use popgate_policy::permit::Permit;

fn widen(permit: &mut Permit) {
    permit.widest = FieldSet::EMPTY; //~ E0616
}

fn of_another_table(permit: &mut Permit, other: &Permit) {
    permit.table = other.table.clone(); //~ E0616
    permit.outcome = other.outcome.clone(); //~ E0616
}

fn about_somebody_else(permit: &mut Permit, other: &Permit) {
    permit.arguments = other.arguments.clone(); //~ E0616
    permit.upstream = other.upstream.clone(); //~ E0616
}

fn of_another_disclosure(permit: &mut Permit, disclosure: DisclosureId) {
    permit.disclosure = disclosure; //~ E0616
}

fn unlimited(permit: &mut Permit) {
    permit.limits = None; //~ E0616
}

fn main() {}
