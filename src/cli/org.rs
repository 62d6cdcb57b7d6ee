//! `tollgate org …`

use clap::{Args, Subcommand};

use super::args::{LimitArgs, cap};
use super::context::Context;
use super::failure::Failure;
use super::output::{Output, facts, listed, or};
use super::wire::OrganizationWire;
use crate::domain::key::Organization;
use crate::domain::limit::{Caps, SpendLimit};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make an organization, with a default project.
    Create {
        /// What people call it; its id is made of it.
        name: String,
        /// A plan of the configuration.
        #[arg(long)]
        plan: String,
    },
    /// List organizations.
    List,
    /// Show one organization.
    Show {
        /// Its id or name.
        organization: String,
    },
    /// Put an organization on a plan, with the caps negotiated for it alone.
    SetPlan(SetPlan),
    /// Set or clear an organization's spend limit, over all its keys.
    Limit {
        /// Its id or name.
        organization: String,
        #[command(flatten)]
        limit: LimitArgs,
    },
}

#[derive(Debug, Args)]
pub(super) struct SetPlan {
    /// Its id or name.
    organization: Option<String>,
    /// A plan of the configuration.
    plan: Option<String>,
    /// The organization, as other commands take it.
    #[arg(long = "org", id = "org", value_name = "ORGANIZATION")]
    named_organization: Option<String>,
    /// The plan, as `org create` takes it.
    #[arg(long = "plan", id = "of_plan", value_name = "PLAN")]
    named_plan: Option<String>,
    /// Requests in any second, in the place of the plan's; left out, the plan's counts again.
    #[arg(long, value_name = "N", value_parser = cap, allow_negative_numbers = true)]
    per_second: Option<u64>,
    /// Requests in any minute, in the place of the plan's.
    #[arg(long, value_name = "N", value_parser = cap, allow_negative_numbers = true)]
    per_minute: Option<u64>,
    /// Requests in flight, in the place of the plan's.
    #[arg(long, value_name = "N", value_parser = cap, allow_negative_numbers = true)]
    concurrency: Option<u64>,
}

impl SetPlan {
    /// The organization and its plan, each of which is said once.
    fn named(&self) -> Result<(&str, &str), Failure> {
        let Self { organization, plan, named_organization, named_plan, .. } = self;
        match [organization, plan, named_organization, named_plan].map(Option::as_deref) {
            [Some(organization), Some(plan), None, None]
            | [Some(organization), None, None, Some(plan)]
            | [Some(plan), None, Some(organization), None]
            | [None, None, Some(organization), Some(plan)] => Ok((organization, plan)),
            _ => Err(Failure::wrong("one organization and one plan are needed")
                .advice("write tollgate org set-plan ORGANIZATION PLAN")),
        }
    }
}

pub(super) async fn run(command: Command, context: &Context) -> Result<Output, Failure> {
    let Context { admin, actor, now, .. } = context;
    let org = match command {
        Command::List => return list(context).await,
        Command::Create { name, plan } => admin.create_organization(&name, &plan, actor, *now).await?,
        Command::Show { organization } => context.record().organization(&organization).await?,
        Command::SetPlan(change) => {
            let (organization, plan) = change.named()?;
            let SetPlan { per_second, per_minute, concurrency, .. } = change;
            let negotiated = Caps { per_second, per_minute, concurrency };
            admin.set_plan(organization, plan, negotiated, actor, *now).await?
        }
        Command::Limit { organization, limit } => {
            admin.set_organization_limit(&organization, limit.limit(), actor, *now).await?
        }
    };
    Ok(one(&org, context))
}

async fn list(context: &Context) -> Result<Output, Failure> {
    let orgs = context.record().organizations().await?;
    let rows: Vec<_> = orgs
        .iter()
        .map(|org| [org.id.to_string(), org.name.clone(), org.plan.clone(), org.created_at.to_string()])
        .collect();
    let wires: Vec<_> =
        orgs.iter().map(|org| OrganizationWire::new(org, context.config.caps(&org.plan))).collect();
    Ok(Output::new(listed(["ID", "NAME", "PLAN", "CREATED"], &rows, context, "org create"), &wires))
}

fn one(org: &Organization, context: &Context) -> Output {
    let plan = context.config.caps(&org.plan);
    let caps = plan.overridden(org.negotiated);
    let cap = |cap: Option<u64>, own: Option<u64>| {
        let note = if own.is_some() { " (negotiated)" } else { "" };
        format!("{}{note}", or(cap, "no cap"))
    };
    let text = facts(&[
        ("id", org.id.to_string()),
        ("name", org.name.clone()),
        ("plan", org.plan.clone()),
        ("per second", cap(caps.per_second, org.negotiated.per_second)),
        ("per minute", cap(caps.per_minute, org.negotiated.per_minute)),
        ("concurrency", cap(caps.concurrency, org.negotiated.concurrency)),
        ("spend limit", limit_text(org.limit.as_ref())),
        ("created", org.created_at.to_string()),
    ]);
    Output::new(text, &OrganizationWire::new(org, plan))
}

/// A spend limit in words.
pub(super) fn limit_text(limit: Option<&SpendLimit>) -> String {
    let Some(limit) = limit else { return "none".to_owned() };
    let caps: Vec<_> = [
        limit.requests.map(|cap| format!("{cap} requests")),
        limit.microcents.map(|cap| format!("{cap} microcents")),
    ]
    .into_iter()
    .flatten()
    .collect();
    let off = if limit.enabled { "" } else { " (disabled)" };
    format!("{} {}{off}", caps.join(" and "), limit.period.name())
}
