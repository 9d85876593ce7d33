//! The deadpeer command.
fn main() {}
