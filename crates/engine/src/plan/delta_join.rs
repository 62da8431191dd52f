//! Inner joins of three or more inputs become one node without state between them, where that keeps less than a tree of
//! joins of two does. Which lookups follow a change of each input is decided here.

use super::{JoinPlan, Kind, Node};
use crate::operator::filter_project::Stage;
use crate::operator::join::{JoinForm, Residual};
use std::collections::BTreeSet;

/// A join of three or more inputs by equal columns. Columns are numbered over all inputs, in their order.
#[derive(Clone, Debug)]
pub(crate) struct DeltaJoinPlan {
    /// Which columns come out.
    pub(crate) columns: Vec<usize>,
    /// The keys each input is looked up by, as places among its own columns.
    pub(crate) keys: Vec<Vec<Vec<usize>>>,
    /// The lookups that follow a change of each input.
    pub(crate) paths: Vec<Vec<HopPlan>>,
    /// What must be true of a whole row besides. Never asked before: a row on which a condition fails is counted as
    /// left out, which must come out the same on every path.
    pub(crate) conditions: Vec<Residual>,
    /// How it is written.
    pub(crate) text: String,
}

/// A lookup in an input, by columns of the inputs before it on the path.
#[derive(Clone, Debug)]
pub(crate) struct HopPlan {
    /// The input.
    pub(crate) input: usize,
    /// Which of its keys.
    pub(crate) key: usize,
    /// The columns that must equal the key.
    pub(crate) from: Vec<usize>,
}

/// `node` with its joins put together where that pays.
pub(crate) fn with_delta_joins(node: Node) -> Node {
    if let Some(flat) = Flat::of_joins(&node)
        && flat.inputs.len() > 2
    {
        let Flat { inputs, .. } = flat;
        let inputs = inputs.into_iter().map(with_delta_joins).collect();
        if let Some(joined) = (Flat { inputs, ..flat }).planned(&node) {
            return joined;
        }
    }
    let inputs = node.inputs.into_iter().map(with_delta_joins).collect();
    Node { inputs, ..node }
}

/// A tree of joins of two, laid out. Columns are numbered over all inputs.
struct Flat {
    inputs: Vec<Node>,
    /// Columns that must be equal, of different inputs.
    equal: Vec<(usize, usize)>,
    conditions: Vec<Residual>,
    texts: Vec<String>,
    /// Which column each column of the tree's output is.
    columns: Vec<usize>,
}

impl Flat {
    /// Of a node that is a join of pairs, perhaps with columns left out or put in another order.
    fn of_joins(node: &Node) -> Option<Self> {
        match &node.kind {
            Kind::Join(plan) if is_plain(plan) => {
                let [left, right] = node.inputs.as_slice() else {
                    return None;
                };
                Some(Self::of(left).joined(Self::of(right), plan))
            }
            Kind::FilterProject(stages) => match stages.as_slice() {
                [(Stage::Columns(chosen, _), _)] if !chosen.is_empty() => {
                    let flat = Self::of_joins(&node.inputs[0])?;
                    let columns = chosen.iter().map(|column| flat.columns[*column]).collect();
                    Some(Self { columns, ..flat })
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn of(node: &Node) -> Self {
        Self::of_joins(node).unwrap_or_else(|| Self {
            inputs: vec![node.clone()],
            equal: Vec::new(),
            conditions: Vec::new(),
            texts: Vec::new(),
            columns: (0..node.schema.fields().len()).collect(),
        })
    }

    fn joined(mut self, right: Self, plan: &JoinPlan) -> Self {
        let shift = self.offsets().last().copied().unwrap_or_default();
        let columns: Vec<usize> = self
            .columns
            .iter()
            .copied()
            .chain(right.columns.iter().map(|column| column + shift))
            .collect();
        let width = self.columns.len();
        self.equal
            .extend(right.equal.iter().map(|(a, b)| (a + shift, b + shift)));
        let keys = plan.left_key.iter().zip(&plan.right_key);
        self.equal
            .extend(keys.map(|(left, right)| (columns[*left], columns[width + right])));
        self.conditions
            .extend(right.conditions.into_iter().map(|mut condition| {
                condition.columns.iter_mut().for_each(|column| *column += shift);
                condition
            }));
        self.conditions.extend(plan.residual.clone().map(|mut condition| {
            condition
                .columns
                .iter_mut()
                .for_each(|column| *column = columns[*column]);
            condition
        }));
        self.texts.extend(right.texts);
        self.texts.push(plan.text.trim_start_matches("Join ").to_owned());
        self.inputs.extend(right.inputs);
        Self { columns, ..self }
    }

    /// Where the columns of each input begin, and after the last one, how many there are.
    fn offsets(&self) -> Vec<usize> {
        let mut offsets = vec![0];
        for input in &self.inputs {
            offsets.push(offsets[offsets.len() - 1] + input.schema.fields().len());
        }
        offsets
    }

    /// One node in place of `tree`, if it keeps no more than that does.
    fn planned(self, tree: &Node) -> Option<Node> {
        let offsets = self.offsets();
        let mut paths = Paths {
            flat: &self,
            offsets: &offsets,
            keys: vec![Vec::new(); self.inputs.len()],
        };
        let planned = (0..self.inputs.len()).map(|start| paths.from(start)).collect();
        let keys = paths.keys;
        let is_own = |input: &Node| input.as_source().is_none();
        let of_tree = self.inputs.iter().filter(|input| is_own(input)).count() + self.inputs.len() - 2;
        let inputs = self.inputs.iter().zip(&keys);
        let own: usize = inputs
            .filter(|(input, _)| is_own(input))
            .map(|(_, keys)| keys.len())
            .sum();
        if own > of_tree {
            return None;
        }
        let plan = DeltaJoinPlan {
            columns: self.columns,
            keys,
            paths: planned,
            conditions: self.conditions,
            text: format!("DeltaJoin {}", self.texts.join(" ")),
        };
        Some(Node {
            schema: tree.schema.clone(),
            facts: tree.facts.clone(),
            kind: Kind::DeltaJoin(plan),
            inputs: self.inputs,
        })
    }
}

/// Whether a join makes nothing but pairs of rows with equal keys.
fn is_plain(plan: &JoinPlan) -> bool {
    plan.form == JoinForm::Inner && !plan.null_equal && plan.band.is_none() && !plan.left_key.is_empty()
}

/// Finds paths; notes the keys they need.
struct Paths<'a> {
    flat: &'a Flat,
    offsets: &'a [usize],
    keys: Vec<Vec<Vec<usize>>>,
}

impl Paths<'_> {
    /// The lookups that follow a change of input `start`.
    fn from(&mut self, start: usize) -> Vec<HopPlan> {
        let (mut reached, mut path) = (BTreeSet::from([start]), Vec::new());
        while let Some((input, key, from)) = self.next(&reached) {
            reached.insert(input);
            let known = self.keys[input].iter().position(|known| *known == key);
            let key = known.unwrap_or_else(|| {
                self.keys[input].push(key);
                self.keys[input].len() - 1
            });
            path.push(HopPlan { input, key, from });
        }
        path
    }

    /// The input to look into next: one of which a row at most is found before others, one that is arranged already
    /// before others. With its key, and the columns that equal it.
    fn next(&self, reached: &BTreeSet<usize>) -> Option<(usize, Vec<usize>, Vec<usize>)> {
        let open = (0..self.flat.inputs.len()).filter(|input| !reached.contains(input));
        let hops = open.filter_map(|input| {
            let (key, from) = self.key_of(input, reached)?;
            Some((input, key, from))
        });
        hops.min_by_key(|(input, key, _)| {
            let node = &self.flat.inputs[*input];
            let unique = node.facts.key.as_ref();
            let finds_one = unique.is_some_and(|unique| unique.iter().all(|column| key.contains(column)));
            let is_own_key = node.as_source().is_some_and(|relation| relation.key == *key);
            let is_arranged = is_own_key || self.keys[*input].contains(key);
            (!finds_one, !is_arranged, *input)
        })
    }

    /// The columns of `input` that equal columns of what is reached, and those.
    fn key_of(&self, input: usize, reached: &BTreeSet<usize>) -> Option<(Vec<usize>, Vec<usize>)> {
        let both_ways = self.flat.equal.iter().flat_map(|(a, b)| [(*a, *b), (*b, *a)]);
        let mut pairs: Vec<(usize, usize)> = both_ways
            .filter(|(from, to)| reached.contains(&self.input_of(*from)) && self.input_of(*to) == input)
            .map(|(from, to)| (to - self.offsets[input], from))
            .collect();
        pairs.sort_unstable();
        pairs.dedup();
        if let Some(relation) = self.flat.inputs[input].as_source() {
            // the order in which the relation is arranged anyway
            let place = |column: usize| relation.key.iter().position(|key| *key == column);
            pairs.sort_by_key(|(column, _)| place(*column).unwrap_or(usize::MAX));
        }
        (!pairs.is_empty()).then(|| pairs.into_iter().unzip())
    }

    /// The input that a column is of.
    fn input_of(&self, column: usize) -> usize {
        self.offsets.partition_point(|offset| *offset <= column) - 1
    }
}
