//! Reading a container's local log while it grows and rotates.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use stdx::Timestamp;
use stdx::time::Calendar;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout = 0,
    Stderr = 1,
}

impl Stream {
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// One line that a container wrote, without its line end. Bytes, since programs write what they like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    pub timestamp: Timestamp,
    pub stream: Stream,
    pub message: Vec<u8>,
}

/// Where a reader stands, for going on later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LogPosition {
    pub inode: u64,
    pub offset: u64,
}

/// What comes before the text of a line: time, stream, and F for a whole line or P for a piece of one.
pub(crate) fn prefix(now: Timestamp, stream: Stream, whole: bool) -> String {
    let c = now.calendar();
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z {} {} ",
        c.year,
        c.month,
        c.day,
        c.hour,
        c.minute,
        c.second,
        c.millisecond,
        stream.name(),
        if whole { 'F' } else { 'P' }
    )
}

/// Pieces of one line are joined up to this size; the largest event that CloudWatch Logs takes.
const MESSAGE_MAX: usize = 256 << 10;
const CHUNK: usize = 64 << 10;

/// Follows one container's log from file to file.
#[derive(Debug)]
pub struct LogReader {
    path: PathBuf,
    file: Option<(File, u64)>,
    offset: u64,
    /// The last place at which no line was half read.
    settled: u64,
    buffer: Vec<u8>,
    /// Pieces of an unfinished line of each stream.
    pieces: [Vec<u8>; 2],
}

impl LogReader {
    /// Starts at the oldest line that is still there.
    pub fn open(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            file: None,
            offset: 0,
            settled: 0,
            buffer: Vec::new(),
            pieces: [Vec::new(), Vec::new()],
        }
    }

    /// Goes on at an earlier reader's position; at the oldest line if that file is gone.
    pub fn open_at(path: &Path, position: LogPosition) -> io::Result<Self> {
        let mut reader = Self::open(path);
        let files = reader.files()?;
        if let Some((mut file, inode)) = files.into_iter().find(|(_, inode)| *inode == position.inode) {
            file.seek(SeekFrom::Start(position.offset))?;
            reader.offset = position.offset;
            reader.settled = position.offset;
            reader.file = Some((file, inode));
        }
        Ok(reader)
    }

    /// Just behind the last line that [`LogReader::read`] gave.
    pub fn position(&self) -> LogPosition {
        LogPosition { inode: self.file.as_ref().map_or(0, |(_, inode)| *inode), offset: self.settled }
    }

    /// The lines that are there now, some tens of kilobytes at a time; none at the end of what was written so far.
    pub fn read(&mut self) -> io::Result<Vec<LogLine>> {
        let mut lines = Vec::new();
        while lines.is_empty() {
            if self.file.is_none() {
                self.file = self.files()?.pop();
                self.offset = 0;
                self.settled = 0;
            }
            let Some((file, _)) = &mut self.file else { break };
            let at = self.buffer.len();
            self.buffer.resize(at + CHUNK, 0);
            let length = file.read(&mut self.buffer[at..])?;
            self.buffer.truncate(at + length);
            if length == 0 && !self.next_file()? {
                break;
            }
            self.split(&mut lines);
        }
        Ok(lines)
    }

    /// All files of this log, newest first.
    fn files(&self) -> io::Result<Vec<(File, u64)>> {
        let mut found = Vec::new();
        for n in 0.. {
            let path = if n == 0 { self.path.clone() } else { crate::keeper::numbered(&self.path, n) };
            match File::open(path) {
                Ok(file) => {
                    let inode = file.metadata()?.ino();
                    found.push((file, inode));
                }
                // Between a rotation and the next line the newest file does not exist.
                Err(error) if error.kind() == io::ErrorKind::NotFound && n == 0 => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Steps to the file after the current one; false if the current one is the newest.
    fn next_file(&mut self) -> io::Result<bool> {
        let Some((_, current)) = &self.file else { return Ok(false) };
        let mut files = self.files()?;
        // A current file that is gone was rotated away: the oldest that is left comes next.
        let next = match files.iter().position(|(_, inode)| inode == current) {
            Some(0) => return Ok(false),
            Some(n) => files.swap_remove(n - 1),
            None => match files.pop() {
                Some(oldest) => oldest,
                None => return Ok(false),
            },
        };
        self.file = Some(next);
        self.offset = 0;
        self.settled = 0;
        self.buffer.clear();
        Ok(true)
    }

    fn split(&mut self, lines: &mut Vec<LogLine>) {
        let mut start = 0;
        while let Some(length) = self.buffer[start..].iter().position(|b| *b == b'\n') {
            let end = start + length;
            if let Some((timestamp, stream, whole, text)) = parse(&self.buffer[start..end]) {
                let pieces = &mut self.pieces[stream as usize];
                pieces.extend_from_slice(text);
                if whole || pieces.len() >= MESSAGE_MAX {
                    lines.push(LogLine { timestamp, stream, message: std::mem::take(pieces) });
                }
            }
            start = end + 1;
            if self.pieces.iter().all(Vec::is_empty) {
                self.settled = self.offset + start as u64;
            }
        }
        self.buffer.drain(..start);
        self.offset += start as u64;
    }
}

fn parse(line: &[u8]) -> Option<(Timestamp, Stream, bool, &[u8])> {
    let mut fields = line.splitn(4, |b| *b == b' ');
    let timestamp = parse_time(std::str::from_utf8(fields.next()?).ok()?)?;
    let stream = match fields.next()? {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    let whole = fields.next()? == b"F";
    Some((timestamp, stream, whole, fields.next()?))
}

fn parse_time(text: &str) -> Option<Timestamp> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    Some(Timestamp::from_calendar(Calendar {
        year: number(0..4)?,
        month: number(5..7)?,
        day: number(8..10)?,
        hour: number(11..13)?,
        minute: number(14..16)?,
        second: number(17..19)?,
        millisecond: number(20..23)?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keeper::{LogFile, LogLimits};

    fn text(lines: &[LogLine]) -> Vec<String> {
        lines.iter().map(|l| format!("{}:{}", l.stream.name(), String::from_utf8_lossy(&l.message))).collect()
    }

    fn all(reader: &mut LogReader) -> Vec<LogLine> {
        let mut lines = Vec::new();
        loop {
            let more = reader.read().expect("reads");
            if more.is_empty() {
                return lines;
            }
            lines.extend(more);
        }
    }

    #[test]
    fn lines_come_back_with_stream_and_time_and_nothing_twice() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("log");
        let now = Timestamp(1_795_368_005_123);
        let mut log = LogFile::new(&path, LogLimits { file_bytes: 1 << 20, files: 2 });
        let mut reader = LogReader::open(&path);
        assert!(reader.read().expect("reads").is_empty());
        log.append(Stream::Stdout, b"one\ntw", now).expect("writes");
        log.append(Stream::Stderr, b"err\n", now).expect("writes");
        let first = all(&mut reader);
        assert_eq!(text(&first), ["stdout:one", "stderr:err"]);
        assert_eq!(first[0].timestamp, now);
        let position = reader.position();
        log.append(Stream::Stdout, b"o\nlast", now).expect("writes");
        log.finish(now).expect("writes");
        assert_eq!(text(&all(&mut reader)), ["stdout:two", "stdout:last"]);
        let mut resumed = LogReader::open_at(&path, position).expect("opens");
        assert_eq!(text(&all(&mut resumed)), ["stdout:two", "stdout:last"]);
    }

    #[test]
    fn a_long_line_is_joined_again() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("log");
        let mut log = LogFile::new(&path, LogLimits { file_bytes: 1 << 20, files: 2 });
        let long = vec![b'x'; 100_000];
        log.append(Stream::Stdout, &long, Timestamp(1)).expect("writes");
        log.append(Stream::Stdout, b"y\n", Timestamp(2)).expect("writes");
        let mut reader = LogReader::open(&path);
        let lines = all(&mut reader);
        assert_eq!((lines.len(), lines[0].message.len()), (1, 100_001));
        // A reader that stops in the middle of a line begins that line again.
        log.append(Stream::Stdout, &long, Timestamp(3)).expect("writes");
        assert!(all(&mut reader).is_empty());
        let position = reader.position();
        log.append(Stream::Stdout, b"z\n", Timestamp(4)).expect("writes");
        let lines = all(&mut LogReader::open_at(&path, position).expect("opens"));
        assert_eq!((lines.len(), lines[0].message.len()), (1, 100_001));
    }

    #[test]
    fn rotation_keeps_the_bound_and_a_reader_that_keeps_up_misses_nothing() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("log");
        let mut log = LogFile::new(&path, LogLimits { file_bytes: 2_000, files: 3 });
        let mut reader = LogReader::open(&path);
        let mut seen = Vec::new();
        for n in 0..500 {
            log.append(Stream::Stdout, format!("line {n}\n").as_bytes(), Timestamp(n)).expect("writes");
            if n % 20 == 0 {
                seen.extend(all(&mut reader));
            }
        }
        seen.extend(all(&mut reader));
        assert_eq!(seen.len(), 500);
        let late = all(&mut LogReader::open(&path));
        assert!(late.len() < 200 && late.last() == seen.last(), "{} lines kept", late.len());
        let sizes: u64 = std::fs::read_dir(dir.path())
            .expect("lists")
            .flatten()
            .map(|e| e.metadata().expect("there").len())
            .sum();
        assert!(sizes <= 6_000, "{sizes} bytes");
    }
}
