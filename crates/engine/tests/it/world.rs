//! An engine, a runtime that keeps books, and a control plane that remembers what it was told.

use api::acs;
use api::channel::AcsMessage;
use api::ecs::SubmitTaskStateChangeRequest;
use engine::{
    Checkpoint, Config, Effect, EffectId, Engine, Exit, Failure, Found, FoundStatus, Input, Network,
    Operation, Outcome, PortBinding, Pulled, Resources, Started,
};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;
use stdx::Timestamp;

pub struct Fake {
    pub name: String,
    pub labels: Vec<(String, String)>,
    pub bindings: Vec<PortBinding>,
    pub status: FoundStatus,
    pub starts: u32,
}

impl Fake {
    pub fn running(&self) -> bool {
        matches!(self.status, FoundStatus::Running(_))
    }

    pub fn label(&self, name: &str) -> String {
        let name = format!("com.amazonaws.ecs.{name}");
        self.labels.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone()).unwrap_or_default()
    }
}

pub struct World {
    pub engine: Engine,
    pub now: Timestamp,
    pub checkpoint: Checkpoint,
    pub containers: BTreeMap<String, Fake>,
    pub pending: Vec<(EffectId, Operation)>,
    pub reports: Vec<(EffectId, SubmitTaskStateChangeRequest)>,
    /// One line per effect, as scripts compare them.
    pub lines: Vec<String>,
    made: u64,
    lives: u64,
}

pub fn config() -> Config {
    Config {
        region: "eu-north-1".into(),
        resources: Resources { cpu_units: 2048, memory_mib: 4096, ..Resources::default() },
        ..Config::default()
    }
}

impl World {
    pub fn new() -> Self {
        Self::with(config())
    }

    pub fn with(config: Config) -> Self {
        let mut world = Self {
            engine: Engine::new(config, 1, Checkpoint::default()),
            now: Timestamp(1_000_000),
            checkpoint: Checkpoint::default(),
            containers: BTreeMap::new(),
            pending: Vec::new(),
            reports: Vec::new(),
            lines: Vec::new(),
            made: 0,
            lives: 1,
        };
        world.step(Input::Recovered(Vec::new()));
        world
    }

    pub fn step(&mut self, input: Input) -> Vec<Effect> {
        let effects = self.engine.step(self.now, input);
        for effect in &effects {
            self.lines.extend(self.line(effect));
            match effect {
                Effect::Save(record) => self.checkpoint.apply(record.clone()),
                Effect::Send(_) => {}
                Effect::Run { id, operation } => self.pending.push((*id, operation.clone())),
                Effect::Cancel { id } => self.pending.retain(|(other, _)| other != id),
                Effect::Submit { id, request } => self.reports.push((*id, (**request).clone())),
            }
        }
        effects
    }

    /// A name for a container that is the same in every run.
    fn short(&self, runtime_id: &str) -> String {
        self.containers.get(runtime_id).map_or("?".into(), |c| c.label("container-name"))
    }

    fn line(&self, effect: &Effect) -> Option<String> {
        Some(match effect {
            Effect::Save(_) => return None,
            Effect::Send(message) => format!("send {}", message.name()),
            Effect::Cancel { .. } => "cancel".into(),
            Effect::Run { operation, .. } => match operation {
                Operation::Pull { image, .. } => format!("pull {image}"),
                Operation::Create(spec) => {
                    let name = spec.labels.iter().find(|(n, _)| n.ends_with("container-name"));
                    format!("create {}", name.map_or("", |(_, v)| v))
                }
                Operation::Start { runtime_id } => format!("start {}", self.short(runtime_id)),
                Operation::Stop { runtime_id, timeout } => {
                    format!("stop {} {}s", self.short(runtime_id), timeout.as_secs())
                }
                Operation::Remove { runtime_id } => format!("remove {}", self.short(runtime_id)),
                Operation::RemoveVolumes { .. } => "remove volumes".into(),
            },
            Effect::Submit { request, .. } => report_line(request),
        })
    }

    /// The lines since the last call.
    pub fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }

    /// Carries out the operation at this position of those that are pending.
    pub fn perform(&mut self, position: usize) {
        let (id, operation) = self.pending.remove(position);
        let outcome = self.outcome(operation);
        self.step(Input::Done { id, outcome });
    }

    pub fn fail(&mut self, position: usize, name: &str) {
        let (id, _) = self.pending.remove(position);
        let outcome = Outcome::Failed(Failure::new(name, "on purpose"));
        self.step(Input::Done { id, outcome });
    }

    /// What an operation does to the books, whether or not the engine hears of it.
    pub fn outcome(&mut self, operation: Operation) -> Outcome {
        match operation {
            Operation::Pull { .. } => {
                Outcome::Pulled(Pulled { digest: "sha256:1".into(), times: None, warning: None })
            }
            Operation::Create(spec) => {
                self.made += 1;
                let runtime_id = format!("r{}", self.made);
                let bindings = match &spec.network {
                    Network::Bridge { ports } => ports
                        .iter()
                        .map(|p| PortBinding {
                            host_ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                            container_port: p.container_port,
                            host_port: if p.host_port == 0 { 40_000 } else { p.host_port },
                            udp: p.udp,
                        })
                        .collect(),
                    Network::Host | Network::None => Vec::new(),
                };
                let fake = Fake {
                    name: spec.name,
                    labels: spec.labels,
                    bindings,
                    status: FoundStatus::Created,
                    starts: 0,
                };
                self.containers.insert(runtime_id.clone(), fake);
                Outcome::Created { runtime_id }
            }
            Operation::Start { runtime_id } => {
                let now = self.now;
                let Some(fake) = self.containers.get_mut(&runtime_id) else { return missing() };
                let started = Started { started_at: now, bindings: fake.bindings.clone(), ip: None };
                fake.status = FoundStatus::Running(started.clone());
                fake.starts += 1;
                Outcome::Started(started)
            }
            Operation::Stop { runtime_id, .. } => {
                self.kill(&runtime_id, 137);
                match self.containers.get(&runtime_id).map(|c| &c.status) {
                    Some(FoundStatus::Exited { exit, .. }) => Outcome::Stopped(*exit),
                    _ => missing(),
                }
            }
            Operation::Remove { runtime_id } => {
                self.containers.remove(&runtime_id);
                Outcome::Removed
            }
            Operation::RemoveVolumes { .. } => Outcome::Removed,
        }
    }

    /// Ends a container in the books without telling the engine.
    pub fn kill(&mut self, runtime_id: &str, exit_code: i32) -> Option<Exit> {
        let exit = Exit { exit_code, oom_killed: false, finished_at: self.now };
        let fake = self.containers.get_mut(runtime_id)?;
        match &fake.status {
            FoundStatus::Running(started) => {
                fake.status = FoundStatus::Exited { started: Some(started.clone()), exit };
                Some(exit)
            }
            FoundStatus::Created => {
                fake.status = FoundStatus::Exited { started: None, exit };
                None
            }
            FoundStatus::Exited { .. } => None,
        }
    }

    /// The container with this name of its task definition ends by itself.
    pub fn exit(&mut self, name: &str, exit_code: i32) {
        let mut ids =
            self.containers.iter().filter(|(_, c)| c.label("container-name") == name && c.running());
        let runtime_id = ids.next().map(|(id, _)| id.clone()).unwrap();
        let exit = self.kill(&runtime_id, exit_code).unwrap();
        self.step(Input::Exited { runtime_id, exit });
    }

    /// Carries everything out, the reports too, until nothing is left to do at this moment.
    pub fn run(&mut self) {
        while !self.pending.is_empty() || !self.reports.is_empty() {
            while !self.pending.is_empty() {
                self.perform(0);
            }
            self.accept();
        }
    }

    /// The control plane takes all reports that are under way.
    pub fn accept(&mut self) {
        for (id, _) in std::mem::take(&mut self.reports) {
            self.step(Input::Done { id, outcome: Outcome::Submitted });
        }
    }

    pub fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
        self.step(Input::Timer);
    }

    pub fn payload(&mut self, tasks: &str) {
        let text = format!(
            r#"{{"type":"PayloadMessage","message":{{"messageId":"m","clusterArn":"c","containerInstanceArn":"i","tasks":[{tasks}]}}}}"#
        );
        self.step(Input::Message(AcsMessage::decode(&text).unwrap()));
    }

    pub fn stop_task(&mut self, arn: &str) {
        self.payload(&format!(r#"{{"arn":"{arn}","desiredStatus":"STOPPED"}}"#));
    }

    pub fn manifest(&mut self, timeline: i64, running: &[&str]) {
        let identifier = |arn: &&str| acs::TaskIdentifier {
            task_arn: Some((*arn).into()),
            desired_status: Some("RUNNING".into()),
            ..Default::default()
        };
        self.step(Input::Message(AcsMessage::from(acs::TaskManifestMessage {
            message_id: Some(format!("manifest{timeline}")),
            timeline: Some(timeline),
            tasks: Some(running.iter().map(identifier).collect()),
            ..Default::default()
        })));
    }

    /// The agent dies with all that is under way, and a new one finds what is there.
    pub fn crash(&mut self) {
        self.lives += 1;
        self.pending.clear();
        self.reports.clear();
        self.engine = Engine::new(self.engine.config().clone(), self.lives, self.checkpoint.clone());
        let found = self.found();
        self.step(Input::Recovered(found));
    }

    pub fn found(&self) -> Vec<Found> {
        let found = |(id, c): (&String, &Fake)| Found {
            runtime_id: id.clone(),
            name: c.name.clone(),
            labels: c.labels.clone(),
            status: c.status.clone(),
        };
        self.containers.iter().map(found).collect()
    }
}

fn missing() -> Outcome {
    Outcome::Failed(Failure::new("NoSuchContainerError", "no such container"))
}

fn report_line(request: &SubmitTaskStateChangeRequest) -> String {
    let mut line = format!("report {}", request.status.as_deref().unwrap_or_default());
    for change in request.containers.iter().flatten() {
        let text = |t: &Option<String>| t.clone().unwrap_or_default();
        line += &format!(" {}={}", text(&change.container_name), text(&change.status));
        line += &change.exit_code.map(|c| format!("({c})")).unwrap_or_default();
        line += &change.reason.as_ref().map(|r| format!("[{r}]")).unwrap_or_default();
    }
    line += &request
        .reason
        .as_ref()
        .filter(|r| !r.is_empty())
        .map(|r| format!(" because {r}"))
        .unwrap_or_default();
    line
}
