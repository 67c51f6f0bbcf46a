//! Carries out the engine's operations with a runtime, each on its own.

use crate::clock::now;
use crate::config::PullBehavior;
use crate::convert;
use crate::ecr::RegistryTokens;
use crate::logs::LogShipping;
use api::acs::IAMRoleCredentials;
use engine::{Failure, LogConfig, Operation, Outcome, Pulled, RegistryAuth};
use runtime::{ErrorKind, PulledImage, RegistryCredentials, Runtime};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// What operations need beside the runtime.
pub(crate) struct Executor<R: ?Sized> {
    pub(crate) runtime: Arc<R>,
    pub(crate) data_dir: PathBuf,
    pub(crate) pull_behavior: PullBehavior,
    pub(crate) tokens: RegistryTokens,
    pub(crate) logs: LogShipping,
}

/// What is known of an operation's container beside the operation itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Context {
    pub(crate) container: String,
    pub(crate) task_id: String,
    /// The role that writes logs, where it is not the instance's.
    pub(crate) execution_credentials_id: Option<String>,
}

impl<R: Runtime + ?Sized> Executor<R> {
    pub(crate) async fn run(&self, operation: Operation, context: Context) -> Outcome {
        let result = match operation {
            Operation::Pull { image, auth, credentials } => {
                self.pull(&image, auth, credentials.as_deref()).await
            }
            Operation::Create(spec) => self.create(*spec, context).await,
            Operation::Start { runtime_id } => {
                let started = self.runtime.start(&runtime_id).await;
                started.map(|s| Outcome::Started(convert::started(s))).map_err(|e| convert::failure(&e))
            }
            Operation::Stop { runtime_id, timeout } => {
                let exit = self.runtime.stop(&runtime_id, timeout).await;
                exit.map(|e| Outcome::Stopped(convert::exit(e))).map_err(|e| convert::failure(&e))
            }
            Operation::Remove { runtime_id } => self.remove(&runtime_id).await,
            Operation::RemoveVolumes { task_arn } => self.remove_volumes(&task_arn).await,
        };
        result.unwrap_or_else(Outcome::Failed)
    }

    async fn pull(
        &self,
        image: &str,
        auth: Option<RegistryAuth>,
        credentials: Option<&IAMRoleCredentials>,
    ) -> Result<Outcome, Failure> {
        let cached = match self.pull_behavior {
            PullBehavior::Default | PullBehavior::Always => None,
            PullBehavior::Once | PullBehavior::PreferCached => self.cached(image).await,
        };
        if let Some(image) = cached {
            return Ok(pulled(image, None, None));
        }
        let began = now();
        match self.pull_from_registry(image, auth, credentials).await {
            Ok(image) => Ok(pulled(image, Some((began, now())), None)),
            // Source: ecs-agent-protocol, "Images": the default goes on with what is here and says so.
            Err(failure) if self.pull_behavior == PullBehavior::Default => match self.cached(image).await {
                Some(image) => Ok(pulled(image, Some((began, now())), Some(failure))),
                None => Err(failure),
            },
            Err(failure) => Err(failure),
        }
    }

    async fn cached(&self, image: &str) -> Option<PulledImage> {
        self.runtime.find_image(image).await.ok().flatten()
    }

    async fn pull_from_registry(
        &self,
        image: &str,
        auth: Option<RegistryAuth>,
        credentials: Option<&IAMRoleCredentials>,
    ) -> Result<PulledImage, Failure> {
        let login = match auth {
            Some(auth) => Some(self.login(&auth, credentials).await?),
            None => None,
        };
        self.runtime.pull(image, login).await.map_err(|e| convert::failure(&e))
    }

    async fn login(
        &self,
        auth: &RegistryAuth,
        credentials: Option<&IAMRoleCredentials>,
    ) -> Result<RegistryCredentials, Failure> {
        match auth {
            RegistryAuth::Ecr { region, registry_id, endpoint, .. } => {
                self.tokens.login(region, registry_id, endpoint.as_deref(), credentials).await.map_err(
                    |error| Failure::new("CannotPullECRContainerError", stdx::Chain(&error).to_string()),
                )
            }
            RegistryAuth::SecretsManager { .. } => Err(Failure::new(
                "CannotPullContainerAuthError",
                "registry credentials in Secrets Manager are not supported on this instance",
            )),
        }
    }

    /// The log stream is made while the container is, so that it costs a start no time of its own.
    async fn create(&self, spec: engine::ContainerSpec, context: Context) -> Result<Outcome, Failure> {
        let log = spec.log.clone();
        let spec = convert::spec(&self.data_dir, spec)?;
        let (created, prepared) = tokio::join!(self.runtime.create(spec), self.prepare_log(&log, &context));
        let runtime_id = created.map_err(|e| convert::failure(&e))?.runtime_id;
        let ready = match prepared {
            Ok(()) => self.follow(&runtime_id, &log, &context).await,
            Err(error) => Err(error),
        };
        if let Err(error) = ready {
            if let Err(error) = self.runtime.remove(&runtime_id).await {
                tracing::warn!(%error, %runtime_id, "a container that cannot log was not removed");
            }
            let text = format!("failed to initialize the log driver awslogs: {}", stdx::Chain(&error));
            return Err(Failure::new("CannotStartContainerError", text));
        }
        Ok(Outcome::Created { runtime_id })
    }

    async fn prepare_log(&self, log: &LogConfig, context: &Context) -> Result<(), crate::error::CallError> {
        if log.driver == "awslogs" { self.logs.prepare(log, context).await } else { Ok(()) }
    }

    async fn follow(
        &self,
        runtime_id: &str,
        log: &LogConfig,
        context: &Context,
    ) -> Result<(), crate::error::CallError> {
        if log.driver != "awslogs" {
            return Ok(());
        }
        match self.runtime.log_path(runtime_id) {
            Some(path) => self.logs.follow(runtime_id, path, log, context).await,
            None => Ok(()),
        }
    }

    /// Goes on shipping the log of a container that an earlier agent made.
    pub(crate) async fn resume_log(
        &self,
        runtime_id: &str,
        log: &LogConfig,
        context: &Context,
        has_ended: bool,
    ) {
        if self.logs.resume(runtime_id, has_ended) || has_ended {
            return;
        }
        // The earlier agent ended between the container's creation and its log's.
        let ready = match self.prepare_log(log, context).await {
            Ok(()) => self.follow(runtime_id, log, context).await,
            Err(error) => Err(error),
        };
        if let Err(error) = ready {
            tracing::warn!(error = %stdx::Chain(&error), runtime_id, "a container's log is not shipped");
        }
    }

    async fn remove(&self, runtime_id: &str) -> Result<Outcome, Failure> {
        self.logs.finish(runtime_id).await;
        match self.runtime.remove(runtime_id).await {
            Ok(()) => {}
            Err(error) if error.kind == ErrorKind::NoSuchContainer => {}
            Err(error) => return Err(convert::failure(&error)),
        }
        self.logs.forget(runtime_id);
        Ok(Outcome::Removed)
    }

    async fn remove_volumes(&self, task_arn: &str) -> Result<Outcome, Failure> {
        match tokio::fs::remove_dir_all(convert::task_volumes(&self.data_dir, task_arn)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                // The task is over: what is left only takes space.
                tracing::warn!(%error, task_arn, "a stopped task's volumes were not removed");
                Ok(Outcome::Removed)
            }
            _ => Ok(Outcome::Removed),
        }
    }
}

fn pulled(
    image: PulledImage,
    times: Option<(stdx::Timestamp, stdx::Timestamp)>,
    warning: Option<Failure>,
) -> Outcome {
    Outcome::Pulled(Pulled { digest: image.digest, times, warning })
}
