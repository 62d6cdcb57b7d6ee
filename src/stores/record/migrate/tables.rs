//! Which tables are moved, in an order in which nothing refers to what is not there yet, and what their columns are.

/// How a column is told in text, the same on both sides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    /// A whole number.
    Number,
    /// `0` or `1`.
    Flag,
    /// A text.
    Text,
    /// A UUID; in SQLite its 16 bytes, or none for nil.
    Uuid,
    /// Bytes.
    Bytes,
    /// An address; in SQLite its 4 or 16 bytes.
    Address,
    /// What a sum divides into: names by number become texts.
    Parts,
    /// The place of a row, which is counted from the column before it, its id.
    Place,
}

use Kind::{Address, Bytes, Flag, Number, Parts, Place, Text, Uuid};

/// A column: its name in PostgreSQL, how SQLite is asked for it, and its kind.
pub(super) type Column = (&'static str, &'static str, Kind);

/// A table.
#[derive(Debug)]
pub(super) struct Table {
    pub name: &'static str,
    /// What SQLite reads from.
    pub from: &'static str,
    pub columns: &'static [Column],
}

impl Table {
    /// How the server counts and sums what it has.
    pub fn checksum_sql(&self) -> String {
        let texts = self.columns.iter().map(|(name, _, kind)| {
            let text = match kind {
                Flag => format!("{name}::integer::text"),
                Bytes | Parts => format!("encode({name}, 'hex')"),
                Address => format!("host({name})"),
                Number | Text | Uuid | Place => format!("{name}::text"),
            };
            format!("coalesce({text}, '\\N')")
        });
        let texts: Vec<_> = texts.collect();
        format!(
            "SELECT count(*) AS rows, coalesce(sum(('x' || left(encode(sha256(convert_to(
                 concat_ws(E'\\x1f', {}), 'UTF8')), 'hex'), 16))::bit(64)::bigint), 0)::text AS checksum FROM {}",
            texts.join(", "),
            self.name
        )
    }
}

macro_rules! columns {
    ($($name:ident $kind:ident),* $(,)?) => { &[$((stringify!($name), stringify!($name), $kind)),*] };
}

/// Every table but the log.
pub(super) const TABLES: [Table; 19] = [
    Table {
        name: "organizations",
        from: "organizations",
        columns: columns!(
            id Text, name Text, plan Text, per_second Number, per_minute Number, concurrency Number,
            limit_requests Number, limit_microcents Number, limit_period Text, limit_enabled Flag, created_at Number
        ),
    },
    Table {
        name: "users",
        from: "users",
        columns: columns!(
            id Uuid, email Text, password Text, subject Text, operator Flag, personal Text, created_at Number
        ),
    },
    Table {
        name: "members",
        from: "members",
        columns: columns!(user_id Uuid, organization Text, role Text, since Number),
    },
    Table {
        name: "invitations",
        from: "invitations",
        columns: columns!(
            id Uuid, digest Bytes, organization Text, email Text, role Text, invited_by Uuid, created_at Number,
            expires_at Number
        ),
    },
    Table {
        name: "projects",
        from: "projects",
        columns: columns!(id Text, organization Text, name Text, is_default Flag, created_at Number),
    },
    Table {
        name: "keys",
        from: "keys",
        columns: columns!(
            id Uuid, organization Text, project Text, name Text, category Text, prefix Text, hint Text,
            scope_read Flag, scope_write Flag, active Flag, expires_at Number, revoked_at Number, allowed_ips Text,
            quota_total Number, quota_daily Number, quota_weekly Number, quota_monthly Number,
            limit_requests Number, limit_microcents Number, limit_period Text, limit_enabled Flag,
            created_by Uuid, created_at Number
        ),
    },
    Table {
        name: "key_secrets",
        from: "key_secrets",
        columns: columns!(digest Bytes, key Uuid, valid_until Number, imported Flag, sealed Bytes),
    },
    Table {
        name: "sessions",
        from: "sessions",
        columns: columns!(id Uuid, user_id Uuid, created_at Number, expires_at Number, revoked_at Number),
    },
    Table { name: "notices", from: "notices", columns: columns!(user_id Uuid, notice Text, shown_at Number) },
    Table { name: "jobs", from: "jobs", columns: columns!(job Text, project Text, at Number) },
    Table {
        name: "idempotency",
        from: "idempotency",
        columns: columns!(caller Text, key Bytes, request Bytes, answer Bytes, expires_at Number),
    },
    Table {
        name: "changes",
        from: "changes",
        columns: columns!(sequence Number, at Number, digest Bytes, organization Text),
    },
    Table {
        name: "audit",
        from: "audit",
        columns: columns!(
            id Number, at Number, who Text, origin Text, what Text, subject Text, organization Text, before Text,
            after Text
        ),
    },
    Table {
        name: "scopes",
        from: "scopes",
        columns: &[
            ("number", "number", Number),
            ("kind", "kind", Number),
            ("key", "key", Uuid),
            ("organization", "organization", Text),
        ],
    },
    Table {
        name: "usage",
        from: "usage",
        columns: columns!(
            scope Number, width Number, cell Number, admitted Number, refused Number, success Number,
            credits Number, microcents Number, first_byte_micros Number, total_micros Number, bytes_in Number,
            bytes_out Number, parts Parts
        ),
    },
    Table {
        name: "key_usage",
        from: "key_usage",
        columns: columns!(key Uuid, organization Text, requests Number, rows Number, last_used_at Number),
    },
    Table { name: "spools", from: "spools", columns: columns!(id Uuid) },
    Table { name: "spool_cursors", from: "spool_cursors", columns: columns!(segment Text, bytes Number) },
    Table {
        name: "open_admissions",
        from: "open_admissions",
        columns: columns!(
            id Uuid, spool Uuid, at Number, key Uuid, organization Text, project Text, credits Number,
            microcents Number
        ),
    },
];

macro_rules! named {
    ($column:literal) => {
        concat!(
            "CASE typeof(r.",
            $column,
            ") WHEN 'integer' THEN (SELECT text FROM names WHERE number = r.",
            $column,
            ") ELSE r.",
            $column,
            " END"
        )
    };
}

/// The log.
pub(super) const REQUESTS: Table = Table {
    name: "requests",
    from: "requests r JOIN scopes s ON s.number = r.scope",
    columns: &[
        ("id", "r.id", Uuid),
        ("place", "NULL", Place),
        ("at", "r.at", Number),
        ("key", "nullif(s.key, x'')", Uuid),
        ("admitted", "r.admitted", Flag),
        ("outcome", "r.outcome", Number),
        ("credits", "r.credits", Number),
        ("microcents", "r.microcents", Number),
        ("cost_source", "r.cost_source", Number),
        ("status", "r.status", Number),
        ("first_byte_micros", "r.first_byte_micros", Number),
        ("total_micros", "r.total_micros", Number),
        ("bytes_in", "r.bytes_in", Number),
        ("bytes_out", "r.bytes_out", Number),
        ("address", "r.address", Address),
        ("organization", "nullif(s.organization, '')", Text),
        ("project", named!("project"), Text),
        ("method", named!("method"), Text),
        ("path", named!("path"), Text),
        ("code", named!("code"), Text),
        ("tier", named!("tier"), Text),
        ("domain", named!("domain"), Text),
        ("target", named!("target"), Text),
        ("user_agent", named!("user_agent"), Text),
        ("batch", "0", Number),
    ],
};
