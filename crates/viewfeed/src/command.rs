//! The commands: one file each. Each takes its arguments and prints; what is printed how is `output`'s business.

mod bench;
mod call;
mod check;
mod doctor;
mod serve;
mod sql;
mod status;
mod tail;

use crate::cli::{Arguments, Command, Serve};
use viewfeed_change::{Error, Result};

/// Runs what was asked for.
pub(crate) fn run(arguments: Arguments) -> Result<()> {
    let command = arguments
        .command
        .unwrap_or_else(|| Command::Serve(Serve::default()));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::internal("the runtime could not be started").because(error))?;
    let done = match command {
        Command::Serve(arguments) => runtime.block_on(serve::run(arguments)),
        Command::Sql(arguments) => runtime.block_on(sql::run(arguments)),
        Command::Tail(arguments) => runtime.block_on(tail::run(arguments)),
        Command::Call(arguments) => runtime.block_on(call::run(arguments)),
        Command::Check(arguments) => check::run(&arguments),
        Command::Status(arguments) => runtime.block_on(status::run(arguments)),
        Command::Doctor(arguments) => runtime.block_on(doctor::run(arguments)),
        Command::Bench(arguments) => runtime.block_on(bench::run(arguments)),
    };
    // A thread that waits on stdin must not keep the program alive.
    runtime.shutdown_background();
    done
}
