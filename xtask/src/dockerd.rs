//! A Docker daemon for the tests, where none answers: started by hand, ended with the tests.

use anyhow::{Context, Result, bail};
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// The daemon that this process started, if any.
pub struct Dockerd(Option<Child>);

/// Makes sure that a daemon answers.
pub fn start(root: &Path) -> Result<Dockerd> {
    if answers() {
        return Ok(Dockerd(None));
    }
    let directory = root.join("target/dockerd");
    std::fs::create_dir_all(&directory)?;
    let log = File::create(directory.join("log"))?;
    let child = Command::new("dockerd")
        .arg("--data-root")
        .arg(directory.join("data"))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot run dockerd; install the package docker.io")?;
    let mut dockerd = Dockerd(Some(child));
    let deadline = Instant::now() + PATIENCE;
    while !answers() {
        let ended = dockerd.0.as_mut().and_then(|child| child.try_wait().ok().flatten());
        if ended.is_some() || Instant::now() > deadline {
            bail!("dockerd does not answer; see {}", directory.join("log").display());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(dockerd)
}

fn answers() -> bool {
    let version = Command::new("docker").arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

impl Drop for Dockerd {
    /// Asks the daemon to end, so that it takes its containers and networks along.
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let asked = Command::new("kill").arg(child.id().to_string()).status();
            if !asked.is_ok_and(|status| status.success()) {
                child.kill().ok();
            }
            child.wait().ok();
        }
    }
}
