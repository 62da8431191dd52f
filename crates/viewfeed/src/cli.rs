//! The command line. What the flags mean is said here, once; what they default to, in `config`.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;

/// SQL views that stay true, served as live feeds.
#[derive(Parser)]
#[command(name = "viewfeed", version, about, propagate_version = true)]
pub(crate) struct Arguments {
    /// What to do; without it, the server starts with its defaults.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What to do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Start the server.
    Serve(Serve),
    /// Run SQL: a script given as argument or on stdin, or an interactive session.
    Sql(Sql),
    /// Print a table's or view's rows and then every change, as it happens.
    Tail(Tail),
    /// Call an rpc of any module, by reflection.
    Call(Call),
    /// Check a module folder and print what each rpc would do, without a server.
    Check(Check),
    /// Print what a server is running.
    Status(Status),
    /// Check whether a Postgres server is ready to be a source, and print what to run there if it is not.
    Doctor(Doctor),
    /// Measure this machine: latency and throughput of the whole program, beside what the disk alone can do.
    Bench(Bench),
}

/// Start the server.
#[derive(Args, Default)]
pub(crate) struct Serve {
    /// Where all state is kept [default: ./data].
    #[arg(long, env = "VIEWFEED_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// The folder of modules, watched for changes [default: ./modules].
    #[arg(long, env = "VIEWFEED_MODULES", value_name = "DIR")]
    pub(crate) modules: Option<PathBuf>,
    /// Where to listen [default: 127.0.0.1:7117].
    #[arg(long, env = "VIEWFEED_LISTEN", value_name = "HOST:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// `sync`: nothing acknowledged is ever lost. `relaxed:MS`: faster; a crash of the machine (not of the program) loses
    /// up to that many milliseconds [default: sync].
    #[arg(long, env = "VIEWFEED_DURABILITY", value_name = "MODE")]
    pub(crate) durability: Option<String>,
    /// How much history feeds can resume from, in MiB [default: 1024].
    #[arg(long, env = "VIEWFEED_RETAIN_MIB", value_name = "MIB")]
    pub(crate) retain_mib: Option<u64>,
    /// How old history may become, in minutes [default: 1440].
    #[arg(long, env = "VIEWFEED_RETAIN_MINUTES", value_name = "MINUTES")]
    pub(crate) retain_minutes: Option<u64>,
    /// Memory for the state, in MiB: what is cached of it, indexes and filters of its files, writes not yet in files
    /// [default: 256].
    #[arg(long, env = "VIEWFEED_CACHE_MIB", value_name = "MIB")]
    pub(crate) cache_mib: Option<u64>,
    /// How a new data folder stores the bulk of its state: `runs` (sorted files) or `sled` [default: runs].
    #[arg(long, env = "VIEWFEED_STATE", value_name = "FORM")]
    pub(crate) state: Option<String>,
    /// The largest request message, in KiB [default: 4096].
    #[arg(long, env = "VIEWFEED_MESSAGE_KIB", value_name = "KIB")]
    pub(crate) message_kib: Option<usize>,
    /// Web pages that may call: `local` for those of this machine, `*` for all, or a list such as https://app.example
    /// [default: local].
    #[arg(long, env = "VIEWFEED_ORIGINS", value_name = "LIST")]
    pub(crate) origins: Option<String>,
    /// `text` or `json` [default: text].
    #[arg(long, env = "VIEWFEED_LOG_FORMAT", value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
    /// A file with the same settings [default: viewfeed.toml, if it is there].
    #[arg(long, env = "VIEWFEED_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Which server to talk to, and how to print.
#[derive(Args, Clone)]
pub(crate) struct Remote {
    /// The server.
    #[arg(
        long,
        env = "VIEWFEED_SERVER",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:7117"
    )]
    pub(crate) server: String,
    /// Print JSON, one value a line.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Run SQL.
#[derive(Args)]
pub(crate) struct Sql {
    #[command(flatten)]
    pub(crate) remote: Remote,
    /// The schema (module) in which names are looked up first.
    #[arg(long, default_value = "public")]
    pub(crate) schema: String,
    /// The script; without it, stdin.
    pub(crate) script: Option<String>,
}

/// Print a relation's rows and changes.
#[derive(Args)]
pub(crate) struct Tail {
    #[command(flatten)]
    pub(crate) remote: Remote,
    /// `name` or `schema.name`; with --changes, none for every table.
    pub(crate) relation: Option<String>,
    /// Only rows with this value, for example `--filter channel.name=general`; may be repeated.
    #[arg(long, value_name = "COLUMN=VALUE")]
    pub(crate) filter: Vec<String>,
    /// `upsert`, `diff` or `state` [default: upsert where rows have a key, else diff].
    #[arg(long)]
    pub(crate) envelope: Option<String>,
    /// Continue after the frame with this token (as printed by --json).
    #[arg(long, value_name = "TOKEN")]
    pub(crate) resume: Option<String>,
    /// Leave out the rows that are there already.
    #[arg(long)]
    pub(crate) skip_snapshot: bool,
    /// Stop when this version is reached.
    #[arg(long, value_name = "VERSION")]
    pub(crate) up_to: Option<u64>,
    /// Print change notifications (source, transaction, before, after) instead of the relation's feed.
    #[arg(long)]
    pub(crate) changes: bool,
    /// With --changes: begin with the oldest change that is kept.
    #[arg(long)]
    pub(crate) from_start: bool,
}

/// Call an rpc.
#[derive(Args)]
pub(crate) struct Call {
    #[command(flatten)]
    pub(crate) remote: Remote,
    /// `package.Service/Method`; without it, every service and rpc is listed.
    pub(crate) method: Option<String>,
    /// The request as JSON; several for a client stream. `-`, or nothing for a client stream: JSON lines from stdin.
    pub(crate) requests: Vec<String>,
    /// Give up after so many milliseconds.
    #[arg(long, value_name = "MS")]
    pub(crate) timeout_ms: Option<u64>,
    /// Stop after so many responses.
    #[arg(long, value_name = "COUNT")]
    pub(crate) max: Option<usize>,
}

/// Check a module folder.
#[derive(Args)]
pub(crate) struct Check {
    /// The module's folder, or a folder of modules.
    pub(crate) dir: PathBuf,
    /// Also fail on warnings.
    #[arg(long)]
    pub(crate) strict: bool,
}

/// Print what a server is running.
#[derive(Args)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// Check a Postgres server.
#[derive(Args)]
pub(crate) struct Doctor {
    /// Where the Postgres server is: 'host=… dbname=… user=…' or postgres://user@host/dbname. Without it, the sources of the
    /// settings file are checked.
    pub(crate) connection: Option<String>,
    /// Which source of the settings file; with a connection, what the source will be called [default: postgres].
    #[arg(long, value_name = "NAME")]
    pub(crate) source: Option<String>,
    /// With a connection: an option as in CREATE SOURCE, for example `--option 'tables=public.*'`; may be repeated.
    #[arg(long = "option", value_name = "NAME=VALUE", requires = "connection")]
    pub(crate) options: Vec<String>,
    /// The settings file [default: viewfeed.toml, if it is there].
    #[arg(long, env = "VIEWFEED_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON, one finding a line.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Measure.
#[derive(Args)]
pub(crate) struct Bench {
    /// What to measure.
    #[command(subcommand)]
    pub(crate) what: BenchWhat,
}

/// What to measure.
#[derive(Subcommand)]
pub(crate) enum BenchWhat {
    /// From an insert to its delta at a gRPC client, beside append + fdatasync on the same disk.
    Latency {
        /// Inserts per second, one run each.
        #[arg(long, value_delimiter = ',', default_value = "1,100,1000")]
        rates: Vec<u32>,
        /// Length of each run.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
    /// Rows per second into a table with a join + aggregate view, beside recomputing the view.
    Throughput {
        /// Rows per transaction, one run each.
        #[arg(long, value_delimiter = ',', default_value = "1,100,10000")]
        batches: Vec<usize>,
        /// Rows in the table before measuring.
        #[arg(long, default_value_t = 100_000)]
        rows: usize,
        /// Length of each run.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
    /// A Postgres source: how fast it reads what was written, how late it is, large transactions, copies; beside
    /// pg_recvlogical and COPY.
    Postgres(BenchPostgres),
    /// The engine alone: one step of a join + aggregate view, beside computing the view anew.
    Step {
        /// Rows in the table.
        #[arg(long, value_delimiter = ',', default_value = "10000,1000000")]
        tables: Vec<usize>,
        /// Rows of a change.
        #[arg(long, value_delimiter = ',', default_value = "1,100,10000")]
        changes: Vec<usize>,
        /// Length of each run.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
    /// Creating a view over a table while rows are inserted into it: how fast, and how long an insert takes meanwhile.
    Fill {
        /// Rows in the table.
        #[arg(long, default_value_t = 1_000_000)]
        rows: usize,
    },
    /// Time from start to the first correct answer, memory and disk per row.
    Restart {
        /// Rows in the table.
        #[arg(long, default_value_t = 1_000_000)]
        rows: usize,
    },
}

/// Measure a Postgres source.
#[derive(Args)]
pub(crate) struct BenchPostgres {
    /// A server with wal_level=logical on this machine: 'host=… dbname=… user=…' or postgres://user@host/dbname. The schema, the
    /// publication and the slots called viewfeed_bench… are made there, and dropped at the end. The role needs to be a superuser,
    /// or to own the database and have REPLICATION.
    pub(crate) connection: String,
    /// Rows of the copy, of the large transaction, and written in transactions of 1,000 rows; a tenth of it in transactions of one.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) rows: u64,
    /// Rows a second for the latency, one run each.
    #[arg(long, value_delimiter = ',', default_value = "100,1000,5000")]
    pub(crate) rates: Vec<u32>,
    /// Length of each run.
    #[arg(long, default_value_t = 10)]
    pub(crate) seconds: u64,
    /// Only these: copy, drain, latency, large.
    #[arg(long, value_delimiter = ',', default_value = "copy,drain,latency,large")]
    pub(crate) only: Vec<BenchPostgresPart>,
    /// The folder of pg_recvlogical and psql [default: in the PATH, else the newest of /usr/lib/postgresql].
    #[arg(long, value_name = "DIR")]
    pub(crate) programs: Option<PathBuf>,
}

/// A part of it.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchPostgresPart {
    /// Tables that are there.
    Copy,
    /// Transactions that were written while nobody read.
    Drain,
    /// From a commit to its delta.
    Latency,
    /// One transaction of all rows.
    Large,
}
