//! The connection string: libpq's keywords and values, or its URL.
//!
//! tokio-postgres reads most of it; what it does not know of encryption is taken out first. An option that neither knows is an
//! error, never passed over: it may have been meant to protect something.

use std::path::PathBuf;
use tokio_postgres::Config;
use tokio_postgres::config::SslNegotiation;
use viewfeed_change::{Error, Result};

/// What a connection string says.
pub(super) struct Options {
    /// Everything but the encryption.
    pub(super) config: Config,
    pub(super) mode: Mode,
    pub(super) roots: Roots,
    /// The file with our own certificate, PEM.
    pub(super) certificate: Option<PathBuf>,
    /// The file with its key, PEM.
    pub(super) key: Option<PathBuf>,
    /// Whether TLS begins with the first byte (Postgres 17) instead of being asked for.
    pub(super) is_direct: bool,
}

/// `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Disable,
    /// Encrypts if the server can.
    Prefer,
    /// Encrypts, whoever it is.
    Require,
    /// The certificate must come from an authority we trust.
    VerifyAuthority,
    /// And it must name the host.
    VerifyFull,
}

/// `sslrootcert`: whom we trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Roots {
    /// Not given.
    Unnamed,
    /// Those of this machine, by name: nothing less than `verify-full` makes sense with them.
    System,
    /// Those in a PEM file.
    File(PathBuf),
}

/// What ours are called.
const OURS: [&str; 5] = ["sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword"];
/// What changes nothing here: Kerberos is not spoken, and text is always UTF-8.
const WITHOUT_EFFECT: [&str; 6] = [
    "gssencmode",
    "krbsrvname",
    "gsslib",
    "sslcompression",
    "client_encoding",
    "fallback_application_name",
];

type Pair = (String, String);

/// Reads `text`. Errors name an option, never a value.
pub(super) fn parse(text: &str) -> Result<Options> {
    let is_url = text.starts_with("postgres://") || text.starts_with("postgresql://");
    let (config, ours) = if is_url { url(text)? } else { keywords(text)? };
    let mut options = Options {
        is_direct: config.get_ssl_negotiation() == SslNegotiation::Direct,
        config,
        mode: Mode::Prefer,
        roots: Roots::Unnamed,
        certificate: None,
        key: None,
    };
    let mut mode = None;
    for (name, value) in ours {
        match name.as_str() {
            "sslmode" => mode = Some(mode_of(&value)?),
            "sslrootcert" if value == "system" => options.roots = Roots::System,
            "sslrootcert" => options.roots = Roots::File(value.into()),
            "sslcert" => options.certificate = Some(value.into()),
            "sslkey" => options.key = Some(value.into()),
            _ => {
                return Err(bad("sslpassword is not supported")
                    .hint("keep the client's key unencrypted in a file that only viewfeed may read"));
            }
        }
    }
    options.mode = effective_mode(mode, &options)?;
    Ok(options)
}

/// As libpq does: certificates of authorities that are named are used.
fn effective_mode(given: Option<Mode>, options: &Options) -> Result<Mode> {
    match (given, &options.roots) {
        (None, Roots::System) => Ok(Mode::VerifyFull),
        (Some(mode), Roots::System) if mode != Mode::VerifyFull => {
            Err(bad("sslrootcert=system needs sslmode=verify-full"))
        }
        (Some(Mode::Require), Roots::File(_)) => Ok(Mode::VerifyAuthority),
        (None | Some(Mode::Prefer), _) if options.is_direct => {
            Err(bad("sslnegotiation=direct needs sslmode=require or stricter"))
        }
        (given, _) => Ok(given.unwrap_or(Mode::Prefer)),
    }
}

fn mode_of(value: &str) -> Result<Mode> {
    match value {
        "disable" => Ok(Mode::Disable),
        // What libpq tries last we try first.
        "allow" | "prefer" => Ok(Mode::Prefer),
        "require" => Ok(Mode::Require),
        "verify-ca" => Ok(Mode::VerifyAuthority),
        "verify-full" => Ok(Mode::VerifyFull),
        _ => Err(bad(
            "sslmode is none of disable, prefer, require, verify-ca and verify-full",
        )),
    }
}

fn url(text: &str) -> Result<(Config, Vec<Pair>)> {
    // A password may hold a question mark; it ends before the first @.
    let credentials = text.find('@').unwrap_or(0);
    let Some(query) = text[credentials..].find('?') else {
        return Ok((config(text)?, Vec::new()));
    };
    let (address, query) = text.split_at(credentials + query);
    let (mut ours, mut others) = (Vec::new(), Vec::new());
    for parameter in query[1..].split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter
            .split_once('=')
            .ok_or_else(|| bad("a parameter of the connection URL has no value"))?;
        if OURS.contains(&name) {
            ours.push((name.to_owned(), percent_decoded(value)?));
        } else if !WITHOUT_EFFECT.contains(&name) {
            config(&format!("postgres://host?{parameter}")).map_err(|_| bad_option(name))?;
            others.push(parameter);
        }
    }
    let rest = match others.as_slice() {
        [] => address.to_owned(),
        others => format!("{address}?{}", others.join("&")),
    };
    Ok((config(&rest)?, ours))
}

fn keywords(text: &str) -> Result<(Config, Vec<Pair>)> {
    let (mut ours, mut rest) = (Vec::new(), String::new());
    for (name, value) in pairs(text)? {
        if OURS.contains(&name.as_str()) {
            ours.push((name, value));
        } else if !WITHOUT_EFFECT.contains(&name.as_str()) {
            let pair = format!("{name}='{}'", value.replace('\\', "\\\\").replace('\'', "\\'"));
            config(&pair).map_err(|_| bad_option(&name))?;
            rest.push_str(&pair);
            rest.push(' ');
        }
    }
    Ok((config(&rest)?, ours))
}

/// What tokio-postgres reads. Its error may quote a password that is not quoted as it should be.
fn config(text: &str) -> Result<Config> {
    text.parse()
        .map_err(|_| bad("the connection string cannot be read"))
}

/// The pairs of `name = value`, where a value is a word or stands between apostrophes, and a backslash takes away the
/// meaning of what follows.
fn pairs(text: &str) -> Result<Vec<Pair>> {
    let mut characters = text.chars().peekable();
    let mut pairs = Vec::new();
    loop {
        while characters.next_if(|next| next.is_whitespace()).is_some() {}
        if characters.peek().is_none() {
            return Ok(pairs);
        }
        let mut name = String::new();
        while let Some(next) = characters.next_if(|next| *next != '=' && !next.is_whitespace()) {
            name.push(next);
        }
        while characters.next_if(|next| next.is_whitespace()).is_some() {}
        if characters.next() != Some('=') {
            return Err(bad("a word of the connection string is not followed by ="));
        }
        while characters.next_if(|next| next.is_whitespace()).is_some() {}
        pairs.push((name, value(&mut characters)?));
    }
}

fn value(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<String> {
    let unended = || bad("a value of the connection string has no end");
    let is_quoted = characters.next_if_eq(&'\'').is_some();
    let mut value = String::new();
    loop {
        let ends = |next: &char| {
            if is_quoted {
                *next == '\''
            } else {
                next.is_whitespace()
            }
        };
        if characters.next_if(ends).is_some() {
            return Ok(value);
        }
        match characters.next() {
            Some('\\') => value.push(characters.next().ok_or_else(unended)?),
            Some(other) => value.push(other),
            None if is_quoted => return Err(unended()),
            None => return Ok(value),
        }
    }
}

fn percent_decoded(text: &str) -> Result<String> {
    let wrong =
        || bad("a percent sign of the connection URL is not followed by two hexadecimal digits of UTF-8");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2).ok_or_else(wrong)?;
        let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        rest = tail;
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

fn bad(message: &str) -> Error {
    Error::invalid("BAD_CONNECTION", message).hint(
        "write it as for psql: host=… port=… user=… dbname=… sslmode=…, with apostrophes around values that hold spaces, \
         or as a URL: postgresql://user@host:port/dbname?sslmode=…",
    )
}

fn bad_option(name: &str) -> Error {
    // What stands before = may be a piece of a password that is not quoted.
    if name.len() <= 32 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
        bad(&format!(
            "the option `{name}` of the connection is not known, or its value not allowed"
        ))
    } else {
        bad("an option of the connection is not known, or its value not allowed")
    }
}

#[cfg(test)]
mod tests;
