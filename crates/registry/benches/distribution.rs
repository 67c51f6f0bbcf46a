//! Push and pull against Debian's `docker-registry`, both in one run, in turns: `cargo bench -p registry`.
//!
//! Each round starts both servers on empty directories and lets the same client push 1 GiB in five layers, pull it,
//! read one manifest from 32 connections, and push small blobs. It prints speed, CPU of the server process, and its
//! largest resident memory. Needs `apt-get install docker-registry`.

#![allow(clippy::print_stdout, reason = "the figures are the output")]

#[path = "../tests/it/catalog.rs"]
#[allow(dead_code, reason = "the tests look deeper into it")]
mod catalog;

use anyhow::{Context, Result, bail, ensure};
use catalog::MemoryCatalog;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use image::build::{BuiltImage, Content, Format, Layer, Run};
use image::{Credentials, Digest, Hasher, Hosts, Platform, Pusher, Reference};
use registry::{BlobStore, Registry, Settings, StoreSettings};
use std::convert::Infallible;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const LAYERS: usize = 5;
/// The registry's memory stays below this, whatever is pushed.
const MEMORY_MAX_MIB: f64 = 40.0;
const TINY_BLOBS: usize = 300;
const MANIFEST_CLIENTS: usize = 32;
const MANIFEST_TIME: Duration = Duration::from_secs(2);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, role, dir] = arguments.as_slice()
        && role == "--server"
    {
        return serve(Path::new(dir));
    }
    let number =
        |name: &str, default: usize| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default);
    let (mebibytes, rounds) = (number("MEBIBYTES", 1024), number("ROUNDS", 3));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let work = tempfile::tempdir_in(std::env::var("BENCH_DIR").unwrap_or_else(|_| "/tmp".to_owned()))?;
    let image = noise_image(work.path(), mebibytes)?;
    let mut results: [Vec<Figures>; 2] = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        for turn in 0..2 {
            // Whoever is first has the emptier disk queue: take turns.
            let peer = (round + turn) % 2;
            let dir = work.path().join(format!("data-{round}-{peer}"));
            fs::create_dir(&dir)?;
            let server = if peer == 0 { Server::ours(&dir)? } else { Server::distribution(&dir)? };
            results[peer].push(runtime.block_on(measure(&server, &image))?);
            drop(server);
            fs::remove_dir_all(&dir)?;
        }
    }
    println!(
        "{mebibytes} MiB in {LAYERS} layers, {rounds} rounds, median (min-max); CPU is the server's, per GiB"
    );
    for (name, figures) in ["wharf", "docker-registry"].iter().zip(&results) {
        report(name, figures, mebibytes);
    }
    let peak = results[0].iter().map(|f| f.push_peak_mib.max(f.pull_peak_mib)).fold(0.0, f64::max);
    ensure!(peak < MEMORY_MAX_MIB, "memory grew to {peak} MiB, more than {MEMORY_MAX_MIB}");
    Ok(())
}

#[derive(Clone, Copy)]
struct Figures {
    push_s: f64,
    push_cpu_s: f64,
    push_peak_mib: f64,
    pull_s: f64,
    pull_cpu_s: f64,
    pull_peak_mib: f64,
    manifests_per_s: f64,
    manifest_cpu_us: f64,
    tiny_per_s: f64,
    tiny_cpu_us: f64,
}

#[expect(clippy::cast_precision_loss, reason = "sizes of a benchmark")]
fn report(name: &str, figures: &[Figures], mebibytes: usize) {
    let size = mebibytes as f64;
    let print = |what: &str, unit: &str, value: &dyn Fn(&Figures) -> f64| {
        let mut values: Vec<f64> = figures.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        let (low, middle, high) = (values[0], values[values.len() / 2], values[values.len() - 1]);
        println!("{name:16} {what:24} {middle:9.2} ({low:.2}-{high:.2}) {unit}");
    };
    print("push", "MiB/s", &|f| size / f.push_s);
    print("push CPU", "CPU-s/GiB", &|f| f.push_cpu_s * 1024.0 / size);
    print("push peak RSS", "MiB", &|f| f.push_peak_mib);
    print("pull", "MiB/s", &|f| size / f.pull_s);
    print("pull CPU", "CPU-s/GiB", &|f| f.pull_cpu_s * 1024.0 / size);
    print("pull peak RSS", "MiB", &|f| f.pull_peak_mib);
    print("manifest GET, 32 clients", "/s", &|f| f.manifests_per_s);
    print("manifest GET CPU", "us", &|f| f.manifest_cpu_us);
    print("tiny blob pushes", "/s", &|f| f.tiny_per_s);
    print("tiny blob push CPU", "us", &|f| f.tiny_cpu_us);
}

/// An image of incompressible layers in files.
fn noise_image(dir: &Path, mebibytes: usize) -> Result<BuiltImage> {
    let mut rng = stdx::Rng::new(1);
    let mut layers = Vec::new();
    for number in 0..LAYERS {
        let path = dir.join(format!("layer-{number}"));
        let mut file = File::create(&path)?;
        let mut hasher = Hasher::new();
        let share = mebibytes * (number + 1) / LAYERS - mebibytes * number / LAYERS;
        for _ in 0..share {
            let block: Vec<u8> = (0..1 << 17).flat_map(|_| rng.next_u64().to_le_bytes()).collect();
            file.write_all(&block)?;
            hasher.update(&block);
        }
        let size = hasher.length();
        let digest = hasher.finish();
        layers.push(Layer { diff_id: digest, digest, size, content: Content::File(path) });
    }
    rustix::fs::sync();
    Ok(BuiltImage::new(Format::Docker, Platform::host(), &Run::default(), layers)?)
}

async fn measure(server: &Server, image: &BuiltImage) -> Result<Figures> {
    let reference = Reference::parse(&format!("127.0.0.1:{}/demo:v1", server.port))?;
    let credentials = server.credentials();
    let push = server.watch()?;
    Pusher::new(Hosts::default()).push(image, &reference, &credentials).await?;
    let push = push.end()?;
    let pull = server.watch()?;
    for blob in &image.blobs {
        let path = format!("/v2/demo/blobs/{}", blob.descriptor.digest);
        ensure!(server.get(&path).await? == blob.descriptor.size, "a blob came back short");
    }
    let pull = pull.end()?;
    let (manifests_per_s, manifest_cpu_us) = manifests(server).await?;
    let (tiny_per_s, tiny_cpu_us) = tiny(server).await?;
    Ok(Figures {
        push_s: push.wall,
        push_cpu_s: push.cpu,
        push_peak_mib: push.peak_mib,
        pull_s: pull.wall,
        pull_cpu_s: pull.cpu,
        pull_peak_mib: pull.peak_mib,
        manifests_per_s,
        manifest_cpu_us,
        tiny_per_s,
        tiny_cpu_us,
    })
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]
async fn manifests(server: &Server) -> Result<(f64, f64)> {
    let watch = server.watch()?;
    let end = Instant::now() + MANIFEST_TIME;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..MANIFEST_CLIENTS {
        let (port, authorization) = (server.port, server.authorization);
        clients.spawn(async move {
            let mut client = RawClient::connect(port, authorization).await?;
            let mut count = 0;
            while Instant::now() < end {
                client.request("GET", "/v2/demo/manifests/v1", b"").await?;
                count += 1;
            }
            Ok::<usize, anyhow::Error>(count)
        });
    }
    let mut total = 0;
    while let Some(client) = clients.join_next().await {
        total += client??;
    }
    let used = watch.end()?;
    Ok((total as f64 / used.wall, used.cpu * 1e6 / total as f64))
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]
async fn tiny(server: &Server) -> Result<(f64, f64)> {
    let watch = server.watch()?;
    let mut client = RawClient::connect(server.port, server.authorization).await?;
    for number in 0..TINY_BLOBS {
        let content = format!("tiny {number}");
        let (_, head) = client.request("POST", "/v2/demo/blobs/uploads/", b"").await?;
        let location =
            head.lines().find_map(|line| line.strip_prefix("location: ")).context("no Location")?;
        let path = location.strip_prefix(&format!("http://127.0.0.1:{}", server.port)).unwrap_or(location);
        let joint = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{joint}digest={}", Digest::of(content.as_bytes()));
        client.request("PUT", &path, content.as_bytes()).await?;
    }
    let used = watch.end()?;
    Ok((TINY_BLOBS as f64 / used.wall, used.cpu * 1e6 / TINY_BLOBS as f64))
}

/// A client that costs next to nothing.
struct RawClient {
    stream: tokio::io::BufReader<TcpStream>,
    authorization: &'static str,
    buffer: Vec<u8>,
}

impl RawClient {
    async fn connect(port: u16, authorization: &'static str) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: tokio::io::BufReader::new(stream), authorization, buffer: vec![0; 256 << 10] })
    }

    /// Answers the body's length and the head, header names in lower case.
    async fn request(&mut self, method: &str, path: &str, body: &[u8]) -> Result<(u64, String)> {
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: {}\r\n{}Content-Length: {}\r\n\r\n",
            image::media_type::DOCKER_MANIFEST,
            self.authorization,
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        self.stream.get_mut().write_all(&request).await?;
        let mut head = String::new();
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).await?;
            let (name, value) = line.trim_end().split_once(": ").unwrap_or((line.trim_end(), ""));
            let name = name.to_ascii_lowercase();
            if name == "content-length" {
                length = value.parse()?;
            }
            head.push_str(&format!("{name}: {value}\n"));
            if line == "\r\n" {
                break;
            }
        }
        ensure!(head.starts_with("http/1.1 2"), "{method} {path}: {head}");
        let mut left = length;
        while left > 0 {
            let want = self.buffer.len().min(usize::try_from(left)?);
            let count = self.stream.read(&mut self.buffer[..want]).await?;
            ensure!(count > 0, "the body ended early");
            left -= count as u64;
        }
        Ok((length, head))
    }
}

/// A server process under measurement.
struct Server {
    process: Child,
    port: u16,
    authorization: &'static str,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Server {
    fn ours(dir: &Path) -> Result<Self> {
        let mut process =
            Command::new(std::env::current_exe()?).arg("--server").arg(dir).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("no output")?).read_line(&mut line)?;
        Ok(Self {
            process,
            port: line.trim().parse()?,
            authorization: "Authorization: Basic QVdTOnNlY3JldA==\r\n",
        })
    }

    fn distribution(dir: &Path) -> Result<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = dir.join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: '127.0.0.1:{port}'}}\n",
            dir.join("registry").display()
        );
        fs::write(&config, text)?;
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("apt-get install docker-registry")?;
        let server = Self { process, port, authorization: "" };
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > deadline {
                bail!("docker-registry did not start");
            }
            std::thread::yield_now();
        }
        Ok(server)
    }

    fn credentials(&self) -> Credentials {
        if self.authorization.is_empty() {
            return Credentials::Anonymous;
        }
        Credentials::Basic { username: "AWS".to_owned(), password: catalog::PASSWORD.to_owned() }
    }

    async fn get(&self, path: &str) -> Result<u64> {
        Ok(RawClient::connect(self.port, self.authorization).await?.request("GET", path, b"").await?.0)
    }

    fn watch(&self) -> Result<Watch> {
        let proc = PathBuf::from(format!("/proc/{}", self.process.id()));
        // Resets the peak of resident memory.
        fs::write(proc.join("clear_refs"), "5")?;
        Ok(Watch { cpu: cpu_seconds(&proc)?, proc, start: Instant::now() })
    }
}

struct Watch {
    proc: PathBuf,
    start: Instant,
    cpu: f64,
}

struct Used {
    wall: f64,
    cpu: f64,
    peak_mib: f64,
}

impl Watch {
    fn end(self) -> Result<Used> {
        let wall = self.start.elapsed().as_secs_f64();
        let status = fs::read_to_string(self.proc.join("status"))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
        let peak_mib = peak.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0;
        Ok(Used { wall, cpu: cpu_seconds(&self.proc)? - self.cpu, peak_mib })
    }
}

/// User and system time of a process, threads that have ended included.
fn cpu_seconds(proc: &Path) -> Result<f64> {
    let stat = fs::read_to_string(proc.join("stat"))?;
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    Ok(ticks / 100.0)
}

fn serve(dir: &Path) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let store = BlobStore::open(dir, StoreSettings::default())?;
        let registry = Registry::new(store, MemoryCatalog::new(&["demo"]), Settings::default());
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?.port());
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let registry = registry.clone();
            tokio::spawn(async move {
                let service = service_fn(|request| {
                    let registry = registry.clone();
                    async move { Ok::<_, Infallible>(registry.handle(request).await) }
                });
                drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
            });
        }
    })
}
