//! Every rule of RegisterTaskDefinition with the text that answers its breach.

use crate::harness::Wharf;

/// Registers with these members of the task and of container `a`, which `z` stands beside. Later members win.
#[track_caller]
pub(crate) fn refused(task: &str, container: &str, text: &str) {
    let request = format!(
        r#"RegisterTaskDefinition {{"family": "web", "containerDefinitions": [
            {{"name": "a", "image": "b", "memory": 64{container}}},
            {{"name": "z", "image": "b", "memory": 64, "essential": false}}]{task}}}"#
    );
    Wharf::new().check(&request, &format!("ClientException: {text}"));
}

/// Registers with these containers.
#[track_caller]
fn containers(list: &str, expected: &str) {
    let request = format!(r#"RegisterTaskDefinition {{"family": "web", "containerDefinitions": [{list}]}}"#);
    Wharf::new().check(&request, expected);
}

const ACCEPTED: &str = r#"{"...": true}"#;

#[test]
fn families_and_the_list_of_containers() {
    let long = "x".repeat(256);
    refused(r#", "family": """#, "", "Family should not be null or empty.");
    refused(r#", "family": "a b""#, "", "Family contains invalid characters.");
    refused(&format!(r#", "family": "{long}""#), "", "Family should not be longer than 255 characters.");
    refused(r#", "containerDefinitions": []"#, "", "Container list cannot be empty.");
    refused(r#", "tags": []"#, "", "Tags can not be empty.");
    let one = |name: &str, more: &str| format!(r#"{{"name": "{name}", "image": "b", "memory": 64{more}}}"#);
    let eleven: Vec<String> = (0..11).map(|n| one(&format!("c{n}"), "")).collect();
    containers(&eleven.join(","), "ClientException: A task definition can have at most 10 containers.");
    containers(&eleven[..10].join(","), ACCEPTED);
    containers(
        &[one("a", ""), one("a", "")].join(","),
        "ClientException: Container names must be unique within a task definition: 'a' is used more than once.",
    );
    containers(
        &one("a", r#", "essential": false"#),
        "ClientException: A task definition must have at least one essential container.",
    );
    let router = r#", "firelensConfiguration": {"type": "fluentd"}"#;
    containers(
        &[one("a", router), one("b", router)].join(","),
        "ClientException: A task definition can have at most one container with a firelensConfiguration.",
    );
}

#[test]
fn names_and_images() {
    let long = "x".repeat(256);
    refused("", r#", "name": """#, "Container.name should not be null or empty.");
    refused("", r#", "name": "a.b""#, "Container.name contains invalid characters.");
    refused(
        "",
        &format!(r#", "name": "{long}""#),
        "Container.name should not be longer than 255 characters.",
    );
    containers(
        r#"{"image": "b", "memory": 64}"#,
        "ClientException: Container.name should not be null or empty.",
    );
    containers(
        r#"{"name": "b", "memory": 64}"#,
        "ClientException: Container.image should not be null or empty.",
    );
    refused("", r#", "image": "$IMAGE:$TAG""#, "Container.image contains invalid characters.");
    refused(
        "",
        &format!(r#", "image": "{long}""#),
        "Container.image should not be longer than 255 characters.",
    );
    refused(
        "",
        r#", "repositoryCredentials": {"credentialsParameter": "secret"}"#,
        "Invalid 'repositoryCredentials' setting for container 'a'. credentialsParameter must be the ARN of a secret in \
         AWS Secrets Manager.",
    );
}

#[test]
fn memory_and_cpu() {
    let hard = "Invalid 'memory' setting for container 'a'. The value must be at least 6 MiB.";
    let soft = "Invalid 'memoryReservation' setting for container 'a'. The value must be at least 6 MiB.";
    refused("", r#", "memory": 5"#, hard);
    refused("", r#", "memory": -1"#, hard);
    refused("", r#", "memoryReservation": 5"#, soft);
    refused("", r#", "cpu": -1"#, "Invalid 'cpu' setting for container 'a'. The value must not be negative.");
    refused(
        "",
        r#", "memoryReservation": 65"#,
        "Invalid setting for container 'a'. 'memory' must be greater than 'memoryReservation'.",
    );
    containers(
        r#"{"name": "a", "image": "b"}"#,
        "ClientException: Invalid setting for container 'a'. At least one of 'memory' or 'memoryReservation' must be \
         specified.",
    );
    containers(r#"{"name": "a", "image": "b", "memoryReservation": 6}"#, ACCEPTED);
    let size = |name: &str| {
        format!(
            "Invalid '{name}' setting for task. For more information, see the Troubleshooting section of the Amazon ECS \
             Developer Guide."
        )
    };
    for cpu in ["", "127", "196609", "half", "0.1 vCPU"] {
        refused(&format!(r#", "cpu": "{cpu}""#), "", &size("cpu"));
    }
    for memory in ["", "5", "much", "1 vCPU"] {
        refused(&format!(r#", "memory": "{memory}""#), "", &size("memory"));
    }
    refused(
        r#", "cpu": "256""#,
        r#", "cpu": 257"#,
        "The sum of all container 'cpu' values cannot be greater than the value of the task 'cpu'.",
    );
    refused(
        r#", "memory": "100""#,
        r#", "memory": 101"#,
        "Invalid 'memory' setting for container 'a'. The value cannot be greater than the value of the task 'memory'.",
    );
    containers(
        r#"{"name": "a", "image": "b", "memoryReservation": 64}, {"name": "c", "image": "b", "memoryReservation": 64}],
            "memory": "100", "volumes": ["#,
        "ClientException: The sum of all container 'memoryReservation' values cannot be greater than the value of the \
         task 'memory'.",
    );
}

#[test]
fn environment_secrets_and_files() {
    let blank = "Environment variable name cannot be null or blank.";
    refused("", r#", "environment": [{"value": "x"}]"#, blank);
    refused("", r#", "environment": [{"name": " ", "value": "x"}]"#, blank);
    let role = r#", "executionRoleArn": "arn:aws:iam::123456789012:role/exec""#;
    let no_role =
        "When you are specifying container secrets, you must also specify a value for 'executionRoleArn'.";
    refused("", r#", "secrets": [{"name": "A", "valueFrom": "/a"}]"#, no_role);
    refused("", r#", "secrets": []"#, no_role);
    refused(
        role,
        r#", "secrets": [{"name": "", "valueFrom": "/a"}]"#,
        "Secret name cannot be null or blank.",
    );
    refused(
        role,
        r#", "secrets": [{"name": "A", "valueFrom": ""}]"#,
        "Secret valueFrom cannot be null or blank.",
    );
    refused(
        role,
        r#", "environment": [{"name": "A", "value": "1"}], "secrets": [{"name": "A", "valueFrom": "/a"}]"#,
        "The secret name must be unique and not shared with any new or existing environment variables set on the \
         container, such as 'A'.",
    );
    let form = "Invalid 'environmentFiles' setting for container 'a'. The value must be the ARN of an Amazon S3 object \
                with the extension .env.";
    for value in ["a.env", "arn:aws:s3:::bucket/a.txt", "arn:aws:ssm:::a.env"] {
        refused("", &format!(r#", "environmentFiles": [{{"type": "s3", "value": "{value}"}}]"#), form);
    }
    let eleven = [r#"{"type": "s3", "value": "arn:aws:s3:::b/a.env"}"#; 11].join(",");
    refused(
        "",
        &format!(r#", "environmentFiles": [{eleven}]"#),
        "Invalid 'environmentFiles' setting for container 'a'. At most 10 files can be given.",
    );
}

#[test]
fn health_checks_and_times() {
    let check = |fields: &str, why: &str| {
        refused(
            "",
            &format!(r#", "healthCheck": {{"command": ["CMD", "true"]{fields}}}"#),
            &format!("Invalid 'healthCheck' setting for container 'a'. {why}"),
        );
    };
    check(r#", "interval": 4"#, "The interval must be between 5 and 300.");
    check(r#", "interval": 301"#, "The interval must be between 5 and 300.");
    check(r#", "timeout": 1"#, "The timeout must be between 2 and 60.");
    check(r#", "retries": 11"#, "The retries must be between 1 and 10.");
    check(r#", "retries": 0"#, "The retries must be between 1 and 10.");
    check(r#", "startPeriod": 301"#, "The startPeriod must be between 0 and 300.");
    check(r#", "command": []"#, "The command must not be empty.");
    refused(
        "",
        r#", "startTimeout": -1"#,
        "Invalid 'startTimeout' setting for container 'a'. The value must not be negative.",
    );
    refused(
        "",
        r#", "stopTimeout": -1"#,
        "Invalid 'stopTimeout' setting for container 'a'. The value must not be negative.",
    );
    let period = "Invalid 'restartPolicy' setting for container 'a'. The restartAttemptPeriod must be between 60 and 1800 \
                  seconds.";
    for seconds in [59, 1801] {
        let policy = format!(r#", "restartPolicy": {{"enabled": true, "restartAttemptPeriod": {seconds}}}"#);
        refused("", &policy, period);
    }
    let codes = vec!["1"; 51].join(",");
    refused(
        "",
        &format!(r#", "restartPolicy": {{"enabled": true, "ignoredExitCodes": [{codes}]}}"#),
        "Invalid 'restartPolicy' setting for container 'a'. At most 50 ignoredExitCodes can be given.",
    );
}

#[test]
fn devices_limits_and_linux() {
    let devices = "Invalid 'resourceRequirements' setting for container 'a'. The value must be a number of devices, at \
                   least 1.";
    refused("", r#", "resourceRequirements": [{"type": "GPU", "value": "0"}]"#, devices);
    refused("", r#", "resourceRequirements": [{"type": "GPU", "value": "half"}]"#, devices);
    refused(
        "",
        r#", "resourceRequirements": [{"type": "InferenceAccelerator", "value": "eia"}]"#,
        "Invalid 'resourceRequirements' setting for container 'a'. The value must be the deviceName of an \
         inferenceAccelerator.",
    );
    refused(
        "",
        r#", "ulimits": [{"name": "nofile", "softLimit": 2, "hardLimit": 1}]"#,
        "Invalid 'ulimits' setting for container 'a'. The softLimit of 'nofile' must not be greater than its hardLimit.",
    );
    refused(
        "",
        r#", "ulimits": [{"name": "core", "softLimit": 0, "hardLimit": 0}, {"name": "core", "softLimit": 1, "hardLimit": 1}]"#,
        "Invalid 'ulimits' setting for container 'a'. The ulimit 'core' is given more than once.",
    );
    let linux = |fields: &str, why: &str| {
        let text = format!("Invalid 'linuxParameters' setting for container 'a'. {why}");
        refused("", &format!(r#", "linuxParameters": {{{fields}}}"#), &text);
    };
    linux(r#""swappiness": 101"#, "The swappiness must be between 0 and 100.");
    linux(r#""maxSwap": -1"#, "The maxSwap must not be negative.");
    linux(r#""sharedMemorySize": 0"#, "The sharedMemorySize must be at least 1 MiB.");
    let tmpfs = "A tmpfs needs an absolute containerPath and a size of at least 1 MiB.";
    linux(r#""tmpfs": [{"containerPath": "tmp", "size": 1}]"#, tmpfs);
    linux(r#""tmpfs": [{"containerPath": "/tmp", "size": 0}]"#, tmpfs);
    linux(r#""devices": [{"hostPath": "dev/x"}]"#, "The hostPath of a device must be absolute.");
    linux(r#""capabilities": {"add": ["sys_admin"]}"#, "'sys_admin' is not a Linux capability.");
    refused(
        "",
        r#", "extraHosts": [{"hostname": "", "ipAddress": "10.0.0.1"}]"#,
        "Invalid 'extraHosts' setting for container 'a'. Both hostname and ipAddress are needed.",
    );
    refused(
        "",
        r#", "systemControls": [{"namespace": "net.core.somaxconn"}]"#,
        "Invalid 'systemControls' setting for container 'a'. Both namespace and value are needed.",
    );
    refused(
        "",
        r#", "credentialSpecs": ["credentialspec:a", "credentialspec:b"]"#,
        "Invalid 'credentialSpecs' setting for container 'a'. At most one can be given.",
    );
    let windows = r#", "runtimePlatform": {"operatingSystemFamily": "WINDOWS_SERVER_2022_CORE"}"#;
    refused(
        windows,
        r#", "privileged": true"#,
        "Invalid 'privileged' setting for container 'a'. It is not supported for Windows containers.",
    );
    refused(
        windows,
        r#", "linuxParameters": {}"#,
        "Invalid 'linuxParameters' setting for container 'a'. linuxParameters are not supported for Windows containers.",
    );
    refused(
        &format!(r#"{windows}, "pidMode": "host""#),
        "",
        "pidMode is not supported for Windows containers.",
    );
    refused(
        &format!(r#"{windows}, "ipcMode": "host""#),
        "",
        "ipcMode is not supported for Windows containers.",
    );
}

#[test]
fn ports() {
    let container_port = "Invalid 'containerPort' setting for container 'a'.";
    for port in ["{}", r#"{"containerPort": 0}"#, r#"{"containerPort": 65536}"#, r#"{"hostPort": 80}"#] {
        refused("", &format!(r#", "portMappings": [{port}]"#), container_port);
    }
    let ports = |list: &str| format!(r#", "portMappings": [{list}]"#);
    refused(
        "",
        &ports(r#"{"containerPort": 1, "hostPort": 65536}"#),
        "Invalid 'hostPort' setting for container 'a'.",
    );
    for mode in ["awsvpc", "host"] {
        refused(
            &format!(r#", "networkMode": "{mode}""#),
            &ports(r#"{"containerPort": 80, "hostPort": 8080}"#),
            &format!(
                "When networkMode={mode}, the host ports and container ports in port mappings must match."
            ),
        );
    }
    refused(
        r#", "networkMode": "none""#,
        &ports(r#"{"containerPort": 80}"#),
        "Port mappings are not supported when networkMode=none.",
    );
    refused(
        "",
        &ports(r#"{"containerPort": 80, "hostPort": 8080}, {"containerPort": 81, "hostPort": 8080}"#),
        "Host port 8080 is used in more than one port mapping of the task definition.",
    );
    containers(
        r#"{"name": "a", "image": "b", "memory": 64, "portMappings": [{"containerPort": 53, "hostPort": 53},
            {"containerPort": 53, "hostPort": 53, "protocol": "udp"}, {"containerPort": 53}, {"containerPort": 53}]}"#,
        ACCEPTED,
    );
    let many = vec![r#"{"containerPort": 80}"#; 101].join(",");
    refused(
        "",
        &ports(&many),
        "Invalid 'portMappings' setting for container 'a'. At most 100 port mappings can be given.",
    );
}

#[test]
fn port_ranges_and_port_names() {
    let ports = |list: &str| format!(r#", "portMappings": [{list}]"#);
    let range = |fields: &str, why: &str| {
        let text = format!("Invalid 'containerPortRange' setting for container 'a'. {why}");
        refused("", &ports(&format!("{{{fields}}}")), &text);
    };
    let form = "It must be of the form 'first-last', with ports between 1 and 65535.";
    for text in ["80", "0-1", "9-8", "1-65536", "a-b"] {
        range(&format!(r#""containerPortRange": "{text}""#), form);
    }
    let alone = "It cannot be given together with containerPort or hostPort.";
    range(r#""containerPortRange": "1-2", "containerPort": 1"#, alone);
    range(r#""containerPortRange": "1-2", "hostPort": 1"#, alone);
    refused(
        r#", "networkMode": "host""#,
        &ports(r#"{"containerPortRange": "1-2"}"#),
        "Invalid 'containerPortRange' setting for container 'a'. It is not supported when networkMode=host.",
    );
    refused(
        "",
        &ports(r#"{"containerPort": 80, "name": "-web"}"#),
        "Invalid 'portMappings' setting for container 'a'. The port name '-web' must have at most 64 lower-case letters, \
         digits, hyphens and underscores and begin with a letter or digit.",
    );
    refused(
        "",
        &ports(r#"{"containerPort": 80, "name": "web"}, {"containerPort": 81, "name": "web"}"#),
        "Invalid 'portMappings' setting for container 'a'. The port name 'web' is used more than once in the task \
         definition.",
    );
    refused(
        "",
        &ports(r#"{"containerPort": 80, "appProtocol": "http"}"#),
        "Invalid 'portMappings' setting for container 'a'. A port mapping with an appProtocol needs a name.",
    );
    refused(
        "",
        r#", "disableNetworking": true, "portMappings": [{"containerPort": 80}]"#,
        "Invalid 'disableNetworking' setting for container 'a'. Port mappings cannot be given when networking is \
         disabled.",
    );
}

#[test]
fn links_and_names_by_network_mode() {
    for mode in ["awsvpc", "host", "none"] {
        refused(
            &format!(r#", "networkMode": "{mode}""#),
            r#", "links": ["z"]"#,
            &format!("Links are not supported when networkMode={mode}."),
        );
    }
    for link in ["q", "a", "q:z"] {
        refused(
            "",
            &format!(r#", "links": ["{link}"]"#),
            &format!(
                "Invalid link '{link}' for container 'a': it must name another container of the task definition."
            ),
        );
    }
    let settings = [
        ("hostname", r#""h""#),
        ("dnsServers", r#"["10.0.0.2"]"#),
        ("dnsSearchDomains", r#"["x"]"#),
        ("extraHosts", r#"[{"hostname": "h", "ipAddress": "10.0.0.1"}]"#),
        ("disableNetworking", "true"),
    ];
    for (name, value) in settings {
        refused(
            r#", "networkMode": "awsvpc""#,
            &format!(r#", "{name}": {value}"#),
            &format!("{name} is not supported on container when networkMode=awsvpc."),
        );
    }
    refused(
        r#", "networkMode": "host""#,
        r#", "hostname": "h""#,
        "hostname is not supported on container when networkMode=host.",
    );
}

#[test]
fn order() {
    let depends = |condition: &str, on: &str| {
        format!(r#", "dependsOn": [{{"containerName": "{on}", "condition": "{condition}"}}]"#)
    };
    refused(
        "",
        &depends("START", "q"),
        "Invalid 'dependsOn' setting for container 'a'. 'q' is not a container of the task definition.",
    );
    refused(
        "",
        &depends("HEALTHY", "z"),
        "A dependency container with HEALTHY condition must have a health check: container 'z' has none.",
    );
    let one = |name: &str, more: &str| format!(r#"{{"name": "{name}", "image": "b", "memory": 64{more}}}"#);
    for condition in ["SUCCESS", "COMPLETE"] {
        containers(
            &[one("a", &depends(condition, "b")), one("b", "")].join(","),
            "ClientException: A dependency container with SUCCESS or COMPLETE condition cannot be an essential container",
        );
        containers(
            &[one("a", &depends(condition, "b")), one("b", r#", "essential": false"#)].join(","),
            ACCEPTED,
        );
    }
    let cycle = |name: &str| {
        format!(
            "ClientException: The containers of a task definition cannot depend on each other in a cycle: container \
             '{name}'."
        )
    };
    containers(&one("a", &depends("START", "a")), &cycle("a"));
    let three = [
        one("a", &depends("START", "b")),
        one("b", &depends("START", "c")),
        one("c", &depends("START", "a")),
    ];
    containers(&three.join(","), &cycle("a"));
    containers(&[one("a", r#", "links": ["b"]"#), one("b", &depends("START", "a"))].join(","), &cycle("a"));
    let volumes = r#", "volumesFrom": [{"sourceContainer": "b"}]"#;
    containers(&[one("a", volumes), one("b", &depends("START", "a"))].join(","), &cycle("a"));
    // A diamond is no circle.
    let diamond = [
        one(
            "a",
            r#", "dependsOn": [{"containerName": "b", "condition": "START"}, {"containerName": "c", "condition": "START"}]"#,
        ),
        one("b", &depends("START", "d")),
        one("c", &depends("START", "d")),
        one("d", ""),
    ];
    containers(&diamond.join(","), ACCEPTED);
    for source in ["q", "a"] {
        refused(
            "",
            &format!(r#", "volumesFrom": [{{"sourceContainer": "{source}"}}]"#),
            &format!(
                "Invalid 'volumesFrom' setting for container 'a'. '{source}' is not another container of the task \
                 definition."
            ),
        );
    }
}

#[test]
fn volumes() {
    let volumes = |list: &str| format!(r#", "volumes": [{list}]"#);
    let mount = r#", "mountPoints": [{"sourceVolume": "v", "containerPath": "/v"}]"#;
    refused("", mount, "Unknown volume 'v'.");
    refused(
        &volumes(r#"{"name": "v"}"#),
        r#", "mountPoints": [{"sourceVolume": "v"}]"#,
        "Invalid 'mountPoints' setting for container 'a'. containerPath should not be null or empty.",
    );
    refused(
        &volumes(r#"{"name": "v"}"#),
        r#", "mountPoints": [{"sourceVolume": "v", "containerPath": "/v"}, {"sourceVolume": "v", "containerPath": "/v"}]"#,
        "Invalid 'mountPoints' setting for container 'a'. The containerPath '/v' is used more than once.",
    );
    refused(&volumes("{}"), "", "Volume.name should not be null or empty.");
    refused(&volumes(r#"{"name": "a b"}"#), "", "Volume.name contains invalid characters.");
    refused(
        &volumes(r#"{"name": "v"}, {"name": "v"}"#),
        "",
        "Volume names must be unique: 'v' is used more than once.",
    );
    refused(
        &volumes(r#"{"name": "v", "host": {"sourcePath": ""}}"#),
        "",
        "host.sourcePath should not be blank.",
    );
    refused(
        &volumes(r#"{"name": "v", "host": {"sourcePath": "/v"}, "dockerVolumeConfiguration": {}}"#),
        "",
        "Only one volume configuration can be specified for the volume 'v'.",
    );
    refused(
        &volumes(r#"{"name": "v", "dockerVolumeConfiguration": {"autoprovision": true}}"#),
        "",
        "Autoprovision is only supported for volumes with the scope 'shared'.",
    );
    refused(
        &volumes(r#"{"name": "v", "configuredAtLaunch": true}, {"name": "w", "configuredAtLaunch": true}"#),
        "",
        "A task definition can have at most one volume with configuredAtLaunch.",
    );
    let efs = |fields: &str, text: &str| {
        let volume =
            format!(r#"{{"name": "v", "efsVolumeConfiguration": {{"fileSystemId": "fs-1"{fields}}}}}"#);
        refused(&volumes(&volume), "", text);
    };
    let access = r#", "authorizationConfig": {"accessPointId": "fsap-1"}"#;
    efs(r#", "fileSystemId": """#, "EFSVolumeConfiguration.fileSystemId should not be null or empty.");
    efs(access, "EFS transit encryption must be enabled when an access point is specified.");
    efs(
        r#", "authorizationConfig": {"iam": "ENABLED"}"#,
        "EFS transit encryption must be enabled when IAM authorization is enabled.",
    );
    efs(
        &format!(r#"{access}, "transitEncryption": "ENABLED", "rootDirectory": "/data""#),
        "The EFS root directory must be omitted or set to '/' when an access point is specified.",
    );
    efs(r#", "transitEncryptionPort": 0"#, "The EFS transitEncryptionPort must be between 1 and 65535.");
}

#[test]
fn logs() {
    let log = |driver: &str, options: &str| {
        format!(r#", "logConfiguration": {{"logDriver": "{driver}", "options": {{{options}}}}}"#)
    };
    refused("", &log("awslogs", ""), "Log driver awslogs requires options: awslogs-region, awslogs-group");
    refused(
        "",
        &log("awslogs", r#""awslogs-region": "us-east-1", "awslogs-group": """#),
        "Log driver awslogs requires options: awslogs-group",
    );
    refused("", &log("splunk", ""), "Log driver splunk requires options: splunk-token, splunk-url");
    refused("", &log("gelf", ""), "Log driver gelf requires options: gelf-address");
    let group = r#""awslogs-region": "us-east-1", "awslogs-group": "g""#;
    refused(
        "",
        &log("awslogs", &format!(r#"{group}, "colour": "red""#)),
        "Log driver awslogs disallows options: colour",
    );
    refused(
        "",
        &log(
            "awslogs",
            &format!(r#"{group}, "awslogs-datetime-format": "%Y", "awslogs-multiline-pattern": "^x""#),
        ),
        "Log driver awslogs does not support both awslogs-datetime-format and awslogs-multiline-pattern.",
    );
    refused(
        "",
        &log("awslogs", &format!(r#"{group}, "awslogs-create-group": "yes""#)),
        "The value of awslogs-create-group must be true or false.",
    );
    refused(
        "",
        &log("json-file", r#""mode": "fast""#),
        "The log option mode must be blocking or non-blocking.",
    );
    refused(
        "",
        &log("awsfirelens", ""),
        "When a firelensConfiguration object is not specified in any container, the log driver awsfirelens is not \
         supported.",
    );
    refused(
        "",
        &format!(r#"{}, "firelensConfiguration": {{"type": "fluentd"}}"#, log("awsfirelens", "")),
        "The container 'a' has a firelensConfiguration and cannot use the log driver awsfirelens itself.",
    );
}

#[test]
fn roles_constraints_proxies_and_storage() {
    for role in
        ["arn:aws:iam::1:role/x", "arn:aws:iam::123456789012:user/x", "arn:aws:iam::123456789012:role/"]
    {
        refused(&format!(r#", "taskRoleArn": "{role}""#), "", "Role is not valid");
        refused(&format!(r#", "executionRoleArn": "{role}""#), "", "Role is not valid");
    }
    refused(r#", "executionRoleArn": "exec""#, "", "Role is not valid");
    let constraints = |list: &str| format!(r#", "placementConstraints": [{list}]"#);
    refused(
        &constraints(r#"{"expression": "x"}"#),
        "",
        "Placement constraint type should not be null or empty.",
    );
    refused(
        &constraints(r#"{"type": "memberOf"}"#),
        "",
        "Placement constraint expression should not be null or empty.",
    );
    let long = "x".repeat(2001);
    refused(
        &constraints(&format!(r#"{{"type": "memberOf", "expression": "{long}"}}"#)),
        "",
        "Placement constraint expression should not be longer than 2000 characters.",
    );
    let eleven = [r#"{"type": "memberOf", "expression": "attribute:a exists"}"#; 11].join(",");
    refused(&constraints(&eleven), "", "A task definition can have at most 10 placement constraints.");
    let proxy = |mode: &str, name: &str, properties: &[&str]| {
        let list: Vec<String> =
            properties.iter().map(|name| format!(r#"{{"name": "{name}", "value": "1"}}"#)).collect();
        format!(
            r#", "networkMode": "{mode}", "proxyConfiguration": {{"containerName": "{name}", "properties": [{}]}}"#,
            list.join(",")
        )
    };
    refused(&proxy("bridge", "z", &[]), "", "proxyConfiguration is only supported when networkMode=awsvpc.");
    refused(
        &proxy("awsvpc", "q", &[]),
        "",
        "The proxyConfiguration container 'q' is not a container in the task definition.",
    );
    refused(
        &proxy("awsvpc", "z", &[]),
        "",
        "proxyConfiguration requires the property IgnoredUID or IgnoredGID.",
    );
    refused(
        &proxy("awsvpc", "z", &["IgnoredGID", "AppPorts", "ProxyIngressPort"]),
        "",
        "proxyConfiguration requires the property ProxyEgressPort.",
    );
    for size in [20, 201] {
        refused(
            &format!(r#", "ephemeralStorage": {{"sizeInGiB": {size}}}"#),
            "",
            "The ephemeralStorage 'sizeInGiB' must be between 21 and 200.",
        );
    }
    refused(
        r#", "ephemeralStorage": {"sizeInGiB": 21}, "requiresCompatibilities": ["EC2"]"#,
        "",
        "ephemeralStorage is only supported for tasks with the compatibility FARGATE.",
    );
}

#[test]
fn external_and_managed_instances() {
    let external = |task: &str, what: &str| {
        refused(
            &format!(r#", "requiresCompatibilities": ["EXTERNAL"]{task}"#),
            "",
            &format!("{what} is not supported with the compatibility EXTERNAL."),
        );
    };
    external(r#", "networkMode": "awsvpc""#, "networkMode 'awsvpc'");
    external(
        r#", "volumes": [{"name": "v", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}]"#,
        "efsVolumeConfiguration",
    );
    external(r#", "volumes": [{"name": "v", "configuredAtLaunch": true}]"#, "configuredAtLaunch");
    external(r#", "ephemeralStorage": {"sizeInGiB": 21}"#, "ephemeralStorage");
    let managed = |task: &str, what: &str| {
        refused(
            &format!(r#", "requiresCompatibilities": ["MANAGED_INSTANCES"]{task}"#),
            "",
            &format!("{what} is not supported with the compatibility MANAGED_INSTANCES."),
        );
    };
    managed("", "A networkMode other than 'awsvpc' and 'host'");
    let awsvpc = r#", "networkMode": "awsvpc""#;
    managed(
        &format!(r#"{awsvpc}, "runtimePlatform": {{"operatingSystemFamily": "WINDOWS_SERVER_2022_CORE"}}"#),
        "Windows",
    );
    managed(
        &format!(r#"{awsvpc}, "inferenceAccelerators": [{{"deviceName": "d", "deviceType": "t"}}]"#),
        "inferenceAccelerators",
    );
    managed(
        &format!(r#"{awsvpc}, "volumes": [{{"name": "v", "dockerVolumeConfiguration": {{}}}}]"#),
        "dockerVolumeConfiguration",
    );
}

#[test]
fn sizes_as_json_and_values_that_the_model_forbids() {
    let label = "x".repeat(70_000);
    let reply = Wharf::new().call(&format!(
        r#"RegisterTaskDefinition {{"family": "web", "containerDefinitions":
            [{{"name": "a", "image": "b", "memory": 64, "dockerLabels": {{"l": "{label}"}}}}]}}"#
    ));
    let error = reply.expect_err("too long");
    assert!(error.starts_with("ClientException: Actual length: '70"), "{error}");
    assert!(error.ends_with("'. Max allowed length is '65536' bytes."), "{error}");
    refused(
        r#", "trustedExecutionConfiguration": {"isolationMode": "ISOLATED_SANDBOX"}"#,
        "",
        "A trustedExecutionConfiguration other than SHARED is not available in this version of Wharf.",
    );
}

#[test]
fn a_refused_registration_spends_no_revision() {
    let mut wharf = Wharf::new();
    let register = |more: &str| {
        format!(
            r#"RegisterTaskDefinition {{"family": "web",
                "containerDefinitions": [{{"name": "a", "image": "b", "memory": 64{more}}}]}}"#
        )
    };
    wharf.check(
        &register(r#", "memory": 1"#),
        "ClientException: Invalid 'memory' setting for container 'a'. The value must be at least 6 MiB.",
    );
    wharf.check(&register(""), r#"{"taskDefinition": {"revision": 1, "...": true}}"#);
}
