//! Audit: the durable record without which nothing leaves.
//!
//! A disclosure's intent (the widest that its permit allows) is made durable before the first byte of the answer is released; the
//! [`Receipt`] is the proof. A closing record says afterwards what was really shown; it is not awaited, but its slot was
//! reserved with the intent, so it can always be written, also from `Drop`.
