//! PutAttributes, DeleteAttributes, ListAttributes.

use super::exception::{invalid, invalid_token, page_size};
use super::{clusters, reference};
use crate::arn;
use crate::call::Ctx;
use crate::page;
use crate::state::State;
use crate::state::ecs::{Attribute, ClusterId, ContainerInstance, InstanceId, InstanceStatus};
use crate::tx::Tx;
use api::ecs::{self as model, Error};

/// The most attributes in one call, and the most custom attributes on one instance (API_PutAttributes).
const ATTRIBUTES_MAX: usize = 10;

pub(super) fn put(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: model::PutAttributesRequest,
) -> Result<model::PutAttributesResponse, Error> {
    let cluster = clusters::active(tx.state(), ctx, request.cluster.as_deref())?.id.clone();
    check_count(&request.attributes)?;
    let mut put = Vec::new();
    for attribute in request.attributes {
        check(&attribute)?;
        let id = target(tx.state(), ctx, &cluster, &attribute)?;
        let (name, value) = (attribute.name.clone(), attribute.value.clone());
        tx.edit::<ContainerInstance>(&id, |instance| upsert(instance, Attribute { name, value }));
        let count = tx.get::<ContainerInstance>(&id).map_or(0, |i| i.custom_attributes.len());
        if count > ATTRIBUTES_MAX {
            let text =
                format!("The limit of {ATTRIBUTES_MAX} custom attributes per resource has been exceeded.");
            return Err(model::AttributeLimitExceededException::new(text).into());
        }
        put.push(view(&cluster, id, &attribute.name, attribute.value.as_deref()));
    }
    Ok(model::PutAttributesResponse { attributes: Some(put) })
}

pub(super) fn delete(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: model::DeleteAttributesRequest,
) -> Result<model::DeleteAttributesResponse, Error> {
    let cluster = clusters::active(tx.state(), ctx, request.cluster.as_deref())?.id.clone();
    check_count(&request.attributes)?;
    let mut deleted = Vec::new();
    for attribute in request.attributes {
        check(&attribute)?;
        let id = target(tx.state(), ctx, &cluster, &attribute)?;
        let is_meant = |a: &Attribute| {
            a.name == attribute.name && (attribute.value.is_none() || a.value == attribute.value)
        };
        let is_there = tx.get::<ContainerInstance>(&id).is_some_and(|i| {
            i.attributes.iter().any(is_meant) && i.custom_attributes.contains(&attribute.name)
        });
        if !is_there {
            continue;
        }
        tx.edit::<ContainerInstance>(&id, |instance| {
            instance.attributes.retain(|a| !is_meant(a));
            instance.custom_attributes.remove(&attribute.name);
        });
        deleted.push(view(&cluster, id, &attribute.name, attribute.value.as_deref()));
    }
    Ok(model::DeleteAttributesResponse { attributes: Some(deleted) })
}

pub(super) fn list(
    state: &State,
    ctx: &Ctx<'_>,
    request: &model::ListAttributesRequest,
) -> Result<model::ListAttributesResponse, Error> {
    let limit = page_size(request.max_results, 100)?;
    let cluster = &clusters::active(state, ctx, request.cluster.as_deref())?.id;
    let is_wanted = |a: &Attribute| {
        request.attribute_name.as_ref().is_none_or(|name| a.name == *name)
            && request.attribute_value.as_ref().is_none_or(|value| a.value.as_ref() == Some(value))
    };
    let found = state
        .indexes
        .instances_by_cluster
        .get(cluster)
        .into_iter()
        .flatten()
        .filter_map(|(_, id)| state.container_instances.get(id))
        .filter(|instance| instance.status != InstanceStatus::Inactive)
        .flat_map(|instance| instance.attributes.iter().map(move |attribute| (instance, attribute)))
        .filter(|(_, attribute)| is_wanted(attribute));
    let filters = format!("{:?}", (cluster, &request.attribute_name, &request.attribute_value));
    let key = |(instance, attribute): &(&ContainerInstance, &Attribute)| {
        format!("{:020}/{}", instance.sequence, attribute.name)
    };
    let page = page::page(found.map(|(i, a)| (&**i, a)), key, limit, &filters, request.next_token.as_deref())
        .map_err(invalid_token)?;
    let shown = page.items.iter().map(|(i, a)| view(cluster, i.id, &a.name, a.value.as_deref()));
    Ok(model::ListAttributesResponse { attributes: Some(shown.collect()), next_token: page.next_token })
}

fn check_count(attributes: &[model::Attribute]) -> Result<(), Error> {
    match attributes.len() {
        0 => Err(invalid("attributes cannot be empty.")),
        1..=ATTRIBUTES_MAX => Ok(()),
        _ => Err(invalid(format!("attributes can have at most {ATTRIBUTES_MAX} items."))),
    }
}

/// The forms of names and values (API_Attribute), and that the name is the user's own.
fn check(attribute: &model::Attribute) -> Result<(), Error> {
    let name = &attribute.name;
    let is_name_character = |c: char| c.is_ascii_alphanumeric() || "-_./\\".contains(c);
    if !(1..=128).contains(&name.len()) || !name.chars().all(is_name_character) {
        return Err(invalid(format!("Invalid attribute name: '{name}'.")));
    }
    if name.starts_with("ecs.") || name.starts_with("com.amazonaws.ecs.") {
        return Err(invalid(format!("The attribute '{name}' is reserved and cannot be changed.")));
    }
    if let Some(value) = &attribute.value {
        let is_value = (1..=128).contains(&value.len())
            && value.trim() == value
            && value.chars().all(|c| is_name_character(c) || "@: ".contains(c));
        if !is_value {
            return Err(invalid(format!("Invalid attribute value: '{value}'.")));
        }
    }
    Ok(())
}

/// The instance that an attribute is for, by id or ARN.
fn target(
    state: &State,
    ctx: &Ctx<'_>,
    cluster: &ClusterId,
    attribute: &model::Attribute,
) -> Result<InstanceId, Error> {
    let Some(text) = &attribute.target_id else { return Err(invalid("targetId is required.")) };
    let id = InstanceId::parse(reference::own_id(ctx, cluster, "container-instance", text)?);
    let is_known = |id: &InstanceId| {
        state
            .container_instances
            .get(id)
            .is_some_and(|i| i.cluster == *cluster && i.status != InstanceStatus::Inactive)
    };
    id.filter(is_known)
        .ok_or_else(|| model::TargetNotFoundException::new(format!("Could not find {text}")).into())
}

/// Sets an attribute, keeping the list in order of names.
fn upsert(instance: &mut ContainerInstance, attribute: Attribute) {
    instance.custom_attributes.insert(attribute.name.clone());
    match instance.attributes.binary_search_by(|a| a.name.cmp(&attribute.name)) {
        Ok(at) => instance.attributes[at] = attribute,
        Err(at) => instance.attributes.insert(at, attribute),
    }
}

fn view(cluster: &ClusterId, id: InstanceId, name: &str, value: Option<&str>) -> model::Attribute {
    model::Attribute {
        name: name.to_owned(),
        value: value.map(str::to_owned),
        target_type: Some(model::TargetType::ContainerInstance),
        target_id: Some(arn::container_instance(cluster, id)),
    }
}
