//! Ending containers, and the driver.

use super::{Inner, Phase, no_such};
use crate::wire::Request;
use crate::{ContainerExit, ErrorKind, Result, RuntimeError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const SIGKILL: i32 = 9;
/// The kernel may take a while to end processes that wait for a device.
const KILL_PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn stop(inner: &Arc<Inner>, id: &str, timeout: Duration) -> Result<ContainerExit> {
    let (phase, signal, mut ended) = inner.containers.with(id, |entry| {
        (entry.phase.clone(), signal_number(&entry.record.image.stop_signal), entry.ended.subscribe())
    })?;
    match phase {
        Phase::Exited { exit, .. } => return Ok(exit),
        Phase::Creating | Phase::Created { .. } => {
            // Its first process only waits for the start; there is nothing to ask politely.
            send(inner, id, SIGKILL)?;
            return wait(&mut ended, KILL_PATIENCE).await.ok_or_else(immortal);
        }
        Phase::Running(_) => {}
    }
    send(inner, id, signal)?;
    if let Some(exit) = wait(&mut ended, timeout).await {
        return Ok(exit);
    }
    send(inner, id, SIGKILL)?;
    wait(&mut ended, KILL_PATIENCE).await.ok_or_else(immortal)
}

fn immortal() -> RuntimeError {
    RuntimeError::new(
        ErrorKind::CannotStopContainer,
        "the container's processes do not end even after SIGKILL",
    )
}

/// A few bytes to a socket: not worth a thread.
fn send(inner: &Inner, id: &str, signal: i32) -> Result<()> {
    inner.link.tell(&Request::Signal { request: 0, id: id.to_owned(), signal })
}

async fn wait(
    ended: &mut watch::Receiver<Option<ContainerExit>>,
    patience: Duration,
) -> Option<ContainerExit> {
    let wait = ended.wait_for(Option::is_some);
    tokio::time::timeout(patience, wait).await.ok()?.ok().and_then(|exit| *exit)
}

/// The image's stop signal: a name with or without SIG, or a number. Docker's default is SIGTERM.
fn signal_number(text: &str) -> i32 {
    const SIGTERM: i32 = 15;
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let names = [
        ("HUP", 1),
        ("INT", 2),
        ("QUIT", 3),
        ("ABRT", 6),
        ("KILL", 9),
        ("USR1", 10),
        ("USR2", 12),
        ("ALRM", 14),
        ("TERM", SIGTERM),
        ("CONT", 18),
        ("STOP", 19),
        ("TSTP", 20),
        ("WINCH", 28),
        ("PWR", 30),
    ];
    if let Some((_, number)) = names.iter().find(|(n, _)| *n == name) {
        return *number;
    }
    let real_time = name.strip_prefix("RTMIN+").and_then(|n| n.parse::<i32>().ok()).map(|n| 34 + n);
    real_time.or_else(|| name.parse().ok()).filter(|n| (1..=64).contains(n)).unwrap_or(SIGTERM)
}

impl Inner {
    pub(super) fn shutdown(&self, keep_containers: bool) -> Result<()> {
        if keep_containers {
            return self.wires.close(false);
        }
        self.link.close();
        self.link.ask(&[], |request| Request::Shutdown { request })?;
        self.wires.close(true)?;
        let ids: Vec<String> = self.containers.lock().keys().cloned().collect();
        for id in ids {
            self.containers.lock().remove(&id).ok_or_else(|| no_such(&id))?;
            self.discard(&id, &self.container_dir(&id));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::signal_number;

    #[test]
    fn stop_signals_by_name_and_number() {
        let cases = [
            ("", 15),
            ("SIGQUIT", 3),
            ("quit", 3),
            ("9", 9),
            ("SIGRTMIN+3", 37),
            ("nonsense", 15),
            ("99", 15),
        ];
        for (text, number) in cases {
            assert_eq!(signal_number(text), number, "{text}");
        }
    }
}
