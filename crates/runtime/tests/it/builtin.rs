//! What a container is, what it may do, and what becomes of it.

use crate::machine::{Machine, PATIENCE, bridge, on_a_machine, until};
use runtime::{ContainerStatus, ErrorKind, Mount, NetworkMode, PortMapping, Protocol, Runtime};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

#[test]
fn a_container_runs_with_the_images_and_the_tasks_settings() {
    on_a_machine(|machine| async {
        let mut spec = machine.script("echo out; echo err >&2; env; pwd; id; hostname; exit 7");
        spec.env = vec![("MINE".to_owned(), "a b".to_owned())];
        spec.working_dir = Some("/made/for/me".to_owned());
        spec.user = Some("web".to_owned());
        spec.hostname = Some("tester".to_owned());
        let (exit, text) = machine.run(spec).await;
        assert_eq!((exit.exit_code, exit.oom_killed), (7, false), "{text}");
        let wanted = ["out", "err", "MINE=a b", "FROM_IMAGE=yes", "HOME=/www", "/made/for/me", "tester"];
        for line in wanted.into_iter().chain(["uid=1000(web) gid=1001(web) groups=1002(extra)"]) {
            assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        }
        machine
    });
}

#[test]
fn a_container_is_confined_like_dockers() {
    on_a_machine(|machine| async {
        let (_, text) = machine
            .run(machine.script(
                "grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status; mount -t tmpfs x /tmp && echo mounted; \
                 unshare -m true && echo unshared; cat /proc/kcore | head -c1; echo 1 > /proc/sys/kernel/panic && echo wrote; \
                 touch /sys/x && echo sysfs; mknod /dev/disk b 254 0 && head -c1 /dev/disk && echo disk; true",
            ))
            .await;
        for line in [
            "CapInh:\t0000000000000000",
            "CapPrm:\t00000000a80425fb",
            "CapEff:\t00000000a80425fb",
            "CapBnd:\t00000000a80425fb",
            "CapAmb:\t0000000000000000",
            "NoNewPrivs:\t0",
            "Seccomp:\t2",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        for escape in ["mounted", "unshared", "wrote", "sysfs", "disk\n"] {
            assert!(!text.contains(escape), "{escape}:\n{text}");
        }
        machine
    });
}

#[test]
fn nothing_of_the_host_is_open_in_a_container() {
    on_a_machine(|machine| async {
        for (init, pid) in [(false, 1), (true, 2)] {
            let mut spec = machine.script(&format!("ls -l /proc/{pid}/fd; cat /proc/self/mountinfo"));
            spec.init = init;
            let (_, text) = machine.run(spec).await;
            let open: Vec<_> = text.lines().filter(|l| l.contains(" -> ")).collect();
            assert_eq!(open.len(), 3, "standard input, output and error:\n{text}");
            assert!(!text.contains("/sys/fs/cgroup/systemd"), "{text}");
        }
        machine
    });
}

#[test]
fn another_user_has_no_capabilities_and_privileged_has_all() {
    on_a_machine(|machine| async {
        let status = "grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status";
        let mut spec = machine.script(status);
        spec.user = Some("1000".to_owned());
        spec.security_options = vec!["no-new-privileges".to_owned()];
        let (_, text) = machine.run(spec).await;
        let wanted = ["CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapBnd:\t00000000a80425fb"];
        for line in wanted.into_iter().chain(["NoNewPrivs:\t1", "Seccomp:\t2"]) {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        let mut spec = machine.script(status);
        spec.privileged = true;
        let (_, text) = machine.run(spec).await;
        assert!(text.contains("Seccomp:\t0") && !text.contains("CapEff:\t00000000a80425fb"), "{text}");
        machine
    });
}

#[test]
fn a_published_port_answers_and_is_free_again_at_the_end() {
    on_a_machine(|machine| async {
        let mut spec = machine.script("exec /bin/httpd -f -p 80 -h /www");
        let port = PortMapping {
            container_port: 80,
            host_port: 0,
            protocol: Protocol::Tcp,
            host_ip: Ipv4Addr::UNSPECIFIED,
        };
        spec.network = bridge(vec![port]);
        let (id, started) = machine.start(spec.clone()).await;
        let binding = started.network_bindings[0];
        assert!((32_768..=60_999).contains(&binding.host_port) && started.ip.is_some(), "{started:?}");
        let answer = fetch(binding.host_port).await;
        assert!(answer.ends_with("hello from the container\n"), "{answer}");
        let stats = machine.runtime.stats(&id).await.expect("stats");
        assert!(
            stats.network.expect("on the bridge").rx_bytes > 0 && stats.memory_bytes > 0 && stats.cpu_ns > 0
        );

        // The same port again: the error names it.
        let mut second = spec.clone();
        second.network = bridge(vec![PortMapping { host_port: binding.host_port, ..port }]);
        let error = machine.runtime.create(second.clone()).await.expect_err("taken").to_string();
        assert!(error.starts_with("ContainerNetworkingError: host port"), "{error}");
        assert!(error.contains(&binding.host_port.to_string()), "{error}");

        let exit = machine.runtime.stop(&id, Duration::from_millis(10)).await.expect("stops");
        assert_eq!(machine.runtime.published_ports().expect("counts"), 0);
        let (again, _) = machine.start(second).await;
        fetch(binding.host_port).await;
        for id in [id, again] {
            machine.runtime.remove(&id).await.expect("removes");
        }
        assert!(!exit.oom_killed);
        machine
    });
}

async fn fetch(port: u16) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let result = TcpStream::connect(("127.0.0.1", port)).and_then(|mut stream| {
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        });
        match result {
            Ok(answer) if !answer.is_empty() => return answer,
            other => assert!(Instant::now() < deadline, "{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn stopping_asks_first_and_kills_after_the_timeout() {
    on_a_machine(|machine| async {
        let (polite, _) = machine
            .start(machine.script("trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done"))
            .await;
        machine.wait_for_output(&polite, "ready").await;
        assert_eq!(machine.runtime.stop(&polite, PATIENCE).await.expect("stops").exit_code, 3);
        assert_eq!(machine.runtime.stop(&polite, PATIENCE).await.expect("told again").exit_code, 3);
        let (deaf, _) = machine.start(machine.script("trap '' TERM; while :; do sleep 1; done")).await;
        let exit = machine.runtime.stop(&deaf, Duration::from_millis(50)).await.expect("kills");
        assert_eq!((exit.exit_code, exit.oom_killed), (137, false));
        let created = machine.runtime.create(machine.script("true")).await.expect("creates").runtime_id;
        let exit = machine.runtime.stop(&created, PATIENCE).await.expect("stops");
        assert_eq!(exit.exit_code, 0);
        let states = machine.runtime.list().await.expect("lists");
        let state = states.iter().find(|s| s.runtime_id == created).expect("still known");
        assert_eq!(state.status, ContainerStatus::Exited { started: None, exit });
        machine
    });
}

#[test]
fn a_memory_hog_is_reported_as_killed_for_memory() {
    on_a_machine(|machine| async {
        let mut spec = machine.script("exec dd if=/dev/zero of=/dev/null bs=200M count=1");
        spec.memory_mib = 16;
        let (exit, text) = machine.run(spec).await;
        assert_eq!((exit.exit_code, exit.oom_killed), (137, true), "{text}");
        machine
    });
}

#[test]
fn what_cannot_run_says_why() {
    on_a_machine(|machine| async {
        let mut spec = machine.script("");
        spec.command = Some(vec!["no-such-program".to_owned()]);
        let id = machine.runtime.create(spec).await.expect("creates").runtime_id;
        let error = machine.runtime.start(&id).await.expect_err("cannot run");
        assert_eq!(
            error.to_string(),
            "CannotStartContainerError: exec: \"no-such-program\": executable file not found in $PATH"
        );
        let mut spec = machine.script("true");
        spec.user = Some("nobody-here".to_owned());
        let error = machine.runtime.create(spec).await.expect_err("no such user");
        assert_eq!(error.kind, ErrorKind::CannotCreateContainer);
        assert!(error.message.contains("unable to find user nobody-here"), "{error}");
        let mut spec = machine.script("true");
        spec.image = "127.0.0.1:1/none:1".to_owned();
        let error = machine.runtime.create(spec).await.expect_err("no image").to_string();
        assert!(error.contains("no such image: 127.0.0.1:1/none:1"), "{error}");
        let error = machine.runtime.start("0123").await.expect_err("unknown");
        assert_eq!(error.kind, ErrorKind::NoSuchContainer);
        machine
    });
}

#[test]
fn containers_outlive_a_driver_that_is_killed() {
    on_a_machine(|machine| async {
        let mut spec = machine.script("echo up; exec /bin/httpd -f -p 80 -h /www");
        let port = PortMapping {
            container_port: 80,
            host_port: 0,
            protocol: Protocol::Tcp,
            host_ip: Ipv4Addr::UNSPECIFIED,
        };
        spec.network = bridge(vec![port]);
        spec.labels = vec![("task".to_owned(), "one".to_owned())];
        let (running, started) = machine.start(spec).await;
        let mut waiting = machine.script("while [ ! -e /shared/go ]; do sleep 0.01; done; exit 5");
        let shared = machine.dir.path().join("shared");
        waiting.mounts =
            vec![Mount { source: shared.clone(), destination: "/shared".into(), readonly: true }];
        let (ending, _) = machine.start(waiting).await;
        let Machine { dir, image, runtime } = machine;
        // Nothing is told to the keeper: for it this is the same as a driver killed by SIGKILL.
        drop(runtime);
        std::fs::write(shared.join("go"), "").expect("writes");
        until("the exit code on disk", || {
            dir.path().join("containers").join(&ending).join("exit.json").exists()
        })
        .await;

        let runtime = runtime::Builtin::open(crate::machine::config(dir.path())).expect("opens again");
        let machine = Machine { dir, image, runtime };
        let states = machine.runtime.list().await.expect("lists");
        let find = |id: &str| states.iter().find(|s| s.runtime_id == id).expect("still known");
        assert_eq!(find(&running).status, ContainerStatus::Running(started.clone()));
        assert_eq!(find(&running).spec.labels, [("task".to_owned(), "one".to_owned())]);
        let ContainerStatus::Exited { exit, .. } = &find(&ending).status else {
            panic!("{:?}", find(&ending))
        };
        assert_eq!(exit.exit_code, 5);
        fetch(started.network_bindings[0].host_port).await;
        // As process 1 without a handler it does not hear SIGTERM.
        let exit = machine.runtime.stop(&running, Duration::from_millis(10)).await.expect("stops");
        assert_eq!(exit.exit_code, 137);
        assert_eq!(machine.runtime.published_ports().expect("counts"), 0);
        machine
    });
}

#[test]
fn a_container_that_ended_runs_again_over_its_files() {
    on_a_machine(|machine| async {
        let (id, _) = machine.start(machine.script("echo run >> /count; cat /count; exit 1")).await;
        let wait = |n: usize| {
            let machine = &machine;
            let id = &id;
            async move { until("the output", || machine.output(id).lines().count() == n).await }
        };
        wait(1).await;
        assert_eq!(machine.runtime.stop(&id, PATIENCE).await.expect("ended").exit_code, 1);
        machine.runtime.start(&id).await.expect("starts again");
        wait(3).await;
        machine
    });
}

#[test]
fn a_restart_that_finds_its_port_taken_says_so_and_may_be_tried_again() {
    on_a_machine(|machine| async {
        let port = PortMapping {
            container_port: 80,
            host_port: 0,
            protocol: Protocol::Tcp,
            host_ip: Ipv4Addr::UNSPECIFIED,
        };
        let mut spec = machine.script("exec /bin/httpd -f -p 80 -h /www");
        spec.network = bridge(vec![port]);
        let (id, started) = machine.start(spec).await;
        let binding = started.network_bindings[0];
        machine.runtime.stop(&id, Duration::from_millis(10)).await.expect("stops");
        let thief = std::net::TcpListener::bind(("0.0.0.0", binding.host_port)).expect("free after the end");
        let error = machine.runtime.start(&id).await.expect_err("taken");
        assert_eq!(error.kind, ErrorKind::ContainerNetworking);
        assert!(error.message.contains(&format!("(pid {})", std::process::id())), "{error}");
        let states = machine.runtime.list().await.expect("lists");
        assert!(matches!(states[0].status, ContainerStatus::Exited { .. }), "{states:?}");
        drop(thief);
        let again = machine.runtime.start(&id).await.expect("starts again");
        assert_eq!(again.network_bindings, [binding]);
        fetch(binding.host_port).await;
        machine
    });
}

#[test]
fn the_hosts_network_is_the_hosts() {
    on_a_machine(|machine| async {
        let mut spec = machine.script("ls /sys/class/net; cat /etc/hostname");
        spec.network = NetworkMode::Host;
        let (exit, text) = machine.run(spec).await;
        assert_eq!(exit.exit_code, 0, "{text}");
        assert!(text.contains("wharf0"), "{text}");
        let (_, text) = machine
            .run(machine.script("ip link | grep -c UP; wget -T 1 -O - http://10.255.255.1/ && echo out"))
            .await;
        assert!(
            text.starts_with("1\n") && !text.contains("out"),
            "network mode none has loopback only:\n{text}"
        );
        machine
    });
}
