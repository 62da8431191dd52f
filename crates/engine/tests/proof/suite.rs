//! What every suite goes through, and the rungs it is pinned to.

use super::cell::Content;
use super::script::way_to;
use super::world::World;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use viewfeed_engine::{ExplainedNode, Rung};

/// Into how many epochs the way to the tables is cut.
const EPOCHS: usize = 10;

/// Proves the queries of `tests/<folder>` over `tables`, `count` of them.
pub(super) fn prove(folder: &str, tables: &[Content], count: usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let queries = queries(&folder);
    assert_eq!(queries.len(), count, "queries in {}", folder.display());
    let seed = seed();
    let script = way_to(&mut SmallRng::seed_from_u64(seed), tables, EPOCHS);
    let mut world = World::new(tables);
    let rungs = create(&mut world, "", &queries);
    for (number, epoch) in script.iter().enumerate() {
        world.epoch(epoch);
        match number {
            4 => drop(create(&mut world, "late_", &queries)),
            6 => world.reopen(),
            1 => {}
            _ => continue,
        }
        world.check();
    }
    world.check();
    assert_eq!(world.silent(), Vec::<String>::new(), "queries that find nothing");
    let all = tables
        .iter()
        .map(|table| table.rows.iter().map(|row| (row.clone(), -1)).collect());
    world.epoch(&all.collect::<Vec<_>>());
    world.check();
    pin(&folder.join("rungs.txt"), &rungs);
}

fn seed() -> u64 {
    let given = std::env::var("VIEWFEED_PROOF_SEED").ok();
    let seed = given.map_or_else(|| rand::rng().random(), |text| text.parse().unwrap());
    println!("VIEWFEED_PROOF_SEED={seed}");
    seed
}

/// Every query with its name, in order.
fn queries(folder: &Path) -> Vec<(String, String)> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
        .collect();
    files.sort();
    let read = |path: &PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, std::fs::read_to_string(path).unwrap())
    };
    files.iter().map(read).collect()
}

/// Creates every query as a view; gives a table of their rungs.
fn create(world: &mut World, prefix: &str, queries: &[(String, String)]) -> String {
    let (mut rungs, mut refused) = (String::new(), String::new());
    for (name, sql) in queries {
        match world.create(&format!("{prefix}{name}"), sql) {
            Ok(plan) => writeln!(rungs, "{name}  {}", rung(&plan)).unwrap(),
            Err(error) => writeln!(refused, "{name}: {error:?}").unwrap(),
        }
    }
    assert!(refused.is_empty(), "these cannot be views:\n{refused}");
    rungs
}

/// The worst rung, and what is not incremental.
fn rung(plan: &ExplainedNode) -> String {
    let others = plan
        .flattened()
        .into_iter()
        .filter(|(_, node)| node.rung != Rung::Incremental);
    let shown = others.map(|(_, node)| format!("{}, {}", node.operator, node.note));
    let shown: Vec<String> = std::iter::once(plan.worst_rung().to_string())
        .chain(shown)
        .collect();
    shown.join("\n     ")
}

fn pin(file: &Path, rungs: &str) {
    println!("{rungs}");
    if std::env::var_os("UPDATE_PLANS").is_some() {
        return std::fs::write(file, rungs).unwrap();
    }
    let pinned = std::fs::read_to_string(file).unwrap_or_default();
    assert_eq!(rungs, pinned, "{}", file.display());
}
