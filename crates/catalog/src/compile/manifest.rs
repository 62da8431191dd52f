//! `module.toml`: what a module says about itself outside its protos.

use crate::diagnostic::{Diagnostic, Place};
use serde::Deserialize;

const FILE: &str = "module.toml";

/// The keys of `module.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    /// The SQL schema of the module's relations.
    pub(super) schema: Option<String>,
}

/// Reads the manifest; what is wrong is added to `diagnostics`.
pub(super) fn parse(text: &str, diagnostics: &mut Vec<Diagnostic>) -> Manifest {
    match toml::from_str(text) {
        Ok(manifest) => manifest,
        Err(error) => {
            let start = error.span().map_or(0, |span| span.start.min(text.len()));
            let line = 1 + text.as_bytes()[..start]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count();
            let message = error
                .message()
                .lines()
                .next()
                .unwrap_or("not understood")
                .to_owned();
            diagnostics.push(Place::line(FILE, line).error(message, "the keys are: schema = \"name\""));
            Manifest::default()
        }
    }
}

/// The schema that the manifest, a file option or the folder's name gives, in this order. `option` carries its place.
pub(super) fn schema(
    module: &str,
    manifest: &Manifest,
    option: Option<(String, Place)>,
    diagnostics: &mut Vec<Diagnostic>,
) -> String {
    let declared = match &manifest.schema {
        Some(schema) => Some((schema.clone(), Place::file(FILE))),
        None => option,
    };
    let Some((schema, place)) = declared else {
        return from_folder(module);
    };
    if !is_schema_name(&schema) {
        let advice = "use lower-case letters, digits and _, starting with a letter; viewfeed and information_schema are taken";
        diagnostics.push(place.error(format!("\"{schema}\" cannot be a schema"), advice));
    }
    schema
}

/// The folder's name as a name that needs no quotes.
fn from_folder(module: &str) -> String {
    let word = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '_'
        }
    };
    let name: String = module.chars().map(word).collect();
    if is_schema_name(&name) {
        name
    } else {
        format!("m_{name}")
    }
}

fn is_schema_name(name: &str) -> bool {
    let plain = name
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase());
    plain && starts_well && name.len() <= 63 && name != "viewfeed" && name != "information_schema"
}
