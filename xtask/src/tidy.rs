//! Rules of the house that a machine can keep: boundaries between crates, licences, size of files, words.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Crates that decide and compute; they may reach no runtime, socket, file or clock.
const PURE: &[&str] = &["stdx", "wire", "api", "control", "engine", "sim"];

/// What a pure crate must not contain, and what to do instead.
const IMPURE: &[(&str, &str)] = &[
    ("std::fs", "files belong to adapters"),
    ("TcpStream", "sockets belong to shells"),
    ("TcpListener", "sockets belong to shells"),
    ("UdpSocket", "sockets belong to shells"),
    ("UnixStream", "sockets belong to shells"),
    ("ToSocketAddrs", "names are resolved in shells"),
    ("std::env", "the environment is read in `main`"),
    ("Instant::now", "time is an argument"),
    ("SystemTime::now", "time is an argument"),
    ("thread::spawn", "a pure crate runs on its caller's thread"),
    ("HashMap", "its order differs from run to run: use BTreeMap"),
    ("HashSet", "its order differs from run to run: use BTreeSet"),
    ("tokio::", "async belongs to shells and adapters"),
];

const LICENCES: &[&str] = &[
    "Apache-2.0",
    "MIT",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Unicode-3.0",
    "Zlib",
    "CDLA-Permissive-2.0",
    "Unlicense",
    "0BSD",
];

/// Packages whose licence is judged by hand.
const LICENCE_EXCEPTIONS: &[(&str, &str)] = &[
    ("pathrs", "MPL-2.0, unmodified, comes with libcontainer: its copyleft ends at its own files"),
    ("rust-criu", "MIT by its LICENSE file; its manifest names only the file"),
];

/// The most lines of a file that a person wrote.
const LINES_MAX: usize = 800;

/// The most packages from outside in the default binary.
const PACKAGES_MAX: usize = 260;

/// Checks everything and reports all problems at once.
pub fn run(root: &Path) -> Result<()> {
    let mut problems = String::new();
    for file in sources(root)? {
        check_file(root, &file, &mut problems)?;
    }
    check_packages(root, &mut problems)?;
    if problems.is_empty() {
        return Ok(());
    }
    bail!("tidy found:\n{problems}")
}

fn check_file(root: &Path, file: &Path, problems: &mut String) -> Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let name = file.strip_prefix(root).unwrap_or(file).display();
    if text.contains("do not edit.\n") {
        return Ok(());
    }
    if !text.trim_start().starts_with("//!") {
        writeln!(problems, "{name}: begin with `//!` and the module's one job")?;
    }
    let lines = text.lines().count();
    if lines > LINES_MAX {
        writeln!(problems, "{name}: {lines} lines; split it by topic (at most {LINES_MAX})")?;
    }
    let is_pure = PURE.iter().any(|c| file.starts_with(root.join("crates").join(c).join("src")));
    if is_pure {
        // Tests may measure time and read files.
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate().filter(|(_, l)| !l.trim_start().starts_with("//")) {
            for (word, reason) in IMPURE.iter().filter(|(word, _)| line.contains(word)) {
                writeln!(problems, "{name}:{}: {word} in a pure crate: {reason}", number + 1)?;
            }
        }
    }
    Ok(())
}

/// The packages that the default binary is made of: how many, and under which licences.
fn check_packages(root: &Path, problems: &mut String) -> Result<()> {
    let metadata = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
        .args(["metadata", "--format-version=1", "--locked", "--filter-platform=x86_64-unknown-linux-gnu"])
        .current_dir(root)
        .output()
        .context("cannot run cargo metadata")?;
    let metadata: Value =
        serde_json::from_slice(&metadata.stdout).context("cargo metadata failed; is Cargo.lock fresh?")?;
    let packages: BTreeMap<&str, &Value> =
        list(&metadata["packages"]).filter_map(|p| Some((p["id"].as_str()?, p))).collect();
    let nodes: BTreeMap<&str, &Value> =
        list(&metadata["resolve"]["nodes"]).filter_map(|n| Some((n["id"].as_str()?, n))).collect();
    let start =
        packages.iter().find(|(_, p)| p["name"] == "wharf").map(|(id, _)| *id).context("no package wharf")?;
    let (mut seen, mut next) = (BTreeSet::new(), vec![start]);
    while let Some(id) = next.pop() {
        if seen.insert(id) {
            let edges = nodes.get(id).into_iter().flat_map(|n| list(&n["deps"]));
            next.extend(
                edges
                    .filter(|d| list(&d["dep_kinds"]).any(|k| k["kind"] != "dev"))
                    .filter_map(|d| d["pkg"].as_str()),
            );
        }
    }
    let outside: Vec<&Value> =
        seen.iter().filter_map(|id| packages.get(id).copied()).filter(|p| !p["source"].is_null()).collect();
    if outside.len() > PACKAGES_MAX {
        writeln!(problems, "{} packages from outside; the budget is {PACKAGES_MAX}", outside.len())?;
    }
    for package in outside {
        let licence = package["license"].as_str().unwrap_or("none");
        let is_judged = LICENCE_EXCEPTIONS.iter().any(|(name, _)| package["name"] == *name);
        if !is_judged && !is_allowed(licence) {
            writeln!(problems, "{}: the licence {licence} is not on the list", package["name"])?;
        }
    }
    Ok(())
}

/// Whether one alternative of an SPDX expression consists of allowed licences only.
fn is_allowed(expression: &str) -> bool {
    let expression = expression.replace(['(', ')'], " ").replace('/', " OR ");
    expression.split(" OR ").any(|choice| {
        choice.split(" AND ").all(|part| {
            let name = part.split(" WITH ").next().unwrap_or_default().trim();
            LICENCES.contains(&name)
        })
    })
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Every Rust file that git knows.
fn sources(root: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("git")
        .args(["ls-files", "*.rs"])
        .current_dir(root)
        .output()
        .context("cannot run git")?;
    let names = String::from_utf8(output.stdout)?;
    Ok(names.lines().map(|name| root.join(name)).filter(|path| path.exists()).collect())
}
