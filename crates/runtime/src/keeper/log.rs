//! Local log files: bounded, rotated, each line with its time and stream in the format of the Kubernetes CRI.

use crate::log::{Stream, prefix};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use stdx::Timestamp;

/// Longer lines are cut into pieces of this size, as Docker does.
const LINE_MAX: usize = 16 << 10;

/// When to start a new file and how many to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct LogLimits {
    pub(crate) file_bytes: u64,
    pub(crate) files: u32,
}

pub(crate) struct LogFile {
    path: PathBuf,
    limits: LogLimits,
    file: Option<File>,
    size: u64,
    /// Bytes of each stream after its last line end.
    rest: [Vec<u8>; 2],
}

impl LogFile {
    pub(crate) fn new(path: &Path, limits: LogLimits) -> Self {
        Self { path: path.to_owned(), limits, file: None, size: 0, rest: [Vec::new(), Vec::new()] }
    }

    /// Takes what a container wrote.
    pub(crate) fn append(&mut self, stream: Stream, mut bytes: &[u8], now: Timestamp) -> io::Result<()> {
        let mut rest = std::mem::take(&mut self.rest[stream as usize]);
        let (full, partial) = (prefix(now, stream, true), prefix(now, stream, false));
        let mut out = Vec::with_capacity(bytes.len() + full.len() * 2);
        while let Some(end) = bytes.iter().position(|b| *b == b'\n') {
            rest.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + 1..];
            cut(&mut rest, &partial, &mut out);
            record(&full, &rest, &mut out);
            rest.clear();
        }
        rest.extend_from_slice(bytes);
        cut(&mut rest, &partial, &mut out);
        if !rest.is_empty() {
            self.rest[stream as usize] = rest;
        }
        self.write(&out)
    }

    /// Writes what came without a line end.
    pub(crate) fn finish(&mut self, now: Timestamp) -> io::Result<()> {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let rest = std::mem::take(&mut self.rest[stream as usize]);
            if !rest.is_empty() {
                let mut out = Vec::new();
                record(&prefix(now, stream, true), &rest, &mut out);
                self.write(&out)?;
            }
        }
        Ok(())
    }

    fn write(&mut self, out: &[u8]) -> io::Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        if self.size > 0 && self.size + out.len() as u64 > self.limits.file_bytes {
            self.rotate()?;
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let file = OpenOptions::new().create(true).append(true).open(&self.path)?;
                self.size = file.metadata()?.len();
                self.file.insert(file)
            }
        };
        file.write_all(out)?;
        self.size += out.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        self.size = 0;
        for n in (1..self.limits.files).rev() {
            let older = if n == 1 { self.path.clone() } else { numbered(&self.path, n - 1) };
            match fs::rename(older, numbered(&self.path, n)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if self.limits.files <= 1 {
            fs::remove_file(&self.path)?;
        }
        Ok(())
    }
}

pub(crate) fn numbered(path: &Path, n: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    name.into()
}

/// Moves all but the last piece of an overlong line to `out`.
fn cut(rest: &mut Vec<u8>, prefix: &str, out: &mut Vec<u8>) {
    while rest.len() > LINE_MAX {
        record(prefix, &rest[..LINE_MAX], out);
        rest.drain(..LINE_MAX);
    }
}

fn record(prefix: &str, line: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(prefix.as_bytes());
    out.extend_from_slice(line);
    out.push(b'\n');
}
