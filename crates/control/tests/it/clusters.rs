//! Clusters: names, idempotency, deletion, parts, counters, capacity providers.

use crate::harness::{Wharf, instance, task};
use control::state::ecs::{InstanceStatus, TaskStatus};
use std::time::Duration;

const INVALID_NAME: &str = "InvalidParameterException: Invalid cluster name: up to 255 letters (uppercase and \
                            lowercase), numbers, underscores, and hyphens are allowed.";

#[test]
fn a_new_cluster_as_replies_show_it() {
    let mut wharf = Wharf::new();
    let expected = r#"{"cluster": {
        "clusterArn": "arn:aws:ecs:us-east-1:123456789012:cluster/web", "clusterName": "web", "status": "ACTIVE",
        "registeredContainerInstancesCount": 0, "runningTasksCount": 0, "pendingTasksCount": 0,
        "activeServicesCount": 0, "statistics": [], "tags": [{"key": "a", "value": "b"}],
        "settings": [{"name": "containerInsights", "value": "disabled"}],
        "capacityProviders": ["FARGATE", "FARGATE_SPOT"],
        "defaultCapacityProviderStrategy": [{"capacityProvider": "FARGATE", "weight": 1, "base": 2}],
        "configuration": {"executeCommandConfiguration": {"logging": "DEFAULT"}}}}"#;
    let request = r#"CreateCluster {"clusterName": "web", "tags": [{"key": "a", "value": "b"}],
        "capacityProviders": ["FARGATE", "FARGATE_SPOT"],
        "defaultCapacityProviderStrategy": [{"capacityProvider": "FARGATE", "weight": 1, "base": 2}],
        "configuration": {"executeCommandConfiguration": {"logging": "DEFAULT"}}}"#;
    wharf.check(request, expected);
    // Again with the same arguments, or with none: the same cluster.
    wharf.check(request, expected);
    wharf.check(r#"CreateCluster {"clusterName": "web"}"#, expected);
    wharf.check(
        r#"CreateCluster {"clusterName": "web", "capacityProviders": ["FARGATE"]}"#,
        "InvalidParameterException: Arguments on this idempotent request are inconsistent with arguments used in \
         previous request(s).",
    );
    wharf.check("CreateCluster {}", r#"{"cluster": {"clusterName": "default", "...": true}}"#);
}

#[test]
fn what_a_new_cluster_cannot_be() {
    let long = format!(r#"{{"clusterName": "{}"}}"#, "x".repeat(256));
    let unknown = "InvalidParameterException: The specified capacity provider 'mine' was not found. Specify a valid \
                   name or ARN and try again.";
    let apart = "InvalidParameterException: The specified capacity provider strategy cannot contain a capacity provider \
                 that is not associated with the cluster. Associate the capacity provider with the cluster and try again.";
    let cases = [
        (r#"{"clusterName": ""}"#, INVALID_NAME),
        (r#"{"clusterName": "a b"}"#, INVALID_NAME),
        (r#"{"clusterName": "arn:aws:ecs:us-east-1:123456789012:cluster/web"}"#, INVALID_NAME),
        (&long, INVALID_NAME),
        (r#"{"capacityProviders": ["mine"]}"#, unknown),
        (r#"{"defaultCapacityProviderStrategy": [{"capacityProvider": "FARGATE", "weight": 1}]}"#, apart),
        (
            r#"{"capacityProviders": ["FARGATE"], "defaultCapacityProviderStrategy":
                [{"capacityProvider": "FARGATE", "weight": 1}, {"capacityProvider": "FARGATE", "weight": 1}]}"#,
            "InvalidParameterException: The specified capacity provider strategy names 'FARGATE' more than once.",
        ),
        (
            r#"{"capacityProviders": ["FARGATE", "FARGATE_SPOT"], "defaultCapacityProviderStrategy":
                [{"capacityProvider": "FARGATE", "base": 1}, {"capacityProvider": "FARGATE_SPOT", "base": 1}]}"#,
            "InvalidParameterException: Only one capacity provider in a capacity provider strategy can have a base \
             defined.",
        ),
        (
            r#"{"capacityProviders": ["FARGATE"], "defaultCapacityProviderStrategy": [{"capacityProvider": "FARGATE"}]}"#,
            "InvalidParameterException: At least one capacity provider in a capacity provider strategy must have a \
             weight greater than zero.",
        ),
        (
            r#"{"settings": [{"name": "containerInsights", "value": "on"}]}"#,
            "InvalidParameterException: Invalid setting 'value'",
        ),
        (r#"{"settings": [{"value": "enabled"}]}"#, "InvalidParameterException: Invalid setting 'name'"),
        (
            r#"{"configuration": {"executeCommandConfiguration": {"logging": "OVERRIDE"}}}"#,
            "InvalidParameterException: The executeCommandConfiguration needs a logConfiguration when logging is OVERRIDE.",
        ),
        (
            r#"{"configuration": {"executeCommandConfiguration": {"logConfiguration": {"s3BucketName": "b"}}}}"#,
            "InvalidParameterException: The executeCommandConfiguration can have a logConfiguration only when logging is \
             OVERRIDE.",
        ),
        (
            r#"{"configuration": {"executeCommandConfiguration": {"logging": "OVERRIDE", "logConfiguration": {}}}}"#,
            "InvalidParameterException: The logConfiguration of executeCommandConfiguration needs a \
             cloudWatchLogGroupName or an s3BucketName.",
        ),
        (
            r#"{"serviceConnectDefaults": {"namespace": "mesh"}}"#,
            "NamespaceNotFoundException: The specified namespace 'mesh' wasn't found.",
        ),
    ];
    for (request, expected) in cases {
        let mut wharf = Wharf::new();
        wharf.check(&format!("CreateCluster {request}"), expected);
        wharf.check("ListClusters {}", r#"{"clusterArns": []}"#);
    }
    let twenty_one = vec![r#""FARGATE""#; 21].join(",");
    Wharf::new().check(
        &format!(r#"CreateCluster {{"capacityProviders": [{twenty_one}]}}"#),
        "InvalidParameterException: A cluster can have at most 20 capacity providers.",
    );
}

#[test]
fn deletion_and_its_refusals() {
    let contains_instances = "ClusterContainsContainerInstancesException: The Cluster cannot be deleted while Container \
                              Instances are active or draining.";
    let contains_tasks =
        "ClusterContainsTasksException: The Cluster cannot be deleted while Tasks are active.";
    let gone = r#"{"cluster": {"status": "INACTIVE", "...": true}}"#;
    let cases = [
        (vec![instance(1, "web", InstanceStatus::Active)], contains_instances),
        (vec![instance(1, "web", InstanceStatus::Draining)], contains_instances),
        (vec![instance(1, "web", InstanceStatus::Inactive)], gone),
        (vec![task(1, "web", ("app", 1), TaskStatus::Provisioning)], contains_tasks),
        (vec![task(1, "web", ("app", 1), TaskStatus::Deprovisioning)], contains_tasks),
        (vec![task(1, "web", ("app", 1), TaskStatus::Stopped)], gone),
        (vec![task(1, "other", ("app", 1), TaskStatus::Running)], gone),
    ];
    for (rows, expected) in cases {
        let mut wharf = Wharf::with(rows);
        wharf.check(r#"CreateCluster {"clusterName": "web"}"#, r#"{"...": true}"#);
        wharf.check(r#"DeleteCluster {"cluster": "web"}"#, expected);
    }
}

#[test]
fn an_inactive_cluster_is_remembered_for_a_while_and_can_be_made_again() {
    let mut wharf = Wharf::new();
    wharf.check(r#"CreateCluster {"clusterName": "web", "tags": [{"key": "a"}]}"#, r#"{"...": true}"#);
    let arn = r#"{"cluster": "arn:aws:ecs:us-east-1:123456789012:cluster/web"}"#;
    wharf.check(&format!("DeleteCluster {arn}"), r#"{"cluster": {"status": "INACTIVE", "...": true}}"#);
    wharf.check(
        r#"DeleteCluster {"cluster": "web"}"#,
        "ClusterNotFoundException: The referenced cluster was inactive.",
    );
    wharf.check("ListClusters {}", r#"{"clusterArns": []}"#);
    let described = r#"{"clusters": [{"status": "INACTIVE", "...": true}], "failures": []}"#;
    wharf.check(r#"DescribeClusters {"clusters": ["web"]}"#, described);
    wharf.pass(Duration::from_secs(3599));
    wharf.check(r#"DescribeClusters {"clusters": ["web"]}"#, described);
    wharf.pass(Duration::from_secs(1));
    let missing = r#"{"clusters": [], "failures":
        [{"arn": "arn:aws:ecs:us-east-1:123456789012:cluster/web", "reason": "MISSING"}]}"#;
    wharf.check(r#"DescribeClusters {"clusters": ["web"]}"#, missing);
    wharf.check(r#"DeleteCluster {"cluster": "web"}"#, "ClusterNotFoundException: Cluster not found.");

    wharf.check(r#"CreateCluster {"clusterName": "web"}"#, r#"{"cluster": {"tags": [], "...": true}}"#);
    wharf.check(r#"DeleteCluster {"cluster": "web"}"#, r#"{"...": true}"#);
    wharf.check(
        r#"CreateCluster {"clusterName": "web"}"#,
        r#"{"cluster": {"status": "ACTIVE", "...": true}}"#,
    );
    wharf.pass(Duration::from_secs(4000));
    wharf.check(
        r#"DescribeClusters {"clusters": ["web"]}"#,
        r#"{"clusters": [{"status": "ACTIVE", "...": true}], "failures": []}"#,
    );
}

#[test]
fn parts_and_counters() {
    let mut wharf = Wharf::with(vec![
        instance(1, "default", InstanceStatus::Active),
        instance(2, "default", InstanceStatus::Draining),
        instance(3, "default", InstanceStatus::Inactive),
        task(1, "default", ("app", 1), TaskStatus::Running),
        task(2, "default", ("app", 1), TaskStatus::Running),
        task(3, "default", ("app", 1), TaskStatus::Pending),
        task(5, "default", ("app", 1), TaskStatus::Provisioning),
        task(7, "default", ("app", 1), TaskStatus::Stopped),
        task(9, "default", ("app", 1), TaskStatus::Stopping),
    ]);
    wharf.check(r#"CreateCluster {"tags": [{"key": "a", "value": "b"}]}"#, r#"{"...": true}"#);
    wharf.check(
        "DescribeClusters {}",
        r#"{"failures": [], "clusters": [{"clusterName": "default", "status": "ACTIVE",
            "clusterArn": "arn:aws:ecs:us-east-1:123456789012:cluster/default",
            "registeredContainerInstancesCount": 2, "runningTasksCount": 2, "pendingTasksCount": 2,
            "activeServicesCount": 0, "statistics": [], "tags": [], "settings": [], "capacityProviders": [],
            "defaultCapacityProviderStrategy": []}]}"#,
    );
    let reply = wharf
        .call(r#"DescribeClusters {"include": ["ATTACHMENTS", "CONFIGURATIONS", "SETTINGS", "STATISTICS", "TAGS"]}"#)
        .expect("a reply");
    let cluster = &reply["clusters"][0];
    assert_eq!(cluster["tags"][0]["value"], "b");
    assert_eq!(cluster["settings"][0]["value"], "disabled");
    assert_eq!(cluster["attachments"], serde_json::json!([]));
    let statistic = |name: &str| {
        let all = cluster["statistics"].as_array().expect("a list");
        all.iter().find(|s| s["name"] == name).map(|s| s["value"].clone()).unwrap_or_default()
    };
    assert_eq!(statistic("runningEC2TasksCount"), "1");
    assert_eq!(statistic("runningExternalTasksCount"), "1");
    assert_eq!(statistic("pendingEC2TasksCount"), "2");
    assert_eq!(statistic("pendingFargateTasksCount"), "0");
}

#[test]
fn describe_takes_names_and_arns_and_reports_what_is_missing() {
    let mut wharf = Wharf::new();
    wharf.check(r#"CreateCluster {"clusterName": "web"}"#, r#"{"...": true}"#);
    let foreign = "arn:aws:ecs:eu-west-1:123456789012:cluster/web";
    wharf.check(
        &format!(
            r#"DescribeClusters {{"clusters":
                ["web", "arn:aws:ecs:us-east-1:123456789012:cluster/web", "none", "{foreign}"]}}"#
        ),
        &format!(
            r#"{{"clusters": [{{"clusterName": "web", "...": true}}], "failures": [
                {{"arn": "arn:aws:ecs:us-east-1:123456789012:cluster/none", "reason": "MISSING"}},
                {{"arn": "{foreign}", "reason": "MISSING"}}]}}"#
        ),
    );
    let many = vec![r#""web""#; 101].join(",");
    wharf.check(
        &format!(r#"DescribeClusters {{"clusters": [{many}]}}"#),
        "InvalidParameterException: Clusters can have at most 100 items.",
    );
}

#[test]
fn updates() {
    let mut wharf = Wharf::new();
    wharf.check("CreateCluster {}", r#"{"...": true}"#);
    wharf.check(
        r#"UpdateClusterSettings {"cluster": "default", "settings": [{"name": "containerInsights", "value": "enhanced"}]}"#,
        r#"{"cluster": {"settings": [{"name": "containerInsights", "value": "enhanced"}], "...": true}}"#,
    );
    wharf.check(
        r#"UpdateClusterSettings {"cluster": "default", "settings": []}"#,
        "InvalidParameterException: settings cannot be empty.",
    );
    wharf.check(
        r#"UpdateCluster {"cluster": "default", "serviceConnectDefaults": {"namespace": ""},
            "configuration": {"executeCommandConfiguration": {"logging": "NONE"}}}"#,
        r#"{"cluster": {"settings": [{"name": "containerInsights", "value": "enhanced"}],
            "configuration": {"executeCommandConfiguration": {"logging": "NONE"}}, "...": true}}"#,
    );
    wharf.check(
        r#"PutClusterCapacityProviders {"cluster": "default", "capacityProviders": ["FARGATE_SPOT"],
            "defaultCapacityProviderStrategy": [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]}"#,
        r#"{"cluster": {"capacityProviders": ["FARGATE_SPOT"],
            "defaultCapacityProviderStrategy": [{"capacityProvider": "FARGATE_SPOT", "weight": 1}], "...": true}}"#,
    );
    wharf.check(
        r#"PutClusterCapacityProviders {"cluster": "default", "capacityProviders": [], "defaultCapacityProviderStrategy": []}"#,
        r#"{"cluster": {"capacityProviders": [], "defaultCapacityProviderStrategy": [], "...": true}}"#,
    );
    let not_found = "ClusterNotFoundException: Cluster not found.";
    wharf.check(r#"UpdateCluster {"cluster": "none"}"#, not_found);
    wharf.check(
        r#"UpdateClusterSettings {"cluster": "none", "settings": [{"name": "containerInsights", "value": "enabled"}]}"#,
        not_found,
    );
    wharf.check(
        r#"PutClusterCapacityProviders {"cluster": "none", "capacityProviders": ["mine"], "defaultCapacityProviderStrategy": []}"#,
        not_found,
    );
}

#[test]
fn the_account_decides_container_insights_where_the_call_does_not() {
    let mut wharf = Wharf::new();
    wharf.check(
        r#"PutAccountSettingDefault {"name": "containerInsights", "value": "enabled"}"#,
        r#"{"...": true}"#,
    );
    wharf.check(
        "CreateCluster {}",
        r#"{"cluster": {"settings": [{"name": "containerInsights", "value": "enabled"}], "...": true}}"#,
    );
    wharf.check(
        r#"CreateCluster {"clusterName": "b", "settings": [{"name": "containerInsights", "value": "disabled"}]}"#,
        r#"{"cluster": {"settings": [{"name": "containerInsights", "value": "disabled"}], "...": true}}"#,
    );
}

#[test]
fn what_is_not_built_says_so() {
    Wharf::new().check(
        r#"CreateCapacityProvider {"name": "mine"}"#,
        "UnsupportedFeatureException: CreateCapacityProvider is not available in this version of Wharf.",
    );
}
