//! The ECR operations that touch bytes or the token key: layer uploads and downloads, PutImage, GetAuthorizationToken.

use crate::aws::Failure;
use crate::catalog::ServerCatalog;
use crate::driver::{Driver, now};
use crate::secret;
use crate::token::{Token, Tokens};
use api::ecr::{
    CompleteLayerUploadRequest, GetAuthorizationTokenRequest, GetAuthorizationTokenResponse,
    GetDownloadUrlForLayerRequest, InitiateLayerUploadRequest, Request, Response, UploadLayerPartRequest,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use control::ecr::layers::{self, UploadFailure};
use control::ecr::{Command, Done};
use control::state::Scope;
use control::state::ecr::{LayerId, RepositoryId};
use control::{ApiError, Input, Principal};
use image::Digest;
use registry::{Registry, StoreError};
use std::sync::Arc;
use std::time::Duration;
use stdx::Chain;

/// How long a download URL is good.
const DOWNLOAD_LIFE: Duration = Duration::from_secs(3600);

/// The byte half of ECR.
pub(crate) struct Layers {
    pub(crate) driver: Arc<Driver>,
    pub(crate) registry: Registry<ServerCatalog>,
    pub(crate) tokens: Arc<Tokens>,
}

impl Layers {
    /// Whether the operation is answered here and not by the core alone.
    pub(crate) fn answers(request: &Request) -> bool {
        matches!(
            request,
            Request::InitiateLayerUpload(_)
                | Request::UploadLayerPart(_)
                | Request::CompleteLayerUpload(_)
                | Request::GetDownloadUrlForLayer(_)
                | Request::GetAuthorizationToken(_)
        )
    }

    pub(crate) async fn perform(
        &self,
        principal: &Principal,
        scope: Scope,
        request: Request,
    ) -> Result<Response, Failure> {
        match request {
            Request::InitiateLayerUpload(r) => self.initiate(scope, *r).await,
            Request::UploadLayerPart(r) => self.upload_part(scope, *r).await,
            Request::CompleteLayerUpload(r) => self.complete(scope, *r).await,
            Request::GetDownloadUrlForLayer(r) => self.download_url(principal, scope, *r).await,
            Request::GetAuthorizationToken(r) => self.authorize(principal, scope, &r),
            _ => Err(wire::Fault::internal_failure().into()),
        }
    }

    /// Makes the bytes of a manifest durable before the core sees the image.
    pub(crate) async fn keep_manifest(&self, manifest: String) -> Result<(), Failure> {
        let store = self.registry.store().clone();
        let kept = tokio::task::spawn_blocking(move || store.put(manifest.as_bytes())).await;
        match kept {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(broken(&error)),
            Err(error) => Err(broken(&error)),
        }
    }

    async fn repository(
        &self,
        scope: Scope,
        registry: Option<&str>,
        name: &str,
    ) -> Result<RepositoryId, Failure> {
        Ok(self.driver.look(|core| layers::repository(core.state(), scope, registry, name)).await??)
    }

    async fn initiate(&self, scope: Scope, r: InitiateLayerUploadRequest) -> Result<Response, Failure> {
        let repository = self.repository(scope, r.registry_id.as_deref(), &r.repository_name).await?;
        let upload =
            self.registry.store().begin_upload(&control::ecr::arn(&repository)).map_err(|e| broken(&e))?;
        Ok(Response::InitiateLayerUpload(layers::initiated(upload)))
    }

    async fn upload_part(&self, scope: Scope, r: UploadLayerPartRequest) -> Result<Response, Failure> {
        let repository = self.repository(scope, r.registry_id.as_deref(), &r.repository_name).await?;
        let number = |n: i64| u64::try_from(n).unwrap_or(u64::MAX);
        let range = (number(r.part_first_byte), number(r.part_last_byte));
        let arn = control::ecr::arn(&repository);
        let stored = self
            .registry
            .store()
            .upload_part(&arn, &r.upload_id, range, Bytes::from(r.layer_part_blob.0))
            .await;
        let last = match stored {
            Ok(last) => last,
            Err(error) => return Err(self.refuse(&repository, &r.upload_id, error).await),
        };
        Ok(Response::UploadLayerPart(layers::part_received(&repository, &r.upload_id, last)))
    }

    async fn complete(&self, scope: Scope, r: CompleteLayerUploadRequest) -> Result<Response, Failure> {
        let repository = self.repository(scope, r.registry_id.as_deref(), &r.repository_name).await?;
        let digests: Vec<Digest> = r.layer_digests.iter().filter_map(|digest| digest.parse().ok()).collect();
        let arn = control::ecr::arn(&repository);
        let completed = match self.registry.store().complete_layer(&arn, &r.upload_id, &digests).await {
            Ok(completed) => completed,
            Err(error) => return Err(self.refuse(&repository, &r.upload_id, error).await),
        };
        let digest = completed.digest.to_string();
        let layer = LayerId { repository: repository.clone(), digest: digest.clone() };
        let step = self
            .driver
            .step(Input::Registry(Command::LinkLayer { layer, size_bytes: completed.size }))
            .await?;
        match step.registry {
            Some(Ok(Done::Linked { is_new: true })) => {
                Ok(Response::CompleteLayerUpload(layers::completed(&repository, &r.upload_id, &digest)))
            }
            Some(Ok(_)) => {
                Err(layers::refuse(&repository, &r.upload_id, UploadFailure::AlreadyHeld { digest }).into())
            }
            Some(Err(error)) => Err(error.into()),
            None => Err(wire::Fault::internal_failure().into()),
        }
    }

    async fn download_url(
        &self,
        principal: &Principal,
        scope: Scope,
        r: GetDownloadUrlForLayerRequest,
    ) -> Result<Response, Failure> {
        let answer = self.driver.look(|core| {
            let layer = layers::downloadable(core.state(), scope, &r)?;
            Ok::<_, ApiError>((layer.id.repository.clone(), core.settings().endpoint.clone()))
        });
        let (repository, endpoint) = answer.await??;
        let token = Token::new(repository.scope, principal, now().after(DOWNLOAD_LIFE));
        let token = self.seal(&token)?;
        let url = format!("{endpoint}/_wharf/layers/{}/{}?token={token}", repository.name, r.layer_digest);
        Ok(Response::GetDownloadUrlForLayer(layers::download(&r.layer_digest, url)))
    }

    fn authorize(
        &self,
        principal: &Principal,
        scope: Scope,
        r: &GetAuthorizationTokenRequest,
    ) -> Result<Response, Failure> {
        let (entries, _) =
            self.driver.view(|core| control::ecr::authorization(core.settings(), now(), principal, scope, r));
        let entries = entries?;
        let data = entries.iter().map(|entry| {
            let password = self.seal(&Token::new(entry.scope, &entry.principal, entry.expires_at))?;
            Ok(entry.data(STANDARD.encode(format!("AWS:{password}"))))
        });
        let authorization_data = Some(data.collect::<Result<Vec<_>, Failure>>()?);
        Ok(Response::GetAuthorizationToken(GetAuthorizationTokenResponse { authorization_data }))
    }

    fn seal(&self, token: &Token) -> Result<String, Failure> {
        let mut nonce = [0; ring::aead::NONCE_LEN];
        secret::fill(&mut nonce)?;
        self.tokens.seal(token, nonce).ok_or_else(|| wire::Fault::internal_failure().into())
    }

    /// What a failed upload answers.
    async fn refuse(&self, repository: &RepositoryId, upload: &str, error: StoreError) -> Failure {
        let failure = match error {
            StoreError::UploadNotFound(_) => UploadFailure::NotFound,
            StoreError::InvalidPart { last_valid } => UploadFailure::InvalidPart { last_valid },
            StoreError::PartLength { .. } => {
                let length =
                    self.registry.store().upload_length(&control::ecr::arn(repository), upload).await;
                UploadFailure::InvalidPart { last_valid: length.ok().and_then(|n| n.checked_sub(1)) }
            }
            StoreError::EmptyUpload => UploadFailure::Empty,
            StoreError::PartTooSmall => UploadFailure::PartTooSmall,
            StoreError::DigestMismatch { .. } => UploadFailure::WrongDigest,
            StoreError::TooLarge { .. } => UploadFailure::TooLarge,
            other => return broken(&other),
        };
        layers::refuse(repository, upload, failure).into()
    }
}

fn broken(error: &(dyn std::error::Error + 'static)) -> Failure {
    tracing::error!(error = %Chain(error), "the blob store failed");
    wire::Fault::internal_failure().into()
}
