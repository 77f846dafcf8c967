//! The synthetic registers: the population, about 100 million citizens that cost no storage; their health insurance and
//! their civil status, which say the same of each.
//!
//! Every record is a pure function of the 12-digit identity number. A number decodes to one member of one household
//! (see `household`), so relatives are computed, not looked up, and every pointer points back. Nobody in it is real.
//!
//! | register | answers |
//! |---|---|
//! | population | `GET /persons/{number}`, `/persons/{number}/household`, `/persons/{number}/portrait`, `/persons?...` |
//! | health-insurance | `GET /cards/{number}` |
//! | civil-status | `GET /births/{number}`, `/marriages/{number}`, `/deaths/{number}` |
//!
//! The population can also be read from PostgreSQL ([`database`]), with the same answers.
//!
//! [`serve`] answers over TLS with client certificates; [`Faults`] makes a register misbehave, in the same process only.

pub mod citizen;
pub mod civil_status;
pub mod cli;
pub mod database;
pub mod demo;
pub mod faults;
pub mod health_insurance;
pub mod number;
pub mod population;
pub mod portrait;
pub mod province;

mod answer;
mod birthday;
mod body;
mod household;
mod life;
mod name;
mod residence;
mod search;
mod server;
mod service;
mod synthetic;

pub use citizen::Citizen;
pub use faults::{Fault, Faults, Framing};
pub use number::{Number, Sex};
pub use server::{RegisterError, serve, serve_one, server_config};
pub use service::{Service, Source};

/// The day on which ages are counted: records have no clock.
pub const REFERENCE_DATE: jiff::civil::Date = jiff::civil::date(LAST_YEAR + 1, 1, 1);

/// The last year that the register has seen.
pub(crate) const LAST_YEAR: i16 = 2025;

/// Compact JSON, UTF-8.
pub(crate) fn json(record: &impl serde::Serialize) -> Vec<u8> {
    let mut json = Vec::with_capacity(2048);
    // Writing to a Vec cannot fail, and no type here refuses to be written.
    let _ = serde_json::to_writer(&mut json, record);
    json
}

/// A well-mixed 64-bit value of `seed` and `salt` (the finaliser of SplitMix64, Steele et al. 2014); not secret.
pub(crate) const fn draw(seed: u64, salt: u64) -> u64 {
    let mut z = seed.wrapping_add(salt.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Whether a draw falls in the first `per_mille` thousandths.
pub(crate) const fn chance(seed: u64, salt: u64, per_mille: u64) -> bool {
    draw(seed, salt) % 1000 < per_mille
}

/// One entry of a list that is not empty, by a draw.
pub(crate) fn pick(list: &'static [&'static str], seed: u64, salt: u64) -> &'static str {
    let len = (list.len() as u64).max(1);
    list.get((draw(seed, salt) % len) as usize).copied().unwrap_or_default()
}
