//! Raw configuration: a tree of values that remember where they were written.
//!
//! Three layers of text become one tree: defaults, the operator's file, single settings from the environment
//! and from flags. Nothing is checked here but that a file is TOML at all.

use std::rc::Rc;

use toml_edit::{Document, Item, TableLike, Value as TomlValue};

/// Where a value was written.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// As in [`Problem::source`](super::problem::Problem::source).
    pub(super) source: Rc<str>,
    /// From 1.
    pub(super) line: Option<usize>,
}

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) origin: Origin,
    pub(super) value: Value,
    /// The text of an environment variable or flag as it was given. Such texts are taken as they are, so a
    /// password of digits is a text where a text is wanted, and `${` in one means nothing.
    pub(super) given: Option<String>,
}

/// What may stand in a configuration.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Flag(bool),
    /// A float, date or time; no setting takes one.
    Other(String),
    List(Vec<Node>),
    Table(Vec<(String, Node)>),
}

impl Node {
    /// What kind of value this is, with its article.
    pub(super) const fn kind(&self) -> &'static str {
        match self.value {
            Value::Text(_) => "a text",
            Value::Integer(_) => "a number",
            Value::Flag(_) => "a flag",
            Value::Other(_) => "a fraction or date",
            Value::List(_) => "a list",
            Value::Table(_) => "a section",
        }
    }

    /// The value of `key` in a section.
    pub(super) fn child(&self, key: &str) -> Option<&Self> {
        let Value::Table(fields) = &self.value else { return None };
        fields.iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    /// Lays `upper` over this value: sections merge key by key, anything else is replaced.
    ///
    /// Setting `secret` drops a `secret_file` of the layer below, and the other way round: they are two ways
    /// to say one thing. `replaced` names the sections that are replaced as a whole, at the first level only.
    pub(super) fn overlay(&mut self, upper: Self, replaced: &[&str]) {
        let (Value::Table(below), Value::Table(_)) = (&mut self.value, &upper.value) else {
            *self = upper;
            return;
        };
        // Messages about what a section lacks should point at the operator's section.
        self.origin = upper.origin;
        let Value::Table(above) = upper.value else { return };
        for (key, _) in &above {
            let twin = key.strip_suffix("_file").map_or_else(|| format!("{key}_file"), str::to_owned);
            below.retain(|(name, _)| *name != twin);
        }
        for (key, node) in above {
            match below.iter_mut().find(|(name, _)| *name == key) {
                Some((name, old)) if !replaced.contains(&name.as_str()) => old.overlay(node, &[]),
                Some((_, old)) => *old = node,
                None => below.push((key, node)),
            }
        }
    }

    /// Adds the fields of `defaults` that this section does not name, but for those in `except`.
    pub(super) fn fill(&mut self, defaults: &Self, except: &[&str]) {
        let (Value::Table(own), Value::Table(defaults)) = (&mut self.value, &defaults.value) else { return };
        for (key, default) in defaults.iter().filter(|(key, _)| !except.contains(&key.as_str())) {
            match own.iter_mut().find(|(name, _)| name == key) {
                Some((_, node)) => node.fill(default, &[]),
                None => own.push((key.clone(), default.clone())),
            }
        }
    }
}

/// Why a text is not TOML: a line from 1, and a sentence that quotes nothing of the text.
pub(super) struct SyntaxError {
    pub(super) line: Option<usize>,
    pub(super) message: String,
}

/// Reads a TOML file.
pub(super) fn parse_file(source: &str, text: &str) -> Result<Node, SyntaxError> {
    let lines = Lines::new(source, text);
    let document = Document::parse(text).map_err(|error| SyntaxError {
        line: error.span().and_then(|span| lines.origin(span.start).line),
        // Only the message: the error's own `Display` prints the line, which may hold a secret.
        message: error.message().to_owned(),
    })?;
    let top = Origin { source: Rc::clone(&lines.source), line: None };
    Ok(lines.table(document.as_table(), &top))
}

/// Reads one setting from the environment or a flag: a TOML value where it is one, else plain text.
pub(super) fn parse_setting(source: &str, text: &str) -> Node {
    let origin = Origin { source: source.into(), line: None };
    let parsed = text.parse::<TomlValue>().ok().map(|value| {
        let lines = Lines { source: Rc::clone(&origin.source), starts: Vec::new() };
        lines.value(&value, &origin).value
    });
    let value = parsed.unwrap_or_else(|| Value::Text(text.to_owned()));
    let given = match &value {
        // A quoted text is meant without its quotes.
        Value::Text(inner) => inner.clone(),
        _ => text.to_owned(),
    };
    let mut node = Node { origin, value, given: Some(given) };
    mark_given(&mut node);
    node
}

/// Texts inside a given list or section are taken as they are, too.
fn mark_given(node: &mut Node) {
    match &mut node.value {
        Value::Text(text) => node.given = Some(text.clone()),
        Value::List(items) => items.iter_mut().for_each(mark_given),
        Value::Table(fields) => fields.iter_mut().for_each(|(_, field)| mark_given(field)),
        Value::Integer(_) | Value::Flag(_) | Value::Other(_) => {}
    }
}

/// Turns byte offsets into lines. Without line starts, as for a single setting, no value has a line.
struct Lines {
    source: Rc<str>,
    starts: Vec<usize>,
}

impl Lines {
    fn new(source: &str, text: &str) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { source: source.into(), starts: std::iter::once(0).chain(newlines).collect() }
    }

    fn origin(&self, offset: usize) -> Origin {
        let line = self.starts.partition_point(|start| *start <= offset);
        Origin { source: Rc::clone(&self.source), line: (line > 0).then_some(line) }
    }

    fn table(&self, table: &dyn TableLike, origin: &Origin) -> Node {
        let field = |(name, item): (&str, &Item)| {
            let at = table.key(name).and_then(|key| key.span()).or_else(|| item.span());
            let at = at.map_or_else(|| origin.clone(), |span| self.origin(span.start));
            (name.to_owned(), self.item(item, &at))
        };
        let fields = table.iter().map(field).collect();
        Node { origin: origin.clone(), value: Value::Table(fields), given: None }
    }

    fn item(&self, item: &Item, origin: &Origin) -> Node {
        if let Item::ArrayOfTables(tables) = item {
            let tables = tables.iter().map(|table| {
                let at = table.span().map_or_else(|| origin.clone(), |span| self.origin(span.start));
                self.table(table, &at)
            });
            return Node { value: Value::List(tables.collect()), origin: origin.clone(), given: None };
        }
        match item {
            Item::Table(table) => self.table(table, origin),
            Item::Value(value) => self.value(value, origin),
            Item::None | Item::ArrayOfTables(_) => {
                Node { value: Value::Other("nothing".to_owned()), origin: origin.clone(), given: None }
            }
        }
    }

    fn value(&self, value: &TomlValue, origin: &Origin) -> Node {
        let inner = match value {
            TomlValue::String(text) => Value::Text(text.value().clone()),
            TomlValue::Integer(number) => Value::Integer(*number.value()),
            TomlValue::Boolean(flag) => Value::Flag(*flag.value()),
            TomlValue::Float(number) => Value::Other(number.value().to_string()),
            TomlValue::Datetime(time) => Value::Other(time.value().to_string()),
            TomlValue::Array(items) => {
                let item = |item: &TomlValue| {
                    let at = item.span().map_or_else(|| origin.clone(), |span| self.origin(span.start));
                    self.value(item, &at)
                };
                Value::List(items.iter().map(item).collect())
            }
            TomlValue::InlineTable(table) => return self.table(table, origin),
        };
        Node { origin: origin.clone(), value: inner, given: None }
    }
}
