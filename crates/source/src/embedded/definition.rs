//! What CREATE TABLE and ALTER TABLE say of columns and constraints, as a relation. Constraints without a name get the
//! one Postgres would give.

use super::SOURCE;
use super::expression::{Scope, columns_read};
use super::name::{self, identifier, unsupported};
use super::unique::primary_name;
use datafusion::sql::sqlparser::ast::{self, ColumnOption, Expr, TableConstraint};
use std::collections::BTreeSet;
use viewfeed_change::{
    Check, Column, ColumnPath, Error, Index, Relation, RelationId, RelationKind, RelationName, Result,
    SourceId, Table,
};

const FOREIGN_KEY_HINT: &str = "leave REFERENCES out: it would not be enforced";

/// A table as it is being described.
pub(super) struct Definition {
    /// The table so far.
    pub(super) relation: Relation,
    /// Sequences that do not start at 1: name and first value.
    pub(super) starts: Vec<(String, i64)>,
    names_taken: BTreeSet<String>,
}

impl Definition {
    /// A table without columns. `names_taken` are the names of the schema's indexes.
    pub(super) fn new(name: RelationName, names_taken: BTreeSet<String>) -> Self {
        let table = Table {
            source: SourceId::new(SOURCE),
            checks: Vec::new(),
            indexes: Vec::new(),
        };
        let relation = Relation {
            id: RelationId(0),
            name,
            columns: Vec::new(),
            key: Vec::new(),
            kind: RelationKind::Table(table),
            schema_version: 1,
        };
        Self::of(relation, names_taken)
    }

    /// A table that is to be changed.
    pub(super) fn of(relation: Relation, names_taken: BTreeSet<String>) -> Self {
        Self {
            relation,
            starts: Vec::new(),
            names_taken,
        }
    }

    /// Adds a column at the end, with the constraints written beside it.
    pub(super) fn add_column(&mut self, definition: &ast::ColumnDef) -> Result<()> {
        let name = identifier(&definition.name);
        let (data_type, logical) = viewfeed_query::column_type(&definition.data_type)?;
        let mut column = Column {
            logical,
            ..Column::new(0, &name, data_type, true)
        };
        if viewfeed_query::is_serial(&definition.data_type) {
            (column.default, column.nullable) = (Some(self.sequence_default(&name)), false);
        }
        column.id = self
            .relation
            .columns
            .iter()
            .map(|column| column.id + 1)
            .max()
            .unwrap_or(1)
            .max(1);
        self.push(column)?;
        definition
            .options
            .iter()
            .try_for_each(|option| self.add_option(option))
    }

    /// Adds a column that is described already.
    pub(super) fn push(&mut self, column: Column) -> Result<()> {
        if self.relation.column(&column.name).is_some() {
            let message = format!(
                "column \"{}\" of table \"{}\" exists already",
                column.name, self.relation.name
            );
            return Err(Error::new(
                viewfeed_change::ErrorKind::Exists,
                "DUPLICATE_COLUMN",
                message,
            ));
        }
        self.relation.columns.push(column);
        Ok(())
    }

    /// An option of the last column.
    fn add_option(&mut self, option: &ast::ColumnOptionDef) -> Result<()> {
        let place = self.relation.columns.len() - 1;
        let given = option.name.as_ref().map(identifier);
        match &option.option {
            ColumnOption::Null | ColumnOption::Comment(_) => Ok(()),
            ColumnOption::NotNull => {
                self.relation.columns[place].nullable = false;
                Ok(())
            }
            ColumnOption::Default(expr) => {
                self.relation.columns[place].default = Some(expr.to_string());
                Ok(())
            }
            ColumnOption::PrimaryKey(_) => self.set_key(vec![place]),
            ColumnOption::Unique(_) => self.add_unique(given, vec![place]),
            ColumnOption::Check(check) => {
                self.add_check(check.name.as_ref().map(identifier).or(given), &check.expr)
            }
            ColumnOption::Generated {
                generation_expr: None,
                sequence_options,
                ..
            } => self.set_identity(place, sequence_options.as_deref().unwrap_or_default()),
            ColumnOption::ForeignKey(_) => Err(unsupported("FOREIGN KEY", FOREIGN_KEY_HINT)),
            other => Err(unsupported(
                format!("column option {other}"),
                "use NOT NULL, DEFAULT, PRIMARY KEY, UNIQUE, CHECK or GENERATED … AS IDENTITY",
            )),
        }
    }

    /// Adds a constraint of the table.
    pub(super) fn add_constraint(&mut self, constraint: &TableConstraint) -> Result<()> {
        match constraint {
            TableConstraint::PrimaryKey(key) => {
                let places = index_columns(&key.columns, &self.relation)?;
                self.set_key(places)
            }
            TableConstraint::Unique(unique) => {
                if matches!(unique.nulls_distinct, ast::NullsDistinctOption::NotDistinct) {
                    return Err(unsupported("NULLS NOT DISTINCT", "make the columns NOT NULL"));
                }
                let places = index_columns(&unique.columns, &self.relation)?;
                self.add_unique(unique.name.as_ref().map(identifier), places)
            }
            TableConstraint::Check(check) => self.add_check(check.name.as_ref().map(identifier), &check.expr),
            TableConstraint::ForeignKey(_) => Err(unsupported("FOREIGN KEY", FOREIGN_KEY_HINT)),
            other => Err(unsupported(
                format!("constraint {other}"),
                "use PRIMARY KEY, UNIQUE or CHECK",
            )),
        }
    }

    fn set_key(&mut self, places: Vec<usize>) -> Result<()> {
        if !self.relation.key.is_empty() {
            let message = format!("table \"{}\" has more than one primary key", self.relation.name);
            return Err(Error::invalid("MULTIPLE_KEYS", message)
                .hint("write PRIMARY KEY (a, b) for a key of several columns"));
        }
        places
            .iter()
            .for_each(|place| self.relation.columns[*place].nullable = false);
        self.relation.key = places;
        Ok(())
    }

    fn add_unique(&mut self, name: Option<String>, places: Vec<usize>) -> Result<()> {
        let name = self.index_name(name, &places, "key")?;
        let columns = places.into_iter().map(ColumnPath::from).collect();
        self.table().indexes.push(Index {
            name,
            columns,
            unique: true,
        });
        Ok(())
    }

    /// A name for an index over `places`: the given one, which must be free, or one made of the columns.
    pub(super) fn index_name(
        &mut self,
        given: Option<String>,
        places: &[usize],
        suffix: &str,
    ) -> Result<String> {
        let columns: Vec<&str> = places
            .iter()
            .map(|place| &*self.relation.columns[*place].name)
            .collect();
        let made = format!("{}_{}_{suffix}", self.relation.name.name, columns.join("_"));
        let name = match given {
            Some(name) if self.names_taken.contains(&name) || name == primary_name(&self.relation) => {
                let message = format!("an index \"{name}\" exists already");
                return Err(Error::new(
                    viewfeed_change::ErrorKind::Exists,
                    "INDEX_EXISTS",
                    message,
                ));
            }
            Some(name) => name,
            None => free_name(made, |name| self.names_taken.contains(name)),
        };
        self.names_taken.insert(name.clone());
        Ok(name)
    }

    fn add_check(&mut self, given: Option<String>, condition: &Expr) -> Result<()> {
        let condition = Scope::table(&self.relation).localise(condition)?;
        let table_name = &self.relation.name.name;
        let read: Vec<usize> = columns_read(&condition, &self.relation).into_iter().collect();
        let made = match read.as_slice() {
            [place] => format!("{table_name}_{}_check", self.relation.columns[*place].name),
            _ => format!("{table_name}_check"),
        };
        let checks = &mut self.table().checks;
        let is_taken = |name: &str| checks.iter().any(|check| check.name == name);
        let name = match given {
            Some(name) if is_taken(&name) => {
                let message = format!("a check \"{name}\" exists already");
                return Err(Error::new(
                    viewfeed_change::ErrorKind::Exists,
                    "CHECK_EXISTS",
                    message,
                ));
            }
            Some(name) => name,
            None => free_name(made, is_taken),
        };
        checks.push(Check {
            name,
            sql: condition.to_string(),
        });
        Ok(())
    }

    fn set_identity(&mut self, place: usize, options: &[ast::SequenceOptions]) -> Result<()> {
        let name = self.relation.columns[place].name.clone();
        let default = self.sequence_default(&name);
        let column = &mut self.relation.columns[place];
        if !column.data_type.is_integer() {
            let message = format!("column \"{name}\" cannot be an identity: it is no integer");
            return Err(Error::invalid("TYPE_MISMATCH", message).hint("make it bigint"));
        }
        (column.default, column.nullable) = (Some(default), false);
        let sequence = sequence_label(&self.relation.name.name, &name);
        for option in options {
            match option {
                ast::SequenceOptions::StartWith(first, _) => {
                    self.starts.push((sequence.clone(), positive(first)?))
                }
                ast::SequenceOptions::IncrementBy(by, _) if positive(by).is_ok_and(|by| by == 1) => {}
                ast::SequenceOptions::Cache(_) | ast::SequenceOptions::Cycle(false) => {}
                ast::SequenceOptions::MinValue(None) | ast::SequenceOptions::MaxValue(None) => {}
                other => {
                    return Err(unsupported(
                        format!("sequence option{other}"),
                        "use START WITH n only",
                    ));
                }
            }
        }
        Ok(())
    }

    fn sequence_default(&self, column: &str) -> String {
        format!(
            "nextval('{}')",
            sequence_label(&self.relation.name.name, column).replace('\'', "''")
        )
    }

    /// The table's own part of the relation.
    pub(super) fn table(&mut self) -> &mut Table {
        match &mut self.relation.kind {
            RelationKind::Table(table) => table,
            RelationKind::View(_) => unreachable!("only tables are described"),
        }
    }
}

/// The places of the columns of an index or constraint. Expressions are refused.
pub(super) fn index_columns(columns: &[ast::IndexColumn], relation: &Relation) -> Result<Vec<usize>> {
    let mut places = Vec::with_capacity(columns.len());
    for column in columns {
        let Expr::Identifier(ident) = &column.column.expr else {
            return Err(unsupported("an index over an expression", "index plain columns"));
        };
        let place = name::column(&identifier(ident), relation)?;
        if places.contains(&place) {
            let message = format!(
                "column \"{}\" stands twice in a key",
                relation.columns[place].name
            );
            return Err(Error::invalid("DUPLICATE_COLUMN", message));
        }
        places.push(place);
    }
    Ok(places)
}

fn sequence_label(table: &str, column: &str) -> String {
    format!("{table}_{column}_seq")
}

/// `made`, with a number behind it if that is taken.
fn free_name(made: String, is_taken: impl Fn(&str) -> bool) -> String {
    if !is_taken(&made) {
        return made;
    }
    (1_u64..)
        .map(|number| format!("{made}{number}"))
        .find(|name| !is_taken(name))
        .unwrap_or(made)
}

fn positive(expr: &Expr) -> Result<i64> {
    let number = match expr {
        Expr::Value(value) => value.value.to_string().parse().ok().filter(|number| *number > 0),
        _ => None,
    };
    number.ok_or_else(|| {
        unsupported(
            "a sequence that starts below 1 or steps otherwise than by 1",
            "start at 1 or above",
        )
    })
}
