//! `wharf logs TASK`: what a task's containers wrote, from the files that their driver keeps on this machine.

use crate::cli::Logs;
use anyhow::{Result, bail};
use runtime::log::{LogLine, LogReader};
use runtime::{SavedContainer, saved_containers};
use std::io::Write;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

const TASK_LABEL: &str = "com.amazonaws.ecs.task-arn";
const CONTAINER_LABEL: &str = "com.amazonaws.ecs.container-name";

/// How often a followed log is looked at.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(200);

pub(crate) fn run(arguments: &Logs) -> Result<()> {
    let data = arguments.place.data().join("runtime");
    let containers = of_task(&data, &arguments.task)?;
    if containers.is_empty() {
        bail!(
            "no container of a task {} is known on this machine; `aws ecs list-tasks` lists tasks",
            arguments.task
        );
    }
    let mut readers: Vec<(String, LogReader)> = containers
        .iter()
        .map(|container| (label(container, CONTAINER_LABEL).to_owned(), LogReader::open(&container.log)))
        .collect();
    loop {
        // Whether all had ended is asked before the last read, so that nothing is missed between the two.
        let have_ended = of_task(&data, &arguments.task)?.iter().all(|container| container.exit.is_some());
        let mut lines = Vec::new();
        let with_names = readers.len() > 1;
        for (name, reader) in &mut readers {
            drain(name, reader, &mut lines)?;
        }
        print(&mut lines, with_names)?;
        if !arguments.follow || have_ended {
            return Ok(());
        }
        sleep(FOLLOW_INTERVAL);
    }
}

fn drain<'a>(name: &'a str, reader: &mut LogReader, lines: &mut Vec<(&'a str, LogLine)>) -> Result<()> {
    loop {
        let batch = reader.read()?;
        if batch.is_empty() {
            return Ok(());
        }
        lines.extend(batch.into_iter().map(|line| (name, line)));
    }
}

/// Prints in order of time; with the containers' names if there are several.
fn print(lines: &mut [(&str, LogLine)], with_names: bool) -> Result<()> {
    lines.sort_by_key(|(_, line)| line.timestamp);
    let mut out = std::io::stdout().lock();
    for (name, line) in lines.iter() {
        if with_names {
            write!(out, "{name} | ")?;
        }
        out.write_all(&line.message)?;
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

/// The containers of a task that is named by its ARN, its id, or the beginning of its id.
fn of_task(data: &Path, task: &str) -> Result<Vec<SavedContainer>> {
    let mut containers = saved_containers(data)?;
    containers.retain(|container| {
        let arn = label(container, TASK_LABEL);
        let id = arn.rsplit('/').next().unwrap_or_default();
        arn == task || (!task.is_empty() && id.starts_with(task))
    });
    Ok(containers)
}

fn label<'a>(container: &'a SavedContainer, name: &str) -> &'a str {
    container.labels.get(name).map(String::as_str).unwrap_or_default()
}
