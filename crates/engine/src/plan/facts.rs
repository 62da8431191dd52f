//! What is known about the rows of a node without looking at them: unique keys, equal columns, meanings of columns.
//! A key must be right, because rows with a key are stored as unique: when in doubt there is none.

use viewfeed_change::{LogicalType, Relation};

/// What is known about a collection.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Facts {
    /// Columns that no two rows have equal; an empty list: there is at most one row; None: unknown.
    pub(crate) key: Option<Vec<usize>>,
    /// Pairs of columns that are bit-identical in every row.
    pub(crate) equal: Vec<(usize, usize)>,
    /// What each column means beyond its type.
    pub(crate) meaning: Vec<LogicalType>,
}

impl Facts {
    /// Nothing, about `width` columns.
    pub(crate) fn unknown(width: usize) -> Self {
        Self {
            meaning: vec![LogicalType::Plain; width],
            ..Self::default()
        }
    }

    /// What a relation declares.
    pub(crate) fn of_relation(relation: &Relation) -> Self {
        Self {
            key: (!relation.key.is_empty()).then(|| relation.key.clone()),
            equal: Vec::new(),
            meaning: relation
                .columns
                .iter()
                .map(|column| column.logical.clone())
                .collect(),
        }
    }

    /// After a projection: `origins[i]` is the column that output column `i` is a copy of, if it is one.
    pub(crate) fn select(&self, origins: &[Option<usize>]) -> Self {
        let copy_of = |column: usize| origins.iter().position(|origin| *origin == Some(column));
        let place = |column: &usize| {
            copy_of(*column).or_else(|| self.partners(*column).into_iter().find_map(copy_of))
        };
        let meaning = |origin: &Option<usize>| origin.map(|column| self.meaning[column].clone());
        Self {
            key: self.key.as_ref().and_then(|key| key.iter().map(place).collect()),
            equal: self
                .equal
                .iter()
                .filter_map(|(a, b)| Some((copy_of(*a)?, copy_of(*b)?)))
                .collect(),
            meaning: origins
                .iter()
                .map(|origin| meaning(origin).unwrap_or_default())
                .collect(),
        }
    }

    /// The rows pairs of left and right rows make, the left columns first. `pairs` are the equal columns (left, right)
    /// by which they are joined.
    pub(crate) fn join(left: &Self, right: &Self, pairs: &[(usize, usize)]) -> Self {
        let width = left.meaning.len();
        let shift = |column: &usize| column + width;
        let mut equal = left.equal.clone();
        equal.extend(right.equal.iter().map(|(a, b)| (a + width, b + width)));
        equal.extend(pairs.iter().map(|(a, b)| (*a, b + width)));
        let right_key = right
            .key
            .as_ref()
            .map(|key| key.iter().map(shift).collect::<Vec<_>>());
        let key = match (&left.key, right_key) {
            (Some(left_key), Some(right_key)) => {
                let right_is_one = covers(pairs.iter().map(|pair| pair.1 + width), &right_key);
                let left_is_one = covers(pairs.iter().map(|pair| pair.0), left_key);
                match (right_is_one, left_is_one) {
                    (true, _) => Some(left_key.clone()),
                    (_, true) => Some(right_key),
                    _ => Some(left_key.iter().copied().chain(right_key).collect()),
                }
            }
            _ => None,
        };
        Self {
            key,
            equal,
            meaning: left.meaning.iter().chain(&right.meaning).cloned().collect(),
        }
    }

    /// The same with the rows of the left side (of the right side) that have no partner, padded with NULLs. Only a key
    /// of one kept side may stand alone then: NULLs stand for the other one's more than once. Columns that are equal
    /// within a side are both NULL where it is padded, those of different sides are not equal any more.
    pub(crate) fn outer_join(
        left: &Self,
        right: &Self,
        pairs: &[(usize, usize)],
        (kept_left, kept_right): (bool, bool),
    ) -> Self {
        let width = left.meaning.len();
        // At most one pair says nothing about how many rows have none.
        let stands_alone =
            |key: &[usize]| !key.is_empty() && key.iter().all(|column| (*column >= width) == kept_right);
        let (paired, unpaired) = (Self::join(left, right, pairs), Self::join(left, right, &[]));
        let key = match paired.key {
            _ if kept_left && kept_right => None,
            Some(key) if stands_alone(&key) => Some(key),
            _ => unpaired.key,
        };
        Self { key, ..unpaired }
    }

    /// The columns equal to `column`, itself not included.
    fn partners(&self, column: usize) -> Vec<usize> {
        let other = |(a, b): &(usize, usize)| match column {
            c if c == *a => Some(*b),
            c if c == *b => Some(*a),
            _ => None,
        };
        self.equal.iter().filter_map(other).collect()
    }
}

/// Whether all of `key` is among `columns`.
fn covers(columns: impl Iterator<Item = usize>, key: &[usize]) -> bool {
    let columns: Vec<usize> = columns.collect();
    key.iter().all(|column| columns.contains(column))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyed(key: &[usize], width: usize) -> Facts {
        Facts {
            key: Some(key.to_vec()),
            ..Facts::unknown(width)
        }
    }

    #[test]
    fn a_lookup_by_the_right_key_keeps_the_left_key() {
        let joined = Facts::join(&keyed(&[0], 2), &keyed(&[0], 2), &[(1, 0)]);
        assert_eq!(joined.key, Some(vec![0]));
    }

    #[test]
    fn a_join_by_other_columns_needs_both_keys() {
        let joined = Facts::join(&keyed(&[0], 2), &keyed(&[0], 2), &[(1, 1)]);
        assert_eq!(joined.key, Some(vec![0, 2]));
    }

    #[test]
    fn an_unknown_key_on_either_side_leaves_none() {
        assert_eq!(
            Facts::join(&keyed(&[0], 2), &Facts::unknown(2), &[(0, 0)]).key,
            None
        );
    }

    #[test]
    fn a_side_of_one_row_leaves_a_kept_side_its_key() {
        let pairs = [(1, 0)];
        let right = Facts::outer_join(&keyed(&[], 2), &keyed(&[0], 2), &pairs, (false, true));
        assert_eq!(right.key, Some(vec![2]));
        let left = Facts::outer_join(&keyed(&[0], 2), &keyed(&[], 2), &[(0, 1)], (true, false));
        assert_eq!(left.key, Some(vec![0]));
        let one = Facts::outer_join(&keyed(&[], 2), &keyed(&[], 2), &pairs, (false, true));
        assert_eq!(one.key, Some(vec![]));
    }

    #[test]
    fn a_projection_without_a_key_column_has_no_key_unless_an_equal_one_stays() {
        let joined = Facts::join(&keyed(&[0], 2), &keyed(&[0], 2), &[(0, 1)]);
        assert_eq!(joined.key, Some(vec![2]));
        assert_eq!(joined.select(&[Some(1)]).key, None);
        let both = Facts::join(&keyed(&[0], 1), &keyed(&[0, 1], 2), &[(0, 0)]);
        assert_eq!(both.key, Some(vec![1, 2]));
        assert_eq!(both.select(&[Some(2), Some(0)]).key, Some(vec![1, 0]));
    }
}
