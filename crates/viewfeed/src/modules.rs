//! The modules folder: watched, and brought to life when it changes.
//!
//! The operating system tells of changes (no polling); a short quiet time lets an editor or `cp -r` finish first. The
//! watcher is the only writer of [`Modules`].

use crate::pipeline::Job;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use viewfeed_catalog::{Diagnostic, Module, ModuleFiles, ModuleState, Modules, Severity, compile};
use viewfeed_change::{Clock, Error, ErrorKind, Result};

/// How long nothing must change before the folder is read.
const QUIET: Duration = Duration::from_millis(100);
/// Files are not read beyond this size; the catalog's own limit is lower and says so.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Watches one folder.
pub(crate) struct ModuleWatcher {
    dir: PathBuf,
    jobs: mpsc::Sender<Job>,
    modules: watch::Sender<Arc<Modules>>,
    clock: Arc<dyn Clock>,
    /// What each folder held when it was last read.
    known: BTreeMap<String, ModuleFiles>,
    events: mpsc::Receiver<()>,
    // Watching ends when this is dropped.
    _watcher: RecommendedWatcher,
}

impl ModuleWatcher {
    /// Starts watching `dir`, which is created if it is missing.
    pub(crate) fn start(
        dir: &Path,
        jobs: mpsc::Sender<Job>,
        modules: watch::Sender<Arc<Modules>>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let unwatchable = |error: notify::Error| {
            Error::new(
                ErrorKind::Unavailable,
                "MODULES_DIR",
                format!("cannot watch {}", dir.display()),
            )
            .because(error)
            .hint("check that the folder exists and may be read, and the limit of inotify watches")
        };
        std::fs::create_dir_all(dir)?;
        // One pending event is enough: the whole folder is read whatever happened.
        let (sender, events) = mpsc::channel(1);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                // Full: an event is pending already.
                let _ = sender.try_send(());
            }
        })
        .map_err(unwatchable)?;
        watcher
            .watch(dir, RecursiveMode::Recursive)
            .map_err(unwatchable)?;
        Ok(Self {
            dir: dir.to_owned(),
            jobs,
            modules,
            clock,
            known: BTreeMap::new(),
            events,
            _watcher: watcher,
        })
    }

    /// Follows the folder until the loop is gone.
    pub(crate) async fn run(mut self) {
        while self.events.recv().await.is_some() {
            while let Ok(Some(())) = tokio::time::timeout(QUIET, self.events.recv()).await {}
            if self.sync().await.is_err() {
                return;
            }
        }
    }

    /// Reads the folder and applies what differs from what is known. Fails only when the loop is gone.
    pub(crate) async fn sync(&mut self) -> Result<()> {
        let dir = self.dir.clone();
        let read = tokio::task::spawn_blocking(move || read_modules(&dir)).await;
        let found = match read.map_err(|error| Error::internal("reading modules stopped").because(error))? {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(%error, "the modules folder cannot be read; what runs keeps running");
                return Ok(());
            }
        };
        let gone: Vec<String> = self
            .known
            .keys()
            .filter(|name| !found.contains_key(*name))
            .cloned()
            .collect();
        for name in gone {
            self.known.remove(&name);
            self.remove(&name);
        }
        let mut changed: Vec<ModuleFiles> = found
            .into_values()
            .filter(|files| self.known.get(&files.name) != Some(files))
            .collect();
        while !changed.is_empty() {
            // A module may need a relation of another one: what was refused is tried again while others succeed.
            let before = changed.len();
            let mut refused = Vec::new();
            for files in changed {
                self.known.insert(files.name.clone(), files.clone());
                if !self.apply(&files).await? {
                    refused.push(files);
                }
            }
            changed = self.waiting(refused, before);
        }
        Ok(())
    }

    /// What to try again: everything that is refused, if something else came alive in this round.
    fn waiting(&self, refused: Vec<ModuleFiles>, tried: usize) -> Vec<ModuleFiles> {
        if refused.len() == tried {
            return Vec::new();
        }
        let modules = self.modules.borrow().clone();
        let is_refused = |name: &str| {
            modules
                .states
                .get(name)
                .is_some_and(|state| !state.refused.is_empty())
        };
        self.known
            .values()
            .filter(|files| is_refused(&files.name))
            .cloned()
            .collect()
    }

    /// Brings one module to life; false if it was refused.
    async fn apply(&mut self, files: &ModuleFiles) -> Result<bool> {
        let outcome = match compile(files) {
            Ok(compiled) => {
                let (reply, answer) = oneshot::channel();
                let stopping = |_| Error::new(ErrorKind::Unavailable, "STOPPING", "the server is stopping");
                self.jobs
                    .send(Job::Module {
                        compiled: Box::new(compiled),
                        reply,
                    })
                    .await
                    .map_err(|_| stopping(()))?;
                answer.await.map_err(|_| stopping(()))?
            }
            Err(diagnostics) => Err(diagnostics),
        };
        let accepted = outcome.is_ok();
        self.publish(&files.name, outcome);
        Ok(accepted)
    }

    fn publish(&self, name: &str, outcome: Result<Arc<Module>, Vec<Diagnostic>>) {
        let changed_at = self.clock.now();
        match outcome {
            Ok(module) => {
                let state = ModuleState {
                    live: Some(module.clone()),
                    refused: Vec::new(),
                    changed_at,
                };
                self.replace(name, Some(state));
                warn(name, &module.diagnostics);
                tracing::info!(module = name, rpcs = module.rpcs.len(), "module is live");
            }
            Err(refused) => {
                let live = self
                    .modules
                    .borrow()
                    .states
                    .get(name)
                    .and_then(|state| state.live.clone());
                let still_live = live.is_some();
                self.replace(
                    name,
                    Some(ModuleState {
                        live,
                        refused: refused.clone(),
                        changed_at,
                    }),
                );
                for diagnostic in refused.iter().filter(|one| one.severity == Severity::Error) {
                    tracing::error!(module = name, still_live, "refused: {diagnostic}");
                }
                warn(name, &refused);
            }
        }
    }

    fn remove(&self, name: &str) {
        self.replace(name, None);
        tracing::info!(module = name, "module is gone; its tables, views and rows stay");
    }

    fn replace(&self, name: &str, state: Option<ModuleState>) {
        // A borrow held while sending would wait for itself.
        let old = self.modules.borrow().clone();
        match old.with(name, state) {
            Ok(modules) => {
                self.modules.send_replace(Arc::new(modules));
            }
            // The loop has checked this already; only a bug gets here.
            Err(diagnostics) => diagnostics
                .iter()
                .for_each(|d| tracing::error!(module = name, "{d}")),
        }
    }
}

/// Every folder in `dir` with the files a module may have.
pub(crate) fn read_modules(dir: &Path) -> Result<BTreeMap<String, ModuleFiles>> {
    let mut modules = BTreeMap::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() && !is_hidden(&path) {
            let files = read_module(&path)?;
            if !files.files.is_empty() {
                modules.insert(files.name.clone(), files);
            }
        }
    }
    Ok(modules)
}

/// The files of the module in `dir`.
pub(crate) fn read_module(dir: &Path) -> Result<ModuleFiles> {
    let name = dir
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let mut files = Vec::new();
    collect(dir, dir, &mut files)?;
    files.sort();
    Ok(ModuleFiles { name, files })
}

fn collect(root: &Path, dir: &Path, files: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if is_hidden(&path) {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, files)?;
        } else if belongs_to_module(&path) {
            let relative = path
                .strip_prefix(root)
                .unwrap_or(&path)
                .to_string_lossy()
                .replace('\\', "/");
            if std::fs::metadata(&path)?.len() <= FILE_BYTES_MAX {
                files.push((relative, std::fs::read(&path)?));
            } else {
                let message = format!("{relative} is larger than {} MiB", FILE_BYTES_MAX >> 20);
                return Err(Error::invalid("FILE_TOO_LARGE", message).hint("split the file"));
            }
        }
    }
    Ok(())
}

fn belongs_to_module(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("proto" | "sql")) || path.file_name().is_some_and(|name| name == "module.toml")
}

/// Editors keep their own files beside the one they write.
fn is_hidden(path: &Path) -> bool {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    name.starts_with('.') || name.ends_with('~') || name.starts_with('#')
}

fn warn(module: &str, diagnostics: &[Diagnostic]) {
    for diagnostic in diagnostics.iter().filter(|one| one.severity == Severity::Warning) {
        tracing::warn!(module, "{diagnostic}");
    }
}
