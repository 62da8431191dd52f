//! Random ways to given tables: rows come in any order and in batches of any size, some in another version first, some
//! twice, and with rows between them that are gone in the end.

use super::cell::{Cell, Content, Row};
use rand::Rng;
use rand::rngs::SmallRng;

/// What happens in an epoch: rows with weights, by table.
pub(super) type Epoch = Vec<Vec<(Row, i64)>>;

/// A change that happens at some moment between 0 and 1.
struct Event {
    moment: f64,
    table: usize,
    changes: Vec<(Row, i64)>,
}

/// Added to the key of rows that will not stay, so that it is nobody else's.
const STRANGE_KEY: i64 = 1_000_000;

/// So many epochs after which every table has its rows.
pub(super) fn way_to(rng: &mut SmallRng, tables: &[Content], epochs: usize) -> Vec<Epoch> {
    let mut events = Vec::new();
    for (table, content) in tables.iter().enumerate() {
        for place in 0..content.rows.len() {
            stay(rng, table, content, place, &mut events);
            if rng.random_bool(0.2) {
                let moments = moments(rng, 2);
                let row = passing(rng, content, place);
                events.push(event(moments[0], table, vec![(row.clone(), 1)]));
                events.push(event(moments[1], table, vec![(row, -1)]));
            }
        }
    }
    events.sort_by(|a, b| a.moment.total_cmp(&b.moment));
    cut(rng, events, tables.len(), epochs)
}

/// How a row comes to stay.
fn stay(rng: &mut SmallRng, table: usize, content: &Content, place: usize, events: &mut Vec<Event>) {
    let row = content.rows[place].clone();
    let moments = moments(rng, 3);
    match rng.random_range(0..10) {
        0..=1 => {
            let earlier = another_version(rng, content, place);
            events.push(event(moments[0], table, vec![(earlier.clone(), 1)]));
            events.push(event(moments[1], table, vec![(earlier, -1), (row, 1)]));
        }
        2 => {
            events.push(event(moments[0], table, vec![(row.clone(), 1)]));
            events.push(event(moments[1], table, vec![(row.clone(), -1)]));
            events.push(event(moments[2], table, vec![(row, 1)]));
        }
        _ => events.push(event(moments[0], table, vec![(row, 1)])),
    }
}

fn event(moment: f64, table: usize, changes: Vec<(Row, i64)>) -> Event {
    Event {
        moment,
        table,
        changes,
    }
}

fn moments(rng: &mut SmallRng, count: usize) -> Vec<f64> {
    let mut moments: Vec<f64> = (0..count).map(|_| rng.random_range(0.0..1.0)).collect();
    moments.sort_by(f64::total_cmp);
    moments
}

/// The row with one or two other values outside of its key, of other rows, or NULL.
fn another_version(rng: &mut SmallRng, content: &Content, place: usize) -> Row {
    let mut row = content.rows[place].clone();
    for _ in 0..rng.random_range(1..3) {
        let column = rng.random_range(0..row.len());
        if !content.key.contains(&column) {
            let other = &content.rows[rng.random_range(0..content.rows.len())];
            row[column] = match rng.random_bool(0.1) {
                true => Cell::Null,
                false => other[column].clone(),
            };
        }
    }
    row
}

/// A row that will not stay: much like the one at `place`, with another key if there is one.
fn passing(rng: &mut SmallRng, content: &Content, place: usize) -> Row {
    let mut row = another_version(rng, content, place);
    if let Some(last) = content.key.last()
        && let Cell::Int(key) = &mut row[*last]
    {
        *key += STRANGE_KEY;
    }
    row
}

fn cut(rng: &mut SmallRng, events: Vec<Event>, tables: usize, epochs: usize) -> Vec<Epoch> {
    let mut borders = moments(rng, epochs - 1);
    borders.push(1.0);
    let mut script = vec![vec![Vec::new(); tables]; epochs];
    for event in events {
        let epoch = borders.partition_point(|border| *border <= event.moment);
        script[epoch][event.table].extend(event.changes);
    }
    script
}
