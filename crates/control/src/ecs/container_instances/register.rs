//! ecs:RegisterContainerInstance (API_RegisterContainerInstance; ecs-agent, `ecs-agent/api/ecs/client`).

use super::resources::Resources;
use super::view;
use crate::call::Ctx;
use crate::ecs::exception::client;
use crate::ecs::{clusters, reference, tags};
use crate::state::ecs::{Attribute, ClusterId, ContainerInstance, InstanceId, InstanceStatus};
use crate::tx::Tx;
use api::ecs::{self as model, Error, RegisterContainerInstanceRequest};
use std::collections::{BTreeMap, BTreeSet};

const ZONE: &str = "ecs.availability-zone";

pub(in crate::ecs) fn register(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: RegisterContainerInstanceRequest,
) -> Result<model::RegisterContainerInstanceResponse, Error> {
    let cluster = clusters::active(tx.state(), ctx, request.cluster.as_deref())?.id.clone();
    let resources = Resources::parse(request.total_resources.clone())?;
    let identity = Identity::parse(request.instance_identity_document.as_deref())?;
    let instance = match request.container_instance_arn.as_deref().filter(|arn| !arn.is_empty()) {
        Some(arn) => again(tx, ctx, (&cluster, arn), &request, resources)?,
        None => ContainerInstance {
            id: InstanceId(ctx.rng.next_u128()),
            sequence: tx.next_sequence(),
            cluster: cluster.clone(),
            status: InstanceStatus::Active,
            registered_at: ctx.now,
            ec2_instance_id: None,
            capacity_provider: None,
            cpu_units: resources.cpu_units,
            memory_mib: resources.memory_mib,
            reserved_ports: resources.reserved_ports,
            gpu_ids: resources.gpu_ids,
            attributes: Vec::new(),
            custom_attributes: BTreeSet::new(),
            agent_version: None,
            agent_hash: None,
            docker_version: None,
            tags: tags::parse(request.tags.clone())?,
            version: 0,
            forget_at: None,
        },
    };
    let mut instance = described(instance, &cluster, request.attributes, &identity);
    if let Some(versions) = request.version_info {
        instance.agent_version = versions.agent_version.or(instance.agent_version);
        instance.agent_hash = versions.agent_hash.or(instance.agent_hash);
        instance.docker_version = versions.docker_version.or(instance.docker_version);
    }
    instance.ec2_instance_id = identity.instance_id.or(instance.ec2_instance_id);
    instance.version += 1;
    let instance = tx.put(instance);
    let parts = view::Parts { tags: true, health: false };
    Ok(model::RegisterContainerInstanceResponse {
        container_instance: Some(view::instance(tx.state(), &instance, parts)),
    })
}

/// The instance that an agent has been before: it keeps its ARN and the attributes of its operator.
fn again(
    tx: &Tx<'_>,
    ctx: &Ctx<'_>,
    (cluster, arn): (&ClusterId, &str),
    request: &RegisterContainerInstanceRequest,
    resources: Resources,
) -> Result<ContainerInstance, Error> {
    let id = reference::own_id(ctx, cluster, "container-instance", arn)?;
    let known = InstanceId::parse(id).and_then(|id| tx.get::<ContainerInstance>(&id));
    // One that is long gone was inactive before: agents know what to do with this text.
    let known = known
        .filter(|instance| instance.cluster == *cluster && instance.status != InstanceStatus::Inactive)
        .ok_or_else(|| client(format!("Container instance {id} is inactive.")))?;
    let sizes = (resources.cpu_units, resources.memory_mib, &resources.gpu_ids);
    if sizes != (known.cpu_units, known.memory_mib, &known.gpu_ids) {
        return Err(client(format!(
            "Container instance type changes are not supported. Container instance {id} was registered with {} CPU \
             units and {} MiB of memory; remove the agent's state to register as a new instance.",
            known.cpu_units, known.memory_mib
        )));
    }
    let mut instance = (**known).clone();
    instance.reserved_ports = resources.reserved_ports;
    if request.tags.as_ref().is_some_and(|tags| !tags.is_empty()) {
        instance.tags = tags::parse(request.tags.clone())?;
    }
    Ok(instance)
}

/// Sets the attributes: what the agent sends, what its operator set before, and what ECS knows itself.
fn described(
    mut instance: ContainerInstance,
    cluster: &ClusterId,
    sent: Option<Vec<model::Attribute>>,
    identity: &Identity,
) -> ContainerInstance {
    let mut all: BTreeMap<String, Option<String>> = BTreeMap::new();
    for attribute in instance.attributes {
        if instance.custom_attributes.contains(&attribute.name) {
            all.insert(attribute.name, attribute.value);
        }
    }
    for attribute in sent.into_iter().flatten() {
        if !is_built_in(&attribute.name) {
            instance.custom_attributes.insert(attribute.name.clone());
        }
        all.insert(attribute.name, attribute.value.filter(|value| !value.is_empty()));
    }
    let zone = identity.availability_zone.clone().unwrap_or_else(|| format!("{}a", cluster.scope.region));
    let known = [
        (ZONE, Some(zone)),
        ("ecs.ami-id", identity.image_id.clone()),
        ("ecs.instance-type", identity.instance_type.clone()),
        ("ecs.os-type", Some("linux".to_owned())),
        ("ecs.os-family", Some("LINUX".to_owned())),
        ("ecs.cpu-architecture", identity.architecture.clone()),
    ];
    for (name, value) in known {
        if let Some(value) = value {
            all.entry(name.to_owned()).or_insert(Some(value));
        }
    }
    instance.attributes = all.into_iter().map(|(name, value)| Attribute { name, value }).collect();
    instance
}

fn is_built_in(name: &str) -> bool {
    name.starts_with("ecs.") || name.starts_with("com.amazonaws.")
}

/// What the identity document of an EC2 instance says (EC2 user guide, "Instance identity documents").
#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Identity {
    instance_id: Option<String>,
    instance_type: Option<String>,
    image_id: Option<String>,
    availability_zone: Option<String>,
    architecture: Option<String>,
}

impl Identity {
    fn parse(document: Option<&str>) -> Result<Self, Error> {
        match document.map(str::trim).filter(|text| !text.is_empty()) {
            None => Ok(Self::default()),
            Some(text) => serde_json::from_str(text)
                .map_err(|error| client(format!("The instance identity document cannot be read: {error}"))),
        }
    }
}
