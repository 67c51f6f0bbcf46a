//! Trims botocore's service models to what code generation reads: shapes, constraints, traits and errors, no documentation.

use anyhow::{Context, Result};
use serde_json::Value;
use std::io::Read;
use std::path::Path;

/// The APIs that come from botocore, as directory names there.
const SERVICES: &[&str] = &["ecr", "ecs", "logs", "sts"];

/// Members of a model's objects that say nothing about the wire.
const DROPPED: &[&str] = &[
    "documentation",
    "deprecated",
    "deprecatedMessage",
    "deprecatedSince",
    "examples",
    "auth",
    "authtype",
    "endpoint",
];

/// Rewrites `models/NAME.json` for every API from `botocore/data/NAME/VERSION/service-2.json.gz` below `wheel`.
pub fn refresh(root: &Path, wheel: &Path) -> Result<()> {
    for service in SERVICES {
        let versions = wheel.join("botocore/data").join(service);
        let mut found: Vec<_> = std::fs::read_dir(&versions)
            .with_context(|| format!("{} is not an unpacked botocore wheel", wheel.display()))?
            .filter_map(|entry| entry.ok().map(|e| e.path().join("service-2.json.gz")))
            .filter(|path| path.exists())
            .collect();
        found.sort();
        let path =
            found.last().with_context(|| format!("no service-2.json.gz below {}", versions.display()))?;
        let mut text = String::new();
        flate2::read::GzDecoder::new(std::fs::File::open(path)?).read_to_string(&mut text)?;
        write(&root.join("models").join(format!("{service}.json")), &text)?;
    }
    Ok(())
}

/// Trims one model and writes it with one shape a line, so that a new version reads as a small difference.
fn write(path: &Path, text: &str) -> Result<()> {
    let mut model: Value = serde_json::from_str(text)?;
    trim(&mut model);
    let mut out = String::from("{\n");
    let sections = ["metadata", "operations", "shapes"];
    for (n, section) in sections.iter().enumerate() {
        out.push_str(&format!("\"{section}\": {{\n"));
        let entries = model[*section].as_object().context("a section that is no object")?;
        for (i, (name, value)) in entries.iter().enumerate() {
            let comma = if i + 1 < entries.len() { "," } else { "" };
            out.push_str(&format!("{}: {value}{comma}\n", Value::from(name.as_str())));
        }
        out.push_str(if n + 1 < sections.len() { "},\n" } else { "}\n" });
    }
    out.push_str("}\n");
    std::fs::write(path, out).with_context(|| format!("cannot write {}", path.display()))
}

fn trim(value: &mut Value) {
    match value {
        Value::Object(entries) => {
            // A shape or a member may be called like a dropped key; those are objects, the dropped ones are not.
            entries.retain(|key, entry| !DROPPED.contains(&key.as_str()) || entry.is_object());
            entries.values_mut().for_each(trim);
        }
        Value::Array(items) => items.iter_mut().for_each(trim),
        _ => {}
    }
}
