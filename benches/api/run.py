#!/usr/bin/env python3
"""Requests per second of a real `wharf up` with simulated agents: signed requests over loopback, the generator on the same cores.

usage: benches/api/run.py WHARF_BINARY   (needs boto3 and wrk: pip install boto3, apt-get install wrk)

wrk replays signed requests: the signature of one body is good for five minutes. Changes are durable before they are answered.
"""

import json, os, re, selectors, socket, statistics, subprocess, sys, tempfile, time, urllib.request

import botocore.auth, botocore.awsrequest, botocore.credentials

ROUNDS, SECONDS = 5, 3


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Wharf:
    def __init__(self, binary):
        self.data = tempfile.mkdtemp(prefix="wharf-bench-")
        self.url = f"http://127.0.0.1:{free_port()}"
        ready = os.path.join(self.data, "ready")
        self.environment = dict(os.environ, WHARF_ROOT_ACCESS_KEY_ID="AKIABENCHBENCHBENCHB", WHARF_ROOT_SECRET_ACCESS_KEY="bench")
        start = time.monotonic()
        self.process = subprocess.Popen(
            [binary, "up", "--data", self.data, "--listen", self.url[7:], "--runtime", "simulated", "--ready-file", ready],
            env=dict(self.environment, WHARF_LOG="error"))
        while not os.path.exists(ready):
            time.sleep(0.001)
        self.start_ms = (time.monotonic() - start) * 1000

    def signed(self, target, body):
        body = json.dumps(body).encode()
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "AmazonEC2ContainerServiceV20141113." + target}
        request = botocore.awsrequest.AWSRequest("POST", self.url + "/", headers=headers, data=body)
        key = botocore.credentials.Credentials("AKIABENCHBENCHBENCHB", "bench")
        botocore.auth.SigV4Auth(key, "ecs", "us-east-1").add_auth(request)
        return dict(request.headers), body

    def call(self, target, body):
        headers, body = self.signed(target, body)
        with urllib.request.urlopen(urllib.request.Request(self.url + "/", body, headers)) as reply:
            return json.load(reply)

    def cpu_seconds(self):
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mib(self):
        text = open(f"/proc/{self.process.pid}/smaps_rollup").read()
        return int(re.search(r"^Rss: +(\d+)", text, re.M)[1]) / 1024

    def load(self, target, body, clients):
        headers, body = self.signed(target, body)
        script = os.path.join(self.data, "wrk.lua")
        with open(script, "w") as out:
            out.write('wrk.method = "POST"\nwrk.body = [[' + body.decode() + "]]\n")
            for name, value in headers.items():
                out.write(f'wrk.headers["{name}"] = [[{value}]]\n')
        before = self.cpu_seconds()
        printed = subprocess.run(["wrk", "-t1", f"-c{clients}", f"-d{SECONDS}s", "--latency", "-s", script, self.url + "/"],
                                 capture_output=True, text=True, check=True).stdout
        count = int(re.search(r"(\d+) requests in", printed)[1])
        if "Non-2xx" in printed:
            sys.exit(printed)
        return {"rate": float(re.search(r"Requests/sec: +([\d.]+)", printed)[1]),
                "cpu_us": (self.cpu_seconds() - before) / count * 1e6,
                "p99": re.search(r"99% +(\S+)", printed)[1]}


    def fill(self, clients):
        """RunTask until this machine's memory is full: calls per second, each of which started a task durably."""
        headers, body = self.signed("RunTask", {"taskDefinition": "b"})
        lines = ["POST / HTTP/1.1", f"host: {self.url[7:]}", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        request = ("\r\n".join(lines) + "\r\n\r\n").encode() + body
        selector, started, start = selectors.DefaultSelector(), 0, time.monotonic()
        for _ in range(clients):
            connection = socket.create_connection(("127.0.0.1", int(self.url.rsplit(":", 1)[1])))
            connection.sendall(request)
            selector.register(connection, selectors.EVENT_READ, bytearray())
        before = self.cpu_seconds()
        while True:
            for key, _ in selector.select():
                key.data.extend(key.fileobj.recv(65536))
                head, _, rest = bytes(key.data).partition(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head)
                if not length or len(rest) < int(length[1]):
                    continue
                if b'"failures":[]' not in rest:
                    seconds = time.monotonic() - start
                    return {"rate": started / seconds, "cpu_us": (self.cpu_seconds() - before) / started * 1e6, "tasks": started}
                started += 1
                key.data.clear()
                key.fileobj.sendall(request)

    def stop(self):
        self.process.terminate()
        self.process.wait()


def main():
    fills = []
    for _ in range(ROUNDS):
        wharf = Wharf(sys.argv[1])
        time.sleep(1)
        wharf.call("RegisterTaskDefinition", {"family": "b", "containerDefinitions": [{"name": "a", "image": "x", "memory": 6, "cpu": 0}]})
        fills.append(wharf.fill(16))
        wharf.stop()
    rates = [f["rate"] for f in fills]
    print(f"RunTask of a task that is placed, durable, 16 clients (one Python generator): {statistics.median(rates):,.0f}/s "
          f"({min(rates):,.0f}-{max(rates):,.0f}), {fills[0]['tasks']} tasks a round, server CPU {statistics.median(f['cpu_us'] for f in fills):.0f} us "
          "with the agent's part")
    wharf = Wharf(sys.argv[1])
    time.sleep(2)
    print(f"exec to ready: {wharf.start_ms:.0f} ms; idle memory of control plane and agent in one process: {wharf.memory_mib():.1f} MiB")
    wharf.call("RegisterTaskDefinition", {"family": "b", "containerDefinitions": [{"name": "a", "image": "x", "memory": 6, "cpu": 0}]})
    task = wharf.call("RunTask", {"taskDefinition": "b"})["tasks"][0]["taskArn"]
    cases = [("ListClusters", {}, 16), ("DescribeTasks", {"tasks": [task]}, 16), ("DescribeTasks", {"tasks": [task]}, 1),
             ("RegisterTaskDefinition", {"family": "c", "containerDefinitions": [{"name": "a", "image": "x", "memory": 6}]}, 16)]
    for target, body, clients in cases:
        rounds = [wharf.load(target, body, clients) for _ in range(ROUNDS)]
        rates = [r["rate"] for r in rounds]
        print(f"{target}, {clients} clients: {statistics.median(rates):,.0f}/s ({min(rates):,.0f}-{max(rates):,.0f}), "
              f"server CPU {statistics.median(r['cpu_us'] for r in rounds):.0f} us, p99 {rounds[ROUNDS // 2]['p99']}")
    print(f"memory afterwards: {wharf.memory_mib():.1f} MiB")
    wharf.stop()


main()
