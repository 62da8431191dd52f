//! Aggregate functions and grouping sets, changed by inserts and deletes; every epoch is checked against the query run
//! from scratch.

use crate::world::{FLOAT, INT, TEXT, World};
use arrow::datatypes::DataType;
use viewfeed_engine::Rung;

/// Fails unless every part of the plan is incremental.
fn assert_incremental(world: &World, sql: &str) {
    let plan = world.engine.plan(sql, "public", &world.relations).unwrap();
    let explained = plan.explained;
    assert_eq!(explained.worst_rung(), Rung::Incremental, "{explained}");
}

fn view(world: &mut World, name: &str, sql: &str) -> Vec<String> {
    assert_incremental(world, sql);
    world.view(name, sql)
}

#[test]
fn distinct_values_count_while_one_of_them_is_left() {
    let mut world = World::shop();
    let sql = "SELECT customer_id, count(DISTINCT amount) AS n, sum(DISTINCT amount) AS s, avg(DISTINCT amount) AS a,
               count(DISTINCT amount) FILTER (WHERE id > 2) AS late, count(amount) AS every
               FROM orders GROUP BY customer_id";
    view(&mut world, "totals", sql);
    world.epoch(&[(
        "orders",
        '+',
        "(1, 1, 5), (2, 1, 5), (3, 1, 7), (4, 1, NULL), (5, 2, 5)",
    )]);
    assert_eq!(world.rows("totals"), ["1|2|12|6.0|1|3", "2|1|5|5.0|1|1"]);
    world.epoch(&[("orders", '-', "(1, 1, 5)")]);
    assert_eq!(world.rows("totals")[0], "1|2|12|6.0|1|2");
    world.epoch(&[("orders", '-', "(2, 1, 5), (5, 2, 5)")]);
    assert_eq!(world.rows("totals"), ["1|1|7|7.0|1|1"]);
    let moved = [
        ("orders", '-', "(3, 1, 7)"),
        ("orders", '+', "(3, 2, 7), (6, 2, 7)"),
    ];
    world.epoch(&moved);
    assert_eq!(world.rows("totals"), ["1|0|NULL|NULL|0|0", "2|1|7|7.0|1|2"]);
}

#[test]
fn a_single_distinct_call_stays_one_aggregate() {
    let mut world = World::shop();
    let sql = "SELECT count(DISTINCT text) AS n FROM log";
    let plan = world.engine.plan(sql, "public", &world.relations).unwrap();
    assert_eq!(plan.explained.flattened().len(), 3, "{}", plan.explained);
    view(&mut world, "texts", sql);
    world.epoch(&[("log", '+', "(1, 'a'), (2, 'a'), (3, NULL), (4, '')")]);
    assert_eq!(world.rows("texts"), ["2"]);
    world.epoch(&[("log", '-', "(4, ''), (1, 'a')")]);
    assert_eq!(world.rows("texts"), ["1"]);
}

#[test]
fn distinct_state_is_filled_from_rows_that_are_there_and_read_after_a_restart() {
    let mut world = World::shop();
    world.epoch(&[("log", '+', "(1, 'a'), (1, 'a'), (1, 'b')")]);
    let sql =
        "SELECT who, count(DISTINCT text) AS n, array_agg(text ORDER BY text) AS all FROM log GROUP BY who";
    assert_eq!(view(&mut world, "texts", sql), ["1|2|[a, a, b]"]);
    assert!(world.restart().is_empty());
    world.epoch(&[("log", '-', "(1, 'a')")]);
    assert_eq!(world.rows("texts"), ["1|2|[a, b]"]);
    world.epoch(&[("log", '-', "(1, 'a')")]);
    assert_eq!(world.rows("texts"), ["1|1|[b]"]);
}

#[test]
fn truths_and_bits_follow_removals() {
    let mut world = World::shop();
    let sql = "SELECT bool_and(amount > 2) AS every_one, bool_or(amount > 6) AS some, bit_and(amount) AS both,
               bit_or(amount) AS any_bit, bit_xor(amount) AS odd, bit_xor(DISTINCT amount) AS odd_once FROM orders";
    assert_eq!(view(&mut world, "bits", sql), ["NULL|NULL|NULL|NULL|NULL|NULL"]);
    world.epoch(&[(
        "orders",
        '+',
        "(1, 1, 3), (2, 1, 6), (3, 1, 6), (4, 1, NULL), (5, 1, -1)",
    )]);
    assert_eq!(world.rows("bits"), ["false|false|2|-1|-4|-6"]);
    world.epoch(&[("orders", '-', "(5, 1, -1), (2, 1, 6)")]);
    assert_eq!(world.rows("bits"), ["true|false|2|7|5|5"]);
    world.epoch(&[("orders", '-', "(1, 1, 3), (3, 1, 6)")]);
    assert_eq!(world.rows("bits"), ["NULL|NULL|NULL|NULL|NULL|NULL"]);
}

#[test]
fn the_first_and_last_of_an_order_are_found_again_when_they_go() {
    let mut world = World::shop();
    let sql = "SELECT customer_id, first_value(id ORDER BY amount DESC, id) AS top,
               last_value(id ORDER BY amount DESC NULLS LAST, id) AS low,
               first_value(amount ORDER BY id DESC) IGNORE NULLS AS latest FROM orders GROUP BY customer_id";
    view(&mut world, "firsts", sql);
    world.epoch(&[(
        "orders",
        '+',
        "(1, 1, 5), (2, 1, 9), (3, 1, 9), (4, 1, NULL), (5, 2, NULL)",
    )]);
    assert_eq!(world.rows("firsts"), ["1|4|4|9", "2|5|5|NULL"]);
    world.epoch(&[("orders", '-', "(4, 1, NULL), (3, 1, 9)")]);
    assert_eq!(world.rows("firsts"), ["1|2|1|9", "2|5|5|NULL"]);
    world.epoch(&[
        ("orders", '-', "(1, 1, 5), (2, 1, 9)"),
        ("orders", '+', "(6, 1, 1)"),
    ]);
    assert_eq!(world.rows("firsts"), ["1|6|6|1", "2|5|5|NULL"]);
}

#[test]
fn any_value_is_not_null_if_there_is_another() {
    let mut world = World::shop();
    let sql = "SELECT any_value(text) AS one FROM log";
    assert_incremental(&world, sql);
    world.epoch(&[("log", '+', "(1, NULL), (2, 'a')")]);
    assert_eq!(world.view("one", sql), ["a"]);
    assert_eq!(
        world.change_of("one", &[("log", '-', "(2, 'a')")]),
        ["NULL", "- a"]
    );
}

#[test]
fn lists_are_made_again_in_their_order() {
    let mut world = World::shop();
    let sql = "SELECT who, string_agg(text, '+' ORDER BY text DESC) AS joined,
               string_agg(DISTINCT text, '' ORDER BY text DESC) AS once,
               array_agg(text ORDER BY text DESC NULLS LAST) FILTER (WHERE text IS NULL OR text <> 'b') AS listed
               FROM log GROUP BY who";
    view(&mut world, "lists", sql);
    world.epoch(&[("log", '+', "(1, 'a'), (1, 'b'), (1, 'a'), (1, NULL), (2, NULL)")]);
    assert_eq!(
        world.rows("lists"),
        ["1|b+a+a|ba|[a, a, NULL]", "2|NULL|NULL|[NULL]"]
    );
    assert_eq!(
        world.change_of("lists", &[("log", '-', "(1, 'b'), (1, NULL), (1, 'a')")]),
        ["1|a|a|[a]", "- 1|b+a+a|ba|[a, a, NULL]"]
    );
    world.epoch(&[("log", '-', "(1, 'a'), (2, NULL)"), ("log", '+', "(3, 'b')")]);
    assert_eq!(world.rows("lists"), ["3|b|b|NULL"]);
    let plan = world.engine.plan(sql, "public", &world.relations).unwrap();
    assert!(
        plan.explained.to_string().contains("O(group)"),
        "{}",
        plan.explained
    );
}

#[test]
fn lists_without_an_order_are_in_the_order_of_values() {
    let mut world = World::shop();
    let sql = "SELECT array_agg(who) AS listed, string_agg(text, ',') AS joined FROM log";
    assert_incremental(&world, sql);
    world.epoch(&[("log", '+', "(NULL, 'a'), (1, 'b'), (3, 'c')")]);
    assert_eq!(world.view("lists", sql), ["[NULL, 1, 3]|a,b,c"]);
}

#[test]
fn variances_and_regressions_are_exact_after_removals() {
    let mut world = World::new();
    world.table("point", &[("y", FLOAT), ("x", FLOAT), ("label", TEXT)], &[]);
    let sql = "SELECT label, var_pop(y) AS vp, var_samp(y) AS vs, stddev(x) AS s, covar_pop(y, x) AS c,
               corr(y, x) AS r, regr_slope(y, x) AS slope, regr_intercept(y, x) AS base, regr_count(y, x) AS n,
               regr_avgx(y, x) AS ax, regr_sxx(y, x) AS sxx FROM point GROUP BY label";
    view(&mut world, "fit", sql);
    let noise = "(1e300, -1e-300, 'a'), (0.1, 1e16, 'a'), ('NaN', 'inf', 'a')";
    let noisy = format!("(1.0, 1.0, 'a'), (5.0, 3.0, 'a'), (NULL, 7.0, 'a'), (4.0, 4.0, 'b'), {noise}");
    let mut txn = vec![("point", '+', noisy.as_str()), ("point", '-', noise)];
    world.epoch(&txn);
    let wanted = [
        "a|4.0|8.0|3.0550504633038935|2.0|1.0|2.0|-1.0|2|2.0|2.0",
        "b|0.0|NULL|NULL|0.0|NULL|NULL|NULL|1|4.0|0.0",
    ];
    assert_eq!(world.rows("fit"), wanted);
    txn = vec![("point", '-', "(5.0, 3.0, 'a'), (NULL, 7.0, 'a')")];
    world.epoch(&txn);
    assert_eq!(
        world.rows("fit")[0],
        "a|0.0|NULL|NULL|0.0|NULL|NULL|NULL|1|1.0|0.0"
    );
}

#[test]
fn grouping_sets_group_every_row_several_times() {
    let mut world = World::shop();
    let sql = "SELECT customer_id, id % 2 AS odd, grouping(customer_id) AS g, grouping(id % 2) AS h,
               count(*) AS n, sum(amount) AS s, count(DISTINCT amount) AS d
               FROM orders GROUP BY CUBE(customer_id, id % 2)";
    assert_eq!(view(&mut world, "cube", sql), ["NULL|NULL|1|1|0|NULL|0"]);
    world.epoch(&[("orders", '+', "(1, 1, 5), (2, 1, 5), (3, NULL, 7)")]);
    assert_eq!(world.rows("cube").len(), 8);
    world.epoch(&[("orders", '-', "(1, 1, 5)"), ("orders", '+', "(1, 2, 4)")]);
    world.epoch(&[("orders", '-', "(1, 2, 4), (2, 1, 5), (3, NULL, 7)")]);
    assert_eq!(world.rows("cube"), ["NULL|NULL|1|1|0|NULL|0"]);
}

#[test]
fn a_rollup_with_having_and_the_same_set_twice() {
    let mut world = World::shop();
    let rollup = "SELECT who, text, max(text) AS m FROM log GROUP BY ROLLUP(who, text) HAVING count(*) > 1";
    let twice = "SELECT who, count(*) AS n FROM log GROUP BY GROUPING SETS ((who), (who), (), ())";
    view(&mut world, "rollup_of", rollup);
    assert_eq!(view(&mut world, "twice", twice), ["×2 NULL|0"]);
    world.epoch(&[("log", '+', "(1, 'a'), (1, 'b'), (1, 'b'), (NULL, 'c')")]);
    assert_eq!(world.rows("rollup_of"), ["NULL|NULL|c", "1|NULL|b", "1|b|b"]);
    assert_eq!(world.rows("twice"), ["×2 NULL|1", "×2 NULL|4", "×2 1|3"]);
    world.epoch(&[("log", '-', "(1, 'b')")]);
    assert_eq!(world.rows("rollup_of"), ["NULL|NULL|c", "1|NULL|b"]);
}

#[test]
fn grouping_sets_without_a_call_and_without_the_empty_set() {
    let mut world = World::shop();
    let sql = "SELECT who, text FROM log GROUP BY GROUPING SETS ((who), (text))";
    assert!(view(&mut world, "sets", sql).is_empty());
    world.epoch(&[("log", '+', "(1, 'a'), (1, 'b'), (NULL, NULL)")]);
    assert_eq!(world.rows("sets"), ["×2 NULL|NULL", "NULL|a", "NULL|b", "1|NULL"]);
    world.epoch(&[("log", '-', "(NULL, NULL), (1, 'b')")]);
    assert_eq!(world.rows("sets"), ["NULL|a", "1|NULL"]);
}

#[test]
fn extremes_of_every_type_that_has_an_order() {
    let mut world = World::new();
    let columns = [
        ("t", TEXT),
        ("d", DataType::Decimal128(10, 2)),
        ("b", DataType::Boolean),
        (
            "at",
            DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None),
        ),
        (
            "every",
            DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano),
        ),
    ];
    world.table("thing", &columns, &[]);
    let sql = "SELECT min(t) AS t0, max(t) AS t1, min(d) AS d0, max(d) AS d1, min(b) AS b0, max(b) AS b1,
               min(at) AS a0, max(at) AS a1, min(every) AS e0, max(every) AS e1 FROM thing";
    view(&mut world, "extremes", sql);
    let early = "('a', 1.5, true, TIMESTAMP '2024-01-01 00:00:00', INTERVAL '1 day')";
    let late = "('b', -2.5, false, TIMESTAMP '2025-01-01 00:00:00', INTERVAL '1 month')";
    let null = "(NULL, NULL, NULL, NULL, NULL)";
    world.epoch(&[("thing", '+', null)]);
    world.epoch(&[("thing", '+', early), ("thing", '+', late)]);
    world.epoch(&[("thing", '-', early)]);
    world.epoch(&[("thing", '-', late), ("thing", '-', null)]);
    assert_eq!(world.rows("extremes").len(), 1);
}

#[test]
fn expressions_over_aggregates_and_groups_of_nothing_but_null() {
    let mut world = World::shop();
    let sql = "SELECT customer_id, sum(amount) * 2 + count(DISTINCT amount) AS x, max(amount) - min(amount) AS spread
               FROM orders GROUP BY customer_id HAVING max(amount) IS NULL OR stddev_pop(amount) < 10";
    view(&mut world, "spreads", sql);
    world.epoch(&[(
        "orders",
        '+',
        "(1, 1, NULL), (2, 1, NULL), (3, NULL, 4), (4, NULL, 6)",
    )]);
    assert_eq!(world.rows("spreads"), ["NULL|22|2", "1|NULL|NULL"]);
    world.epoch(&[("orders", '+', "(5, NULL, 100), (6, 1, 3)")]);
    assert_eq!(world.rows("spreads"), ["1|7|0"]);
}

#[test]
fn every_function_that_is_exact_is_incremental() {
    let mut world = World::new();
    let columns = [("g", INT), ("x", FLOAT), ("y", FLOAT), ("t", TEXT), ("n", INT)];
    world.table("all_of_it", &columns, &[]);
    let calls = [
        "count(*)",
        "count(t)",
        "count(t, n)",
        "sum(n)",
        "avg(n)",
        "min(t)",
        "max(x)",
        "any_value(t)",
        "first_value(t ORDER BY n)",
        "last_value(t ORDER BY n DESC) RESPECT NULLS",
        "every(n > 1)",
        "bool_or(n > 1)",
        "bit_and(n)",
        "bit_or(n)",
        "bit_xor(n)",
        "variance(x)",
        "var_pop(x)",
        "var_samp(x)",
        "var_sample(x)",
        "stddev(x)",
        "stddev_samp(x)",
        "stddev_pop(x)",
        "covar(y, x)",
        "covar_pop(y, x)",
        "covar_samp(y, x)",
        "corr(y, x)",
        "regr_slope(y, x)",
        "regr_intercept(y, x)",
        "regr_r2(y, x)",
        "regr_count(y, x)",
        "regr_avgx(y, x)",
        "regr_avgy(y, x)",
        "regr_sxx(y, x)",
        "regr_syy(y, x)",
        "regr_sxy(y, x)",
        "array_agg(t)",
        "array_agg(DISTINCT n)",
        "string_agg(t, ', ' ORDER BY n, t)",
        "count(DISTINCT t)",
        "sum(DISTINCT x)",
        "avg(DISTINCT n)",
        "var_pop(DISTINCT x)",
        "max(DISTINCT t)",
    ];
    for call in calls {
        assert_incremental(
            &world,
            &format!("SELECT g, {call} AS c FROM all_of_it GROUP BY g"),
        );
        assert_incremental(
            &world,
            &format!("SELECT {call} AS c FROM all_of_it GROUP BY CUBE(g, t)"),
        );
    }
}

#[test]
fn a_zero_is_one_value_whatever_its_sign_where_distinct_counts() {
    let mut world = World::new();
    world.table("point", &[("x", FLOAT)], &[]);
    let sql = "SELECT count(DISTINCT x) AS n FROM point";
    view(&mut world, "xs", sql);
    world.epoch(&[("point", '+', "(0.0), (-0.0), (1.0), ('NaN'), ('NaN')")]);
    assert_eq!(world.rows("xs"), ["3"]);
    world.epoch(&[("point", '-', "(0.0), ('NaN')")]);
    assert_eq!(world.rows("xs"), ["3"]);
    world.epoch(&[("point", '-', "(-0.0), ('NaN')")]);
    assert_eq!(world.rows("xs"), ["1"]);
}

#[test]
fn lists_of_structs_are_lists_like_others() {
    let mut world = World::shop();
    let sql = "SELECT who, array_agg(struct(who, text) ORDER BY text) AS all FROM log GROUP BY who";
    view(&mut world, "pairs", sql);
    world.epoch(&[("log", '+', "(1, 'b'), (1, 'a'), (2, NULL)")]);
    world.epoch(&[("log", '-', "(1, 'b')"), ("log", '+', "(1, 'c')")]);
    assert_eq!(world.rows("pairs").len(), 2);
}

#[test]
fn what_has_no_incremental_form_is_still_a_view() {
    let mut world = World::shop();
    world.table("pair", &[("a", INT), ("b", INT)], &[]);
    world.view("middle", "SELECT a, median(b) AS m FROM pair GROUP BY a");
    world.epoch(&[("pair", '+', "(1, 2), (1, 4), (1, 9)")]);
    assert_eq!(world.rows("middle"), ["1|4.0"]);
}

#[test]
fn medians_and_percentiles_move_with_their_values() {
    let mut world = World::shop();
    let sql = "SELECT customer_id, median(amount) AS m, median(-CAST(amount AS DECIMAL(10, 2))) AS d,
               percentile_cont(0.25) WITHIN GROUP (ORDER BY amount) AS q,
               percentile_cont(0.75) WITHIN GROUP (ORDER BY amount DESC) AS t,
               count(*) AS n FROM orders GROUP BY customer_id";
    view(&mut world, "middle", sql);
    view(&mut world, "of_all", "SELECT median(amount) AS m FROM orders");
    let late = "SELECT median(amount) FILTER (WHERE id > 3) AS f FROM orders";
    view(&mut world, "of_late", late);
    world.epoch(&[(
        "orders",
        '+',
        "(1, 1, 5), (2, 1, 7), (3, 1, 9), (4, 1, NULL), (5, 2, 4)",
    )]);
    assert_eq!(world.rows("middle")[0], "1|7.0|-7.00|6.0|6.0|4");
    world.epoch(&[("orders", '+', "(6, 1, 1), (7, 1, 1), (8, 1, 1)")]);
    assert_eq!(world.rows("middle")[0], "1|3.0|-3.00|1.0|1.0|7");
    world.view("late", sql);
    world.check();
    assert!(world.restart().is_empty());
    world.epoch(&[
        ("orders", '-', "(6, 1, 1), (2, 1, 7)"),
        ("orders", '+', "(9, 1, 100)"),
    ]);
    world.epoch(&[("orders", '-', "(7, 1, 1), (8, 1, 1), (5, 2, 4)")]);
    world.epoch(&[("orders", '-', "(1, 1, 5), (3, 1, 9), (9, 1, 100)")]);
    assert_eq!(world.rows("middle"), ["1|NULL|NULL|NULL|NULL|1"]);
    world.epoch(&[("orders", '-', "(4, 1, NULL)")]);
    assert_eq!(world.rows("of_all"), ["NULL"]);
}

#[test]
fn a_median_over_many_values_and_changes() {
    let mut world = World::new();
    world.table("v", &[("g", INT), ("f", FLOAT)], &[]);
    view(
        &mut world,
        "m",
        "SELECT g, median(f) AS m, percentile_cont(0.99) WITHIN GROUP (ORDER BY f) AS p FROM v GROUP BY g",
    );
    let row = |i: u64| format!("({}, {})", i % 2, i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 54);
    let rows = |places: std::ops::Range<u64>| places.map(row).collect::<Vec<_>>().join(",");
    world.epoch(&[("v", '+', &rows(0..3000))]);
    world.epoch(&[("v", '-', &rows(100..1500))]);
    world.epoch(&[("v", '-', &rows(0..100)), ("v", '+', &rows(3000..3010))]);
    world.epoch(&[(
        "v",
        '+',
        "(0, CAST('NaN' AS DOUBLE)), (1, CAST('-0' AS DOUBLE)), (1, CAST('-inf' AS DOUBLE)), (0, NULL)",
    )]);
    for i in 1500..1530 {
        world.epoch(&[("v", '-', &row(i))]);
    }
    world.epoch(&[("v", '-', &rows(1530..3010))]);
}
