//! DataFusion's logical plan to our own small operators.
