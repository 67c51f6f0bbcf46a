//! Starts the real binary on a free port and ends it with the test.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long anything may take that a test waits for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// The builtin driver owns a bridge and a table of nftables, so one Wharf at a time has it.
static BUILTIN: Mutex<()> = Mutex::new(());

pub(crate) fn builtin() -> MutexGuard<'static, ()> {
    BUILTIN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The repository's `target` directory.
pub(crate) fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target")
}

pub(crate) fn binary() -> PathBuf {
    let path = std::env::var_os("WHARF_BIN").map_or_else(|| target().join("debug/wharf"), PathBuf::from);
    assert!(path.exists(), "{} is missing: run `cargo build --package wharf` first", path.display());
    path
}

/// Runs the binary to its end.
pub(crate) fn command(arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).output().unwrap()
}

/// Asks until the answer is there.
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {} s: {what}", PATIENCE.as_secs());
        sleep(Duration::from_millis(20));
    }
}

/// A `wharf up` in its own process.
pub(crate) struct Wharf {
    child: Child,
    log: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) url: String,
}

impl Wharf {
    /// Starts with a new or an old data directory and waits for the ready file.
    pub(crate) fn start(data: &Path, arguments: &[&str]) -> Self {
        Self::start_at(data, "127.0.0.1:0", arguments)
    }

    pub(crate) fn start_at(data: &Path, listen: &str, arguments: &[&str]) -> Self {
        let ready = data.with_extension("ready");
        let log = data.with_extension("log");
        drop(std::fs::remove_file(&ready));
        let mut child = Command::new(binary())
            .arg("up")
            .arg("--data")
            .arg(data)
            .args(["--listen", listen, "--ready-file"])
            .arg(&ready)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::options().create(true).append(true).open(&log).unwrap())
            .spawn()
            .unwrap();
        let url = eventually("the ready file", || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("wharf up ended with {status}:\n{}", std::fs::read_to_string(&log).unwrap());
            }
            std::fs::read_to_string(&ready).ok().filter(|url| url.ends_with('\n'))
        });
        Self { child, log, data: data.to_path_buf(), url: url.trim_end().to_owned() }
    }

    /// Host and port of the APIs and the registry.
    pub(crate) fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }

    /// The registry as images name it.
    pub(crate) fn registry(&self) -> String {
        format!("localhost:{}", self.address().rsplit(':').next().unwrap())
    }

    /// What `wharf env` sets.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let output = command(&["env", "--data", self.data.to_str().unwrap()]);
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
        lines.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned())).collect()
    }

    /// SIGKILL, as a crash would be.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and the end.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.terminate()
    }

    fn terminate(&mut self) -> ExitStatus {
        if let Some(status) = self.child.try_wait().unwrap() {
            return status;
        }
        Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            sleep(Duration::from_millis(10));
        }
        self.child.kill().unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Wharf {
    #[expect(clippy::print_stdout, reason = "the log belongs to the failed test's output")]
    fn drop(&mut self) {
        self.terminate();
        if std::thread::panicking() {
            println!("── {}\n{}", self.log.display(), std::fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}
