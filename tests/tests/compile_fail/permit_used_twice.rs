//! A permit opens one record.

use popgate_policy::disclose::{Secrets, Raw};
use popgate_policy::permit::Permit;

fn twice(permit: Permit, one: &Raw, other: &Raw, key: &Secrets) {
    let _ = permit.open(one, key);
    let _ = permit.open(other, key); //~ E0382
}

fn main() {}
