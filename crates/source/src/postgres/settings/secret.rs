//! Connection strings without what is secret in them. Both forms of libpq: `key=value` pairs and URLs
//! ("Connection Strings" in the Postgres documentation).

use std::ops::Range;
use viewfeed_change::{Error, Result};

/// What stands in place of a secret.
const HIDDEN: &str = "…";
/// The parameters whose values are secret.
const SECRETS: [&str; 3] = ["password", "sslpassword", "oauth_client_secret"];
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// The connection string with `…` in place of the password; only `…` if it cannot be understood.
pub fn without_password(connection: &str) -> String {
    let Some(mut secrets) = secrets(connection) else {
        return HIDDEN.to_owned();
    };
    let mut shown = connection.to_owned();
    secrets.sort_by_key(|range| std::cmp::Reverse(range.start));
    for range in secrets {
        shown.replace_range(range, HIDDEN);
    }
    shown
}

/// The connection string, if it is one whose secrets can be found.
pub(super) fn checked_connection(connection: &str) -> Result<String> {
    if secrets(connection).is_none() {
        let message = "connection is neither a libpq connection string nor a URL";
        return Err(Error::invalid("SOURCE_OPTION", message).hint(
            "write host=… dbname=… user=… with 'quotes' around values with spaces, or postgres://user@host/dbname with \
             special characters as %XX",
        ));
    }
    Ok(connection.to_owned())
}

/// Where the secrets are; None if the string cannot be understood.
fn secrets(connection: &str) -> Option<Vec<Range<usize>>> {
    match SCHEMES.iter().find(|scheme| connection.starts_with(**scheme)) {
        Some(scheme) => url_secrets(connection, scheme.len()),
        None => pair_secrets(connection),
    }
}

/// `scheme://user:password@host:port,…/dbname?key=value&…`
fn url_secrets(url: &str, start: usize) -> Option<Vec<Range<usize>>> {
    let query = url[start..].find('?').map_or(url.len(), |at| start + at);
    // Were one of these in a password, its end would be anybody's guess.
    let authority = url[start..query].find('/').map_or(query, |at| start + at);
    if url[start..query].matches('@').count() > 1 || url[authority..query].contains('@') {
        return None;
    }
    if url[query..].contains('@') && !url[start..authority].contains('@') && url[start..query].contains(':') {
        return None;
    }
    let mut secrets = Vec::new();
    if let Some(at) = url[start..authority].find('@') {
        let end = start + at;
        if let Some(colon) = url[start..end].find(':') {
            secrets.push(start + colon + 1..end);
        }
    }
    let mut place = query + 1;
    for pair in url.get(query + 1..).unwrap_or_default().split('&') {
        if let Some((key, value)) = pair.split_once('=') {
            let at = place + key.len() + 1;
            if is_secret(&unescaped(key)) {
                secrets.push(at..at + value.len());
            }
        }
        place += pair.len() + 1;
    }
    Some(secrets)
}

/// `key = value key = 'value with \' and spaces'`
fn pair_secrets(text: &str) -> Option<Vec<Range<usize>>> {
    let bytes = text.as_bytes();
    let skip_blanks = |mut at: usize| {
        while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
            at += 1;
        }
        at
    };
    let mut secrets = Vec::new();
    let mut at = skip_blanks(0);
    while at < bytes.len() {
        let equals = at + text[at..].find('=')?;
        let key = text[at..equals].trim();
        if key.is_empty() || key.contains(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
            return None;
        }
        let start = skip_blanks(equals + 1);
        let end = value_end(bytes, start)?;
        if is_secret(key) {
            secrets.push(start..end);
        }
        at = skip_blanks(end);
    }
    Some(secrets)
}

/// Behind the value that begins at `start`; None if its quote is not closed.
fn value_end(bytes: &[u8], start: usize) -> Option<usize> {
    let is_quoted = bytes.get(start) == Some(&b'\'');
    let mut at = start + usize::from(is_quoted);
    loop {
        match bytes.get(at) {
            None if is_quoted => return None,
            None => return Some(bytes.len()),
            // A backslash takes the next byte with it.
            Some(b'\\') => at += 2,
            Some(b'\'') if is_quoted => return Some(at + 1),
            Some(byte) if !is_quoted && byte.is_ascii_whitespace() => return Some(at),
            Some(_) => at += 1,
        }
    }
}

fn is_secret(key: &str) -> bool {
    SECRETS.iter().any(|secret| key.eq_ignore_ascii_case(secret))
}

/// With `%XX` as the bytes they mean, as far as they are ASCII.
fn unescaped(text: &str) -> String {
    let mut unescaped = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        unescaped.push_str(before);
        let code = after.get(..2).and_then(|code| u8::from_str_radix(code, 16).ok());
        match code {
            Some(code) => {
                unescaped.push(char::from(code));
                rest = &after[2..];
            }
            None => {
                unescaped.push('%');
                rest = after;
            }
        }
    }
    unescaped + rest
}
