//! Images and layers: the API's operations and the registry's commands are one rule.

use crate::harness::{Wharf, scope};
use api::ecr::ImageIdentifier;
use control::ecr::{Command, Done, OciCode, Push, distribution};
use control::state::ecr::{ImageId, LayerId, RepositoryId};
use control::{ApiError, Input};
use proptest::prelude::*;
use serde_json::json;
use std::time::Duration;

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn repository(name: &str) -> RepositoryId {
    RepositoryId { scope: scope(), name: name.to_owned() }
}

fn digest(text: &str) -> String {
    let hex: String = wire::sha256(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}

fn wharf() -> Wharf {
    let mut wharf = Wharf::new();
    wharf.check(r#"ecr.CreateRepository {"repositoryName": "web"}"#, r#"{"...": true}"#);
    for layer in ["config", "one", "two"] {
        link(&mut wharf, layer).expect("linked");
    }
    wharf
}

fn command(wharf: &mut Wharf, command: Command) -> Result<Done, ApiError> {
    wharf.step(Input::Registry(command)).registry.expect("a command is answered")
}

fn link(wharf: &mut Wharf, content: &str) -> Result<Done, ApiError> {
    let layer = LayerId { repository: repository("web"), digest: digest(content) };
    command(wharf, Command::LinkLayer { layer, size_bytes: 100 })
}

/// An image manifest whose layers are those contents.
fn manifest(layers: &[&str]) -> String {
    let layer = |content: &&str| json!({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest(content), "size": 100});
    let config = json!({"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest("config"), "size": 7});
    let layers: Vec<_> = layers.iter().map(layer).collect();
    json!({"schemaVersion": 2, "mediaType": OCI, "config": config, "layers": layers}).to_string()
}

fn index(manifests: &[&str]) -> String {
    let entry = |text: &&str| json!({"mediaType": OCI, "digest": digest(text), "size": text.len()});
    let manifests: Vec<_> = manifests.iter().map(entry).collect();
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).to_string()
}

fn put(manifest: &str, tag: Option<&str>) -> String {
    let mut request = json!({"repositoryName": "web", "imageManifest": manifest});
    if let Some(tag) = tag {
        request["imageTag"] = json!(tag);
    }
    format!("ecr.PutImage {request}")
}

fn push(wharf: &mut Wharf, manifest: &str, tag: Option<&str>) -> Result<bool, ApiError> {
    let push = Push {
        repository: repository("web"),
        manifest: manifest.into(),
        media_type: None,
        tag: tag.map(str::to_owned),
        digest: None,
    };
    match command(wharf, Command::PutImage(push))? {
        Done::Put(pushed) => Ok(pushed.is_changed),
        other => panic!("a push ended as {other:?}"),
    }
}

#[test]
fn an_image_is_put_shown_and_got() {
    let mut wharf = wharf();
    let image = manifest(&["one", "two"]);
    let id = json!({"imageDigest": digest(&image), "imageTag": "v1"});
    let shown = json!({"image": {"registryId": "123456789012", "repositoryName": "web", "imageId": id,
        "imageManifest": image, "imageManifestMediaType": OCI}});
    wharf.check(&put(&image, Some("v1")), &shown.to_string());
    let text = format!(
        "ImageAlreadyExistsException: Image with digest '{}' and tag 'v1' already exists in the repository with name \
         'web' in registry with id '123456789012'",
        digest(&image)
    );
    wharf.check(&put(&image, Some("v1")), &text);
    assert!(!push(&mut wharf, &image, Some("v1")).expect("no failure for the registry"));
    wharf.check(&put(&image, Some("v2")), r#"{"...": true}"#);
    let detail = json!({"registryId": "123456789012", "repositoryName": "web", "imageDigest": digest(&image),
        "imageTags": ["v1", "v2"], "imageSizeInBytes": 207, "imagePushedAt": 1_700_000_000,
        "imageManifestMediaType": OCI, "artifactMediaType": "application/vnd.oci.image.config.v1+json",
        "imageStatus": "ACTIVE"});
    let describe = r#"ecr.DescribeImages {"repositoryName": "web"}"#;
    wharf.check(describe, &json!({"imageDetails": [detail]}).to_string());
    let get = r#"ecr.BatchGetImage {"repositoryName": "web", "imageIds": [{"imageTag": "v2"}, {"imageTag": "no"}, {}]}"#;
    let failures = json!([
        {"imageId": {"imageTag": "no"}, "failureCode": "ImageNotFound", "failureReason": "Requested image not found"},
        {"imageId": {}, "failureCode": "MissingDigestAndTag",
            "failureReason": "Invalid request parameters: both tag and digest cannot be null"}]);
    let images = json!([{"imageId": {"imageDigest": digest(&image), "imageTag": "v2"}, "imageManifest": image, "...": true}]);
    wharf.check(get, &json!({"images": images, "failures": failures}).to_string());
    // The pull counts, once a day.
    wharf.pass(Duration::from_secs(60));
    wharf.check(get, r#"{"...": true}"#);
    let reply = wharf.call(describe).expect("images");
    assert_eq!(reply["imageDetails"][0]["lastRecordedPullTime"], json!(1_700_000_000));
    wharf.check(
        r#"ecr.DescribeImages {"repositoryName": "web", "imageIds": [{"imageTag": "no"}]}"#,
        "ImageNotFoundException: The image with imageId {imageDigest:null, imageTag:'no'} does not exist within the \
         repository with name 'web' in the registry with id '123456789012'",
    );
}

#[test]
fn what_an_image_needs_must_be_there() {
    let mut wharf = wharf();
    let text = |what: &str, digest: &str| {
        format!(
            "{what} with digests '[{digest}]' required for pushing image into repository with name 'web' in the \
             registry with id '123456789012' do not exist"
        )
    };
    let image = manifest(&["one", "missing"]);
    wharf.check(
        &put(&image, None),
        &format!("LayersNotFoundException: {}", text("Layers", &digest("missing"))),
    );
    let list = index(&[&image]);
    wharf.check(
        &put(&list, None),
        &format!("ReferencedImagesNotFoundException: {}", text("Images", &digest(&image))),
    );
    let error = push(&mut wharf, &list, None).expect_err("refused");
    assert_eq!(distribution::oci_code(&error), OciCode::ManifestBlobUnknown);
    // A foreign layer lies elsewhere.
    let foreign = image.replace(
        &format!(r#""digest":"{}""#, digest("missing")),
        &format!(r#""urls":["https://example.com/layer"],"digest":"{}""#, digest("missing")),
    );
    assert_ne!(foreign, image);
    wharf.check(&put(&foreign, None), r#"{"...": true}"#);
    for junk in ["", "{}", "[]", r#"{"schemaVersion": 1}"#, r#"{"schemaVersion": 2}"#] {
        let request = json!({"repositoryName": "web", "imageManifest": junk, "imageManifestMediaType": OCI});
        assert!(wharf.call(&format!("ecr.PutImage {request}")).is_err(), "{junk}");
    }
    let image = manifest(&["one"]);
    let wrong = json!({"repositoryName": "web", "imageManifest": image, "imageDigest": digest("other")});
    let error = wharf.call(&format!("ecr.PutImage {wrong}")).expect_err("refused");
    assert!(error.starts_with("ImageDigestDoesNotMatchException: "), "{error}");
    let wrong = json!({"repositoryName": "web", "imageManifest": image, "imageManifestMediaType": INDEX});
    assert!(wharf.call(&format!("ecr.PutImage {wrong}")).is_err(), "the types differ");
}

#[test]
fn tags_move_unless_they_are_immutable() {
    let mut wharf = wharf();
    let (first, second) = (manifest(&["one"]), manifest(&["two"]));
    assert!(push(&mut wharf, &first, Some("v1")).expect("put"));
    assert!(push(&mut wharf, &second, Some("v1")).expect("put"));
    let mut ids = vec![
        json!({"imageDigest": digest(&first)}),
        json!({"imageDigest": digest(&second), "imageTag": "v1"}),
    ];
    ids.sort_by_key(|id| id["imageDigest"].to_string());
    wharf.check(r#"ecr.ListImages {"repositoryName": "web"}"#, &json!({"imageIds": ids}).to_string());
    wharf.check(
        r#"ecr.ListImages {"repositoryName": "web", "filter": {"tagStatus": "UNTAGGED"}}"#,
        &json!({"imageIds": [{"imageDigest": digest(&first)}]}).to_string(),
    );
    wharf.check(
        r#"ecr.PutImageTagMutability {"repositoryName": "web", "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION",
            "imageTagMutabilityExclusionFilters": [{"filterType": "WILDCARD", "filter": "dev-*"}]}"#,
        r#"{"...": true}"#,
    );
    let error = push(&mut wharf, &first, Some("v1")).expect_err("immutable");
    assert_eq!(distribution::oci_code(&error), OciCode::TagInvalid);
    assert_eq!(
        error.to_string(),
        "ImageTagAlreadyExistsException: The image tag 'v1' already exists in the 'web' repository and cannot be \
         overwritten because the tag is immutable."
    );
    assert!(!push(&mut wharf, &second, Some("v1")).expect("the same again"));
    assert!(push(&mut wharf, &first, Some("dev-1")).expect("put"));
    assert!(push(&mut wharf, &second, Some("dev-1")).expect("excluded"));
    assert!(push(&mut wharf, &second, Some("bad+tag")).is_err());
}

#[test]
fn deleting_goes_by_tag_and_by_digest_and_spares_what_an_index_names() {
    let mut wharf = wharf();
    let (one, two) = (manifest(&["one"]), manifest(&["two"]));
    let list = index(&[&one, &two]);
    push(&mut wharf, &one, Some("a")).expect("put");
    push(&mut wharf, &one, Some("b")).expect("put");
    push(&mut wharf, &two, None).expect("put");
    push(&mut wharf, &list, Some("all")).expect("put");
    let details =
        wharf.call(r#"ecr.DescribeImages {"repositoryName": "web", "imageIds": [{"imageTag": "all"}]}"#);
    assert_eq!(details.expect("an index")["imageDetails"][0]["imageSizeInBytes"], json!(107));
    let delete = |ids: serde_json::Value| {
        format!("ecr.BatchDeleteImage {}", json!({"repositoryName": "web", "imageIds": ids}))
    };
    let gone = json!([{"imageDigest": digest(&one), "imageTag": "a"}]);
    wharf.check(&delete(json!([{"imageTag": "a"}])), &json!({"imageIds": gone, "failures": []}).to_string());
    let kept = json!({"imageId": {"imageTag": "b"}, "failureCode": "ImageReferencedByManifestList",
        "failureReason": format!("Requested image referenced by manifest list: [{}]", digest(&list))});
    wharf
        .check(&delete(json!([{"imageTag": "b"}])), &json!({"imageIds": [], "failures": [kept]}).to_string());
    let id = ImageIdentifier { image_digest: Some(digest(&two)), image_tag: None };
    let error =
        command(&mut wharf, Command::DeleteImage { repository: repository("web"), id }).expect_err("kept");
    assert_eq!(distribution::oci_code(&error), OciCode::Unsupported);
    wharf.check(
        r#"ecr.DeleteRepository {"repositoryName": "web"}"#,
        "RepositoryNotEmptyException: The repository with name 'web' in registry with id '123456789012' cannot be \
         deleted because it still contains images",
    );
    // In one call with their index, in whichever order.
    let reply = wharf
        .call(&delete(
            json!([{"imageDigest": digest(&one)}, {"imageDigest": digest(&two)}, {"imageTag": "all"}]),
        ))
        .expect("a reply");
    assert_eq!((reply["imageIds"].as_array().map(Vec::len), &reply["failures"]), (Some(3), &json!([])));
    wharf.check(r#"ecr.DeleteRepository {"repositoryName": "web"}"#, r#"{"...": true}"#);
}

#[test]
fn layers_stay_while_an_image_needs_them_and_a_day_longer() {
    let mut wharf = wharf();
    let image = manifest(&["one"]);
    push(&mut wharf, &image, Some("v1")).expect("put");
    wharf.pass(Duration::from_secs(25 * 3600));
    let has = |wharf: &Wharf, content: &str| {
        let layer = LayerId { repository: repository("web"), digest: digest(content) };
        distribution::has_layer(wharf.state(), &layer)
    };
    assert!(has(&wharf, "one") && has(&wharf, "config") && !has(&wharf, "two"));
    let live: Vec<String> =
        distribution::live_digests(wharf.state()).into_iter().map(str::to_owned).collect();
    let mut expected = [digest("one"), digest("config"), digest(&image)];
    expected.sort();
    assert_eq!(live, expected);
    let check = json!({"repositoryName": "web", "layerDigests": [digest("one"), digest("two"), "junk"]});
    let layers = json!([
        {"layerDigest": digest("one"), "layerAvailability": "AVAILABLE", "layerSize": 100,
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip"},
        {"layerDigest": digest("two"), "layerAvailability": "UNAVAILABLE"}]);
    let failures = json!([{"layerDigest": "junk", "failureCode": "InvalidLayerDigest", "...": true}]);
    wharf.check(
        &format!("ecr.BatchCheckLayerAvailability {check}"),
        &json!({"layers": layers, "failures": failures}).to_string(),
    );
    wharf.check(
        r#"ecr.BatchDeleteImage {"repositoryName": "web", "imageIds": [{"imageTag": "v1"}]}"#,
        r#"{"...": true}"#,
    );
    assert!(has(&wharf, "one"), "a push that has just seen the layer can go on");
    wharf.restart_with(Vec::new());
    wharf.pass(Duration::from_secs(25 * 3600));
    assert!(!has(&wharf, "one") && distribution::live_digests(wharf.state()).is_empty());
}

#[test]
fn referrers_tags_and_mounts() {
    let mut wharf = wharf();
    let image = manifest(&["one"]);
    push(&mut wharf, &image, Some("v1")).expect("put");
    let mut signature: serde_json::Value = serde_json::from_str(&manifest(&["two"])).expect("JSON");
    signature["subject"] = json!({"mediaType": OCI, "digest": digest(&image), "size": image.len()});
    signature["artifactType"] = json!("application/x.signature");
    signature["annotations"] = json!({"by": "me"});
    let signature = signature.to_string();
    push(&mut wharf, &signature, None).expect("put");
    let subject = ImageId { repository: repository("web"), digest: digest(&image) };
    let found: Vec<_> =
        distribution::referrers(wharf.state(), &subject).map(|i| i.id.digest.clone()).collect();
    assert_eq!(found, [digest(&signature)]);
    let request = json!({"repositoryName": "web", "subjectId": {"imageDigest": digest(&image)}});
    let referrer = json!({"digest": digest(&signature), "mediaType": OCI, "artifactType": "application/x.signature",
        "size": signature.len(), "annotations": {"by": "me"}, "artifactStatus": "ACTIVE"});
    wharf.check(&format!("ecr.ListImageReferrers {request}"), &json!({"referrers": [referrer]}).to_string());

    for tag in ["v2", "v10", "latest"] {
        push(&mut wharf, &image, Some(tag)).expect("put");
    }
    let page = distribution::tags(wharf.state(), &repository("web"), Some("latest"), 2).expect("tags");
    assert_eq!((page.names, page.has_more), (vec!["v1".to_owned(), "v10".to_owned()], true));
    assert!(distribution::tags(wharf.state(), &repository("none"), None, 2).is_err());

    wharf.check(r#"ecr.CreateRepository {"repositoryName": "app"}"#, r#"{"...": true}"#);
    let may = |wharf: &Wharf| distribution::may_mount(wharf.state(), &repository("web"), &repository("app"));
    assert!(!may(&wharf), "off by default");
    wharf.check(r#"ecr.PutAccountSetting {"name": "BLOB_MOUNTING", "value": "ENABLED"}"#, r#"{"...": true}"#);
    assert!(may(&wharf));
    let names = distribution::repositories(wharf.state(), scope(), Some("app"), 5);
    assert_eq!((names.names, names.has_more), (vec!["web".to_owned()], false));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Whatever is pushed, tagged and deleted: each tag stands for one image, and a restart changes nothing.
    #[test]
    fn tags_and_images_agree(steps in prop::collection::vec((0..4_usize, 0..3_usize, any::<bool>()), 1..40)) {
        let mut wharf = wharf();
        let images = [manifest(&["one"]), manifest(&["two"]), manifest(&["one", "two"]), manifest(&[])];
        let mut tags = std::collections::BTreeMap::new();
        for (image, tag, is_push) in steps {
            let name = format!("t{tag}");
            if is_push {
                push(&mut wharf, &images[image], Some(&name)).expect("put");
                tags.insert(name, digest(&images[image]));
            } else {
                let id = ImageIdentifier { image_digest: Some(digest(&images[image])), image_tag: None };
                let deleted = command(&mut wharf, Command::DeleteImage { repository: repository("web"), id });
                let digest = digest(&images[image]);
                let is_gone = deleted.is_ok();
                tags.retain(|_, of| !is_gone || *of != digest);
            }
            let found = distribution::tags(wharf.state(), &repository("web"), None, 10).expect("tags");
            prop_assert_eq!(found.names, tags.keys().cloned().collect::<Vec<_>>());
        }
        wharf.restart_with(Vec::new());
        for (tag, digest) in tags {
            let id = ImageIdentifier { image_digest: None, image_tag: Some(tag.clone()) };
            let image = distribution::image(wharf.state(), &repository("web"), &id).expect("the tag's image");
            prop_assert_eq!(&image.id.digest, &digest);
            prop_assert!(image.tags.contains(&tag));
        }
    }
}
