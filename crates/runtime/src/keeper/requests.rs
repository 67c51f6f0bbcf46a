//! What the driver asks of the keeper.

use super::LogFile;
use super::container::Container;
use super::pool::Worker;
use super::serve::{CONTAINERS, Keeper, STDERR, STDOUT, VERDICT, WORKER};
use super::worker::Order;
use crate::ErrorKind;
use crate::job::LOG;
use crate::wire::{self, Message, Request};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::pipe::PipeFlags;
use std::io;

const LISTED_MAX: usize = 500;

impl Keeper {
    pub(super) fn answer(&mut self, request: Request, descriptors: Vec<OwnedFd>) {
        match request {
            Request::Create { request, id, dir, log, netns } => {
                let log = LogFile::new(&dir.join(LOG), log);
                self.create(request, (id, dir, log), netns, descriptors);
            }
            Request::Start { request, id } => self.start(request, &id),
            Request::Signal { request, id, signal } => {
                let result = self.find(&id).and_then(|number| {
                    self.containers[&number].signal(signal).map_err(|e| {
                        (ErrorKind::CannotStopContainer, format!("cannot signal the container: {e}"))
                    })
                });
                self.reply(request, result);
            }
            Request::Release { request, id } => {
                if let Some(container) = self.numbers.get(&id).and_then(|n| self.containers.get_mut(n)) {
                    container.ports.clear();
                }
                self.reply(request, Ok(()));
            }
            Request::Remove { request, id } => self.remove(request, &id),
            Request::List { request } => self.list(request),
            Request::Shutdown { request } => {
                self.ending = Some(request);
                self.kill_all();
            }
        }
    }

    pub(super) fn reply(&mut self, request: u64, result: Result<(), (ErrorKind, String)>) {
        self.say(&match result {
            Ok(()) => Message::Done { request },
            Err((kind, message)) => Message::Failed { request, kind, message },
        });
    }

    fn find(&self, id: &str) -> Result<u64, (ErrorKind, String)> {
        self.numbers
            .get(id)
            .copied()
            .ok_or_else(|| (ErrorKind::NoSuchContainer, format!("no such container: {id}")))
    }

    fn create(
        &mut self,
        request: u64,
        (id, dir, log): (String, std::path::PathBuf, LogFile),
        netns: bool,
        descriptors: Vec<OwnedFd>,
    ) {
        let made = self.pool.take().and_then(|worker| {
            let group = self.pool.group(&worker.group);
            let container = Container::new(id.clone(), dir, (group, worker.group.clone()), log);
            self.order(request, worker, container, (netns, descriptors))
        });
        match made {
            Ok(number) => {
                self.numbers.insert(id, number);
            }
            Err(error) => {
                let message = format!("the keeper cannot hand the container to a worker: {error}");
                self.reply(request, Err((ErrorKind::CannotCreateContainer, message)));
            }
        }
    }

    /// Gives the job to a worker and begins to listen to the container.
    fn order(
        &mut self,
        request: u64,
        worker: Worker,
        mut container: Container,
        (netns, descriptors): (bool, Vec<OwnedFd>),
    ) -> io::Result<u64> {
        let number = self.next + 1;
        let base = number * CONTAINERS;
        let mut theirs = Vec::new();
        let mut ours = Vec::new();
        for what in [STDOUT, STDERR, VERDICT] {
            let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
            rustix::io::ioctl_fionbio(&read, true)?;
            epoll::add(&self.epoll, &read, EventData::new_u64(base + what), EventFlags::IN)?;
            ours.push(read);
            theirs.push(write);
        }
        let mut descriptors = descriptors.into_iter();
        theirs.extend(if netns { descriptors.next() } else { None });
        container.ports = descriptors.collect();
        let order = Order { dir: container.dir.clone(), netns };
        let borrowed: Vec<BorrowedFd<'_>> = theirs.iter().map(AsFd::as_fd).collect();
        wire::send(worker.socket.as_fd(), &order, &borrowed)?;
        epoll::add(&self.epoll, &worker.socket, EventData::new_u64(base + WORKER), EventFlags::IN)?;
        container.verdict = ours.pop();
        container.output = [ours.swap_remove(0).into(), ours.pop()];
        container.making = Some((worker.socket, request));
        self.making += 1;
        self.next = number;
        self.containers.insert(number, container);
        Ok(number)
    }

    fn start(&mut self, request: u64, id: &str) {
        let result = self.find(id).and_then(|number| {
            let container = self.containers.get_mut(&number).ok_or_else(|| no_such(id))?;
            if container.started_at.is_some() || container.exit.is_some() || container.starting.is_some() {
                return Err((ErrorKind::CannotStartContainer, "the container was started before".to_owned()));
            }
            container.starting = Some(request);
            container.start().map_err(|e| {
                container.starting = None;
                (
                    ErrorKind::CannotStartContainer,
                    format!("the container's first process does not answer: {e}"),
                )
            })
        });
        if result.is_err() {
            self.reply(request, result);
        }
    }

    fn remove(&mut self, request: u64, id: &str) {
        let Ok(number) = self.find(id) else { return self.reply(request, Err(no_such(id))) };
        let Some(container) = self.containers.get_mut(&number) else { return };
        if !container.is_alive() {
            self.forget(number);
            return self.reply(request, Ok(()));
        }
        container.removing = Some(request);
        if let Err(error) = container.signal(libc::SIGKILL) {
            self.reply(
                request,
                Err((ErrorKind::CannotStopContainer, format!("cannot kill the container: {error}"))),
            );
        }
    }

    fn list(&mut self, request: u64) {
        let mut kept: Vec<_> = self.containers.values().filter(|c| c.pid > 0).map(Container::kept).collect();
        while kept.len() > LISTED_MAX {
            let rest = kept.split_off(LISTED_MAX);
            self.say(&Message::Listed { request, containers: kept, more: true });
            kept = rest;
        }
        self.say(&Message::Listed { request, containers: kept, more: false });
    }
}

fn no_such(id: &str) -> (ErrorKind, String) {
    (ErrorKind::NoSuchContainer, format!("no such container: {id}"))
}
