//! Reads: the SELECT, its order, its pages.

use super::{Binder, Misfit};
use crate::binding::{Order, OrderColumn, Paging, Query, QueryPlan, RequestFields, ResponseFields};
use crate::codec::RowEncoder;
use crate::declare::{DeclaredQuery, FilterRule, From};
use crate::form::{self, FieldForm, Form};
use crate::scope::rpc_path;
use crate::sql::{OrderItem, quote};
use crate::structure::{self, COUNTS};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind};
use std::sync::Arc;
use viewfeed_change::Relation;

/// Rows of a page when the request does not say.
const DEFAULT_PAGE_SIZE: usize = 100;
/// Rows of a page at most, when the binding does not say.
const MAX_PAGE_SIZE: usize = 1_000;

/// Where a query reads, with what can be selected there.
struct Origin {
    /// What follows FROM.
    from: String,
    name: String,
    schema: SchemaRef,
    /// Names of the columns that make a row unique; empty if none are known.
    key: Vec<String>,
    arguments: Vec<(FieldDescriptor, Form)>,
}

impl Binder<'_> {
    pub(super) fn query(&mut self, declared: &DeclaredQuery) -> Result<Query, Misfit> {
        let forms = form::forms(&declared.row).map_err(|formless| {
            Misfit::from(
                self.scope
                    .field_place(&formless.field)
                    .error(formless.message, formless.advice),
            )
        })?;
        let origin = self.origin(&declared.from, &forms)?;
        let request = self.request_fields();
        let response = self.response_fields(declared);
        let has_pages = request.page_token.is_some() && response.next_page_token.is_some();
        let paging = match (declared.rows.is_some() && has_pages, origin.key.is_empty()) {
            (false, _) => Paging::None,
            (true, true) => Paging::ByValues,
            (true, false) => Paging::ByKey,
        };
        let mut selected: Vec<String> = forms.iter().map(|one| one.field.name().to_owned()).collect();
        let order = self.order(&declared.order_by, &origin, &mut selected)?;
        let columns = select_schema(&selected, &origin.schema);
        let encoder = RowEncoder::plan(&columns, &declared.row)
            .map_err(|mismatches| self.mismatches(&origin.name, mismatches))?;
        let filter = match (&declared.filter, &declared.from) {
            (FilterRule::Named, From::Sql(..)) => Vec::new(),
            (rule, _) => self.filter(rule, &declared.row, &origin.schema, false)?,
        };
        let order = Order::new(order, paging, &columns).map_err(|error| self.failed(&error))?;
        let mut used: Vec<String> = filter.iter().map(|one| one.field.name().to_owned()).collect();
        used.extend(origin.arguments.iter().map(|(field, _)| field.name().to_owned()));
        self.tell_unused(&self.declared.method.input(), &used);
        let max_page_size = or_default(
            declared.max_page_size,
            MAX_PAGE_SIZE.max(declared.default_page_size),
        );
        let list: Vec<String> = selected.iter().map(|name| quote(name)).collect();
        let plan = QueryPlan {
            path: rpc_path(&self.declared.method),
            search_schema: self.scope.schema.clone(),
            select: format!("SELECT {} FROM {}", list.join(", "), origin.from),
            columns,
            arguments: origin.arguments,
            filter,
            order,
            default_page_size: or_default(declared.default_page_size, DEFAULT_PAGE_SIZE).min(max_page_size),
            max_page_size,
            request,
            response,
        };
        self.tried(Query { encoder, plan })
    }

    /// `query`, if what it runs for an empty request can be planned.
    fn tried(&self, query: Query) -> Result<Query, Misfit> {
        let blank = DynamicMessage::new(self.declared.method.input());
        match query.select(&blank).and_then(|select| (self.plans)(&select)) {
            Ok(()) => Ok(query),
            Err(error) => Err(self.error(
                format!("{} cannot be answered: {error}", rpc_path(&self.declared.method)),
                "correct its sql, or create what it reads in migrations/",
            )),
        }
    }

    fn origin(&self, from: &From, forms: &[FieldForm]) -> Result<Origin, Misfit> {
        match from {
            From::Relation(name) => {
                let relation = self.relation(name)?;
                let key = relation
                    .key
                    .iter()
                    .map(|place| relation.columns[*place].name.clone())
                    .collect();
                Ok(Origin {
                    from: qualified(&relation),
                    name: relation.name.to_string(),
                    schema: relation.schema(),
                    key,
                    arguments: Vec::new(),
                })
            }
            From::Sql(sql, fields) => {
                let argument = |field: &FieldDescriptor| {
                    let form = form::form(field).map_err(|formless| {
                        Misfit::from(
                            self.scope
                                .field_place(field)
                                .error(formless.message, formless.advice),
                        )
                    })?;
                    Ok((field.clone(), form))
                };
                // The columns are those of the message: what the SELECT gives is cast to them when it runs.
                let column = |one: &FieldForm| Field::new(one.field.name(), one.form.data_type(), true);
                Ok(Origin {
                    from: format!("({sql}) AS q"),
                    name: "the query".to_owned(),
                    schema: Arc::new(Schema::new(forms.iter().map(column).collect::<Vec<_>>())),
                    key: Vec::new(),
                    arguments: fields.iter().map(argument).collect::<Result<_, Misfit>>()?,
                })
            }
        }
    }

    /// What rows are ordered by: what is declared, then the key, else every column that has an order. Columns that the
    /// message has no field for are selected too.
    fn order(
        &self,
        declared: &[OrderItem],
        origin: &Origin,
        selected: &mut Vec<String>,
    ) -> Result<Vec<OrderColumn>, Misfit> {
        let ascending = |name: &String| OrderItem {
            column: name.clone(),
            descending: false,
            nulls_first: false,
        };
        let mut items = declared.to_vec();
        items.extend(origin.key.iter().map(ascending));
        if origin.key.is_empty() {
            items.extend(
                selected
                    .iter()
                    .filter(|name| is_ordered(&origin.schema, name))
                    .map(ascending),
            );
        }
        let mut columns: Vec<OrderColumn> = Vec::new();
        for item in items {
            if columns.iter().any(|column| column.name == item.column) {
                continue;
            }
            if !is_ordered(&origin.schema, &item.column) {
                let names: Vec<&str> = origin
                    .schema
                    .fields()
                    .iter()
                    .map(|field| field.name().as_str())
                    .collect();
                let message = format!("order_by names {}, which is no column with an order", item.column);
                return Err(self.error(
                    message,
                    format!("the columns of {} are {}", origin.name, names.join(", ")),
                ));
            }
            if !selected.contains(&item.column) {
                selected.push(item.column.clone());
            }
            let place = selected
                .iter()
                .position(|name| *name == item.column)
                .unwrap_or_default();
            columns.push(OrderColumn {
                name: item.column,
                place,
                descending: item.descending,
                nulls_first: item.nulls_first,
            });
        }
        Ok(columns)
    }

    fn request_fields(&self) -> RequestFields {
        let request = self.declared.method.input();
        RequestFields {
            page_size: structure::named(&request, "page_size", &COUNTS),
            page_token: structure::named(&request, "page_token", &[Kind::String]),
            min_version: structure::named(&request, "min_version", &COUNTS),
        }
    }

    fn response_fields(&self, declared: &DeclaredQuery) -> ResponseFields {
        let Some(rows) = &declared.rows else {
            return ResponseFields::default();
        };
        let response = self.declared.method.output();
        let number = |field: FieldDescriptor| field.number();
        ResponseFields {
            rows: Some(rows.number()),
            next_page_token: structure::named(&response, "next_page_token", &[Kind::String]).map(number),
            version: structure::named(&response, "version", &[Kind::Uint64, Kind::Int64]).map(number),
        }
    }
}

fn or_default(size: usize, default: usize) -> usize {
    if size == 0 { default } else { size }
}

fn qualified(relation: &Relation) -> String {
    format!("{}.{}", quote(&relation.name.schema), quote(&relation.name.name))
}

/// The columns of a select list. A name without a column stays out: the encoder then says which field lacks one.
fn select_schema(selected: &[String], schema: &SchemaRef) -> SchemaRef {
    let column = |name: &String| {
        schema
            .column_with_name(name)
            .map(|(_, field)| field.clone().with_nullable(true))
    };
    Arc::new(Schema::new(
        selected.iter().filter_map(column).collect::<Vec<_>>(),
    ))
}

fn is_ordered(schema: &SchemaRef, name: &str) -> bool {
    let nested = |field: &Field| {
        matches!(
            field.data_type(),
            DataType::Struct(_) | DataType::List(_) | DataType::Map(..)
        )
    };
    schema
        .column_with_name(name)
        .is_some_and(|(_, field)| !nested(field))
}
