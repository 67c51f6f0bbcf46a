//! Secrets that the server keeps: the root user's access key and the key that seals ECR tokens.

use crate::error::{StartError, Unavailable};
use ring::rand::{SecureRandom, SystemRandom};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Random bytes from the operating system.
pub(crate) fn fill(bytes: &mut [u8]) -> Result<(), Unavailable> {
    SystemRandom::new().fill(bytes).map_err(|_| Unavailable::Entropy)
}

/// `length` characters of the alphabet.
pub(crate) fn text(length: usize, alphabet: &[u8]) -> Result<String, Unavailable> {
    let mut bytes = vec![0; length * 8];
    fill(&mut bytes)?;
    let pick = |word: &[u8]| {
        let number = word.iter().fold(0_u64, |n, &b| n << 8 | u64::from(b));
        char::from(alphabet[usize::try_from(number % alphabet.len() as u64).unwrap_or(0)])
    };
    Ok(bytes.chunks_exact(8).map(pick).collect())
}

/// Reads the file, or makes it with what `make` gives: mode 0600, durable before it is used.
pub(crate) fn kept(
    path: &Path,
    make: impl FnOnce() -> Result<Vec<u8>, Unavailable>,
) -> Result<Vec<u8>, StartError> {
    let file_error = |source| StartError::File { path: path.to_owned(), source };
    match File::open(path) {
        Ok(mut file) => {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).map_err(file_error)?;
            return Ok(bytes);
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(file_error(error)),
    }
    let bytes = make().map_err(|_| StartError::Entropy)?;
    let draft = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .map_err(file_error)?;
    file.write_all(&bytes).map_err(file_error)?;
    file.sync_all().map_err(file_error)?;
    std::fs::rename(&draft, path).map_err(file_error)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    File::open(directory).and_then(|d| d.sync_all()).map_err(file_error)?;
    Ok(bytes)
}
