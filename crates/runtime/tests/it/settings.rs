//! The smaller settings of a container, each as seen from inside.

use crate::machine::{on_a_machine, until};
use runtime::{Device, Mount, Runtime, Tmpfs, Ulimit};

#[test]
fn limits_are_set_and_visible() {
    on_a_machine(|machine| async {
        let mut spec = machine.script("ulimit -n; ulimit -Hn; cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max; true");
        spec.memory_mib = 64;
        spec.ulimits = vec![Ulimit { name: "nofile".to_owned(), soft: 1000, hard: 2000 }];
        let (_, text) = machine.run(spec).await;
        for line in ["1000", "2000", "67108864"] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        }
        machine
    });
}

#[test]
fn file_systems_are_as_asked() {
    on_a_machine(|machine| async {
        let shared = machine.dir.path().join("volume");
        let mut spec = machine.script(
            "touch /x && echo root-writable; touch /fast/x && echo tmpfs-writable; touch /ro/x && echo ro-writable; \
             touch /rw/made; grep -E ' (/fast|/dev/shm) ' /proc/mounts; ls -l /dev/console /dev/mine; true",
        );
        spec.readonly_rootfs = true;
        spec.tmpfs =
            vec![Tmpfs { destination: "/fast".into(), size_mib: 3, options: vec!["exec".to_owned()] }];
        spec.shm_size_mib = 5;
        let mount = |destination: &str, readonly| Mount {
            source: shared.clone(),
            destination: destination.into(),
            readonly,
        };
        spec.mounts = vec![mount("/ro", true), mount("/rw", false)];
        spec.devices = vec![Device {
            host_path: "/dev/null".into(),
            container_path: "/dev/mine".into(),
            permissions: "rw".to_owned(),
        }];
        let (_, text) = machine.run(spec).await;
        assert!(!text.contains("root-writable") && !text.contains("ro-writable"), "{text}");
        assert!(text.contains("tmpfs-writable") && text.contains("/dev/mine"), "{text}");
        let options =
            |path: &str| text.lines().find(|l| l.contains(&format!(" {path} "))).unwrap_or_default();
        assert!(options("/fast").contains("size=3072k") && !options("/fast").contains("noexec"), "{text}");
        assert!(options("/dev/shm").contains("size=5120k"), "{text}");
        assert!(shared.join("made").exists());
        machine
    });
}

#[test]
fn names_and_kernel_settings() {
    on_a_machine(|machine| async {
        let mut spec = machine
            .script("cat /etc/hosts /etc/resolv.conf /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax");
        spec.network = crate::machine::bridge(Vec::new());
        spec.extra_hosts = vec![("database".to_owned(), [10, 1, 2, 3].into())];
        spec.dns_servers = vec![[192, 0, 2, 53].into()];
        spec.dns_search = vec!["example.test".to_owned()];
        spec.sysctls = vec![
            ("net.ipv4.ip_forward".to_owned(), "1".to_owned()),
            ("kernel.msgmax".to_owned(), "4711".to_owned()),
        ];
        let (_, text) = machine.run(spec).await;
        for line in ["10.1.2.3\tdatabase", "nameserver 192.0.2.53", "search example.test", "1", "4711"] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        }
        machine
    });
}

#[test]
fn an_init_reaps_and_forwards() {
    on_a_machine(|machine| async {
        let mut spec = machine.script(
            "trap 'echo told; exit 9' TERM; cat /proc/1/comm; ls -l /proc/1/exe; (sleep 0.05 & ) ; sleep 0.3; \
             grep -l Z /proc/*/stat; echo ready; while :; do sleep 0.01; done",
        );
        spec.init = true;
        let (id, _) = machine.start(spec).await;
        machine.wait_for_output(&id, "ready").await;
        let exit = machine.runtime.stop(&id, crate::machine::PATIENCE).await.expect("stops");
        let text = machine.output(&id);
        assert_eq!(exit.exit_code, 9, "{text}");
        assert!(text.contains("told") && !text.contains(" -> /"), "our own binary is out of reach:\n{text}");
        machine
    });
}

#[test]
fn a_loud_container_does_not_fill_the_disk() {
    on_a_machine(|machine| async {
        let dir = machine.dir.clone();
        // Ten times the bound of this test's machine.
        let (id, _) = machine
            .start(machine.script("head -c 4000000 /dev/zero | tr '\\0' 'x' | fold -w 100; echo end"))
            .await;
        machine.wait_for_output(&id, "end").await;
        let container = dir.path().join("containers").join(&id);
        let size = || -> u64 {
            let logs = std::fs::read_dir(&container).expect("lists").flatten();
            logs.filter(|e| e.file_name().to_string_lossy().starts_with("log"))
                .map(|e| e.metadata().map_or(0, |m| m.len()))
                .sum()
        };
        until("the bound", || size() <= 2 * crate::machine::LOG_FILE_BYTES + (64 << 10)).await;
        machine
    });
}
