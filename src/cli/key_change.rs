//! `tollgate key …`: changing keys.

use std::time::Duration;

use clap::Args;

use super::args::{CapOrNone, LimitArgs, cap_or_none, span};
use super::context::Context;
use super::failure::Failure;
use super::key::{one, with_secret};
use super::output::Output;
use super::wire::DeletedWire;
use crate::domain::key::Key;
use crate::domain::limit;
use crate::domain::secret::is_well_formed;

/// Which key.
#[derive(Debug, Args)]
pub(super) struct Named {
    /// The key's id, or with --org its name.
    key: String,
    /// The organization (id or name) in which to look.
    #[arg(long)]
    org: Option<String>,
}

impl Named {
    pub(super) fn new(key: &str, org: Option<&str>) -> Self {
        Self { key: key.to_owned(), org: org.map(str::to_owned) }
    }

    pub(super) async fn find(&self, context: &Context) -> Result<Key, Failure> {
        // What was given may be a secret, so it is not said again; imported ones have any shape.
        let secret = is_well_formed(self.key.as_bytes(), &context.config.keys.prefix);
        if secret || (self.org.is_none() && uuid::Uuid::try_parse(&self.key).is_err()) {
            let what =
                if secret { "that is a key's secret, not its id" } else { "that is no key's id (a UUID)" };
            return Err(Failure::wrong(what)
                .advice("`tollgate key list` shows ids; or give --org ORGANIZATION and the key's name"));
        }
        Ok(context.admin.key(&self.key, self.org.as_deref()).await?)
    }
}

#[derive(Debug, Args)]
pub(super) struct Rename {
    #[command(flatten)]
    named: Named,
    /// The new name.
    #[arg(required_unless_present = "to")]
    name: Option<String>,
    /// The new name, as `key create` takes it.
    #[arg(long = "name", id = "to", value_name = "NAME", conflicts_with = "name")]
    to: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Rotate {
    #[command(flatten)]
    named: Named,
    /// How long the old secret still works, at most 30d; without it, not at all.
    #[arg(long, value_parser = span)]
    grace: Option<Duration>,
}

#[derive(Debug, Args)]
#[group(id = "quotas", required = true, multiple = true, args = ["total", "daily", "weekly", "monthly"])]
pub(super) struct Quotas {
    #[command(flatten)]
    named: Named,
    /// Requests ever; `none` removes the cap.
    #[arg(long, value_name = "N", value_parser = cap_or_none, allow_negative_numbers = true)]
    total: Option<CapOrNone>,
    /// Requests in any 24 hours.
    #[arg(long, value_name = "N", value_parser = cap_or_none, allow_negative_numbers = true)]
    daily: Option<CapOrNone>,
    /// Requests in any 7 days.
    #[arg(long, value_name = "N", value_parser = cap_or_none, allow_negative_numbers = true)]
    weekly: Option<CapOrNone>,
    /// Requests in any 30 days.
    #[arg(long, value_name = "N", value_parser = cap_or_none, allow_negative_numbers = true)]
    monthly: Option<CapOrNone>,
}

#[derive(Debug, Args)]
pub(super) struct Limit {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    limit: LimitArgs,
}

pub(super) async fn rename(change: Rename, context: &Context) -> Result<Output, Failure> {
    let Context { admin, actor, now, .. } = context;
    let id = change.named.find(context).await?.id;
    let name = change.name.or(change.to).unwrap_or_default();
    Ok(one(&admin.rename_key(id, &name, actor, *now).await?, *now))
}

pub(super) async fn set_active(named: &Named, active: bool, context: &Context) -> Result<Output, Failure> {
    let Context { admin, actor, now, .. } = context;
    let id = named.find(context).await?.id;
    Ok(one(&admin.set_key_active(id, active, actor, *now).await?, *now))
}

pub(super) async fn revoke(named: &Named, context: &Context) -> Result<Output, Failure> {
    let Context { admin, actor, now, .. } = context;
    let id = named.find(context).await?.id;
    Ok(one(&admin.revoke_key(id, actor, *now).await?, *now))
}

pub(super) async fn delete(named: &Named, context: &Context) -> Result<Output, Failure> {
    let key = named.find(context).await?;
    context.admin.delete_key(key.id, &context.actor, context.now).await?;
    let text = format!("deleted the key `{}` ({})", key.name, key.id);
    Ok(Output::new(text, &DeletedWire { deleted: key.id.to_string() }))
}

pub(super) async fn rotate(change: Rotate, context: &Context) -> Result<Output, Failure> {
    let Context { admin, actor, now, .. } = context;
    let id = change.named.find(context).await?.id;
    let (key, secret) = admin.rotate_key(id, change.grace.unwrap_or_default(), actor, *now).await?;
    Ok(with_secret(&key, &secret, *now)
        .or_else_advise("the key has a new secret that nobody has seen: rotate it again"))
}

pub(super) async fn set_quotas(change: Quotas, context: &Context) -> Result<Output, Failure> {
    let Context { admin, actor, now, .. } = context;
    let key = change.named.find(context).await?;
    let set = |change: Option<CapOrNone>, before| change.map_or(before, |CapOrNone(cap)| cap);
    let quotas = limit::Quotas {
        total: set(change.total, key.quotas.total),
        daily: set(change.daily, key.quotas.daily),
        weekly: set(change.weekly, key.quotas.weekly),
        monthly: set(change.monthly, key.quotas.monthly),
    };
    Ok(one(&admin.set_key_quotas(key.id, quotas, actor, *now).await?, *now))
}

pub(super) async fn set_limit(change: Limit, context: &Context) -> Result<Output, Failure> {
    let Context { admin, actor, now, .. } = context;
    let id = change.named.find(context).await?.id;
    Ok(one(&admin.set_key_limit(id, change.limit.limit(), actor, *now).await?, *now))
}
