//! The whole program from outside: the real binary, real clients, kill -9.

mod crash;
mod program;
mod python;
mod server;
mod tidy;
