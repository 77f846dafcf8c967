//! A permit cannot be made outside the policy crate: not from parts, not from another permit.

use popgate_policy::bundle::Bundle;
use popgate_policy::permit::Permit;

fn by_default() -> Permit {
    Permit::default() //~ E0599
}

fn duplicate(permit: &Permit) -> Permit {
    <Permit as Clone>::clone(permit) //~ E0277
}

fn without_asking(bundle: &Bundle) -> Permit {
    bundle.decide().unwrap() //~ E0061
}

fn main() {}
