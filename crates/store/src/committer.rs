//! Group commit: one thread that writes what many submit, and tells each when it is durable.
//!
//! Batches are committed in the order of [`Committer::submit`]; whatever waits when a commit ends goes into the
//! next one together. The first failure is final: what was submitted later was decided upon what is not durable,
//! so everything that waits fails with the same error, nothing more is taken, and the owner closes the committer,
//! loads the store again and starts anew.

use crate::{Fence, Record, Store, StoreError};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use stdx::Timestamp;

/// How often the fence is renewed; far more often than any lease expires.
const RENEW_EVERY: Duration = Duration::from_secs(2);

/// The number of a submitted batch; greater for every later one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

/// Why a batch, or one before it, could not be made durable.
#[derive(Clone, Debug)]
pub struct CommitFailed(pub Arc<StoreError>);

impl fmt::Display for CommitFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the change could not be stored")
    }
}

impl std::error::Error for CommitFailed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.0)
    }
}

/// What a waiter is told.
pub type Durable = Result<(), CommitFailed>;
type Waiter = Box<dyn FnOnce(Durable) + Send>;
type Errand = Box<dyn FnOnce(&mut dyn Store) + Send>;

/// The committer thread's front.
pub struct Committer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Box<dyn Store>>>,
}

struct Shared {
    queue: Mutex<Queue>,
    /// Something waits to be written, or the end has come.
    work: Condvar,
    /// There is room again.
    room: Condvar,
    capacity: usize,
}

#[derive(Default)]
struct Queue {
    batches: VecDeque<Vec<Record>>,
    bytes: usize,
    submitted: u64,
    durable: u64,
    waiters: BTreeMap<u64, Vec<Waiter>>,
    errands: Vec<Errand>,
    failed: Option<CommitFailed>,
    closing: bool,
}

impl Committer {
    /// Starts the thread. At most about `capacity` bytes wait in the queue.
    pub fn start(store: Box<dyn Store>, fence: Fence, capacity: usize) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            work: Condvar::new(),
            room: Condvar::new(),
            capacity: capacity.max(1),
        });
        let worker = Worker { shared: Arc::clone(&shared), store, fence, renewed: Instant::now() };
        let thread = std::thread::Builder::new()
            .name("store-commit".to_owned())
            .spawn(move || worker.run())
            .map_err(|e| StoreError::io("start the thread of", "the committer".as_ref(), e))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Puts a batch into the queue, waiting while it is full. An empty one stands for what was submitted before.
    pub fn submit(&self, records: Vec<Record>) -> Result<Sequence, CommitFailed> {
        let mut queue = self.shared.lock();
        while queue.bytes >= self.shared.capacity && queue.failed.is_none() && !records.is_empty() {
            queue = self.shared.room.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(failed) = &queue.failed {
            return Err(failed.clone());
        }
        if !records.is_empty() {
            queue.submitted += 1;
            queue.bytes += size(&records);
            queue.batches.push_back(records);
            self.shared.work.notify_one();
        }
        Ok(Sequence(queue.submitted))
    }

    /// Whether [`Committer::submit`] would not wait.
    pub fn has_room(&self) -> bool {
        self.shared.lock().bytes < self.shared.capacity
    }

    /// The last batch submitted: a reply to a read made now waits for this one.
    pub fn submitted(&self) -> Sequence {
        Sequence(self.shared.lock().submitted)
    }

    /// The last batch that is durable, with all before it.
    pub fn durable(&self) -> Sequence {
        Sequence(self.shared.lock().durable)
    }

    /// Calls `then` once when a batch and all before it are durable, or never will be: at once in this thread if
    /// that is known already, else in the committer's thread, which writes nothing meanwhile.
    pub fn when_durable(&self, sequence: Sequence, then: impl FnOnce(Durable) + Send + 'static) {
        let mut queue = self.shared.lock();
        let known = match &queue.failed {
            _ if queue.durable >= sequence.0 => Ok(()),
            Some(failed) => Err(failed.clone()),
            None => {
                queue.waiters.entry(sequence.0).or_default().push(Box::new(then));
                return;
            }
        };
        drop(queue);
        then(known);
    }

    /// Waits until a batch and all before it are durable.
    pub fn wait(&self, sequence: Sequence) -> Durable {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.when_durable(sequence, move |durable| drop(sender.send(durable)));
        receiver.recv().unwrap_or_else(|_| Err(gone()))
    }

    /// Lets the committer's thread do something with the store between two commits, and waits for the answer.
    pub fn with_store<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Store) -> R + Send + 'static,
    ) -> Result<R, CommitFailed> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let mut queue = self.shared.lock();
        if let Some(failed) = &queue.failed {
            return Err(failed.clone());
        }
        queue.errands.push(Box::new(move |store| drop(sender.send(work(store)))));
        self.shared.work.notify_one();
        drop(queue);
        receiver.recv().map_err(|_| self.shared.lock().failed.clone().unwrap_or_else(gone))
    }

    /// Writes what waits, ends the thread and gives the store back; `None` if the thread panicked.
    pub fn close(mut self) -> Option<Box<dyn Store>> {
        self.end()
    }

    fn end(&mut self) -> Option<Box<dyn Store>> {
        self.shared.lock().closing = true;
        self.shared.work.notify_one();
        self.thread.take()?.join().ok()
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        drop(self.end());
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it: everybody who waits, and everybody who comes, is told.
    fn fail(&self, failed: CommitFailed) {
        let mut queue = self.lock();
        let failed = queue.failed.get_or_insert(failed).clone();
        let waiters = std::mem::take(&mut queue.waiters);
        queue.batches.clear();
        queue.errands.clear();
        queue.bytes = 0;
        drop(queue);
        self.room.notify_all();
        for waiter in waiters.into_values().flatten() {
            waiter(Err(failed.clone()));
        }
    }
}

/// What is done next, without the queue's lock.
enum Work {
    Errands(Vec<Errand>),
    Commit(Vec<Record>, u64),
    Renew,
    End,
}

struct Worker {
    shared: Arc<Shared>,
    store: Box<dyn Store>,
    fence: Fence,
    renewed: Instant,
}

/// Tells everybody if the thread ends without saying why, which only a panic can do.
struct Alarm(Arc<Shared>);

impl Drop for Alarm {
    fn drop(&mut self) {
        self.0.fail(gone());
    }
}

impl Worker {
    fn run(mut self) -> Box<dyn Store> {
        let _alarm = Alarm(Arc::clone(&self.shared));
        loop {
            let done = match self.next() {
                Work::Errands(errands) => {
                    errands.into_iter().for_each(|errand| errand(&mut *self.store));
                    Ok(())
                }
                Work::Commit(records, upto) => self.commit(&records, upto),
                Work::Renew => {
                    self.renewed = Instant::now();
                    self.store.renew(self.fence, now())
                }
                Work::End => return self.store,
            };
            if let Err(error) = done {
                self.shared.fail(CommitFailed(Arc::new(error)));
                return self.store;
            }
        }
    }

    fn next(&self) -> Work {
        let limits = self.store.limits();
        let mut queue = self.shared.lock();
        loop {
            let left = RENEW_EVERY.saturating_sub(self.renewed.elapsed());
            if left.is_zero() {
                return Work::Renew;
            }
            if !queue.errands.is_empty() {
                return Work::Errands(std::mem::take(&mut queue.errands));
            }
            if let Some(mut records) = queue.batches.pop_front() {
                let mut bytes = size(&records);
                while let Some(next) = queue.batches.front()
                    && records.len() + next.len() <= limits.records
                    && bytes + size(next) <= limits.bytes
                    && let Some(next) = queue.batches.pop_front()
                {
                    bytes += size(&next);
                    records.extend(next);
                }
                queue.bytes = queue.bytes.saturating_sub(bytes);
                let upto = queue.submitted - queue.batches.len() as u64;
                self.shared.room.notify_all();
                return Work::Commit(records, upto);
            }
            if queue.closing {
                return Work::End;
            }
            queue = self.shared.work.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn commit(&mut self, records: &[Record], upto: u64) -> Result<(), StoreError> {
        self.store.commit(self.fence, records)?;
        let mut queue = self.shared.lock();
        queue.durable = upto;
        let later = queue.waiters.split_off(&(upto + 1));
        let told = std::mem::replace(&mut queue.waiters, later);
        drop(queue);
        for waiter in told.into_values().flatten() {
            waiter(Ok(()));
        }
        Ok(())
    }
}

fn size(records: &[Record]) -> usize {
    records.iter().map(Record::size).sum()
}

fn gone() -> CommitFailed {
    CommitFailed(Arc::new(StoreError::Stopped { reason: "the committer has ended".to_owned() }))
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
