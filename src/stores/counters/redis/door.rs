//! Where connections to Redis come from: one server, or whichever of several a Sentinel names as the master.

use std::time::Duration;

use deadpool_redis::sentinel::{self, SentinelNodeConnectionInfo, SentinelServerType};
use deadpool_redis::{Manager, Pool, RedisConnectionInfo, Runtime};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, IntoConnectionInfo};

use super::link::LinkError;

/// What a URL of Sentinels begins with; behind it `:PASSWORD@` of the master, where it has one, the Sentinels, and
/// the name of the master.
const SENTINEL: &str = "redis+sentinel://";
/// Connections at most, those included that are given up and not yet closed.
const CONNECTIONS_MAX: usize = 8;

/// A pool of connections.
pub(super) enum Door {
    /// To one server, by its address.
    One(Pool, String),
    /// To the present master, by its name.
    Sentinel(sentinel::Pool, String),
}

/// A connection of a pool, which it counts against its bound for as long as this is held.
pub(super) enum Held {
    /// To one server.
    One(deadpool_redis::Connection),
    /// To what was the master when it was made.
    Sentinel(sentinel::Connection),
}

impl Held {
    /// The connection, to be used by any number of callers at once.
    pub fn multiplexed(&self) -> MultiplexedConnection {
        match self {
            Self::One(connection) => MultiplexedConnection::clone(connection),
            Self::Sentinel(connection) => MultiplexedConnection::clone(connection),
        }
    }

    /// Gives it up: it never goes back into the pool.
    pub fn discard(self) {
        match self {
            Self::One(connection) => drop(deadpool_redis::Connection::take(connection)),
            Self::Sentinel(connection) => drop(sentinel::Connection::take(connection)),
        }
    }
}

impl Door {
    /// The door that `url` names, through which nobody waits for longer than `timeout`.
    ///
    /// # Errors
    /// Where the URL cannot be read.
    pub fn new(url: &str, timeout: Duration) -> Result<Self, LinkError> {
        let unbuilt = |error: String| LinkError::Connection(error);
        let Some(named) = url.strip_prefix(SENTINEL) else {
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(timeout))
                .set_response_timeout(Some(timeout));
            let info = url.into_connection_info()?;
            let name = info.addr().to_string();
            let pool = Pool::builder(Manager::new_with_config(info, config)?).max_size(CONNECTIONS_MAX);
            let pool =
                pool.create_timeout(Some(timeout)).wait_timeout(Some(timeout)).runtime(Runtime::Tokio1);
            return Ok(Self::One(pool.build().map_err(|error| unbuilt(error.to_string()))?, name));
        };
        let unreadable =
            || unbuilt(format!("the URL must be {SENTINEL}:PASSWORD@HOST:PORT,HOST:PORT/MASTER"));
        let (before, master) = named.rsplit_once('/').ok_or_else(unreadable)?;
        let (password, hosts) = match before.rsplit_once('@') {
            Some((login, hosts)) => (Some(login.strip_prefix(':').ok_or_else(unreadable)?), hosts),
            None => (None, before),
        };
        let info = password.map(|password| SentinelNodeConnectionInfo {
            redis_connection_info: Some(RedisConnectionInfo {
                password: Some(password.to_owned()),
                ..RedisConnectionInfo::default()
            }),
            ..SentinelNodeConnectionInfo::default()
        });
        let hosts: Vec<String> = hosts.split(',').map(|host| format!("redis://{host}")).collect();
        let manager = sentinel::Manager::new(hosts, master.to_owned(), info, SentinelServerType::Master)?;
        let pool = sentinel::Pool::builder(manager).max_size(CONNECTIONS_MAX);
        let pool = pool.create_timeout(Some(timeout)).wait_timeout(Some(timeout)).runtime(Runtime::Tokio1);
        let name = format!("master {master}");
        Ok(Self::Sentinel(pool.build().map_err(|error| unbuilt(error.to_string()))?, name))
    }

    /// Whom it leads to, for people; without any secret.
    pub fn name(&self) -> String {
        match self {
            Self::One(_, name) | Self::Sentinel(_, name) => name.clone(),
        }
    }

    /// A new connection.
    ///
    /// # Errors
    /// [`LinkError::Connection`].
    pub async fn open(&self) -> Result<Held, LinkError> {
        match self {
            Self::One(pool, _) => pool.get().await.map(Held::One).map_err(|error| error.to_string()),
            Self::Sentinel(pool, _) => {
                pool.get().await.map(Held::Sentinel).map_err(|error| error.to_string())
            }
        }
        .map_err(LinkError::Connection)
    }
}
