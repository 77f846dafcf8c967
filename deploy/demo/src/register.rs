//! The synthetic population register: about 100 million citizens that cost no storage.
//!
//! Every record is a pure function of the 12-digit identity number. A number decodes to one member of one household
//! (see `household`), so relatives are computed, not looked up, and every pointer points back. Nobody in it is real.
//!
//! [`serve`] answers `GET /persons/{number}` over TLS with client certificates; [`Faults`] makes it misbehave, in the
//! same process only.

pub mod citizen;
pub mod cli;
pub mod demo;
pub mod faults;
pub mod number;
pub mod population;
pub mod province;

mod answer;
mod body;
mod household;
mod name;
mod residence;
mod server;

pub use citizen::Citizen;
pub use faults::{Fault, Faults, Framing};
pub use number::{Number, Sex};
pub use server::{RegisterError, serve, server_config};

/// The day on which ages are counted: records have no clock.
pub const REFERENCE_DATE: jiff::civil::Date = jiff::civil::date(LAST_YEAR + 1, 1, 1);

/// The last year that the register has seen.
pub(crate) const LAST_YEAR: i16 = 2025;

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
