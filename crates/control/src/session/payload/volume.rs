//! A task's volumes.

use api::{acs, ecs as model};

pub(super) fn volume(volume: &model::Volume) -> acs::Volume {
    let mut sent = acs::Volume { name: volume.name.clone(), ..acs::Volume::default() };
    if let Some(docker) = &volume.docker_volume_configuration {
        sent.r#type = Some(acs::VolumeType::Docker);
        sent.docker_volume_configuration = Some(acs::DockerVolumeConfiguration {
            autoprovision: docker.autoprovision,
            driver: docker.driver.clone(),
            driver_opts: docker.driver_opts.clone(),
            labels: docker.labels.clone(),
            scope: docker.scope.and_then(|scope| acs::Scope::parse(scope.as_str())),
        });
    } else if let Some(efs) = &volume.efs_volume_configuration {
        sent.r#type = Some(acs::VolumeType::Efs);
        sent.efs_volume_configuration = Some(efs_configuration(efs));
    } else {
        // The agent needs the host document even where it is empty: then the volume is the task's own.
        let source_path = volume.host.as_ref().and_then(|host| host.source_path.clone());
        sent.r#type = Some(acs::VolumeType::Host);
        sent.host = Some(acs::HostVolumeProperties { source_path });
    }
    sent
}

fn efs_configuration(efs: &model::EFSVolumeConfiguration) -> acs::EFSVolumeConfiguration {
    acs::EFSVolumeConfiguration {
        file_system_id: Some(efs.file_system_id.clone()),
        root_directory: efs.root_directory.clone(),
        transit_encryption: efs.transit_encryption.and_then(|t| acs::EFSTransitEncryption::parse(t.as_str())),
        transit_encryption_port: efs.transit_encryption_port,
        authorization_config: efs.authorization_config.as_ref().map(|a| acs::EFSAuthorizationConfig {
            access_point_id: a.access_point_id.clone(),
            iam: a.iam.and_then(|iam| acs::EFSAuthorizationConfigIAM::parse(iam.as_str())),
        }),
    }
}
