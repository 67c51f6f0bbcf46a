//! Our own puller against our own registry, and against registries that misbehave. Needs root, as unpacking does.

use crate::faulty::{Cutting, TokenServer};
use crate::server::{Server, credentials};
use image::build::{BuiltImage, BuiltIndex, Format, Layer, LayerWriter, Run};
use image::{
    ContentStore, Credentials, Error, HostRule, Hosts, Platform, Progress, Puller, Reference, StoredImage,
};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::sync::{Arc, Mutex};

pub fn layer(files: &[(&str, &str)]) -> Layer {
    let mut layer = LayerWriter::in_memory();
    for (path, content) in files {
        layer.file(path, content.as_bytes(), 0o644).unwrap();
    }
    layer.finish().unwrap()
}

pub fn image_of(layers: Vec<Layer>) -> BuiltImage {
    let run = Run {
        env: vec!["A=b".to_owned()],
        cmd: vec!["/bin/app".to_owned()],
        exposed_ports: vec!["80/tcp".to_owned()],
        ..Run::default()
    };
    BuiltImage::new(Format::Oci, Platform::host(), &run, layers).unwrap()
}

async fn push(server: &Server, name: &str, image: &BuiltImage) -> Reference {
    let reference = server.reference(name);
    server.pusher().push(image, &reference, &credentials()).await.unwrap();
    reference
}

/// Pulls and notes what happened.
async fn watched(puller: &Puller, reference: &Reference) -> (Result<StoredImage, Error>, Vec<Progress>) {
    let seen: Arc<Mutex<Vec<Progress>>> = Arc::default();
    let notes = Arc::clone(&seen);
    let pulled = puller.pull_watched(reference, &credentials(), move |p| notes.lock().unwrap().push(p)).await;
    let seen = seen.lock().unwrap().clone();
    (pulled, seen)
}

/// Incompressible bytes.
fn noise(length: usize) -> Vec<u8> {
    let mut rng = stdx::Rng::new(7);
    std::iter::repeat_with(|| rng.next_u64().to_le_bytes()[0]).take(length).collect()
}

fn noisy_image(length: usize) -> BuiltImage {
    let mut writer = LayerWriter::in_memory();
    writer.file("noise", &noise(length), 0o644).unwrap();
    image_of(vec![writer.finish().unwrap()])
}

#[track_caller]
fn assert_nothing_left(store: &ContentStore) {
    let root = store.layers_dir().parent().unwrap();
    assert_eq!(fs::read_dir(root.join("tmp")).unwrap().count(), 0);
    let layers = fs::read_dir(store.layers_dir()).unwrap();
    assert_eq!(layers.filter(|entry| entry.as_ref().unwrap().file_name() != "empty").count(), 0);
    assert_eq!(fs::read_dir(root.join("images")).unwrap().count(), 0);
}

#[tokio::test]
async fn layers_are_ready_for_overlayfs_topmost_first() {
    let server = Server::start(&["demo"]).await;
    let mut lower = LayerWriter::in_memory();
    lower.file("etc/old", b"old", 0o600).unwrap();
    lower.symlink("data", "/etc").unwrap();
    let upper = layer(&[("etc/.wh.old", ""), ("data/new", "new")]);
    let image = image_of(vec![lower.finish().unwrap(), upper]);
    let reference = push(&server, "demo:v1", &image).await;
    let dir = tempfile::tempdir().unwrap();
    let pulled = server.puller(dir.path()).pull(&reference, &credentials()).await.unwrap();
    let [top, bottom] = pulled.lowerdirs() else { panic!("{:?}", pulled.lowerdirs()) };
    let whiteout = fs::symlink_metadata(top.join("etc/old")).unwrap();
    assert!(whiteout.file_type().is_char_device() && whiteout.rdev() == 0);
    assert_eq!(fs::read(bottom.join("etc/old")).unwrap(), b"old");
    // The lower layer's link cannot redirect what the upper one writes.
    assert!(fs::symlink_metadata(top.join("data")).unwrap().is_dir());
    assert_eq!(fs::read(top.join("data/new")).unwrap(), b"new");
    assert!(!std::path::Path::new("/etc/new").exists());
    assert_eq!(pulled.config.env, ["A=b"]);
    assert_eq!(pulled.config.exposed_ports[0].port, 80);
    assert_eq!(pulled.record.digest, image.descriptor.digest);
}

#[tokio::test]
async fn a_second_pull_only_asks_and_a_moved_tag_is_noticed() {
    let server = Server::start(&["demo"]).await;
    let reference = push(&server, "demo:v1", &image_of(vec![layer(&[("a", "1")])])).await;
    let dir = tempfile::tempdir().unwrap();
    let puller = server.puller(dir.path());
    let (first, seen) = watched(&puller, &reference).await;
    let first = first.unwrap();
    assert!(seen.iter().any(|p| matches!(p, Progress::Downloading { .. })));
    let (second, seen) = watched(&puller, &reference).await;
    assert_eq!(second.unwrap().record, first.record);
    assert_eq!(seen, [Progress::Resolved { digest: first.record.digest }]);
    let moved = image_of(vec![layer(&[("a", "1")]), layer(&[("b", "2")])]);
    push(&server, "demo:v1", &moved).await;
    assert_eq!(puller.resolve(&reference, &credentials()).await.unwrap(), moved.descriptor.digest);
    let (third, seen) = watched(&puller, &reference).await;
    assert_eq!(third.unwrap().lowerdirs().len(), 2);
    assert_eq!(seen.iter().filter(|p| matches!(p, Progress::Unpacking { .. })).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_that_many_pull_at_once_is_unpacked_once() {
    let server = Server::start(&["demo"]).await;
    let shared = layer(&[("shared", "s")]);
    let mut references = Vec::new();
    for number in 0..6 {
        let own = layer(&[("own", &number.to_string())]);
        let image = image_of(vec![shared.clone(), own]);
        references.push(push(&server, &format!("demo:v{number}"), &image).await);
    }
    let dir = tempfile::tempdir().unwrap();
    let puller = server.puller(dir.path());
    let pulls: Vec<_> = references
        .into_iter()
        .map(|reference| {
            let puller = puller.clone();
            tokio::spawn(async move { watched(&puller, &reference).await })
        })
        .collect();
    let mut unpacked = 0;
    for pull in pulls {
        let (pulled, seen) = pull.await.unwrap();
        assert_eq!(fs::read(pulled.unwrap().lowerdirs()[1].join("shared")).unwrap(), b"s");
        unpacked += seen
            .iter()
            .filter(|p| matches!(p, Progress::Unpacking { blob } if *blob == shared.digest))
            .count();
    }
    assert_eq!(unpacked, 1);
}

#[tokio::test]
async fn the_wrong_architecture_is_told() {
    let server = Server::start(&["demo"]).await;
    let alien = Platform { architecture: "s390x".to_owned(), ..Platform::host() };
    let image = BuiltImage::new(Format::Docker, alien, &Run::default(), vec![layer(&[("a", "1")])]).unwrap();
    let index = BuiltIndex::new(Format::Docker, vec![image]).unwrap();
    let all = server.reference("demo:all");
    server.pusher().push_index(&index, &all, &credentials()).await.unwrap();
    let single = push(&server, "demo:single", &index.images[0]).await;
    let dir = tempfile::tempdir().unwrap();
    let puller = Puller::for_platform(
        ContentStore::open(dir.path()).unwrap(),
        Hosts::default(),
        Platform { architecture: "amd64".to_owned(), ..Platform::host() },
    );
    let error = puller.pull(&all, &credentials()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "image Manifest does not contain descriptor matching platform 'linux/amd64'"
    );
    let error = puller.pull(&single, &credentials()).await.unwrap_err();
    assert!(matches!(error, Error::WrongPlatform { .. }), "{error}");
    assert!(error.to_string().contains("its platform (linux/s390x) does not match"), "{error}");
    assert_nothing_left(puller.store());
}

#[tokio::test]
async fn refusals_have_dockers_texts() {
    let server = Server::start(&["demo"]).await;
    let dir = tempfile::tempdir().unwrap();
    let puller = server.puller(dir.path());
    let (at, v1) = (server.address, server.reference("demo:v1"));
    let error = puller.pull(&v1, &credentials()).await.unwrap_err();
    let text = format!("manifest for {at}/demo:v1 not found: manifest unknown: Requested image not found");
    assert_eq!(error.to_string(), text);
    let error = puller.pull(&server.reference("missing:v1"), &credentials()).await.unwrap_err();
    let text = format!(
        "repository {at}/missing not found: name unknown: The repository with name 'missing' does not exist in the \
         registry with id '123456789012'"
    );
    assert_eq!(error.to_string(), text);
    let wrong = Credentials::Basic { username: "AWS".to_owned(), password: "expired".to_owned() };
    for (given, text) in
        [(Credentials::Anonymous, "no basic auth credentials"), (wrong, "denied: Your authorization")]
    {
        let error = puller.pull(&v1, &given).await.unwrap_err();
        assert!(matches!(error, Error::AccessDenied { .. }) && error.to_string().contains(text), "{error}");
    }
    let nobody = Reference::parse("127.0.0.1:1/demo").unwrap();
    let error = puller.pull(&nobody, &credentials()).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }) && error.is_transient(), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_that_breaks_goes_on_where_it_stopped() {
    let server = Server::start(&["demo"]).await;
    let image = noisy_image(3 << 20);
    push(&server, "demo:v1", &image).await;
    // Cuts the first connections after a mebibyte.
    let proxy = Cutting::start(server.address, 1 << 20, 2).await;
    let rule = HostRule {
        pattern: "*.dkr.ecr.*.amazonaws.com".to_owned(),
        endpoint: format!("http://{}", proxy.address).parse().unwrap(),
        blobs: None,
    };
    let dir = tempfile::tempdir().unwrap();
    let hosts = Hosts { rules: vec![rule], insecure: Vec::new() };
    let puller = Puller::new(ContentStore::open(dir.path()).unwrap(), hosts);
    let reference = Reference::parse("123456789012.dkr.ecr.us-east-1.amazonaws.com/demo:v1").unwrap();
    let pulled = puller.pull(&reference, &credentials()).await.unwrap();
    assert!(fs::read(pulled.lowerdirs()[0].join("noise")).unwrap() == noise(3 << 20));
    let requests = proxy.requests();
    assert!(requests.contains("host: 123456789012.dkr.ecr.us-east-1.amazonaws.com"), "{requests}");
    assert!(requests.contains("range: bytes="), "{requests}");
    assert!(proxy.relayed() < 5 << 20, "bytes came twice: {}", proxy.relayed());
}

#[tokio::test]
async fn a_damaged_blob_is_refused_and_leaves_nothing() {
    let server = Server::start(&["demo"]).await;
    let image = noisy_image(100_000);
    let reference = push(&server, "demo:v1", &image).await;
    let blob = server.store.path(image.blobs[1].descriptor.digest);
    let mut bytes = fs::read(&blob).unwrap();
    bytes[50_000] ^= 1;
    fs::write(&blob, &bytes).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let puller = server.puller(dir.path());
    let error = puller.pull(&reference, &credentials()).await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    assert_nothing_left(puller.store());
}

#[tokio::test]
async fn a_layer_that_is_not_what_the_configuration_says_is_refused() {
    let server = Server::start(&["demo"]).await;
    let mut lying = layer(&[("a", "1")]);
    lying.diff_id = image::Digest::of(b"something else");
    let reference = push(&server, "demo:v1", &image_of(vec![lying])).await;
    let dir = tempfile::tempdir().unwrap();
    let puller = server.puller(dir.path());
    let error = puller.pull(&reference, &credentials()).await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    assert_nothing_left(puller.store());
}

#[tokio::test]
async fn blobs_on_the_same_machine_are_read_directly() {
    let server = Server::start(&["demo"]).await;
    push(&server, "demo:v1", &noisy_image(100_000)).await;
    let rule = HostRule {
        pattern: "registry.example".to_owned(),
        endpoint: format!("http://{}", server.address).parse().unwrap(),
        blobs: Some(Arc::new(server.store.clone())),
    };
    let dir = tempfile::tempdir().unwrap();
    let hosts = Hosts { rules: vec![rule], insecure: Vec::new() };
    let puller = Puller::new(ContentStore::open(dir.path()).unwrap(), hosts);
    let (pulled, seen) = watched(&puller, &Reference::parse("registry.example/demo:v1").unwrap()).await;
    assert!(fs::read(pulled.unwrap().lowerdirs()[0].join("noise")).unwrap() == noise(100_000));
    assert!(!seen.iter().any(|p| matches!(p, Progress::Downloading { .. })), "{seen:?}");
}

#[tokio::test]
async fn a_token_server_is_asked_as_the_challenge_says() {
    let server = TokenServer::start().await;
    let dir = tempfile::tempdir().unwrap();
    let puller = Puller::new(ContentStore::open(dir.path()).unwrap(), Hosts::default());
    let reference = Reference::parse(&format!("{}/team/app:v1", server.address)).unwrap();
    let error = puller.pull(&reference, &credentials()).await.unwrap_err();
    // With the token we get as far as the answer that there is no such image.
    assert!(matches!(error, Error::ManifestUnknown { .. }), "{error}");
    let asked = server.asked();
    assert!(
        asked.contains("/token?scope=repository:team/app:pull&service=test Basic QVdTOnNlY3JldA=="),
        "{asked}"
    );
    assert!(asked.contains("/v2/team/app/manifests/v1 Bearer granted"), "{asked}");
}

#[tokio::test]
async fn what_nothing_needs_is_collected() {
    let server = Server::start(&["demo"]).await;
    let base = layer(&[("base", "b")]);
    let one = push(&server, "demo:one", &image_of(vec![base.clone(), layer(&[("one", "1")])])).await;
    let two = push(&server, "demo:two", &image_of(vec![base, layer(&[("two", "2")])])).await;
    let dir = tempfile::tempdir().unwrap();
    let puller = server.puller(dir.path());
    let store = puller.store().clone();
    let held = puller.pull(&one, &credentials()).await.unwrap();
    puller.pull(&two, &credentials()).await.unwrap();
    assert_eq!(store.images().unwrap().len(), 2);
    assert_eq!(store.collect().unwrap().layers, 0);
    store.hold("container-1", &held).unwrap();
    drop(held);
    assert!(store.remove(&one).unwrap() && store.remove(&two).unwrap());
    assert!(!store.remove(&one).unwrap());
    let collected = store.collect().unwrap();
    assert_eq!((collected.layers, collected.blobs), (1, 2));
    assert_eq!(store.holders().unwrap(), ["container-1"]);
    // A value in hand counts as a use too.
    let in_hand = store.held("container-1").unwrap().unwrap();
    assert!(store.release("container-1").unwrap());
    assert_eq!(store.collect().unwrap().layers, 0);
    assert_eq!(fs::read(in_hand.lowerdirs()[1].join("base")).unwrap(), b"b");
    drop(in_hand);
    assert_eq!(store.collect().unwrap().layers, 2);
    assert_nothing_left(&store);
}

#[tokio::test]
async fn a_store_survives_its_process_but_not_a_power_cut_in_the_middle() {
    let server = Server::start(&["demo"]).await;
    let reference = push(&server, "demo:v1", &image_of(vec![layer(&[("a", "1")])])).await;
    let dir = tempfile::tempdir().unwrap();
    let puller = server.puller(dir.path());
    let second = ContentStore::open(dir.path());
    assert!(matches!(second, Err(Error::StoreLocked(_))), "{second:?}");
    let pulled = puller.pull(&reference, &credentials()).await.unwrap();
    let layer_dir = pulled.lowerdirs()[0].parent().unwrap().to_owned();
    fs::create_dir_all(dir.path().join("tmp/half-made/fs")).unwrap();
    puller.store().settle().unwrap();
    assert!(layer_dir.join("durable").exists());
    drop((pulled, puller));
    let reopened = || ContentStore::open(dir.path()).unwrap();
    let store = reopened();
    assert!(store.find(&reference).unwrap().is_some());
    assert!(!dir.path().join("tmp/half-made").exists());
    drop(store);
    // Another boot, and the layer was never written back: it may have holes.
    let record = fs::read_to_string(layer_dir.join("layer.json")).unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    fs::write(layer_dir.join("layer.json"), record.replace(boot.trim(), "another-boot")).unwrap();
    let store = reopened();
    assert!(store.find(&reference).unwrap().is_some(), "written back is written back");
    drop(store);
    fs::remove_file(layer_dir.join("durable")).unwrap();
    let store = reopened();
    assert!(store.find(&reference).unwrap().is_none());
    let puller = Puller::new(store, Hosts::default());
    assert!(puller.pull(&reference, &credentials()).await.is_ok());
}

#[tokio::test]
async fn equal_layers_and_no_layers() {
    let server = Server::start(&["demo"]).await;
    let (same, other) = (layer(&[("same", "s")]), layer(&[("other", "o")]));
    let twice = push(&server, "demo:twice", &image_of(vec![same.clone(), other, same])).await;
    let empty = push(&server, "demo:empty", &image_of(Vec::new())).await;
    let dir = tempfile::tempdir().unwrap();
    let puller = server.puller(dir.path());
    let pulled = puller.pull(&twice, &credentials()).await.unwrap();
    let [top, bottom] = pulled.lowerdirs() else { panic!("{:?}", pulled.lowerdirs()) };
    assert!(top.join("same").exists() && bottom.join("other").exists());
    let pulled = puller.pull(&empty, &credentials()).await.unwrap();
    assert_eq!(fs::read_dir(&pulled.lowerdirs()[0]).unwrap().count(), 0);
}
