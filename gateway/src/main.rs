//! The `popgate` command.

fn main() {}
