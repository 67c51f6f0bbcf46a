//! What AWS derives from a task definition: `requiresAttributes`, which placement matches against an instance's
//! attributes, and `compatibilities`.

use super::{fargate, validate};
use crate::arn::Arn;
use crate::call::Ctx;
use crate::core::Settings;
use api::ecs::{
    Attribute, Compatibility, ContainerDefinition, FirelensConfigurationType, LogConfiguration, LogDriver,
    NetworkMode, RegisterTaskDefinitionRequest, Secret,
};
use std::collections::BTreeSet;

/// Attributes with the long prefix, from the agent's first years.
const LONG: &str = "com.amazonaws.ecs.capability.";
const SHORT: &str = "ecs.capability.";
/// A task above this many CPU units needs an agent that allows it: 10 vCPU.
const CPU_COMMON: u32 = 10_240;

/// The attribute names collected so far, each once and in order.
#[derive(Default)]
struct Needs(BTreeSet<String>);

impl Needs {
    fn long(&mut self, name: &str) {
        self.0.insert(format!("{LONG}{name}"));
    }

    fn short(&mut self, name: &str) {
        self.0.insert(format!("{SHORT}{name}"));
    }

    /// A version of Docker's API: 1.`minor`.
    fn docker(&mut self, minor: u32) {
        self.long(&format!("docker-remote-api.1.{minor}"));
    }

    /// A capability for secrets of each store that the secrets are in.
    fn secrets(&mut self, secrets: Option<&Vec<Secret>>, purpose: &str) {
        for secret in secrets.into_iter().flatten() {
            let arn = Arn::parse(&secret.value_from);
            let store = if arn.is_some_and(|arn| arn.service == "secretsmanager") { "asm" } else { "ssm" };
            self.short(&format!("secrets.{store}.{purpose}"));
        }
    }
}

/// The attributes that an instance must have to run the task, by name.
pub(super) fn requires_attributes(
    settings: &Settings,
    request: &RegisterTaskDefinitionRequest,
) -> Vec<Attribute> {
    let mut needs = Needs::default();
    needs.docker(18);
    task(&mut needs, request);
    volumes(&mut needs, request);
    for one in &request.container_definitions {
        container(&mut needs, one);
        startup(&mut needs, one);
        if is_ecr(settings, one.image.as_deref().unwrap_or_default()) {
            needs.long("ecr-auth");
            if request.execution_role_arn.is_some() {
                needs.short("execution-role-ecr-pull");
            }
        }
        if let Some(log) = &one.log_configuration {
            logs(&mut needs, log, request.execution_role_arn.is_some());
        }
    }
    needs.0.into_iter().map(|name| Attribute { name, ..Default::default() }).collect()
}

fn task(needs: &mut Needs, request: &RegisterTaskDefinitionRequest) {
    if request.task_role_arn.is_some() {
        let is_host = request.network_mode == Some(NetworkMode::Host);
        needs.long(if is_host { "task-iam-role-network-host" } else { "task-iam-role" });
        needs.docker(17);
    }
    if request.network_mode == Some(NetworkMode::Awsvpc) {
        needs.short("task-eni");
    }
    let cpu = request.cpu.as_ref().and_then(|cpu| cpu.parse::<u32>().ok());
    if cpu.is_some_and(|cpu| cpu > CPU_COMMON) {
        needs.short("increased-task-cpu-limit");
    }
    if request.pid_mode.is_some() || request.ipc_mode.is_some() {
        needs.short("pid-ipc-namespace-sharing");
    }
    if request.proxy_configuration.is_some() {
        needs.short("aws-appmesh");
    }
    if request.enable_fault_injection == Some(true) {
        needs.short("fault-injection");
    }
}

fn volumes(needs: &mut Needs, request: &RegisterTaskDefinitionRequest) {
    for volume in request.volumes.iter().flatten() {
        if let Some(docker) = &volume.docker_volume_configuration {
            needs.short(&format!("docker-plugin.{}", docker.driver.as_deref().unwrap_or("local")));
        }
        if let Some(efs) = &volume.efs_volume_configuration {
            needs.short("efs");
            needs.docker(25);
            if efs.authorization_config.is_some() {
                needs.short("efsAuth");
            }
        }
        if volume.fsx_windows_file_server_volume_configuration.is_some() {
            needs.short("fsxWindowsFileServer");
        }
        if volume.s3files_volume_configuration.is_some() {
            needs.short("storage.s3-files");
        }
        if volume.configured_at_launch == Some(true) {
            needs.short("storage.ebs-task-volume-attach");
        }
    }
}

/// What a container needs of the machine and its Docker.
fn container(needs: &mut Needs, one: &ContainerDefinition) {
    if one.memory_reservation.is_some() {
        needs.docker(21);
    }
    if one.privileged == Some(true) {
        needs.long("privileged-container");
    }
    for option in one.docker_security_options.iter().flatten() {
        if option.starts_with("apparmor") {
            needs.long("apparmor");
        } else if option.starts_with("label") {
            needs.long("selinux");
        } else if option.starts_with("credentialspec") {
            needs.short("gmsa");
        }
    }
    if one.credential_specs.as_ref().is_some_and(|specs| !specs.is_empty()) {
        needs.short("gmsa");
    }
    if one.linux_parameters.as_ref().and_then(|linux| linux.init_process_enabled) == Some(true) {
        needs.docker(25);
    }
    if one.port_mappings.iter().flatten().any(|port| port.container_port_range.is_some()) {
        needs.short("network.container-port-range");
    }
}

/// What the agent must know to start and watch a container.
fn startup(needs: &mut Needs, one: &ContainerDefinition) {
    if let Some(check) = &one.health_check {
        needs.short("container-health-check");
        needs.docker(24);
        if check.start_period.is_some() {
            needs.docker(29);
        }
    }
    let waits = one.depends_on.as_ref().is_some_and(|list| !list.is_empty());
    if waits || one.start_timeout.is_some() || one.stop_timeout.is_some() {
        needs.short("container-ordering");
    }
    if one.restart_policy.is_some() {
        needs.short("container-restart-policy");
    }
    needs.secrets(one.secrets.as_ref(), "environment-variables");
    if one.repository_credentials.is_some() {
        needs.short("private-registry-authentication.secretsmanager");
    }
    if one.environment_files.as_ref().is_some_and(|files| !files.is_empty()) {
        needs.short("env-files.s3");
    }
    let Some(router) = &one.firelens_configuration else { return };
    needs.short(match router.r#type {
        FirelensConfigurationType::Fluentd => "firelens.fluentd",
        FirelensConfigurationType::Fluentbit => "firelens.fluentbit",
    });
    let source = router.options.as_ref().and_then(|options| options.get("config-file-type"));
    match source.map(String::as_str) {
        Some("file") => needs.short("firelens.options.config.file"),
        Some("s3") => needs.short("firelens.options.config.s3"),
        _ => {}
    }
}

fn logs(needs: &mut Needs, log: &LogConfiguration, has_execution_role: bool) {
    needs.long(&format!("logging-driver.{}", log.log_driver));
    needs.secrets(log.secret_options.as_ref(), "bootstrap.log-driver");
    match log.log_driver {
        LogDriver::Awslogs => {
            needs.docker(19);
            if has_execution_role {
                needs.short("execution-role-awslogs");
            }
        }
        LogDriver::Journald => needs.docker(19),
        LogDriver::Gelf | LogDriver::Fluentd => needs.docker(20),
        LogDriver::Splunk => needs.docker(22),
        LogDriver::JsonFile | LogDriver::Syslog | LogDriver::Awsfirelens => {}
    }
}

/// Whether an image lies in ECR: AWS's own, or the registry of this server under any of its names.
pub(super) fn is_ecr(settings: &Settings, image: &str) -> bool {
    let Some((host, _)) = image.split_once('/') else { return false };
    let port = settings.port;
    let own = settings.registry_host.replace("{port}", &port.to_string());
    let own = own.replace("{account}", "*").replace("{region}", "*");
    ["*.dkr.ecr.*.amazonaws.com", "*.dkr.ecr.*.amazonaws.com.cn", &own].into_iter().any(|p| is_match(p, host))
        || host == format!("localhost:{port}")
        || host == format!("127.0.0.1:{port}")
}

/// Whether `text` is the pattern with something, not nothing, in place of each `*`.
fn is_match(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => text.strip_prefix(head).is_some_and(|rest| {
            rest.char_indices().skip(1).any(|(at, _)| is_match(tail, &rest[at..]))
                || (tail.is_empty() && !rest.is_empty())
        }),
    }
}

/// Where the task could run, whether or not that was asked for.
pub(super) fn compatibilities(ctx: &Ctx<'_>, request: &RegisterTaskDefinitionRequest) -> Vec<Compatibility> {
    let candidates = [
        (
            Compatibility::External,
            validate::check_external(request).is_ok() && !validate::is_windows(request),
        ),
        (Compatibility::Ec2, true),
        (Compatibility::Fargate, fargate::check(ctx, request).is_ok()),
        (Compatibility::ManagedInstances, validate::check_managed_instances(request).is_ok()),
    ];
    candidates.into_iter().filter(|(_, is_possible)| *is_possible).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Limits;

    #[test]
    fn images_of_ecr_and_of_this_registry() {
        let settings = |registry_host: &str| Settings {
            endpoint: "http://127.0.0.1:4566".to_owned(),
            registry_host: registry_host.to_owned(),
            port: 4566,
            limits: Limits::default(),
        };
        let local = settings("localhost:{port}");
        let named = settings("{account}.dkr.ecr.{region}.wharf.test:{port}");
        let cases = [
            (&local, "localhost:4566/web:1", true),
            (&local, "127.0.0.1:4566/web", true),
            (&local, "localhost:5000/web", false),
            (&local, "web:latest", false),
            (&local, "docker.io/library/web", false),
            (&local, "123456789012.dkr.ecr.us-east-1.amazonaws.com/web@sha256:0", true),
            (&local, "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/web", true),
            (&local, "evil.dkr.ecr.amazonaws.com/web", false),
            (&named, "123456789012.dkr.ecr.eu-west-1.wharf.test:4566/a/b", true),
            (&named, ".dkr.ecr.eu-west-1.wharf.test:4566/a", false),
        ];
        for (settings, image, expected) in cases {
            assert_eq!(is_ecr(settings, image), expected, "{image}");
        }
    }
}
