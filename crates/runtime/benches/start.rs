//! From the call to the first instruction of the container's program, beside `runc run` and `crun run`, interleaved.
//!
//! Needs root and `runc` (and `crun`, if it should be compared too). Run it with `cargo bench -p runtime`.
//! The program is the same for all: it writes the monotonic clock to a file as the first thing it does. Ours gets a
//! bridge network with a published port; the others get what `runc run` gives, a new network namespace with nothing
//! in it, and a root file system that needs no overlay mount.

#![expect(clippy::print_stdout, reason = "a benchmark's report")]

#[path = "../tests/it/registry.rs"]
mod registry;

use image::Platform;
use image::build::{BuiltImage, Format, LayerWriter, Run};
use runtime::{Builtin, BuiltinConfig, ContainerSpec, Mount, NetworkMode, PortMapping, Protocol, Runtime};
use rustix::fd::AsFd;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use rustix::time::{ClockId, clock_gettime};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const ROUNDS: usize = 25;
/// Between rounds, so that pools are full again and the peers' remains are gone: the quiet case.
const PAUSE: Duration = Duration::from_millis(150);
const PROGRAM: &str = "bin/first";
const WAITER: &str = "bin/wait";
const BASE: u64 = 0x40_0000;
const CODE_AT: u64 = 120;

fn main() {
    let host = network::Network::isolate().expect("this benchmark needs root");
    move_into_link_name_space(host.netns.as_fd(), Some(LinkNameSpaceType::Network))
        .expect("enters a namespace");
    let dir = tempfile::tempdir().expect("temporary directory");
    let tokio =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("tokio");
    let out = dir.path().join("out");
    std::fs::create_dir(&out).expect("makes");
    let bundle = bundle(dir.path(), &out);
    // crun 1.8 refuses machines with hybrid cgroups, for one.
    let present = |peer: &&str| Command::new(peer).arg("--version").output().is_ok();
    let peers: Vec<&str> = ["runc", "crun"]
        .into_iter()
        .filter(present)
        .filter(|p| run_peer(p, &bundle, &out).is_some())
        .collect();
    assert!(peers.contains(&"runc"), "apt-get install runc");
    let ours = tokio.block_on(Ours::open(dir.path(), &out));
    let mut bridge = Vec::new();
    let mut host = Vec::new();
    let mut theirs = vec![Vec::new(); peers.len()];
    for round in 0..ROUNDS + 3 {
        let measured = [tokio.block_on(ours.measure(true)), tokio.block_on(ours.measure(false))];
        // The first rounds only warm up.
        if round >= 3 {
            bridge.push(measured[0]);
            host.push(measured[1]);
        }
        for (peer, times) in peers.iter().zip(&mut theirs) {
            let time = run_peer(peer, &bundle, &out).filter(|_| round >= 3);
            times.extend(time);
        }
    }
    let runc = theirs[0].clone();
    report("wharf, bridge and port", &bridge, &runc);
    report("wharf, host network", &host, &runc);
    for (peer, times) in peers.iter().zip(&theirs) {
        report(&format!("{peer} run, new netns"), times, &runc);
    }
    tokio.block_on(ours.burst(60, 4));
    tokio.block_on(ours.memory(50));
    tokio.block_on(ours.runtime.shutdown(false)).expect("shuts down");
}

fn report(name: &str, times: &[f64], runc: &[f64]) {
    let mut ratios: Vec<f64> = times.iter().zip(runc).map(|(a, b)| a / b).collect();
    let mut sorted = times.to_vec();
    for list in [&mut ratios, &mut sorted] {
        list.sort_by(f64::total_cmp);
    }
    println!(
        "{name:<24} median {:6.2} ms ({:.2}-{:.2}), {:.2} of runc in the same round",
        sorted[sorted.len() / 2],
        sorted[0],
        sorted[sorted.len() - 1],
        ratios[ratios.len() / 2]
    );
}

fn clock() -> f64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as f64 * 1e3 + now.tv_nsec as f64 / 1e6
}

/// What the program wrote: two 64-bit numbers, seconds and nanoseconds.
fn first_instruction(out: &Path) -> f64 {
    let path = out.join("t");
    loop {
        if let Ok(bytes) = std::fs::read(&path)
            && bytes.len() == 16
        {
            std::fs::remove_file(&path).expect("removes");
            let number =
                |at: usize| i64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes")) as f64;
            return number(0) * 1e3 + number(8) / 1e6;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

struct Ours {
    data: PathBuf,
    runtime: Builtin,
    image: String,
    out: PathBuf,
}

impl Ours {
    async fn open(dir: &Path, out: &Path) -> Self {
        let image = registry::serve(image());
        let mut config = BuiltinConfig::new(dir.join("data"));
        config.keeper = Some(env!("CARGO_BIN_EXE_wharf-keeper").into());
        let runtime = Builtin::open(config).expect("opens");
        runtime.pull(&image, None).await.expect("pulls");
        Self { data: dir.join("data"), runtime, image, out: out.to_owned() }
    }

    fn spec(&self, bridge: bool) -> ContainerSpec {
        let port = PortMapping {
            container_port: 80,
            host_port: 0,
            protocol: Protocol::Tcp,
            host_ip: Ipv4Addr::UNSPECIFIED,
        };
        ContainerSpec {
            image: self.image.clone(),
            mounts: vec![Mount { source: self.out.clone(), destination: "/out".into(), readonly: false }],
            network: if bridge { NetworkMode::Bridge { ports: vec![port] } } else { NetworkMode::Host },
            memory_mib: 128,
            cpu_shares: 128,
            ..ContainerSpec::default()
        }
    }

    async fn measure(&self, bridge: bool) -> f64 {
        tokio::time::sleep(PAUSE).await;
        let begin = clock();
        let id = self.runtime.create(self.spec(bridge)).await.expect("creates").runtime_id;
        let created = clock();
        self.runtime.start(&id).await.expect("starts");
        let started = clock();
        let first = first_instruction(&self.out);
        if std::env::var_os("WHARF_BENCH_STEPS").is_some() {
            println!(
                "create {:.2}, start answered {:.2}, first instruction {:.2}",
                created - begin,
                started - begin,
                first - begin
            );
        }
        self.runtime.remove(&id).await.expect("removes");
        first - begin
    }

    /// What the keeper and its workers cost beside containers that only wait.
    async fn memory(&self, containers: usize) {
        let settle = Duration::from_secs(1);
        tokio::time::sleep(settle).await;
        let before = keeper_kib(&self.data);
        let mut running = Vec::new();
        for _ in 0..containers {
            let spec = ContainerSpec { command: Some(vec![format!("/{WAITER}")]), ..self.spec(true) };
            let id = self.runtime.create(spec).await.expect("creates").runtime_id;
            self.runtime.start(&id).await.expect("starts");
            running.push(id);
        }
        tokio::time::sleep(settle).await;
        let after = keeper_kib(&self.data);
        println!("keeper and idle workers: {before} KiB; with {containers} containers: {after} KiB");
        for id in running {
            self.runtime.remove(&id).await.expect("removes");
        }
    }

    /// Starts a second, so many at once.
    async fn burst(&self, total: usize, at_once: usize) {
        tokio::time::sleep(PAUSE).await;
        let begin = clock();
        let mut running = Vec::new();
        for batch in 0..total / at_once {
            let starts: Vec<_> = (0..at_once)
                .map(|_| {
                    let (runtime, spec) = (self.runtime.clone(), self.spec(true));
                    tokio::spawn(async move {
                        let id = runtime.create(spec).await.expect("creates").runtime_id;
                        runtime.start(&id).await.expect("starts");
                        id
                    })
                })
                .collect();
            for start in starts {
                running.push(start.await.unwrap_or_else(|e| panic!("batch {batch}: {e}")));
            }
        }
        println!(
            "{total} containers with bridge and port, {at_once} at once: {:.0} starts a second",
            total as f64 * 1e3 / (clock() - begin)
        );
        for id in running {
            self.runtime.remove(&id).await.expect("removes");
        }
    }
}

/// Proportional set size of the keeper and its idle workers, in KiB.
fn keeper_kib(dir: &Path) -> u64 {
    let mut sum = 0;
    for process in std::fs::read_dir("/proc").expect("lists").flatten() {
        let arguments = std::fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
        if arguments.starts_with("wharf-keeper") && arguments.contains(&*dir.to_string_lossy()) {
            let rollup = std::fs::read_to_string(process.path().join("smaps_rollup")).unwrap_or_default();
            let pss = rollup
                .lines()
                .find_map(|line| line.strip_prefix("Pss:")?.split_whitespace().next()?.parse::<u64>().ok());
            sum += pss.unwrap_or(0);
        }
    }
    sum
}

fn image() -> BuiltImage {
    let mut layer = LayerWriter::in_memory();
    for directory in ["bin", "out"] {
        layer.directory(directory, 0o755).expect("adds");
    }
    layer.file(PROGRAM, &program(), 0o755).expect("adds");
    // mov eax, pause; syscall; jmp to the beginning
    layer.file(WAITER, &elf(&[0xb8, 34, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7]), 0o755).expect("adds");
    let run = Run { cmd: vec![format!("/{PROGRAM}")], ..Run::default() };
    BuiltImage::new(Format::Oci, Platform::host(), &run, vec![layer.finish().expect("finishes")])
        .expect("builds")
}

/// A whole static program of some 200 bytes: clock_gettime(MONOTONIC), open("/out/t"), write, exit.
fn program() -> Vec<u8> {
    let mut code: Vec<u8> = vec![
        0x48, 0x83, 0xec, 0x40, // sub rsp, 64
        0xbf, 1, 0, 0, 0, // mov edi, 1
        0x48, 0x89, 0xe6, // mov rsi, rsp
        0xb8, 228, 0, 0, 0, // mov eax, clock_gettime
        0x0f, 0x05, // syscall
        0xbf, 0, 0, 0, 0, // mov edi, path (patched below)
        0xbe, 0x41, 0, 0, 0, // mov esi, O_WRONLY | O_CREAT
        0xba, 0xa4, 1, 0, 0, // mov edx, 0644
        0xb8, 2, 0, 0, 0, // mov eax, open
        0x0f, 0x05, // syscall
        0x89, 0xc7, // mov edi, eax
        0x48, 0x89, 0xe6, // mov rsi, rsp
        0xba, 16, 0, 0, 0, // mov edx, 16
        0xb8, 1, 0, 0, 0, // mov eax, write
        0x0f, 0x05, // syscall
        0x31, 0xff, // xor edi, edi
        0xb8, 60, 0, 0, 0, // mov eax, exit
        0x0f, 0x05, // syscall
    ];
    let path = u32::try_from(BASE + CODE_AT + code.len() as u64).expect("small");
    code[20..24].copy_from_slice(&path.to_le_bytes());
    code.extend(b"/out/t\0");
    elf(&code)
}

/// The smallest executable around some code.
fn elf(code: &[u8]) -> Vec<u8> {
    let size = CODE_AT + code.len() as u64;
    let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    elf.extend([2, 0, 62, 0, 1, 0, 0, 0]); // executable, x86-64, version 1
    for word in [BASE + CODE_AT, 64, 0] {
        elf.extend(word.to_le_bytes()); // entry, program headers, section headers
    }
    elf.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    elf.extend([1, 0, 0, 0, 5, 0, 0, 0]); // loadable, readable and executable
    for word in [0, BASE, BASE, size, size, 4096] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(code);
    elf
}

/// The bundle of the peers: what `runc spec` writes, without a terminal, with our program and directory.
fn bundle(dir: &Path, out: &Path) -> PathBuf {
    let bundle = dir.join("bundle");
    for sub in ["bin", "out"] {
        std::fs::create_dir_all(bundle.join("rootfs").join(sub)).expect("makes");
    }
    let first = bundle.join("rootfs").join(PROGRAM);
    std::fs::write(&first, program()).expect("writes");
    std::fs::set_permissions(&first, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("permits");
    assert!(Command::new("runc").arg("spec").current_dir(&bundle).status().expect("runs").success());
    let text = std::fs::read_to_string(bundle.join("config.json")).expect("reads");
    let mut spec: serde_json::Value = serde_json::from_str(&text).expect("parses");
    spec["process"]["terminal"] = false.into();
    spec["process"]["args"] = serde_json::json!([format!("/{PROGRAM}")]);
    spec["root"]["readonly"] = false.into();
    let mounts = spec["mounts"].as_array_mut().expect("there");
    // crun 1.8 refuses to mount cgroups on hybrid machines; leaving them out is faster for the peers, not for us.
    mounts.retain(|m| m["type"] != "cgroup");
    mounts.push(
        serde_json::json!({"destination": "/out", "type": "bind", "source": out, "options": ["bind", "rw"]}),
    );
    std::fs::write(bundle.join("config.json"), spec.to_string()).expect("writes");
    bundle
}

fn run_peer(peer: &str, bundle: &Path, out: &Path) -> Option<f64> {
    std::thread::sleep(PAUSE);
    let begin = clock();
    let mut command = Command::new(peer);
    command.args(["--root"]).arg(bundle.join("state")).args(["run", "--bundle"]).arg(bundle);
    let output = command.arg("bench").stdin(Stdio::null()).output().expect("runs");
    if !output.status.success() {
        println!("{peer} cannot run here: {}", String::from_utf8_lossy(&output.stderr).trim());
        return None;
    }
    Some(first_instruction(out) - begin)
}
