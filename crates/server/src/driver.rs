//! Drives the core: one lock around it, one queue behind it, and nothing leaves before it is durable.
//!
//! A step runs on the thread of the connection that brought the input. Its changes are queued under the lock, so the
//! order of commits is the order of steps. Any reply, read or write, waits until the state that it saw is durable.

use crate::error::Unavailable;
use control::{ApiError, ApiResponse, Call, Core, Entropy, Input, Message, Output};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use stdx::{Chain, Timestamp};
use store::{Committer, Record, Sequence};
use tokio::sync::{Notify, oneshot};

/// What an operation answered.
pub type Answer = Result<ApiResponse, ApiError>;

/// Takes the messages of a step once its changes are durable.
pub trait Outlet: Send + Sync + 'static {
    fn deliver(&self, messages: Vec<Message>);
}

/// The core with its store.
pub struct Driver {
    core: RwLock<Core>,
    committer: Committer,
    outlet: Arc<dyn Outlet>,
    /// Rung when the next deadline may have come nearer.
    alarm: Notify,
}

impl Driver {
    pub fn new(core: Core, committer: Committer, outlet: Arc<dyn Outlet>) -> Arc<Self> {
        Arc::new(Self { core: RwLock::new(core), committer, outlet, alarm: Notify::new() })
    }

    /// Answers a call of an AWS operation.
    pub async fn call(&self, call: Call) -> Result<Answer, Unavailable> {
        let (answer, seen) = {
            let core = self.read();
            (core.query(now(), &call), self.committer.submitted())
        };
        if let Some(answer) = answer {
            self.durable(seen).await?;
            return Ok(answer);
        }
        let output = self.step(Input::Call(Box::new(call))).await?;
        output.reply.ok_or(Unavailable::Broken("a call was not answered"))
    }

    /// Applies an input, waits until its changes are durable and releases its messages.
    pub async fn step(&self, input: Input) -> Result<Output, Unavailable> {
        let (mut output, sequence) = self.locked_step(input)?;
        let messages = std::mem::take(&mut output.messages);
        if messages.is_empty() {
            self.durable(sequence).await?;
        } else {
            // The messages must leave even if nobody waits for the reply any more.
            let outlet = self.outlet.clone();
            let (told, durable) = oneshot::channel();
            self.committer.when_durable(sequence, move |result| {
                if result.is_ok() {
                    outlet.deliver(messages);
                }
                drop(told.send(result));
            });
            durable.await.map_err(|_| Unavailable::Broken("the committer has ended"))??;
        }
        Ok(output)
    }

    fn locked_step(&self, input: Input) -> Result<(Output, Sequence), Unavailable> {
        let entropy = entropy()?;
        let mut core = self.core.write().unwrap_or_else(PoisonError::into_inner);
        // A request that makes the core panic must not take everything down: the transaction undoes its edits as it
        // unwinds, and the caller gets an internal error.
        let stepped = catch_unwind(AssertUnwindSafe(|| core.step(now(), &entropy, input)));
        let output = stepped.map_err(|_| Unavailable::Broken("a step panicked; its edits were undone"))?;
        let records: Result<Vec<Record>, _> = output
            .changes
            .iter()
            .map(|change| control::state::record::encode(change).map(|(key, value)| Record { key, value }))
            .collect();
        let records = records.map_err(|error| {
            tracing::error!(error = %Chain(&error), "a change cannot be stored");
            Unavailable::Broken("a change cannot be stored")
        })?;
        let sequence =
            if records.is_empty() { self.committer.submitted() } else { self.committer.submit(records)? };
        drop(core);
        if output.wake_at.is_some() {
            self.alarm.notify_one();
        }
        Ok((output, sequence))
    }

    /// Looks at the state; the answer may leave only after [`Driver::durable`] of the sequence.
    pub fn view<T>(&self, look: impl FnOnce(&Core) -> T) -> (T, Sequence) {
        let core = self.read();
        (look(&core), self.committer.submitted())
    }

    /// Looks at the state and waits until what was seen is durable.
    pub async fn look<T>(&self, look: impl FnOnce(&Core) -> T) -> Result<T, Unavailable> {
        let (seen, sequence) = self.view(look);
        self.durable(sequence).await?;
        Ok(seen)
    }

    /// Waits until everything up to `sequence` is durable.
    async fn durable(&self, sequence: Sequence) -> Result<(), Unavailable> {
        if self.committer.durable() >= sequence {
            return Ok(());
        }
        let (told, durable) = oneshot::channel();
        self.committer.when_durable(sequence, move |result| drop(told.send(result)));
        durable.await.map_err(|_| Unavailable::Broken("the committer has ended"))??;
        Ok(())
    }

    /// Steps the core whenever a deadline comes; never returns.
    pub async fn keep_time(&self) -> Result<(), Unavailable> {
        loop {
            let next = self.read().state().next_deadline();
            let wait = next.map_or(Duration::from_secs(3600), |at| at.since(now()));
            if wait.is_zero() {
                self.step(Input::Timer).await?;
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.alarm.notified() => {}
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Core> {
        self.core.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The wall clock.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

fn entropy() -> Result<Entropy, Unavailable> {
    let mut bytes = [0; 40];
    crate::secret::fill(&mut bytes)?;
    let (choices, secrets) = bytes.split_at(8);
    let choices = choices.iter().fold(0_u64, |n, &b| n << 8 | u64::from(b));
    let mut seed = [0; 32];
    seed.copy_from_slice(secrets);
    Ok(Entropy::new(choices, seed))
}
