//! Bindings that an author wrote: what options say, and the checks that options and sidecars share.

use super::{
    DeclaredMutate, DeclaredQuery, DeclaredSubscribe, FilterItem, FilterRule, From, What, mutation_by_name,
};
use crate::binding::Mutation;
use crate::scope::Scope;
use crate::sql::{self, OrderItem};
use crate::structure;
use prost_reflect::{FieldDescriptor, MessageDescriptor, MethodDescriptor};
use viewfeed_wire::v1;
use viewfeed_wire::v1::rpc_options::Kind;

/// What is wrong, and what to do.
pub(super) type Refusal = (String, String);

pub(super) fn refuse<T>(message: impl Into<String>, advice: impl Into<String>) -> Result<T, Refusal> {
    Err((message.into(), advice.into()))
}

/// What an option says.
pub(super) fn from_option(scope: &Scope, method: &MethodDescriptor, kind: Kind) -> Result<What, Refusal> {
    match kind {
        Kind::Query(query) => {
            let from = match query.from {
                Some(v1::query_binding::From::View(view)) => From::Relation(view),
                Some(v1::query_binding::From::Sql(text)) => parse_sql(&text, &method.input())?,
                None => {
                    return refuse(
                        "the query names no view and no sql",
                        "add view: \"name\" or sql: \"SELECT …\"",
                    );
                }
            };
            let filter = filter_rule(&query.filter, &method.input())?;
            let paging = (query.default_page_size, query.max_page_size);
            Ok(What::Query(declared_query(
                method,
                from,
                order(&query.order_by)?,
                paging,
                filter,
            )?))
        }
        Kind::Subscribe(subscribe) => {
            let relation = Some(subscribe.view.clone()).filter(|view| !view.is_empty());
            let filter = filter_rule(&subscribe.filter, &method.input())?;
            let envelope = subscribe.envelope();
            Ok(What::Subscribe(declared_subscribe(
                method,
                relation,
                subscribe.key,
                envelope,
                filter,
            )?))
        }
        Kind::Mutate(mutate) => {
            let mutation = match mutate.operation() {
                v1::Operation::Unspecified => mutation_by_name(method.name()),
                v1::Operation::Insert => Mutation::Insert,
                v1::Operation::Update => Mutation::Update,
                v1::Operation::Upsert => Mutation::Upsert,
                v1::Operation::Delete => Mutation::Delete,
            };
            let table = Some(mutate.table).filter(|table| !table.is_empty());
            let row_field = row_field(scope, method, &mutate.row_field, table.as_deref())?;
            Ok(What::Mutate(declared_mutate(
                method,
                table,
                row_field,
                mutation,
                mutate.atomic_stream,
            )?))
        }
    }
}

pub(super) fn order(text: &str) -> Result<Vec<OrderItem>, Refusal> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let advice = "order by columns, for example: sent_at DESC NULLS LAST, id";
    sql::parse_order(text).map_or_else(
        || refuse(format!("order_by \"{text}\" is not understood"), advice),
        Ok,
    )
}

pub(super) fn parse_sql(text: &str, request: &MessageDescriptor) -> Result<From, Refusal> {
    let (sql, names) = sql::number_parameters(text.trim().trim_end_matches(';'));
    let fields = names
        .iter()
        .map(|name| request_field(request, name))
        .collect::<Result<_, _>>()?;
    Ok(From::Sql(sql, fields))
}

fn request_field(request: &MessageDescriptor, name: &str) -> Result<FieldDescriptor, Refusal> {
    match request.get_field_by_name(name) {
        Some(field) => Ok(field),
        None => {
            let names: Vec<String> = request.fields().map(|field| field.name().to_owned()).collect();
            let advice = format!("its fields are {}", names.join(", "));
            refuse(
                format!("the request {} has no field {name}", request.full_name()),
                advice,
            )
        }
    }
}

/// `field`, or `column.path = field`.
pub(super) fn filter_rule(items: &[String], request: &MessageDescriptor) -> Result<FilterRule, Refusal> {
    if items.is_empty() {
        return Ok(FilterRule::Named);
    }
    let mut listed = Vec::new();
    for item in items {
        let (column, name) = item.split_once('=').unwrap_or((item, item));
        let field = request_field(request, name.trim())?;
        if !structure::can_filter(&field) {
            let advice = "filter by fields that are one number, text, bytes, bool or enum";
            return refuse(format!("field {} cannot filter", field.full_name()), advice);
        }
        listed.push(FilterItem {
            column: column.trim().to_owned(),
            field,
        });
    }
    Ok(FilterRule::Listed(listed))
}

pub(super) fn declared_query(
    method: &MethodDescriptor,
    from: From,
    order_by: Vec<OrderItem>,
    (default_page_size, max_page_size): (i32, i32),
    filter: FilterRule,
) -> Result<DeclaredQuery, Refusal> {
    if method.is_server_streaming() || method.is_client_streaming() {
        let advice = "remove `stream` (AIP-158: a list comes in pages), or bind the rpc with subscribe";
        return refuse("a query cannot stream", advice);
    }
    if default_page_size < 0 || max_page_size < 0 {
        return refuse("a page size is negative", "leave it out for the default");
    }
    let (rows, row) = match structure::row_fields(&method.output()).into_iter().next() {
        Some((field, row)) => (Some(field), row),
        None => (None, method.output()),
    };
    Ok(DeclaredQuery {
        rows,
        row,
        from,
        order_by,
        default_page_size: default_page_size as usize,
        max_page_size: max_page_size as usize,
        filter,
    })
}

pub(super) fn declared_subscribe(
    method: &MethodDescriptor,
    relation: Option<String>,
    key: Vec<String>,
    envelope: v1::Envelope,
    filter: FilterRule,
) -> Result<DeclaredSubscribe, Refusal> {
    if !method.is_server_streaming() || method.is_client_streaming() {
        return refuse(
            "a subscription streams its response, and only that",
            "declare it as rpc X(Request) returns (stream Response)",
        );
    }
    let response = method.output();
    let row = match structure::frame_field(&response) {
        None => response,
        Some(_) => match structure::row_fields(&response).into_iter().next() {
            Some((_, row)) => row,
            None => {
                let message = format!("the response {} has a Frame but no rows", response.full_name());
                return refuse(
                    message,
                    "add a repeated field of the row's message: repeated Message upserts = 2",
                );
            }
        },
    };
    Ok(DeclaredSubscribe {
        row,
        relation,
        key,
        envelope,
        filter,
    })
}

pub(super) fn declared_mutate(
    method: &MethodDescriptor,
    table: Option<String>,
    row_field: Option<FieldDescriptor>,
    mutation: Mutation,
    atomic_stream: bool,
) -> Result<DeclaredMutate, Refusal> {
    // Where both sides stream, every message is acknowledged.
    if method.is_server_streaming() && !method.is_client_streaming() {
        return refuse("a mutation answers once", "remove `stream` from the response");
    }
    let row = match &row_field {
        None => method.input(),
        Some(field) => match structure::message_of(field) {
            Some(row) => row,
            None => {
                return refuse(
                    format!("field {} is no message", field.full_name()),
                    "name the field that holds the row",
                );
            }
        },
    };
    Ok(DeclaredMutate {
        row,
        row_field,
        table,
        mutation,
        atomic_stream,
    })
}

/// The field that holds the row: as named, else the only field of the table's message.
pub(super) fn row_field(
    scope: &Scope,
    method: &MethodDescriptor,
    name: &str,
    table: Option<&str>,
) -> Result<Option<FieldDescriptor>, Refusal> {
    if !name.is_empty() {
        return request_field(&method.input(), name).map(Some);
    }
    let request = method.input();
    let holds_row = |field: &FieldDescriptor| {
        structure::message_of(field).is_some_and(|row| match table {
            Some(table) => scope.relation_name(&row) == table,
            None => scope.is_own(&row.parent_file()),
        })
    };
    if table.is_some_and(|table| scope.relation_name(&request) == table) {
        return Ok(None);
    }
    let mut fields = request.fields().filter(holds_row);
    Ok(fields.next().filter(|_| fields.next().is_none()))
}
