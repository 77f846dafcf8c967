//! A receipt cannot be made, cloned or changed outside the writer of the log.

use popgate::audit::Receipt;
use popgate_policy::model::DisclosureId;

fn attest(disclosure: DisclosureId) -> Receipt {
    Receipt::attest(disclosure, 0) //~ E0624
}

fn duplicate(receipt: &Receipt) -> Receipt {
    <Receipt as Clone>::clone(receipt) //~ E0277
}

fn reuse(receipt: &mut Receipt, disclosure: DisclosureId) {
    receipt.disclosure = disclosure; //~ E0616
}

fn main() {}
