//! The published key systems that are answered here.

use utoipa::openapi::{OpenApi, PathItem};

use crate::config::Systems;

use super::desk::Desk;
use super::system::System;
use super::{alterlab, azscraper, piloterr};

/// Those that are switched on, each with what the document says of it. They answer alike on both listeners.
pub fn systems(on: Systems, desk: &Desk) -> Vec<(System, OpenApi)> {
    let mut systems = Vec::new();
    if on.alterlab {
        let (router, document) = alterlab::router(desk.clone());
        systems.push((System::new(&alterlab::OWNED, router), document));
    }
    if on.azscraper {
        let (router, document) = azscraper::router(desk.clone());
        systems.push((System::new(&azscraper::OWNED, router), document));
    }
    if on.piloterr {
        let (router, document) = piloterr::router(desk.clone());
        systems.push((System::new(&piloterr::OWNED, router), document));
    }
    for (_, document) in &mut systems {
        document.paths.paths.values_mut().for_each(name);
    }
    systems
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
