//! The whole program from outside: the real binary, real clients, kill -9.

// In a test an unwrap that fails is the failure.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod crash;
mod doctor;
mod errors;
mod filling;
mod follower;
mod postgres;
mod postgres_checker;
mod postgres_failover;
mod postgres_flow;
mod postgres_large;
mod postgres_pgbench;
mod postgres_shop;
mod program;
mod python;
mod server;
mod slt;
mod tidy;
