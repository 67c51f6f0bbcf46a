//! What a task definition must be to run on Fargate.

use super::{container, normal, validate};
use crate::call::Ctx;
use crate::ecs::exception::client;
use api::ecs::{
    ContainerDefinition, Error, LinuxParameters, LogDriver, NetworkMode, PidMode,
    RegisterTaskDefinitionRequest, ResourceType,
};

/// Memory sizes of each CPU size in MiB: first, last and step (ecs developer guide, "Task CPU and memory"), with whether
/// Windows may have it.
const SIZES: &[(u32, u32, u32, u32, bool)] = &[
    (512, 1024, 4096, 1024, false),
    (1024, 2048, 8192, 1024, true),
    (2048, 4096, 16_384, 1024, true),
    (4096, 8192, 30_720, 1024, true),
    (8192, 16_384, 61_440, 4096, false),
    (16_384, 32_768, 122_880, 8192, false),
];

/// Checks a normalised request against everything that Fargate asks.
pub(super) fn check(ctx: &Ctx<'_>, request: &RegisterTaskDefinitionRequest) -> Result<(), Error> {
    if request.network_mode != Some(NetworkMode::Awsvpc) {
        return Err(client("Fargate only supports network mode ‘awsvpc’."));
    }
    check_size(request)?;
    if request.pid_mode == Some(PidMode::Host) {
        return Err(client(
            "Tasks using the Fargate launch type do not support pidMode 'host'. The supported value for pidMode is \
             'task'.",
        ));
    }
    if request.ipc_mode.is_some() {
        return Err(unsupported("ipcMode"));
    }
    if request.placement_constraints.as_ref().is_some_and(|list| !list.is_empty()) {
        return Err(client("Fargate does not support task placement constraints."));
    }
    if request.inference_accelerators.as_ref().is_some_and(|list| !list.is_empty()) {
        return Err(unsupported("inferenceAccelerators"));
    }
    check_volumes(request)?;
    for one in &request.container_definitions {
        check_container(one)?;
        check_role(ctx, request, one)?;
    }
    Ok(())
}

fn unsupported(what: &str) -> Error {
    client(format!("Tasks using the Fargate launch type do not support {what}."))
}

fn check_size(request: &RegisterTaskDefinitionRequest) -> Result<(), Error> {
    let needed = |name: &str, value: &Option<String>| {
        let text = value
            .as_ref()
            .ok_or_else(|| client(format!("Fargate requires that '{name}' be defined at the task level.")))?;
        text.parse::<u32>().map_err(|_| normal::invalid_size(name))
    };
    let (cpu, memory) = (needed("cpu", &request.cpu)?, needed("memory", &request.memory)?);
    let is_windows = validate::is_windows(request);
    let is_smallest = cpu == 256 && [512, 1024, 2048].contains(&memory) && !is_windows;
    let is_size = SIZES.iter().any(|&(units, first, last, step, windows)| {
        units == cpu
            && (first..=last).contains(&memory)
            && (memory - first) % step == 0
            && (windows || !is_windows)
    });
    if is_smallest || is_size {
        return Ok(());
    }
    Err(client(format!(
        "No Fargate configuration exists for given values: {cpu} CPU, {memory} memory. See the Amazon ECS documentation \
         for the valid values."
    )))
}

fn check_volumes(request: &RegisterTaskDefinitionRequest) -> Result<(), Error> {
    for volume in request.volumes.iter().flatten() {
        if volume.host.as_ref().is_some_and(|host| host.source_path.is_some()) {
            return Err(client("host.sourcePath should not be set for volumes in Fargate."));
        }
        if volume.docker_volume_configuration.is_some() {
            return Err(unsupported("dockerVolumeConfiguration"));
        }
        if volume.fsx_windows_file_server_volume_configuration.is_some() {
            return Err(unsupported("fsxWindowsFileServerVolumeConfiguration"));
        }
    }
    Ok(())
}

/// The parameters that Fargate does not take (ecs developer guide, "Task definition differences for Fargate").
fn check_container(one: &ContainerDefinition) -> Result<(), Error> {
    fn given<T>(list: Option<&Vec<T>>) -> bool {
        list.is_some_and(|list| !list.is_empty())
    }
    let is_gpu = one.resource_requirements.iter().flatten().any(|r| r.r#type == ResourceType::Gpu);
    let refused = [
        ("disableNetworking", one.disable_networking.is_some()),
        ("dnsSearchDomains", given(one.dns_search_domains.as_ref())),
        ("dnsServers", given(one.dns_servers.as_ref())),
        ("dockerSecurityOptions", given(one.docker_security_options.as_ref())),
        ("extraHosts", given(one.extra_hosts.as_ref())),
        ("GPU resource requirements", is_gpu),
        ("links", given(one.links.as_ref())),
        ("privileged containers", one.privileged == Some(true)),
    ];
    if let Some((what, _)) = refused.into_iter().find(|(_, is_given)| *is_given) {
        return Err(unsupported(what));
    }
    if let Some(linux) = &one.linux_parameters {
        check_linux(linux)?;
    }
    let times = [("startTimeout", one.start_timeout), ("stopTimeout", one.stop_timeout)];
    for (name, seconds) in times {
        if seconds.is_some_and(|seconds| !(2..=120).contains(&seconds)) {
            return Err(container::invalid_setting(
                name,
                one,
                "On Fargate the value must be between 2 and 120 seconds.",
            ));
        }
    }
    check_logs(one)
}

fn check_linux(linux: &LinuxParameters) -> Result<(), Error> {
    let added = linux.capabilities.as_ref().and_then(|c| c.add.as_ref());
    if added.is_some_and(|names| names.iter().any(|name| name != "SYS_PTRACE")) {
        return Err(unsupported("adding capabilities other than SYS_PTRACE"));
    }
    let refused = [
        ("maxSwap", linux.max_swap.is_some()),
        ("swappiness", linux.swappiness.is_some()),
        ("devices", linux.devices.as_ref().is_some_and(|list| !list.is_empty())),
        ("sharedMemorySize", linux.shared_memory_size.is_some()),
        ("tmpfs", linux.tmpfs.as_ref().is_some_and(|list| !list.is_empty())),
    ];
    match refused.into_iter().find(|(_, is_given)| *is_given) {
        Some((what, _)) => Err(unsupported(what)),
        None => Ok(()),
    }
}

fn check_logs(one: &ContainerDefinition) -> Result<(), Error> {
    let router = one.firelens_configuration.as_ref().and_then(|f| f.options.as_ref());
    if router.and_then(|options| options.get("config-file-type")).is_some_and(|kind| kind == "s3") {
        return Err(client(
            "Fargate launch type does not support FirelensConfiguration config file from 's3'",
        ));
    }
    let Some(log) = &one.log_configuration else { return Ok(()) };
    match log.log_driver {
        LogDriver::Splunk | LogDriver::Awsfirelens => Ok(()),
        LogDriver::Awslogs => {
            let prefix = log.options.as_ref().and_then(|options| options.get("awslogs-stream-prefix"));
            if prefix.is_none_or(String::is_empty) {
                return Err(client("Log driver awslogs requires options: awslogs-stream-prefix"));
            }
            Ok(())
        }
        other => Err(unsupported(&format!("the log driver {other}"))),
    }
}

/// Without an instance's role, the execution role is the only one to pull images and write logs with.
fn check_role(
    ctx: &Ctx<'_>,
    request: &RegisterTaskDefinitionRequest,
    one: &ContainerDefinition,
) -> Result<(), Error> {
    if request.execution_role_arn.is_some() {
        return Ok(());
    }
    let needed = |what: &str| {
        client(format!("Fargate requires task definition to have execution role ARN to support {what}."))
    };
    let driver = one.log_configuration.as_ref().map(|log| log.log_driver);
    if driver == Some(LogDriver::Awslogs) {
        return Err(needed("log driver awslogs"));
    }
    if super::derive::is_ecr(ctx.settings, one.image.as_deref().unwrap_or_default()) {
        return Err(needed("ECR images"));
    }
    if one.repository_credentials.is_some() {
        return Err(needed("private registry authentication"));
    }
    Ok(())
}
