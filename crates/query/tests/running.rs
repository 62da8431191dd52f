//! What queries give, planned as a query and as a view.

use crate::house::{NOW, lines, relations, rows, run, try_run};
use arrow::array::RecordBatch;
use viewfeed_change::RelationId;
use viewfeed_query::{Planner, Purpose};

#[test]
fn the_table_called_user_is_read() {
    assert_eq!(
        run("SELECT * FROM user"),
        ["user_id | user_login", "u1 | ann", "u2 | bob"]
    );
    assert_eq!(
        run("SELECT user.user_id FROM user WHERE user.user_login = 'bob'"),
        ["user_id", "u2"]
    );
}

#[test]
fn joins_and_aggregates_work() {
    let sql = "SELECT c.topic, count(*) AS n, max(m.likes) AS top FROM message m JOIN chat c ON c.id = m.chat_id \
        GROUP BY c.topic ORDER BY c.topic";
    assert_eq!(run(sql), ["topic | n | top", "rust | 2 | 7", "tea | 3 | 5"]);
}

#[test]
fn a_filter_above_an_outer_join_of_a_table_with_itself_keeps_its_rows() {
    let sql = "SELECT b.id, b.likes FROM message s JOIN message a ON s.likes = a.id \
        FULL JOIN message b ON s.author = b.author WHERE s.likes IS NULL AND b.likes >= 2 ORDER BY b.id";
    assert_eq!(run(sql), ["id | likes", "5 | 7"]);
}

#[test]
fn a_limit_of_distinct_rows_follows_the_whole_order() {
    let sql = "SELECT DISTINCT a.id AS x, b.id AS y FROM message a JOIN message b ON a.chat_id = b.chat_id ORDER BY x DESC, y";
    let all = run(sql);
    for limit in 1..all.len() {
        assert_eq!(
            run(&format!("{sql} LIMIT {limit}")),
            all[..=limit],
            "LIMIT {limit}"
        );
    }
}

#[test]
fn a_condition_that_names_no_column_holds_also_over_an_aggregate_of_everything() {
    let never = "now() < to_timestamp_seconds(0)";
    for groups in ["", " GROUP BY GROUPING SETS ((), (author))"] {
        let sql = format!("SELECT n FROM (SELECT count(*) AS n FROM message{groups}) AS t WHERE {never}");
        assert!(run(&sql).is_empty(), "{sql}");
    }
}

#[test]
fn grouping_sets_have_each_group_once_also_over_constants_and_rows_in_order() {
    let counted = |groups: &str| {
        let sql = format!("SELECT g, count(*) AS n FROM ({groups}) AS t GROUP BY g ORDER BY g");
        run(&sql)[1..].to_vec()
    };
    let constants = "SELECT false AS c FROM message UNION ALL SELECT false FROM chat";
    let groups = format!("SELECT c, grouping(c) AS g FROM ({constants}) AS s GROUP BY CUBE (c)");
    assert_eq!(counted(&groups), ["0 | 1", "1 | 1"]);
    let numbers = "SELECT v / 10 AS c, v FROM generate_series(1, 20000) AS s(v) ORDER BY c LIMIT 30000";
    for call in [
        "count(*)",
        "array_agg(v ORDER BY c DESC, v)",
        "last_value(v ORDER BY c, v)",
    ] {
        let groups = format!(
            "SELECT c, v, grouping(v) AS g, {call} AS l FROM ({numbers}) AS s GROUP BY GROUPING SETS ((c, v), (c))"
        );
        assert_eq!(counted(&groups), ["0 | 20000", "1 | 2001"], "{call}");
    }
}

#[test]
fn a_constant_of_one_side_of_an_outer_join_is_ordered_by_above_it() {
    let constant = "(SELECT id, 0.5 AS c FROM message WHERE likes IS NULL) AS m";
    let joins = [
        format!("{constant} FULL JOIN message a ON m.id = a.id"),
        format!("message a LEFT JOIN {constant} ON m.id = a.id"),
        format!("{constant} RIGHT JOIN message a ON m.id = a.id"),
        format!("message a LEFT JOIN {constant} ON m.id <= a.id AND m.id >= a.id"),
    ];
    for join in joins {
        let all = run(&format!("SELECT c FROM {join}"));
        let (known, missing): (Vec<_>, Vec<_>) = all[1..].iter().cloned().partition(|row| row == "0.5");
        assert!(!known.is_empty() && !missing.is_empty(), "{all:?}");
        let ordered =
            |order: &str| run(&format!("SELECT c FROM {join} ORDER BY c {order}, a.id"))[1..].to_vec();
        assert_eq!(
            ordered("NULLS FIRST"),
            [missing.clone(), known.clone()].concat(),
            "{join}"
        );
        assert_eq!(ordered("DESC NULLS LAST"), [known, missing].concat(), "{join}");
    }
}

#[test]
fn constants_that_differ_between_the_parts_of_a_union_are_ordered_by() {
    let parts = [
        "SELECT a.id, true AS c FROM message a FULL JOIN message b ON a.id = b.id",
        "SELECT id, false FROM message",
        "SELECT id, NULL FROM message",
    ];
    let union = parts.join(" UNION ALL ");
    for (order, first) in [
        ("c", "1 | false"),
        ("c NULLS FIRST", "1 | "),
        ("c DESC NULLS LAST", "1 | true"),
    ] {
        let sql = format!("SELECT id, c FROM ({union}) AS u ORDER BY id, {order}");
        let all = run(&sql);
        assert_eq!(all[1], first, "{order}");
        assert_eq!(run(&format!("{sql} LIMIT 1"))[1..], all[1..2], "{order}");
    }
}

#[test]
fn not_in_knows_null_also_in_a_set_that_depends_on_the_row() {
    let sql = "SELECT m.id FROM message m WHERE m.likes NOT IN \
        (SELECT n.likes FROM message n WHERE n.author = m.author AND n.id <> m.id) ORDER BY m.id";
    assert_eq!(run(sql), ["id", "2", "4", "5"]);
    let literal = |set: &str| {
        run(&format!(
            "SELECT id FROM chat WHERE 4 NOT IN (SELECT likes FROM message{set}) ORDER BY id"
        ))
    };
    assert!(literal("").is_empty(), "4 may be the NULL in the set");
    assert_eq!(literal(" WHERE likes IS NOT NULL"), ["id", "10", "20"]);
    assert_eq!(literal(" WHERE false"), ["id", "10", "20"]);
}

#[test]
fn not_in_knows_null_wherever_it_stands() {
    let ids = |condition: &str| run(&format!("SELECT id FROM message WHERE {condition} ORDER BY id"));
    assert!(ids("id IN (1, 2) AND id NOT IN (3, NULL)").len() <= 1);
    assert!(ids("id IN (1, 2) AND NOT (id IN (3, CAST(NULL AS BIGINT)))").len() <= 1);
    assert_eq!(ids("id IN (1, NULL)"), ["id", "1"]);
    let set = |more: &str| format!("id NOT IN (SELECT likes FROM message WHERE true{more}) OR id = 1");
    assert_eq!(
        ids(&set("")),
        ["id", "1"],
        "every other id may be the NULL in the set"
    );
    assert_eq!(ids(&set(" AND false")), ["id", "1", "2", "3", "4", "5"]);
    assert_eq!(
        ids("likes NOT IN (SELECT id FROM chat) OR false").len(),
        5,
        "but for the unknown likes"
    );
    assert_eq!(
        ids("NOT (id IN (SELECT likes FROM message) AND id > 0)"),
        ids("id NOT IN (SELECT likes FROM message) OR id <= 0")
    );
}

#[test]
fn a_comparison_with_any_row_of_the_same_table_means_the_row_around() {
    let sql = "SELECT id FROM message WHERE likes >= ALL (SELECT likes FROM message WHERE likes IS NOT NULL)";
    let most = "SELECT id FROM message WHERE likes = (SELECT max(likes) FROM message)";
    assert_eq!(run(sql), run(most));
    assert_eq!(
        run(&sql.replace(">= ALL", "> ANY")).len(),
        run("SELECT id FROM message WHERE likes > (SELECT min(likes) FROM message)").len()
    );
}

#[test]
fn a_window_that_starts_from_a_named_one_has_its_partition_and_order() {
    let spelled = |over: &str| {
        run(&format!(
            "SELECT id, sum(id) OVER ({over}) AS s, (SELECT max(n) FROM (SELECT count(*) OVER (w ROWS 1 PRECEDING) AS n
             FROM chat WINDOW w AS (ORDER BY id)) AS t) AS n FROM message
             WINDOW w AS (PARTITION BY chat_id), W2 AS (w ORDER BY id DESC) ORDER BY id"
        ))
    };
    let wanted = spelled("PARTITION BY chat_id ORDER BY id DESC ROWS 1 PRECEDING");
    assert_eq!(spelled("w ORDER BY id DESC ROWS 1 PRECEDING"), wanted);
    assert_eq!(spelled("w2 ROWS 1 PRECEDING"), wanted);
}

#[test]
fn nested_fields_are_read_both_ways() {
    let want = ["name | message", "general | hi", "general | ho"];
    assert_eq!(
        run("SELECT channel.name, message FROM post WHERE channel.name = 'general' ORDER BY message"),
        want
    );
    assert_eq!(
        run("SELECT channel['name'], message FROM post WHERE channel['topic'] = 'tea' ORDER BY message"),
        want
    );
    assert_eq!(
        run("SELECT p.channel.name, p.message FROM post p WHERE p.channel.topic = 'tea' ORDER BY message"),
        want
    );
    assert_eq!(
        run("SELECT channel.name, count(*) FROM post GROUP BY channel.name ORDER BY channel.name"),
        ["name | count", "general | 2", "random | 1"]
    );
}

#[test]
fn now_is_the_time_given() {
    assert_eq!(
        run("SELECT id FROM message WHERE sent_at > now() ORDER BY id"),
        ["id", "4", "5"]
    );
    assert_eq!(
        run("SELECT id FROM message WHERE sent_at >= now() - interval '2 minutes' ORDER BY id"),
        ["id", "2", "3", "4", "5"]
    );
    assert_eq!(
        run("SELECT current_date AS d, CAST(now() AS timestamp) AS t"),
        ["d | t", "2024-05-06 | 2024-05-06T07:08:09"]
    );
}

#[test]
fn set_operations_with_all_count_rows_on_both_sides() {
    let left = "SELECT x FROM (VALUES (1), (1), (1), (2), (NULL), (NULL)) AS l (x)";
    let right = "SELECT y FROM (VALUES (1), (2), (2), (NULL), (3)) AS r (y)";
    assert_eq!(
        run(&format!("{left} INTERSECT ALL {right} ORDER BY 1")),
        ["x", "1", "2", ""]
    );
    assert_eq!(
        run(&format!("{left} EXCEPT ALL {right} ORDER BY 1")),
        ["x", "1", "1", ""]
    );
    assert_eq!(run(&format!("{left} EXCEPT {right}")), [""; 0]);
    assert_eq!(
        run(&format!(
            "SELECT count(*) AS n FROM ({left} EXCEPT ALL (SELECT 1 UNION ALL SELECT 1)) AS d"
        )),
        ["n", "4"]
    );
    assert_eq!(
        run(&format!(
            "SELECT DISTINCT x FROM ({left}) AS d EXCEPT ALL {right}"
        )),
        [""; 0]
    );
}

#[test]
fn distinct_sets_and_limits_work_for_plans_of_views() {
    assert_eq!(
        run("SELECT DISTINCT author FROM message ORDER BY author"),
        ["author", "ann", "bob", "cid"]
    );
    assert_eq!(
        run("SELECT author FROM message UNION SELECT sender FROM post ORDER BY 1"),
        ["author", "ann", "bob", "cid"]
    );
    assert_eq!(
        run("SELECT author FROM message EXCEPT SELECT user_login FROM user"),
        ["author", "cid"]
    );
    assert_eq!(
        run("SELECT id FROM message ORDER BY likes DESC NULLS LAST LIMIT 2"),
        ["id", "5", "2"]
    );
    assert_eq!(
        run("SELECT id FROM message ORDER BY id OFFSET 3 ROWS FETCH FIRST 1 ROWS ONLY"),
        ["id", "4"]
    );
    assert_eq!(
        run("SELECT DISTINCT ON (chat_id) chat_id, id FROM message ORDER BY chat_id, id DESC"),
        ["chat_id | id", "10 | 3", "20 | 5"]
    );
}

#[test]
fn subqueries_work() {
    assert_eq!(
        run("SELECT id FROM message WHERE likes > (SELECT avg(likes) FROM message) ORDER BY id"),
        ["id", "2", "5"]
    );
    assert_eq!(
        run(
            "SELECT c.id, (SELECT count(*) FROM message m WHERE m.chat_id = c.id) AS n FROM chat c ORDER BY 1"
        ),
        ["id | n", "10 | 3", "20 | 2"]
    );
    assert_eq!(
        run(
            "WITH busy AS (SELECT chat_id, count(*) FROM message GROUP BY 1) SELECT chat_id FROM busy WHERE count > 2"
        ),
        ["chat_id", "10"]
    );
    assert_eq!(
        run(
            "SELECT topic FROM chat c WHERE NOT EXISTS (SELECT FROM message m WHERE m.chat_id = c.id AND m.author = 'cid')"
        ),
        ["topic", "tea"]
    );
}

#[test]
fn recursive_queries_and_generated_rows_work() {
    let sql = "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t WHERE n < 4) SELECT sum(n) AS s FROM t";
    assert_eq!(run(sql), ["s", "10"]);
    assert_eq!(
        run("SELECT count(*) FROM generate_series(1, 20000)"),
        ["count", "20000"]
    );
    assert_eq!(run("VALUES (1, 'a')"), ["column1 | column2", "1 | a"]);
}

#[test]
fn window_functions_work() {
    let sql = "SELECT id, row_number() OVER (PARTITION BY chat_id ORDER BY id DESC) FROM message ORDER BY id LIMIT 2";
    assert_eq!(run(sql), ["id | row_number", "1 | 3", "2 | 2"]);
}

#[test]
fn casts_mean_the_types_of_columns() {
    assert_eq!(
        run("SELECT '2024-01-02 03:04:05.678901+02'::timestamptz AS t"),
        ["t", "2024-01-02T01:04:05.678901Z"]
    );
    assert_eq!(
        run("SELECT '1.5'::numeric AS n, '{}'::jsonb AS j, 'a'::uuid AS u"),
        ["n | j | u", "1.5000000000 | {} | a"]
    );
    assert_eq!(
        run("SELECT arrow_typeof('2024-01-02'::timestamp) AS t, arrow_typeof('x'::varchar(3)) AS v"),
        ["t | v", "Timestamp(µs) | Utf8"]
    );
}

#[test]
fn postgres_names_of_functions_exist() {
    assert_eq!(
        run("SELECT mod(7, 4), mod(-7, 4) AS m, 7 % 4 AS r"),
        ["mod | m | r", "3 | -3 | 3"]
    );
    assert_eq!(
        run("SELECT variance(likes) = var_samp(likes) AS v, every(likes > 0) FROM message"),
        ["v | every", "true | true"]
    );
    let uuids = try_run(
        "SELECT count(DISTINCT u) AS n, min(length(u)) AS l FROM (SELECT gen_random_uuid() AS u FROM message)",
        Purpose::Batch,
    );
    assert_eq!(uuids.unwrap(), ["n | l", "5 | 36"]);
    let ordered = try_run(
        "SELECT count(*) AS n FROM (SELECT uuid_v7() AS u FROM message) WHERE substr(u, 15, 1) = '7'",
        Purpose::Batch,
    );
    assert_eq!(ordered.unwrap(), ["n", "5"]);
}

#[test]
fn results_are_plain_types() {
    let planner = Planner::new().unwrap();
    let sql = "SELECT arrow_cast(author, 'Utf8View') AS v, arrow_cast(author, 'Dictionary(Int32, Utf8)') AS d, split_part(author, 'n', 1) AS s FROM message";
    let plan = planner
        .plan_sql(sql, &relations(), "talk", Purpose::Batch)
        .unwrap();
    for batch in planner.execute_over(&plan, &rows, NOW).unwrap() {
        assert!(
            batch
                .columns()
                .iter()
                .all(|column| column.data_type() == &arrow::datatypes::DataType::Utf8),
            "{:?}",
            batch.schema()
        );
    }
}

#[test]
fn one_plan_runs_over_different_rows_and_times() {
    let planner = Planner::new().unwrap();
    let plan = planner
        .plan_sql(
            "SELECT count(*) FROM message WHERE sent_at > now()",
            &relations(),
            "talk",
            Purpose::View,
        )
        .unwrap();
    let count = |empty: bool, hours: i64| {
        let some = |id: RelationId| rows(id).map(|rows| if empty { Vec::new() } else { rows });
        let now = viewfeed_change::Timestamp(NOW.0 + hours * 3_600_000_000);
        lines(&planner.execute_over(&plan, &some, now).unwrap()).remove(1)
    };
    assert_eq!(
        [
            count(false, 0),
            count(false, -2),
            count(false, 2),
            count(true, -2)
        ],
        ["2", "5", "0", "0"]
    );
}

#[test]
fn a_query_prepared_for_given_rows_runs_over_each() {
    let planner = Planner::new().unwrap();
    let queries = [
        "SELECT DISTINCT author FROM message",
        "SELECT count(*) AS n FROM message",
        "SELECT m.id, c.topic FROM message m LEFT JOIN chat c ON c.id = m.chat_id",
        "SELECT id, sum(likes) OVER (PARTITION BY author ORDER BY id) AS s FROM message",
        "SELECT id FROM message ORDER BY id LIMIT 2",
        "SELECT id FROM message WHERE likes = (SELECT max(likes) FROM message)",
        "WITH RECURSIVE r AS (SELECT id FROM message UNION SELECT id - 1 FROM r WHERE id > 0) SELECT id FROM r",
        "SELECT id, now() AS t FROM message WHERE sent_at > now()",
    ];
    for (sql, purpose) in queries
        .iter()
        .flat_map(|sql| [(sql, Purpose::View), (sql, Purpose::Batch)])
    {
        let plan = planner.plan_sql(sql, &relations(), "talk", purpose).unwrap();
        let prepared = planner.prepare_over(plan.clone()).unwrap();
        for (rows_max, hours) in [(9, 0), (0, 0), (9, -2), (2, -2)] {
            let first = |batch: RecordBatch| batch.slice(0, batch.num_rows().min(rows_max));
            let some = |id: RelationId| Some(rows(id)?.into_iter().map(first).collect());
            let now = viewfeed_change::Timestamp(NOW.0 + hours * 3_600_000_000);
            let mut again = lines(&prepared.run_over(&some, now).unwrap());
            let mut fresh = lines(&planner.execute_over(&plan, &some, now).unwrap());
            again.sort();
            fresh.sort();
            assert_eq!(again, fresh, "{sql}, {rows_max} rows");
        }
        assert!(prepared.run_over(&|_| None, NOW).is_err(), "{sql}");
    }
}

#[test]
fn a_planner_is_used_by_many_threads_at_once() {
    let planner = Planner::new().unwrap();
    let threads = (0..4).map(|thread| {
        let planner = planner.clone();
        std::thread::spawn(move || {
            let sql = format!("SELECT sum(a.id * b.id) AS s FROM message a, message b WHERE a.id > {thread}");
            let plan = planner
                .plan_sql(&sql, &relations(), "talk", Purpose::Batch)
                .unwrap();
            lines(&planner.execute_over(&plan, &rows, NOW).unwrap()).remove(1)
        })
    });
    let sums: Vec<_> = threads
        .collect::<Vec<_>>()
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    assert_eq!(sums, ["225", "210", "180", "135"]);
}

#[test]
fn distinct_rows_are_sorted_by_what_is_selected() {
    let names = ["lower", "ann", "bob", "cid"];
    assert_eq!(
        run("SELECT DISTINCT lower(author) FROM message ORDER BY lower(author)"),
        names
    );
    assert_eq!(
        run("SELECT DISTINCT channel.name FROM post ORDER BY channel.name"),
        ["name", "general", "random"]
    );
    assert_eq!(
        run("SELECT DISTINCT m.author FROM message m ORDER BY m.author"),
        ["author", "ann", "bob", "cid"]
    );
}

#[test]
fn exists_may_stand_in_a_select_list() {
    let sql = "SELECT topic, EXISTS (SELECT 1 FROM message m WHERE m.chat_id = c.id AND author = 'cid') FROM chat c ORDER BY 1";
    assert_eq!(run(sql), ["topic | exists", "rust | true", "tea | false"]);
    let sql = "SELECT topic, NOT EXISTS (SELECT * FROM message m WHERE m.chat_id = c.id AND author = 'zoe') AS n FROM chat c ORDER BY 1";
    assert_eq!(run(sql), ["topic | n", "rust | true", "tea | true"]);
    assert_eq!(
        run("SELECT EXISTS (SELECT FROM chat WHERE id = 99), NOT EXISTS (SELECT FROM chat) AS n"),
        ["exists | n", "false | false"]
    );
}
