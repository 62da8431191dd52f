//! What a node's state is called. The name holds the view, the place of the node and a fingerprint of everything below
//! it: another plan means another state, so that state is never read by a plan that did not write it.

use super::{Kind, Node};
use crate::operator::window::WindowSpec;
use std::fmt::Write;
use viewfeed_change::row::{self, RowCodec};
use viewfeed_change::{Batch, RelationId};

/// Counts the forms of operator state: a new number makes every view fill its state anew.
const STATE_VERSION: u32 = 2;

/// The name of a piece of state in the store.
pub(crate) type StateName = String;

/// The fingerprint of `node` and everything below it: FNV-1a, which is the same in every build.
pub(crate) fn fingerprint(node: &Node) -> u64 {
    let mut text = format!("{STATE_VERSION}.{} ", row::VERSION);
    describe(node, &mut text);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The names of the states of `node` alone, which stands at `path` in the plan of `view`, in the order of
/// [`roles`].
pub(crate) fn state_names(view: RelationId, path: &str, node: &Node) -> Vec<StateName> {
    let roles = roles(node);
    if roles.is_empty() {
        return Vec::new();
    }
    let fingerprint = fingerprint(node);
    let name = |role: String| format!("view/{}{path}/{role}/{fingerprint:016x}", view.0);
    roles.into_iter().map(name).collect()
}

/// What each state of a node is for. An input that is a relation is read from the relation's own arrangement.
fn roles(node: &Node) -> Vec<String> {
    let own_input = |(i, input): (usize, &Node)| input.as_source().is_none().then(|| format!("input{i}"));
    match &node.kind {
        Kind::Source(_)
        | Kind::FilterProject(_)
        | Kind::Union
        | Kind::Expand(_)
        | Kind::Unnest(..)
        | Kind::Reference(_)
        | Kind::Constant(_) => Vec::new(),
        Kind::Recursion(plan) => plan.is_distinct.then(|| "steps".to_owned()).into_iter().collect(),
        Kind::Single => vec!["single".to_owned()],
        Kind::Clock(..) => vec!["due".to_owned()],
        Kind::Join(join) => {
            let inputs = node.inputs.iter().enumerate();
            let arranged = inputs.filter(|(side, _)| join.arranges(*side));
            let counted = (0..2).filter(|side| join.counts_partners(*side));
            let counts = counted.map(|side| format!("partners{side}"));
            arranged.filter_map(own_input).chain(counts).collect()
        }
        Kind::DeltaJoin(plan) => {
            let inputs = node.inputs.iter().zip(&plan.keys).enumerate();
            let own = inputs.filter(|(_, (input, _))| input.as_source().is_none());
            own.flat_map(|(i, (_, keys))| (0..keys.len()).map(move |key| format!("input{i}.{key}")))
                .collect()
        }
        Kind::Distinct => vec!["distinct".to_owned()],
        Kind::Aggregate(..) => vec!["aggregate".to_owned()],
        Kind::TopK(_) => vec!["top_k".to_owned()],
        Kind::Window(_) => vec!["window".to_owned()],
        Kind::Rescope(_) => {
            let mut roles: Vec<String> = node.inputs.iter().enumerate().filter_map(own_input).collect();
            roles.push("output".to_owned());
            roles
        }
        Kind::Recompute(plan) => {
            let mut roles: Vec<String> = node.inputs.iter().enumerate().filter_map(own_input).collect();
            roles.push("output".to_owned());
            roles.extend(plan.follows_clock.then(|| "clock".to_owned()));
            roles
        }
    }
}

fn describe(node: &Node, text: &mut String) {
    // writing to a String does not fail
    match &node.kind {
        Kind::Source(relation) => write!(text, "source {}", relation.id.0).ok(),
        Kind::FilterProject(stages) => stages
            .iter()
            .try_for_each(|(stage, _)| write!(text, "{stage};"))
            .ok(),
        Kind::Join(join) => {
            let keys = (&join.left_key, &join.right_key, join.null_equal);
            write!(text, "join {:?} {keys:?}", join.form).ok();
            if let Some(band) = &join.band {
                write!(text, " {band:?}").ok();
            }
            let residual = join.residual.as_ref();
            residual.and_then(|residual| write!(text, " {residual}").ok())
        }
        Kind::DeltaJoin(plan) => {
            write!(text, "delta join {:?} {:?}", plan.columns, plan.keys).ok();
            for hop in plan.paths.iter().flatten() {
                write!(text, " {}.{} {:?}", hop.input, hop.key, hop.from).ok();
            }
            for condition in &plan.conditions {
                write!(text, " {condition}").ok();
            }
            Some(())
        }
        Kind::Union => write!(text, "union").ok(),
        Kind::Constant(rows) => write!(text, "constant {}", spelled(rows)).ok(),
        Kind::Single => write!(text, "single").ok(),
        Kind::Clock(condition, _) => write!(text, "{condition}").ok(),
        Kind::Distinct => write!(text, "distinct").ok(),
        Kind::Expand(sets) => write!(text, "expand {sets:?}").ok(),
        Kind::Unnest(spec, _) => write!(text, "{spec:?}").ok(),
        Kind::Aggregate(spec, _) => write!(text, "aggregate {} {:?}", spec.group.len(), spec.calls).ok(),
        Kind::TopK(plan) => write!(text, "top k {:?}", plan.spec).ok(),
        Kind::Window(plan) => {
            let WindowSpec {
                partition,
                order,
                calls,
                ..
            } = &plan.spec;
            write!(text, "window {partition:?} {order:?} {calls:?}").ok()
        }
        Kind::Recursion(plan) => write!(text, "recursion {}", plan.is_distinct).ok(),
        Kind::Reference(_) => write!(text, "reference").ok(),
        Kind::Rescope(plan) => {
            text.push_str(&renumbered(&plan.plan.display_indent_schema().to_string()));
            let (scope, output_scope) = (&plan.scope, &plan.output_scope);
            write!(text, " {:?} by {scope:?}={output_scope:?}", plan.scan).ok()
        }
        Kind::Recompute(plan) => {
            text.push_str(&renumbered(&plan.plan.display_indent_schema().to_string()));
            write!(text, " {:?}", plan.scans).ok()
        }
    };
    if node.as_source().is_none() {
        for field in node.schema.fields() {
            write!(text, " {}", field.data_type()).ok();
        }
    }
    text.push('(');
    for input in &node.inputs {
        describe(input, text);
        text.push(',');
    }
    text.push(')');
}

/// Every value of every row.
fn spelled(rows: &Batch) -> String {
    let encoded = RowCodec::for_schema(&rows.schema()).and_then(|codec| codec.encode(rows.rows()));
    // constants are made of types the codec has a form for only
    let rows = encoded.unwrap_or_default();
    let spell = |row: &[u8]| row.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    rows.iter().map(spell).collect::<Vec<_>>().join(",")
}

/// The text with names like `__scalar_sq_7` numbered by their first appearance: DataFusion counts them over all plans a
/// process makes.
fn renumbered(text: &str) -> String {
    let mut seen: Vec<&str> = Vec::new();
    let (mut result, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(start) = rest.find("__") {
        let word_end = rest[start..]
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .map_or(rest.len(), |length| start + length);
        let word = &rest[start..word_end];
        result.push_str(&rest[..start]);
        if word.ends_with(|c: char| c.is_ascii_digit()) {
            let place = seen.iter().position(|known| *known == word).unwrap_or_else(|| {
                seen.push(word);
                seen.len() - 1
            });
            result.push_str(word.trim_end_matches(|c: char| c.is_ascii_digit()));
            result.push_str(&place.to_string());
        } else {
            result.push_str(word);
        }
        rest = &rest[word_end..];
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::renumbered;

    #[test]
    fn generated_names_are_numbered_by_appearance() {
        let (first, later) = (
            "Join: __scalar_sq_1.a = __scalar_sq_2.b",
            "Join: __scalar_sq_7.a = __scalar_sq_9.b",
        );
        assert_eq!(renumbered(first), renumbered(later));
        assert_ne!(
            renumbered(first),
            renumbered("Join: __scalar_sq_1.a = __scalar_sq_1.b")
        );
    }
}
