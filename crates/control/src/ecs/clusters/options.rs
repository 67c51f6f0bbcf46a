//! What may be chosen for a cluster: settings, configuration, capacity providers, Service Connect defaults.

use crate::call::Ctx;
use crate::ecs::account_settings;
use crate::ecs::exception::invalid;
use crate::state::State;
use crate::state::ecs::Cluster;
use api::ecs::{
    self as model, CapacityProviderStrategyItem, ClusterSettingName, Error, ExecuteCommandLogging,
    SettingName,
};
use std::collections::BTreeSet;

/// The capacity providers that exist without being created.
const BUILT_IN: &[&str] = &["FARGATE", "FARGATE_SPOT"];
/// The most capacity providers of a cluster or a strategy (ecs service quotas).
const PROVIDERS_MAX: usize = 20;

/// Checks everything but name and tags of a CreateCluster.
pub(super) fn check(request: &model::CreateClusterRequest) -> Result<(), Error> {
    check_settings(request.settings.as_deref())?;
    check_configuration(request.configuration.as_ref())?;
    check_namespace(request.service_connect_defaults.as_ref())?;
    let strategy = request.default_capacity_provider_strategy.as_deref().unwrap_or_default();
    check_providers(request.capacity_providers.as_deref().unwrap_or_default(), strategy)
}

/// A repeated CreateCluster gets the existing cluster, but only if it asks for nothing else.
pub(super) fn check_same(cluster: &Cluster, request: &model::CreateClusterRequest) -> Result<(), Error> {
    fn same<T: PartialEq>(asked: Option<&Vec<T>>, is: Option<&Vec<T>>) -> bool {
        asked.is_none_or(|asked| *asked == *is.map_or(&[] as &[T], Vec::as_slice))
    }
    let is = &cluster.options;
    let settings = request.settings.as_ref().is_none_or(|asked| {
        asked.iter().all(|setting| is.settings.as_ref().is_some_and(|all| all.contains(setting)))
    });
    let is_same = settings
        && (request.configuration.is_none() || request.configuration == is.configuration)
        && same(request.capacity_providers.as_ref(), is.capacity_providers.as_ref())
        && same(
            request.default_capacity_provider_strategy.as_ref(),
            is.default_capacity_provider_strategy.as_ref(),
        );
    if is_same {
        return Ok(());
    }
    Err(invalid(
        "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
    ))
}

/// The settings of a new cluster: those given, the others as the account has them.
pub(super) fn settings(
    state: &State,
    ctx: &Ctx<'_>,
    given: Option<&[model::ClusterSetting]>,
) -> Vec<model::ClusterSetting> {
    let given = given.unwrap_or_default().iter().rev().find_map(|setting| setting.value.clone());
    let value = given.unwrap_or_else(|| {
        account_settings::effective(state, ctx, SettingName::ContainerInsights).to_owned()
    });
    vec![model::ClusterSetting { name: Some(ClusterSettingName::ContainerInsights), value: Some(value) }]
}

pub(super) fn check_settings(settings: Option<&[model::ClusterSetting]>) -> Result<(), Error> {
    for setting in settings.unwrap_or_default() {
        if setting.name.is_none() {
            return Err(invalid("Invalid setting 'name'"));
        }
        if !matches!(setting.value.as_deref(), Some("enabled" | "disabled" | "enhanced")) {
            return Err(invalid("Invalid setting 'value'"));
        }
    }
    Ok(())
}

/// The rules between the members of ExecuteCommandConfiguration (API_ExecuteCommandConfiguration).
pub(super) fn check_configuration(configuration: Option<&model::ClusterConfiguration>) -> Result<(), Error> {
    let Some(exec) = configuration.and_then(|c| c.execute_command_configuration.as_ref()) else {
        return Ok(());
    };
    let is_override = exec.logging == Some(ExecuteCommandLogging::Override);
    match (&exec.log_configuration, is_override) {
        (None, true) => {
            Err(invalid("The executeCommandConfiguration needs a logConfiguration when logging is OVERRIDE."))
        }
        (Some(_), false) => Err(invalid(
            "The executeCommandConfiguration can have a logConfiguration only when logging is OVERRIDE.",
        )),
        (Some(log), true) if log.cloud_watch_log_group_name.is_none() && log.s3_bucket_name.is_none() => {
            Err(invalid(
                "The logConfiguration of executeCommandConfiguration needs a cloudWatchLogGroupName or an s3BucketName.",
            ))
        }
        _ => Ok(()),
    }
}

/// There is no Cloud Map here, so no namespace can be found; the empty name takes the default away.
pub(super) fn check_namespace(
    defaults: Option<&model::ClusterServiceConnectDefaultsRequest>,
) -> Result<(), Error> {
    match defaults {
        Some(defaults) if !defaults.namespace.is_empty() => {
            let text = format!("The specified namespace '{}' wasn't found.", defaults.namespace);
            Err(model::NamespaceNotFoundException::new(text).into())
        }
        _ => Ok(()),
    }
}

/// Providers must exist, and the default strategy may only name them (API_PutClusterCapacityProviders).
pub(super) fn check_providers(
    providers: &[String],
    strategy: &[CapacityProviderStrategyItem],
) -> Result<(), Error> {
    if providers.len() > PROVIDERS_MAX || strategy.len() > PROVIDERS_MAX {
        return Err(invalid(format!("A cluster can have at most {PROVIDERS_MAX} capacity providers.")));
    }
    for name in providers {
        if !BUILT_IN.contains(&name.as_str()) {
            return Err(invalid(format!(
                "The specified capacity provider '{name}' was not found. Specify a valid name or ARN and try again."
            )));
        }
    }
    let mut seen = BTreeSet::new();
    for item in strategy {
        if !providers.contains(&item.capacity_provider) {
            return Err(invalid(
                "The specified capacity provider strategy cannot contain a capacity provider that is not associated \
                 with the cluster. Associate the capacity provider with the cluster and try again.",
            ));
        }
        if !seen.insert(&item.capacity_provider) {
            return Err(invalid(format!(
                "The specified capacity provider strategy names '{}' more than once.",
                item.capacity_provider
            )));
        }
    }
    if strategy.iter().filter(|item| item.base.is_some_and(|base| base > 0)).count() > 1 {
        return Err(invalid(
            "Only one capacity provider in a capacity provider strategy can have a base defined.",
        ));
    }
    if !strategy.is_empty() && strategy.iter().all(|item| item.weight.unwrap_or(0) == 0) {
        return Err(invalid(
            "At least one capacity provider in a capacity provider strategy must have a weight greater than zero.",
        ));
    }
    Ok(())
}
