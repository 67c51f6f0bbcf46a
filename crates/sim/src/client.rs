//! The user: random calls, most of them sensible, some nonsense.

use crate::setup::{self, CLUSTERS, FAMILIES, request};
use crate::world::World;
use api::ecs::{Request, Response};
use control::state::ecs::InstanceStatus;

/// What the user has learnt from replies.
#[derive(Default)]
pub(crate) struct Client {
    /// The cluster and ARN of each task.
    tasks: Vec<(&'static str, String)>,
    last_token: Option<Request>,
    tokens: u64,
}

impl Client {
    /// Remembers the tasks that a reply tells of.
    pub(crate) fn learn(&mut self, response: &Response) {
        let tasks = match response {
            Response::RunTask(response) => &response.tasks,
            Response::StartTask(response) => &response.tasks,
            _ => return,
        };
        for task in tasks.iter().flatten() {
            let (Some(arn), Some(cluster)) = (&task.task_arn, &task.cluster_arn) else { continue };
            let cluster = CLUSTERS.iter().find(|name| cluster.ends_with(**name)).unwrap_or(&CLUSTERS[0]);
            self.tasks.push((cluster, arn.clone()));
        }
    }
}

impl World {
    /// The next call of the user.
    pub(crate) fn random_call(&mut self) -> Request {
        let cluster = CLUSTERS[usize::from(self.rng.chance(1, 4))];
        match self.rng.below(100) {
            0..35 => self.run_task(cluster),
            35..60 => self.stop_task(),
            60..70 => self.start_task(cluster),
            70..76 => self.describe(),
            76..79 => request("ListTasks", &format!(r#"{{"cluster":"{cluster}","maxResults":3}}"#)),
            79..84 => self.drain(cluster),
            84..86 => self.deregister(cluster),
            86..90 => self.client.last_token.clone().unwrap_or_else(|| request("DescribeClusters", "{}")),
            90..92 => request(
                "RegisterTaskDefinition",
                &setup::definition(FAMILIES[self.rng.index(FAMILIES.len())]),
            ),
            _ => self.nonsense(cluster),
        }
    }

    fn run_task(&mut self, cluster: &str) -> Request {
        let family = FAMILIES[self.rng.index(FAMILIES.len())];
        let count = 1 + self.rng.below(3);
        let mut extra = String::new();
        if self.rng.chance(1, 6) {
            let cpu = 1 + self.rng.below(1500);
            extra = format!(r#","overrides":{{"cpu":"{cpu}","memory":"64"}}"#);
        }
        if self.rng.chance(1, 8) {
            extra += r#","placementConstraints":[{"type":"distinctInstance"}]"#;
        }
        let has_token = self.rng.chance(1, 5);
        if has_token {
            self.client.tokens += 1;
            extra += &format!(r#","clientToken":"token-{}""#, self.client.tokens);
        }
        let body = format!(r#"{{"cluster":"{cluster}","taskDefinition":"{family}","count":{count}{extra}}}"#);
        let call = request("RunTask", &body);
        if has_token {
            self.client.last_token = Some(call.clone());
        }
        call
    }

    fn stop_task(&mut self) -> Request {
        let tasks = &self.client.tasks;
        if tasks.is_empty() {
            return request("StopTask", r#"{"task":"00000000000000000000000000000001"}"#);
        }
        // Young tasks more often than old ones.
        let back = self.rng.index(tasks.len().min(12));
        let (cluster, arn) = &tasks[tasks.len() - 1 - back];
        request("StopTask", &format!(r#"{{"cluster":"{cluster}","task":"{arn}"}}"#))
    }

    fn start_task(&mut self, cluster: &str) -> Request {
        let family = FAMILIES[self.rng.index(FAMILIES.len())];
        let (one, two) = (self.some_instance(cluster), self.some_instance(cluster));
        request(
            "StartTask",
            &format!(
                r#"{{"cluster":"{cluster}","taskDefinition":"{family}","containerInstances":["{one}","{two}"]}}"#
            ),
        )
    }

    /// The id of any instance of the cluster, or one that never was.
    fn some_instance(&mut self, cluster: &str) -> String {
        let state = self.core.as_ref().map(control::Core::state);
        let all = state.into_iter().flat_map(|state| state.container_instances.values());
        let mut ids: Vec<String> =
            all.filter(|i| i.cluster.name == cluster).map(|i| i.id.to_string()).collect();
        ids.push("0123456789abcdef0123456789abcdef".to_owned());
        ids.swap_remove(self.rng.index(ids.len()))
    }

    fn describe(&mut self) -> Request {
        let Some((cluster, arn)) = self.client.tasks.last() else { return request("DescribeClusters", "{}") };
        request(
            "DescribeTasks",
            &format!(r#"{{"cluster":"{cluster}","tasks":["{arn}"],"include":["TAGS"]}}"#),
        )
    }

    fn drain(&mut self, cluster: &str) -> Request {
        let status = if self.rng.chance(1, 3) { "DRAINING" } else { "ACTIVE" };
        let id = self.some_instance(cluster);
        request(
            "UpdateContainerInstancesState",
            &format!(r#"{{"cluster":"{cluster}","containerInstances":["{id}"],"status":"{status}"}}"#),
        )
    }

    fn deregister(&mut self, cluster: &str) -> Request {
        let force = self.rng.chance(1, 2);
        let id = self.some_instance(cluster);
        request(
            "DeregisterContainerInstance",
            &format!(r#"{{"cluster":"{cluster}","containerInstance":"{id}","force":{force}}}"#),
        )
    }

    fn nonsense(&mut self, cluster: &str) -> Request {
        match self.rng.below(8) {
            0 => request("RunTask", r#"{"taskDefinition":"none"}"#),
            1 => request("RunTask", r#"{"cluster":"nowhere","taskDefinition":"big"}"#),
            2 => request("RunTask", r#"{"taskDefinition":"big","count":-1}"#),
            3 => request("StopTask", r#"{"task":"x"}"#),
            4 => request("DescribeTasks", r#"{"tasks":[]}"#),
            5 => request("SubmitTaskStateChange", r#"{"task":"nothing","status":"RUNNING"}"#),
            6 => request(
                "StartTask",
                &format!(r#"{{"cluster":"{cluster}","taskDefinition":"big","containerInstances":["x"]}}"#),
            ),
            _ => request("UpdateCluster", r#"{"cluster":"nowhere"}"#),
        }
    }

    /// Calls that make the system as empty as it was: every task stopped, and machines that are gone deregistered.
    pub(crate) fn last_calls(&mut self) -> Vec<Request> {
        let Some(core) = &self.core else { return Vec::new() };
        let state = core.state();
        let lives = |id| self.machines.iter().any(|m| !m.is_dead && m.instance() == Some(id));
        let instances = state.container_instances.values();
        let gone = instances.filter(|i| i.status != InstanceStatus::Inactive && !lives(i.id)).map(|i| {
            let body =
                format!(r#"{{"cluster":"{}","containerInstance":"{}","force":true}}"#, i.cluster.name, i.id);
            request("DeregisterContainerInstance", &body)
        });
        let stop = |task: &control::state::ecs::Task| {
            request("StopTask", &format!(r#"{{"cluster":"{}","task":"{}"}}"#, task.cluster.name, task.id))
        };
        gone.chain(state.tasks.values().map(|task| stop(task))).collect()
    }
}
