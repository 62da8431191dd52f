//! `viewfeed check`: a module folder, checked as the server would, in a database that is thrown away.

use crate::cli::Check;
use crate::modules::{read_module, read_modules};
use crate::output;
use crate::pipeline::Rehearsal;
use std::path::Path;
use viewfeed_catalog::{Diagnostic, ModuleFiles, Severity, compile};
use viewfeed_change::{Error, Result};

/// Prints what each rpc would do, and what is wrong.
pub(super) fn run(arguments: &Check) -> Result<()> {
    let modules = find(&arguments.dir)?;
    let mut rehearsal = Rehearsal::start()?;
    let mut failed = 0;
    for files in modules {
        let outcome = compile(&files).and_then(|compiled| rehearsal.module(compiled));
        match outcome {
            Ok(module) => {
                output::line(&module.report());
                let warned = module.diagnostics.iter().any(|d| d.severity == Severity::Warning);
                failed += usize::from(arguments.strict && warned);
            }
            Err(diagnostics) => {
                diagnostics
                    .iter()
                    .for_each(|diagnostic| output::line(&shown(&files.name, diagnostic)));
                failed += 1;
            }
        }
    }
    match failed {
        0 => Ok(()),
        count => Err(
            Error::invalid("MODULE_REFUSED", format!("{count} module(s) would be refused"))
                .hint("each line above says where and what to do"),
        ),
    }
}

fn shown(module: &str, diagnostic: &Diagnostic) -> String {
    format!("{module}/{diagnostic}")
}

/// The module in `dir`, or every module in the folders of `dir`.
fn find(dir: &Path) -> Result<Vec<ModuleFiles>> {
    let module = read_module(dir).map_err(|error| error.at(dir.display()))?;
    if module.files.iter().any(|(path, _)| !path.contains('/')) {
        return Ok(vec![module]);
    }
    let modules: Vec<ModuleFiles> = read_modules(dir)?.into_values().collect();
    if modules.is_empty() {
        return Err(
            Error::not_found("NO_MODULE", format!("{} holds no module", dir.display()))
                .hint("a module is a folder with at least one .proto file"),
        );
    }
    Ok(modules)
}
