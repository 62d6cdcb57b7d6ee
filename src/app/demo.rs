//! `tollgate demo`: a whole gateway to try, in a directory of its own.
//!
//! Nothing of it is a mock: the record is a SQLite file, the key is checked, limits hold, and the scrape
//! service behind it fetches pages. The directory is removed when the demo ends, unless it was named.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use crate::admin::{Admin, KeyOrder, UserOrder};
use crate::clock;
use crate::config::load::load;
use crate::domain::key::Key;
use crate::domain::people::Role;
use crate::domain::secret::Secret;
use crate::stores::record::Actor;

use super::gateway::Gateway;
use super::serve::{environment, say};
use super::{scrape, tracing};

/// What `demo` is told.
#[derive(Debug, Clone)]
pub struct Demo {
    /// Where clients connect, if not where the default configuration says.
    pub listen: Option<SocketAddr>,
    /// Where operators connect, as above.
    pub control: Option<SocketAddr>,
    /// The directory, which must be empty or not there; `None` is a fresh one that is removed in the end.
    pub data: Option<PathBuf>,
    /// One line of JSON when it is ready, and nothing else.
    pub json: bool,
}

const ORGANIZATION: &str = "demo";
const OPERATOR: &str = "operator@example.com";
const SESSION: Duration = Duration::from_secs(24 * 3600);

/// What was made for the one who tries it.
struct Made {
    key: Key,
    secret: Secret,
    password: String,
    token: String,
}

/// Runs the demo until it is told to stop.
///
/// # Errors
/// Whatever keeps it from serving.
pub fn demo(told: &Demo) -> Result<ExitCode> {
    tracing::start_at("warn");
    let directory = Directory::make(told.data.clone())?;
    // Bound here, so that the configuration can name the port; served by the gateway's second runtime.
    let scraper = std::net::TcpListener::bind(("127.0.0.1", 0)).context("cannot listen on loopback")?;
    scraper.set_nonblocking(true)?;
    let scraper_addr = scraper.local_addr()?;
    let settings = settings(&directory.path, told);
    let file = write_configuration(&directory.path, &settings, scraper_addr)?;
    // The environment may change what it likes, but not where a demo keeps what it makes.
    let read = || load(Some(&file), &environment(), &settings);
    let reread = || read().map_err(|problems| problems.to_string());
    let config = read()?;
    let gateway = Gateway::start(config)?;
    let signals = gateway.signals()?;
    gateway.background().spawn(async move {
        let served = async {
            scrape::serve(tokio::net::TcpListener::from_std(scraper)?, std::future::pending()).await
        };
        if let Err(error) = served.await {
            ::tracing::error!(%error, "the scrape service failed");
        }
    });
    let made = gateway.background().block_on(make(gateway.admin.clone()))?;
    say(&announcement(told, &gateway, &made, &directory, scraper_addr))?;
    gateway.run_until_told(signals, &reread)?;
    Ok(ExitCode::SUCCESS)
}

async fn make(admin: Admin) -> Result<Made> {
    let actor = Actor { who: "demo".to_owned(), from: String::new() };
    let now = clock::now();
    admin.create_organization(ORGANIZATION, ORGANIZATION, &actor, now).await?;
    let password = random_text()?;
    let operator = UserOrder {
        email: OPERATOR.to_owned(),
        password: password.clone(),
        operator: true,
        membership: Some((ORGANIZATION.to_owned(), Role::Owner)),
    };
    let operator = admin.create_user(&operator, &actor, now).await?;
    let order = KeyOrder {
        organization: ORGANIZATION.to_owned(),
        name: "demo".to_owned(),
        created_by: Some(operator.id),
        ..KeyOrder::default()
    };
    let (key, secret) = admin.create_key(&order, &actor, now).await?;
    let login = admin.create_session(OPERATOR, SESSION, &actor, now).await?;
    Ok(Made { key, secret, password, token: login.token })
}

fn announcement(
    told: &Demo,
    gateway: &Gateway,
    made: &Made,
    directory: &Directory,
    scraper: SocketAddr,
) -> String {
    let data_url = format!("http://{}", gateway.data_addr);
    let control_url = format!("http://{}", gateway.control_addr);
    let key = made.secret.expose();
    if told.json {
        return json!({
            "data_url": data_url,
            "control_url": control_url,
            "key": key,
            "key_id": made.key.id.to_string(),
            "organization": made.key.organization.as_str(),
            "operator_email": OPERATOR,
            "operator_password": made.password,
            "session_token": made.token,
            "data_dir": directory.path,
        })
        .to_string();
    }
    let page = format!("http://{scraper}{}", scrape::HELLO_PATH);
    let path = scrape::SCRAPE_PATH;
    let data = directory.path.display();
    format!(
        "Tollgate is ready; Ctrl-C ends it.

  clients    {data_url}
  operators  {control_url}/docs (the API), {control_url}/metrics
  key        {key}
  operator   {OPERATOR}, password {}
  data       {data}{}

Scrape a page through the gateway (any address that this machine reaches will do as the url):

curl -s {data_url}{path} -H 'X-API-Key: {key}' -H 'Content-Type: application/json' -d '{{\"url\":\"{page}\"}}'

Watch its limits in the headers (-i), or manage keys from another terminal:

tollgate key list --config {data}/gateway.toml
",
        made.password,
        if directory.removed { " (removed at the end)" } else { "" },
    )
}

/// What is as the demo was told, by dotted key.
fn settings(directory: &Path, told: &Demo) -> Vec<(String, String)> {
    let inside = |name: &str| directory.join(name).display().to_string();
    let mut settings = vec![
        ("record.url", format!("sqlite://{}", inside("tollgate.db"))),
        ("counters.url", "memory".to_owned()),
        ("logs.dir", inside("log")),
    ];
    settings.extend(told.listen.map(|address| ("data.listen", address.to_string())));
    settings.extend(told.control.map(|address| ("control.listen", address.to_string())));
    settings.into_iter().map(|(key, value)| (key.to_owned(), quoted(&value))).collect()
}

/// A text as TOML has it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The demo's configuration, as a file, so that other commands can be pointed at it.
fn write_configuration(
    directory: &Path,
    settings: &[(String, String)],
    scraper: SocketAddr,
) -> Result<PathBuf> {
    let told: String = settings.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
    let text = format!(
        "# Written by `tollgate demo`. Every setting is documented in the gateway.toml of the project.
{told}[session]
secret = \"{}\"
[keys]
sources = [\"header:x-api-key\", \"bearer\", \"query:x_api_key\"]
# The published key systems, all three to try; a gateway of your own needs those that its routes speak.
[systems]
alterlab = \"on\"
azscraper = \"on\"
piloterr = \"on\"
[plans.{ORGANIZATION}]
per_second = 10
per_minute = 300
concurrency = 20
[[upstreams]]
name = \"scraper\"
targets = [\"{scraper}\"]
[[routes]]
path = \"/*\"
upstream = \"scraper\"
price = 1
cost = [\"json:/billing/total_credits\"]
cost_microcents = [\"json:/billing/final_cost_microcents\"]
tier = [\"json:/billing/tier_used\"]
outcome = [\"json:/status_code\"]
",
        random_text()?,
    );
    let file = directory.join("gateway.toml");
    write_private(&file, &text).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

/// The file holds the secret that signs sessions.
fn write_private(file: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)?
        .write_all(text.as_bytes())
}

fn random_text() -> Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).context("the operating system has no randomness to give")?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// The demo's directory.
struct Directory {
    path: PathBuf,
    removed: bool,
}

impl Directory {
    fn make(named: Option<PathBuf>) -> Result<Self> {
        let removed = named.is_none();
        let path = match named {
            Some(path) => path,
            None => std::env::temp_dir().join(format!("tollgate-demo-{}", &random_text()?[..12])),
        };
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot make the directory {}", path.display()))?;
        if path
            .read_dir()
            .with_context(|| format!("cannot read the directory {}", path.display()))?
            .next()
            .is_some()
        {
            bail!("{} is not empty: name a fresh directory with --data, or leave it out", path.display());
        }
        let path = path.canonicalize()?;
        Ok(Self { path, removed })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.removed
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            eprintln!("cannot remove {}: {error}", self.path.display());
        }
    }
}
