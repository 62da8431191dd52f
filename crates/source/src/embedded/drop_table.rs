//! DROP TABLE: refused while a view reads the table. What the transaction changed in the table before is forgotten with
//! it, since nobody can read it any more.

use super::default::sequences;
use super::{Context, Outcome, name, returning};
use datafusion::sql::sqlparser::ast;
use std::sync::Arc;
use viewfeed_change::{Error, ErrorKind, Relation, Result};
use viewfeed_store::{arrange, keys};

/// Runs a DROP TABLE.
pub(super) fn drop(
    names: &[ast::ObjectName],
    if_exists: bool,
    cascade: bool,
    context: &mut Context<'_>,
) -> Result<Outcome> {
    for name in names {
        let relation = match if_exists {
            true => name::table_if_exists(name, context)?,
            false => Some(name::table(name, context)?),
        };
        let Some(relation) = relation else { continue };
        refuse_if_read(&relation, "drop", cascade, context)?;
        arrange::release_all(context.txn, &relation)?;
        sequences(&relation)
            .iter()
            .for_each(|name| context.txn.delete(keys::sequence(name)));
        Arc::make_mut(context.relations).remove(relation.id);
        context.changes.retain(|delta| delta.relation != relation.id);
        context.touched.insert(relation.id);
    }
    Ok(returning::done("DROP TABLE"))
}

/// Fails, naming the views, if any view reads `relation`.
pub(super) fn refuse_if_read(
    relation: &Relation,
    action: &str,
    cascade: bool,
    context: &Context<'_>,
) -> Result<()> {
    let readers: Vec<String> = context
        .relations
        .readers(relation.id)
        .map(|view| format!("\"{}\"", view.name))
        .collect();
    if readers.is_empty() {
        return Ok(());
    }
    let views = readers.join(", ");
    let message = format!(
        "cannot {action} table \"{}\": it is read by {views}",
        relation.name
    );
    let hint = match cascade {
        true => format!("CASCADE does not reach views; drop {views} first"),
        false => format!("drop {views} first"),
    };
    Err(Error::new(ErrorKind::Precondition, "DEPENDENT_VIEWS", message).hint(hint))
}
