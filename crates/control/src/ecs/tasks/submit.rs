//! ecs:SubmitTaskStateChange, SubmitContainerStateChange and SubmitAttachmentStateChanges: what agents report.

use super::lifecycle::{self, ContainerReport, Report, TaskEvent};
use crate::arn::Arn;
use crate::call::Ctx;
use crate::ecs::exception::invalid;
use crate::state::ecs::{Binding, ContainerStatus, Task, TaskId, TaskStatus, Transport};
use crate::tx::Tx;
use api::ecs::{self as model, Error};

/// What agents get back; they do not look at it.
const ACKNOWLEDGMENT: &str = "ACK";

pub(in crate::ecs) fn submit_task(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: model::SubmitTaskStateChangeRequest,
) -> Result<model::SubmitTaskStateChangeResponse, Error> {
    let id = task(tx, ctx, request.task.as_deref())?;
    let report = Report {
        status: request.status.as_deref().and_then(status),
        reason: request.reason,
        containers: request.containers.into_iter().flatten().map(container).collect(),
        pull_started_at: request.pull_started_at,
        pull_stopped_at: request.pull_stopped_at,
        execution_stopped_at: request.execution_stopped_at,
    };
    lifecycle::apply(tx, ctx.now, ctx.settings, id, TaskEvent::Report(report));
    Ok(model::SubmitTaskStateChangeResponse { acknowledgment: Some(ACKNOWLEDGMENT.to_owned()) })
}

pub(in crate::ecs) fn submit_container(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: model::SubmitContainerStateChangeRequest,
) -> Result<model::SubmitContainerStateChangeResponse, Error> {
    let id = task(tx, ctx, request.task.as_deref())?;
    let change = container(model::ContainerStateChange {
        container_name: request.container_name,
        exit_code: request.exit_code,
        image_digest: None,
        network_bindings: request.network_bindings,
        reason: request.reason,
        runtime_id: request.runtime_id,
        status: request.status,
    });
    let report = Report { containers: vec![change], ..Report::default() };
    lifecycle::apply(tx, ctx.now, ctx.settings, id, TaskEvent::Report(report));
    Ok(model::SubmitContainerStateChangeResponse { acknowledgment: Some(ACKNOWLEDGMENT.to_owned()) })
}

/// No attachment is ever made, so none can have changed.
pub(in crate::ecs) fn submit_attachments(
    request: &model::SubmitAttachmentStateChangesRequest,
) -> Result<model::SubmitAttachmentStateChangesResponse, Error> {
    match request.attachments.first() {
        Some(change) => Err(invalid(format!("The attachment {} was not found.", change.attachment_arn))),
        None => Err(invalid("attachments cannot be empty.")),
    }
}

/// The task that a report is about, whatever cluster it names: agents repeat theirs as it was configured.
///
/// An agent drops a report that is refused with InvalidParameterException and repeats every other for ever.
fn task(tx: &Tx<'_>, ctx: &Ctx<'_>, text: Option<&str>) -> Result<TaskId, Error> {
    let text = text.unwrap_or_default();
    let is_foreign = Arn::parse(text).is_some_and(|arn| !arn.is_in(ctx.scope));
    let id = text.rsplit('/').next().and_then(TaskId::parse).filter(|_| !is_foreign);
    let found = id.and_then(|id| tx.get::<Task>(&id)).filter(|task| task.cluster.scope == ctx.scope);
    found.map(|task| task.id).ok_or_else(|| invalid("The referenced task was not found."))
}

fn status(text: &str) -> Option<TaskStatus> {
    match text {
        "RUNNING" => Some(TaskStatus::Running),
        "STOPPED" => Some(TaskStatus::Stopped),
        _ => None,
    }
}

fn container(change: model::ContainerStateChange) -> ContainerReport {
    ContainerReport {
        name: change.container_name.unwrap_or_default(),
        status: match change.status.as_deref() {
            Some("RUNNING") => Some(ContainerStatus::Running),
            Some("STOPPED") => Some(ContainerStatus::Stopped),
            _ => None,
        },
        exit_code: change.exit_code,
        reason: change.reason,
        runtime_id: change.runtime_id,
        image_digest: change.image_digest,
        network_bindings: change.network_bindings.iter().flatten().flat_map(bindings).collect(),
    }
}

/// A binding, or one for each port of a range.
fn bindings(binding: &model::NetworkBinding) -> Vec<Binding> {
    let transport =
        if binding.protocol == Some(model::TransportProtocol::Udp) { Transport::Udp } else { Transport::Tcp };
    let bind_ip = binding.bind_ip.clone().unwrap_or_default();
    let made = |container_port: u16, host_port: u16| Binding {
        bind_ip: bind_ip.clone(),
        container_port,
        host_port,
        transport,
    };
    let port = |number: Option<i32>| number.and_then(|n| u16::try_from(n).ok());
    let range = |text: &Option<String>| {
        let (first, last) = text.as_deref()?.split_once('-')?;
        Some((first.trim().parse::<u16>().ok()?, last.trim().parse::<u16>().ok()?))
    };
    if let (Some(inner), Some(outer)) =
        (range(&binding.container_port_range), range(&binding.host_port_range))
    {
        return (inner.0..=inner.1).zip(outer.0..=outer.1).map(|(c, h)| made(c, h)).collect();
    }
    let host_port = port(binding.host_port);
    port(binding.container_port).zip(host_port).map(|(c, h)| made(c, h)).into_iter().collect()
}
