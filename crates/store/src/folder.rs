//! The data folder as a whole: whose it is, and how large.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::Path;
use viewfeed_change::{Error, ErrorKind, Result};

/// The right to use a data folder, for one process at a time.
pub(crate) struct FolderLock(File);

impl FolderLock {
    /// Creates `dir` if there is none, and makes it ours.
    pub(crate) fn take(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(dir.join("LOCK"))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => {
                let message = format!("the data folder {} is in use by another process", dir.display());
                Err(Error::new(ErrorKind::Unavailable, "DATA_DIR_LOCKED", message)
                    .hint("stop the other server, or give this one its own folder"))
            }
            Err(TryLockError::Error(error)) => Err(Error::from(error)),
        }
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Closing is not enough: a child process that was just forked may still hold the file open.
        let _ = self.0.unlock();
    }
}

/// Makes created and removed files of `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> std::io::Result<()> {
    // Elsewhere directories cannot be opened, and need not be.
    if cfg!(unix) {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

/// Bytes of every file below `dir`.
pub(crate) fn bytes(dir: &Path) -> Result<u64> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        // Files come and go while this looks.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(Error::from(error)),
    };
    let mut total = 0;
    for entry in entries {
        let entry = entry?;
        total += match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes(&entry.path())?,
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        };
    }
    Ok(total)
}
