//! Bindings in SQL files beside the protos, for protos one may not edit.
//!
//! ```sql
//! -- name: chat.v1.ChatService/WatchMessages :subscribe key(id) envelope(upsert) filter(channel_id)
//! channel_messages
//!
//! -- name: chat.v1.ChatService/ListMessages :query order_by(sent_at DESC, id) page(50, 200)
//! SELECT id, text, sent_at FROM message WHERE channel_id = $channel_id
//!
//! -- name: chat.v1.ChatService/SendMessage :insert row(message) atomic
//! message
//! ```

use crate::diagnostic::{Diagnostic, Place};

/// One binding of a sidecar file.
#[derive(Clone, Debug)]
pub(crate) struct SidecarBinding {
    /// `package.Service/Method`.
    pub(crate) rpc: String,
    /// The word after the colon.
    pub(crate) kind: String,
    /// The words after the kind, with what is in their parentheses.
    pub(crate) modifiers: Vec<(String, String)>,
    /// SQL without comments at its ends and without the closing semicolon.
    pub(crate) body: String,
    pub(crate) place: Place,
}

const FORM: &str = "write `-- name: package.Service/Method :kind` above the SQL; kinds are query, subscribe, insert, update, upsert, delete";

/// The bindings of a sidecar file. What is wrong is added to `diagnostics`.
pub(crate) fn parse(file: &str, text: &str, diagnostics: &mut Vec<Diagnostic>) -> Vec<SidecarBinding> {
    let mut bindings: Vec<SidecarBinding> = Vec::new();
    let mut stray = None;
    for (number, line) in text.lines().enumerate() {
        let place = Place::line(file, number + 1);
        if let Some(header) = header(line) {
            match parse_header(header, place.clone()) {
                Ok(binding) => bindings.push(binding),
                Err(message) => diagnostics.push(place.error(message, FORM)),
            }
        } else if let Some(binding) = bindings.last_mut() {
            binding.body.push_str(line);
            binding.body.push('\n');
        } else if !is_blank(line) {
            stray.get_or_insert(place);
        }
    }
    // A broken header leaves its SQL behind: that is one mistake, not two.
    if let Some(place) = stray.filter(|_| diagnostics.is_empty()) {
        diagnostics.push(place.error(
            "SQL without a binding",
            format!("{FORM}; tables and views go into migrations/"),
        ));
    }
    for binding in &mut bindings {
        binding.body = trim_body(&binding.body);
        if binding.body.is_empty() {
            let message = format!("the binding of {} is empty", binding.rpc);
            let advice = "name a table or view, or for :query write a SELECT";
            diagnostics.push(binding.place.error(message, advice));
        }
    }
    bindings
}

fn header(line: &str) -> Option<&str> {
    line.trim_start()
        .strip_prefix("--")?
        .trim_start()
        .strip_prefix("name:")
}

fn is_blank(line: &str) -> bool {
    line.trim().is_empty() || line.trim_start().starts_with("--")
}

fn trim_body(body: &str) -> String {
    let mut lines: Vec<&str> = body.lines().collect();
    while lines.last().is_some_and(|line| is_blank(line)) {
        lines.pop();
    }
    let start = lines
        .iter()
        .position(|line| !is_blank(line))
        .unwrap_or(lines.len());
    lines[start..]
        .join("\n")
        .trim()
        .trim_end_matches(';')
        .trim_end()
        .to_owned()
}

fn parse_header(header: &str, place: Place) -> Result<SidecarBinding, String> {
    let header = header.trim();
    let (rpc, rest) = header.split_once(char::is_whitespace).unwrap_or((header, ""));
    if rpc.split('/').filter(|part| !part.is_empty()).count() != 2 {
        return Err(format!("`{rpc}` names no rpc"));
    }
    let rest = rest.trim_start();
    let Some(rest) = rest.strip_prefix(':') else {
        return Err(format!("{rpc} has no kind"));
    };
    let (kind, rest) = rest.split_at(
        rest.find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(rest.len()),
    );
    Ok(SidecarBinding {
        rpc: rpc.trim_start_matches('/').to_owned(),
        kind: kind.to_ascii_lowercase(),
        modifiers: parse_modifiers(rest)?,
        body: String::new(),
        place,
    })
}

fn parse_modifiers(mut rest: &str) -> Result<Vec<(String, String)>, String> {
    let mut modifiers = Vec::new();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return Ok(modifiers);
        }
        let end = rest
            .find(|c: char| !c.is_ascii_alphabetic() && c != '_')
            .unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() {
            return Err(format!("`{rest}` is not understood"));
        }
        rest = after;
        let mut inside = "";
        if let Some(open) = rest.strip_prefix('(') {
            let Some((content, after)) = open.split_once(')') else {
                return Err(format!("{word} has no closing parenthesis"));
            };
            (inside, rest) = (content, after);
        }
        modifiers.push((word.to_ascii_lowercase(), inside.trim().to_owned()));
    }
}
