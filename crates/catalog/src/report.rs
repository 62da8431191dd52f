//! What `viewfeed check` prints: the tables, every rpc with what it became and why, and all that was guessed.

use crate::binding::{FilterField, Mutate, Paging, Query, RowSource, Subscribe};
use crate::codec::sql_name;
use crate::declare::{Declared, Origin};
use crate::{Binding, Module};
use viewfeed_change::{Column, LogicalType, Relation};

/// Where a binding comes from, in words.
pub(crate) fn origin(declared: &Declared) -> String {
    let origin = match declared.origin {
        Origin::Sidecar => "sidecar",
        Origin::Option => "option",
        Origin::Convention => "convention",
    };
    format!("by {origin} at {}", declared.place)
}

/// The whole report.
pub(crate) fn report(module: &Module) -> String {
    let mut out = format!("module {}, schema {}\n", module.name, module.schema);
    for table in &module.tables {
        out.push_str(&format!("\ntable {}\n", table.name));
        table
            .columns
            .iter()
            .enumerate()
            .for_each(|(place, column)| table_line(&mut out, table, place, column));
    }
    for rpc in &module.rpcs {
        out.push_str(&format!("\nrpc {}\n", rpc.path));
        let origin = module
            .origins
            .get(&rpc.path)
            .map(String::as_str)
            .unwrap_or_default();
        let lines = match &rpc.binding {
            Binding::Query(query) => query_lines(query),
            Binding::Subscribe(subscribe) => subscribe_lines(subscribe),
            Binding::Mutate(mutate) => mutate_lines(mutate),
            Binding::Unbound(reason) => vec![("does", "nothing".to_owned()), ("because", reason.clone())],
        };
        for (place, (word, text)) in lines.into_iter().enumerate() {
            let suffix = if place == 0 {
                format!(", {origin}")
            } else {
                String::new()
            };
            out.push_str(&format!("  {word:<9} {text}{suffix}\n"));
        }
    }
    if !module.diagnostics.is_empty() {
        out.push_str("\ntold\n");
        module
            .diagnostics
            .iter()
            .for_each(|diagnostic| out.push_str(&format!("  {diagnostic}\n")));
    }
    out
}

fn table_line(out: &mut String, table: &Relation, place: usize, column: &Column) {
    let meaning = match column.logical {
        LogicalType::Enum => " (enum)",
        LogicalType::Json => " (json)",
        _ => "",
    };
    let mut line = format!("  {:<18} {}{meaning}", column.name, sql_name(&column.data_type));
    if !column.nullable {
        line.push_str(" NOT NULL");
    }
    if let Some(default) = &column.default {
        line.push_str(&format!(" DEFAULT {default}"));
    }
    if table.key.contains(&place) {
        line.push_str(if column.hidden { ", hidden key" } else { ", key" });
    }
    out.push_str(&line);
    out.push('\n');
}

fn query_lines(query: &Query) -> Vec<(&'static str, String)> {
    let plan = &query.plan;
    let mut lines = vec![("does", "query".to_owned()), ("sql", plan.select.clone())];
    if !plan.arguments.is_empty() {
        let argument = |(place, (field, _)): (usize, &(prost_reflect::FieldDescriptor, _))| {
            format!("${} = {}", place + 1, field.name())
        };
        lines.push((
            "with",
            plan.arguments
                .iter()
                .enumerate()
                .map(argument)
                .collect::<Vec<_>>()
                .join(", "),
        ));
    }
    lines.push(("filter", filters(&plan.filter)));
    if !plan.order.columns.is_empty() {
        lines.push(("order", plan.order.text()));
    }
    let by = match plan.order.paging {
        Paging::ByKey => "by key",
        Paging::ByValues => "by value: no key is known",
        Paging::None if plan.response.rows.is_none() => "the first row only",
        Paging::None => "none: all rows in one answer",
    };
    lines.push(match plan.order.paging {
        Paging::None => ("pages", by.to_owned()),
        _ => (
            "pages",
            format!(
                "{} rows, at most {}, {by}",
                plan.default_page_size, plan.max_page_size
            ),
        ),
    });
    lines
}

fn subscribe_lines(subscribe: &Subscribe) -> Vec<(&'static str, String)> {
    let relation = &subscribe.relation;
    let key: Vec<&str> = subscribe
        .key
        .iter()
        .map(|place| relation.columns[*place].name.as_str())
        .collect();
    let envelope = match subscribe.bare {
        true => "bare rows".to_owned(),
        false => format!("{:?}", subscribe.envelope).to_uppercase(),
    };
    vec![
        ("does", "subscribe".to_owned()),
        (
            "to",
            format!(
                "{} {}",
                if relation.as_view().is_some() {
                    "view"
                } else {
                    "table"
                },
                relation.name
            ),
        ),
        (
            "key",
            if key.is_empty() {
                "none".to_owned()
            } else {
                key.join(", ")
            },
        ),
        ("filter", filters(&subscribe.filter_fields)),
        ("envelope", envelope),
    ]
}

fn mutate_lines(mutate: &Mutate) -> Vec<(&'static str, String)> {
    let row = match &mutate.source {
        RowSource::Request => "the request".to_owned(),
        RowSource::Field(field) => format!("its field {}", field.name()),
    };
    let mut lines = vec![
        ("does", format!("{:?}", mutate.mutation).to_lowercase()),
        ("table", mutate.table.name.to_string()),
        ("row", row),
    ];
    if mutate.atomic_stream {
        lines.push(("atomic", "the whole stream is one transaction".to_owned()));
    }
    lines
}

fn filters(filters: &[FilterField]) -> String {
    if filters.is_empty() {
        return "none: every row".to_owned();
    }
    let one = |filter: &FilterField| format!("{} = {}", filter.name, filter.field.name());
    filters.iter().map(one).collect::<Vec<_>>().join(" AND ")
}
