//! The request log, read out of a gateway's record beside it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Map, Value};
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{Column as _, ConnectOptions as _, Row as _, TypeInfo as _, ValueRef as _};
use uuid::Uuid;

use super::{Gateway, SOON, wait_until};

/// Rows by the id of their request (`X-Request-Id`), each column by its name.
pub type Rows = BTreeMap<String, Value>;

/// Every row that the record has by now.
pub async fn rows(gateway: &Gateway) -> Rows {
    let file = gateway.directory().join("data/tollgate.db");
    let options = SqliteConnectOptions::new().filename(file).busy_timeout(Duration::from_secs(10));
    let mut connection = options.connect().await.unwrap();
    let rows = sqlx::query("SELECT * FROM request_log").fetch_all(&mut connection).await.unwrap();
    rows.iter().map(|row| (uuid(row, "id").unwrap(), columns(row))).collect()
}

/// The row of one request, once the record has it.
///
/// # Panics
/// Where it has not within [`SOON`].
pub async fn row_of(gateway: &Gateway, id: &str) -> Value {
    let mut found = None;
    wait_until(&format!("the log has request {id}"), SOON, async || {
        found = rows(gateway).await.remove(id);
        found.is_some()
    })
    .await;
    found.unwrap()
}

fn columns(row: &SqliteRow) -> Value {
    let columns = row.columns().iter().map(|column| {
        let name = column.name();
        let raw = row.try_get_raw(name).unwrap();
        let value = match raw.type_info().name() {
            _ if raw.is_null() => Value::Null,
            "INTEGER" => row.get::<i64, _>(name).into(),
            "TEXT" => row.get::<String, _>(name).into(),
            _ if name == "address" => address(row.get(name)).into(),
            _ => uuid(row, name).into(),
        };
        (name.to_owned(), value)
    });
    Value::Object(columns.collect::<Map<_, _>>())
}

fn address(octets: &[u8]) -> String {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).unwrap().to_string()
}

fn uuid(row: &SqliteRow, name: &str) -> Option<String> {
    row.get::<Option<&[u8]>, _>(name).map(|bytes| Uuid::from_slice(bytes).unwrap().to_string())
}
