//! A whole session, from an image to a task that has ended, with the clients that a user has.

use crate::clients::{aws, aws2, boto, docker, skopeo, success};
use crate::images::{FOREIGN, NATIVE, busybox, layout, push};
use crate::wharf::{Wharf, binary, builtin, eventually};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

const SERVER: &str = "echo serving; mkdir -p /tmp/www; echo greetings > /tmp/www/index.html; exec httpd -f -p 8080 -h /tmp/www";

#[test]
fn from_an_image_to_a_task_that_has_ended() {
    let _one = builtin();
    let directory = tempfile::tempdir().unwrap();
    let wharf = Wharf::start(&directory.path().join("data"), &[]);
    let image = busybox(&wharf, directory.path());
    let container = json!([{
        "name": "web", "image": image, "memory": 32, "command": ["/bin/busybox", "sh", "-c", SERVER.replace("mkdir", "busybox mkdir")],
        "portMappings": [{"containerPort": 8080}],
        "logConfiguration": {"logDriver": "awslogs", "options": {
            "awslogs-group": "/web", "awslogs-create-group": "true",
            "awslogs-region": "us-east-1", "awslogs-stream-prefix": "web"}}}]);
    let container = container.to_string();
    aws(
        &wharf,
        &["ecs", "register-task-definition", "--family", "web", "--container-definitions", &container],
    );
    boto(&wharf, "joined()");
    let run =
        ["ecs", "run-task", "--task-definition", "web", "--query", "tasks[0].taskArn", "--output", "text"];
    let task = aws(&wharf, &run);
    let task = task.trim_end();
    aws(&wharf, &["ecs", "wait", "tasks-running", "--tasks", task]);
    let described: Value =
        serde_json::from_str(&aws(&wharf, &["ecs", "describe-tasks", "--tasks", task, "--output", "json"]))
            .unwrap();
    let binding = &described["tasks"][0]["containers"][0]["networkBindings"][0];
    assert_eq!(binding["containerPort"], 8080, "{described}");
    let port = u16::try_from(binding["hostPort"].as_u64().unwrap()).unwrap();
    let answer = eventually("an answer", || fetch(port).filter(|answer| answer.contains("greetings")));
    assert!(answer.contains("200 OK"), "{answer}");
    logs_arrive(&wharf, task);
    aws(&wharf, &["ecs", "stop-task", "--task", task]);
    aws(&wharf, &["ecs", "wait", "tasks-stopped", "--tasks", task]);
    let query = [
        "ecs",
        "describe-tasks",
        "--tasks",
        task,
        "--output",
        "text",
        "--query",
        "tasks[0].[stopCode,stoppedReason]",
    ];
    assert_eq!(aws(&wharf, &query).trim_end(), "UserInitiated\tTask stopped by user");
    assert!(fetch(port).is_none(), "the port still answers");
    assert!(wharf.stop().success());
}

/// The line that the container wrote, in CloudWatch Logs by both CLIs and in the local log.
fn logs_arrive(wharf: &Wharf, task: &str) {
    eventually("the log event", || {
        let filter = [
            "logs",
            "filter-log-events",
            "--log-group-name",
            "/web",
            "--query",
            "events[].message",
            "--output",
            "text",
        ];
        (aws(wharf, &filter).trim_end() == "serving").then_some(())
    });
    let tail = aws2(wharf, &["logs", "tail", "/web"]).output().unwrap();
    assert!(success("aws logs tail", tail).contains("serving"));
    let mut follower = aws2(wharf, &["logs", "tail", "/web", "--follow"])
        .env("PYTHONUNBUFFERED", "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(follower.stdout.take().unwrap()).read_line(&mut line).unwrap();
    follower.kill().unwrap();
    follower.wait().unwrap();
    assert!(line.contains("serving"), "{line}");
    let local = Command::new(binary()).args(["logs", task, "--data"]).arg(&wharf.data).output().unwrap();
    assert!(success("wharf logs", local).contains("serving"));
}

fn fetch(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn docker_pushes_and_pulls() {
    let directory = tempfile::tempdir().unwrap();
    let wharf = Wharf::start(&directory.path().join("data"), &["--runtime", "simulated"]);
    aws(&wharf, &["ecr", "create-repository", "--repository-name", "team/web"]);
    let config = directory.path().join("docker");
    let config = config.to_str().unwrap();
    let password = aws(&wharf, &["ecr", "get-login-password"]);
    let registry = wharf.registry();
    docker(&["--config", config, "login", "--username", "AWS", "--password", password.trim_end(), &registry]);
    let archive = directory.path().join("root.tar");
    let archive = archive.to_str().unwrap();
    success("tar", Command::new("tar").args(["-chf", archive, "-C", "/", "bin/busybox"]).output().unwrap());
    let image = format!("{registry}/team/web:1");
    docker(&["import", "--change", "CMD [\"/bin/busybox\", \"true\"]", archive, &image]);
    let pushed = docker(&["--config", config, "push", &image]);
    let digest = pushed.split_whitespace().find(|word| word.starts_with("sha256:")).unwrap().to_owned();
    let described = aws(
        &wharf,
        &[
            "ecr",
            "describe-images",
            "--repository-name",
            "team/web",
            "--query",
            "imageDetails[0].imageDigest",
            "--output",
            "text",
        ],
    );
    assert_eq!(described.trim_end(), digest);
    docker(&["image", "rm", &image]);
    let by_digest = format!("{registry}/team/web@{digest}");
    docker(&["--config", config, "pull", &by_digest]);
    docker(&["image", "rm", &by_digest]);
    assert!(wharf.stop().success());
}

#[test]
fn skopeo_copies_every_kind_of_manifest() {
    let directory = tempfile::tempdir().unwrap();
    let wharf = Wharf::start(&directory.path().join("data"), &["--runtime", "simulated"]);
    let image = busybox(&wharf, directory.path());
    let single = directory.path().join("busybox");
    push(&wharf, &single, "web:v2s2", &["--format", "v2s2"]);
    let both = directory.path().join("both");
    layout(&both, &[NATIVE, FOREIGN]);
    push(&wharf, &both, "web:index", &["--all"]);
    let details = boto(
        &wharf,
        r#"
details = ecr.describe_images(repositoryName="web")["imageDetails"]
print(json.dumps({tag: d["imageManifestMediaType"] for d in details for tag in d.get("imageTags", [])}))
"#,
    );
    assert_eq!(
        details,
        json!({
            "oci": "application/vnd.oci.image.manifest.v1+json",
            "v2s2": "application/vnd.docker.distribution.manifest.v2+json",
            "index": "application/vnd.oci.image.index.v1+json",
        })
    );
    let password = aws(&wharf, &["ecr", "get-login-password"]);
    let login = format!("AWS:{}", password.trim_end());
    let copy = format!("oci:{}", directory.path().join("copy").display());
    skopeo(&["copy", "--src-tls-verify=false", "--src-creds", &login, &format!("docker://{image}"), &copy]);
    assert!(wharf.stop().success());
}
