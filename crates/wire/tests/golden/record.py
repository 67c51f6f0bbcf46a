#!/usr/bin/env python3
"""Records the requests of AWS clients: a socket server on loopback that keeps the bytes of each request in a file.

Usage: record.py DIRECTORY boto3|sigv4|cli COMMAND...
  boto3            the calls below, with the boto3 of this interpreter
  sigv4            signatures of botocore for requests with odd paths, queries, bodies and credentials
  cli NAME PROGRAM the commands below, with an `aws` program; files are named NAME-*
"""
import os
import re
import socket
import subprocess
import sys
import threading

KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
TOKEN = "FwoGZXIvYXdzEXAMPLE//////////wEaDEXAMPLE+token=="


class Recorder(threading.Thread):
    """Answers every request with an empty reply and keeps its bytes."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.requests = []

    def run(self):
        while True:
            connection, _ = self.listener.accept()
            with connection:
                self.serve(connection)

    def serve(self, connection):
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        if headers.get(b"expect") == b"100-continue":
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        while len(body) < int(headers.get(b"content-length", b"0")):
            body += connection.recv(65536)
        self.requests.append(head + b"\r\n\r\n" + body)
        kind, reply = b"application/x-amz-json-1.1", b"{}"
        if b"x-amz-target" not in headers:
            action = dict(pair.split(b"=", 1) for pair in body.split(b"&"))[b"Action"]
            kind, reply = b"text/xml", b"<%sResponse><%sResult/></%sResponse>" % (action, action, action)
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: " + kind
                           + b"\r\nContent-Length: " + str(len(reply)).encode() + b"\r\n\r\n" + reply)


def keep(directory, name, request):
    # The kernel of the recording machine is of no interest; the header is not signed.
    request = re.sub(rb"(os/linux#|Linux/)[^ ]+", rb"\g<1>6.1", request)
    with open(os.path.join(directory, name + ".http"), "wb") as file:
        file.write(request)
    print(name, len(request))


TASK_DEFINITION = {
    "family": "web",
    "networkMode": "awsvpc",
    "requiresCompatibilities": ["FARGATE"],
    "cpu": "256",
    "memory": "512",
    "containerDefinitions": [{
        "name": "web",
        "image": "public.ecr.aws/nginx/nginx:latest",
        "essential": True,
        "portMappings": [{"containerPort": 80, "protocol": "tcp"}],
        "environment": [{"name": "GREETING", "value": "Grüße, \"Welt\" \\ 😀\n"}],
        "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "/web", "awslogs-region": "us-east-1"}},
        "healthCheck": {"command": ["CMD-SHELL", "curl -f http://localhost/ || exit 1"], "interval": 30},
    }],
    "tags": [{"key": "team", "value": "blue"}],
}
RUN_TASK = {
    "cluster": "default",
    "taskDefinition": "web:3",
    "count": 2,
    "launchType": "FARGATE",
    "clientToken": "b0c5ca3e-6cf1-4f56-a9a5-1d6f4c9a0a01",
    "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-0a1b2c3d4e5f60718"], "assignPublicIp": "ENABLED"}},
    "overrides": {"containerOverrides": [{"name": "web", "environment": [{"name": "STAGE", "value": "prod"}]}]},
}
BOTO3 = [
    ("ecs", "register_task_definition", TASK_DEFINITION),
    ("ecs", "run_task", RUN_TASK),
    ("ecs", "describe_tasks", {"cluster": "default", "tasks": ["0123456789abcdef0123456789abcdef"], "include": ["TAGS"]}),
    ("ecs", "list_clusters", {}),
    ("ecr", "create_repository", {"repositoryName": "team/web", "imageTagMutability": "IMMUTABLE",
                                  "imageScanningConfiguration": {"scanOnPush": True}}),
    ("ecr", "upload_layer_part", {"repositoryName": "team/web", "uploadId": "0e7d8f5e-8a3a-4b0e-8b62-8b6d21e2f1aa", "partFirstByte": 0, "partLastByte": 3,
                                  "layerPartBlob": b"\x00\x01\xfe\xff"}),
    ("logs", "put_log_events", {"logGroupName": "/web", "logStreamName": "web/1",
                                "logEvents": [{"timestamp": 1700000000123, "message": "hello"}]}),
    ("logs", "create_log_group", {"logGroupName": "/web", "tags": {"team": "blue"}}),
    ("sts", "get_caller_identity", {}),
    ("sts", "assume_role", {"RoleArn": "arn:aws:iam::123456789012:role/deploy", "RoleSessionName": "ci",
                            "DurationSeconds": 900, "Tags": [{"Key": "team", "Value": "blue & green"}, {"Key": "a", "Value": ""}],
                            "TransitiveTagKeys": ["team"]}),
]
CLI = [
    "ecs list-clusters",
    "ecs run-task --cluster default --task-definition web:3 --count 2 --launch-type FARGATE "
    "--started-by tests",
    "ecs describe-tasks --cluster default --tasks 0123456789abcdef0123456789abcdef",
    "ecs update-service --cluster default --service web --desired-count 3 --force-new-deployment",
    "ecr get-authorization-token",
    "logs describe-log-groups --log-group-name-prefix /web --limit 5",
    "sts get-caller-identity",
]


def record_boto3(directory, recorder):
    import boto3
    for service, operation, parameters in BOTO3:
        client = boto3.client(service, region_name="us-east-1", endpoint_url=f"http://127.0.0.1:{recorder.port}",
                              aws_access_key_id=KEY, aws_secret_access_key=SECRET,
                              aws_session_token=TOKEN if service == "sts" else None)
        getattr(client, operation)(**parameters)
        keep(directory, f"boto3-{service}-{operation.replace('_', '-')}", recorder.requests[-1])


def record_cli(directory, recorder, name, program):
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "AWS_ACCESS_KEY_ID": KEY,
                   "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1",
                   "AWS_EC2_METADATA_DISABLED": "true", "LC_ALL": "C.UTF-8"}
    for command in CLI:
        words = command.split()
        before = len(recorder.requests)
        subprocess.run([program, "--endpoint-url", f"http://127.0.0.1:{recorder.port}", *words], env=environment,
                       stdout=subprocess.DEVNULL, check=False)
        if len(recorder.requests) > before:
            keep(directory, f"{name}-{words[0]}-{words[1]}", recorder.requests[-1])


def record_sigv4(directory):
    """Signs without sending. The files have the form of a sent request; the host names no real one."""
    import botocore.auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials
    cases = [
        ("get", "GET", "/", b"", None),
        ("post-body", "POST", "/", b'{"a":1}', None),
        ("token", "POST", "/", b"x", TOKEN),
        ("query-order", "GET", "/?b=2&a=2&a=1&c=&d", b"", None),
        ("query-escapes", "GET", "/?a%20b=c%2Fd&e=%C3%A9&f=~-._", b"", None),
        ("path-escapes", "GET", "/service/a%20b/%C3%A9/x~y", b"", None),
        ("path-dots", "GET", "/a/./b/../c//d/", b"", None),
        ("websocket", "GET", "/ws?agentHash=a%2Bb&agentVersion=1.105.1&clusterArn=default&containerInstanceArn="
         "arn%3Aaws%3Aecs%3Aus-east-1%3A123456789012%3Acontainer-instance%2Fdefault%2F0123&seqNum=1", b"", TOKEN),
    ]
    for name, method, target, body, token in cases:
        credentials = Credentials(KEY, SECRET, token)
        for form, signer in [
            ("header", botocore.auth.SigV4Auth(credentials, "ecs", "us-east-1")),
            ("query", botocore.auth.SigV4QueryAuth(credentials, "ecs", "us-east-1", expires=600)),
        ]:
            if form == "query" and method == "POST":
                continue
            request = AWSRequest(method=method, url="http://ecs.test:8080" + target, data=body)
            request.headers["X-Odd"] = "  two   spaces "
            signer.add_auth(request)
            path = request.url.split("ecs.test:8080", 1)[1]
            headers = "".join(f"{key}: {value}\r\n" for key, value in request.headers.items())
            text = f"{method} {path} HTTP/1.1\r\nHost: ecs.test:8080\r\n{headers}\r\n".encode() + body
            keep(directory, f"{form}-{name}", text)


def main():
    directory, what = sys.argv[1:3]
    if what == "sigv4":
        record_sigv4(directory)
        return
    recorder = Recorder()
    recorder.start()
    if what == "boto3":
        record_boto3(directory, recorder)
    else:
        record_cli(directory, recorder, *sys.argv[3:5])


main()
