//! The rules of RegisterTaskDefinition for Fargate.

use crate::harness::Wharf;
use crate::task_definition_rules::refused;

const FARGATE: &str =
    r#", "requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc", "cpu": "256", "memory": "512""#;

#[test]
fn fargate_tasks() {
    let only = "Fargate only supports network mode ‘awsvpc’.";
    refused(r#", "requiresCompatibilities": ["FARGATE"]"#, "", only);
    refused(r#", "requiresCompatibilities": ["EC2", "FARGATE"], "networkMode": "host""#, "", only);
    let awsvpc = r#", "requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc""#;
    refused(awsvpc, "", "Fargate requires that 'cpu' be defined at the task level.");
    refused(
        &format!(r#"{awsvpc}, "cpu": "256""#),
        "",
        "Fargate requires that 'memory' be defined at the task level.",
    );
    let more = |task: &str, text: &str| refused(&format!("{FARGATE}{task}"), "", text);
    more(
        r#", "pidMode": "host""#,
        "Tasks using the Fargate launch type do not support pidMode 'host'. The supported value for pidMode is 'task'.",
    );
    more(r#", "ipcMode": "task""#, "Tasks using the Fargate launch type do not support ipcMode.");
    more(
        r#", "placementConstraints": [{"type": "memberOf", "expression": "attribute:a exists"}]"#,
        "Fargate does not support task placement constraints.",
    );
    more(
        r#", "inferenceAccelerators": [{"deviceName": "d", "deviceType": "t"}]"#,
        "Tasks using the Fargate launch type do not support inferenceAccelerators.",
    );
    more(
        r#", "volumes": [{"name": "v", "host": {"sourcePath": "/v"}}]"#,
        "host.sourcePath should not be set for volumes in Fargate.",
    );
    more(
        r#", "volumes": [{"name": "v", "dockerVolumeConfiguration": {}}]"#,
        "Tasks using the Fargate launch type do not support dockerVolumeConfiguration.",
    );
    more(
        r#", "volumes": [{"name": "v", "fsxWindowsFileServerVolumeConfiguration": {"fileSystemId": "f",
            "rootDirectory": "r", "authorizationConfig": {"credentialsParameter": "c", "domain": "d"}}}]"#,
        "Tasks using the Fargate launch type do not support fsxWindowsFileServerVolumeConfiguration.",
    );
}

#[test]
fn fargate_sizes() {
    let answer = |cpu: u32, memory: u32, more: &str| {
        Wharf::new()
            .call(&format!(
                r#"RegisterTaskDefinition {{"family": "web", "requiresCompatibilities": ["FARGATE"],
                    "networkMode": "awsvpc", "cpu": "{cpu}", "memory": "{memory}"{more},
                    "containerDefinitions": [{{"name": "a", "image": "b"}}]}}"#
            ))
            .err()
    };
    let valid = [
        (256, 512),
        (256, 1024),
        (256, 2048),
        (512, 1024),
        (512, 4096),
        (1024, 2048),
        (1024, 8192),
        (2048, 4096),
        (2048, 16_384),
        (4096, 8192),
        (4096, 30_720),
        (8192, 16_384),
        (8192, 20_480),
        (8192, 61_440),
        (16_384, 32_768),
        (16_384, 40_960),
        (16_384, 122_880),
    ];
    for (cpu, memory) in valid {
        assert_eq!(answer(cpu, memory, ""), None, "{cpu} {memory}");
    }
    let invalid = [
        (256, 768),
        (256, 3072),
        (512, 512),
        (512, 5120),
        (1024, 1024),
        (1024, 2049),
        (4096, 31_744),
        (8192, 17_408),
        (16_384, 36_864),
        (16_384, 131_072),
        (128, 512),
        (3072, 8192),
    ];
    for (cpu, memory) in invalid {
        let text = format!(
            "ClientException: No Fargate configuration exists for given values: {cpu} CPU, {memory} memory. See the Amazon \
             ECS documentation for the valid values."
        );
        assert_eq!(answer(cpu, memory, ""), Some(text), "{cpu} {memory}");
    }
    let windows = r#", "runtimePlatform": {"operatingSystemFamily": "WINDOWS_SERVER_2022_CORE"}"#;
    assert_eq!(answer(1024, 2048, windows), None);
    assert!(answer(512, 1024, windows).is_some());
    assert!(answer(256, 512, windows).is_some());
}

#[test]
fn fargate_containers() {
    let more = |container: &str, text: &str| refused(FARGATE, container, text);
    let unsupported = |container: &str, what: &str| {
        more(container, &format!("Tasks using the Fargate launch type do not support {what}."));
    };
    unsupported(r#", "dockerSecurityOptions": ["label:x"]"#, "dockerSecurityOptions");
    unsupported(r#", "disableNetworking": false"#, "disableNetworking");
    unsupported(r#", "privileged": true"#, "privileged containers");
    unsupported(r#", "resourceRequirements": [{"type": "GPU", "value": "1"}]"#, "GPU resource requirements");
    let linux =
        |fields: &str, what: &str| unsupported(&format!(r#", "linuxParameters": {{{fields}}}"#), what);
    linux(r#""capabilities": {"add": ["NET_ADMIN"]}"#, "adding capabilities other than SYS_PTRACE");
    linux(r#""maxSwap": 1"#, "maxSwap");
    linux(r#""swappiness": 1"#, "swappiness");
    linux(r#""devices": [{"hostPath": "/dev/x"}]"#, "devices");
    linux(r#""sharedMemorySize": 1"#, "sharedMemorySize");
    linux(r#""tmpfs": [{"containerPath": "/tmp", "size": 1}]"#, "tmpfs");
    for name in ["startTimeout", "stopTimeout"] {
        more(
            &format!(r#", "{name}": 121"#),
            &format!(
                "Invalid '{name}' setting for container 'a'. On Fargate the value must be between 2 and 120 seconds."
            ),
        );
    }
    more(
        r#", "firelensConfiguration": {"type": "fluentbit", "options": {"config-file-type": "s3"}}"#,
        "Fargate launch type does not support FirelensConfiguration config file from 's3'",
    );
    unsupported(r#", "logConfiguration": {"logDriver": "json-file"}"#, "the log driver json-file");
    let awslogs = |options: &str| {
        format!(
            r#", "logConfiguration": {{"logDriver": "awslogs", "options":
                {{"awslogs-group": "g", "awslogs-region": "us-east-1"{options}}}}}"#
        )
    };
    more(&awslogs(""), "Log driver awslogs requires options: awslogs-stream-prefix");
    let role = |what: &str| {
        format!("Fargate requires task definition to have execution role ARN to support {what}.")
    };
    more(&awslogs(r#", "awslogs-stream-prefix": "p""#), &role("log driver awslogs"));
    more(r#", "image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/web""#, &role("ECR images"));
    more(
        r#", "repositoryCredentials": {"credentialsParameter": "arn:aws:secretsmanager:us-east-1:123456789012:secret:a"}"#,
        &role("private registry authentication"),
    );
}
