//! Values: which type of ours a type of Postgres becomes, and how its text and binary forms are read.

use serde::{Deserialize, Serialize};

/// How the values of a column are read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ValueType {
    /// As the text that Postgres shows: every type that has no better form here.
    Text,
}
