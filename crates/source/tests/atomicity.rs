//! A statement that fails leaves nothing, if its caller rolls back to the savepoint before it.

use crate::database::Database;
use std::sync::Arc;
use viewfeed_query::Statement;

#[test]
fn a_failed_statement_leaves_nothing_after_rollback() {
    let mut database =
        Database::with("CREATE TABLE t (id INT PRIMARY KEY, n INT UNIQUE); INSERT INTO t VALUES (1, 1)");
    let good_and_bad = [
        ("INSERT INTO t VALUES (2, 2)", true),
        ("INSERT INTO t VALUES (3, 3), (4, 2)", false),
        ("CREATE TABLE u (a INT DEFAULT 'x')", false),
        ("ALTER TABLE t ADD COLUMN z INT, ADD COLUMN w INT NOT NULL", false),
        ("TRUNCATE t, nothing", false),
        ("UPDATE t SET n = n + 1", true),
    ];
    let (_, changes, _) = database
        .transaction(|embedded, context| {
            for (sql, is_good) in good_and_bad {
                let Statement::Sql(statement) = viewfeed_query::parse(sql)?.remove(0).statement else {
                    panic!()
                };
                let savepoint = context.txn.savepoint();
                let (relations, changes) = (Arc::clone(context.relations), context.changes.len());
                let done = embedded.execute(&statement, context);
                assert_eq!(done.is_ok(), is_good, "{sql}: {:?}", done.err());
                if !is_good {
                    context.txn.rollback(savepoint)?;
                    *context.relations = relations;
                    context.changes.truncate(changes);
                }
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(changes.len(), 2);
    assert_eq!(database.rows("SELECT * FROM t"), ["1|2", "2|3"]);
    assert_eq!(database.relations.iter().count(), 1);
    database.check_arrangements("t", true);
}

#[test]
fn a_rolled_back_table_leaves_no_rules_behind() {
    let mut database = Database::new();
    database.fail("CREATE TABLE t (a INT CHECK (a > 10), b INT DEFAULT 1); INSERT INTO t VALUES (1)");
    database.run("CREATE TABLE t (a INT, b TEXT); INSERT INTO t VALUES (1)");
    assert_eq!(database.rows("SELECT * FROM t"), ["1|∅"]);
}
