//! The rules of log drivers and their options.

use super::container;
use crate::ecs::exception::client;
use api::ecs::{ContainerDefinition, Error, LogConfiguration, LogDriver};

/// What the awslogs driver of the agent takes (ecs developer guide, "Using the awslogs log driver").
const AWSLOGS: &[&str] = &[
    "awslogs-create-group",
    "awslogs-datetime-format",
    "awslogs-endpoint",
    "awslogs-group",
    "awslogs-multiline-pattern",
    "awslogs-region",
    "awslogs-stream-prefix",
    "max-buffer-size",
    "mode",
    "tag",
];

/// Options without which a driver cannot work.
fn required(driver: LogDriver) -> &'static [&'static str] {
    match driver {
        LogDriver::Awslogs => &["awslogs-region", "awslogs-group"],
        LogDriver::Splunk => &["splunk-token", "splunk-url"],
        LogDriver::Gelf => &["gelf-address"],
        LogDriver::JsonFile
        | LogDriver::Syslog
        | LogDriver::Journald
        | LogDriver::Fluentd
        | LogDriver::Awsfirelens => &[],
    }
}

pub(super) fn check(containers: &[ContainerDefinition]) -> Result<(), Error> {
    let has_router = containers.iter().any(|c| c.firelens_configuration.is_some());
    for one in containers {
        let Some(log) = &one.log_configuration else { continue };
        check_options(log)?;
        if log.log_driver == LogDriver::Awsfirelens && !has_router {
            return Err(client(
                "When a firelensConfiguration object is not specified in any container, the log driver awsfirelens is \
                 not supported.",
            ));
        }
        if log.log_driver == LogDriver::Awsfirelens && one.firelens_configuration.is_some() {
            return Err(client(format!(
                "The container '{}' has a firelensConfiguration and cannot use the log driver awsfirelens itself.",
                container::name(one)
            )));
        }
    }
    Ok(())
}

fn check_options(log: &LogConfiguration) -> Result<(), Error> {
    let driver = log.log_driver;
    let secret = |name: &str| log.secret_options.iter().flatten().any(|secret| secret.name == name);
    let option = |name: &str| log.options.as_ref().and_then(|options| options.get(name)).map(String::as_str);
    let missing: Vec<&str> = required(driver)
        .iter()
        .filter(|name| option(name).is_none_or(str::is_empty) && !secret(name))
        .copied()
        .collect();
    if !missing.is_empty() {
        return Err(client(format!("Log driver {driver} requires options: {}", missing.join(", "))));
    }
    if driver == LogDriver::Awslogs {
        let keys = log.options.iter().flat_map(|options| options.keys());
        let unknown: Vec<&str> = keys.map(String::as_str).filter(|key| !AWSLOGS.contains(key)).collect();
        if !unknown.is_empty() {
            return Err(client(format!("Log driver awslogs disallows options: {}", unknown.join(", "))));
        }
        if option("awslogs-datetime-format").is_some() && option("awslogs-multiline-pattern").is_some() {
            return Err(client(
                "Log driver awslogs does not support both awslogs-datetime-format and awslogs-multiline-pattern.",
            ));
        }
        if option("awslogs-create-group").is_some_and(|text| text.parse::<bool>().is_err() && !is_bool(text))
        {
            return Err(client("The value of awslogs-create-group must be true or false."));
        }
    }
    match option("mode") {
        None | Some("blocking" | "non-blocking") => Ok(()),
        Some(_) => Err(client("The log option mode must be blocking or non-blocking.")),
    }
}

/// What Go's parser takes for a boolean, since the agent's driver reads the option with it.
fn is_bool(text: &str) -> bool {
    matches!(text, "1" | "0" | "t" | "f" | "T" | "F" | "TRUE" | "FALSE" | "True" | "False")
}
