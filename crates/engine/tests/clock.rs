//! Conditions over the clock: rows come and go when they are due, and not before.

use crate::world::{INT, World};
use arrow::datatypes::{DataType, TimeUnit};
use viewfeed_engine::Rung;

const SECOND_US: i64 = 1_000_000;
const HOUR_US: i64 = 3600 * SECOND_US;
const DAY_US: i64 = 24 * HOUR_US;

/// Bookings: valid from, valid to (in UTC), on a day. It is 2023-11-14 22:13:20.
fn bookings() -> World {
    let mut world = World::new();
    let time = |zone: Option<&str>| DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
    world.table(
        "booking",
        &[
            ("id", INT),
            ("since", time(None)),
            ("until", time(Some("UTC"))),
            ("day", DataType::Date32),
            ("second", INT),
        ],
        &[0],
    );
    world.table("seen", &[("at", time(None)), ("room", INT)], &[]);
    world.table("room", &[("id", INT), ("lasts", INT)], &[0]);
    world
}

/// `(id, since, until, day, second)` with times of today.
fn booking(id: i64, since: &str, until: &str) -> String {
    let time = |time: &str, zone: &str| match time {
        "NULL" => "NULL".to_owned(),
        time => format!("TIMESTAMP{zone} '2023-11-14 {time}'"),
    };
    let (since, until) = (time(since, ""), time(until, ""));
    format!(
        "({id}, {since}, {until}, DATE '2023-11-14', {})",
        1_700_000_000 + id
    )
}

#[track_caller]
fn is_incremental(world: &World, view: &str) {
    let explained = world.engine.explain(world.relation(view).id).unwrap();
    assert_eq!(explained.worst_rung(), Rung::Incremental, "{explained}");
}

#[test]
fn rows_come_when_they_are_due_and_not_before() {
    let mut world = bookings();
    world.view("v", "SELECT id FROM booking WHERE since <= now()");
    is_incremental(&world, "v");
    let rows = [
        booking(1, "22:13:20", "NULL"),
        booking(2, "22:13:21", "NULL"),
        booking(3, "23:00:00", "NULL"),
        booking(4, "NULL", "NULL"),
    ];
    assert_eq!(world.change_of("v", &[("booking", '+', &rows.join(", "))]), ["1"]);
    assert!(world.is_idle());
    assert_eq!(world.later(SECOND_US - 1, "v"), [""; 0]);
    assert_eq!(world.later(1, "v"), ["2"]);
    assert!(world.is_idle());
    assert_eq!(world.later(HOUR_US, "v"), ["3"]);
}

#[test]
fn less_is_not_less_or_equal() {
    let mut world = bookings();
    world.view("v", "SELECT id FROM booking WHERE since < now()");
    world.view("w", "SELECT id FROM booking WHERE now() <= until");
    world.view("x", "SELECT id FROM booking WHERE until > now()");
    let row = booking(1, "22:13:21", "22:13:21");
    world.epoch(&[("booking", '+', &row)]);
    world.later(SECOND_US, "v");
    assert_eq!(
        (
            world.rows("v").len(),
            world.rows("w").len(),
            world.rows("x").len()
        ),
        (0, 1, 0)
    );
    world.later(1, "v");
    assert_eq!(
        (
            world.rows("v").len(),
            world.rows("w").len(),
            world.rows("x").len()
        ),
        (1, 0, 0)
    );
}

#[test]
fn rows_go_when_their_time_is_over() {
    let mut world = bookings();
    world.view(
        "v",
        "SELECT room, at FROM seen WHERE at > now() - interval '1 hour'",
    );
    is_incremental(&world, "v");
    let rows = "(TIMESTAMP '2023-11-14 22:00:00', 7), (TIMESTAMP '2023-11-14 22:00:00', 7), \
                (TIMESTAMP '2023-11-14 21:13:20', 8), (TIMESTAMP '2023-11-14 22:13:20', 9)";
    world.epoch(&[("seen", '+', rows)]);
    assert_eq!(
        world.rows("v"),
        ["×2 7|2023-11-14T22:00:00", "9|2023-11-14T22:13:20"]
    );
    assert_eq!(
        world.change_of("v", &[("seen", '-', "(TIMESTAMP '2023-11-14 22:00:00', 7)")]),
        ["- 7|2023-11-14T22:00:00"]
    );
    assert_eq!(
        world.later(HOUR_US - 20 * SECOND_US, "v"),
        ["- 7|2023-11-14T22:00:00"]
    );
    let rows = "(TIMESTAMP '2023-11-14 22:00:00', 7), (TIMESTAMP '2023-11-14 21:13:20', 8)";
    assert_eq!(world.change_of("v", &[("seen", '-', rows)]), [""; 0]);
    assert_eq!(world.later(DAY_US, "v"), ["- 9|2023-11-14T22:13:20"]);
    assert!(world.is_idle());
}

#[test]
fn a_row_that_is_taken_away_does_not_become_due() {
    let mut world = bookings();
    world.view("v", "SELECT id FROM booking WHERE since <= now()");
    let (early, late) = (booking(1, "22:13:20", "NULL"), booking(2, "22:13:30", "NULL"));
    world.epoch(&[("booking", '+', &early), ("booking", '+', &late)]);
    assert_eq!(world.change_of("v", &[("booking", '-', &late)]), [""; 0]);
    assert_eq!(world.later(HOUR_US, "v"), [""; 0]);
    assert_eq!(world.change_of("v", &[("booking", '-', &early)]), ["- 1"]);
}

#[test]
fn a_row_that_becomes_due_in_the_epoch_that_takes_it_away() {
    let mut world = bookings();
    world.view("v", "SELECT id FROM booking WHERE since <= now()");
    world.view("w", "SELECT at FROM seen WHERE at >= now()");
    world.epoch(&[
        ("booking", '+', &booking(1, "22:13:30", "NULL")),
        (
            "seen",
            '+',
            "(TIMESTAMP '2023-11-14 22:13:30', 1), (TIMESTAMP '2023-11-14 22:13:30', 1)",
        ),
    ]);
    world.now.0 += HOUR_US;
    let output = world.epoch(&[
        ("booking", '-', &booking(1, "22:13:30", "NULL")),
        ("seen", '-', "(TIMESTAMP '2023-11-14 22:13:30', 1)"),
    ]);
    assert_eq!(output.deltas.len(), 1);
    assert!(world.rows("w").is_empty());
}

#[test]
fn two_conditions_are_a_validity() {
    let mut world = bookings();
    let sql = "SELECT id FROM booking WHERE since <= now() AND until > now() AND id <> 9";
    world.view("v", sql);
    is_incremental(&world, "v");
    let rows = [
        booking(1, "22:00:00", "22:13:30"),
        booking(2, "22:13:25", "22:13:40"),
        booking(3, "22:13:40", "22:13:50"),
        booking(4, "22:13:50", "22:13:40"),
        booking(5, "22:00:00", "NULL"),
        booking(9, "22:00:00", "23:00:00"),
    ];
    world.epoch(&[("booking", '+', &rows.join(", "))]);
    assert_eq!(world.rows("v"), ["1"]);
    assert_eq!(world.later(5 * SECOND_US, "v"), ["2"]);
    world.view("late", sql);
    assert_eq!(world.rows("late"), ["1", "2"]);
    assert_eq!(world.later(5 * SECOND_US, "v"), ["- 1"]);
    assert_eq!(world.later(10 * SECOND_US, "late"), ["- 2", "3"]);
    assert_eq!(world.later(DAY_US, "late"), ["- 3"]);
    let removed: Vec<String> = rows[..3].to_vec();
    assert_eq!(
        world.change_of("v", &[("booking", '-', &removed.join(", "))]),
        [""; 0]
    );
}

#[test]
fn what_waits_is_still_there_after_a_restart() {
    let mut world = bookings();
    world.view(
        "v",
        "SELECT id FROM booking WHERE since <= now() AND until > now()",
    );
    let rows = [
        booking(1, "22:00:00", "22:13:30"),
        booking(2, "22:13:25", "22:13:40"),
    ];
    world.epoch(&[("booking", '+', &rows.join(", "))]);
    assert!(world.restart().is_empty());
    assert_eq!(world.later(7 * SECOND_US, "v"), ["2"]);
    assert!(world.restart().is_empty());
    assert!(world.engine.follows_clock());
    assert_eq!(world.later(7 * SECOND_US, "v"), ["- 1"]);
    assert_eq!(world.change_of("v", &[("booking", '-', &rows[1])]), ["- 2"]);
}

#[test]
fn the_end_of_time_and_no_end_at_all() {
    let mut world = bookings();
    world.view("v", "SELECT id FROM booking WHERE until > now()");
    world.view(
        "w",
        "SELECT id FROM booking WHERE until IS NULL OR until > now() OR id = 7",
    );
    is_incremental(&world, "v");
    is_incremental(&world, "w");
    let far = "(3, NULL, TIMESTAMP '9999-12-31 00:00:00', DATE '9999-12-31', 0)";
    let rows = [
        booking(1, "NULL", "22:13:30"),
        booking(2, "NULL", "NULL"),
        booking(7, "NULL", "22:00:00"),
        far.to_owned(),
    ];
    world.epoch(&[("booking", '+', &rows.join(", "))]);
    assert_eq!(world.rows("v"), ["1", "3"]);
    assert_eq!(world.rows("w"), ["1", "2", "3", "7"]);
    assert_eq!(world.later(HOUR_US, "w"), ["- 1"]);
    let gone = [&rows[1], &rows[2]].map(String::as_str).join(", ");
    assert_eq!(world.change_of("w", &[("booking", '-', &gone)]), ["- 2", "- 7"]);
}

#[test]
fn dates_move_at_midnight_in_utc() {
    let mut world = bookings();
    let views = [
        ("today", "SELECT id FROM booking WHERE day = current_date"),
        ("due", "SELECT id FROM booking WHERE day <= current_date"),
        (
            "yesterday",
            "SELECT id FROM booking WHERE CAST(since AS DATE) = current_date - interval '1 day'",
        ),
        (
            "week",
            "SELECT id FROM booking WHERE since >= date_trunc('week', now())",
        ),
        (
            "month",
            "SELECT id FROM booking WHERE day > current_date - interval '1 month'",
        ),
        (
            "recent",
            "SELECT id FROM booking WHERE day + interval '12 hours' > now()",
        ),
        (
            "between",
            "SELECT id FROM booking WHERE since BETWEEN now() - interval '2 days' AND now()",
        ),
        (
            "within",
            "SELECT id FROM booking WHERE now() BETWEEN since AND until",
        ),
    ];
    for (name, sql) in views {
        world.view(name, sql);
        is_incremental(&world, name);
    }
    let at = |id: i64, day: i64| {
        let day = format!("2023-11-{day}");
        format!("({id}, TIMESTAMP '{day} 12:00:00', TIMESTAMP '{day} 23:00:00', DATE '{day}', 0)")
    };
    let rows: Vec<String> = (13..18).map(|day| at(day, day)).collect();
    world.epoch(&[("booking", '+', &rows.join(", "))]);
    assert_eq!(world.rows("today"), ["14"]);
    assert_eq!(world.rows("yesterday"), ["13"]);
    let to_midnight = DAY_US - (22 * HOUR_US + 13 * 60 * SECOND_US + 20 * SECOND_US);
    assert_eq!(world.later(to_midnight - 1, "today"), [""; 0]);
    assert_eq!(world.later(1, "today"), ["- 14", "15"]);
    assert!(world.is_idle());
    assert_eq!(world.later(DAY_US, "due"), ["16"]);
    (0..40).for_each(|_| drop(world.later(DAY_US, "month")));
    assert!(world.rows("month").is_empty());
    assert_eq!(world.rows("due").len(), 5);
}

#[test]
fn seconds_as_numbers() {
    let mut world = bookings();
    let views = [
        (
            "v",
            "SELECT id FROM booking WHERE second <= extract(epoch FROM now())",
        ),
        (
            "w",
            "SELECT id FROM booking WHERE second + 2 > to_unixtime(now())",
        ),
        (
            "x",
            "SELECT id FROM booking WHERE second * 1000 > CAST(extract(epoch FROM now()) * 1000 AS BIGINT) - 500",
        ),
    ];
    for (name, sql) in views {
        world.view(name, sql);
        is_incremental(&world, name);
    }
    let rows: Vec<String> = (0..5).map(|id| booking(id, "NULL", "NULL")).collect();
    world.epoch(&[("booking", '+', &rows.join(", "))]);
    (0..8).for_each(|_| drop(world.later(SECOND_US, "v")));
    assert_eq!(
        (
            world.rows("v").len(),
            world.rows("w").len(),
            world.rows("x").len()
        ),
        (5, 0, 0)
    );
}

#[test]
fn conditions_over_joins_and_groups() {
    let mut world = bookings();
    let views = [
        (
            "pairs",
            "SELECT s.at, r.id FROM seen s JOIN room r ON r.id = s.room
                   WHERE extract(epoch FROM s.at) + r.lasts > extract(epoch FROM now())",
        ),
        (
            "latest",
            "SELECT room FROM seen GROUP BY room HAVING max(at) > now() - interval '5 seconds'",
        ),
        (
            "count",
            "SELECT room, count(*) AS c FROM seen WHERE at <= now() GROUP BY room",
        ),
        (
            "open",
            "SELECT r.id FROM room r WHERE NOT EXISTS (SELECT 1 FROM seen s WHERE s.room = r.id AND s.at <= now())",
        ),
    ];
    for (name, sql) in views {
        world.view(name, sql);
        is_incremental(&world, name);
    }
    world.epoch(&[
        ("room", '+', "(1, 4), (2, 9)"),
        (
            "seen",
            '+',
            "(TIMESTAMP '2023-11-14 22:13:20', 1), (TIMESTAMP '2023-11-14 22:13:22', 1), (TIMESTAMP '2023-11-14 22:13:24', 2)",
        ),
    ]);
    (0..15).for_each(|_| drop(world.later(SECOND_US, "pairs")));
    assert!(world.rows("pairs").is_empty());
    assert_eq!(world.rows("count"), ["1|2", "2|1"]);
}

#[test]
fn a_bound_that_may_fall_is_computed_again() {
    let mut world = bookings();
    let views = [
        "SELECT id FROM booking WHERE since > now() - interval '1 month'",
        "SELECT id FROM booking WHERE since <= now() OR until > now()",
        "SELECT id, since < now() AS is_over FROM booking",
        "SELECT id FROM booking WHERE extract(hour FROM now()) > id",
        "SELECT id FROM booking WHERE day <> current_date",
    ];
    for (i, sql) in views.iter().enumerate() {
        let name = format!("v{i}");
        world.view(&name, sql);
        let explained = world.engine.explain(world.relation(&name).id).unwrap();
        assert_eq!(explained.worst_rung(), Rung::Recompute, "{sql}");
    }
    world.epoch(&[("booking", '+', &booking(1, "22:13:30", "22:14:00"))]);
    (0..3).for_each(|_| drop(world.later(20 * SECOND_US, "v0")));
}

#[test]
fn the_clock_may_go_back_without_harm() {
    let mut world = bookings();
    world.view("v", "SELECT at FROM seen WHERE at <= now()");
    let rows = "(TIMESTAMP '2023-11-14 22:13:25', 1)";
    world.epoch(&[("seen", '+', rows)]);
    assert_eq!(world.later(10 * SECOND_US, "v"), ["2023-11-14T22:13:25"]);
    world.now.0 -= 10 * SECOND_US;
    assert!(world.is_idle());
    world.now.0 += 10 * SECOND_US;
    assert_eq!(
        world.change_of("v", &[("seen", '-', rows)]),
        ["- 2023-11-14T22:13:25"]
    );
}

#[test]
fn a_view_that_is_filled_when_the_engine_opens_is_as_of_that_time() {
    let mut world = bookings();
    world.view(
        "v",
        "SELECT id, (SELECT b.second - 1700000000 FROM booking b) AS n FROM booking WHERE since <= now()",
    );
    world.epoch(&[
        ("booking", '+', &booking(2, "22:00:00", "NULL")),
        ("booking", '+', &booking(3, "22:00:00", "NULL")),
    ]);
    assert!(world.failure("v").is_some(), "the subquery gives two rows");
    world.epoch(&[("booking", '-', &booking(2, "22:00:00", "NULL"))]);
    assert_eq!(world.restart().len(), 1);
    assert_eq!(world.rows("v"), ["3|3"]);
}
