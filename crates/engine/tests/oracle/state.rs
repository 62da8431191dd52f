//! The folder and the store of a world, in one of the forms that state has, and its ends: closed, or cut off.

use super::case::Form;
use super::world::{Failure, wrong};
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use viewfeed_store::{Durability, MemoryKv, Options, Store};

/// Where temporary files are in memory, on the systems that have such a place: what is tested here is not the disk.
const MEMORY_FOLDER: &str = "/dev/shm";

/// Bytes in memory after which run files are written: so few that every case writes and merges some.
const RUNS_OVERLAY_BYTES: usize = 2 << 10;

/// A store's place, open or not.
pub(super) struct State {
    folder: TempDir,
    form: Form,
    /// The checkpoint database, if it is in memory.
    memory: Arc<MemoryKv>,
}

impl State {
    /// A new folder.
    pub(super) fn new(form: Form) -> Self {
        Self {
            folder: new_folder(),
            form,
            memory: Arc::default(),
        }
    }

    /// Opens the store, which is not open.
    pub(super) fn open(&self) -> Result<Store, Failure> {
        let mut options = Options {
            durability: Durability::Relaxed { interval_ms: 60_000 },
            memory_bytes: 1 << 20,
            form: viewfeed_store::Form::Sled,
            ..Options::default()
        };
        if self.form == Form::Runs {
            options.form = viewfeed_store::Form::Runs;
            options.overlay_bytes = RUNS_OVERLAY_BYTES;
        }
        let opened = match self.form {
            Form::Memory => Store::open_over(self.folder.path(), &options, self.memory.clone()),
            Form::Sled | Form::Runs => Store::open(self.folder.path(), options),
        };
        opened.map_err(wrong)
    }

    /// Goes on with a copy of the files as they are now, while the store is open: what a killed process leaves. Run files
    /// are written and merged in the background, and cannot be copied as of one moment: these are only dropped.
    pub(super) fn cut_off(&mut self) {
        if self.form == Form::Runs {
            return;
        }
        let copied = new_folder();
        copy(self.folder.path(), copied.path()).expect("temporary files can be copied");
        self.folder = copied;
    }
}

fn new_folder() -> TempDir {
    let builder = tempfile::Builder::new();
    let in_memory = Path::new(MEMORY_FOLDER)
        .is_dir()
        .then(|| builder.tempdir_in(MEMORY_FOLDER));
    let made = in_memory.unwrap_or_else(|| builder.tempdir());
    made.expect("a temporary folder can be made")
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            std::fs::create_dir_all(&target)?;
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
