//! Lists in pages: whatever the sizes, the pages join to the whole, in order.

use crate::harness::Wharf;
use proptest::prelude::*;

/// Every item of a list, page by page.
fn collect(wharf: &mut Wharf, operation: &str, filters: &str, (size, member): (usize, &str)) -> Vec<String> {
    let mut all = Vec::new();
    let mut token = String::new();
    loop {
        let page =
            wharf.call(&format!(r#"{operation} {{{filters}"maxResults": {size}{token}}}"#)).expect("a page");
        let items = page[member].as_array().expect("a list");
        assert!(items.len() <= size && all.len() <= 1000, "pages end");
        all.extend(items.iter().map(|item| item.as_str().expect("text").to_owned()));
        match page["nextToken"].as_str() {
            Some(next) => {
                assert_eq!(items.len(), size, "only the last page is short");
                token = format!(r#", "nextToken": "{next}""#);
            }
            None => return all,
        }
    }
}

fn register(wharf: &mut Wharf, family: &str) {
    wharf.check(
        &format!(
            r#"RegisterTaskDefinition {{"family": "{family}",
                "containerDefinitions": [{{"name": "a", "image": "b", "memory": 64}}]}}"#
        ),
        r#"{"...": true}"#,
    );
}

fn arn(family: &str, revision: usize) -> String {
    format!("arn:aws:ecs:us-east-1:123456789012:task-definition/{family}:{revision}")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn task_definitions_come_by_family_then_number(
        counts in prop::collection::btree_map("[A-Za-z0-9_-]{1,3}", 1_usize..13, 0..6),
        size in 1_usize..8,
    ) {
        let mut wharf = Wharf::new();
        for (family, count) in &counts {
            (0..*count).for_each(|_| register(&mut wharf, family));
        }
        let mut expected: Vec<String> = counts
            .iter()
            .flat_map(|(family, count)| (1..=*count).map(move |revision| arn(family, revision)))
            .collect();
        let list = ("ListTaskDefinitions", "taskDefinitionArns");
        prop_assert_eq!(&collect(&mut wharf, list.0, "", (size, list.1)), &expected);
        expected.reverse();
        prop_assert_eq!(&collect(&mut wharf, list.0, r#""sort": "DESC","#, (size, list.1)), &expected);
        for (family, count) in &counts {
            let filter = format!(r#""familyPrefix": "{family}","#);
            let expected: Vec<String> = (1..=*count).map(|revision| arn(family, revision)).collect();
            prop_assert_eq!(&collect(&mut wharf, list.0, &filter, (size, list.1)), &expected);
        }
        let families: Vec<String> = counts.keys().cloned().collect();
        prop_assert_eq!(collect(&mut wharf, "ListTaskDefinitionFamilies", "", (size, "families")), families);
    }

    #[test]
    fn clusters_come_by_name(names in prop::collection::btree_set("[A-Za-z0-9_-]{1,6}", 0..20), size in 1_usize..8) {
        let mut wharf = Wharf::new();
        for name in &names {
            wharf.check(&format!(r#"CreateCluster {{"clusterName": "{name}"}}"#), r#"{"...": true}"#);
        }
        let expected: Vec<String> =
            names.iter().map(|name| format!("arn:aws:ecs:us-east-1:123456789012:cluster/{name}")).collect();
        prop_assert_eq!(collect(&mut wharf, "ListClusters", "", (size, "clusterArns")), expected);
    }
}

#[test]
fn sizes_and_tokens_that_a_list_refuses() {
    let mut wharf = Wharf::new();
    for family in ["a", "b", "c"] {
        register(&mut wharf, family);
    }
    for operation in ["ListClusters", "ListTaskDefinitions", "ListTaskDefinitionFamilies"] {
        for size in [0, -1, 101] {
            wharf.check(
                &format!(r#"{operation} {{"maxResults": {size}}}"#),
                "InvalidParameterException: maxResults must be between 1 and 100.",
            );
        }
        for token in ["", "x", "zz", "00", "é"] {
            wharf.check(
                &format!(r#"{operation} {{"nextToken": "{token}"}}"#),
                "InvalidParameterException: Invalid token.",
            );
        }
    }
    let page = wharf.call(r#"ListTaskDefinitions {"maxResults": 1}"#).expect("a page");
    let token = page["nextToken"].as_str().expect("more");
    for filter in [r#""sort": "DESC""#, r#""status": "INACTIVE""#, r#""familyPrefix": "b""#] {
        wharf.check(
            &format!(r#"ListTaskDefinitions {{{filter}, "nextToken": "{token}"}}"#),
            "InvalidParameterException: Invalid token.",
        );
    }
}
