//! What `EXPLAIN VIEW` says, word for word. `tests/plans/*.txt` hold a query, an empty line, and its plan;
//! `UPDATE_PLANS=1 cargo test` writes the plans anew.

use crate::world::World;
use std::path::Path;

#[test]
fn plans_are_as_written() {
    let world = World::shop();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 10, "the plans are missing");
    let update = std::env::var_os("UPDATE_PLANS").is_some();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let (sql, wanted) = text.split_once("\n\n").unwrap_or((text.trim_end(), ""));
        let plan = world.engine.plan(sql, "public", &world.relations).unwrap();
        let got = plan.explained.to_string();
        if update {
            std::fs::write(&file, format!("{sql}\n\n{got}")).unwrap();
        } else {
            assert_eq!(got, wanted, "{}", file.display());
        }
    }
}
