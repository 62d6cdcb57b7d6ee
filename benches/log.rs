//! What the request log costs: the gateway with its log beside the same gateway without, in processor time of the whole
//! process per request, the shipping to the record included. `cargo bench --bench log`, or with another number of
//! rounds `cargo bench --bench log -- --rounds 9`; `benches/peers/log.py` has the load and the arithmetic.
//!
//! This program is that gateway, in both cases: the command line of Tollgate, and one command more, which serves without
//! a log. That is no command of the real one, and no setting, as the log is a promise to those who are billed by it.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use tollgate::app::gateway::Gateway;
use tollgate::app::serve;
use tollgate::config::load::load;

/// As in `src/main.rs`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.first().map_or("", String::as_str) {
        "serve-without-log" => without_log(&arguments),
        // `cargo bench` puts its own option last.
        first if first.is_empty() || first.starts_with("--") => {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/log.py");
            let arguments = arguments.iter().filter(|argument| *argument != "--bench");
            Err(Command::new(script)
                .arg("--gateway")
                .arg(std::env::current_exe()?)
                .args(arguments)
                .exec()
                .into())
        }
        _ => Ok(tollgate::cli::run()),
    }
}

/// `serve-without-log --config FILE`: says where it listens, as `serve --json` does, and serves.
#[expect(clippy::print_stdout, reason = "who measures waits for this line")]
fn without_log(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let file = arguments.iter().skip_while(|argument| *argument != "--config").nth(1);
    let config = load(file.map(AsRef::as_ref), &serve::environment(), &[])?;
    let gateway = Gateway::start_without_log(config)?;
    let signals = gateway.signals()?;
    println!(r#"{{"data_addr":"{}","control_addr":"{}"}}"#, gateway.data_addr, gateway.control_addr);
    gateway.run_until_told(signals, &|| Err("this gateway re-reads nothing".to_owned()))?;
    Ok(ExitCode::SUCCESS)
}
