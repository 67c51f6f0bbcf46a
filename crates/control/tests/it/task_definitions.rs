//! Task definitions: what replies show, revisions, and their way from ACTIVE to gone.

use crate::harness::{Wharf, task};
use control::state::ecs::TaskStatus;
use std::time::Duration;

const ARN: &str = "arn:aws:ecs:us-east-1:123456789012:task-definition/";

fn register(wharf: &mut Wharf, family: &str) {
    wharf.check(
        &format!(
            r#"RegisterTaskDefinition {{"family": "{family}",
                "containerDefinitions": [{{"name": "a", "image": "b", "memory": 64}}]}}"#
        ),
        r#"{"...": true}"#,
    );
}

/// A wharf with revision 1 of `web`, deregistered.
fn deregistered() -> Wharf {
    let mut wharf = Wharf::new();
    register(&mut wharf, "web");
    wharf.check(r#"DeregisterTaskDefinition {"taskDefinition": "web:1"}"#, r#"{"...": true}"#);
    wharf
}

#[test]
fn the_smallest_definition_with_every_default() {
    let mut wharf = Wharf::new();
    let expected = r#"{
        "taskDefinitionArn": "arn:aws:ecs:us-east-1:123456789012:task-definition/web:1",
        "containerDefinitions": [{"name": "web", "image": "nginx", "cpu": 0, "memory": 128, "portMappings": [],
            "essential": true, "environment": [], "mountPoints": [], "volumesFrom": [], "systemControls": []}],
        "family": "web", "revision": 1, "volumes": [], "status": "ACTIVE", "placementConstraints": [],
        "requiresAttributes": [{"name": "com.amazonaws.ecs.capability.docker-remote-api.1.18"}],
        "compatibilities": ["EXTERNAL", "EC2"],
        "registeredAt": 1700000000, "registeredBy": "arn:aws:iam::123456789012:root"}"#;
    wharf.check(
        r#"RegisterTaskDefinition {"family": "web",
            "containerDefinitions": [{"name": "web", "image": "nginx", "memory": 128}]}"#,
        &format!(r#"{{"taskDefinition": {expected}}}"#),
    );
    wharf.check(
        r#"DescribeTaskDefinition {"taskDefinition": "web"}"#,
        &format!(r#"{{"taskDefinition": {expected}}}"#),
    );
    wharf.check(
        r#"DescribeTaskDefinition {"taskDefinition": "web:1", "include": ["TAGS"]}"#,
        &format!(r#"{{"taskDefinition": {expected}, "tags": []}}"#),
    );
}

#[test]
fn tags_stand_beside_the_definition() {
    let mut wharf = Wharf::new();
    wharf.check(
        r#"RegisterTaskDefinition {"family": "web", "tags": [{"key": "a", "value": "b"}],
            "containerDefinitions": [{"name": "web", "image": "nginx", "memory": 128}]}"#,
        r#"{"taskDefinition": {"...": true}, "tags": [{"key": "a", "value": "b"}]}"#,
    );
    wharf
        .check(r#"DescribeTaskDefinition {"taskDefinition": "web"}"#, r#"{"taskDefinition": {"...": true}}"#);
    wharf.check(
        r#"DescribeTaskDefinition {"taskDefinition": "web", "include": ["TAGS"]}"#,
        r#"{"taskDefinition": {"...": true}, "tags": [{"key": "a", "value": "b"}]}"#,
    );
}

#[test]
fn sizes_ports_checks_and_volumes_in_their_normal_form() {
    let cases = [
        (r#""cpu": "1 vCPU", "memory": "0.5GB", "#, "", r#"{"cpu": "1024", "memory": "512", "...": true}"#),
        (
            "",
            r#", "portMappings": [{"containerPort": 80}, {"containerPort": 53, "hostPort": 5353, "protocol": "udp"}]"#,
            r#"{"containerDefinitions": [{"portMappings": [
                {"containerPort": 80, "hostPort": 0, "protocol": "tcp"},
                {"containerPort": 53, "hostPort": 5353, "protocol": "udp"}], "...": true}], "...": true}"#,
        ),
        (
            r#""networkMode": "awsvpc", "#,
            r#", "portMappings": [{"containerPort": 80}, {"containerPort": 81, "hostPort": 0}]"#,
            r#"{"containerDefinitions": [{"portMappings": [
                {"containerPort": 80, "hostPort": 80, "protocol": "tcp"},
                {"containerPort": 81, "hostPort": 81, "protocol": "tcp"}], "...": true}], "...": true}"#,
        ),
        (
            r#""networkMode": "host", "#,
            r#", "portMappings": [{"containerPort": 80}]"#,
            r#"{"containerDefinitions": [{"portMappings":
                [{"containerPort": 80, "hostPort": 80, "protocol": "tcp"}], "...": true}], "...": true}"#,
        ),
        (
            "",
            r#", "portMappings": [{"containerPortRange": "8000-8010"}]"#,
            r#"{"containerDefinitions": [{"portMappings":
                [{"containerPortRange": "8000-8010", "protocol": "tcp"}], "...": true}], "...": true}"#,
        ),
        (
            "",
            r#", "healthCheck": {"command": ["CMD", "true"]}"#,
            r#"{"containerDefinitions": [{"healthCheck":
                {"command": ["CMD", "true"], "interval": 30, "timeout": 5, "retries": 3}, "...": true}], "...": true}"#,
        ),
        (
            "",
            r#", "restartPolicy": {"enabled": true}"#,
            r#"{"containerDefinitions": [{"restartPolicy": {"enabled": true, "restartAttemptPeriod": 300},
                "...": true}], "...": true}"#,
        ),
        (
            r#""volumes": [{"name": "a"}, {"name": "b", "dockerVolumeConfiguration": {"driver": "local"}},
                {"name": "c", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}},
                {"name": "d", "configuredAtLaunch": true}], "#,
            "",
            r#"{"volumes": [{"name": "a", "host": {}},
                {"name": "b", "dockerVolumeConfiguration": {"driver": "local", "scope": "task"}},
                {"name": "c", "efsVolumeConfiguration": {"fileSystemId": "fs-1", "rootDirectory": "/"}},
                {"name": "d", "configuredAtLaunch": true}], "...": true}"#,
        ),
        (
            r#""requiresCompatibilities": [], "taskRoleArn": "", "#,
            "",
            r#"{"compatibilities": ["EXTERNAL", "EC2"], "...": true}"#,
        ),
    ];
    for (task, container, expected) in cases {
        Wharf::new().check(
            &format!(
                r#"RegisterTaskDefinition {{{task}"family": "web",
                    "containerDefinitions": [{{"name": "a", "image": "b", "memory": 64{container}}}]}}"#
            ),
            &format!(r#"{{"taskDefinition": {expected}}}"#),
        );
    }
}

/// The attributes that a definition requires, without their prefixes.
fn attributes(task: &str, container: &str) -> Vec<String> {
    let image = if container.contains(r#""image""#) { "" } else { r#", "image": "b""# };
    let reply = Wharf::new()
        .call(&format!(
            r#"RegisterTaskDefinition {{{task}"family": "web", "containerDefinitions":
                [{{"name": "a"{image}, "memory": 64{container}}},
                 {{"name": "z", "image": "b", "memory": 64, "essential": false}}]}}"#
        ))
        .expect("a registration");
    let all = reply["taskDefinition"]["requiresAttributes"].as_array().expect("a list").clone();
    all.iter()
        .map(|a| a["name"].as_str().expect("a name"))
        .map(|name| {
            name.trim_start_matches("com.amazonaws.").trim_start_matches("ecs.capability.").to_owned()
        })
        .filter(|name| name != "docker-remote-api.1.18")
        .collect()
}

#[test]
fn what_the_instance_must_be_able_to_do() {
    let role = r#""executionRoleArn": "arn:aws:iam::123456789012:role/exec", "#;
    let logs = r#", "logConfiguration": {"logDriver": "awslogs", "options":
        {"awslogs-group": "g", "awslogs-region": "us-east-1"}}"#;
    let ecr = r#", "image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/web:1""#;
    let cases: Vec<(&str, &str, &[&str])> = vec![
        ("", "", &[]),
        ("", logs, &["docker-remote-api.1.19", "logging-driver.awslogs"]),
        (role, logs, &["docker-remote-api.1.19", "logging-driver.awslogs", "execution-role-awslogs"]),
        ("", ecr, &["ecr-auth"]),
        (role, ecr, &["ecr-auth", "execution-role-ecr-pull"]),
        ("", r#", "image": "localhost:4566/web""#, &["ecr-auth"]),
        (
            r#""taskRoleArn": "arn:aws:iam::123456789012:role/app", "#,
            "",
            &["docker-remote-api.1.17", "task-iam-role"],
        ),
        (
            r#""taskRoleArn": "app", "networkMode": "host", "#,
            "",
            &["docker-remote-api.1.17", "task-iam-role-network-host"],
        ),
        (r#""networkMode": "awsvpc", "#, "", &["task-eni"]),
        (r#""cpu": "16 vCPU", "#, "", &["increased-task-cpu-limit"]),
        (r#""pidMode": "task", "#, "", &["pid-ipc-namespace-sharing"]),
        (r#""enableFaultInjection": true, "#, "", &["fault-injection"]),
        ("", r#", "privileged": true"#, &["privileged-container"]),
        ("", r#", "memoryReservation": 32"#, &["docker-remote-api.1.21"]),
        ("", r#", "linuxParameters": {"initProcessEnabled": true}"#, &["docker-remote-api.1.25"]),
        (
            "",
            r#", "dockerSecurityOptions": ["apparmor:unconfined", "label:type:svirt"]"#,
            &["apparmor", "selinux"],
        ),
        (
            "",
            r#", "healthCheck": {"command": ["true"], "startPeriod": 10}"#,
            &["docker-remote-api.1.24", "docker-remote-api.1.29", "container-health-check"],
        ),
        ("", r#", "dependsOn": [{"containerName": "z", "condition": "START"}]"#, &["container-ordering"]),
    ];
    for (task, container, expected) in cases {
        assert_eq!(attributes(task, container), expected, "{task} {container}");
    }
}

#[test]
fn what_the_agent_must_be_able_to_do() {
    let role = r#""executionRoleArn": "arn:aws:iam::123456789012:role/exec", "#;
    let cases: Vec<(&str, &str, &[&str])> = vec![
        ("", r#", "stopTimeout": 5"#, &["container-ordering"]),
        ("", r#", "restartPolicy": {"enabled": true}"#, &["container-restart-policy"]),
        (
            role,
            r#", "secrets": [{"name": "A", "valueFrom": "arn:aws:secretsmanager:us-east-1:123456789012:secret:a"},
                {"name": "B", "valueFrom": "/b"}]"#,
            &["secrets.asm.environment-variables", "secrets.ssm.environment-variables"],
        ),
        (
            "",
            r#", "logConfiguration": {"logDriver": "splunk", "options": {"splunk-url": "u"},
                "secretOptions": [{"name": "splunk-token", "valueFrom": "t"}]}"#,
            &["docker-remote-api.1.22", "logging-driver.splunk", "secrets.ssm.bootstrap.log-driver"],
        ),
        (
            "",
            r#", "repositoryCredentials":
                {"credentialsParameter": "arn:aws:secretsmanager:us-east-1:123456789012:secret:a"}"#,
            &["private-registry-authentication.secretsmanager"],
        ),
        ("", r#", "environmentFiles": [{"type": "s3", "value": "arn:aws:s3:::b/a.env"}]"#, &["env-files.s3"]),
        (
            "",
            r#", "firelensConfiguration": {"type": "fluentbit", "options": {"config-file-type": "s3"}}"#,
            &["firelens.fluentbit", "firelens.options.config.s3"],
        ),
        ("", r#", "portMappings": [{"containerPortRange": "1-2"}]"#, &["network.container-port-range"]),
        (
            r#""volumes": [{"name": "a", "dockerVolumeConfiguration": {"driver": "rexray"}}], "#,
            "",
            &["docker-plugin.rexray"],
        ),
        (
            r#""volumes": [{"name": "a", "efsVolumeConfiguration":
                {"fileSystemId": "fs-1", "authorizationConfig": {"iam": "DISABLED"}}}], "#,
            "",
            &["docker-remote-api.1.25", "efs", "efsAuth"],
        ),
        (
            r#""volumes": [{"name": "a", "configuredAtLaunch": true}], "#,
            "",
            &["storage.ebs-task-volume-attach"],
        ),
        (
            r#""networkMode": "awsvpc", "proxyConfiguration": {"containerName": "z", "properties": [
                {"name": "IgnoredUID", "value": "1"}, {"name": "AppPorts", "value": "80"},
                {"name": "ProxyIngressPort", "value": "1"}, {"name": "ProxyEgressPort", "value": "2"}]}, "#,
            "",
            &["aws-appmesh", "task-eni"],
        ),
    ];
    for (task, container, expected) in cases {
        assert_eq!(attributes(task, container), expected, "{task} {container}");
    }
}

#[test]
fn where_a_definition_could_run() {
    let fargate = r#""networkMode": "awsvpc", "cpu": "256", "memory": "512", "#;
    let cases = [
        ("", r#"["EXTERNAL", "EC2"]"#),
        (r#""networkMode": "host", "#, r#"["EXTERNAL", "EC2", "MANAGED_INSTANCES"]"#),
        (r#""networkMode": "awsvpc", "#, r#"["EC2", "MANAGED_INSTANCES"]"#),
        (fargate, r#"["EC2", "FARGATE", "MANAGED_INSTANCES"]"#),
        (r#""volumes": [{"name": "a", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}], "#, r#"["EC2"]"#),
    ];
    for (task, expected) in cases {
        Wharf::new().check(
            &format!(
                r#"RegisterTaskDefinition {{{task}"family": "web",
                    "containerDefinitions": [{{"name": "a", "image": "b", "memory": 64}}]}}"#
            ),
            &format!(r#"{{"taskDefinition": {{"compatibilities": {expected}, "...": true}}}}"#),
        );
    }
}

#[test]
fn references() {
    let mut wharf = Wharf::new();
    register(&mut wharf, "web");
    register(&mut wharf, "web");
    let shows = |revision: u32| format!(r#"{{"taskDefinition": {{"revision": {revision}, "...": true}}}}"#);
    let unknown = "ClientException: Unable to describe task definition.".to_owned();
    let cases = [
        ("web".to_owned(), shows(2)),
        ("web:1".to_owned(), shows(1)),
        (format!("{ARN}web:1"), shows(1)),
        (format!("{ARN}web"), shows(2)),
        ("web:3".to_owned(), unknown.clone()),
        ("none".to_owned(), unknown.clone()),
        ("".to_owned(), unknown),
        ("web:x".to_owned(), "ClientException: Invalid revision number. Number: x".to_owned()),
        ("web:-1".to_owned(), "ClientException: Invalid revision number. Number: -1".to_owned()),
        (
            "arn:aws:ecs:eu-west-1:123456789012:task-definition/web:1".to_owned(),
            "ClientException: The specified task definition ARN \
             'arn:aws:ecs:eu-west-1:123456789012:task-definition/web:1' is of another account or Region."
                .to_owned(),
        ),
    ];
    for (reference, expected) in cases {
        wharf.check(&format!(r#"DescribeTaskDefinition {{"taskDefinition": "{reference}"}}"#), &expected);
    }
}

#[test]
fn deregistered_revisions_stay_and_their_numbers_are_spent() {
    let mut wharf = deregistered();
    wharf.check(
        r#"DescribeTaskDefinition {"taskDefinition": "web:1"}"#,
        r#"{"taskDefinition": {"status": "INACTIVE", "deregisteredAt": 1700000000, "...": true}}"#,
    );
    wharf.check(
        r#"DescribeTaskDefinition {"taskDefinition": "web"}"#,
        "ClientException: Unable to describe task definition.",
    );
    wharf.check("ListTaskDefinitions {}", r#"{"taskDefinitionArns": []}"#);
    wharf.check(
        r#"ListTaskDefinitions {"status": "INACTIVE"}"#,
        &format!(r#"{{"taskDefinitionArns": ["{ARN}web:1"]}}"#),
    );
    for (status, expected) in [("ACTIVE", "[]"), ("INACTIVE", r#"["web"]"#), ("ALL", r#"["web"]"#)] {
        wharf.check(
            &format!(r#"ListTaskDefinitionFamilies {{"status": "{status}"}}"#),
            &format!(r#"{{"families": {expected}}}"#),
        );
    }
    let cases = [
        ("web", "ClientException: Revision is missing."),
        ("web:1", "ClientException: TaskDefinition is inactive"),
        ("web:9", "ClientException: The specified task definition does not exist."),
    ];
    for (reference, expected) in cases {
        wharf.check(&format!(r#"DeregisterTaskDefinition {{"taskDefinition": "{reference}"}}"#), expected);
    }
    register(&mut wharf, "web");
    wharf.check(
        r#"DescribeTaskDefinition {"taskDefinition": "web"}"#,
        r#"{"taskDefinition": {"revision": 2, "...": true}}"#,
    );
    wharf.check(r#"ListTaskDefinitionFamilies {"status": "INACTIVE"}"#, r#"{"families": []}"#);
    wharf.check(r#"ListTaskDefinitionFamilies {"familyPrefix": "we"}"#, r#"{"families": ["web"]}"#);
    wharf.check(r#"ListTaskDefinitionFamilies {"familyPrefix": "x"}"#, r#"{"families": []}"#);
    // The filter of ListTaskDefinitions is the whole family, whatever its name says.
    wharf.check(r#"ListTaskDefinitions {"familyPrefix": "we"}"#, r#"{"taskDefinitionArns": []}"#);
}

#[test]
fn a_deleted_revision_goes_when_nothing_needs_it() {
    let mut wharf = deregistered();
    wharf.check(
        r#"DeleteTaskDefinitions {"taskDefinitions": ["web:1"]}"#,
        r#"{"failures": [], "taskDefinitions":
            [{"status": "DELETE_IN_PROGRESS", "deleteRequestedAt": 1700000000, "...": true}]}"#,
    );
    wharf.check(
        r#"ListTaskDefinitions {"status": "DELETE_IN_PROGRESS"}"#,
        &format!(r#"{{"taskDefinitionArns": ["{ARN}web:1"]}}"#),
    );
    // Again is no failure, and delays nothing.
    wharf.pass(Duration::from_secs(30));
    wharf.check(
        r#"DeleteTaskDefinitions {"taskDefinitions": ["web:1"]}"#,
        r#"{"failures": [], "taskDefinitions": [{"deleteRequestedAt": 1700000000, "...": true}]}"#,
    );
    wharf.pass(Duration::from_secs(30));
    wharf.check(
        r#"DescribeTaskDefinition {"taskDefinition": "web:1"}"#,
        "ClientException: Unable to describe task definition.",
    );
    wharf.check("ListTaskDefinitionFamilies {}", r#"{"families": []}"#);
    register(&mut wharf, "web");
    wharf.check("ListTaskDefinitions {}", &format!(r#"{{"taskDefinitionArns": ["{ARN}web:2"]}}"#));
}

#[test]
fn a_running_task_keeps_its_deleted_definition() {
    let mut wharf = deregistered();
    wharf.restart_with(vec![task(1, "default", ("web", 1), TaskStatus::Running)]);
    wharf.check(r#"DeleteTaskDefinitions {"taskDefinitions": ["web:1"]}"#, r#"{"...": true}"#);
    wharf.pass(Duration::from_secs(7200));
    let describe = r#"DescribeTaskDefinition {"taskDefinition": "web:1"}"#;
    wharf.check(describe, r#"{"taskDefinition": {"status": "DELETE_IN_PROGRESS", "...": true}}"#);
    wharf.restart_with(vec![task(1, "default", ("web", 1), TaskStatus::Stopped)]);
    wharf.pass(Duration::from_millis(1));
    wharf.check(describe, "ClientException: Unable to describe task definition.");
    assert_eq!(wharf.state().next_deadline(), None);
}

#[test]
fn what_cannot_be_deleted() {
    let mut wharf = deregistered();
    register(&mut wharf, "web");
    wharf.check(
        r#"DeleteTaskDefinitions {"taskDefinitions": ["web:2", "web:7", "web", "web:x"]}"#,
        &format!(
            r#"{{"taskDefinitions": [], "failures": [
                {{"arn": "{ARN}web:2", "reason": "The specified task definition is still in ACTIVE status. Please deregister the target and try again."}},
                {{"arn": "{ARN}web:7", "reason": "MISSING"}},
                {{"arn": "web", "reason": "The specified task definition identifier is invalid. Specify a valid name or ARN and try again."}},
                {{"arn": "web:x", "reason": "The specified task definition identifier is invalid. Specify a valid name or ARN and try again."}}]}}"#
        ),
    );
    wharf.check(
        r#"DeleteTaskDefinitions {"taskDefinitions": []}"#,
        "InvalidParameterException: size of TaskDefinition references list must be greater than 0",
    );
    let eleven = [r#""web:1""#; 11].join(",");
    wharf.check(
        &format!(r#"DeleteTaskDefinitions {{"taskDefinitions": [{eleven}]}}"#),
        "InvalidParameterException: Size of TaskDefinition references list cannot exceed 10",
    );
}

#[test]
fn only_an_active_definition_makes_new_tasks() {
    let mut wharf = deregistered();
    wharf.check("CreateCluster {}", r#"{"...": true}"#);
    let inactive = "ClientException: TaskDefinition is inactive";
    let unknown = "ClientException: TaskDefinition not found.";
    let run = |reference: &str| format!(r#"RunTask {{"taskDefinition": "{reference}"}}"#);
    wharf.check(&run("web:1"), inactive);
    wharf.check(&run(&format!("{ARN}web:1")), inactive);
    wharf.check(&run("web"), unknown);
    wharf.check(&run("web:2"), unknown);
    wharf.check(&run("none"), unknown);
    wharf.check(&run("web:one"), "ClientException: Invalid revision number. Number: one");
    wharf.check(r#"DeleteTaskDefinitions {"taskDefinitions": ["web:1"]}"#, r#"{"...": true}"#);
    wharf.check(&run("web:1"), inactive);
}

/// Deployment tools read a definition, change an image and register what they read.
#[test]
fn a_definition_registered_as_it_was_described_is_the_same() {
    let bridge = r#"{"family": "web", "volumes": [{"name": "v"}, {"name": "d", "dockerVolumeConfiguration": {}}],
        "placementConstraints": [{"type": "memberOf", "expression": "attribute:a exists"}], "cpu": ".5 vCPU",
        "containerDefinitions": [
            {"name": "a", "image": "b", "memory": 64, "links": ["z"], "dependsOn":
                [{"containerName": "z", "condition": "HEALTHY"}], "mountPoints":
                [{"sourceVolume": "v", "containerPath": "/v"}], "portMappings":
                [{"containerPort": 80, "name": "web", "appProtocol": "http"}, {"containerPortRange": "90-99"}]},
            {"name": "z", "image": "b", "memoryReservation": 64, "healthCheck": {"command": ["true"]},
                "restartPolicy": {"enabled": true}, "ulimits": [{"name": "nofile", "softLimit": 1, "hardLimit": 2}]}]}"#;
    let fargate = r#"{"family": "web", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "1 vCPU",
        "memory": "2 GB", "executionRoleArn": "arn:aws:iam::123456789012:role/exec", "taskRoleArn": "app",
        "ephemeralStorage": {"sizeInGiB": 30}, "runtimePlatform": {"cpuArchitecture": "ARM64"}, "containerDefinitions":
            [{"name": "a", "image": "b", "portMappings": [{"containerPort": 80}], "secrets":
                [{"name": "A", "valueFrom": "/a"}], "logConfiguration": {"logDriver": "awslogs", "options":
                {"awslogs-group": "g", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "p"}}}]}"#;
    for body in [bridge, fargate] {
        let mut wharf = Wharf::new();
        let mut first = wharf.call(&format!("RegisterTaskDefinition {body}")).expect("a definition");
        let described =
            wharf.call(r#"DescribeTaskDefinition {"taskDefinition": "web"}"#).expect("the definition");
        assert_eq!(first, described);
        let again = wharf
            .call(&format!("RegisterTaskDefinition {}", described["taskDefinition"]))
            .expect("the definition again");
        first["taskDefinition"]["revision"] = 2.into();
        first["taskDefinition"]["taskDefinitionArn"] = format!("{ARN}web:2").into();
        assert_eq!(first, again);
    }
}
