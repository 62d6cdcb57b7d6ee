//! Reading a tree: a setting is read as what it should be, or a problem is noted and reading goes on.
//!
//! **Invariant:** whatever answers `None` for a setting that is there has noted a problem, and a noted problem
//! means that no [`Config`](super::Config) comes out. So a reader may put any placeholder where it got
//! `None`, and go on to find the next mistake.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::RangeInclusive;

use super::expand::{Unexpanded, expand};
use super::problem::Problem;
use super::tree::{Node, Value};

/// What every reader shares.
pub(super) struct Context<'c> {
    /// What `${NAME}` reads.
    pub(super) environment: &'c HashMap<String, String>,
    /// The compiled-in file, for messages that name a default.
    pub(super) defaults: &'c Node,
    /// Whether it is for a process that forwards, and so needs what upstreams are shown: other processes need not have
    /// those secrets.
    pub(super) forwards: bool,
    /// What was found wrong so far.
    pub(super) problems: RefCell<Vec<Problem>>,
    /// Every key that was asked for, with `*` for names and places: what the documentation must hold.
    #[cfg(test)]
    pub(super) asked: RefCell<std::collections::BTreeSet<String>>,
}

/// One setting that is there.
#[derive(Clone)]
pub(super) struct Field<'c> {
    pub(super) context: &'c Context<'c>,
    pub(super) node: &'c Node,
    /// Dotted.
    pub(super) key: String,
}

/// A setting that is a section.
pub(super) struct Section<'c> {
    pub(super) field: Field<'c>,
    fields: &'c [(String, Node)],
    known: RefCell<Vec<&'static str>>,
}

impl<'c> Field<'c> {
    /// Notes a problem with this setting.
    pub(super) fn wrong<T>(&self, reason: impl Into<String>, advice: impl Into<String>) -> Option<T> {
        self.context.problems.borrow_mut().push(Problem {
            source: self.node.origin.source.to_string(),
            line: self.node.origin.line,
            key: self.key.clone(),
            reason: reason.into(),
            advice: advice.into(),
        });
        None
    }

    /// Notes that this setting is not `what`, and says what the default is.
    pub(super) fn is_not<T>(&self, what: &str, advice: Option<&str>) -> Option<T> {
        let advice = advice.map_or_else(|| self.default_advice(), str::to_owned);
        self.wrong(format!("{} is not {what}", self.quoted()), advice)
    }

    /// Notes that this setting asks for what later versions will do.
    pub(super) fn unavailable<T>(&self, what: &str, advice: &str) -> Option<T> {
        self.wrong(format!("{what} is not available in this version"), advice)
    }

    /// The value as it was written, for a message. Secrets and long values are not quoted; what comes from
    /// the environment shows as the `${NAME}` that was written.
    pub(super) fn quoted(&self) -> String {
        let secret = ["secret", "credential", "value", "reveal_key", "url"];
        let name = self.key.rsplit('.').next().unwrap_or_default();
        if secret.contains(&name) && !matches!(self.node.value, Value::Table(_) | Value::List(_)) {
            return "the value (not shown)".to_owned();
        }
        quote(self.node)
    }

    fn default_advice(&self) -> String {
        self.default().map_or_else(
            || "see the default gateway.toml for what may stand here".to_owned(),
            |default| format!("the default is {}", quote(default)),
        )
    }

    /// The default, where it is one plain value.
    fn default(&self) -> Option<&'c Node> {
        let mut node = self.context.defaults;
        for part in self.key.split('.') {
            let name = part.split('[').next().unwrap_or_default();
            node = node.child(name)?;
            if part.ends_with(']') {
                let Value::List(items) = &node.value else { return None };
                node = items.first()?;
            }
        }
        match &node.value {
            Value::Text(text) => (!text.contains("${")).then_some(node),
            Value::Integer(_) | Value::Flag(_) => Some(node),
            _ => None,
        }
    }

    /// A text, with its variables filled in.
    pub(super) fn text(&self) -> Option<String> {
        if let Some(given) = &self.node.given {
            return Some(given.clone());
        }
        let Value::Text(text) = &self.node.value else {
            return self.is_not("a text", Some("write it in double quotes"));
        };
        match expand(text, self.context.environment) {
            Ok(expanded) => Some(expanded),
            Err(Unexpanded::Unset(name)) => self.wrong(
                format!("the environment variable {name} is not set"),
                format!("set it, or write ${{{name}:-}} where it may be empty"),
            ),
            Err(Unexpanded::Malformed) => {
                self.wrong("holds `${` without a name and `}`", "write ${NAME}, or $${ for a plain `${`")
            }
        }
    }

    /// The text, where it can be had; notes nothing. For a look at a setting that is read elsewhere.
    pub(super) fn peek(&self) -> Option<String> {
        let Value::Text(text) = &self.node.value else { return None };
        match &self.node.given {
            Some(given) => Some(given.clone()),
            None => expand(text, self.context.environment).ok(),
        }
    }

    /// The settings `key` of every section of this list, with their places; those that are missing are `None`.
    pub(super) fn each(&self, key: &str) -> Vec<Option<Self>> {
        let Value::List(items) = &self.node.value else { return Vec::new() };
        let field = |(at, item): (usize, &'c Node)| {
            let node = item.child(key)?;
            Some(Self { context: self.context, node, key: format!("{}[{at}].{key}", self.key) })
        };
        items.iter().enumerate().map(field).collect()
    }

    /// A text that is not empty.
    pub(super) fn filled_text(&self) -> Option<String> {
        let text = self.text()?;
        if text.trim().is_empty() {
            return self.wrong("is empty", "fill it in, or leave it out where it is optional");
        }
        Some(text)
    }

    /// Whether this is a text such as `"${NAME}"`, which may stand for a number or flag.
    fn holds_variable(&self) -> bool {
        self.node.given.is_none() && matches!(&self.node.value, Value::Text(text) if text.contains("${"))
    }

    /// A whole number. `advice` where the default says too little.
    pub(super) fn whole(&self, range: RangeInclusive<u64>, advice: Option<&str>) -> Option<u64> {
        let number = match &self.node.value {
            Value::Integer(number) => u64::try_from(*number).ok(),
            Value::Text(_) if self.holds_variable() => self.text()?.parse().ok(),
            _ => None,
        };
        number.filter(|number| range.contains(number)).or_else(|| {
            let (least, most) = range.into_inner();
            let what = if most >= i64::MAX as u64 {
                format!("a whole number of at least {least}")
            } else {
                format!("a whole number from {least} to {most}")
            };
            let quoted = self.node.given.is_none() && matches!(self.node.value, Value::Text(_));
            let unquote = (quoted && !self.holds_variable()).then_some("write a number, without quotes");
            self.is_not(&what, unquote.or(advice))
        })
    }

    /// A whole number of things held in memory.
    pub(super) fn count(&self, range: RangeInclusive<u64>) -> Option<usize> {
        usize::try_from(self.whole(range, None)?).ok()
    }

    /// `true` or `false`.
    pub(super) fn flag(&self) -> Option<bool> {
        match &self.node.value {
            Value::Flag(flag) => Some(*flag),
            Value::Text(_) if self.holds_variable() => match self.text()?.as_str() {
                "true" => Some(true),
                "false" => Some(false),
                _ => self.is_not("true or false", None),
            },
            _ => self.is_not("true or false", None),
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        if let Some((_, chosen)) = choices.iter().find(|(word, _)| *word == text) {
            return Some(*chosen);
        }
        let words: Vec<String> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let near = nearest(&text, choices.iter().map(|(word, _)| *word));
        let advice = match (near, self.default()) {
            (Some(word), _) => Some(format!("did you mean \"{word}\"?")),
            (None, None) => Some("use one of these words".to_owned()),
            (None, Some(_)) => None,
        };
        self.is_not(&format!("one of {}", words.join(", ")), advice.as_deref())
    }

    /// A list, every item read by `read`.
    pub(super) fn list<T>(&self, read: impl Fn(&Self) -> Option<T>) -> Option<Vec<T>> {
        let Value::List(items) = &self.node.value else {
            return self.wrong(
                format!("{} is not a list", self.node.kind()),
                "write it in brackets, such as [\"one\", \"two\"]",
            );
        };
        let item = |(at, node): (usize, &'c Node)| {
            read(&Self { context: self.context, node, key: format!("{}[{at}]", self.key) })
        };
        // Every item is read before the first bad one ends it.
        let items: Vec<Option<T>> = items.iter().enumerate().map(item).collect();
        items.into_iter().collect()
    }

    /// A section, read by `read`; keys that `read` does not ask for are mistakes.
    pub(super) fn section<T>(&self, read: impl FnOnce(&Section<'c>) -> T) -> Option<T> {
        let Value::Table(fields) = &self.node.value else {
            return self.wrong(
                format!("{} is not a section", self.node.kind()),
                "see the default gateway.toml for how it is written",
            );
        };
        let section = Section { field: self.clone(), fields, known: RefCell::default() };
        let read = read(&section);
        section.note_unknown();
        Some(read)
    }
}

impl<'c> Section<'c> {
    /// The setting `key`, where it is there.
    pub(super) fn field(&self, key: &'static str) -> Option<Field<'c>> {
        self.know(key);
        #[cfg(test)]
        self.context().asked.borrow_mut().insert(general(&self.key_of(key)));
        let (_, node) = self.fields.iter().find(|(name, _)| name == key)?;
        Some(Field { context: self.context(), node, key: self.key_of(key) })
    }

    /// A setting that must be there.
    pub(super) fn need<T>(&self, key: &'static str, read: impl FnOnce(&Field<'c>) -> Option<T>) -> Option<T> {
        match self.field(key) {
            Some(field) => read(&field),
            None => {
                let missing = Field { key: self.key_of(key), ..self.field.clone() };
                missing.wrong("is missing", "add it; the default gateway.toml shows how it is written")
            }
        }
    }

    /// A setting that may be left out.
    pub(super) fn may<T>(&self, key: &'static str, read: impl FnOnce(&Field<'c>) -> Option<T>) -> Option<T> {
        self.field(key).and_then(|field| read(&field))
    }

    /// Every setting of a section whose keys are names that the operator chose.
    pub(super) fn named(&self) -> impl Iterator<Item = (&'c str, Field<'c>)> {
        self.fields.iter().map(|(name, node)| {
            (name.as_str(), Field { context: self.context(), node, key: self.key_of(name) })
        })
    }

    fn know(&self, key: &'static str) {
        let mut known = self.known.borrow_mut();
        if !known.contains(&key) {
            known.push(key);
        }
    }

    const fn context(&self) -> &'c Context<'c> {
        self.field.context
    }

    fn key_of(&self, name: &str) -> String {
        let bare = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        let name = if bare && !name.is_empty() { name.to_owned() } else { shortened(name) };
        if self.field.key.is_empty() { name } else { format!("{}.{name}", self.field.key) }
    }

    fn note_unknown(&self) {
        let known = self.known.borrow();
        // A section of chosen names asks for none.
        if known.is_empty() {
            return;
        }
        for (name, node) in self.fields.iter().filter(|(name, _)| !known.contains(&name.as_str())) {
            let field = Field { context: self.context(), node, key: self.key_of(name) };
            let advice = nearest(name, known.iter().copied()).map_or_else(
                || format!("known here: {}", known.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            field.wrong::<()>("no such setting", advice);
        }
    }
}

/// The word of `words` that is so near to `text` that it was probably meant.
pub(super) fn nearest<'w>(text: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let text = text.to_lowercase();
    let distance = |word: &str| strsim::damerau_levenshtein(&text, &word.to_lowercase());
    let far = (text.chars().take(24).count() / 3).clamp(1, 3);
    // Longer texts than any word are no slips, and the distance is quadratic in length.
    (text.len() <= 64)
        .then(|| {
            words
                .filter(|word| !word.is_empty())
                .map(|word| (distance(word), word))
                .min_by_key(|(distance, _)| *distance)
        })
        .flatten()
        .filter(|(distance, _)| *distance <= far && *distance < text.len())
        .map(|(_, word)| word)
}

fn quote(node: &Node) -> String {
    match &node.value {
        Value::Text(text) => shortened(text),
        Value::Integer(number) => number.to_string(),
        Value::Flag(flag) => flag.to_string(),
        Value::Other(text) => text.clone(),
        Value::List(_) | Value::Table(_) => node.kind().to_owned(),
    }
}

/// A text in quotes, without control characters, and no longer than a line can bear.
fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
pub(super) fn general(key: &str) -> String {
    let part = |(at, part): (usize, &str)| match part.split_once('[') {
        Some((name, _)) => name.to_owned(),
        None if at == 1 && key.starts_with("plans.") => "*".to_owned(),
        None => part.to_owned(),
    };
    key.split('.').enumerate().map(part).collect::<Vec<_>>().join(".")
}
