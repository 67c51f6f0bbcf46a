//! TCS: signed frames about an idle instance and its runtime.

use crate::stub::{Heard, RunningAgent, Stub, config};
use api::channel::TcsMessage;
use runtime::Simulated;

#[tokio::test]
async fn an_idle_instance_says_so_in_signed_frames() {
    let (stub, dir, runtime) = (Stub::start().await, tempfile::tempdir().unwrap(), Simulated::default());
    let agent = RunningAgent::start(config(&stub, dir.path()), &runtime);
    let query = stub
        .wait("telemetry session", |heard| {
            heard.iter().find_map(|h| if let Heard::Tcs(query) = h { Some(query.clone()) } else { None })
        })
        .await;
    assert!(query.contains("cluster=default") && query.contains("dockerVersion=simulated+"), "{query}");
    let metrics = stub
        .wait("metrics", |heard| {
            heard.iter().find_map(|h| match h {
                Heard::Telemetry(TcsMessage::PublishMetricsRequest(metrics)) => Some(metrics.clone()),
                _ => None,
            })
        })
        .await;
    let metadata = metrics.metadata.unwrap();
    assert_eq!((metadata.idle, metadata.fin), (Some(true), Some(true)));
    assert!(metrics.task_metrics.is_none() && metadata.message_id.is_some());
    agent.stop().await;
}
