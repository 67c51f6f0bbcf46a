//! Code generation and checks: `cargo xtask COMMAND`.

mod codegen;
mod dockerd;
mod models;
mod test;
mod tidy;

use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  codegen [--check]    write crates/api/src from models/ (with --check: only say whether it is up to date)
  models DIR           refresh models/ from an unpacked botocore wheel
  test [STAGE…]        install what the tests need (as root, with apt and pip) and run every stage, or only those named
  tidy                 check the rules of the house";

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["codegen"] => codegen::run(&root(), false),
        ["codegen", "--check"] => codegen::run(&root(), true),
        ["tidy"] => tidy::run(&root()),
        ["test", stages @ ..] => test::run(&root(), stages),
        ["models", directory] => models::refresh(&root(), Path::new(directory)),
        _ => bail!("{USAGE}"),
    }
}

/// The repository, found from where this program was built.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}
