//! Settings from options and back.

use super::*;

const CONNECTION: (&str, &str) = ("connection", "host=db dbname=shop user=reader");

fn owned(options: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    options.iter().map(owned).collect()
}

fn settings(options: &[(&str, &str)]) -> Result<Settings> {
    Settings::from_options("shop", &owned(&[&[CONNECTION], options].concat()))
}

fn refused(options: &[(&str, &str)]) -> Error {
    let error = settings(options).expect_err(&format!("{options:?}"));
    assert_eq!(error.reason(), "SOURCE_OPTION");
    error
}

#[test]
fn a_connection_is_enough() {
    let settings = settings(&[]).unwrap();
    let want = Settings {
        connection: CONNECTION.1.to_owned(),
        password_env: None,
        password_file: None,
        tables: vec!["public.*".to_owned()],
        schema: "shop".to_owned(),
        publication: "viewfeed_shop".to_owned(),
        slot: "viewfeed_shop".to_owned(),
        text_columns: Vec::new(),
        wal_bytes_max: 10 << 30,
    };
    assert!(settings == want, "{settings:?}");
    let odd = Settings::from_options("My Shop-2", &owned(&[CONNECTION])).unwrap();
    assert_eq!(
        (odd.slot.as_str(), odd.schema.as_str()),
        ("viewfeed_my_shop_2", "My Shop-2")
    );
    let missing = Settings::from_options("shop", &[]).unwrap_err();
    assert_eq!(missing.message(), "connection is missing");
}

#[test]
fn an_unknown_option_is_refused_with_the_nearest_known_one() {
    let error = refused(&[("pasword_env", "secret")]);
    assert_eq!(error.message(), "there is no option \"pasword_env\"");
    let advice = error.advice().unwrap();
    assert!(
        advice.starts_with("did you mean password_env? options are connection,"),
        "{advice}"
    );
    let error = refused(&[("zzz", "1")]);
    assert!(
        error.advice().unwrap().starts_with("options are connection"),
        "{error}"
    );
    assert_eq!(
        refused(&[("slot", "a"), ("slot", "b")]).message(),
        "slot is given twice"
    );
}

#[test]
fn names_the_server_would_refuse_are_refused() {
    let long = "a".repeat(64);
    for (option, name) in [
        ("slot", "Shop"),
        ("slot", "a-b"),
        ("slot", ""),
        ("slot", long.as_str()),
        ("publication", ""),
        ("publication", long.as_str()),
        ("publication", "a\nb"),
        ("schema", ""),
        ("schema", "viewfeed"),
        ("password_file", " "),
        ("tables", ""),
        ("tables", "a.b.c"),
        ("tables", "public.*, "),
        ("tables", "*.*"),
        ("tables", "\"open"),
        ("text_columns", "name"),
        ("wal_limit", "much"),
        ("wal_limit", "0"),
        ("wal_limit", "-1GB"),
        ("wal_limit", "99999999999TB"),
    ] {
        refused(&[(option, name)]);
    }
    let long_source = Settings::from_options(&"s".repeat(60), &owned(&[CONNECTION])).unwrap_err();
    assert!(long_source.message().contains("1 to 63 bytes"), "{long_source}");
}

#[test]
fn tables_are_named_as_in_sql() {
    let list = "Orders, crm.*,\n \"My Shop\".\"a.b \"\"x\"\"\" , crm . Item, public.orders, größe";
    let settings = settings(&[("tables", list), ("text_columns", "orders.Total, crm.\"Item\".x")]).unwrap();
    let want = [
        "public.orders",
        "crm.*",
        "\"My Shop\".\"a.b \"\"x\"\"\"",
        "crm.item",
        "public.größe",
    ];
    assert_eq!(settings.tables, want);
    assert_eq!(settings.text_columns, ["public.orders.total", "crm.\"Item\".x"]);
    let patterns = settings.patterns().unwrap();
    assert_eq!(patterns[2].table.as_deref(), Some("a.b \"x\""));
    assert!(patterns[1].matches("crm", "anything") && !patterns[1].matches("public", "anything"));
    assert!(patterns[0].matches("public", "orders") && !patterns[0].matches("public", "order"));
}

#[test]
fn sizes_are_written_as_postgres_writes_them() {
    for (text, bytes, back) in [
        ("10GB", 10 << 30, "10GB"),
        ("512 mb", 512 << 20, "512MB"),
        ("64kB", 64 << 10, "64kB"),
        ("1TB", 1 << 40, "1TB"),
        ("1024MB", 1 << 30, "1GB"),
        ("1000", 1000, "1000B"),
        ("18446744073709551615B", u64::MAX, "18446744073709551615B"),
    ] {
        assert_eq!(size::bytes("wal_limit", text).unwrap(), bytes, "{text}");
        assert_eq!(shown_bytes(bytes), back);
    }
}

#[test]
fn a_password_is_shown_nowhere() {
    for (connection, shown) in [
        ("host=db user=u", "host=db user=u"),
        ("host=db password=s3cret user=u", "host=db password=… user=u"),
        (
            r"password = 's3 \' cret' host=db PASSWORD=s3cret",
            "password = … host=db PASSWORD=…",
        ),
        (r"host=db password=s3\ cret", "host=db password=…"),
        (
            "host=db sslpassword=s3cret passfile=/a",
            "host=db sslpassword=… passfile=/a",
        ),
        ("postgres://u:s3cret@db:5432/shop", "postgres://u:…@db:5432/shop"),
        (
            "postgresql://u:s3:cret@a:1,b:2/shop?sslmode=require",
            "postgresql://u:…@a:1,b:2/shop?sslmode=require",
        ),
        (
            "postgres://u@db/shop?p%61ssword=s3cret&x=1",
            "postgres://u@db/shop?p%61ssword=…&x=1",
        ),
        ("postgres://[::1]:5432/shop", "postgres://[::1]:5432/shop"),
        ("postgres:///shop?host=/tmp", "postgres:///shop?host=/tmp"),
        // Not to be understood: nothing is shown.
        ("postgres://u:s3@cret@db/shop", "…"),
        ("postgres://u:s3/cret@db/shop", "…"),
        ("postgres://u:s3?cret@db/shop", "…"),
        ("password='s3cret", "…"),
        ("s3cret", "…"),
        ("", ""),
    ] {
        assert_eq!(without_password(connection), shown);
    }
}

#[test]
fn a_connection_string_that_cannot_be_understood_is_refused_unseen() {
    for connection in [
        "s3cret",
        "password='s3cret",
        "postgres://u:s3/cret@db/shop",
        "host=a s3cret",
    ] {
        let error = Settings::from_options("shop", &owned(&[("connection", connection)])).unwrap_err();
        assert!(!error.to_string().contains("cret"), "{error}");
    }
}

#[test]
fn a_password_has_one_place() {
    let error = refused(&[("password_env", "A"), ("password_file", "/b")]);
    assert!(error.message().contains("more than one place"), "{error}");
    let connection = ("connection", "host=db password=x");
    let both = Settings::from_options("shop", &owned(&[connection, ("password_env", "A")]));
    assert!(both.is_err());
}

#[test]
fn settings_are_shown_as_options_that_give_the_same_settings() {
    let first = settings(&[
        ("tables", "a, b.*"),
        ("text_columns", "a.b"),
        ("wal_limit", "1GB"),
        ("password_env", "SHOP"),
    ])
    .unwrap();
    let shown = first.to_options();
    assert_eq!(
        shown,
        [
            ("connection", "host=db dbname=shop user=reader"),
            ("password_env", "SHOP"),
            ("tables", "public.a, b.*"),
            ("schema", "shop"),
            ("publication", "viewfeed_shop"),
            ("slot", "viewfeed_shop"),
            ("text_columns", "public.a.b"),
            ("wal_limit", "1GB"),
        ]
        .map(|(name, value)| (name, value.to_owned()))
    );
    let again: Vec<_> = shown
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    assert!(Settings::from_options("other", &again).unwrap() == first);
}

#[test]
fn settings_are_changed_by_options_but_for_what_the_source_is_called() {
    let first = settings(&[("text_columns", "a.b"), ("password_env", "SHOP")]).unwrap();
    let options = [
        ("connection", "host=new password=s3cret"),
        ("text_columns", ""),
        ("wal_limit", "2GB"),
    ];
    let changed = first.with_options("shop", &owned(&options)).unwrap();
    assert_eq!(changed.password_env, None, "the password has a new place");
    let changed = first
        .with_options("shop", &owned(&[("password_file", "/run/secret"), options[2]]))
        .unwrap();
    assert_eq!((changed.password_env, changed.wal_bytes_max), (None, 2 << 30));
    let bare = settings(&[]).unwrap();
    let changed = bare.with_options("shop", &owned(&options)).unwrap();
    assert_eq!(changed.to_options()[0].1, "host=new password=…");
    assert_eq!(changed.connection, "host=new password=s3cret");
    let error = changed
        .with_options("shop", &owned(&[("slot", "other")]))
        .unwrap_err();
    assert_eq!(error.message(), "slot of a source cannot be changed");
    assert!(
        !format!("{changed:?}").contains("s3cret"),
        "Debug shows no password"
    );
}
