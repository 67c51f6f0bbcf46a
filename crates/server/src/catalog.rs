//! The registry's catalog: answers its questions from the core's state and turns its commands into steps.

use crate::driver::{Driver, now};
use crate::error::{StartError, Unavailable};
use crate::token::Tokens;
use crate::{ServerConfig, secret};
use api::ecr::ImageIdentifier;
use control::ecr::{Command, Done, OciCode, Push, distribution};
use control::state::ecr::{Image, ImageId as StoredId, LayerId, RepositoryId};
use control::state::{AccountId, Region, Scope, State};
use control::{ApiError, Core, Input};
use image::{Descriptor, Digest, Manifest};
use registry::{
    Action, BlobStore, Catalog, Credentials, Error, Host, ImageId, Page, PutImage, Registry, Settings,
    StoreSettings,
};
use std::sync::Arc;
use stdx::Chain;

/// The file of the key that seals ECR tokens.
const TOKEN_KEY_FILE: &str = "token-key";

/// The core as the registry sees it.
pub(crate) struct ServerCatalog {
    driver: Arc<Driver>,
    tokens: Arc<Tokens>,
    any_credentials: bool,
    home: Scope,
}

/// The registry that an authenticated caller may use.
#[derive(Debug)]
pub(crate) struct Grant {
    scope: Scope,
}

/// Opens the registry of a data directory, with the sealer of its tokens.
pub(crate) fn open(
    config: &ServerConfig,
    home: Scope,
    driver: Arc<Driver>,
) -> Result<(Registry<ServerCatalog>, Arc<Tokens>), StartError> {
    let store =
        BlobStore::open(config.data.join("registry"), StoreSettings::default()).map_err(StartError::Blobs)?;
    let key = secret::kept(&config.data.join(TOKEN_KEY_FILE), || {
        let mut key = vec![0; 32];
        secret::fill(&mut key)?;
        Ok(key)
    })?;
    let tokens = Tokens::new(&key).ok_or_else(|| {
        StartError::Refused(format!(
            "{TOKEN_KEY_FILE} in the data directory is damaged; remove it, and log in to the registry again"
        ))
    })?;
    let tokens = Arc::new(tokens);
    let catalog =
        ServerCatalog { driver, tokens: tokens.clone(), any_credentials: config.any_credentials, home };
    Ok((Registry::new(store, catalog, Settings::default()), tokens))
}

impl ServerCatalog {
    async fn ask<T>(&self, question: impl FnOnce(&State) -> Result<T, ApiError>) -> Result<T, Error> {
        let answer = self.driver.look(|core: &Core| question(core.state())).await.map_err(unavailable)?;
        answer.map_err(|error| word(&error))
    }

    async fn command(&self, command: Command) -> Result<Done, Error> {
        let output = self.driver.step(Input::Registry(command)).await.map_err(unavailable)?;
        let done = output
            .registry
            .ok_or_else(|| unavailable(Unavailable::Broken("a registry command was not answered")))?;
        done.map_err(|error| word(&error))
    }

    /// The scope that a host names, where it has ECR's form.
    fn named(host: Option<&Host>) -> Option<Scope> {
        let named = host?.registry.as_ref()?;
        Some(Scope { account: AccountId::parse(&named.account)?, region: Region::parse(&named.region)? })
    }

    async fn record_pull(&self, image: &Image) -> Result<(), Error> {
        if distribution::is_pull_news(image, now()) {
            self.command(Command::RecordPull { image: image.id.clone() }).await?;
        }
        Ok(())
    }
}

fn repository(grant: &Grant, name: &str) -> RepositoryId {
    RepositoryId { scope: grant.scope, name: name.to_owned() }
}

fn identifier(id: &ImageId) -> ImageIdentifier {
    match id {
        ImageId::Tag(tag) => ImageIdentifier { image_tag: Some(tag.clone()), image_digest: None },
        ImageId::Digest(digest) => {
            ImageIdentifier { image_digest: Some(digest.to_string()), image_tag: None }
        }
    }
}

fn unavailable(error: Unavailable) -> Error {
    tracing::error!(error = %Chain(&error), "the registry could not be answered");
    Error::internal(error)
}

/// The core's errors in the registry's words.
fn word(error: &ApiError) -> Error {
    let text = error.message().unwrap_or_default().to_owned();
    match distribution::oci_code(error) {
        OciCode::Denied => Error::Denied(text),
        OciCode::NameUnknown => Error::NameUnknown(text),
        OciCode::TagInvalid => Error::TagInvalid(text),
        OciCode::ManifestUnknown => Error::ManifestUnknown(text),
        OciCode::ManifestInvalid => Error::ManifestInvalid(text),
        OciCode::ManifestBlobUnknown => Error::ManifestBlobUnknown(text),
        OciCode::DigestInvalid => Error::DigestInvalid(text),
        OciCode::TooManyRequests => Error::TooManyRequests,
        OciCode::Unsupported => Error::Unsupported(text),
    }
}

impl Catalog for ServerCatalog {
    type Principal = Grant;

    async fn authenticate(&self, host: Option<&Host>, credentials: &Credentials) -> Result<Grant, Error> {
        let named = Self::named(host);
        let password = credentials.token().ok_or(Error::Unauthorized)?;
        let token = match self.tokens.open(&password) {
            Ok(token) => token,
            Err(_) if self.any_credentials => {
                let scope = named.unwrap_or(self.home);
                return Ok(Grant { scope });
            }
            Err(_) => return Err(Error::Unauthorized),
        };
        if token.expires_at <= now() {
            return Err(Error::Denied(
                "Your authorization token has expired. Reauthenticate and try again.".to_owned(),
            ));
        }
        let principal = token.principal();
        let scope = named.unwrap_or(token.scope);
        if scope.region != token.region() {
            return Err(Error::Unauthorized);
        }
        if scope.account != principal.account {
            // Another account's registry opens only through its policies, which are not built.
            return Err(Error::Denied(format!(
                "User: {} is not authorized to perform: ecr:BatchGetImage on resource: the registry {} because no \
                 resource-based policy allows the ecr:BatchGetImage action",
                principal.arn, scope.account
            )));
        }
        Ok(Grant { scope })
    }

    async fn authorize(&self, _: &Grant, _: Action, _: &str) -> Result<(), Error> {
        // `authenticate` lets only principals of the registry's own account in, and each may do everything there.
        Ok(())
    }

    async fn repository_arn(&self, grant: &Grant, name: &str) -> Result<String, Error> {
        self.ask(|state| distribution::repository(state, grant.scope, name).map(|id| control::ecr::arn(&id)))
            .await
    }

    async fn image(&self, grant: &Grant, name: &str, id: &ImageId) -> Result<registry::Image, Error> {
        let repository = repository(grant, name);
        let image =
            self.ask(|state| distribution::image(state, &repository, &identifier(id)).cloned()).await?;
        self.record_pull(&image).await?;
        let digest = image.id.digest.parse().map_err(Error::internal)?;
        Ok(registry::Image { digest, media_type: image.media_type.clone() })
    }

    async fn put_image(&self, grant: &Grant, image: PutImage) -> Result<(), Error> {
        let manifest =
            std::str::from_utf8(&image.bytes).map_err(|error| Error::ManifestInvalid(error.to_string()))?;
        let push = Push {
            repository: repository(grant, &image.repository),
            manifest: manifest.into(),
            media_type: Some(image.manifest.media_type().to_owned()),
            tag: image.tag,
            digest: Some(image.digest.to_string()),
        };
        self.command(Command::PutImage(push)).await.map(drop)
    }

    async fn delete_image(&self, grant: &Grant, name: &str, id: &ImageId) -> Result<(), Error> {
        let command = Command::DeleteImage { repository: repository(grant, name), id: identifier(id) };
        self.command(command).await.map(drop)
    }

    async fn tags(
        &self,
        grant: &Grant,
        name: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, Error> {
        let repository = repository(grant, name);
        let names = self.ask(|state| distribution::tags(state, &repository, after, limit)).await?;
        Ok(Page { names: names.names, more: names.has_more })
    }

    async fn repositories(&self, grant: &Grant, after: Option<&str>, limit: usize) -> Result<Page, Error> {
        let names =
            self.ask(|state| Ok(distribution::repositories(state, grant.scope, after, limit))).await?;
        Ok(Page { names: names.names, more: names.has_more })
    }

    async fn referrers(&self, grant: &Grant, name: &str, subject: Digest) -> Result<Vec<Descriptor>, Error> {
        let subject = StoredId { repository: repository(grant, name), digest: subject.to_string() };
        let images: Vec<Arc<Image>> =
            self.ask(|state| Ok(distribution::referrers(state, &subject).cloned().collect())).await?;
        images.iter().map(|image| descriptor(image)).collect()
    }

    async fn has_layer(&self, grant: &Grant, name: &str, digest: Digest) -> Result<bool, Error> {
        let layer = LayerId { repository: repository(grant, name), digest: digest.to_string() };
        self.ask(|state| Ok(distribution::has_layer(state, &layer))).await
    }

    async fn link_layer(&self, grant: &Grant, name: &str, digest: Digest, size: u64) -> Result<(), Error> {
        let layer = LayerId { repository: repository(grant, name), digest: digest.to_string() };
        self.command(Command::LinkLayer { layer, size_bytes: size }).await.map(drop)
    }

    async fn may_mount(&self, grant: &Grant, from: &str, into: &str) -> Result<bool, Error> {
        let (from, into) = (repository(grant, from), repository(grant, into));
        self.ask(|state| Ok(distribution::may_mount(state, &from, &into))).await
    }
}

/// How the referrers API shows an image.
fn descriptor(image: &Image) -> Result<Descriptor, Error> {
    let manifest =
        Manifest::parse(image.manifest.as_bytes(), Some(&image.media_type)).map_err(Error::internal)?;
    Ok(Descriptor {
        media_type: image.media_type.clone(),
        digest: image.id.digest.parse().map_err(Error::internal)?,
        size: image.manifest.len() as u64,
        artifact_type: manifest.artifact_type().map(str::to_owned),
        annotations: manifest.annotations().clone(),
        urls: Vec::new(),
        platform: None,
    })
}
