//! viewfeed
fn main() {}
