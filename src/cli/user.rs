//! `tollgate user …`

use std::io::Read as _;

use clap::{Args, Subcommand, ValueEnum};

use super::context::Context;
use super::failure::Failure;
use super::output::{Output, facts, listed};
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
            Ok(Output::new(
                listed(["ID", "EMAIL", "OPERATOR", "ORGANIZATIONS"], &rows, context, "user create"),
                &wires,
            ))
        }
    }
}

/// Standard input to its end, without one line break at the end of it.
fn password() -> Result<String, Failure> {
    let wrong = |what: &str| Failure::wrong(format!("password: standard input {what}"));
    // The longest, its line break, and one more, so that too long is seen as too long.
    let most = PASSWORD_BYTES_MAX as u64 + 3;
    let mut bytes = Vec::new();
    std::io::stdin()
        .take(most)
        .read_to_end(&mut bytes)
        .map_err(|error| wrong(&format!("could not be read: {error}")))?;
    let bare = bytes.strip_suffix(b"\n").map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let bare = bare.unwrap_or(&bytes);
    if bare.len() > PASSWORD_BYTES_MAX {
        return Err(wrong(&format!("is too long: give at most {PASSWORD_BYTES_MAX} bytes")));
    }
    std::str::from_utf8(bare).map(str::to_owned).map_err(|_| wrong("is not UTF-8"))
}

fn yes_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

fn memberships(user: &User) -> String {
    let all: Vec<_> = user.memberships.iter().map(|(org, role)| format!("{org} ({})", role.name())).collect();
    all.join(", ")
}
