//! A closing and a ticket are had from the log and from the gate alone, and close once.

use popgate::admit::Ticket;
use popgate::audit::{Audit, Closing, Outcome, Pending};

fn pending() -> Pending {
    Pending(todo!()) //~ E0423
}

fn duplicate(closing: &Closing, ticket: &Ticket) -> (Closing, Ticket) {
    (<Closing as Clone>::clone(closing), <Ticket as Clone>::clone(ticket)) //~ E0277
}

fn twice(closing: Closing) {
    closing.close(Outcome::Aborted);
    closing.close(Outcome::Aborted); //~ E0382
}

fn log() -> Audit {
    Audit(todo!()) //~ E0423
}

fn main() {}
