//! `cargo xtask test`: installs what the tests need and runs them in stages, the quick ones first.

use crate::dockerd;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Debian packages of the real programs that tests talk to or measure against.
const PACKAGES: &[&str] = &[
    "awscli",
    "busybox-static",
    "docker.io",
    "skopeo",
    "runc",
    "iproute2",
    "util-linux",
    "curl",
    "ca-certificates",
];

/// Python packages: the real clients.
const CLIENTS: &[&str] = &["boto3==1.44.3", "awscli==1.46.3"];

/// A stage's name and the commands that it runs.
const STAGES: &[(&str, &[&[&str]])] = &[
    ("fmt", &[&["cargo", "fmt", "--all", "--check"]]),
    ("codegen", &[&["cargo", "xtask", "codegen", "--check"]]),
    ("tidy", &[&["cargo", "xtask", "tidy"]]),
    ("clippy", &[&["cargo", "clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]]),
    // One build of the whole workspace: a package alone would be built with other features once more.
    ("unit", &[&["cargo", "test", "--workspace", "--locked", "--exclude", "blackbox"]]),
    (
        "blackbox",
        &[
            &["cargo", "build", "--workspace", "--locked"],
            &["cargo", "test", "--package", "blackbox", "--locked"],
        ],
    ),
];

/// Runs the stages whose names are given, or all of them, and stops at the first that fails.
pub fn run(root: &Path, wanted: &[&str]) -> Result<()> {
    if let Some(unknown) = wanted.iter().find(|w| !STAGES.iter().any(|(name, _)| name == *w)) {
        let names: Vec<&str> = STAGES.iter().map(|(name, _)| *name).collect();
        bail!("there is no stage {unknown}; the stages are {}", names.join(", "));
    }
    install(root)?;
    let _dockerd = dockerd::start(root)?;
    let start = Instant::now();
    for (name, commands) in STAGES.iter().filter(|(name, _)| wanted.is_empty() || wanted.contains(name)) {
        let stage_start = Instant::now();
        say(&format!("── {name}"));
        for command in *commands {
            execute(root, command).with_context(|| format!("stage {name} failed"))?;
        }
        say(&format!("── {name} passed in {:.0} s", stage_start.elapsed().as_secs_f64()));
    }
    say(&format!("── all stages passed in {:.0} s", start.elapsed().as_secs_f64()));
    Ok(())
}

/// Installs Debian packages that are missing, and the Python clients into `target/clients`.
fn install(root: &Path) -> Result<()> {
    let missing: Vec<&str> = PACKAGES.iter().copied().filter(|package| !is_installed(package)).collect();
    if !missing.is_empty() {
        say(&format!("── installing {}", missing.join(" ")));
        execute(root, &["apt-get", "update", "-qq"])?;
        let mut command = vec!["apt-get", "install", "-y", "-qq", "--no-install-recommends"];
        command.extend(&missing);
        execute(root, &command)?;
    }
    let clients = root.join("target/clients");
    if !clients.join("bin/aws").exists() {
        say("── installing the AWS clients into target/clients");
        let directory = clients.to_str().context("the path of the repository is not UTF-8")?;
        execute(root, &["python3", "-m", "venv", directory])?;
        let pip = format!("{directory}/bin/pip");
        let mut command = vec![pip.as_str(), "install", "--quiet", "--disable-pip-version-check"];
        command.extend(CLIENTS);
        execute(root, &command)?;
    }
    Ok(())
}

fn is_installed(package: &str) -> bool {
    let query = Command::new("dpkg-query").args(["-W", "-f=${Status}", package]).output();
    query.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("install ok installed"))
}

fn execute(root: &Path, command: &[&str]) -> Result<()> {
    let (program, arguments) = command.split_first().context("an empty command")?;
    let status = Command::new(program)
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .current_dir(root)
        .status()
        .with_context(|| format!("cannot run {program}"))?;
    if !status.success() {
        bail!("`{}` ended with {status}", command.join(" "));
    }
    Ok(())
}

#[expect(clippy::print_stderr, reason = "progress for a person")]
fn say(text: &str) {
    eprintln!("{text}");
}
