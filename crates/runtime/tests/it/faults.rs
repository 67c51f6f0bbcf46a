//! What happens when parts die, and what stays behind when nothing does.

use crate::machine::{PATIENCE, bridge, on_a_machine, until};
use runtime::{ContainerEvent, PortMapping, Protocol, Runtime};
use std::net::Ipv4Addr;
use std::path::PathBuf;

fn keeper_pid(dir: &std::path::Path) -> String {
    let found = std::fs::read_dir("/proc").expect("lists").flatten().find(|process| {
        let arguments = std::fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
        let status = std::fs::read_to_string(process.path().join("status")).unwrap_or_default();
        // Workers have the keeper as their parent; the keeper itself is its session's leader.
        let pid = process.file_name().to_string_lossy().into_owned();
        arguments.starts_with("wharf-keeper")
            && arguments.contains(&*dir.to_string_lossy())
            && status.lines().any(|l| l == format!("NSsid:\t{pid}"))
    });
    found.expect("a keeper runs").file_name().to_string_lossy().into_owned()
}

#[test]
fn containers_die_with_their_keeper_and_a_new_one_takes_over() {
    on_a_machine(|machine| async {
        let port = PortMapping {
            container_port: 80,
            host_port: 0,
            protocol: Protocol::Tcp,
            host_ip: Ipv4Addr::UNSPECIFIED,
        };
        let mut spec = machine.script("exec sleep 1000");
        spec.network = bridge(vec![port]);
        let mut events = machine.runtime.events();
        let (id, started) = machine.start(spec).await;
        let pid = keeper_pid(machine.dir.path());
        let killed = std::process::Command::new("kill").args(["-9", &pid]).status().expect("runs");
        assert!(killed.success());
        let ContainerEvent::Exited { runtime_id, exit } =
            tokio::time::timeout(PATIENCE, events.recv()).await.expect("in time").expect("an event");
        assert_eq!((runtime_id, exit.exit_code), (id, 137));
        until("the process is gone", || !PathBuf::from(format!("/proc/{}", started.pid)).exists()).await;
        assert_eq!(machine.runtime.published_ports().expect("counts"), 0);
        let mut attempt = machine.runtime.create(machine.script("exit 4")).await;
        while attempt.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            attempt = machine.runtime.create(machine.script("exit 4")).await;
        }
        let (exit, _) = machine.run(machine.script("exit 4")).await;
        assert_eq!(exit.exit_code, 4);
        machine
    });
}

#[test]
fn a_driver_that_loses_its_connection_finds_everything_as_it_was() {
    on_a_machine(|machine| async {
        let (id, started) = machine.start(machine.script("exec sleep 1000")).await;
        let mut events = machine.runtime.events();
        let socket = rustix::net::socket_with(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::SEQPACKET,
            rustix::net::SocketFlags::CLOEXEC,
            None,
        )
        .expect("a socket");
        let address =
            rustix::net::SocketAddrUnix::new(machine.dir.path().join("keeper.sock")).expect("short");
        // The keeper listens to the newest connection only.
        rustix::net::connect(&socket, &address).expect("connects");
        drop(socket);
        let mut attempt = machine.runtime.create(machine.script("exit 4")).await;
        let deadline = std::time::Instant::now() + PATIENCE;
        while attempt.is_err() && std::time::Instant::now() < deadline {
            attempt = machine.runtime.create(machine.script("exit 4")).await;
        }
        attempt.expect("connected again");
        let states = machine.runtime.list().await.expect("lists");
        let state = states.iter().find(|s| s.runtime_id == id).expect("still known");
        assert_eq!(state.status, runtime::ContainerStatus::Running(started));
        assert!(events.try_recv().is_err(), "nothing ended");
        machine
    });
}

/// Links, mounts, namespaces and groups of this machine that are ours.
fn counts(machine: &crate::machine::Machine) -> Vec<(&'static str, usize)> {
    let lines = |path: &str, what: &str| {
        std::fs::read_to_string(path).expect("reads").lines().filter(|l| l.contains(what)).count()
    };
    let dir = machine.dir.path().to_string_lossy().into_owned();
    let groups = std::fs::read_dir("/sys/fs/cgroup").expect("lists").flatten();
    let parent = machine.runtime.cgroup_parent();
    let groups = groups.filter_map(|h| std::fs::read_dir(h.path().join(parent)).ok()).flatten().count();
    vec![
        ("links", lines("/proc/self/net/dev", ":")),
        ("mounts", lines("/proc/self/mountinfo", &dir)),
        ("published ports", machine.runtime.published_ports().expect("counts")),
        (
            "container directories",
            std::fs::read_dir(machine.dir.path().join("containers")).expect("lists").count(),
        ),
        ("cgroups", groups),
    ]
}

#[test]
fn fifty_containers_leave_nothing_behind() {
    on_a_machine(|machine| async {
        let port = PortMapping {
            container_port: 80,
            host_port: 0,
            protocol: Protocol::Tcp,
            host_ip: Ipv4Addr::UNSPECIFIED,
        };
        let settled = async || {
            // Pools fill and namespaces go away at their own pace.
            let mut last = counts(&machine);
            let mut same = 0;
            until("steady counts", || {
                let now = counts(&machine);
                same = if now == last { same + 1 } else { 0 };
                last = now;
                same > 100
            })
            .await;
            last
        };
        let before = settled().await;
        let starts: Vec<_> = (0..50)
            .map(|n| {
                let mut spec = machine.script(if n % 2 == 0 { "exec sleep 1000" } else { "exit 0" });
                spec.network = bridge(vec![port]);
                let runtime = machine.runtime.clone();
                tokio::spawn(async move {
                    let id = runtime.create(spec).await.expect("creates").runtime_id;
                    runtime.start(&id).await.expect("starts");
                    id
                })
            })
            .collect();
        let mut ids = Vec::new();
        for start in starts {
            ids.push(start.await.expect("does not panic"));
        }
        for id in &ids {
            machine.runtime.remove(id).await.expect("removes");
        }
        let mut after = Vec::new();
        let deadline = std::time::Instant::now() + PATIENCE;
        while after != before {
            assert!(std::time::Instant::now() < deadline, "{after:?} now, {before:?} before");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            after = counts(&machine);
        }
        machine
    });
}
