//! Repositories and the registry itself.

use crate::harness::{Wharf, scope};
use control::Principal;
use std::time::Duration;

const ID: &str = "in the registry with id '123456789012'";

fn wharf() -> Wharf {
    let mut wharf = Wharf::new();
    wharf.check(r#"ecr.CreateRepository {"repositoryName": "web"}"#, r#"{"...": true}"#);
    wharf
}

#[test]
fn a_repository_has_the_defaults_and_a_uri_to_push_to() {
    let expected = r#"{"repositoryArn": "arn:aws:ecr:us-east-1:123456789012:repository/team/web",
        "registryId": "123456789012", "repositoryName": "team/web", "repositoryUri": "localhost:4566/team/web",
        "createdAt": 1700000000, "imageTagMutability": "MUTABLE",
        "imageScanningConfiguration": {"scanOnPush": false}, "encryptionConfiguration": {"encryptionType": "AES256"}}"#;
    let mut wharf = Wharf::new();
    let create = r#"ecr.CreateRepository {"repositoryName": "team/web"}"#;
    wharf.check(create, &format!(r#"{{"repository": {expected}}}"#));
    wharf.restart_with(Vec::new());
    wharf.check("ecr.DescribeRepositories {}", &format!(r#"{{"repositories": [{expected}]}}"#));
    let text = format!("The repository with name 'team/web' already exists {ID}");
    wharf.check(create, &format!("RepositoryAlreadyExistsException: {text}"));
    wharf.check(
        r#"ecr.CreateRepository {"repositoryName": "other", "registryId": "210987654321"}"#,
        "AccessDeniedException: The registry with id '210987654321' belongs to another account, and this version of \
         Wharf does not evaluate the policies that share registries between accounts.",
    );
}

#[test]
fn names_are_checked() {
    let mut wharf = Wharf::new();
    for name in ["A", "a", "a//b", "-ab", "ab-", "a___b", "a..b", "a_.b"] {
        let reply = wharf.call(&format!(r#"ecr.CreateRepository {{"repositoryName": "{name}"}}"#));
        assert!(reply.is_err(), "{name}");
    }
    for name in ["a--b", "a__b", "a.b/c_d/0"] {
        wharf.check(&format!(r#"ecr.CreateRepository {{"repositoryName": "{name}"}}"#), r#"{"...": true}"#);
    }
}

#[test]
fn pages_and_names() {
    let mut wharf = Wharf::new();
    let names = ["alpha", "beta", "delta", "gamma"];
    for name in names.iter().rev() {
        wharf.check(&format!(r#"ecr.CreateRepository {{"repositoryName": "{name}"}}"#), r#"{"...": true}"#);
    }
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page =
            wharf.call(&format!(r#"ecr.DescribeRepositories {{"maxResults": 3{token}}}"#)).expect("a page");
        let list = page["repositories"].as_array().expect("a list").clone();
        seen.extend(list.iter().map(|r| r["repositoryName"].as_str().expect("a name").to_owned()));
        match page["nextToken"].as_str() {
            Some(next) => token = format!(r#", "nextToken": "{next}""#),
            None => break,
        }
    }
    assert_eq!(seen, names);
    wharf.check(
        r#"ecr.DescribeRepositories {"repositoryNames": ["beta", "none"]}"#,
        &format!("RepositoryNotFoundException: The repository with name 'none' does not exist {ID}"),
    );
    wharf.check(
        r#"ecr.DescribeRepositories {"nextToken": "junk"}"#,
        "InvalidParameterException: Invalid parameter at 'nextToken' failed to satisfy constraint: 'must be a token \
         that this operation returned'",
    );
}

#[test]
fn mutability_and_its_filters() {
    let mut wharf = wharf();
    let put = |rest: &str| {
        format!(r#"ecr.PutImageTagMutability {{"repositoryName": "web", "imageTagMutability": {rest}}}"#)
    };
    wharf.check(&put(r#""IMMUTABLE""#), r#"{"imageTagMutability": "IMMUTABLE", "...": true}"#);
    let filter = r#"[{"filterType": "WILDCARD", "filter": "dev-*"}]"#;
    let with = |kind: &str| put(&format!(r#""{kind}", "imageTagMutabilityExclusionFilters": {filter}"#));
    wharf.check(&with("IMMUTABLE_WITH_EXCLUSION"), r#"{"...": true}"#);
    wharf.check(
        r#"ecr.DescribeRepositories {"repositoryNames": ["web"]}"#,
        &format!(
            r#"{{"repositories": [{{"imageTagMutability": "IMMUTABLE_WITH_EXCLUSION",
                "imageTagMutabilityExclusionFilters": {filter}, "...": true}}]}}"#
        ),
    );
    let prefix = "InvalidParameterException: Invalid parameter at 'imageTagMutabilityExclusionFilters' failed to satisfy constraint: ";
    wharf.check(&with("MUTABLE"), &format!("{prefix}'must not be given with MUTABLE or IMMUTABLE'"));
    wharf.check(&put(r#""MUTABLE_WITH_EXCLUSION""#), &format!("{prefix}'must have between 1 and 5 filters'"));
}

#[test]
fn policies_and_tags() {
    let mut wharf = wharf();
    let missing = format!(
        "RepositoryPolicyNotFoundException: Repository policy does not exist for the repository with name 'web' {ID}"
    );
    wharf.check(r#"ecr.GetRepositoryPolicy {"repositoryName": "web"}"#, &missing);
    let policy = r#"{\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"ecr:*\"}]}"#;
    let set = format!(r#"ecr.SetRepositoryPolicy {{"repositoryName": "web", "policyText": "{policy}"}}"#);
    wharf.check(&set, &format!(r#"{{"policyText": "{policy}", "...": true}}"#));
    wharf.check(
        r#"ecr.SetRepositoryPolicy {"repositoryName": "web", "policyText": "{}"}"#,
        "InvalidParameterException: Invalid parameter at 'PolicyText' failed to satisfy constraint: 'Invalid repository \
         policy provided'",
    );
    wharf.check(
        r#"ecr.DeleteRepositoryPolicy {"repositoryName": "web"}"#,
        &format!(r#"{{"policyText": "{policy}", "...": true}}"#),
    );
    wharf.check(r#"ecr.DeleteRepositoryPolicy {"repositoryName": "web"}"#, &missing);

    let arn = r#""resourceArn": "arn:aws:ecr:us-east-1:123456789012:repository/web""#;
    let tag = |tags: &str| format!(r#"ecr.TagResource {{{arn}, "tags": [{tags}]}}"#);
    wharf.check(&tag(r#"{"Key": "a", "Value": "1"}, {"Key": "b", "Value": ""}"#), "{}");
    wharf.check(&tag(r#"{"Key": "a", "Value": "2"}"#), "{}");
    wharf.check(
        &tag(r#"{"Key": "aws:x", "Value": "2"}"#),
        "InvalidTagParameterException: Tag keys must not begin with 'aws:'",
    );
    wharf.check(&format!(r#"ecr.UntagResource {{{arn}, "tagKeys": ["b", "c"]}}"#), "{}");
    wharf.check(&format!("ecr.ListTagsForResource {{{arn}}}"), r#"{"tags": [{"Key": "a", "Value": "2"}]}"#);
    let many: Vec<String> = (0..50).map(|n| format!(r#"{{"Key": "k{n}", "Value": ""}}"#)).collect();
    wharf.check(
        &tag(&many.join(", ")),
        "TooManyTagsException: The number of tags exceeds the limit of 50 for a repository",
    );
}

#[test]
fn the_registry() {
    let mut wharf = wharf();
    wharf.check(
        "ecr.DescribeRegistry {}",
        r#"{"registryId": "123456789012", "replicationConfiguration": {"rules": []}}"#,
    );
    wharf.check(
        "ecr.GetRegistryPolicy {}",
        "RegistryPolicyNotFoundException: Registry policy does not exist in the registry with id '123456789012'",
    );
    wharf.check(
        r#"ecr.GetAccountSetting {"name": "BLOB_MOUNTING"}"#,
        r#"{"name": "BLOB_MOUNTING", "value": "DISABLED"}"#,
    );
    let put = r#"ecr.PutAccountSetting {"name": "BLOB_MOUNTING", "value": "ENABLED"}"#;
    wharf.check(put, r#"{"name": "BLOB_MOUNTING", "value": "ENABLED"}"#);
    wharf.restart_with(Vec::new());
    wharf.check(
        r#"ecr.GetAccountSetting {"name": "BLOB_MOUNTING"}"#,
        r#"{"name": "BLOB_MOUNTING", "value": "ENABLED"}"#,
    );
    wharf.check(
        r#"ecr.PutAccountSetting {"name": "BLOB_MOUNTING", "value": "MAYBE"}"#,
        "InvalidParameterException: Invalid parameter at 'value' failed to satisfy constraint: 'must be one of ENABLED, DISABLED'",
    );
    wharf.check(
        r#"ecr.GetLifecyclePolicy {"repositoryName": "web"}"#,
        &format!("LifecyclePolicyNotFoundException: Lifecycle policy does not exist for the repository with name 'web' {ID}"),
    );
    wharf.check(
        r#"ecr.PutReplicationConfiguration {"replicationConfiguration": {"rules": []}}"#,
        "InvalidParameterException: PutReplicationConfiguration is not available in this version of Wharf.",
    );
}

#[test]
fn an_authorization_says_whose_it_is_where_and_until_when() {
    let wharf = wharf();
    let principal = Principal { account: scope().account, arn: "arn".to_owned(), user_id: "id".to_owned() };
    let settings =
        |host: &str| control::Settings { registry_host: host.to_owned(), ..wharf.settings().clone() };
    let grant = |host: &str, ids: Option<Vec<String>>| {
        let request = api::ecr::GetAuthorizationTokenRequest { registry_ids: ids };
        control::ecr::authorization(&settings(host), wharf.now, &principal, scope(), &request)
    };
    let own = grant("localhost:{port}", None).expect("granted");
    assert_eq!((own.len(), own[0].proxy_endpoint.as_str()), (1, "http://localhost:4566"));
    assert_eq!(own[0].expires_at, wharf.now.after(Duration::from_secs(12 * 3600)));
    assert_eq!(own[0].principal, principal);
    let ids = Some(vec!["210987654321".to_owned(), "123456789012".to_owned()]);
    let other = grant("{account}.dkr.ecr.{region}.amazonaws.com", ids).expect("granted");
    assert_eq!(other[0].proxy_endpoint, "https://210987654321.dkr.ecr.us-east-1.amazonaws.com");
    assert_eq!((other.len(), other[1].scope), (2, scope()));
    assert!(grant("localhost", Some(vec!["x".to_owned()])).is_err());
}
