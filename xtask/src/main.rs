//! Repeatable work.
fn main() {}
