//! UpdateCluster, UpdateClusterSettings, PutClusterCapacityProviders.

use super::{Parts, active, options, view};
use crate::call::Ctx;
use crate::ecs::exception::invalid;
use crate::state::ecs::Cluster;
use crate::tx::Tx;
use api::ecs::{self as model, Error};

pub(in crate::ecs) fn update(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: model::UpdateClusterRequest,
) -> Result<model::UpdateClusterResponse, Error> {
    options::check_settings(request.settings.as_deref())?;
    options::check_configuration(request.configuration.as_ref())?;
    options::check_namespace(request.service_connect_defaults.as_ref())?;
    let cluster = change(tx, ctx, &request.cluster, |options| {
        if let Some(settings) = request.settings.filter(|s| !s.is_empty()) {
            options.settings = Some(settings);
        }
        if let Some(configuration) = request.configuration {
            options.configuration = Some(configuration);
        }
    })?;
    Ok(model::UpdateClusterResponse { cluster: Some(cluster) })
}

pub(in crate::ecs) fn update_settings(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: model::UpdateClusterSettingsRequest,
) -> Result<model::UpdateClusterSettingsResponse, Error> {
    if request.settings.is_empty() {
        return Err(invalid("settings cannot be empty."));
    }
    options::check_settings(Some(&request.settings))?;
    let cluster = change(tx, ctx, &request.cluster, |options| options.settings = Some(request.settings))?;
    Ok(model::UpdateClusterSettingsResponse { cluster: Some(cluster) })
}

pub(in crate::ecs) fn put_capacity_providers(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: model::PutClusterCapacityProvidersRequest,
) -> Result<model::PutClusterCapacityProvidersResponse, Error> {
    active(tx.state(), ctx, Some(&request.cluster))?;
    options::check_providers(&request.capacity_providers, &request.default_capacity_provider_strategy)?;
    let cluster = change(tx, ctx, &request.cluster, |options| {
        options.capacity_providers = Some(request.capacity_providers);
        options.default_capacity_provider_strategy = Some(request.default_capacity_provider_strategy);
    })?;
    Ok(model::PutClusterCapacityProvidersResponse { cluster: Some(cluster) })
}

/// Changes the options of an ACTIVE cluster and shows it as it is then.
fn change(
    tx: &mut Tx<'_>,
    ctx: &Ctx<'_>,
    cluster: &str,
    edit: impl FnOnce(&mut model::CreateClusterRequest),
) -> Result<model::Cluster, Error> {
    let mut cluster: Cluster = (**active(tx.state(), ctx, Some(cluster))?).clone();
    edit(&mut cluster.options);
    let cluster = tx.put(cluster);
    Ok(view(tx.state(), &cluster, &Parts::CREATED))
}
