//! What the gateway answers itself, by listener. The first system that owns a path has it, and routes come after all
//! of them.

use std::sync::Arc;

use crate::api::desk::Desk;
use crate::api::native::{self, Native};
use crate::api::system::System;
use crate::api::{docs, openapi, own_usage, published};
use crate::config::{Answered, Config};

/// Systems, in the order in which they are asked.
pub(super) struct Systems {
    /// The clients' side.
    pub data: Vec<System>,
    /// The operators' side.
    pub control: Vec<System>,
}

impl Systems {
    /// Those that `config` switches on.
    pub(super) fn new(config: &Config, desk: &Desk, native: Native) -> Self {
        let own = own_usage::system(Arc::clone(&desk.gate), desk.record.clone());
        let with_published = |on| {
            let published = published::systems(on, config.systems, desk);
            std::iter::once(own.clone()).chain(published).collect::<Vec<_>>()
        };
        let (data, mut control) = (with_published(Answered::Everywhere), with_published(Answered::Control));
        let (native, document) = native::system(native);
        let documents = std::iter::once(document).chain(published::documents(config.systems)).collect();
        control.extend([native, openapi::system(documents), docs::system()]);
        Self { data, control }
    }
}
