//! Images of one static busybox, as OCI layouts, and their way into the registry.

use crate::clients::{aws, python, skopeo};
use crate::wharf::Wharf;
use std::path::Path;

/// Writes an OCI layout; with more than one architecture an index.
const LAYOUT: &str = r#"
import hashlib, io, json, os, sys, tarfile
directory, *architectures = sys.argv[1:]
blobs = os.path.join(directory, "blobs", "sha256")
os.makedirs(blobs)

def blob(media_type, content):
    if not isinstance(content, bytes): content = json.dumps(content).encode()
    digest = hashlib.sha256(content).hexdigest()
    open(os.path.join(blobs, digest), "wb").write(content)
    return {"mediaType": media_type, "digest": "sha256:" + digest, "size": len(content)}

tar = io.BytesIO()
with tarfile.open(fileobj=tar, mode="w") as layer:
    for name in ("bin", "tmp"):
        entry = tarfile.TarInfo(name); entry.type = tarfile.DIRTYPE; entry.mode = 0o777; layer.addfile(entry)
    program = open("/bin/busybox", "rb").read()
    entry = tarfile.TarInfo("bin/busybox"); entry.mode = 0o755; entry.size = len(program)
    layer.addfile(entry, io.BytesIO(program))
    for name in ("sh", "sleep", "echo", "httpd"):
        entry = tarfile.TarInfo("bin/" + name); entry.type = tarfile.SYMTYPE; entry.linkname = "busybox"; layer.addfile(entry)
oci = "application/vnd.oci.image."
layer = blob(oci + "layer.v1.tar", tar.getvalue())
manifests = []
for architecture in architectures:
    config = {"architecture": architecture, "os": "linux", "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sleep", "3600"]},
              "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}}
    config = blob(oci + "config.v1+json", config)
    manifest = blob(oci + "manifest.v1+json", {"schemaVersion": 2, "mediaType": oci + "manifest.v1+json", "config": config, "layers": [layer]})
    manifests.append(manifest | {"platform": {"architecture": architecture, "os": "linux"}})
if len(manifests) > 1:
    manifests = [blob(oci + "index.v1+json", {"schemaVersion": 2, "mediaType": oci + "index.v1+json", "manifests": manifests})]
json.dump({"schemaVersion": 2, "manifests": manifests}, open(os.path.join(directory, "index.json"), "w"))
json.dump({"imageLayoutVersion": "1.0.0"}, open(os.path.join(directory, "oci-layout"), "w"))
"#;

pub(crate) const NATIVE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
pub(crate) const FOREIGN: &str = if cfg!(target_arch = "aarch64") { "amd64" } else { "arm64" };

/// Makes an OCI layout in `directory` for these architectures.
pub(crate) fn layout(directory: &Path, architectures: &[&str]) {
    let mut arguments = vec!["-c", LAYOUT, directory.to_str().unwrap()];
    arguments.extend(architectures);
    python(&arguments);
}

/// Copies a layout into a repository with skopeo; the image's name.
pub(crate) fn push(wharf: &Wharf, layout: &Path, image: &str, options: &[&str]) -> String {
    let password = aws(wharf, &["ecr", "get-login-password"]);
    let login = format!("AWS:{}", password.trim_end());
    let image = format!("{}/{image}", wharf.registry());
    let from = format!("oci:{}", layout.display());
    let to = format!("docker://{image}");
    let mut arguments = vec!["copy", "--dest-tls-verify=false", "--dest-creds", &login];
    arguments.extend(options);
    arguments.extend([from.as_str(), to.as_str()]);
    skopeo(&arguments);
    image
}

/// A repository `web` with a busybox image; the image's name.
pub(crate) fn busybox(wharf: &Wharf, scratch: &Path) -> String {
    let directory = scratch.join("busybox");
    layout(&directory, &[NATIVE]);
    aws(wharf, &["ecr", "create-repository", "--repository-name", "web"]);
    push(wharf, &directory, "web:oci", &[])
}
