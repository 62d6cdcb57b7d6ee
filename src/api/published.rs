//! The published key systems that are answered here.

use utoipa::openapi::OpenApi;

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
    systems
}
