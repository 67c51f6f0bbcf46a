//! Account settings: whose, which values, what is in force.

use crate::harness::Wharf;

const USER: &str = "arn:aws:iam::123456789012:user/ada";

#[test]
fn a_principal_s_own_value_then_the_account_s_then_aws_s() {
    let mut wharf = Wharf::new();
    let effective = r#"ListAccountSettings {"name": "containerInsights", "effectiveSettings": true}"#;
    let shows = |value: &str, principal: &str| {
        format!(
            r#"{{"settings": [{{"name": "containerInsights", "value": "{value}", "type": "user",
                "principalArn": "{principal}"}}]}}"#
        )
    };
    let root = "arn:aws:iam::123456789012:root";
    wharf.check(effective, &shows("disabled", root));
    wharf.check(
        r#"PutAccountSettingDefault {"name": "containerInsights", "value": "enabled"}"#,
        &format!(
            r#"{{"setting": {{"name": "containerInsights", "value": "enabled", "type": "user",
                "principalArn": "{root}"}}}}"#
        ),
    );
    wharf.become_principal(USER);
    wharf.check(effective, &shows("enabled", USER));
    wharf.check(r#"ListAccountSettings {"name": "containerInsights"}"#, r#"{"settings": []}"#);
    wharf.check(
        r#"PutAccountSetting {"name": "containerInsights", "value": "enhanced"}"#,
        &format!(
            r#"{{"setting": {{"name": "containerInsights", "value": "enhanced", "type": "user",
                "principalArn": "{USER}"}}}}"#
        ),
    );
    wharf.check(effective, &shows("enhanced", USER));
    wharf.check(
        r#"ListAccountSettings {"name": "containerInsights", "value": "enabled"}"#,
        r#"{"settings": []}"#,
    );
    wharf.check(
        r#"DeleteAccountSetting {"name": "containerInsights"}"#,
        r#"{"setting": {"value": "enhanced", "...": true}}"#,
    );
    wharf.check(effective, &shows("enabled", USER));
    wharf.check(
        r#"DeleteAccountSetting {"name": "containerInsights"}"#,
        r#"{"setting": {"value": "enabled", "...": true}}"#,
    );
}

#[test]
fn a_session_of_a_role_has_the_role_s_settings() {
    let mut wharf = Wharf::new();
    wharf.become_principal("arn:aws:sts::123456789012:assumed-role/deploy/one");
    wharf.check(
        r#"PutAccountSetting {"name": "awsvpcTrunking", "value": "enabled"}"#,
        r#"{"setting": {"principalArn": "arn:aws:iam::123456789012:role/deploy", "...": true}}"#,
    );
    wharf.become_principal("arn:aws:sts::123456789012:assumed-role/deploy/two");
    wharf.check(
        r#"ListAccountSettings {"name": "awsvpcTrunking"}"#,
        r#"{"settings": [{"value": "enabled", "...": true}]}"#,
    );
}

#[test]
fn only_root_names_another_principal() {
    let mut wharf = Wharf::new();
    let put = format!(
        r#"PutAccountSetting {{"name": "awsvpcTrunking", "value": "enabled", "principalArn": "{USER}"}}"#
    );
    wharf.check(&put, &format!(r#"{{"setting": {{"principalArn": "{USER}", "...": true}}}}"#));
    for wrong in ["ada", "arn:aws:iam::210987654321:user/ada", "arn:aws:ecs:us-east-1:123456789012:cluster/a"]
    {
        wharf.check(
            &format!(r#"ListAccountSettings {{"principalArn": "{wrong}"}}"#),
            "InvalidParameterException: Invalid principalArn.",
        );
    }
    wharf.become_principal("arn:aws:iam::123456789012:user/bob");
    wharf
        .check(&put, "AccessDeniedException: Only the root user can name another principal in principalArn.");
}

#[test]
fn values_that_a_setting_cannot_have() {
    let invalid = "InvalidParameterException: Invalid setting 'value'";
    let cases = [
        (r#"{"name": "taskLongArnFormat", "value": "ENABLED"}"#, invalid),
        (r#"{"name": "awsvpcTrunking", "value": "on"}"#, invalid),
        (r#"{"name": "fargateTaskRetirementWaitPeriod", "value": "8"}"#, invalid),
        (
            r#"{"name": "taskLongArnFormat", "value": "disabled"}"#,
            "InvalidParameterException: You can no longer disable Long Arn settings",
        ),
        (
            r#"{"name": "guardDutyActivate", "value": "on"}"#,
            "InvalidParameterException: The guardDutyActivate setting is read-only. Use Amazon GuardDuty to change it.",
        ),
    ];
    let mut wharf = Wharf::new();
    for (request, expected) in cases {
        wharf.check(&format!("PutAccountSetting {request}"), expected);
        wharf.check(&format!("PutAccountSettingDefault {request}"), expected);
    }
    let wait = r#"{"name": "fargateTaskRetirementWaitPeriod", "value": "14"}"#;
    wharf.check(&format!("PutAccountSetting {wait}"), r#"{"...": true}"#);
    wharf.become_principal(USER);
    wharf.check(
        &format!("PutAccountSetting {wait}"),
        "InvalidParameterException: fargateTaskRetirementWaitPeriod can only be set for the whole account.",
    );
    wharf.check(
        r#"ListAccountSettings {"value": "enabled"}"#,
        "InvalidParameterException: You must specify an account setting name to filter by value.",
    );
    wharf.check(
        r#"ListAccountSettings {"maxResults": 11}"#,
        "InvalidParameterException: maxResults must be between 1 and 10.",
    );
}

#[test]
fn the_effective_settings_come_in_pages() {
    let mut wharf = Wharf::new();
    let first = wharf.call(r#"ListAccountSettings {"effectiveSettings": true}"#).expect("a page");
    assert_eq!(first["settings"].as_array().map(Vec::len), Some(10));
    let token = first["nextToken"].as_str().expect("there are eleven").to_owned();
    wharf.check(
        &format!(r#"ListAccountSettings {{"effectiveSettings": true, "nextToken": "{token}"}}"#),
        r#"{"settings": [{"name": "taskLongArnFormat", "value": "enabled", "type": "user",
            "principalArn": "arn:aws:iam::123456789012:root"}]}"#,
    );
    wharf.check(
        &format!(r#"ListAccountSettings {{"nextToken": "{token}"}}"#),
        "InvalidParameterException: Invalid token.",
    );
}
