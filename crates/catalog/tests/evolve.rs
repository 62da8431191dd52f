//! What may change while a table keeps its rows.

use crate::support::{compiled, lines, proto};
use viewfeed_change::Relation;

fn evolve(old: &str, new: &str) -> Result<Vec<String>, String> {
    let existing: Relation = compiled(&proto(&message(old))).tables[0].clone();
    evolve_from(&existing, new)
}

fn evolve_from(existing: &Relation, new: &str) -> Result<Vec<String>, String> {
    let module = compiled(&proto(&message(new)));
    let added = module
        .evolve(existing, &module.tables[0])
        .map_err(|diagnostics| lines(&diagnostics))?;
    Ok(added.into_iter().map(|column| column.name).collect())
}

fn message(fields: &str) -> String {
    format!("message A {{ option (viewfeed.v1.table) = {{}}; {fields}\n}}")
}

#[test]
fn a_new_field_is_a_new_column() {
    let added = evolve(
        "string id = 1;",
        "string id = 1; int32 size = 5; optional string note = 2;",
    );
    assert_eq!(added.unwrap(), ["note", "size"]);
}

#[test]
fn nothing_new_is_nothing_to_do() {
    assert_eq!(evolve("string a = 1;", "string a = 1;").unwrap(), [] as [&str; 0]);
}

#[test]
fn the_order_of_fields_does_not_matter() {
    assert_eq!(
        evolve("string id = 1; string b = 2;", "string b = 2; string id = 1;").unwrap(),
        [] as [&str; 0]
    );
}

#[test]
fn everything_else_is_refused_with_advice() {
    let cases = [
        (
            "string id = 1; string b = 2;",
            "string id = 1;",
            "field 2 (b) of m.a is gone",
        ),
        (
            "string id = 1; string b = 2;",
            "string id = 1; string c = 2;",
            "was b and is now c",
        ),
        (
            "string id = 1; string b = 2;",
            "string id = 1; int32 b = 2;",
            "was text and is now integer",
        ),
        (
            "string id = 1; string b = 2;",
            "string id = 1; string b = 3;",
            "had number 2 and now has 3",
        ),
        (
            "string id = 1; string b = 2;",
            "string id = 1; optional string b = 2;",
            "could not be NULL and now can",
        ),
        (
            "string b = 2;",
            "string b = 2; string id = 1;",
            "the key of m.a was (_id) and is now (id)",
        ),
        (
            "string id = 1;",
            "string id = 1 [(viewfeed.v1.column).preset = \"'x'\"];",
            "default or preset",
        ),
    ];
    for (old, new, wanted) in cases {
        let told = evolve(old, new).unwrap_err();
        assert!(told.contains(wanted), "{wanted:?} is not in {told}");
        assert!(
            told.starts_with("m.proto:2: error: ") && told.contains('('),
            "{told}"
        );
    }
}

#[test]
fn columns_that_sql_added_stay() {
    let mut existing = compiled(&proto(&message("string a = 1;"))).tables[0].clone();
    let last = existing.columns.iter().map(|column| column.id).max().unwrap();
    existing.columns.push(viewfeed_change::Column::new(
        last + 1,
        "extra",
        arrow::datatypes::DataType::Utf8,
        true,
    ));
    assert_eq!(
        evolve_from(&existing, "string a = 1; string b = 2;").unwrap(),
        ["b"]
    );
    assert!(
        evolve_from(&existing, "string a = 1; string extra = 2;")
            .unwrap_err()
            .contains("added by SQL")
    );
}

#[test]
fn a_new_field_inside_a_nested_message_is_refused() {
    let files = |inner: &str| {
        proto(&format!(
            "message In {{ {inner} }} message A {{ option (viewfeed.v1.table) = {{}}; string id = 1;\n In inside = 2; }}"
        ))
    };
    let existing = compiled(&files("string a = 1;")).tables[0].clone();
    let module = compiled(&files("string a = 1; string b = 2;"));
    let told = lines(&module.evolve(&existing, &module.tables[0]).unwrap_err());
    assert!(
        told.starts_with("m.proto:3: error: column inside of m.a was struct(a text) and is now"),
        "{told}"
    );
}
