//! `tollgate session …`

use std::time::Duration;

use clap::Subcommand;

use super::args::span;
use super::context::Context;
use super::failure::Failure;
use super::output::Output;
use super::wire::SessionWire;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Log a user in, and print the token.
    Create {
        /// The user's email.
        email: String,
        /// How long the session lasts, at most 30d.
        #[arg(long, default_value = "1h", value_parser = span)]
        ttl: Duration,
    },
}

pub(super) async fn run(command: Command, context: &Context) -> Result<Output, Failure> {
    let Command::Create { email, ttl } = command;
    let login = context.admin.create_session(&email, ttl, &context.actor, context.now).await?;
    let wire = SessionWire {
        session_token: login.token.clone(),
        session: login.session.id.to_string(),
        user: login.session.user.to_string(),
        expires_at: login.session.expires_at.to_string(),
    };
    // The token alone, so that a shell can take it as it is.
    Ok(Output::new(login.token, &wire).or_else_advise("create another session"))
}
