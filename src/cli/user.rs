//! `tollgate user …`

use std::io::Read as _;

use clap::{Args, Subcommand, ValueEnum};

use super::context::Context;
use super::failure::Failure;
use super::output::{Output, facts, table};
use super::wire::UserWire;
use crate::admin::{PASSWORD_BYTES_MAX, UserOrder};
use crate::domain::people::{Role, User};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a user, with a personal organization.
    Create(Create),
    /// List users.
    List,
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// The user's email.
    email: String,
    /// An organization (id or name) to join at once.
    #[arg(long)]
    org: Option<String>,
    /// The role in that organization.
    #[arg(long, requires = "org", default_value = "member")]
    role: RoleArg,
    /// The user runs the gateway and sees every organization.
    #[arg(long)]
    operator: bool,
    /// Read the password from standard input; there is no other way to give it, as arguments are seen by
    /// every process and kept by shells.
    #[arg(long, required = true)]
    password_stdin: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RoleArg {
    /// Uses and reads.
    Member,
    /// Manages keys and limits.
    Admin,
    /// Manages members and the organization.
    Owner,
}

impl From<RoleArg> for Role {
    fn from(arg: RoleArg) -> Self {
        match arg {
            RoleArg::Member => Self::Member,
            RoleArg::Admin => Self::Admin,
            RoleArg::Owner => Self::Owner,
        }
    }
}

pub(super) async fn run(command: Command, context: &Context) -> Result<Output, Failure> {
    match command {
        Command::Create(create) => {
            let order = UserOrder {
                email: create.email,
                password: password()?,
                operator: create.operator,
                membership: create.org.map(|org| (org, create.role.into())),
            };
            let user = context.admin.create_user(&order, &context.actor, context.now).await?;
            let text = facts(&[
                ("id", user.id.to_string()),
                ("email", user.email.clone()),
                ("operator", yes_no(user.operator)),
                ("organizations", memberships(&user)),
            ]);
            Ok(Output::new(text, &UserWire::from(&user)))
        }
        Command::List => {
            let users = context.record().users().await?;
            let rows: Vec<_> = users
                .iter()
                .map(|user| {
                    [user.id.to_string(), user.email.clone(), yes_no(user.operator), memberships(user)]
                })
                .collect();
            let wires: Vec<_> = users.iter().map(UserWire::from).collect();
            Ok(Output::new(table(["ID", "EMAIL", "OPERATOR", "ORGANIZATIONS"], &rows), &wires))
        }
    }
}

/// Standard input to its end, without one line break at the end of it.
fn password() -> Result<String, Failure> {
    let mut text = String::new();
    // One over the longest and its line break, so that too long is seen as too long.
    let most = PASSWORD_BYTES_MAX as u64 + 3;
    std::io::stdin()
        .take(most)
        .read_to_string(&mut text)
        .map_err(|error| Failure::wrong(format!("password: standard input could not be read: {error}")))?;
    let bare = text.strip_suffix('\n').map(|text| text.strip_suffix('\r').unwrap_or(text));
    Ok(bare.map_or_else(|| text.clone(), str::to_owned))
}

fn yes_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

fn memberships(user: &User) -> String {
    let all: Vec<_> = user.memberships.iter().map(|(org, role)| format!("{org} ({})", role.name())).collect();
    all.join(", ")
}
