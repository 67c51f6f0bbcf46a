//! Opening the driver: the keeper, what it kept, what lies on disk, and the thread that tidies up after containers.

use super::lifeline::Lifeline;
use super::link::{KeeperConfig, News};
use super::record::{Record, read_exit};
use super::wires::Wires;
use super::{BuiltinConfig, Containers, Entry, Inner, Phase, containers_dir};
use crate::cgroup::Hierarchies;
use crate::keeper::LogLimits;
use crate::wire::{Kept, Request};
use crate::{ContainerExit, ErrorKind, Result, RuntimeError, StartedContainer, now};
use image::{ContentStore, Puller};
use network::{Existing, NetworkConfig};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, Weak, mpsc};
use std::time::Duration;
use tokio::sync::broadcast;

/// A receiver may be so many ends behind before it must ask for the list.
const EVENTS_MAX: usize = 1024;
/// A container whose end nobody saw, because the machine or the keeper went down with it.
const VANISHED: i32 = 137;
const REOPEN_TRIES: u32 = 40;
const REOPEN_PAUSE: Duration = Duration::from_millis(50);

fn state_error(what: &str) -> impl FnOnce(io::Error) -> RuntimeError {
    let what = what.to_owned();
    move |error| RuntimeError::new(ErrorKind::DockerState, format!("{what}: {error}")).caused_by(error)
}

pub(super) fn open(config: BuiltinConfig) -> Result<Inner> {
    check_machine()?;
    let dir = &config.data_dir;
    // Environments of containers lie there, secrets included.
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    let dir = std::fs::create_dir_all(containers_dir(dir))
        .and_then(|()| std::fs::set_permissions(containers_dir(dir), private))
        .and_then(|()| std::fs::canonicalize(dir))
        .map_err(state_error(&format!("cannot use the data directory {}", dir.display())))?;
    let store = ContentStore::open(dir.join("images"))
        .map_err(|e| RuntimeError::new(ErrorKind::DockerState, e.to_string()).caused_by(e))?;
    let parent = cgroup_parent(&dir);
    let hierarchies = Hierarchies::detect(&parent).map_err(state_error("cannot use control groups"))?;
    let (news, tidy) = mpsc::channel();
    let executable = config.keeper.clone().unwrap_or_else(|| "/proc/self/exe".into());
    let keeper = KeeperConfig { dir: dir.clone(), executable, cgroup_parent: parent };
    let link = Arc::new(Lifeline::open(keeper, news)?);
    let table = recover(&dir, &link)?;
    let existing = existing(&table);
    let network = NetworkConfig { owner: dir.display().to_string(), subnet: config.subnet };
    let wires = Wires::open(&network, &existing);
    let containers =
        Arc::new(Containers { table: Mutex::new(table), events: broadcast::Sender::new(EVENTS_MAX) });
    forget_images_of_others(&store, &containers);
    let log = LogLimits { file_bytes: config.log_file_bytes, files: config.log_files };
    let puller = Puller::new(store.clone(), config.hosts);
    let tidying =
        Tidying { link: Arc::downgrade(&link), containers: Arc::clone(&containers), wires: wires.clone() };
    tidying.begin(tidy)?;
    Ok(Inner { dir, log, store, puller, hierarchies, wires, link, containers })
}

fn check_machine() -> Result<()> {
    let refused = |text: String| Err(RuntimeError::new(ErrorKind::DockerState, text));
    if !rustix::process::geteuid().is_root() {
        let text = "the builtin runtime needs root: run Wharf as root, or choose --runtime simulated";
        return refused(text.to_owned());
    }
    // libcontainer mounts through mount_setattr.
    const OLDEST: (u32, u32) = (5, 12);
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    match version(&release) {
        Some(found) if found < OLDEST => refused(format!(
            "the builtin runtime needs Linux {}.{} or newer, and this is {release}: update the kernel, or choose --runtime simulated",
            OLDEST.0, OLDEST.1
        )),
        _ => Ok(()),
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// One name for each data directory, so that several on one machine do not meet.
fn cgroup_parent(dir: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    dir.hash(&mut hasher);
    format!("wharf-{:08x}", hasher.finish() & 0xFFFF_FFFF)
}

/// Joins what lies on disk with what the keeper knows.
fn recover(dir: &Path, link: &Lifeline) -> Result<HashMap<String, Entry>> {
    let mut kept: HashMap<String, Kept> = link.list()?.into_iter().map(|k| (k.id.clone(), k)).collect();
    let mut table = HashMap::new();
    let entries =
        std::fs::read_dir(containers_dir(dir)).map_err(state_error("cannot list the containers"))?;
    for path in entries.flatten().map(|e| e.path()) {
        match Record::read(&path) {
            Ok(record) => {
                let phase = phase(&record, kept.remove(&record.id).as_ref(), &path);
                table.insert(record.id.clone(), Entry::new(record, phase));
            }
            Err(error) => {
                tracing::warn!("{} holds no whole container and is deleted: {error}", path.display());
                std::fs::remove_dir_all(&path).map_err(state_error("cannot delete a broken container"))?;
            }
        }
    }
    for id in kept.into_keys() {
        tracing::warn!(container = id, "the keeper runs a container without a record; it is removed");
        link.ask(&[], |request| Request::Remove { request, id })?;
    }
    for (id, entry) in &table {
        if matches!(entry.phase, Phase::Exited { .. }) {
            // It may have ended while no driver was there; its ports are still held.
            drop(link.ask(&[], |request| Request::Release { request, id: id.clone() }));
        }
    }
    Ok(table)
}

fn phase(record: &Record, kept: Option<&Kept>, dir: &Path) -> Phase {
    let Some(kept) = kept else {
        let vanished = ContainerExit { exit_code: VANISHED, oom_killed: false, finished_at: now() };
        return Phase::Exited { started: None, exit: read_exit(dir).unwrap_or(vanished) };
    };
    let started = kept.started_at.map(|started_at| StartedContainer {
        pid: kept.pid,
        started_at,
        network_bindings: record.bindings.clone(),
        ip: record.ip,
    });
    match (kept.exit, started) {
        (Some(exit), started) => Phase::Exited { started, exit },
        (None, Some(started)) => Phase::Running(started),
        (None, None) => Phase::Created { pid: kept.pid },
    }
}

fn existing(table: &HashMap<String, Entry>) -> Existing {
    let mut existing = Existing::default();
    for entry in table.values() {
        match entry.phase {
            Phase::Exited { .. } => continue,
            Phase::Running(_) => existing.publications.extend(entry.record.publications()),
            Phase::Creating | Phase::Created { .. } => {}
        }
        existing.addresses.extend(entry.record.ip);
    }
    existing
}

fn forget_images_of_others(store: &ContentStore, containers: &Containers) {
    let table = containers.lock();
    for holder in store.holders().unwrap_or_default() {
        if !table.contains_key(&holder)
            && let Err(error) = store.release(&holder)
        {
            tracing::warn!("cannot let go of an image: {error}");
        }
    }
}

/// What follows from a container's end, in the order in which ends happen: its ports must be free before anyone
/// hears of it, since the next container may want them.
struct Tidying {
    link: Weak<Lifeline>,
    containers: Arc<Containers>,
    wires: Wires,
}

impl Tidying {
    fn begin(self, news: mpsc::Receiver<News>) -> Result<()> {
        let thread = std::thread::Builder::new().name("tidy".to_owned()).stack_size(256 << 10);
        let begun = thread.spawn(move || {
            while let Ok(one) = news.recv() {
                let Some(link) = self.link.upgrade() else { return };
                self.hear(one, &link);
            }
        });
        begun.map(drop).map_err(state_error("cannot start a thread"))
    }

    fn hear(&self, news: News, link: &Lifeline) {
        match news {
            News::Exited { id, exit } => {
                self.disconnect(&id, link);
                self.containers.ended(&id, exit);
            }
            News::Lost => self.lost(link),
        }
    }

    fn disconnect(&self, id: &str, link: &Lifeline) {
        let Ok(record) = self.containers.with(id, |entry| entry.record.clone()) else { return };
        let publications = record.publications();
        self.wires.release(record.ip, &publications);
        if !publications.is_empty() && !link.is_closing() {
            // A keeper that is gone holds no ports; that news is on its way.
            link.ask(&[], |request| Request::Release { request, id: id.to_owned() }).ok();
        }
    }

    /// The connection is gone. Either the keeper threw this driver out because it was too slow to read, and everything
    /// goes on, or the keeper died, and its containers with it.
    fn lost(&self, link: &Lifeline) {
        let mut kept: HashMap<String, Kept> = match reopen(link) {
            Ok(kept) => kept.into_iter().map(|k| (k.id.clone(), k)).collect(),
            Err(error) => {
                tracing::error!("{error}");
                HashMap::new()
            }
        };
        let alive: Vec<String> = {
            let table = self.containers.lock();
            let alive =
                table.iter().filter(|(_, e)| matches!(e.phase, Phase::Running(_) | Phase::Created { .. }));
            alive.map(|(id, _)| id.clone()).collect()
        };
        for id in alive {
            let exit = match kept.remove(&id) {
                Some(Kept { exit: None, .. }) => continue,
                Some(Kept { exit: Some(exit), .. }) => exit,
                None => ContainerExit { exit_code: VANISHED, oom_killed: false, finished_at: now() },
            };
            self.disconnect(&id, link);
            self.containers.ended(&id, exit);
        }
    }
}

/// A keeper that is dying still holds its lock for a moment.
fn reopen(link: &Lifeline) -> Result<Vec<Kept>> {
    let mut tries = 0;
    loop {
        match link.reopen() {
            Ok(true) => return link.list(),
            Ok(false) => return Ok(Vec::new()),
            Err(error) if tries == REOPEN_TRIES => return Err(error),
            Err(_) => {
                tries += 1;
                std::thread::sleep(REOPEN_PAUSE);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn kernel_releases() {
        assert_eq!(version("6.1.0-13-amd64"), Some((6, 1)));
        assert_eq!(version("5.10.236-227.928.amzn2.x86_64"), Some((5, 10)));
        assert!(version("5.9.1") < Some((5, 12)));
        assert_eq!(version("unknown"), None);
    }
}
