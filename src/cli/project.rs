//! `tollgate project …`

use clap::Subcommand;

use super::context::Context;
use super::failure::Failure;
use super::output::{Output, facts, listed};
use super::wire::ProjectWire;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a project.
    Create {
        /// What people call it; unique in its organization.
        name: String,
        /// The organization's id or name.
        #[arg(long)]
        org: String,
        /// An id of your own, such as the upstream's; without it, a random one.
        #[arg(long)]
        id: Option<String>,
    },
    /// List projects.
    List {
        /// Of this organization (id or name) only.
        #[arg(long)]
        org: Option<String>,
    },
}

pub(super) async fn run(command: Command, context: &Context) -> Result<Output, Failure> {
    let Context { admin, actor, now, .. } = context;
    match command {
        Command::Create { name, org, id } => {
            let project = admin.create_project(&org, &name, id.as_deref(), actor, *now).await?;
            let text = facts(&[
                ("id", project.id.to_string()),
                ("organization", project.organization.to_string()),
                ("name", project.name.clone()),
            ]);
            Ok(Output::new(text, &ProjectWire::from(&project)))
        }
        Command::List { org } => {
            let org = match org {
                Some(org) => Some(context.record().organization(&org).await?.id),
                None => None,
            };
            let projects = context.record().projects(org.as_ref()).await?;
            let rows: Vec<_> = projects
                .iter()
                .map(|project| {
                    let (id, org) = (project.id.to_string(), project.organization.to_string());
                    [id, org, project.name.clone(), project.created_at.to_string()]
                })
                .collect();
            let wires: Vec<_> = projects.iter().map(ProjectWire::from).collect();
            Ok(Output::new(
                listed(["ID", "ORGANIZATION", "NAME", "CREATED"], &rows, context, "project create"),
                &wires,
            ))
        }
    }
}
