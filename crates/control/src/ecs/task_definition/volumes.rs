//! The rules of volumes and of the places where containers mount them.

use super::container;
use crate::ecs::exception::{client, is_name};
use api::ecs::{
    EFSAuthorizationConfigIAM, EFSTransitEncryption, EFSVolumeConfiguration, Error,
    RegisterTaskDefinitionRequest, Scope, Volume,
};
use std::collections::BTreeSet;

pub(super) fn check(request: &RegisterTaskDefinitionRequest) -> Result<(), Error> {
    let volumes = request.volumes.as_deref().unwrap_or_default();
    let mut names = BTreeSet::new();
    for volume in volumes {
        let name = check_name(volume)?;
        if !names.insert(name) {
            return Err(client(format!("Volume names must be unique: '{name}' is used more than once.")));
        }
        check_kind(volume, name)?;
    }
    if volumes.iter().filter(|v| v.configured_at_launch == Some(true)).count() > 1 {
        return Err(client("A task definition can have at most one volume with configuredAtLaunch."));
    }
    for one in &request.container_definitions {
        let mut paths = BTreeSet::new();
        for mount in one.mount_points.iter().flatten() {
            let source = mount.source_volume.as_deref().unwrap_or_default();
            if !names.contains(source) {
                return Err(client(format!("Unknown volume '{source}'.")));
            }
            let path = mount.container_path.as_deref().unwrap_or_default();
            if path.is_empty() {
                return Err(client(format!(
                    "Invalid 'mountPoints' setting for container '{}'. containerPath should not be null or empty.",
                    container::name(one)
                )));
            }
            if !paths.insert(path) {
                return Err(client(format!(
                    "Invalid 'mountPoints' setting for container '{}'. The containerPath '{path}' is used more than \
                     once.",
                    container::name(one)
                )));
            }
        }
    }
    Ok(())
}

fn check_name(volume: &Volume) -> Result<&str, Error> {
    let name = volume.name.as_deref().unwrap_or_default();
    if name.is_empty() {
        return Err(client("Volume.name should not be null or empty."));
    }
    if !is_name(name) {
        return Err(client("Volume.name contains invalid characters."));
    }
    Ok(name)
}

/// A volume is of one kind; each has its rules (API_Volume).
fn check_kind(volume: &Volume, name: &str) -> Result<(), Error> {
    let kinds = [
        volume.host.is_some(),
        volume.docker_volume_configuration.is_some(),
        volume.efs_volume_configuration.is_some(),
        volume.fsx_windows_file_server_volume_configuration.is_some(),
        volume.s3files_volume_configuration.is_some(),
        volume.configured_at_launch == Some(true),
    ];
    if kinds.into_iter().filter(|is_given| *is_given).count() > 1 {
        return Err(client(format!(
            "Only one volume configuration can be specified for the volume '{name}'."
        )));
    }
    if volume.host.as_ref().and_then(|h| h.source_path.as_ref()).is_some_and(|path| path.trim().is_empty()) {
        return Err(client("host.sourcePath should not be blank."));
    }
    if let Some(docker) = &volume.docker_volume_configuration
        && docker.autoprovision.is_some()
        && docker.scope != Some(Scope::Shared)
    {
        return Err(client("Autoprovision is only supported for volumes with the scope 'shared'."));
    }
    match &volume.efs_volume_configuration {
        Some(efs) => check_efs(efs),
        None => Ok(()),
    }
}

/// EFS with an access point or IAM needs encryption, and an access point has its own root (API_EFSVolumeConfiguration).
fn check_efs(efs: &EFSVolumeConfiguration) -> Result<(), Error> {
    let access_point = efs.authorization_config.as_ref().and_then(|c| c.access_point_id.as_ref());
    let iam = efs.authorization_config.as_ref().and_then(|c| c.iam);
    let is_encrypted = efs.transit_encryption == Some(EFSTransitEncryption::Enabled);
    if efs.file_system_id.is_empty() {
        return Err(client("EFSVolumeConfiguration.fileSystemId should not be null or empty."));
    }
    if access_point.is_some() && !is_encrypted {
        return Err(client("EFS transit encryption must be enabled when an access point is specified."));
    }
    if iam == Some(EFSAuthorizationConfigIAM::Enabled) && !is_encrypted {
        return Err(client("EFS transit encryption must be enabled when IAM authorization is enabled."));
    }
    if access_point.is_some() && efs.root_directory.as_deref().is_some_and(|root| root != "/") {
        return Err(client(
            "The EFS root directory must be omitted or set to '/' when an access point is specified.",
        ));
    }
    if efs.transit_encryption_port.is_some_and(|port| !(1..=65535).contains(&port)) {
        return Err(client("The EFS transitEncryptionPort must be between 1 and 65535."));
    }
    Ok(())
}
