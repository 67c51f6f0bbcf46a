//! Builds the demo's container program as a static file, so that an image needs nothing else.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=demo/hello.rs");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let out = PathBuf::from(variable("OUT_DIR")).join("hello");
    let status = Command::new(variable("RUSTC"))
        .args(["--edition=2024", "--crate-name=hello", "-Copt-level=s", "-Cpanic=abort", "-Cstrip=symbols"])
        .args(["-Ctarget-feature=+crt-static", "-Crelocation-model=static", "--target", &variable("TARGET")])
        .arg("-o")
        .arg(&out)
        .arg("demo/hello.rs")
        .status();
    match status {
        Ok(status) if status.success() => {}
        _ => {
            println!(
                "cargo::error=the demo's program could not be built; a static C library is needed (on Debian: libc6-dev)"
            );
        }
    }
}
