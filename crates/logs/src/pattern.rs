//! Filter patterns: terms, quoted phrases, `?optional`, `-excluded`, and `{ $.json = … }`.
//!
//! AWS: CloudWatch Logs User Guide, "Filter pattern syntax".

use serde_json::Value;

/// A pattern that events are held against.
#[derive(Clone, Debug, PartialEq)]
pub enum Pattern {
    /// Takes every event.
    Any,
    Terms(Terms),
    Json(Condition),
}

/// Texts that an event must hold, some of which it must hold, and must not hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    all: Vec<String>,
    any: Vec<String>,
    none: Vec<String>,
}

/// A condition on a JSON event.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    And(Box<Condition>, Box<Condition>),
    Or(Box<Condition>, Box<Condition>),
    Test { path: Vec<Step>, test: Test },
}

/// A step down into a JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Member(String),
    Item(usize),
}

/// What a member must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// Equal (or not) to a text in which `*` stands for anything.
    Text {
        is_equal: bool,
        pattern: String,
    },
    Number(Comparison, f64),
    IsTrue,
    IsFalse,
    IsNull,
    Exists,
    NotExists,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Pattern {
    /// Reads a pattern; the error is a sentence for the user.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() || text == "\"\"" {
            return Ok(Self::Any);
        }
        if text.starts_with('[') {
            return Err(
                "Patterns of space-delimited fields are not available in this version of Wharf.".to_owned()
            );
        }
        if let Some(inner) = text.strip_prefix('{') {
            let inner =
                inner.strip_suffix('}').ok_or("Invalid filter pattern: a '}' is missing at its end.")?;
            let mut parser = Parser { tokens: tokens(inner)?, next: 0 };
            let condition = parser.any()?;
            return if parser.next == parser.tokens.len() {
                Ok(Self::Json(condition))
            } else {
                Err(unexpected(parser.peek()))
            };
        }
        terms(text).map(Self::Terms)
    }

    pub fn matches(&self, message: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Terms(terms) => {
                terms.all.iter().all(|term| message.contains(term.as_str()))
                    && !terms.none.iter().any(|term| message.contains(term.as_str()))
                    && (terms.any.is_empty() || terms.any.iter().any(|term| message.contains(term.as_str())))
            }
            Self::Json(condition) => serde_json::from_str(message).is_ok_and(|event| condition.holds(&event)),
        }
    }
}

fn terms(text: &str) -> Result<Terms, String> {
    let mut terms = Terms::default();
    let mut rest = text;
    while !rest.is_empty() {
        let sort = rest.chars().next().filter(|c| matches!(c, '?' | '-'));
        let body = if sort.is_some() { &rest[1..] } else { rest };
        let (term, behind) = match body.strip_prefix('"') {
            Some(quoted) => phrase(quoted)?,
            None => {
                let (word, behind) = body.split_at(body.find(char::is_whitespace).unwrap_or(body.len()));
                if let Some(odd) = word.chars().find(|c| !c.is_alphanumeric() && *c != '_') {
                    return Err(format!(
                        "Invalid character(s) in term '{word}': put terms with '{odd}' in double quotes."
                    ));
                }
                (word.to_owned(), behind)
            }
        };
        if term.is_empty() {
            return Err("Invalid filter pattern: a term is empty.".to_owned());
        }
        match sort {
            Some('?') => terms.any.push(term),
            Some(_) => terms.none.push(term),
            None => terms.all.push(term),
        }
        rest = behind.trim_start();
    }
    // Beside other terms, optional ones make no difference ("Match any term" in the user guide).
    if !terms.all.is_empty() {
        terms.any.clear();
    }
    Ok(terms)
}

/// The text up to the closing quote, and what follows it.
fn phrase(text: &str) -> Result<(String, &str), String> {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((out, &text[at + 1..])),
            '\\' => out.extend(chars.next().map(|(_, c)| c)),
            c => out.push(c),
        }
    }
    Err("Invalid filter pattern: a double quote is not closed.".to_owned())
}

/// A piece of a JSON condition.
#[derive(Clone, Debug, PartialEq)]
enum Token {
    Open,
    Close,
    And,
    Or,
    Operator(Comparison),
    Phrase(String),
    Word(String),
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let fixed = [
            ("(", Token::Open),
            (")", Token::Close),
            ("&&", Token::And),
            ("||", Token::Or),
            ("!=", Token::Operator(Comparison::NotEqual)),
            ("<=", Token::Operator(Comparison::LessOrEqual)),
            (">=", Token::Operator(Comparison::GreaterOrEqual)),
            ("=", Token::Operator(Comparison::Equal)),
            ("<", Token::Operator(Comparison::Less)),
            (">", Token::Operator(Comparison::Greater)),
        ];
        if let Some((sign, token)) = fixed.into_iter().find(|(sign, _)| rest.starts_with(sign)) {
            tokens.push(token);
            rest = &rest[sign.len()..];
        } else if first == '"' {
            let (text, behind) = phrase(&rest[1..])?;
            tokens.push(Token::Phrase(text));
            rest = behind;
        } else {
            let is_end = |c: char| c.is_whitespace() || "()&|!=<>\"".contains(c);
            let end = rest.find(is_end).filter(|end| *end > 0).unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        }
        rest = rest.trim_start();
    }
    Ok(tokens)
}

fn unexpected(token: Option<&Token>) -> String {
    match token {
        Some(token) => format!("Invalid filter pattern: {token:?} is not expected where it stands."),
        None => "Invalid filter pattern: it ends too early.".to_owned(),
    }
}

/// Conditions nest no deeper: a pattern has at most 1,024 characters, and the stack is not a limit.
const DEPTH_MAX: usize = 64;

struct Parser {
    tokens: Vec<Token>,
    next: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    fn take(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.next).cloned();
        self.next += 1;
        token
    }

    fn any(&mut self) -> Result<Condition, String> {
        if self.tokens.iter().filter(|token| **token == Token::Open).count() > DEPTH_MAX {
            return Err("Invalid filter pattern: too many parentheses.".to_owned());
        }
        let mut left = self.all()?;
        while self.peek() == Some(&Token::Or) {
            self.next += 1;
            left = Condition::Or(Box::new(left), Box::new(self.all()?));
        }
        Ok(left)
    }

    fn all(&mut self) -> Result<Condition, String> {
        let mut left = self.one()?;
        while self.peek() == Some(&Token::And) {
            self.next += 1;
            left = Condition::And(Box::new(left), Box::new(self.one()?));
        }
        Ok(left)
    }

    fn one(&mut self) -> Result<Condition, String> {
        match self.take() {
            Some(Token::Open) => {
                let inner = self.any()?;
                match self.take() {
                    Some(Token::Close) => Ok(inner),
                    other => Err(unexpected(other.as_ref())),
                }
            }
            Some(Token::Word(word)) => Ok(Condition::Test { path: path(&word)?, test: self.test()? }),
            other => Err(unexpected(other.as_ref())),
        }
    }

    fn test(&mut self) -> Result<Test, String> {
        let word = |token: Option<Token>| match token {
            Some(Token::Word(word)) => Ok(word),
            other => Err(unexpected(other.as_ref())),
        };
        let operator = match self.take() {
            Some(Token::Operator(operator)) => operator,
            Some(Token::Word(verb)) => {
                return match (verb.as_str(), verb == "NOT" || verb == "IS") {
                    ("EXISTS", _) => Ok(Test::Exists),
                    (_, true) => match (verb.as_str(), word(self.take())?.as_str()) {
                        ("IS", "TRUE") => Ok(Test::IsTrue),
                        ("IS", "FALSE") => Ok(Test::IsFalse),
                        ("IS", "NULL") => Ok(Test::IsNull),
                        ("NOT", "EXISTS") => Ok(Test::NotExists),
                        (_, other) => Err(unexpected(Some(&Token::Word(other.to_owned())))),
                    },
                    _ => Err(unexpected(Some(&Token::Word(verb)))),
                };
            }
            other => return Err(unexpected(other.as_ref())),
        };
        let (text, is_quoted) = match self.take() {
            Some(Token::Phrase(text)) => (text, true),
            other => (word(other)?, false),
        };
        if let Some(number) = text.parse().ok().filter(|_| !is_quoted) {
            return Ok(Test::Number(operator, number));
        }
        match operator {
            Comparison::Equal => Ok(Test::Text { is_equal: true, pattern: text }),
            Comparison::NotEqual => Ok(Test::Text { is_equal: false, pattern: text }),
            _ => Err(format!("Invalid filter pattern: '{text}' is not a number.")),
        }
    }
}

/// Reads `$.a.b[0]` or `$.['a b']`.
fn path(text: &str) -> Result<Vec<Step>, String> {
    let bad = || format!("Invalid filter pattern: '{text}' is not a property selector such as $.name.");
    let mut rest = text.strip_prefix('$').ok_or_else(bad)?;
    let mut path = Vec::new();
    while !rest.is_empty() {
        rest = rest.strip_prefix('.').unwrap_or(rest);
        if let Some(inner) = rest.strip_prefix('[') {
            let (inside, behind) = inner.split_once(']').ok_or_else(bad)?;
            let quoted = inside.strip_prefix('\'').and_then(|name| name.strip_suffix('\''));
            path.push(match quoted {
                Some(name) => Step::Member(name.to_owned()),
                None => Step::Item(inside.parse().map_err(|_| bad())?),
            });
            rest = behind;
        } else {
            let (name, behind) = rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len()));
            if name.is_empty() {
                return Err(bad());
            }
            path.push(Step::Member(name.to_owned()));
            rest = behind;
        }
    }
    if path.is_empty() { Err(bad()) } else { Ok(path) }
}

impl Condition {
    fn holds(&self, event: &Value) -> bool {
        match self {
            Self::And(left, right) => left.holds(event) && right.holds(event),
            Self::Or(left, right) => left.holds(event) || right.holds(event),
            Self::Test { path, test } => test.holds(path.iter().try_fold(event, |value, step| match step {
                Step::Member(name) => value.get(name),
                Step::Item(index) => value.get(index),
            })),
        }
    }
}

impl Test {
    fn holds(&self, value: Option<&Value>) -> bool {
        match (self, value) {
            (Self::NotExists, value) => value.is_none(),
            (_, None) => false,
            (Self::Exists, Some(_)) => true,
            (Self::IsTrue, Some(value)) => value == &Value::Bool(true),
            (Self::IsFalse, Some(value)) => value == &Value::Bool(false),
            (Self::IsNull, Some(value)) => value.is_null(),
            (Self::Number(comparison, number), Some(value)) => {
                value.as_f64().is_some_and(|value| comparison.holds(value, *number))
            }
            (Self::Text { is_equal, pattern }, Some(value)) => {
                value.as_str().is_some_and(|value| matches_wildcard(pattern, value) == *is_equal)
            }
        }
    }
}

impl Comparison {
    #[expect(clippy::float_cmp, reason = "both sides are numbers as they were written")]
    fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }
}

/// Whether the text matches a pattern in which `*` stands for anything.
fn matches_wildcard(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let tail = parts.pop().unwrap_or_default();
    for part in parts {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::Pattern;
    use proptest::prelude::*;

    fn matches(pattern: &str, message: &str) -> bool {
        Pattern::parse(pattern).expect("a pattern").matches(message)
    }

    #[test]
    fn terms() {
        assert!(matches("", "anything"));
        assert!(matches("ERROR", "[ERROR] disk") && !matches("ERROR", "[error] disk"));
        assert!(matches("ERROR disk", "disk ERROR") && !matches("ERROR disk", "ERROR"));
        assert!(matches("\"two words\"", "with two words in") && !matches("\"two words\"", "words two"));
        assert!(matches("?ERROR ?WARN", "a WARN") && !matches("?ERROR ?WARN", "INFO"));
        assert!(
            matches("ERROR -\"exit 0\"", "ERROR exit 1") && !matches("ERROR -\"exit 0\"", "ERROR exit 0")
        );
        assert!(matches(r#""say \"hi\"""#, r#"they say "hi""#));
        for bad in [
            "a-b",
            "\"open",
            "[w1, w2]",
            "-",
            "{ $.a",
            "{ $.a = }",
            "{ a = 1 }",
            "{ $.a < x }",
            "{ $.a = 1 ) }",
        ] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn json() {
        let event =
            r#"{"level":"error","status":500,"user":{"name":"ann"},"ok":false,"none":null,"tags":["x","y"]}"#;
        for pattern in [
            "{ $.level = \"error\" }",
            "{ $.level = err* }",
            "{ $.status >= 500 && $.user.name = \"ann\" }",
            "{ $.status = 404 || ($.ok IS FALSE && $.none IS NULL) }",
            "{ $.tags[1] = \"y\" }",
            "{ $.missing NOT EXISTS }",
            "{ $.user EXISTS }",
            "{ $.level != \"info\" }",
        ] {
            assert!(matches(pattern, event), "{pattern}");
            assert!(!matches(pattern, "not json"), "{pattern}");
        }
        for pattern in
            ["{ $.status < 500 }", "{ $.level = \"warn\" }", "{ $.missing = 1 }", "{ $.ok IS TRUE }"]
        {
            assert!(!matches(pattern, event), "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(pattern in r#"[{}()$.a\[\]='"?* &|!<>0-9é-]{0,40}"#, message: String) {
            if let Ok(pattern) = Pattern::parse(&pattern) {
                pattern.matches(&message);
            }
        }
    }
}
