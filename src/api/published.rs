//! The published key systems that are answered here.

use axum::Router;
use utoipa::openapi::{OpenApi, PathItem};

use crate::config::{Answered, Dialect, Systems};

use super::desk::Desk;
use super::system::System;
use super::{alterlab, azscraper, piloterr};

/// One system.
struct Published {
    dialect: Dialect,
    owned: &'static [&'static str],
    router: fn(Desk) -> Router,
    document: fn() -> OpenApi,
}

/// Those that are answered on the listener that `on` takes at least.
fn answered(on: Answered, said: Systems) -> impl Iterator<Item = Published> {
    let alterlab = Published {
        dialect: Dialect::AlterLab,
        owned: &alterlab::OWNED,
        router: alterlab::router,
        document: alterlab::document,
    };
    let azscraper = Published {
        dialect: Dialect::AzScraper,
        owned: &azscraper::OWNED,
        router: azscraper::router,
        document: azscraper::document,
    };
    let piloterr = Published {
        dialect: Dialect::Piloterr,
        owned: &piloterr::OWNED,
        router: piloterr::router,
        document: piloterr::document,
    };
    let all = [(said.alterlab, alterlab), (said.azscraper, azscraper), (said.piloterr, piloterr)];
    all.into_iter().filter_map(move |(is, system)| (is >= on).then_some(system))
}

/// Those of the clients' listener ([`Answered::Everywhere`]) or of the operators' ([`Answered::Control`]). They answer
/// alike on both.
pub fn systems(on: Answered, said: Systems, desk: &Desk) -> Vec<System> {
    let system = |one: Published| System::new(one.owned, (one.router)(desk.clone())).speaking(one.dialect);
    answered(on, said).map(system).collect()
}

/// What the document says of those that are answered at all.
pub fn documents(said: Systems) -> Vec<OpenApi> {
    let mut documents: Vec<_> = answered(Answered::Control, said).map(|system| (system.document)()).collect();
    for document in &mut documents {
        document.paths.paths.values_mut().for_each(name);
    }
    documents
}

/// Gives each call a name that no other system's call has, such as `alterlab_list`.
fn name(item: &mut PathItem) {
    let calls = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
    for call in calls.into_iter().flatten() {
        let system = call.tags.iter().flatten().next().map(|tag| tag.to_lowercase());
        if let (Some(system), Some(id)) = (system, &mut call.operation_id) {
            *id = format!("{system}_{id}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::api::{native, openapi};
    use crate::domain::path::Pattern;

    const ALL: Systems = Systems {
        alterlab: Answered::Everywhere,
        azscraper: Answered::Everywhere,
        piloterr: Answered::Control,
        jobs_max: 2,
        register: true,
    };

    #[test]
    fn every_call_is_owned_documented_and_named_apart_from_all_others() {
        let parts: Vec<_> = documents(ALL).into_iter().chain([native::document()]).collect();
        let document = openapi::document(parts);
        let owned: Vec<_> = [&alterlab::OWNED[..], &azscraper::OWNED, &piloterr::OWNED].concat();
        let owned: Vec<_> = owned.iter().map(|path| Pattern::parse(path).unwrap()).collect();
        let (mut names, mut calls) = (BTreeSet::new(), 0);
        for (path, operations) in document["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                let name = operation["operationId"].as_str().unwrap().to_owned();
                assert!(names.insert(name.clone()), "{name} twice");
                if path.starts_with("/v1/") {
                    continue;
                }
                calls += 1;
                assert!(operation["summary"].is_string(), "{method} {path} has no summary");
                assert!(owned.iter().any(|pattern| pattern.matches(path)), "{path} goes to the upstream");
                let answers = operation["responses"].as_object().unwrap();
                for (status, answer) in answers {
                    // OpenAPI 3.1: a response has a description.
                    assert!(answer["description"].is_string(), "{method} {path} {status}");
                }
                let told = ["401", "503"].iter().all(|status| answers.contains_key(*status));
                assert!(told || path == "/health", "{method} {path}");
            }
        }
        assert_eq!(calls, 21 + 7 + 1);
        // Two types of one name would take each other's place.
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
        let schemas = document["components"]["schemas"].as_object().unwrap();
        for name in ["alterlab.ApiKey", "alterlab.Sums", "azscraper.ErrorBody", "piloterr.ApiKey"] {
            assert!(schemas.contains_key(name), "{name} is not among {:?}", schemas.keys());
        }
    }

    #[test]
    fn what_is_off_is_neither_answered_nor_documented() {
        let nowhere = Answered::Nowhere;
        let off = Systems { alterlab: nowhere, azscraper: nowhere, piloterr: nowhere, ..ALL };
        assert!(documents(off).is_empty());
        let documents = documents(Systems { piloterr: Answered::Control, ..off });
        let paths: Vec<_> = documents.iter().flat_map(|document| document.paths.paths.keys()).collect();
        assert_eq!(paths, ["/v2/usage"]);
    }
}
