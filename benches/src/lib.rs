//! What it costs.
//!
//! `benches/` holds criterion benches a stage; `src/bin/whole.rs` measures the whole gateway process under load. README.md says
//! how to read them.
