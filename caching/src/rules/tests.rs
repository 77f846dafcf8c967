//! What is promised of the rules as a whole.

mod reusing;
mod storing;
mod updating;
mod world;
