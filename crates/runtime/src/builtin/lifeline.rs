//! The link to the keeper that is there now: a keeper that died is followed by a new one.

use super::link::{KeeperConfig, Link, News};
use crate::Result;
use crate::wire::{Kept, Message, Request};
use rustix::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, mpsc};

pub(super) struct Lifeline {
    config: KeeperConfig,
    news: mpsc::Sender<News>,
    link: RwLock<Arc<Link>>,
    closing: AtomicBool,
}

impl Lifeline {
    pub(super) fn open(config: KeeperConfig, news: mpsc::Sender<News>) -> Result<Self> {
        let link = connect(&config, &news)?;
        Ok(Self { config, news, link: RwLock::new(Arc::new(link)), closing: AtomicBool::new(false) })
    }

    /// After [`News::Lost`]: connects again, to another keeper if need be; false if this driver is ending itself.
    pub(super) fn reopen(&self) -> Result<bool> {
        if self.is_closing() {
            return Ok(false);
        }
        let link = Arc::new(connect(&self.config, &self.news)?);
        *self.link.write().unwrap_or_else(PoisonError::into_inner) = link;
        Ok(true)
    }

    /// From here on a lost keeper is meant to be lost.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    pub(super) fn ask(
        &self,
        descriptors: &[BorrowedFd<'_>],
        request: impl FnOnce(u64) -> Request,
    ) -> Result<Message> {
        self.now().ask(descriptors, request)
    }

    pub(super) fn list(&self) -> Result<Vec<Kept>> {
        self.now().list()
    }

    pub(super) fn tell(&self, request: &Request) -> Result<()> {
        self.now().tell(request)
    }

    fn now(&self) -> Arc<Link> {
        Arc::clone(&self.link.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn connect(config: &KeeperConfig, news: &mpsc::Sender<News>) -> Result<Link> {
    let news = news.clone();
    // Nobody listens any more when the driver is gone.
    Link::open(config, move |one| drop(news.send(one)))
}
