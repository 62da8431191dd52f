//! Settings: flags, then `VIEWFEED_*`, then `viewfeed.toml`, then defaults that work with no file at all.

mod source;

use crate::cli::Serve;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use viewfeed_change::{Error, Result};
use viewfeed_server::Origins;
use viewfeed_source::postgres::Settings;
use viewfeed_store::{Durability, Form, Options, Retention};

const DEFAULT_CONFIG: &str = "viewfeed.toml";
const MIB: u64 = 1 << 20;
const MINUTE_US: i64 = 60_000_000;

/// The server's settings.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) data: PathBuf,
    pub(crate) modules: PathBuf,
    pub(crate) listen: SocketAddr,
    pub(crate) store: Options,
    pub(crate) message_bytes_max: usize,
    pub(crate) origins: Origins,
    pub(crate) json_logs: bool,
    /// Sources that the file names, and their settings.
    pub(crate) sources: Vec<(String, Settings)>,
}

/// The file's form. Names are those of the flags, with underscores.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    data: Option<PathBuf>,
    modules: Option<PathBuf>,
    listen: Option<SocketAddr>,
    durability: Option<String>,
    retain_mib: Option<u64>,
    retain_minutes: Option<u64>,
    cache_mib: Option<u64>,
    state: Option<String>,
    message_kib: Option<usize>,
    origins: Option<String>,
    log_format: Option<String>,
    #[serde(default)]
    source: Vec<toml::Table>,
}

/// The sources of the settings file at `path`, or of the default one: names and settings.
pub(crate) fn sources(path: Option<&Path>) -> Result<Vec<(String, Settings)>> {
    source::all(read(path)?.source)
}

impl Config {
    /// The settings that `flags` (already merged with the environment) and the file give.
    pub(crate) fn load(flags: Serve) -> Result<Self> {
        let file = read(flags.config.as_deref())?;
        let durability = flags
            .durability
            .or(file.durability)
            .unwrap_or_else(|| "sync".into());
        let retain_mib = flags.retain_mib.or(file.retain_mib).unwrap_or(1024);
        let retain_minutes = flags.retain_minutes.or(file.retain_minutes).unwrap_or(24 * 60);
        let log_format = flags
            .log_format
            .or(file.log_format)
            .unwrap_or_else(|| "text".into());
        Ok(Self {
            data: flags.data.or(file.data).unwrap_or_else(|| "data".into()),
            modules: flags.modules.or(file.modules).unwrap_or_else(|| "modules".into()),
            listen: flags
                .listen
                .or(file.listen)
                .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 7117))),
            store: Options {
                durability: parse_durability(&durability)?,
                retention: Retention {
                    bytes_max: retain_mib * MIB,
                    age_us: i64::try_from(retain_minutes).unwrap_or(i64::MAX / MINUTE_US) * MINUTE_US,
                },
                form: match flags.state.or(file.state).as_deref() {
                    None => Form::Runs,
                    Some(name) => Form::named(name).ok_or_else(|| wrong("state", name, "runs or sled"))?,
                },
                memory_bytes: flags.cache_mib.or(file.cache_mib).unwrap_or(256) * MIB,
                ..Options::default()
            },
            message_bytes_max: flags.message_kib.or(file.message_kib).unwrap_or(4096) << 10,
            origins: flags
                .origins
                .or(file.origins)
                .map_or(Ok(Origins::Local), |text| text.parse())?,
            json_logs: match log_format.as_str() {
                "text" => false,
                "json" => true,
                other => return Err(wrong("log_format", other, "text or json")),
            },
            sources: source::all(file.source)?,
        })
    }
}

fn read(path: Option<&Path>) -> Result<File> {
    let default = Path::new(DEFAULT_CONFIG);
    let path = match path {
        Some(path) => path,
        None if default.exists() => default,
        None => return Ok(File::default()),
    };
    let unreadable = |error: std::io::Error| {
        Error::invalid(
            "CONFIG",
            format!("the settings file {} cannot be read", path.display()),
        )
        .because(error)
    };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    toml::from_str(&text).map_err(|error| {
        Error::invalid("CONFIG", format!("the settings file {} is wrong", path.display()))
            .because(error)
            .hint("its names are those of `viewfeed serve --help`, with _ for -")
    })
}

fn parse_durability(text: &str) -> Result<Durability> {
    match text.split_once(':') {
        None if text == "sync" => Ok(Durability::Sync),
        Some(("relaxed", ms)) => match ms.parse() {
            Ok(interval_ms) if interval_ms > 0 => Ok(Durability::Relaxed { interval_ms }),
            _ => Err(wrong(
                "durability",
                text,
                "relaxed:MS with a whole number of milliseconds",
            )),
        },
        _ => Err(wrong("durability", text, "sync or relaxed:MS")),
    }
}

fn wrong(name: &str, value: &str, allowed: &str) -> Error {
    Error::invalid("CONFIG", format!("{name} = \"{value}\" is not a setting")).hint(format!("use {allowed}"))
}
