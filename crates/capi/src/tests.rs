//! What C programs can do wrong.
