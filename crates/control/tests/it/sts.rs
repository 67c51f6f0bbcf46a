//! Who calls, and temporary credentials.

use crate::harness::Wharf;
use std::time::Duration;

const ASSUME: &str =
    r#"sts.AssumeRole {"RoleArn": "arn:aws:iam::123456789012:role/path/deploy", "RoleSessionName": "me""#;

#[test]
fn the_caller() {
    let mut wharf = Wharf::new();
    wharf.check(
        "sts.GetCallerIdentity {}",
        r#"{"Account": "123456789012", "Arn": "arn:aws:iam::123456789012:root", "UserId": "AIDA"}"#,
    );
}

#[test]
fn a_role_session_has_a_key_until_it_expires() {
    let mut wharf = Wharf::new();
    let reply = wharf.call(&format!("{ASSUME}}}")).expect("a session");
    let user = &reply["AssumedRoleUser"];
    assert_eq!(user["Arn"], "arn:aws:sts::123456789012:assumed-role/deploy/me");
    let id = reply["Credentials"]["AccessKeyId"].as_str().expect("an id").to_owned();
    assert!(id.starts_with("ASIA") && id.len() == 20, "{id}");
    assert_eq!(reply["Credentials"]["SecretAccessKey"].as_str().map(str::len), Some(40));
    let key = wharf.state().access_keys.get(&id).expect("the key").clone();
    assert_eq!(key.session_token.as_deref(), reply["Credentials"]["SessionToken"].as_str());
    assert_eq!(Some(key.user_id.as_str()), user["AssumedRoleId"].as_str());
    let info = format!(r#"sts.GetAccessKeyInfo {{"AccessKeyId": "{id}"}}"#);
    wharf.check(&info, r#"{"Account": "123456789012"}"#);
    wharf.pass(Duration::from_secs(3600));
    assert!(wharf.call(&info).is_err(), "it has expired");
}

#[test]
fn what_is_not_a_role_of_the_account_is_refused() {
    let mut wharf = Wharf::new();
    let other =
        r#"sts.AssumeRole {"RoleArn": "arn:aws:iam::210987654321:role/deploy", "RoleSessionName": "me"}"#;
    wharf.check(
        other,
        "AccessDenied: User: arn:aws:iam::123456789012:root is not authorized to perform: sts:AssumeRole on resource: \
         arn:aws:iam::210987654321:role/deploy",
    );
    let user =
        r#"sts.AssumeRole {"RoleArn": "arn:aws:iam::123456789012:user/deploy", "RoleSessionName": "me"}"#;
    wharf.check(user, "ValidationError: arn:aws:iam::123456789012:user/deploy is invalid");
    wharf.check(
        &format!(r#"{ASSUME}, "Policy": "{{}}"}}"#),
        "ValidationError: Session policies are not available in this version of Wharf.",
    );
    wharf.become_principal("arn:aws:sts::123456789012:assumed-role/deploy/me");
    let error = wharf.call(&format!(r#"{ASSUME}, "DurationSeconds": 3601}}"#)).expect_err("chained");
    assert!(error.contains("1 hour session limit"), "{error}");
    wharf.check(
        "sts.GetSessionToken {}",
        "AccessDenied: Cannot call GetSessionToken with session credentials",
    );
}

#[test]
fn session_tokens_and_what_is_not_built() {
    let mut wharf = Wharf::new();
    let reply = wharf.call("sts.GetSessionToken {}").expect("credentials");
    assert_eq!(reply["Credentials"]["Expiration"], 1_700_003_600.0, "an hour for the root user");
    wharf.check(
        r#"sts.GetFederationToken {"Name": "me"}"#,
        "UnsupportedOperationException: GetFederationToken is not available in this version of Wharf.",
    );
}
