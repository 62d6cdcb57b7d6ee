//! The scripts, as Redis gets them.

use std::sync::LazyLock;

use redis::Script;

/// One call of a node: [`wire`](super::wire) says what goes in and comes out.
pub(super) static CLAIM: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("rings.lua"), include_str!("claim.lua"))));
/// Rebuilds an organization, part by part.
pub(super) static RESTORE: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("rings.lua"), include_str!("restore.lua"))));
/// A node reports to an organization that was rebuilt.
pub(super) static REPORT: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("rings.lua"), include_str!("report.lua"))));
/// Counts that cannot be completed are made anew.
pub(super) static FORGET: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("rings.lua"), include_str!("forget.lua"))));
/// Address guards tell each other.
pub(super) static BLOCKS: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("blocks.lua")));
/// A node's sign of life.
pub(super) static HELLO: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("hello.lua")));
/// A node's last word.
pub(super) static GOODBYE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("goodbye.lua")));
/// What is used of every limit.
pub(super) static USED: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("rings.lua"), include_str!("used.lua"))));
