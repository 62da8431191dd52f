//! The viewfeed program: one binary that is the server and its tools.

mod cli;
mod client;
mod clock;
mod command;
mod config;
mod gateway;
mod modules;
mod output;
mod pipeline;
mod program;
mod session;
mod sources;
mod status;

use clap::Parser;
use std::process::ExitCode;

/// What a row costs on its way is to a good part asking for memory and giving it back: see docs/benchmarks.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    match command::run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::print_error(&error);
            output::exit_code(&error)
        }
    }
}
