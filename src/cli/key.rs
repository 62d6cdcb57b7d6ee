//! `tollgate key …`: making, listing and showing keys.

use clap::{Args, Subcommand};

use super::args::{End, cap, end};
use super::context::Context;
use super::failure::Failure;
use super::key_change::{self, Limit, Named, Quotas, Rename, Rotate};
use super::key_import::{self, Import};
use super::org::limit_text;
use super::output::{Output, facts, listed, or};
use super::wire::KeyWire;
use crate::admin::KeyOrder;
use crate::domain::key::Key;
use crate::domain::limit;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::stores::record::KeyFilter;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a key; its secret is printed this once.
    Create(Create),
    /// Import keys that were made elsewhere, all or none.
    Import(Import),
    /// List keys.
    List {
        /// Of this organization (id or name) only.
        #[arg(long)]
        org: Option<String>,
        /// Revoked ones too.
        #[arg(long)]
        revoked: bool,
    },
    /// Show one key.
    Show(Named),
    /// Give a key another name.
    Rename(Rename),
    /// Block a key; it can be enabled again.
    Disable(Named),
    /// Unblock a disabled key.
    Enable(Named),
    /// End a key for good; its history is kept.
    Revoke(Named),
    /// Remove a key that was never used.
    Delete(Named),
    /// Give a key a new secret, printed this once.
    Rotate(Rotate),
    /// Change a key's rolling quotas; those not named stay.
    Quotas(Quotas),
    /// Set or clear a key's spend limit.
    Limit(Limit),
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// The organization's id or name.
    #[arg(long)]
    org: String,
    /// The alias; unique in the organization among keys not revoked.
    #[arg(long)]
    name: String,
    /// The project's id or name; without it, the organization's default project.
    #[arg(long)]
    project: Option<String>,
    /// production, development, staging or any text; no effect.
    #[arg(long, default_value = "production")]
    category: String,
    /// When it ends by itself: 2026-12-31 (its midnight, UTC), 2026-12-31T23:59:59Z, or 30d from now.
    #[arg(long, value_name = "TIME", value_parser = end)]
    expires: Option<End>,
    /// Requests ever; 0 admits nothing.
    #[arg(long, value_name = "N", value_parser = cap, allow_negative_numbers = true)]
    total: Option<u64>,
    /// Requests in any 24 hours.
    #[arg(long, value_name = "N", value_parser = cap, allow_negative_numbers = true)]
    daily: Option<u64>,
    /// Requests in any 7 days.
    #[arg(long, value_name = "N", value_parser = cap, allow_negative_numbers = true)]
    weekly: Option<u64>,
    /// Requests in any 30 days.
    #[arg(long, value_name = "N", value_parser = cap, allow_negative_numbers = true)]
    monthly: Option<u64>,
    /// read or write; may be repeated; without it, both.
    #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',')]
    scopes: Vec<String>,
    /// A network in CIDR or an address that it may be used from; may be repeated; without it, everywhere.
    #[arg(long = "allow-ip", value_name = "CIDR", value_delimiter = ',')]
    allow_ips: Vec<String>,
}

pub(super) async fn run(command: Command, context: &Context) -> Result<Output, Failure> {
    match command {
        Command::Create(create) => make(create, context).await,
        Command::Import(import) => key_import::run(import, context).await,
        Command::List { org, revoked } => list(org.as_deref(), revoked, context).await,
        Command::Show(named) => Ok(one(&named.find(context).await?, context.now)),
        Command::Rename(change) => key_change::rename(change, context).await,
        Command::Disable(named) => key_change::set_active(&named, false, context).await,
        Command::Enable(named) => key_change::set_active(&named, true, context).await,
        Command::Revoke(named) => key_change::revoke(&named, context).await,
        Command::Delete(named) => key_change::delete(&named, context).await,
        Command::Rotate(change) => key_change::rotate(change, context).await,
        Command::Quotas(change) => key_change::set_quotas(change, context).await,
        Command::Limit(change) => key_change::set_limit(change, context).await,
    }
}

async fn make(create: Create, context: &Context) -> Result<Output, Failure> {
    let Create { total, daily, weekly, monthly, .. } = create;
    let order = KeyOrder {
        organization: create.org,
        project: create.project,
        name: create.name,
        category: Some(create.category),
        expires_at: create.expires.map(|end| end.from(context.now)),
        quotas: limit::Quotas { total, daily, weekly, monthly },
        limit: None,
        scopes: create.scopes,
        allowed_ips: create.allow_ips,
        created_by: None,
    };
    let (key, secret) = context.admin.create_key(&order, &context.actor, context.now).await?;
    Ok(with_secret(&key, &secret, context.now)
        .or_else_advise("the key was made, but nobody has seen its secret: rotate or delete it"))
}

async fn list(org: Option<&str>, revoked: bool, context: &Context) -> Result<Output, Failure> {
    let organization = match org {
        Some(org) => Some(context.record().organization(org).await?.id),
        None => None,
    };
    let keys = context.record().keys(&KeyFilter { organization, revoked }).await?;
    let rows: Vec<_> = keys
        .iter()
        .map(|key| {
            [
                key.id.to_string(),
                key.organization.to_string(),
                key.name.clone(),
                format!("{}…{}", key.prefix, key.hint),
                state(key, context.now),
                key.requests.to_string(),
                or(key.last_used_at, "never"),
            ]
        })
        .collect();
    let head = ["ID", "ORGANIZATION", "NAME", "KEY", "STATE", "REQUESTS", "LAST USED"];
    let wires: Vec<_> = keys.iter().map(|key| KeyWire::new(key, None)).collect();
    Ok(Output::new(listed(head, &rows, context, "key create"), &wires))
}

/// One key.
pub(super) fn one(key: &Key, now: Timestamp) -> Output {
    Output::new(text(key, now), &KeyWire::new(key, None))
}

/// One key with its secret.
pub(super) fn with_secret(key: &Key, secret: &Secret, now: Timestamp) -> Output {
    let note = "This is the only time the key is shown: only its digest is kept.";
    let text = format!("{}\n\n{}\n{note}", text(key, now), secret.expose());
    Output::new(text, &KeyWire::new(key, Some(secret)))
}

fn text(key: &Key, now: Timestamp) -> String {
    let list = |texts: Vec<String>, none: &str| {
        if texts.is_empty() { none.to_owned() } else { texts.join(", ") }
    };
    let quotas = [
        (key.quotas.total, "in total"),
        (key.quotas.daily, "in 24 hours"),
        (key.quotas.weekly, "in 7 days"),
        (key.quotas.monthly, "in 30 days"),
    ];
    let quotas = quotas.iter().filter_map(|(cap, what)| Some(format!("{} {what}", (*cap)?))).collect();
    facts(&[
        ("id", key.id.to_string()),
        ("organization", key.organization.to_string()),
        ("project", key.project.to_string()),
        ("name", key.name.clone()),
        ("category", key.category.clone()),
        ("key", format!("{}…{}", key.prefix, key.hint)),
        ("state", state(key, now)),
        ("scopes", list(key.scopes.names().map(str::to_owned).collect(), "none")),
        ("expires", or(key.expires_at, "never")),
        ("allowed from", list(key.allowed_ips.iter().map(ToString::to_string).collect(), "everywhere")),
        ("quotas", list(quotas, "none")),
        ("spend limit", limit_text(key.limit.as_ref())),
        ("created", key.created_at.to_string()),
        ("last used", or(key.last_used_at, "never")),
        ("requests", key.requests.to_string()),
    ])
}

/// What the gateway would say of it, the gravest first.
fn state(key: &Key, now: Timestamp) -> String {
    match key {
        Key { revoked_at: Some(at), .. } => format!("revoked {at}"),
        Key { active: false, .. } => "disabled".to_owned(),
        Key { expires_at: Some(end), .. } if now >= *end => format!("expired {end}"),
        _ => "active".to_owned(),
    }
}
