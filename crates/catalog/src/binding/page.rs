//! Pages (AIP-158): where one ends and the next begins. A page token is opaque and URL-safe, bound to the request, and
//! carries no authorisation.
//!
//! ```text
//! token = base64url( 01 · request hash (8) · version (8) · ties (8) · order values of the last row (row codec) )
//! ```
//!
//! Where a key is known, the order is total and the next page is what comes after the last row: exact whatever is written
//! between pages. Where none is, the order takes in every column, and rows that still tie are counted: the next page
//! begins at the last row's values and leaves out as many.

use crate::sql;
use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::sync::Arc;
use viewfeed_change::row::RowCodec;
use viewfeed_change::{Error, Result};

const TOKEN_VERSION: u8 = 1;

/// A column that rows are ordered by.
#[derive(Clone, Debug)]
pub(crate) struct OrderColumn {
    pub(crate) name: String,
    /// Its place in the select list.
    pub(crate) place: usize,
    pub(crate) descending: bool,
    pub(crate) nulls_first: bool,
}

/// How a page finds its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paging {
    /// After the last row; no two rows have the same order values.
    ByKey,
    /// At the last row's values; as many rows with these values as were sent are left out.
    ByValues,
    /// There is one page only.
    None,
}

/// What a token says.
#[derive(Clone, Debug)]
pub(crate) struct Resumed {
    /// The order values of the last row, encoded.
    encoded: Vec<u8>,
    /// The same, one element each.
    pub(crate) values: Vec<ArrayRef>,
    /// How many rows with these values were sent.
    pub(crate) ties: u64,
    /// The version the page before was read at.
    pub(crate) version: u64,
}

/// The order of a query's rows.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) columns: Vec<OrderColumn>,
    pub(crate) paging: Paging,
    codec: RowCodec,
}

impl Order {
    /// `select` is the schema of the select list.
    pub(crate) fn new(columns: Vec<OrderColumn>, paging: Paging, select: &SchemaRef) -> Result<Self> {
        let fields: Vec<_> = columns
            .iter()
            .map(|column| select.field(column.place).clone())
            .collect();
        let codec = RowCodec::for_schema(&Arc::new(Schema::new(fields)))?;
        Ok(Self {
            columns,
            paging,
            codec,
        })
    }

    /// ` ORDER BY …`, or nothing.
    pub(crate) fn clause(&self) -> String {
        if self.columns.is_empty() {
            return String::new();
        }
        format!(" ORDER BY {}", self.text())
    }

    /// The list of ORDER BY.
    pub(crate) fn text(&self) -> String {
        let item = |column: &OrderColumn| {
            let direction = if column.descending { "DESC" } else { "ASC" };
            let nulls = if column.nulls_first { "FIRST" } else { "LAST" };
            format!("{} {direction} NULLS {nulls}", sql::quote(&column.name))
        };
        self.columns.iter().map(item).collect::<Vec<_>>().join(", ")
    }

    /// The condition that rows come after `values`, or at them where they may tie; NULL-safe, for any mix of directions.
    /// Pushes parameters.
    pub(crate) fn after(&self, values: &[ArrayRef], params: &mut Vec<ArrayRef>) -> String {
        let mut placeholders = Vec::new();
        for value in values {
            if !value.is_null(0) {
                params.push(value.clone());
            }
            placeholders.push((!value.is_null(0)).then_some(params.len()));
        }
        let mut alternatives = Vec::new();
        for (place, column) in self.columns.iter().enumerate() {
            let Some(later) = column.later(placeholders[place]) else {
                continue;
            };
            let mut all = self.equal(&placeholders[..place]);
            all.push(later);
            alternatives.push(format!("({})", all.join(" AND ")));
        }
        if self.paging == Paging::ByValues {
            alternatives.push(format!("({})", self.equal(&placeholders).join(" AND ")));
        }
        if alternatives.is_empty() {
            return "false".to_owned();
        }
        format!("({})", alternatives.join(" OR "))
    }

    /// The first columns equal their parameters.
    fn equal(&self, placeholders: &[Option<usize>]) -> Vec<String> {
        let equal = self
            .columns
            .iter()
            .zip(placeholders)
            .map(|(column, placeholder)| column.equal(*placeholder));
        equal.collect()
    }

    /// The token of the page after `page`, which is not empty and began at `start`.
    pub(crate) fn token(
        &self,
        hash: u64,
        version: u64,
        page: &RecordBatch,
        start: Option<&Resumed>,
    ) -> Result<String> {
        let places: Vec<usize> = self.columns.iter().map(|column| column.place).collect();
        let rows = self.codec.encode(&page.project(&places)?)?;
        let last = rows.row(rows.len() - 1);
        let mut ties = (0..rows.len())
            .rev()
            .take_while(|row| rows.row(*row) == last)
            .count() as u64;
        if ties == rows.len() as u64 && start.is_some_and(|start| start.encoded == last) {
            ties += start.map_or(0, |start| start.ties);
        }
        let mut token = vec![TOKEN_VERSION];
        [hash, version, ties]
            .iter()
            .for_each(|number| token.extend(number.to_le_bytes()));
        token.extend(last);
        Ok(URL_SAFE_NO_PAD.encode(token))
    }

    /// Where the page of a token begins. Fails as `Invalid` on a token that this server did not give for this request.
    pub(crate) fn resume(&self, token: &str, hash: u64) -> Result<Resumed> {
        let wrong = || {
            Error::invalid("PAGE_TOKEN", "page_token is not one of this request").hint(
                "send next_page_token of the page before, with the same other fields, or leave it empty",
            )
        };
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| wrong())?;
        let (head, encoded) = bytes.split_at_checked(25).ok_or_else(wrong)?;
        let number = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
        if head[0] != TOKEN_VERSION || number(1) != hash {
            return Err(wrong());
        }
        let row = self.codec.decode(std::iter::once(encoded)).map_err(|_| wrong())?;
        Ok(Resumed {
            encoded: encoded.to_vec(),
            values: row.columns().to_vec(),
            ties: number(17),
            version: number(9),
        })
    }
}

impl OrderColumn {
    /// The column equals the parameter; None is NULL.
    fn equal(&self, placeholder: Option<usize>) -> String {
        let name = sql::quote(&self.name);
        match placeholder {
            Some(number) => format!("{name} = ${number}"),
            None => format!("{name} IS NULL"),
        }
    }

    /// The column comes after the parameter; None if nothing does.
    fn later(&self, placeholder: Option<usize>) -> Option<String> {
        let name = sql::quote(&self.name);
        let compare = if self.descending { '<' } else { '>' };
        match (placeholder, self.nulls_first) {
            (Some(number), true) => Some(format!("{name} {compare} ${number}")),
            (Some(number), false) => Some(format!("({name} {compare} ${number} OR {name} IS NULL)")),
            (None, true) => Some(format!("{name} IS NOT NULL")),
            (None, false) => None,
        }
    }
}
