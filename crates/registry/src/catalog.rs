//! What the registry asks the control plane: repositories, images, tags, and who may do what.

use crate::{Credentials, Error, Host};
use bytes::Bytes;
use image::{Descriptor, Digest, Manifest};
use std::future::Future;

/// The IAM actions as which `/v2/` requests are authorized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    BatchCheckLayerAvailability,
    BatchDeleteImage,
    BatchGetImage,
    CompleteLayerUpload,
    DescribeRepositories,
    GetDownloadUrlForLayer,
    InitiateLayerUpload,
    ListImages,
    PutImage,
    UploadLayerPart,
}

impl Action {
    /// The name as it stands in a policy.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BatchCheckLayerAvailability => "ecr:BatchCheckLayerAvailability",
            Self::BatchDeleteImage => "ecr:BatchDeleteImage",
            Self::BatchGetImage => "ecr:BatchGetImage",
            Self::CompleteLayerUpload => "ecr:CompleteLayerUpload",
            Self::DescribeRepositories => "ecr:DescribeRepositories",
            Self::GetDownloadUrlForLayer => "ecr:GetDownloadUrlForLayer",
            Self::InitiateLayerUpload => "ecr:InitiateLayerUpload",
            Self::ListImages => "ecr:ListImages",
            Self::PutImage => "ecr:PutImage",
            Self::UploadLayerPart => "ecr:UploadLayerPart",
        }
    }
}

/// How a request names an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageId {
    Tag(String),
    Digest(Digest),
}

impl std::fmt::Display for ImageId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => write!(f, "{digest}"),
        }
    }
}

/// An image as the catalog knows it; its manifest's bytes lie in the blob store under `digest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub digest: Digest,
    pub media_type: String,
}

/// A manifest to be accepted. Its bytes and every blob it needs are safe on disk when the catalog sees it.
#[derive(Clone, Debug)]
pub struct PutImage {
    pub repository: String,
    pub tag: Option<String>,
    pub digest: Digest,
    pub manifest: Manifest,
    pub bytes: Bytes,
}

/// A page of names; `more` if others follow the last one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub names: Vec<String>,
    pub more: bool,
}

/// The control plane as the registry sees it. The principal carries the account and Region whose registry is meant;
/// repositories are named without them.
pub trait Catalog: Send + Sync + 'static {
    type Principal: Send + Sync + 'static;

    /// Who asks, and for which registry: the host names an account and Region only where it has ECR's form, else
    /// the token does. A host that names a Region other than the token's is `Unauthorized`; an expired token is
    /// `Denied`.
    fn authenticate(
        &self,
        host: Option<&Host>,
        credentials: &Credentials,
    ) -> impl Future<Output = Result<Self::Principal, Error>> + Send;

    /// May the principal do this to the repository? `Denied` with AWS's text if not.
    fn authorize(
        &self,
        principal: &Self::Principal,
        action: Action,
        repository: &str,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// The repository's ARN; `NameUnknown` if there is none.
    fn repository_arn(
        &self,
        principal: &Self::Principal,
        repository: &str,
    ) -> impl Future<Output = Result<String, Error>> + Send;

    /// The image under a tag or digest; `ManifestUnknown` if there is none.
    fn image(
        &self,
        principal: &Self::Principal,
        repository: &str,
        id: &ImageId,
    ) -> impl Future<Output = Result<Image, Error>> + Send;

    /// Accepts an image: `TagInvalid` for an immutable tag, `ManifestBlobUnknown` for layers or manifests that the
    /// repository does not hold.
    fn put_image(
        &self,
        principal: &Self::Principal,
        image: PutImage,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Removes a tag, or an image with all its tags.
    fn delete_image(
        &self,
        principal: &Self::Principal,
        repository: &str,
        id: &ImageId,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Tags in lexical order, at most `limit`, those after `after`.
    fn tags(
        &self,
        principal: &Self::Principal,
        repository: &str,
        after: Option<&str>,
        limit: usize,
    ) -> impl Future<Output = Result<Page, Error>> + Send;

    /// Repositories in lexical order, at most `limit`, those after `after`.
    fn repositories(
        &self,
        principal: &Self::Principal,
        after: Option<&str>,
        limit: usize,
    ) -> impl Future<Output = Result<Page, Error>> + Send;

    /// Manifests whose subject is this digest; each with its artifact type and annotations.
    fn referrers(
        &self,
        principal: &Self::Principal,
        repository: &str,
        subject: Digest,
    ) -> impl Future<Output = Result<Vec<Descriptor>, Error>> + Send;

    /// Does the repository hold this layer or configuration?
    fn has_layer(
        &self,
        principal: &Self::Principal,
        repository: &str,
        digest: Digest,
    ) -> impl Future<Output = Result<bool, Error>> + Send;

    /// The repository holds this layer from now on; the bytes are safe on disk.
    fn link_layer(
        &self,
        principal: &Self::Principal,
        repository: &str,
        digest: Digest,
        size: u64,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// May layers be mounted from one repository into another (account setting `BLOB_MOUNTING`, equal encryption)?
    fn may_mount(
        &self,
        principal: &Self::Principal,
        from: &str,
        into: &str,
    ) -> impl Future<Output = Result<bool, Error>> + Send;
}
