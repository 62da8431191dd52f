//! What became of a table: whether the rows we have can follow it, or have to be read again.

use super::{ColumnShape, TableShape};
use crate::postgres::pgoutput::{Relation, RelationColumn, ReplicaIdentity};

impl TableShape {
    /// Whether rows of the one cannot be rows of the other.
    pub(in crate::postgres) fn has_other_rows(&self, later: &Self) -> bool {
        self.columns != later.columns || self.identity != later.identity || self.is_rewritten(later)
    }

    /// Whether the rows may have other values in the same columns, of which the stream says nothing. (New columns may have the rows
    /// written anew too, and leave the others' values what they were.)
    pub(in crate::postgres) fn is_rewritten(&self, later: &Self) -> bool {
        self.columns == later.columns && self.rows.is_rewritten(later.rows)
    }

    /// Where the columns of this shape are in rows of another shape of the table. None if those are no rows of this shape: a
    /// column is gone or has values of another type, or rows are found by other columns.
    pub(in crate::postgres) fn places_in(&self, other: &Self) -> Option<Vec<usize>> {
        let has_same_key = || {
            let keys = other.columns.iter().filter(|column| column.is_key);
            keys.count() == self.columns.iter().filter(|column| column.is_key).count()
        };
        let place = |column: &ColumnShape| other.columns.iter().position(|other| column.has_values_of(other));
        let is_same = self.oid == other.oid && self.row_filter == other.row_filter && has_same_key();
        is_same
            .then(|| self.columns.iter().map(place).collect())
            .flatten()
    }

    /// Whether the first columns that a RELATION message lists are those of this shape, which the table had before; it came to
    /// look like `later` after the message. Columns are listed in the order of their numbers, which are never given again: so
    /// if `later` has all of ours still, and only newer ones beside them, then in between ours came first too.
    pub(in crate::postgres) fn begins(&self, relation: &Relation<'_>, later: &Self) -> bool {
        let is_older = |column: &ColumnShape| column.number <= self.last_number;
        let has_all = self.places_in(later).is_some();
        let has_no_other =
            later.columns.iter().filter(|column| is_older(column)).count() == self.columns.len();
        let is_whole_row_key = self.identity == ReplicaIdentity::Full;
        let identity = [self.identity, later.identity, relation.identity];
        let described = |(ours, theirs): (&ColumnShape, &RelationColumn<'_>)| {
            let name = |column: &ColumnShape| column.number == ours.number && column.name == theirs.name;
            (name(ours) || later.columns.iter().any(name))
                && ours.type_oid == theirs.type_oid
                && ours.type_modifier == theirs.type_modifier
                && (ours.is_key || is_whole_row_key) == theirs.is_key
        };
        let mut rest = relation.columns.iter().skip(self.columns.len());
        relation.oid == self.oid
            && has_all
            && has_no_other
            && identity.iter().all(|identity| *identity == self.identity)
            && self.columns.len() <= relation.columns.len()
            && self.columns.iter().zip(&relation.columns).all(described)
            && rest.all(|column| column.is_key == is_whole_row_key)
    }
}

impl ColumnShape {
    /// Whether it is the same column, with values of the same type.
    fn has_values_of(&self, other: &Self) -> bool {
        self.number == other.number
            && self.type_oid == other.type_oid
            && self.type_modifier == other.type_modifier
            && self.value == other.value
            && self.is_key == other.is_key
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::RowsVersion;
    use crate::postgres::pgoutput::Oid;
    use crate::postgres::value::ValueType;

    /// A table whose columns have these numbers and names; the first is its key.
    fn shape(columns: &[(i16, &str)], last_number: i16) -> TableShape {
        let column = |(place, (number, name)): (usize, &(i16, &str))| ColumnShape {
            number: *number,
            name: (*name).to_owned(),
            type_oid: Oid(25),
            type_modifier: -1,
            value: ValueType::Text,
            is_key: place == 0,
        };
        TableShape {
            oid: Oid(7),
            schema: "public".to_owned(),
            name: "t".to_owned(),
            identity: ReplicaIdentity::Default,
            columns: columns.iter().enumerate().map(column).collect(),
            last_number,
            row_filter: None,
            rows: RowsVersion::default(),
        }
    }

    fn message<'a>(names: &[&'a str]) -> Relation<'a> {
        let column = |(place, name): (usize, &&'a str)| RelationColumn {
            is_key: place == 0,
            name,
            type_oid: Oid(25),
            type_modifier: -1,
        };
        Relation {
            xid: None,
            oid: Oid(7),
            schema: "public",
            name: "t",
            identity: ReplicaIdentity::Default,
            columns: names.iter().enumerate().map(column).collect(),
        }
    }

    #[test]
    fn rows_between_two_shapes_begin_with_the_columns_of_both() {
        let (before, later) = (
            shape(&[(1, "a"), (2, "b")], 2),
            shape(&[(1, "a"), (2, "b"), (4, "d")], 4),
        );
        for names in [&["a", "b"][..], &["a", "b", "c"], &["a", "b", "c", "d"]] {
            assert!(before.begins(&message(names), &later), "{names:?}");
        }
        assert!(!before.begins(&message(&["a"]), &later));
        assert!(!before.begins(&message(&["a", "x"]), &later));
    }

    #[test]
    fn a_column_of_the_same_name_is_not_taken_for_the_one_that_went() {
        let before = shape(&[(1, "a"), (2, "b")], 2);
        let later = shape(&[(1, "a"), (3, "b")], 3);
        assert_eq!(before.places_in(&later), None);
        assert!(!before.begins(&message(&["a", "b"]), &later));
        // Nor is one that was there and is published since.
        let published = shape(&[(1, "a"), (2, "b")], 2);
        assert!(!shape(&[(1, "a")], 2).begins(&message(&["a", "b"]), &published));
    }

    #[test]
    fn renamed_columns_are_the_same_and_added_ones_are_left_out() {
        let (before, later) = (
            shape(&[(1, "a"), (3, "c")], 3),
            shape(&[(1, "a"), (3, "x"), (4, "c")], 4),
        );
        assert_eq!(before.places_in(&later), Some(vec![0, 1]));
        assert!(before.begins(&message(&["a", "x"]), &later));
        let mut other_key = later.clone();
        other_key.columns[1].is_key = true;
        assert_eq!(before.places_in(&other_key), None);
    }
}
