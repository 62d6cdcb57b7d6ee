//! The document, against the table of what may be done.

use std::collections::BTreeSet;

use super::*;
use crate::api::native;

fn whole() -> Value {
    document(vec![native::document()])
}

#[test]
fn every_call_of_the_native_api_says_who_may() {
    let document = whole();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut deeds = BTreeSet::new();
    let mut calls = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            calls += 1;
            assert!(operation["summary"].is_string(), "{method} {path} has no summary");
            assert!(operation["tags"].is_array() && operation["operationId"].is_string(), "{method} {path}");
            let Some(deed) = operation["x-tollgate-deed"].as_str() else {
                let open = ["/v1/session", "/v1/invitations/accept"];
                assert!(
                    method == "post" && open.contains(&path.as_str()),
                    "{method} {path} is open to everyone"
                );
                continue;
            };
            let rule = RULES.iter().find(|rule| rule.name == deed);
            let rule = rule.unwrap_or_else(|| panic!("{method} {path}: no deed `{deed}`"));
            deeds.insert(deed);
            let keys = operation["security"].as_array().unwrap().contains(&json!({ "key": [] }));
            assert_eq!(keys, rule.keys, "{method} {path}");
            assert!(!rule.keys || method == "get", "{method} {path}: a key may only read");
        }
    }
    assert!(calls >= 40, "{calls}");
    // Those that others need: a plan is set by the call that edits an organization.
    let unused: Vec<_> =
        RULES.iter().filter(|rule| !deeds.contains(rule.name)).map(|rule| rule.name).collect();
    assert_eq!(unused, ["set-plan"]);
}

#[test]
fn names_of_calls_are_unique_and_every_reference_leads_somewhere() {
    let document = whole();
    let mut names = BTreeSet::new();
    for operations in document["paths"].as_object().unwrap().values() {
        for operation in operations.as_object().unwrap().values() {
            let name = operation["operationId"].as_str().unwrap().to_owned();
            assert!(names.insert(name.clone()), "{name} twice");
        }
    }
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
}
