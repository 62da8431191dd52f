//! The thread that joins layers of committed writes, so that reads look into few of them and commits need not do it.

use crate::committed::{Committed, FOLD_LATER_ENTRIES_MAX};
use parking_lot::{Condvar, Mutex};

/// Who is asked to join layers, and told to end.
#[derive(Default)]
pub(crate) struct Folder {
    asked: Mutex<Asked>,
    wake: Condvar,
}

#[derive(Default)]
struct Asked {
    is_wanted: bool,
    is_stopping: bool,
}

impl Folder {
    /// The body of the thread.
    pub(crate) fn serve(&self, committed: &Committed) {
        loop {
            {
                let mut asked = self.asked.lock();
                while !asked.is_wanted && !asked.is_stopping {
                    self.wake.wait(&mut asked);
                }
                if asked.is_stopping {
                    return;
                }
                asked.is_wanted = false;
            }
            while !self.asked.lock().is_stopping && committed.fold(FOLD_LATER_ENTRIES_MAX) {}
        }
    }

    /// Has layers joined soon, if there are some.
    pub(crate) fn request(&self, committed: &Committed) {
        if committed.is_foldable() {
            self.asked.lock().is_wanted = true;
            self.wake.notify_all();
        }
    }

    /// Ends the thread, after the layers it joins just now.
    pub(crate) fn stop(&self) {
        self.asked.lock().is_stopping = true;
        self.wake.notify_all();
    }
}
